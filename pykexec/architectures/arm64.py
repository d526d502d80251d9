"""arm64, which uname calls aarch64. Pure."""

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

ARM64 = Architecture(
    name="aarch64",
    machines=("aarch64",),
    room="arm64",
    family="arm64",
    image_arch="aarch64",
    identity=Identity(elf=183, pe=0xAA64, u_boot=22, efi="aa64"),
    # Linux scripts/syscall.tbl (include/uapi/asm-generic/unistd.h)
    calls=SystemCalls(kexec_load=104, kexec_file_load=294, reboot=142),
    flat_image=FlatImage(
        magic=b"ARM\x64",
        offset_from_base=True,
        # Linux before 3.17, and what boot loaders grant it.
        size_allowance=16 * MIB,
        offset_without_size=0x80000,
        big_endian=True,
        tells_page_size=True,
        anywhere_flag=1 << 3,
    ),
    purgatories=("aarch64",),
    grub_cpu="arm64",
    simulated_tty=b"ttyAMA0",
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
    # Linux Documentation/arch/arm64/hugetlbpage.rst, arch/arm64/Kconfig
    huge_pages=HugePages(
        sizes=MappingProxyType(
            {
                4096: (2 * MIB, 64 * KIB, 32 * MIB, GIB),
                16384: (32 * MIB, 2 * MIB, GIB, 64 * GIB),
                65536: (512 * MIB, 2 * MIB, 16 * GIB),
            }
        ),
        gigantic=MappingProxyType({4096: GIB, 16384: GIB, 65536: 16 * GIB}),
        max_order=MappingProxyType({16384: 11, 65536: 13}),
    ),
    # Cycles a byte by OpenSSL's list in crypto/sha/asm/sha512-armv8.pl: with instructions 2.38 on
    # a Cortex-A53, the slowest there, at 1.2 GHz; in C 33 on that one and 22 on a Cortex-A57, which
    # stands for the A72, at 1.5 GHz. Caches are on.
    check_speeds=MappingProxyType(
        {"instructions": 500_000_000, "in-order": 36_000_000, "out-of-order": 70_000_000}
    ),
    section_bits_of_page=MappingProxyType({65536: 29}),
    has_coherent_pool=True,
    crash_floors=(320 * MIB, 576 * MIB),
)
