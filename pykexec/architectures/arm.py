"""arm: ARM of 32 bits, which Debian calls armhf. Pure."""

from __future__ import annotations

from types import MappingProxyType

from pykexec.architectures.architecture import (
    NO_CALL,
    Architecture,
    HugePages,
    Identity,
    Options,
    SystemCalls,
)
from pykexec.values.units import MIB

ARM = Architecture(
    name="arm",
    # A kernel of 64 bits calls itself armv8l to programs of 32.
    machines=("armv7l", "armv6l", "armv5tel", "armv5tejl", "armv7ml"),
    room="arm",
    family="arm",
    image_arch="arm",
    word_bits=32,
    identity=Identity(elf=40, pe=0x01C2, u_boot=2, efi="arm"),
    # Linux arch/arm/tools/syscall.tbl; 401 is there, and no kernel has what it calls.
    calls=SystemCalls(kexec_load=347, kexec_file_load=NO_CALL, reboot=88),
    command_line_size=1024,
    purgatories=("arm",),
    grub_cpu="arm",
    simulated_tty=b"ttyAMA0",
    options=Options(
        own=frozenset({"reuseinitrd"}),
        lacking=MappingProxyType(
            {"atags": "no list of tags is made: the next kernel is handed a device tree"}
        ),
        image_types=MappingProxyType({"zImage": "zImage", "uImage": "uImage", "uki": "UKI"}),
    ),
    # With caches, from ARMv7 on: 41 instructions a byte (tests/purgatory), one a cycle at 1 GHz. So
    # says OpenSSL's crypto/sha/asm/sha256-armv4.pl of C on a Cortex-A8: half as fast as the 20
    # cycles a byte of assembler. Without: estimated by arm64's ratio.
    check_speeds=MappingProxyType({"cached": 25_000_000, "uncached": 1_000_000}),
    # Linux arch/arm/include/asm/pgtable-2level.h, "HPAGE_SHIFT"; with LPAE 2 MiB alone.
    huge_pages=HugePages(sizes=MappingProxyType({4096: (2 * MIB,)})),
    section_bits=28,
    crash_floors=(128 * MIB, 256 * MIB),
)
