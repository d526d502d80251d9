"""Recording a machine: what is read comes back, no more, and complete or not at all."""

from __future__ import annotations

import os
import subprocess
import tempfile
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pykexec.errors import MachineError, UsageError
from pykexec.machine import read_machine
from pykexec.machine import record as record_module
from pykexec.machine.description import KcoreLoad, read_description
from pykexec.machine.files import MachineFiles
from pykexec.machine.record import record
from pykexec.machine.roots import machine_files
from pykexec.machine.serial import read_serials
from pykexec.values.facts import CrashFacts, EddDevice, EfiFacts
from pykexec.values.kernel_state import KernelState
from pykexec.values.memory import IomemEntry
from pykexec.values.ranges import Range
from tests.builders.machines import MachineDirectory, build_machine
from tests.needs import unavailable

TEXT = KcoreLoad(0xFFFFFFFF81000000, 0x2000000)
LOADS = (KcoreLoad(0xFFFF888000001000, 0x9E000), TEXT)
DISK = EddDevice(0x80, 0x30, 5, 1022, 254, 63, b"\x1e\0" + bytes(28), 0x1234)
STATE = KernelState(
    release="6.12.1",
    loaded=False,
    crash_loaded=True,
    crash_size=1 << 28,
    load_limit_reboot=-1,
    lockdown="none",
    secure_boot=False,
    effective_capabilities=0x1FF,
    xen=False,
    memory_total=1 << 33,
    memory_available=1 << 32,
)
CRASH = CrashFacts(((0, Range.sized(0x3000, 368)), (1, Range.sized(0x4000, 368))))


def full_machine(path: Path) -> MachineDirectory:
    build_machine(
        path,
        firmware_map=True,
        boot_params=bytes(4096),
        efi=True,
        edd=[DISK],
        kernel=STATE,
        crash=CRASH,
        framebuffer_driver="EFI VGA",
        la57=False,
    )
    machine = MachineDirectory(path)
    machine.write_kcore(LOADS, stext=TEXT.vaddr)
    machine.write("sys/bus/acpi/devices/PNP0C80:00/hid", "PNP0C80\n")
    return machine


def names_in(path: Path) -> set[str]:
    return {str(file.relative_to(path)) for file in path.rglob("*") if file.is_file()}


def test_a_record_says_the_same_but_for_the_process(tmp_path: Path) -> None:
    machine = full_machine(tmp_path / "machine")
    record(machine.path, tmp_path / "record")
    facts = read_machine(machine.path, crash=True)
    assert facts.crash.kernel_text is not None
    assert facts.kernel.effective_capabilities == 0x1FF
    assert facts.memory_devices
    expected = replace(facts, kernel=replace(facts.kernel, effective_capabilities=None))
    assert read_machine(tmp_path / "record", crash=True) == expected


def test_a_record_of_a_record_is_the_same(tmp_path: Path) -> None:
    record(full_machine(tmp_path / "machine").path, tmp_path / "first")
    record(tmp_path / "first", tmp_path / "second")
    first, second = tmp_path / "first", tmp_path / "second"
    assert names_in(first) == names_in(second)
    assert all((first / n).read_bytes() == (second / n).read_bytes() for n in names_in(first))


@pytest.mark.parametrize("efi", [EfiFacts(), EfiFacts(acpi_rsdp=0x1000)])
def test_directories_that_speak_by_being_there(tmp_path: Path, efi: EfiFacts) -> None:
    build_machine(tmp_path / "machine", efi=efi)
    (tmp_path / "machine/proc/xen").mkdir()
    record(tmp_path / "machine", tmp_path / "record")
    facts = read_machine(tmp_path / "record", crash=True)
    assert (facts.efi, facts.kernel.xen) == (efi, True)
    assert facts == read_machine(tmp_path / "machine", crash=True)


def test_old_sysfs_names_and_debugfs_are_recorded(tmp_path: Path) -> None:
    machine = MachineDirectory(build_machine(tmp_path / "machine"))
    machine.write_kernel_state(replace(STATE, effective_capabilities=None), old_names=True)
    machine.write("proc/mounts", "a / ext4 rw 0 0\ndebugfs /d debugfs rw 0 0\n")
    machine.write("d/boot_params/data", bytes(4096))
    record(machine.path, tmp_path / "record")
    facts = read_machine(tmp_path / "record")
    assert facts == read_machine(machine.path)
    assert facts.boot_params is not None
    assert facts.kernel.crash_loaded is True
    assert (tmp_path / "record/proc/mounts").read_text() == "debugfs /d debugfs rw 0 0\n"


def test_nothing_is_recorded_that_is_not_read(tmp_path: Path) -> None:
    machine = full_machine(tmp_path / "machine")
    secrets = (
        "sys/kernel/boot_params/setup_data/0/data",
        "sys/firmware/efi/efivars/db-key",
        "etc/shadow",
    )
    for name in secrets:
        machine.write(name, "secret")
    machine.write("proc/meminfo", "MemTotal: 8 kB\nMemFree: 7 kB\nMemAvailable: 6 kB\n")
    record(machine.path, tmp_path / "record")
    names = names_in(tmp_path / "record")
    assert not names & {*secrets, "proc/self/status", "proc/kcore"}
    assert (tmp_path / "record/proc/kallsyms").read_text() == f"{TEXT.vaddr:016x} T _stext\n"
    assert (tmp_path / "record/proc/meminfo").read_text() == "MemTotal: 8 kB\nMemAvailable: 6 kB\n"
    assert (tmp_path / "record/proc/cpuinfo").read_text() == "flags\t\t: fpu lm\n"


def test_an_unreadable_kcore_costs_only_its_facts(tmp_path: Path) -> None:
    machine = full_machine(tmp_path / "machine")
    machine.write("proc/kcore", b"")
    record(machine.path, tmp_path / "record")
    crash = read_machine(tmp_path / "record", crash=True).crash
    assert crash == CRASH


def test_a_tar_unpacks_to_a_machine_directory(tmp_path: Path) -> None:
    machine = full_machine(tmp_path / "machine")
    record(machine.path, tmp_path / "box.tar")
    (tmp_path / "unpacked").mkdir()
    subprocess.run(["tar", "-xf", tmp_path / "box.tar", "-C", tmp_path / "unpacked"], check=True)
    record(machine.path, tmp_path / "record")
    unpacked = read_machine(tmp_path / "unpacked/box", crash=True)
    assert unpacked == read_machine(tmp_path / "record", crash=True)


def test_a_tar_has_no_name_before_it_is_whole(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    try:
        os.close(os.open(tmp_path, os.O_TMPFILE | os.O_WRONLY))
    except OSError as error:
        unavailable(f"this file system has no O_TMPFILE: {error.strerror}")
    machine = MachineDirectory(build_machine(tmp_path / "box"))

    def never(**_: object) -> tuple[int, str]:
        raise AssertionError("a temporary file with a name")

    monkeypatch.setattr(tempfile, "mkstemp", never)
    record(machine.path, tmp_path / "box.tar")
    assert (tmp_path / "box.tar").stat().st_nlink == 1


def test_a_tar_is_the_same_each_time(tmp_path: Path) -> None:
    machine = full_machine(tmp_path / "machine")
    for name in ("first", "second"):
        (tmp_path / name).mkdir()
        record(machine.path, tmp_path / name / "box.tar")
    first, second = (tmp_path / name / "box.tar" for name in ("first", "second"))
    assert first.read_bytes() == second.read_bytes()


def test_an_empty_directory_is_filled(tmp_path: Path) -> None:
    build_machine(tmp_path / "machine")
    (tmp_path / "record").mkdir()
    record(tmp_path / "machine", tmp_path / "record")
    assert read_machine(tmp_path / "record") == read_machine(tmp_path / "machine")


@pytest.mark.parametrize(
    ("target", "message"),
    [
        ("used", "used is not empty"),
        ("file", "file exists already"),
        ("file.tar", r"file\.tar exists already"),
        ("nowhere/record", "cannot write .*nowhere/record: No such file or directory"),
        ("nowhere/record.tar", "cannot write .*: No such file or directory"),
    ],
)
def test_a_target_in_use_is_refused_and_left_alone(
    tmp_path: Path, target: str, message: str
) -> None:
    build_machine(tmp_path / "machine")
    MachineDirectory(tmp_path).write("used/precious", "data")
    MachineDirectory(tmp_path).write("file", "data")
    MachineDirectory(tmp_path).write("file.tar", "data")
    before = names_in(tmp_path)
    with pytest.raises(UsageError, match=message):
        record(tmp_path / "machine", tmp_path / target)
    assert names_in(tmp_path) == before
    assert (tmp_path / "file.tar").read_text() == "data"


@pytest.mark.parametrize("target", ["record", "record.tar"])
def test_nothing_half_written_is_left_behind(
    tmp_path: Path, target: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    build_machine(tmp_path / "machine")

    def fail(_from: str, to: str, **_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("pykexec.machine.record.os.rename", fail)
    monkeypatch.setattr("pykexec.machine.record.os.link", fail)
    with pytest.raises(UsageError, match="No space left on device"):
        record(tmp_path / "machine", tmp_path / target)
    assert [path.name for path in tmp_path.iterdir()] == ["machine"]


def test_a_machine_that_cannot_be_read_leaves_nothing(tmp_path: Path) -> None:
    build_machine(tmp_path / "machine", iomem="0-0 : System RAM\n")
    with pytest.raises(MachineError, match="CAP_SYS_ADMIN"):
        record(tmp_path / "machine", tmp_path / "record")
    assert not (tmp_path / "record").exists()


def test_only_the_owner_can_read_a_record(tmp_path: Path) -> None:
    build_machine(tmp_path / "machine")
    record(tmp_path / "machine", tmp_path / "record")
    record(tmp_path / "machine", tmp_path / "record.tar")
    assert (tmp_path / "record").stat().st_mode & 0o077 == 0
    assert (tmp_path / "record.tar").stat().st_mode & 0o077 == 0


@settings(deadline=None)
@given(
    names=st.lists(st.sampled_from(["Reserved", "Crash kernel", "", "GART"]), max_size=4),
    numbers=st.lists(st.integers(0, 2**32), min_size=3, max_size=3),
)
def test_any_machine_comes_back(
    tmp_path_factory: pytest.TempPathFactory, names: list[str], numbers: list[int]
) -> None:
    path = tmp_path_factory.mktemp("any")
    children = [
        IomemEntry(Range.sized(0x10000000 + (at << 24), 0x1000), name)
        for at, name in enumerate(names)
    ]
    state = KernelState(loaded=bool(numbers[0] % 2), crash_size=numbers[1])
    efi = EfiFacts(runtime=numbers[2], platform_bits=32)
    build_machine(path / "machine", children=children, kernel=state, efi=efi)
    record(path / "machine", path / "record")
    assert read_machine(path / "record") == read_machine(path / "machine")


@pytest.mark.parametrize(("arch", "recorded"), [("aarch64", True), ("x86_64", False)])
def test_uarts_in_memory_are_recorded(tmp_path: Path, arch: str, recorded: bool) -> None:
    """Except for a PC, whose consoles are at known I/O ports."""
    machine = MachineDirectory(build_machine(tmp_path / "machine", arch=arch))
    attributes = {"iomem_base": "0x9000000", "type": "32", "io_type": "3", "line": "0"}
    for name, value in attributes.items():
        machine.write(f"sys/class/tty/ttyAMA0/{name}", f"{value}\n")
    record(machine.path, tmp_path / "record")
    read = {name for name in attributes if name != "line"} if recorded else set()
    directory = tmp_path / "record/sys/class/tty/ttyAMA0"
    assert names_in(directory) == read
    if recorded:
        found = read_serials(MachineFiles(tmp_path / "record"))
        assert found == read_serials(MachineFiles(machine.path)) != {}


IMA = "sys/kernel/security/ima/binary_runtime_measurements"


@pytest.mark.parametrize("live", [True, False])
def test_the_list_of_ima_is_recorded_on_demand(tmp_path: Path, live: bool) -> None:
    machine = MachineDirectory(build_machine(tmp_path / "machine"))
    if live:
        machine.write(IMA, b"list")
    for wanted in (False, True):
        target = tmp_path / f"record-{wanted}"
        left_out = record(machine.path, target, ima=wanted)
        assert left_out == (("IMA's measurement list",) if live and not wanted else ())
        assert read_description(MachineFiles(target)).left_out == left_out
        assert read_machine(target).ima_measurements == (b"list" if live and wanted else None)
    # A copy of a record cannot have what that lacks.
    assert record(tmp_path / "record-False", tmp_path / "copy", ima=True) == (
        ("IMA's measurement list",) if live else ()
    )


def test_masked_is_what_names_the_machine(tmp_path: Path) -> None:
    cmdline = b"root=UUID=0A1B-2C3D quiet"
    machine = build_machine(tmp_path / "machine", cmdline=cmdline, edd=[DISK], firmware_map=True)
    assert record(machine, tmp_path / "record", redacted=True) == ("serial numbers",)
    facts, masked = read_machine(machine), read_machine(tmp_path / "record")
    assert masked.edd == (replace(DISK, mbr_signature=0),)
    assert masked.cmdline == b"root=UUID=xxxx-xxxx quiet"
    assert replace(masked, cmdline=cmdline, edd=facts.edd) == facts
    # What has been masked once stays so.
    record(tmp_path / "record", tmp_path / "copy.tar")
    assert read_description(machine_files(tmp_path / "copy.tar")).left_out == ("serial numbers",)
    assert read_machine(tmp_path / "copy.tar") == masked


def test_a_list_cannot_be_masked(tmp_path: Path) -> None:
    machine = build_machine(tmp_path / "machine")
    with pytest.raises(UsageError, match="--redact and --ima exclude each other"):
        record(machine, tmp_path / "record", redacted=True, ima=True)


def test_lines_of_several_readers_of_one_file_are_kept(tmp_path: Path) -> None:
    machine = MachineDirectory(build_machine(tmp_path / "machine"))
    machine.write("proc/mounts", "a / ext4\nb /d debugfs\nc /x xfs\n")
    for redacted in (False, True):
        files = record_module._Recording(MachineFiles(machine.path), redacted=redacted)
        files.lines("proc/mounts", lambda line: b"debugfs" in line, 4)
        files.lines("proc/mounts", lambda line: b"ext4" in line or b"debugfs" in line, 4)
        assert files.files["proc/mounts"] == b"b /d debugfs\na / ext4\n"
