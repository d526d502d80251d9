"""The whole machine: from the least that will do to everything, and what is left alone."""

from __future__ import annotations

import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest

from pykexec.errors import MachineError
from pykexec.machine import read_machine
from pykexec.machine.description import KcoreLoad
from pykexec.values.facts import CrashFacts, MachineFacts
from pykexec.values.kernel_state import KernelState
from pykexec.values.memory import IomemEntry, MemoryMap
from pykexec.values.ranges import Range
from tests.builders.machines import (
    EFI,
    KERNEL_CODE,
    RAM,
    MachineDirectory,
    build_machine,
    iomem_of,
)

LOADS = (KcoreLoad(0xFFFF888000001000, 0x9E000), KcoreLoad(0xFFFFFFFF81000000, 0x2000000))


def test_the_least_that_will_do(tmp_path: Path) -> None:
    machine = MachineDirectory(tmp_path)
    machine.write("machine.json", '{"arch": "x86_64"}')
    machine.write_iomem("00100000-7fffffff : System RAM\n")
    entry = IomemEntry(Range(0x100000, 0x80000000), "System RAM")
    assert read_machine(tmp_path, crash=True) == MachineFacts("x86_64", 4096, (entry,))
    assert read_machine(str(tmp_path)) == read_machine(tmp_path)


def test_everything(tmp_path: Path) -> None:
    state = KernelState(release="6.12.1", loaded=False, effective_capabilities=0)
    crash = CrashFacts(((0, Range.sized(0x3000, 368)),), Range.sized(0x5000, 0x1024))
    build_machine(
        tmp_path,
        page_size=16384,
        children=[IomemEntry(Range(0x20000000, 0x30000000), "Crash kernel")],
        firmware_map=True,
        cmdline=b"quiet \xff ",
        boot_params=bytes(4096),
        efi=True,
        kernel=state,
        crash=crash,
        kcore=LOADS,
        cpus=3,
        framebuffer_driver="EFI VGA",
        la57=True,
    )
    facts = read_machine(tmp_path, crash=True)
    children = (
        IomemEntry(KERNEL_CODE, "Kernel code"),
        IomemEntry(Range(0x20000000, 0x30000000), "Crash kernel"),
    )
    assert facts == MachineFacts(
        arch="x86_64",
        page_size=16384,
        iomem=iomem_of(RAM, children),
        firmware_map=facts.memory_map,
        cmdline=b"quiet \xff ",
        boot_params=bytes(4096),
        efi=EFI,
        framebuffer_driver="EFI VGA",
        la57=True,
        hashing="portable",
        cpus=3,
        crash=replace(
            crash,
            kernel_text=Range.sized(KERNEL_CODE.start, 0x2000000),
            kernel_text_vaddr=0xFFFFFFFF81000000,
            page_offset_vaddr=0xFFFF888000000000,
        ),
        kernel=state,
    )
    assert [item.range for item in facts.firmware_map] == list(RAM)


def test_a_normal_load_leaves_kcore_and_kallsyms_alone(tmp_path: Path) -> None:
    build_machine(tmp_path)
    machine = MachineDirectory(tmp_path)
    machine.write("proc/kcore", b"no ELF file")
    machine.write("proc/kallsyms", "here T _stext\n")
    assert read_machine(tmp_path).crash == CrashFacts()
    with pytest.raises(MachineError, match="kcore"):
        read_machine(tmp_path, crash=True)


def test_add_efi_memmap_on_the_command_line_discards_the_firmware_map(tmp_path: Path) -> None:
    build_machine(tmp_path, firmware_map=True, cmdline=b"add_efi_memmap")
    facts = read_machine(tmp_path)
    assert facts.firmware_map == MemoryMap()
    assert [item.range for item in facts.memory_map] == list(RAM)


def test_what_only_x86_has_is_not_read_elsewhere(tmp_path: Path) -> None:
    build_machine(tmp_path, arch="aarch64", boot_params=b"short", la57=True)
    facts = read_machine(tmp_path)
    assert (facts.boot_params, facts.la57, facts.edd) == (None, None, ())


def test_an_unreadable_file_says_what_it_is_needed_for(tmp_path: Path) -> None:
    build_machine(tmp_path)
    (tmp_path / "sys/kernel/boot_params/data").mkdir(parents=True)
    with pytest.raises(MachineError) as caught:
        read_machine(tmp_path)
    assert caught.value.message == (
        f"cannot read {tmp_path}/sys/kernel/boot_params/data, needed for the parameters that "
        f"the running kernel was booted with: Is a directory"
    )


def test_a_missing_privilege_is_hinted_at(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    build_machine(tmp_path)

    def deny(_name: object, *_rest: object, **_more: object) -> None:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr("pykexec.machine.files.open_below", deny)
    with pytest.raises(MachineError, match=r"machine\.json.*: Permission denied") as caught:
        read_machine(tmp_path)
    assert caught.value.hint is not None
    assert "run as root" in caught.value.hint


def test_start_up_imports_no_heavy_library(tmp_path: Path) -> None:
    build_machine(tmp_path)
    code = (
        "import sys\nfrom pykexec.machine import read_machine\n"
        f"read_machine({str(tmp_path)!r})\n"
        "print(*sorted(sys.modules), sep='\\n')"
    )
    run = subprocess.run(
        [sys.executable, "-I", "-c", f"import sys; sys.path[:0] = {sys.path!r}\n{code}"],
        capture_output=True,
        text=True,
        check=True,
    )
    loaded = set(run.stdout.split())
    assert "pykexec.machine.iomem" in loaded
    heavy = {"construct", "elftools", "fdt", "click", "cffi", "pykexec.machine.kcore"}
    assert not heavy & loaded


def test_the_live_machine_or_the_reason_why_not() -> None:
    try:
        facts = read_machine("/")
    except MachineError as error:
        # Without privileges, or in a container: the reason is named all the same.
        seen = error.message
    else:
        seen = f"/{facts.kernel.release}/{len(facts.iomem)} entries of /proc/iomem"
    assert "/proc/iomem" in seen or "/sys/" in seen
