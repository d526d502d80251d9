"""What a capture kernel's command line says about its memory. Pure.

Linux Documentation/admin-guide/kernel-parameters.txt.
"""

from __future__ import annotations

from pykexec.command_line import key_of, split_words
from pykexec.units import KIB, MIB

SWIOTLB = 64 * MIB
"""Linux include/linux/swiotlb.h, "IO_TLB_DEFAULT_SIZE"."""
_IO_TLB_SLOT = 2 * KIB
_TMPFS_SHARE = 50


def capture_cpus(cmdline: bytes, cpus: int) -> tuple[int, str]:
    """Return (how many processors the capture kernel prepares for, why).

    ``nr_cpus=`` limits that; ``maxcpus=`` does not: the others could be brought up later
    (Linux Documentation/admin-guide/kernel-parameters.txt).
    """
    for word in reversed(split_words(cmdline)):
        value = word.partition(b"=")[2].decode("ascii", "replace")
        if key_of(word) == "nr_cpus" and value.isdecimal() and int(value):
            return min(int(value), cpus), f"{min(int(value), cpus)}, by nr_cpus={value}"
    return cpus, "1" if cpus == 1 else f"all {cpus}; nr_cpus=1 would spare the others"


def tmpfs_share(cmdline: bytes) -> tuple[int | None, str]:
    """Return (percent of free memory that the root file system may take, why); None: any.

    Linux Documentation/filesystems/ramfs-rootfs-initramfs.rst: rootfs is a tmpfs, limited to
    half of memory, unless ``root=`` or ``rootfstype=`` say otherwise, when it is a ramfs
    without a limit. ``initramfs_options=`` changes the limit (Linux commit 278033a225e1
    ("fs: Add initramfs_options to set initramfs mount options") (in v6.18), and stable
    kernels); a limit in bytes is not looked at.
    """
    values = {key_of(word): word.partition(b"=")[2] for word in split_words(cmdline)}
    kind = values.get("rootfstype")
    if kind is not None:
        if b"tmpfs" not in kind:
            return None, "with rootfstype= it is a ramfs"
    elif values.get("root"):
        return None, "with root= it is a ramfs"
    for option in values.get("initramfs_options", b"").split(b","):
        name, _, value = option.decode("ascii", "replace").partition("=")
        digits = value.removesuffix("%")
        if name == "size" and value != digits and digits.isdecimal() and 0 < int(digits) <= 100:
            return int(digits), f"initramfs_options={option.decode('ascii', 'replace')}"
    return _TMPFS_SHARE, "it is a tmpfs (initramfs_options=size=90% raises that)"


def swiotlb_size(cmdline: bytes) -> int:
    """Return the bytes of bounce buffers: ``swiotlb=SLOTS``, 0 for ``noforce``, or the default.

    Linux Documentation/admin-guide/kernel-parameters.txt, "swiotlb=": slots of 2 KiB.
    """
    size = SWIOTLB
    for word in split_words(cmdline):
        if key_of(word) == "swiotlb":
            parts = word.partition(b"=")[2].decode("ascii", "replace").split(",")
            if parts[0].isdecimal() and int(parts[0]):
                size = int(parts[0]) * _IO_TLB_SLOT
            if "noforce" in parts:
                size = 0
    return size
