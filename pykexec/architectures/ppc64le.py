"""ppc64le: 64-bit POWER in little-endian mode, under a hypervisor or on bare metal. Pure."""

from __future__ import annotations

from types import MappingProxyType

from pykexec.architectures.architecture import (
    Architecture,
    HugePages,
    Identity,
    Options,
    SystemCalls,
)
from pykexec.values.units import GIB, MIB

PPC64LE = Architecture(
    name="ppc64le",
    machines=("ppc64le",),
    room="ppc64le",
    family="ppc64le",
    image_arch="ppc64le",
    identity=Identity(elf=21),
    # Linux arch/powerpc/kernel/syscalls/syscall.tbl
    calls=SystemCalls(kexec_load=268, kexec_file_load=382, reboot=88),
    elf_programs=True,
    # Linux arch/powerpc/include/asm/ppc_asm.h, "FIXUP_ENDIAN".
    either_byte_order=True,
    live_tree=True,
    # Linux arch/powerpc/include/asm/page.h, "KERNELBASE": it is PAGE_OFFSET.
    kernel_in_linear_map=True,
    serial_in_memory=False,
    simulated_tty=b"hvc0",
    firmware_console=True,
    purgatories=("ppc64le",),
    options=Options(
        own=frozenset({"reuseinitrd"}),
        ignored=(("dt-no-old-root", ""),),
        no_old_root="dt-no-old-root",
        image_types=MappingProxyType({"elf-ppc64": "ELF64"}),
        serial="hvc0",
    ),
    # Linux arch/powerpc/mm/hugetlbpage.c, "hugetlbpage_init_default": 16 MiB with hashed page
    # tables, 2 MiB with radix trees; the larger one is the safe side.
    huge_pages=HugePages(
        sizes=MappingProxyType(
            {4096: (16 * MIB, 2 * MIB, GIB, 16 * GIB), 65536: (16 * MIB, 2 * MIB, GIB, 16 * GIB)}
        ),
        gigantic=MappingProxyType({4096: GIB, 65536: GIB}),
        max_order=MappingProxyType({4096: 12, 65536: 8}),
    ),
    # Not measured: 15.8 cycles a byte of OpenSSL's code for general registers on a POWER8
    # (crypto/sha/asm/sha512p8-ppc.pl), which has 35 instructions a byte to our 37, at 3 GHz.
    check_speeds=MappingProxyType({"power8": 175_000_000}),
    section_bits=24,
    crash_floors=(384 * MIB, 2 * GIB),
)
