"""Xen's dom0: kernels that are loaded into the hypervisor, and what starts them."""

from __future__ import annotations

import dataclasses
import json
import mmap
import secrets
from pathlib import Path

import pytest
from elftools.elf.elffile import ELFFile
from elftools.elf.segments import NoteSegment

from pykexec.cli import vmcore_dmesg
from tests.vm import debian, kdump, xen
from tests.vm.conftest import Vm
from tests.vm.crashes import CAPTURE_CMDLINE, PANIC, TAKE_WHOLE
from tests.vm.scenario import CONSOLE, boot_path
from tests.vm.test_x86_64_boot import DESCRIBE, described

KERNEL = boot_path(xen.SERIES)
CORE, XEN_REGS, XEN_INFO = ("CORE", 1), ("Xen", 0x1000002), ("Xen", 0x1000001)
LOAD_WORDS = "--console-serial --initrd=/boot/initrd-small"


@pytest.mark.full
def test_dom0_loads_and_jumps(vm: Vm) -> None:
    """The hypervisor holds what was loaded, tells of it, unloads it, and starts the kernel."""
    load = f"kexec -d -l {KERNEL} {LOAD_WORDS} --append='{CONSOLE} vmtest.phase=2'"
    script = f"""
        {xen.BEGIN}
        say() {{ echo "$1 $(kexec -S $2; echo $?)"; }}
        say before -l
        {load} 2>&1 | sed 's/^/said /'
        say loaded -l
        say crash ""
        echo "status $(pykexec status --json | tr -d '\\n')"
        kexec -u
        say unloaded -l
        {load} 2>/dev/null
        echo "linux $(cat /sys/kernel/kexec_loaded)"
        kexec -e
    """
    arrived = "echo xen $(ls /sys/hypervisor 2>/dev/null | wc -l)\n" + DESCRIBE
    result = vm(
        [script, arrived],
        kernel=xen.SERIES,
        flavour=xen.FLAVOUR,
        boot=[(xen.SERIES, "cloud")],
        machine=xen.MACHINE,
        files=xen.dom0_files(),
        xen=xen.WORDS,
    )
    first, then = (result.phases[phase].lines for phase in (1, 2))
    for line in ("before 0", "loaded 1", "crash 0", "unloaded 0", "linux 0"):
        assert line in first, line
    (status,) = (line.removeprefix("status ") for line in first if line.startswith("status "))
    assert json.loads(status)["loaded"] is True
    assert result.phases[2].release == debian.kernel(xen.SERIES).release
    # The whole machine, of which dom0 had a part.
    assert "xen 0" in then
    ram = [line for line in described(result, 2, "memmap") if line.endswith("System RAM")]
    assert ram == ["0x0 0x9fbff System RAM", "0x100000 0x3ffdffff System RAM"]
    assert described(result, 2, "cpus") == [str(xen.MACHINE.cpus)]
    assert "SHA-256 is right" in result.serial


@pytest.mark.full
def test_dom0_crashes_into_a_capture_kernel(
    vm: Vm, work: Path, capsysbinary: pytest.CaptureFixture[bytes]
) -> None:
    """The core has the whole machine, the notes of Xen and of dom0's kernel, and dom0's log."""
    nonce = secrets.token_hex(8)
    script = f"""
        {xen.BEGIN}
        kexec -p {KERNEL} {LOAD_WORDS} --append='{CAPTURE_CMDLINE}'
        echo "crash $(kexec -S; echo $?)"
        pykexec crash status
        echo "{nonce}" >/dev/kmsg
        echo c >/proc/sysrq-trigger
    """
    core = work / "core"
    result = vm(
        [script, TAKE_WHOLE],
        kernel=xen.SERIES,
        flavour=xen.FLAVOUR,
        boot=[(xen.SERIES, "cloud")],
        machine=dataclasses.replace(xen.MACHINE, extra=kdump.core_port(core)),
        files={**xen.dom0_files(), **kdump.port_modules(debian.kernel(xen.SERIES))},
        xen=xen.WORDS,
        meant_death=PANIC,
    )
    first = result.phases[1].lines
    assert "crash 1" in first
    assert any(line.startswith("verdict:          fresh: ") for line in first), first
    assert result.phases[2].release == debian.kernel(xen.SERIES).release

    with core.open("rb") as file:
        elf = ELFFile(file)
        notes = [
            (note["n_name"], note["n_type"] if isinstance(note["n_type"], int) else 1)
            for segment in elf.iter_segments()
            if isinstance(segment, NoteSegment)
            for note in segment.iter_notes()
        ]
        with mmap.mmap(file.fileno(), 0, prot=mmap.PROT_READ) as memory:
            assert memory.find(f"{PANIC}".encode()) > 0
            assert memory.find(nonce.encode()) > 0
    assert [name for name, _ in notes][-2:] == ["VMCOREINFO", "VMCOREINFO_XEN"]
    assert notes.count(CORE) == notes.count(XEN_REGS) == xen.MACHINE.cpus
    assert notes.count(XEN_INFO) == 1
    loads = kdump.loads(core)
    area = 160 << 20
    assert sum(load.size for load in loads) == (1 << 30) - (0x20000 + 0x60400 + area)

    assert vmcore_dmesg.main([str(core)]) == 0
    log = capsysbinary.readouterr().out.decode()
    assert nonce in log
    assert PANIC in log
    assert "sysrq_handle_crash" in log
