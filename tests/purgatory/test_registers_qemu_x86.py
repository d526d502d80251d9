"""x86's system registers in QEMU: as a debugger sees them on entry and where the kernel is entered.

The purgatory hashes in each of its ways: in C because the processor has no SHA instructions, or
because CPUID is an exception; and by the instructions, which QEMU has from version 10 on.
"""

from __future__ import annotations

import re
import struct
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest

from pykexec.purgatory_objects import load, load_start
from pykexec.purgatory_objects.parameters import PurgatoryParameters, build_purgatory
from pykexec.purgatory_objects.x86 import Entry32Registers, Entry64Registers
from pykexec.values.consoles import PcConsole
from tests.needs import unavailable
from tests.purgatory.bench import noise, table_for
from tests.purgatory.debugger_port import DebuggerPort
from tests.vm.debian import FetchError
from tests.vm.platforms import X86_64
from tests.vm.qemu import SHA_QEMU, qemu_missing, qemu_since, turn

TIMEOUT = 240
"""Seconds, on a machine that has other things to do; QEMU needs three."""
START = 0x10000
STATE, ENTRY, PAGE_TABLES = START + 0x20, START + 0x28, START + 0x1000
"""Of purgatory/start/x86_64.S."""
GO = 2
PURGATORY, KERNEL, INITRD = 0x400_0000, 0x600_0000, 0x800_0000
SEGMENTS = {KERNEL: noise(1 << 16), INITRD: noise((1 << 18) + 1000)}

CPUID = bytes.fromhex("0fa2")
EXCEPTIONS = {"#UD": bytes.fromhex("0f0b"), "#VC": bytes.fromhex("cd1d")}
"""Instructions of the same size: ud2, and int 29, which comes in as that exception does."""

SYSTEM = re.compile(
    r"\b(LDT|TR|IDT|CR\d|DR\d|EFER|FCW|FSW|FTW|MXCSR) *= *([0-9a-f]+(?: [0-9a-f]+)*)"
)
"""But for the GDT, which is the purgatory's own on exit."""
OF_THE_PORT = ("fs_base", "gs_base", "k_gs_base", "cr8")
CR0_TS, CR0_EM, CR0_WP = 1 << 3, 1 << 2, 1 << 16

pytestmark = pytest.mark.vm


@dataclass(frozen=True)
class Way:
    """What of the purgatory runs."""

    arch: str
    later: bool = False
    """QEMU is one whose processor has SHA instructions."""
    exception: str | None = None
    """CPUID is one."""

    def __str__(self) -> str:
        how = self.exception or ("instructions" if self.later else "portable")
        return f"{self.arch}-{how}"


WAYS = [
    Way(arch, later, exception)
    for arch in ("x86_64", "i386")
    for later, exception in ((False, None), (True, None), (True, "#UD"), (True, "#VC"))
]


def qemu_for(way: Way) -> str:
    """Return the program; insist on one."""
    if missing := qemu_missing(X86_64):
        unavailable(missing)
    try:
        return qemu_since(SHA_QEMU, X86_64) if way.later else X86_64.qemu
    except FetchError as error:
        unavailable(str(error))


def old_kernel_of_32_bits() -> bytes:
    """Return a Multiboot program that leaves wild registers behind and goes to the purgatory."""
    magic, flags = 0x1BADB002, 0x10002
    header = (magic, flags, -(magic + flags) & 0xFFFF_FFFF, START, START, 0, 0, START + 32)
    code = bytes.fromhex("fafc bc00000700")  # cli; cld; mov $0x70000, %esp
    code += b"\x0f\x01\x1d" + struct.pack("<I", START + 96)  # lidt
    code += bytes.fromhex("b808000000 0f22e0")  # mov $CR4.DE, %cr4
    code += bytes.fromhex("b8 00000067 0f22d0")  # mov $0x67000000, %cr2
    code += bytes.fromhex("0f20c0 0d") + struct.pack("<I", CR0_TS | CR0_EM | CR0_WP)
    code += bytes.fromhex("0f22c0")  # mov %eax, %cr0
    code += b"\x68" + struct.pack("<I", PURGATORY) + b"\xc3"  # push; ret
    return struct.pack("<8I", *header) + code.ljust(64, b"\x90") + struct.pack("<HI", 0x77, 0x1234)


def page_tables() -> bytes:
    """Return tables that map the first GiB to itself, by pages of 2 MiB."""
    page = [(PAGE_TABLES + 0x1000 * level | 0x63).to_bytes(8, "little") for level in (1, 2)]
    large = b"".join((0x20_0000 * index | 0xE3).to_bytes(8, "little") for index in range(512))
    return page[0].ljust(4096, b"\0") + page[1].ljust(4096, b"\0") + large


def purgatory(way: Way) -> bytes:
    """Return the patched object."""
    registers = (
        Entry64Registers(rsi=ord("x"), rip=KERNEL)
        if way.arch == "x86_64"
        else Entry32Registers(esi=ord("x"), eip=KERNEL)
    )
    console = PcConsole(console_serial=True)
    params = PurgatoryParameters(registers, table_for(SEGMENTS), console=console)
    built = build_purgatory(load(way.arch), PURGATORY, params)
    if way.exception is not None:
        assert built.count(CPUID) == 1
        built = built.replace(CPUID, EXCEPTIONS[way.exception])
    return built


@contextmanager
def machine(way: Way, work: Path) -> Iterator[DebuggerPort]:
    """Start QEMU, which stands still at first."""
    start = load_start("x86_64") if way.arch == "x86_64" else old_kernel_of_32_bits()
    (work / "start").write_bytes(start)
    command = [
        qemu_for(way),
        "-M",
        "pc",
        "-cpu",
        "max" if way.later else "max,-sha-ni",
        "-m",
        "256",
        "-kernel",
        str(work / "start"),
    ]
    command += ["-nodefaults", "-display", "none", "-serial", f"file:{work / 'serial'}"]
    command += ["-chardev", f"socket,path={work / 'port'},server=on,wait=off,id=port"]
    command += ["-no-reboot", "-S", "-gdb", "chardev:port"]
    for address, data in {PURGATORY: purgatory(way), **SEGMENTS}.items():
        file = work / f"{address:x}"
        file.write_bytes(data)
        command += ["-device", f"loader,file={file},addr={address:#x},force-raw=on"]
    with turn(), subprocess.Popen(command, stdin=subprocess.DEVNULL) as qemu:
        try:
            port = DebuggerPort(work / "port", TIMEOUT)
            yield port
            port.close()
        finally:
            qemu.kill()


def run_to(port: DebuggerPort, address: int) -> None:
    port.set_breakpoint(address)
    port.run()
    port.clear_breakpoint(address)


def system_registers(port: DebuggerPort) -> dict[str, str]:
    """Return them as the monitor shows them, and what only the port has."""
    found = dict(SYSTEM.findall(port.monitor("info registers")))
    own = port.registers()
    return found | {name: f"{own[name]:x}" for name in OF_THE_PORT}


def vectors(port: DebuggerPort) -> set[int]:
    """Return the contents of the first eight vector registers."""
    shown = re.findall(r"[XY]MM0?[0-7]=([0-9a-f ]+)", port.monitor("info registers"))
    return {int(value.replace(" ", ""), 16) for value in shown}


@pytest.mark.parametrize("way", WAYS, ids=str)
def test_all_system_registers_are_what_they_were(way: Way, tmp_path: Path) -> None:
    with machine(way, tmp_path) as port:
        if way.arch == "x86_64":
            run_to(port, START + load_start("x86_64").index(b"\xf3\x90"))  # pause
            port.write_memory(PAGE_TABLES, page_tables())
            port.write_memory(ENTRY, PURGATORY.to_bytes(8, "little"))
            port.write_memory(STATE, GO.to_bytes(4, "little"))
        run_to(port, PURGATORY)
        entry = system_registers(port)
        run_to(port, KERNEL)
        leaving = system_registers(port)
        assert port.registers()["rsi"] == ord("x")
        by_instructions = vectors(port) != {0}
    said = (tmp_path / "serial").read_text("ascii")
    assert "SHA-256 is right" in said
    assert by_instructions is (way.later and way.exception is None)
    assert {"LDT", "TR", "IDT", "CR0", "CR2", "CR3", "CR4", "DR7", "EFER", "MXCSR"} <= set(entry)
    assert leaving == entry
