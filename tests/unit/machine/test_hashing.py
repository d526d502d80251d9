"""How fast a machine's processors hash, by what /proc/cpuinfo says of them."""

from __future__ import annotations

from pathlib import Path

import pytest

from pykexec.architectures import ARCHITECTURES
from pykexec.machine import read_machine
from pykexec.machine.files import MachineFiles
from pykexec.machine.rooms import machine_room
from tests.builders.machines import MachineDirectory, build_machine

EPYC = """\
processor\t: 0
vendor_id\t: AuthenticAMD
model name\t: AMD EPYC
flags\t\t: fpu ssse3 sse4_1 sha_ni
"""
SKYLAKE = """\
processor\t: 0
model name\t: Intel(R) Xeon(R) Gold 6140 CPU @ 2.30GHz
flags\t\t: fpu ssse3 sse4_1 avx512f
"""
EMULATED = """\
processor\t: 0
model name\t: QEMU TCG CPU version 2.5+
flags\t\t: fpu ssse3 sse4_1 sha_ni
"""


def arm64(features: str, *parts: str, maker: str = "0x41") -> str:
    """Return a processor for each of ``parts``."""
    return "\n".join(
        f"processor\t: {number}\nBogoMIPS\t: 108.00\nFeatures\t: {features}\n"
        f"CPU implementer\t: {maker}\nCPU architecture: 8\nCPU variant\t: 0x0\n"
        f"CPU part\t: {part}\nCPU revision\t: 3\n"
        for number, part in enumerate(parts)
    )


LOONGSON = "processor\t\t: 0\nCPU Family\t\t: Loongson-64bit\nModel Name\t\t: Loongson-{}\n"
HART = "processor\t: 0\nhart\t\t: 1\nisa\t\t: rv64imafdc\nmmu\t\t: sv39\nuarch\t\t: {}\n"


@pytest.mark.parametrize(
    ("arch", "cpuinfo", "hashing"),
    [
        ("x86_64", EPYC, "instructions"),
        ("i386", EPYC, "instructions"),
        ("x86_64", SKYLAKE, "portable"),
        ("x86_64", EMULATED, ""),
        ("x86_64", "", ""),
        ("aarch64", arm64("fp asimd aes sha1 sha2 crc32", "0xd0c", "0xd0c"), "instructions"),
        # Raspberry Pi 4 and 3: Arm's processors without the extension.
        ("aarch64", arm64("fp asimd evtstrm crc32 cpuid", "0xd08"), "out-of-order"),
        ("aarch64", arm64("fp asimd evtstrm crc32 cpuid", "0xd03"), "in-order"),
        ("aarch64", arm64("fp asimd", "0xd03", "0xd08"), "in-order"),
        ("aarch64", arm64("fp asimd sha512", "0xd08"), "out-of-order"),
        ("aarch64", arm64("fp asimd", "0xd08", "0xd41"), ""),
        ("aarch64", arm64("fp asimd", "0xd08", maker="0x50"), ""),
        ("aarch64", "", ""),
        ("arm", arm64("half thumb neon vfpv4", "0xc0f"), "cached"),
        ("arm", arm64("half thumb neon vfpv4", "0xc07", "0xd03"), "cached"),
        # Raspberry Pi 1: an ARM1176, which calls itself ARMv7 here.
        ("arm", arm64("half thumb vfp", "0xb76"), "uncached"),
        ("arm", arm64("half thumb neon", "0x06f", maker="0x51"), ""),
        ("arm", "", ""),
        ("riscv64", HART.format("sifive,u74-mc"), "in-order"),
        ("riscv64", HART.format("sifive,u74-mc") + HART.format("thead,c910"), ""),
        ("riscv64", HART.replace("uarch\t\t: {}\n", ""), ""),
        ("loongarch64", LOONGSON.format("3A6000-HV") * 2, "la664"),
        ("loongarch64", LOONGSON.format("3C6000/S"), "la664"),
        # Also what QEMU calls all of its own.
        ("loongarch64", LOONGSON.format("3A5000"), ""),
        ("loongarch64", LOONGSON.format("3C6000") + LOONGSON.format("3C5000"), ""),
        ("loongarch64", "", ""),
    ],
)
def test_by_what_it_is(tmp_path: Path, arch: str, cpuinfo: str, hashing: str) -> None:
    MachineDirectory(tmp_path).write("proc/cpuinfo", cpuinfo)
    room = machine_room(arch)
    assert room is not None
    assert room.read_own(MachineFiles(tmp_path), memory=True)["hashing"] == hashing
    assert hashing in {"", *ARCHITECTURES[arch].check_speeds}


def test_it_is_among_the_facts(tmp_path: Path) -> None:
    build_machine(tmp_path)
    MachineDirectory(tmp_path).write("proc/cpuinfo", EPYC)
    assert read_machine(tmp_path).hashing == "instructions"
