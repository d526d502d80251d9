"""The x86 purgatories' SHA-256 as an ordinary program: right, and how fast, on this processor.

    python -m tests.purgatory.native_hashing

prints bytes a second of the portable code, of the processor's instructions, and of hashlib. The
code is the purgatory's, by its compiler and with its flags.
"""

from __future__ import annotations

import hashlib
import struct
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path

from tests.purgatory.test_purgatory_build import build_module
from tests.toolchain import MISSING, find_toolchain

HARNESS = Path(__file__).with_suffix(".c")
SOURCES = (
    "common/sha256.c",
    "arch/x86/cpuid.c",
    "arch/x86/cpuid_with_table.S",
    "arch/x86/sha256_instructions.S",
    "arch/x86/vector_unit.c",
)
ARCHITECTURES = ("x86_64", "i386")
NEEDED = frozenset({"sha_ni", "ssse3", "sse4_1"})

BLOCK = 64
INITIAL = (
    *(0x6A09E667, 0xBB67AE85, 0x3C6EF372, 0xA54FF53A),
    *(0x510E527F, 0x9B05688C, 0x1F83D9AB, 0x5BE0CD19),
)
"""FIPS 180-4, 5.3.3."""

SIZE = 16 << 20
"""Bytes that are measured: a piece of an initrd, more than most caches hold."""
REPEAT = 3
"""Measurements of processor time, of which the best counts: what else runs makes it longer."""


def missing() -> str | None:
    """Return what this machine lacks for the programs to be built, else None."""
    return None if find_toolchain() else MISSING


def flags_missing() -> list[str]:
    """Return what the processor needs for the instructions and has not."""
    cpuinfo = Path("/proc/cpuinfo").read_text()
    found = {word for line in cpuinfo.splitlines() if line[:5] == "flags" for word in line.split()}
    return sorted(NEEDED - found)


def build(arch: str, work: Path) -> Path:
    """Build the program of an architecture in the directory ``work``."""
    module = build_module()
    tools = module.freestanding.find_tools()
    flags = module.flags_of(module.ARCHITECTURES[arch])
    objects = tools.compile(module.HERE, [module.HERE / name for name in SOURCES], flags, work)
    objects.append(str(work / "harness.o"))
    module.run([tools.compiler, *flags, "-c", str(HARNESS), "-o", objects[-1]], module.HERE)
    program = work / f"hashing-{arch}"
    tools.link(module.HERE, objects, ["-static", "--entry=start", "-znoexecstack"], program)
    return program


def refusal(program: Path) -> str | None:
    """Return why this machine does not run a program of that architecture, else None."""
    try:
        subprocess.run([program], stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, check=True)
    except OSError as error:
        return f"this machine does not run {program.name}: {error.strerror}"
    return None


@dataclass(frozen=True)
class Hashed:
    """What a program answers."""

    digest: bytes
    """Of the last round."""
    seconds: float
    """Of processor time."""


def run(program: Path, data: bytes, *, by_instructions: bool, rounds: int = 1) -> Hashed:
    """Hash ``data``, padded, so many times in a row; the digest is right for one."""
    padded = data + b"\x80" + bytes(-(len(data) + 9) % BLOCK) + struct.pack(">Q", len(data) * 8)
    request = struct.pack("<10I", by_instructions, rounds, *INITIAL)
    answer = subprocess.run(
        [program], input=request + padded, stdout=subprocess.PIPE, check=True
    ).stdout
    *words, nanoseconds = struct.unpack("<8IQ", answer)
    return Hashed(struct.pack(">8I", *words), nanoseconds / 1e9)


def speed_of(program: Path, data: bytes, *, by_instructions: bool) -> float:
    """Return bytes a second."""
    taken = (run(program, data, by_instructions=by_instructions) for _ in range(REPEAT))
    return len(data) / min(item.seconds for item in taken)


def speed_of_hashlib(data: bytes) -> float:
    """Return bytes a second."""
    taken = []
    for _ in range(REPEAT):
        start = time.thread_time()
        hashlib.sha256(data).digest()
        taken.append(time.thread_time() - start)
    return len(data) / min(taken)


def main() -> int:
    """Print the table."""
    if lacking := missing():
        print(lacking, file=sys.stderr)
        return 1
    data = hashlib.shake_256(b"pykexec").digest(SIZE)
    lacks = flags_missing()
    print(f"SHA-256 of {SIZE >> 20} MiB, MB/s (10^6 bytes) of processor time, best of {REPEAT}\n")
    print("| purgatory | portable | instructions | times | of hashlib |")
    print("|---|---|---|---|---|")
    library = speed_of_hashlib(data)
    with tempfile.TemporaryDirectory() as work:
        for arch in ARCHITECTURES:
            program = build(arch, Path(work))
            if reason := refusal(program):
                print(f"| {arch} | {reason} | | | |")
                continue
            portable = speed_of(program, data, by_instructions=False)
            if lacks:
                print(f"| {arch} | {portable / 1e6:.0f} | | | {portable / library:.2f} |")
                continue
            fast = speed_of(program, data, by_instructions=True)
            print(
                f"| {arch} | {portable / 1e6:.0f} | {fast / 1e6:.0f} | {fast / portable:.1f} "
                f"| {fast / library:.2f} |"
            )
    print(f"\nhashlib: {library / 1e6:.0f} MB/s")
    if lacks:
        print(f"This processor has no such instructions: it lacks {', '.join(lacks)}.")
    return 0


if __name__ == "__main__":
    sys.exit(main())
