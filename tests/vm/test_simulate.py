"""``pykexec simulate`` boots what is right, and says of a wrong plan what is wrong with it."""

from __future__ import annotations

import gzip
import io
import json
import re
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from click.testing import CliRunner

from pykexec.cli.main import cli
from pykexec.cli.simulate import run
from pykexec.invariants import verify
from pykexec.machine import read_machine
from pykexec.planner import plan
from pykexec.plans import LoadRequest, PurgatoryOptions, SegmentPlan
from pykexec.purgatory import Console, MemoryConsole, PcConsole, UartKind
from pykexec.render.simulation import Simulation, step_text
from pykexec.simulation.arm64_virt import UART
from pykexec.simulation.emulated import emulate
from tests.builders.wrong_plans import corrupted, entered_elsewhere, initrd_in_the_way
from tests.vm import debian
from tests.vm.conftest import unavailable
from tests.vm.cpio import CpioWriter
from tests.vm.debian import FetchError, Suite
from tests.vm.platforms import PLATFORMS, Platform
from tests.vm.qemu import FIRMWARE_SUITE, qemu_missing

pytestmark = pytest.mark.vm

MACHINES = Path(__file__).parents[1] / "data" / "machines"
WORDS = "the new kernel's init speaks"
INIT = f"#!/bin/busybox sh\necho {WORDS!r}\nexec /bin/busybox sleep 1000\n".replace("'", '"')
CONSOLES: dict[str, Console] = {
    "x86_64": PcConsole(console_serial=True),
    "aarch64": MemoryConsole(UART, UartKind.PL011, 2),
}
SILENCE = 60.0


@pytest.fixture(scope="module", autouse=True)
def one_guest_at_a_time() -> Iterator[None]:
    """Keep other guests off this host while those of this module run."""
    with debian.locked(debian.cache_dir() / "qemu.lock"):
        yield


def initrd_for(platform: Platform) -> bytes:
    """Build an initrd whose init says a few words."""
    busybox = Suite(FIRMWARE_SUITE, platform.debian).package("busybox-static").root
    out = io.BytesIO()
    archive = CpioWriter(out)
    archive.device("dev/console", 5, 1)
    archive.file("bin/busybox", busybox / "bin/busybox")
    archive.file("init", INIT, 0o755)
    archive.close()
    return gzip.compress(out.getvalue(), 1)


class Sample:
    """A right plan for a recorded machine."""

    def __init__(self, machine: str, append: str = "") -> None:
        arch = machine.partition("-")[0]
        platform = PLATFORMS[arch]
        missing = qemu_missing(platform)
        if missing:
            unavailable(missing)
        try:
            self.kernel = debian.kernel("6.12", arch=platform.debian)
            self.initrd = initrd_for(platform)
        except FetchError as error:
            unavailable(str(error))
        self.directory = MACHINES / machine
        self.cmdline = f"{platform.console} {append}".strip()
        self.facts = read_machine(self.directory)
        self.plan = plan(
            self.facts,
            LoadRequest(
                kernel=self.kernel.image.read_bytes(),
                initrd=self.initrd,
                cmdline=self.cmdline.encode(),
                purgatory=PurgatoryOptions(console=CONSOLES[arch]),
            ),
        )

    def violated(self, wrong: SegmentPlan) -> set[str]:
        """Return the invariants that a plan breaks on this machine."""
        return {item.invariant for item in verify(wrong, self.facts)}


def simulated(made: SegmentPlan) -> Simulation:
    """Simulate a plan, with its steps on the test's output."""
    done = run(made, emulate(made), None, SILENCE, lambda step: print(step_text(step), end=""))
    print(done.console)
    return done


@pytest.fixture(scope="module")
def pc() -> Sample:
    return Sample("x86_64-6.1-bios-512M")


@pytest.fixture(scope="module")
def virt() -> Sample:
    return Sample("aarch64-6.12-tree-1G")


def check_right(sample: Sample, done: Simulation) -> None:
    assert done.verdict.booted, done.verdict.reason
    assert WORDS in done.verdict.reason
    told = [step.text for step in done.steps]
    assert told[0].startswith("entered, ")
    assert told[2:] == [
        "the purgatory says: SHA-256 is right",
        f"the purgatory says: entering the new kernel at {sample.plan.kernel_entry:#x}",
        f"Linux {sample.kernel.release} has started",
        "it unpacks the initrd",
        "it runs /init as its init",
    ]


def test_a_right_plan_boots_a_pc(pc: Sample, tmp_path: Path) -> None:
    """By the front door, from a plan that was dumped."""
    initrd, dump, log = tmp_path / "initrd", tmp_path / "dump", tmp_path / "console"
    initrd.write_bytes(pc.initrd)
    where = ["--machine", str(pc.directory)]
    words = ["--append", pc.cmdline, "--initrd", str(initrd), "--call", "segments"]
    make = ["plan", str(pc.kernel.image), *words, *where, "--dump", str(dump)]
    assert CliRunner().invoke(cli, make, catch_exceptions=False).exit_code == 0

    done = CliRunner().invoke(
        cli, ["simulate", str(dump), *where, "--log", str(log), "--json"], catch_exceptions=False
    )

    assert done.exit_code == 0, done.output
    value = json.loads(done.stdout)
    assert value["schema"] == "pykexec.simulation/1"
    assert value["booted"] is True
    assert value["reason"] == f"its init says {WORDS!r}"
    assert value["machine"]["memory"] == 512 << 20
    assert any(pc.kernel.release in step["text"] for step in value["steps"])
    assert WORDS in value["console"]
    assert log.read_text().splitlines() == value["console"]
    # Told while it happens, elsewhere than the JSON.
    assert re.search(r"\n +\d+\.\d s  it runs /init as its init\n", done.stderr)


def test_a_right_plan_boots_an_arm64_board(virt: Sample) -> None:
    assert virt.violated(virt.plan) == set()
    check_right(virt, simulated(virt.plan))


Wrong = Callable[[SegmentPlan], SegmentPlan]


@pytest.mark.parametrize(
    ("wrong", "invariant", "reason"),
    [
        # What only memory after the load, or the processor, can show.
        (corrupted, None, "memory is not what the plan put there (SHA-256 mismatch)"),
        (entered_elsewhere, None, "the machine has reset itself, as after a triple fault"),
        # What the verifier names, without an emulator: that such a plan does not boot is why.
        (initrd_in_the_way, "kernel-init-size", "cannot unpack the initrd: "),
    ],
)
def test_a_wrong_plan_for_a_pc_is_caught(
    pc: Sample, wrong: Wrong, invariant: str | None, reason: str
) -> None:
    made = wrong(pc.plan)
    assert pc.violated(made) == ({invariant} if invariant else set())
    done = simulated(made)
    assert not done.verdict.booted
    assert reason in done.verdict.reason
