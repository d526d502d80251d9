"""s390x: IBM Z and LinuxONE, 64 bits in big endian. Pure."""

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

S390X = Architecture(
    name="s390x",
    machines=("s390x",),
    room="s390x",
    family="s390x",
    image_arch="s390x",
    identity=Identity(elf=22),
    # Linux arch/s390/kernel/syscalls/syscall.tbl
    calls=SystemCalls(kexec_load=277, kexec_file_load=381, reboot=88),
    has_tree=False,
    serial_in_memory=False,
    silent_purgatory=True,
    simulated_tty=b"ttysclp0",
    own_core_header=True,
    purgatories=("s390x",),
    options=Options(image_types=MappingProxyType({"image": "s390x image"})),
    # Linux arch/s390/mm/hugetlbpage.c, "hugetlb_bad_size", "arch_hugetlb_valid_size"
    huge_pages=HugePages(
        sizes=MappingProxyType({4096: (MIB, 2 * GIB)}),
        gigantic=MappingProxyType({4096: 2 * GIB}),
    ),
    section_bits=28,
    crash_floors=(192 * MIB, 512 * MIB),
)
