"""The ppc64le purgatory on QEMU's bare machines: real mode, both byte orders, real consoles.

No kernel is involved. A few instructions in the firmware's place, or started by it, stand for the
old kernel's last; where the new kernel is entered the machine is stopped and looked at.
"""

from __future__ import annotations

import shutil
import struct
import subprocess
import time
from collections.abc import Iterator, Sequence
from contextlib import closing, contextmanager
from dataclasses import replace
from pathlib import Path

import pytest

from pykexec.purgatory_objects.parameters import PurgatoryParameters, build_purgatory
from pykexec.purgatory_objects.ppc64le import Ppc64leRegisters
from pykexec.values.consoles import FirmwareConsole, FirmwareKind
from tests.needs import unavailable
from tests.purgatory.bench import PPC64LE, noise
from tests.purgatory.debugger_port import DebuggerPort
from tests.vm.qemu import turn

QEMU = "qemu-system-ppc64"
TIMEOUT = 120
"""Seconds, on a machine that has other things to do; QEMU needs two."""

PURGATORY = 0x400_0000
KERNEL = 0x500_0000
TREE = 0x600_0000
INITRD = 0x700_0000
BACKUP = 0x800_0000
PAYLOAD = 0x2000_0000
"""Where QEMU puts what OPAL's firmware is to start."""
CPU = 0x2B
VTY = FirmwareConsole(FirmwareKind.HYPERVISOR, 0x7100_0000)
OPAL = FirmwareConsole(FirmwareKind.OPAL, 0)
RUN_AT_LOAD = 0x5C
HEAD = bytes(range(4, 256))

PC, MSR = 64, 65
MSR_LE = 1

OLD_KERNEL = (
    0x38600009,  # li r3, 9
    0x7863E0C6,  # sldi r3, r3, 60
    0x60631003,  # ori r3, r3, 0x1003
    0x7C7B03A6,  # mtsrr1 r3: 64 bits, hypervisor if it is one, little endian, no paging
    0x3C800400,  # lis r4, 0x400
    0x7C9A03A6,  # mtsrr0 r4: the purgatory
    0x3820FFFF,  # li r1, -1
    0x3840FFFF,  # li r2, -1
    0x3980FFFF,  # li r12, -1
    0x39A0FFFF,  # li r13, -1
    0x38A00000,  # li r5, 0
    0x3860002B,  # li r3, 43
    0x4C000024,  # rfid
)
START = b"".join(word.to_bytes(4, "big") for word in OLD_KERNEL)

pytestmark = pytest.mark.vm


@pytest.fixture(autouse=True)
def emulator() -> None:
    """Insist on QEMU."""
    if shutil.which(QEMU) is None:
        unavailable(f"there is no {QEMU} here (Debian package qemu-system-ppc)")


def patched(params: PurgatoryParameters) -> bytes:
    return build_purgatory(PPC64LE.obj, PURGATORY, params)


def segments() -> dict[int, bytes]:
    return {
        KERNEL: noise(1 << 20),
        TREE: struct.pack(">10I", 0xD00DFEED, 0x1000, 0, 0, 0, 17, 16, 0xFFFF, 0, 0) + noise(4056),
        INITRD: noise((1 << 20) + 1000, seed=2),
    }


def covering(contents: dict[int, bytes], console: FirmwareConsole) -> PurgatoryParameters:
    return PPC64LE.covering(
        contents,
        registers=Ppc64leRegisters(kernel_head=HEAD, run_at_load=1, r3=TREE, r8=8, r9=9, pc=KERNEL),
        console=console,
        backup_src_start=0,
        backup_src_size=0x1_0000,
        backup_dst_start=BACKUP,
    )


def pseries(work: Path) -> list[str]:
    """Return how a guest is started: firmware lies at 0, and begins at 0x100."""
    firmware = work / "firmware"
    firmware.write_bytes(noise(0x100, seed=3) + START.ljust(0x1_0000, b"\0"))
    options = "cap-cfpc=broken,cap-sbbc=broken,cap-ibs=broken,cap-ccf-assist=off"
    board = ["-M", f"pseries,{options}", "-cpu", "power9", "-m", "512M", "-nodefaults"]
    return [*board, "-bios", str(firmware)]


def powernv(work: Path) -> list[str]:
    """Return how a machine without a hypervisor is started: firmware is OPAL's."""
    file = work / "payload"
    file.write_bytes(payload())
    return ["-M", "powernv9", "-smp", "1", "-m", "2G", "-nic", "none", "-kernel", str(file)]


@contextmanager
def machine(words: Sequence[str], contents: dict[int, bytes], work: Path) -> Iterator[DebuggerPort]:
    """Start QEMU, standing still."""
    command = [QEMU, *words, "-display", "none", "-S"]
    command += ["-serial", f"file:{work / 'serial'}"]
    command += ["-chardev", f"socket,path={work / 'port'},server=on,wait=off,id=port"]
    command += ["-gdb", "chardev:port"]
    for start, data in contents.items():
        file = work / f"{start:x}"
        file.write_bytes(data)
        command += ["-device", f"loader,file={file},addr={start:#x},force-raw=on"]
    with turn(), subprocess.Popen(command, stdin=subprocess.DEVNULL) as qemu:
        try:
            with closing(DebuggerPort(work / "port", TIMEOUT)) as port:
                yield port
        finally:
            qemu.kill()


def said(work: Path) -> str:
    return (work / "serial").read_bytes().decode("ascii", "replace").replace("\r\n", "\n")


def entered(port: DebuggerPort) -> dict[str, int]:
    """Let it run, and return registers as the kernel finds them, in big endian."""
    port.set_breakpoint(KERNEL)
    port.run()
    numbers = {**{f"r{number}": number for number in range(14)}, "pc": PC, "msr": MSR}
    return {name: port.read_register(number, "big") for name, number in numbers.items()}


def check_entry(port: DebuggerPort, contents: dict[int, bytes]) -> None:
    found = entered(port)
    assert [found[f"r{number}"] for number in (3, 4, 5, 8, 9)] == [TREE, KERNEL, 0, 8, 9]
    assert found["pc"] == KERNEL
    assert found["msr"] & 0xFFFF == 0x1002
    kernel = bytearray(contents[KERNEL][:0x1000])
    kernel[RUN_AT_LOAD : RUN_AT_LOAD + 4] = b"\1\0\0\0"
    assert port.read_memory(KERNEL, 0x400) == kernel[:0x400]
    assert port.read_memory(TREE, 40) == contents[TREE][:28] + bytes([0, 0, 0, CPU]) + bytes(8)
    for start in range(0, 0x1_0000, 0x400):
        assert port.read_memory(BACKUP + start, 0x400) == port.read_memory(start, 0x400)


def test_right_digest_enters_the_kernel(tmp_path: Path) -> None:
    """Low memory is what it was, since the machine began in it, and copied."""
    contents = segments()
    loaded = {PURGATORY: patched(covering(contents, VTY)), **contents}
    with machine(pseries(tmp_path), loaded, tmp_path) as port:
        check_entry(port, contents)
        low = port.read_memory(0, 0x100)
    assert low == noise(0x100, seed=3)
    assert said(tmp_path) == (
        "pykexec purgatory: verifying 3 segments, 2.0 MiB, in 258 pieces of 8 KiB\n"
        "pykexec purgatory: SHA-256 is right\n"
        f"pykexec purgatory: entering the new kernel at {KERNEL:#x}\n"
    )


def halted(port: DebuggerPort, work: Path) -> str:
    """Return what was said once it has given up."""
    port.start()
    end = time.monotonic() + TIMEOUT
    while not said(work).endswith("reset the machine\n"):
        assert time.monotonic() < end, said(work)
        time.sleep(0.05)
    return said(work)


@pytest.mark.parametrize("address", [KERNEL + 0x5E, TREE + 31, INITRD + (1 << 20)])
def test_a_flipped_bit_stops_it(address: int, tmp_path: Path) -> None:
    """The words that it writes itself are among what it looks at before."""
    contents = segments()
    params = covering(contents, VTY)
    start = max(item for item in contents if item <= address)
    damaged = bytearray(contents[start])
    damaged[address - start] ^= 4
    contents[start] = bytes(damaged)
    loaded = {PURGATORY: patched(params), **contents}
    with machine(pseries(tmp_path), loaded, tmp_path) as port:
        text = halted(port, tmp_path)
    piece = start + (address - start) // 8192 * 8192
    assert f"\n  {piece:#x}, " in text
    assert f"of the segment at {start:#x}, " in text
    assert "1 of 258 pieces is not what it was.\n" in text
    assert "entering" not in text


def payload() -> bytes:
    """Return an ELF file that OPAL starts: in big endian, by a function descriptor."""
    size = len(START) + 16
    header = b"\x7fELF\2\2\1".ljust(16, b"\0") + struct.pack(
        ">HHIQQQIHHHHHH", 2, 21, 1, 0x1000, 64, 0, 1, 64, 56, 1, 0, 0, 0
    )
    header += struct.pack(">IIQQQQQQ", 1, 7, 0x1000, 0x1000, 0, size, size, 0x1000)
    return header.ljust(0x1000, b"\0") + struct.pack(">QQ", 0x1010, 0) + START


@pytest.mark.full
def test_opal_is_written_to(tmp_path: Path) -> None:
    """Where it is and how it is called it tells in r8 and r9 what it starts."""
    contents = segments()
    with machine(powernv(tmp_path), {}, tmp_path) as port:
        port.set_breakpoint(PAYLOAD + 0x1010)
        port.run()
        port.clear_breakpoint(PAYLOAD + 0x1010)
        base, entry = (port.read_register(number, "big") for number in (8, 9))
        params = covering(contents, OPAL)
        registers = replace(params.registers, r8=base, r9=entry)
        # OPAL has cleared all memory but its own and this.
        loaded = {PURGATORY: patched(replace(params, registers=registers)), **contents}
        for start, data in loaded.items():
            port.write_memory(start, data)
        found = entered(port)
    assert [found[f"r{number}"] for number in (3, 4, 5, 8, 9)] == [TREE, KERNEL, 0, base, entry]
    assert said(tmp_path).endswith(
        "pykexec purgatory: verifying 3 segments, 2.0 MiB, in 258 pieces of 8 KiB\n"
        "pykexec purgatory: SHA-256 is right\n"
        f"pykexec purgatory: entering the new kernel at {KERNEL:#x}\n"
    )
