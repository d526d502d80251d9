"""What is called and what is said when something is refused, beside the C tool's answers."""

from __future__ import annotations

import errno
import json
import os
from pathlib import Path

import pytest

from pykexec.values.kernel_state import KernelState
from tests.builders.machines import MachineDirectory
from tests.differential.conftest import Kernels
from tests.differential.machines import bios_512m, golden_b
from tests.differential.sandbox import Sandbox, SandboxError, Tool

pytestmark = pytest.mark.differential

KEXEC_CMD = 0x45584543
KEXEC_DEBUG = 0x10
X86_64 = 62 << 16

HINTS = {
    errno.EPERM: "IMA",
    errno.EBUSY: "try again",
    errno.EINVAL: "--dry-run",
    errno.EADDRNOTAVAIL: "try again",
    errno.ENOMEM: "smaller initrd",
    errno.ENOSYS: "CONFIG_KEXEC=y",
}
"""A word of the hint that each errno of kexec_load gives."""


@pytest.fixture
def kernel(kernels: Kernels) -> str:
    return str(kernels.path("ordinary"))


@pytest.fixture
def machine(tmp_path: Path) -> Path:
    return bios_512m(tmp_path / "machine")


def set_state(machine: Path, state: KernelState) -> None:
    """Write the files that say what is loaded, under their old names: the C tool knows no other."""
    MachineDirectory(machine).write_kernel_state(state, old_names=True)


@pytest.mark.parametrize("number", HINTS, ids=lambda number: errno.errorcode[number])
def test_errno_is_explained(
    sandbox: Sandbox, ours: Tool, theirs: Tool, machine: Path, kernel: str, number: int
) -> None:
    arguments = ["-c", "-l", kernel, "--append=x"]
    said = [sandbox.run(tool, arguments, machine, fail_with=number) for tool in (theirs, ours)]
    assert [outcome.exit_code for outcome in said] == [255, 255]
    assert [[call.call for call in outcome.calls] for outcome in said] == [["kexec_load"]] * 2
    message, hint = said[1].stderr.splitlines()
    name = errno.errorcode[number]
    assert message.startswith(f"kexec: kexec_load failed: {os.strerror(number)} ({name}): ")
    assert hint.startswith("hint: ")
    assert HINTS[number] in hint
    assert said[1].stdout == ""


def test_shut_gate_is_named(sandbox: Sandbox, ours: Tool, machine: Path, kernel: str) -> None:
    set_state(machine, KernelState(lockdown="integrity", kexec_load_disabled=True))
    outcome = sandbox.run(ours, ["-c", "-l", kernel], machine, fail_with=errno.EPERM)
    assert "lockdown" in outcome.stderr
    assert "kexec_load_disabled is 1" in outcome.stderr


def test_debug_flag_is_left_out_when_the_kernel_does_not_know_it(
    sandbox: Sandbox, ours: Tool, machine: Path, kernel: str
) -> None:
    arguments = ["-d", "-c", "-l", kernel]
    outcome = sandbox.run(ours, arguments, machine, fail_with=errno.EINVAL, fail_call=1)
    assert outcome.exit_code == 0, outcome.stderr
    flags = [call.flags for call in outcome.calls if call.call == "kexec_load"]
    assert flags == [X86_64 | KEXEC_DEBUG, X86_64]


@pytest.mark.parametrize("tried", [1, 2])
def test_the_other_hotplug_flag_is_tried_once(
    sandbox: Sandbox, ours: Tool, tmp_path: Path, kernel: str, tried: int
) -> None:
    """kexec-tools since 2.0.27 sends the first one, and dies where the kernel refuses it."""
    machine = golden_b(tmp_path / "crash")
    set_state(machine, KernelState(crash_size=256 << 20, crash_elfcorehdr_size=110592))
    arguments = ["-c", "-p", kernel, "--hotplug"]
    refusal = errno.EINVAL if tried == 2 else None
    outcome = sandbox.run(ours, arguments, machine, fail_with=refusal, fail_call=1)
    assert outcome.exit_code == 0, outcome.stderr
    flags = [call.flags for call in outcome.calls if call.call == "kexec_load"]
    assert flags == [X86_64 | 0x1 | 0x4, X86_64 | 0x1 | 0x8][:tried]
    told = (
        "kexec: --hotplug: the kernel refused KEXEC_UPDATE_ELFCOREHDR and took "
        "KEXEC_CRASH_HOTPLUG_SUPPORT\n"
    )
    assert outcome.stderr == ("" if tried == 1 else told)


@pytest.mark.parametrize("call", ["-c", "-s", "-a"])
def test_hotplug_is_refused_where_the_kernel_does_not_know_it(
    sandbox: Sandbox, ours: Tool, tmp_path: Path, kernel: str, call: str
) -> None:
    machine = golden_b(tmp_path / "crash")
    set_state(machine, KernelState(crash_size=256 << 20))
    outcome = sandbox.run(ours, [call, "-p", kernel, "--hotplug"], machine)
    assert (outcome.exit_code, outcome.calls) == (255, ())
    assert "kexec: --hotplug: the running kernel does not update a core header" in outcome.stderr
    assert "hint: leave out --hotplug" in outcome.stderr


@pytest.mark.parametrize("how", ["--dry-run", "--dry-run=json"])
def test_dry_run_calls_nothing(
    sandbox: Sandbox, ours: Tool, machine: Path, kernel: str, how: str
) -> None:
    outcome = sandbox.run(ours, ["-l", kernel, "--append=ro quiet", how], machine)
    assert outcome.exit_code == 0, outcome.stderr
    assert outcome.calls == ()
    assert "ro quiet" in outcome.stdout


def test_dry_run_tells_what_is_loaded_afterwards(
    sandbox: Sandbox, ours: Tool, machine: Path, kernel: str
) -> None:
    arguments = ["-c", "-l", kernel, "--append=ro quiet"]
    told = json.loads(sandbox.run(ours, [*arguments, "--dry-run=json"], machine).stdout)
    load = sandbox.run(ours, arguments, machine).load
    assert int(told["entry"], 0) == load.entry
    assert int(told["flags"], 0) == load.flags
    places = [(int(item["mem"], 0), item["memsz"], item["bufsz"]) for item in told["segments"]]
    assert places == [(s.mem, s.memsz, s.bufsz) for s in load.segments]


def test_failed_verification_calls_nothing(
    sandbox: Sandbox, ours: Tool, machine: Path, kernel: str
) -> None:
    set_state(machine, KernelState(memory_total=40 << 20))
    outcome = sandbox.run(ours, ["-c", "-l", kernel], machine)
    assert outcome.exit_code == 255
    assert "memory-suffices" in outcome.stderr
    assert outcome.calls == ()


def test_unload_is_the_same_call(sandbox: Sandbox, ours: Tool, theirs: Tool, machine: Path) -> None:
    said = [sandbox.run(tool, ["-c", "-u"], machine) for tool in (theirs, ours)]
    assert [outcome.exit_code for outcome in said] == [0, 0]
    assert said[0].calls == said[1].calls
    assert [(call.flags, call.segments) for call in said[1].calls] == [(X86_64, ())]


def test_jump_is_the_same_call(sandbox: Sandbox, ours: Tool, theirs: Tool, machine: Path) -> None:
    set_state(machine, KernelState(loaded=True))
    said = [sandbox.run(t, ["-e"], machine, fail_with=errno.EINVAL) for t in (theirs, ours)]
    assert [outcome.exit_code for outcome in said] == [255, 255]
    for outcome in said:
        assert [(call.call, call.command) for call in outcome.calls] == [
            ("sync", 0),
            ("reboot", KEXEC_CMD),
        ]


@pytest.mark.parametrize(
    ("arguments", "codes"),
    [
        (["-l", "TRUNCATED"], (255, 255)),
        (["-l", "KERNEL", f"--append={'x' * 2100}"], (255, 255)),
        # There is room for the kernel once the others make way.
        (["-l", "KERNEL", "--mem-max=0x2ffffff"], (0, 0)),
        # There is room for the initrd below 16 MiB, where it may not be.
        (["-l", "KERNEL", "--mem-max=0x31fffff"], (0, 0)),
        (["-l", "KERNEL", "--mem-max=0x31fffff", "--initrd=INITRD"], (1, 255)),
    ],
    ids=lambda value: " ".join(value)[:40] if isinstance(value, list) else None,
)
def test_exit_codes_of_limits(
    sandbox: Sandbox,
    ours: Tool,
    theirs: Tool,
    machine: Path,
    kernel: str,
    tmp_path: Path,
    initrds: dict[str, Path],
    arguments: list[str],
    codes: tuple[int, int],
) -> None:
    truncated = tmp_path / "truncated"
    truncated.write_bytes(Path(kernel).read_bytes()[:1500])
    files = {
        "KERNEL": kernel,
        "TRUNCATED": str(truncated),
        "--initrd=INITRD": f"--initrd={initrds['10M']}",
    }
    given = ["-c", *(files.get(word, word) for word in arguments)]
    said = [sandbox.run(tool, given, machine) for tool in (theirs, ours)]
    assert tuple(outcome.exit_code for outcome in said) == codes
    for outcome in said:
        assert outcome.exit_code == 0 or outcome.calls == ()


def test_nothing_runs_before_the_sandbox_is_verified(ours: Tool, machine: Path) -> None:
    with pytest.raises(SandboxError, match="verify has not succeeded"):
        Sandbox().run(ours, ["-v"], machine)
