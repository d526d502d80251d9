"""What a crash load adds on 32-bit ARM. Pure.

A capture kernel reads the core header as it reads the crashed kernel's memory, by ioremap(), which
refuses what is memory of its own (Linux arch/arm/kernel/crash_dump.c, arch/arm/mm/ioremap.c). So
the header lies above all that ``mem=`` leaves to it. Kernels before v5.16 know that word and
``elfcorehdr=`` alone, later ones /chosen too; which it is the zImage does not tell, so it is told
both ways.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from pykexec.architectures import architecture_of
from pykexec.crash.elfcorehdr import build_elfcorehdr, core_headers
from pykexec.values.command_line import add_words, kernel_words, key_of, split_words
from pykexec.values.elf_headers import ELF32
from pykexec.values.errors import OptionError, PykexecError
from pykexec.values.memory import crash_region, dumped_ram
from pykexec.values.ranges import Range
from pykexec.values.units import ADDRESS_MAX_32, GIB, KIB, MIB

if TYPE_CHECKING:
    from pykexec.planning.plans import LoadRequest
    from pykexec.values.facts import MachineFacts

HEADER_ALIGN = 2 * MIB
"""What a kernel with LPAE maps memory by; ``mem=`` ends there."""
_MEM = "mem"
_LARGEST = Range(ADDRESS_MAX_32 - MIB, ADDRESS_MAX_32)


def core_header(facts: MachineFacts, request: LoadRequest) -> bytes:
    """Return the core header, an ELF file of 32 bits.

    No kernel of this architecture takes one of 64 (Linux arch/arm/include/asm/elf.h,
    "vmcore_elf64_check_arch"). Raises :class:`PykexecError` when the running kernel does not tell
    enough for it, :class:`OptionError` for what has none.
    """
    family = architecture_of(facts.arch).family
    if request.hotplug:
        raise PykexecError(
            f"--hotplug: {family} kernels do not update a core header",
            hint="leave out --hotplug and reload the crash kernel when memory or CPUs change",
        )
    if request.core_bits == 64:
        raise OptionError(
            f"ELF64 core headers: {family} kernels take ELF32 ones alone",
            hint="leave out the option",
        )
    if facts.crash.page_offset_vaddr is None:
        raise PykexecError(
            "where the running kernel has mapped memory is not known: its symbol _stext in "
            "/proc/kallsyms and 'Kernel code' in /proc/iomem are needed",
            hint="it takes root, and kernel.kptr_restrict of 1 at most",
        )
    ram = dumped_ram(facts.iomem).minus(facts.crash.unreadable)
    headers = core_headers(facts.crash, ram)
    return build_elfcorehdr(headers, architecture_of(facts.arch).elf_machine, ELF32)


def capture_cmdline(cmdline: bytes, own: Range, header: Range) -> bytes:
    """Return the command line of a capture kernel that has the memory ``own``.

    Without a ``mem=`` of the user's, which would add to that. ``header`` is the core header.
    """
    words = (
        f"elfcorehdr={header.start:#x}".encode(),
        f"mem={own.size // KIB}K@{own.start:#x}".encode(),
    )
    return add_words(without_mem(cmdline), words)


def longest_cmdline(cmdline: bytes) -> bytes:
    """Return one that is as long as any :func:`capture_cmdline`."""
    return capture_cmdline(cmdline, Range(_LARGEST.start, _LARGEST.start + GIB), _LARGEST)


def without_mem(cmdline: bytes) -> bytes:
    """Return the command line without the kernel's ``mem=`` words; as it is without any."""
    own = kernel_words(cmdline)
    if not any(key_of(word) == _MEM for word in own):
        return cmdline
    rest = split_words(cmdline)[len(own) :]
    return b" ".join((*(word for word in own if key_of(word) != _MEM), *rest))


def own_memory(facts: MachineFacts, header: Range) -> Range:
    """Return the memory that a capture kernel has: its region below the core header."""
    region = crash_region(facts.iomem)
    assert region is not None  # free_for has refused without
    return Range(region.start, header.start)


def notes(facts: MachineFacts, cmdline: bytes) -> tuple[str, ...]:
    """Say what the dump will lack, and what was left out of the command line."""
    found = []
    high = dumped_ram(facts.iomem).intersect(facts.crash.unreadable)
    if high:
        listed = ", ".join(map(str, high))
        found.append(f"not in the dump: {listed}; ELF32 core headers name nothing above 4 GiB")
    if without_mem(cmdline) != cmdline:
        found.append(
            "mem= is left out of the command line: it would add the crashed kernel's memory"
        )
    return tuple(found)
