"""What the processors of an x86 machine are said to do."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pykexec.machine.files import MachineFiles

_HASHING_FLAGS = frozenset({"sha_ni", "ssse3", "sse4_1"})
"""What purgatory/arch/x86/vector_unit.c asks the processor for."""


def read_la57(files: MachineFiles) -> bool | None:
    """Tell whether an x86 kernel uses five-level page tables; None when it is not x86.

    The flag of /proc/cpuinfo means use, not ability: the kernel clears it when it runs on
    four levels (Linux arch/x86/kernel/cpu/common.c, "early_identify_cpu").
    """
    flags = read_cpu_flags(files)
    return "la57" in flags if flags else None


def read_encrypted_guest(files: MachineFiles) -> bool:
    """Tell whether this is a guest whose memory is encrypted, as far as the kernel says so.

    The flag ``tdx_guest`` (Linux arch/x86/include/asm/cpufeatures.h), ``sev`` under a hypervisor,
    or the devices of guests under SEV-SNP and TDX (Documentation/virt/coco/sev-guest.rst).
    """
    flags = read_cpu_flags(files)
    if "tdx_guest" in flags or {"hypervisor", "sev"} <= flags:
        return True
    return any(files.peek(f"sys/class/misc/{name}/dev") for name in ("sev-guest", "tdx_guest"))


def read_hashing(files: MachineFiles) -> str:
    """Return how fast the purgatory hashes here: a name in the architecture's ``check_speeds``.

    QEMU's emulation is many times as slow as any processor, and calls itself one by its name.
    """
    flags = read_cpu_flags(files)
    names = files.lines("proc/cpuinfo", lambda line: line.startswith(b"model name"), 1)
    if not flags or any("QEMU TCG" in name for name in names):
        return ""
    return "instructions" if flags >= _HASHING_FLAGS else "portable"


def read_cpu_flags(files: MachineFiles) -> frozenset[str]:
    """Return the flags of the first x86 processor in /proc/cpuinfo; none when it is not x86."""
    lines = files.lines("proc/cpuinfo", lambda line: line.startswith(b"flags\t"), 1)
    return frozenset(lines[0].partition(":")[2].split()) if lines else frozenset()
