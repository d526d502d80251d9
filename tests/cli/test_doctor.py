"""``pykexec doctor`` on machines whose gates are open and shut."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result

from pykexec.cli.main import cli
from pykexec.errors import MachineError, NoCrashRegionError
from pykexec.machine.description import KcoreLoad
from pykexec.values.facts import CrashFacts
from pykexec.values.kernel_state import KernelState
from pykexec.values.memory import IomemEntry
from pykexec.values.ranges import Range
from pykexec.values.units import MIB
from tests.builders.boot_configs import write_system
from tests.builders.bzimage import KernelSpec, build_bzimage
from tests.builders.machines import MachineDirectory, build_machine
from tests.cli.test_machine import MACHINES
from tests.json_schemas import checked
from tests.unit.test_initramfs import archive

KERNEL = build_bzimage(KernelSpec(payload_size=64 * 1024))
OPEN = KernelState(
    release="6.12.1",
    loaded=False,
    crash_loaded=False,
    load_limit_reboot=-1,
    load_limit_panic=-1,
    lockdown="none",
    effective_capabilities=(1 << 41) - 1,
    memory_available=1 << 32,
)


def region(size: int) -> IomemEntry:
    return IomemEntry(Range.sized(512 * MIB, size), "Crash kernel")


@pytest.fixture
def kernel(tmp_path: Path) -> str:
    path = tmp_path / "vmlinuz"
    path.write_bytes(KERNEL)
    return str(path)


def run(*words: str | Path) -> Result:
    return CliRunner().invoke(cli, ["doctor", *map(str, words)], catch_exceptions=False)


def levels(*words: str | Path) -> dict[str, str]:
    """Return the level of each check; the exit code must go with them."""
    result = run("--json", *words)
    value: dict[str, Any] = checked(result.output)
    found = {finding["check"]: finding["level"] for finding in value["findings"]}
    assert len(found) == len(value["findings"]), "a check says one thing"
    assert result.exit_code == int("blocks" in found.values()) == int(value["blocked"])
    return found


def of_level(found: dict[str, str], level: str) -> set[str]:
    return {check for check, its in found.items() if its == level}


def test_an_open_machine(tmp_path: Path, kernel: str) -> None:
    notes = ((0, Range.sized(0x3000, 368)), (1, Range.sized(0x4000, 368)))
    crash = CrashFacts(notes, vmcoreinfo=Range.sized(0x5000, 4096))
    machine = build_machine(tmp_path / "m", kernel=OPEN, children=[region(512 * MIB)], crash=crash)
    text = KcoreLoad(0xFFFFFFFF81000000, 0x2000000)
    loads = (KcoreLoad(0xFFFF888000001000, 0x9E000), text)
    MachineDirectory(machine).write_kcore(loads, stext=text.vaddr)
    root = ("--append", "root=/dev/vda1")
    for words in ((), (kernel, *root), ("--crash",), (kernel, "--crash", *root)):
        found = levels(*words, "--machine", machine)
        assert of_level(found, "blocks") | of_level(found, "risk") == set()
    result = run(kernel, *root, "--machine", machine)
    assert result.exit_code == 0
    lines = result.output.splitlines()
    assert len(lines) <= 24
    assert lines[-1] == "verdict: nothing is known to block a normal load"
    assert "to be loaded by kexec_file_load: nothing asked" in " ".join(result.output.split())


@pytest.mark.parametrize(
    ("state", "crash", "blocks"),
    [
        (replace(OPEN, effective_capabilities=0), False, {"capability"}),
        (replace(OPEN, kexec_load_disabled=True), False, {"kexec_load_disabled"}),
        (replace(OPEN, load_limit_reboot=0), False, {"load_limit"}),
        (replace(OPEN, load_limit_reboot=0), True, set()),
        (replace(OPEN, load_limit_panic=0), True, {"load_limit"}),
        (replace(OPEN, lockdown="integrity"), False, {"lockdown"}),
        (replace(OPEN, loaded=None, crash_loaded=None), False, {"kexec"}),
        (
            replace(OPEN, lockdown="integrity", kexec_load_disabled=True),
            False,
            {"lockdown", "kexec_load_disabled"},
        ),
    ],
)
def test_shut_gates(
    tmp_path: Path, kernel: str, state: KernelState, crash: bool, blocks: set[str]
) -> None:
    machine = build_machine(tmp_path / "m", kernel=state, children=[region(512 * MIB)])
    words = [kernel, "--machine", str(machine), *(["--crash"] if crash else [])]
    assert of_level(levels(*words), "blocks") == blocks
    verdict = run(*words).output.splitlines()[-1]
    assert all(check in verdict for check in blocks)


def test_crash_memory(tmp_path: Path, kernel: str) -> None:
    none = build_machine(tmp_path / "none", kernel=OPEN)
    small = build_machine(tmp_path / "small", kernel=OPEN, children=[region(64 * MIB)])
    tiny = build_machine(tmp_path / "tiny", kernel=OPEN, children=[region(16 * MIB)])
    zero = build_machine(tmp_path / "zero", kernel=replace(OPEN, crash_size=0))
    for machine in (none, zero):
        crash = levels(kernel, "--crash", "--machine", machine)
        assert of_level(crash, "blocks") == {"crashkernel"}
        assert levels(kernel, "--machine", machine)["crashkernel"] == "note"
    assert of_level(levels(kernel, "--crash", "--machine", small), "blocks") == {"crash_memory"}
    # Not even the segments fit: a risk if it may come to kexec_load, and more if it must.
    words = [kernel, "--crash", "--machine", str(tiny)]
    assert levels(*words)["layout"] == "risk"
    words += ["--append", "x " * 1500]
    assert of_level(levels(*words), "blocks") == {"layout", "crash_memory"}
    assert "a crash load is blocked: layout, crash_memory" in run(*words).output


@pytest.mark.parametrize(
    ("word", "text", "advice"),
    [
        (
            "crashkernel=2G-4G:320M,4G-32G:512M",
            "none of crashkernel='s ranges covers this machine of 512 MiB (the first starts at 2G)",
            "add one such as 0-2G:SIZE; 'pykexec crash estimate KERNEL' says how much",
        ),
        (
            "crashkernel=64M-128M:16M,128M-512M:64M",
            "none of crashkernel='s ranges covers this machine of 512 MiB (the last ends at 512M)",
            "add one such as 512M-:SIZE",
        ),
        ("crashkernel=1G", "asks for 1 GiB, more than the RAM of this machine", "smaller size"),
        ("crashkernel=512M@16M", "crashkernel=512M@16M runs past the RAM", "leave @OFFSET off"),
        ("-- crashkernel=600M", "crashkernel=600M asks for 600 MiB, more than", "smaller size"),
        ("crashkernel=128M,hi", "crashkernel=128M,hi is not understood from ',hi' on", "write it"),
    ],
)
def test_why_nothing_is_reserved(
    tmp_path: Path, kernel: str, word: str, text: str, advice: str
) -> None:
    """On a machine of 512 MiB: in the finding, and as the refusal of a plan."""
    ram = (Range(0x1000, 0x9FC00), Range(0x100000, 0x1FFE0000))
    machine = build_machine(
        tmp_path / "m",
        ram=ram,
        cmdline=f"root=/dev/sda1 {word}".encode(),
        kernel=replace(OPEN, crash_size=0),
    )
    result = run("--crash", "--machine", machine)
    assert result.exit_code == 1
    assert max(map(len, result.output.splitlines())) <= 80
    said = " ".join(result.output.split())
    assert "so none can be loaded: " in said
    assert text in said
    assert advice in said
    words = ["plan", "--crash", kernel, "--machine", str(machine)]
    with pytest.raises(NoCrashRegionError) as caught:
        CliRunner().invoke(cli, words, catch_exceptions=False)
    assert caught.value.exit_code == 254
    assert text in caught.value.message
    assert advice in (caught.value.hint or "")


def test_a_reservation_that_was_made_smaller(tmp_path: Path) -> None:
    machine = build_machine(
        tmp_path / "m", kernel=OPEN, children=[region(64 * MIB)], cmdline=b"ro crashkernel=256M"
    )
    assert levels("--crash", "--machine", machine)["crashkernel"] == "note"
    said = " ".join(run("--crash", "--machine", machine).output.split())
    assert "64 MiB are reserved where crashkernel=256M asks for 256 MiB" in said


def test_an_initrd_that_cannot_be_unpacked(tmp_path: Path, kernel: str) -> None:
    """It is said once, and what it would take is not estimated."""
    machine = build_machine(tmp_path / "m", kernel=OPEN, children=[region(512 * MIB)])
    initrd = tmp_path / "initrd"
    initrd.write_bytes(archive(70000)[:50000])
    words = [kernel, "--initrd", str(initrd), "--machine", str(machine)]
    assert of_level(levels(*words), "blocks") == {"initrd"}
    found = levels(*words, "--crash")
    assert of_level(found, "blocks") == {"initrd"}
    assert "crash_memory" not in found
    initrd.write_bytes(archive(70000))
    assert levels(*words, "--crash")["crash_memory"] == "fine"


def test_a_kernel_without_the_call(tmp_path: Path, kernel: str) -> None:
    machine = MachineDirectory(build_machine(tmp_path / "m", kernel=OPEN))
    none = "# CONFIG_KEXEC is not set\n# CONFIG_KEXEC_FILE is not set\n"
    write_system(machine.path, {"/boot/config-6.12.1": none})
    words = [kernel, "--append", "root=/dev/vda1", "--machine", str(machine.path)]
    assert of_level(levels(*words), "blocks") == {"kernel_config"}
    write_system(machine.path, {"/boot/config-6.12.1": "CONFIG_KEXEC=y\n"})
    assert of_level(levels(*words), "blocks") == set()


def test_files_that_cannot_be_loaded(tmp_path: Path, kernel: str) -> None:
    machine = build_machine(tmp_path / "m", kernel=OPEN)
    Path(kernel).write_bytes(KERNEL[:700])
    for name in (kernel, str(tmp_path / "nowhere")):
        result = run(name, "--machine", machine)
        assert result.exit_code == 1
        assert result.output.startswith("BLOCKS  image")
        assert "verdict: a normal load is blocked: image" in result.output
        assert "no memory is reserved for a crash kernel" in result.output


def test_a_kernel_for_another_machine(tmp_path: Path, kernel: str) -> None:
    words: list[str | Path] = [kernel, "--machine", MACHINES / "aarch64-6.12-tree-1G"]
    assert "cannot be started by a machine of" in run(*words).output.replace("\n" + " " * 28, " ")


def test_scarce_memory(tmp_path: Path, kernel: str) -> None:
    state = replace(OPEN, memory_available=4096)
    machine = build_machine(tmp_path / "m", kernel=state)
    assert levels(kernel, "--machine", machine)["memory"] == "risk"


def test_a_machine_whose_memory_is_hidden(tmp_path: Path, kernel: str) -> None:
    state = replace(OPEN, effective_capabilities=0)
    machine = build_machine(tmp_path / "m", iomem="0-0 : System RAM\n", kernel=state)
    found = levels(kernel, "--machine", machine)
    assert of_level(found, "blocks") == {"capability"}
    assert (found["machine"], found["image"]) == ("note", "note")
    assert not {"crashkernel", "layout"} & {*found}
    for words in ((), (kernel, "--append", "x" * 2030)):  # the latter goes by kexec_load
        found = levels(*words, "--machine", machine)
        assert {"machine", "capability"} <= of_level(found, "blocks")


def test_a_record_of_no_more_than_a_memory_map(tmp_path: Path, kernel: str) -> None:
    machine = MachineDirectory(tmp_path)
    machine.write("machine.json", '{"arch": "x86_64"}')
    machine.write("proc/iomem", "00100000-bfffffff : System RAM\n")
    words = [kernel, "--append", "root=/dev/vda1", "--machine", str(machine.path)]
    found = levels(*words)
    assert of_level(found, "blocks") == set()
    assert found["kexec"] == "note"


def test_a_known_problem(tmp_path: Path) -> None:
    machine = build_machine(tmp_path / "m", kernel=OPEN)
    MachineDirectory(machine).write("sys/bus/vmbus/devices/x/id", "")
    output = run("--machine", machine).output
    assert "RISK    known:hyperv-cpus" in output
    assert "see  https://github.com/nix-community/nixos-images/issues/128" in output


def test_no_machine(tmp_path: Path) -> None:
    with pytest.raises(MachineError, match="is no machine directory"):
        run("--machine", tmp_path / "nowhere")


@pytest.mark.parametrize("path", sorted(MACHINES.iterdir()), ids=lambda path: path.name)
def test_recorded_guests(path: Path) -> None:
    found = levels("--machine", path)
    if path.name.startswith("m68k"):  # planned for records alone
        assert of_level(found, "blocks") == {"architecture"}
        return
    assert of_level(found, "blocks") == set()
    crash = levels("--crash", "--machine", path)
    expected = set() if "crash" in path.name else {"crashkernel"}
    assert of_level(crash, "blocks") == expected


def test_a_record_says_what_the_machine_does(tmp_path: Path) -> None:
    machine = MachineDirectory(build_machine(tmp_path / "m", kernel=OPEN))
    write_system(
        machine.path,
        {
            "/sys/bus/vmbus/devices/x/id": "",
            "/sys/module/hyperv_fb/parameters/y": "",
            "/proc/mounts": "/dev/vda1 / ext4 rw 0 0\ndebugfs /sys/kernel/debug debugfs rw 0 0\n",
            "/boot/config-6.12.1": "CONFIG_KEXEC=y\n",
            "/sys/class/dmi/id/sys_vendor": "Microsoft Corporation",
            "/sys/kernel/security/ima/policy": "appraise func=KEXEC_KERNEL_CHECK\n",
            "/sys/kernel/debug/kho/x": "",
        },
    )
    words = ["machine", "record", str(tmp_path / "r.tar"), "--machine", str(machine.path)]
    assert CliRunner().invoke(cli, words, catch_exceptions=False).exit_code == 0
    there, recorded = (run("--machine", m).output for m in (machine.path, tmp_path / "r.tar"))
    assert there == recorded
    for word in ("known:hyperv-fb", "mounts", "ima_appraisal", "kho", "CONFIG_KEXEC_FILE"):
        assert word in there
