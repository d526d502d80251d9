"""riscv64: RISC-V of 64 bits, in supervisor mode above SBI firmware. Pure."""

from __future__ import annotations

from types import MappingProxyType

from pykexec.architectures.architecture import (
    Architecture,
    FlatImage,
    HugePages,
    Identity,
    Options,
    SystemCalls,
)
from pykexec.values.units import GIB, KIB, MIB

RISCV64 = Architecture(
    name="riscv64",
    machines=("riscv64",),
    room="riscv64",
    family="riscv64",
    image_arch="riscv64",
    identity=Identity(elf=243, pe=0x5064, u_boot=26, efi="riscv64"),
    # Linux scripts/syscall.tbl (include/uapi/asm-generic/unistd.h)
    calls=SystemCalls(kexec_load=104, kexec_file_load=294, reboot=142),
    # Linux Documentation/arch/riscv/boot-image-header.rst, arch/riscv/kernel/head.S
    flat_image=FlatImage(
        magic=b"RSC\x05",
        old_magic=b"RISCV\0\0\0",
        refused_offsets=MappingProxyType(
            {
                0: "a kernel for machine mode, which is started by a boot ROM alone",
                4 * MIB: "a kernel for riscv32",
            }
        ),
        versioned=True,
        # Linux kernel commit 3335068f8721 ("riscv: Use PUD/P4D/PGD pages for the linear mapping")
        anywhere_since=(6, 4),
        # Linux kernel commit 809a11eea8e8 ("riscv: kexec_file: Support loading Image binary file")
        by_file_since=(6, 16),
    ),
    purgatories=("riscv64",),
    grub_cpu="riscv64",
    simulated_tty=b"ttyS0",
    options=Options(
        own=frozenset({"reuseinitrd"}),
        image_types=MappingProxyType(
            {
                "vmlinux": "ELF vmlinux",
                "Image": "Image",
                "uImage": "uImage",
                "vmlinuz": "EFI zboot",
                "uki": "UKI",
            }
        ),
    ),
    # Not measured: 58 instructions a byte (tests/purgatory), one a cycle at 1.5 GHz.
    check_speeds=MappingProxyType({"in-order": 25_000_000}),
    # Linux Documentation/arch/riscv/boot.rst, arch/riscv/mm/hugetlbpage.c: 64 KiB with Svnapot.
    huge_pages=HugePages(
        sizes=MappingProxyType({4096: (2 * MIB, GIB, 64 * KIB)}),
        gigantic=MappingProxyType({4096: GIB}),
    ),
)
