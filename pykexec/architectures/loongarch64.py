"""loongarch64: LoongArch of 64 bits, started by EFI. Pure."""

from __future__ import annotations

from types import MappingProxyType

from pykexec.architectures.architecture import (
    Architecture,
    HugePages,
    Identity,
    Options,
    SystemCalls,
)
from pykexec.values.units import KIB, MIB

LOONGARCH64 = Architecture(
    name="loongarch64",
    machines=("loongarch64",),
    room="loongarch64",
    family="loongarch64",
    image_arch="loongarch64",
    identity=Identity(elf=258, pe=0x6264, efi="loongarch64"),
    # Linux scripts/syscall.tbl (include/uapi/asm-generic/unistd.h)
    calls=SystemCalls(kexec_load=104, kexec_file_load=294, reboot=142),
    image_in_elf=True,
    has_tree=False,
    purgatories=("loongarch64",),
    grub_cpu="loongarch64",
    simulated_tty=b"ttyS0",
    options=Options(
        image_types=MappingProxyType(
            {
                "pei-loongarch": "vmlinux.efi",
                "pez-loongarch": "EFI zboot",
                "elf-loongarch": "ELF vmlinux",
            }
        )
    ),
    # Linux arch/loongarch/include/asm/pgtable.h, "PMD_SHIFT", by arch/loongarch/Kconfig's page
    # sizes and the levels of tables that each is used with.
    huge_pages=HugePages(
        sizes=MappingProxyType({4 * KIB: (2 * MIB,), 16 * KIB: (32 * MIB,), 64 * KIB: (512 * MIB,)})
    ),
    section_bits=29,
    # Not measured: 217 MB a second of OpenSSL's code in C on a 3A6000 at 2.5 GHz (OpenSSL's pull
    # request 27904), at 2.2 GHz as servers have it. Of older cores nothing is published.
    check_speeds=MappingProxyType({"la664": 190_000_000}),
    # Linux arch/loongarch/kernel/setup.c, "arch_mem_init".
    always_bounces=True,
    crash_floors=(512 * MIB, 512 * MIB),
)
