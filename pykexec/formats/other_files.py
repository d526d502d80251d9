"""Files that people hand over and that are no kernel which can be loaded here, by name. Pure.

Each is known by a few bytes, so that its refusal is one line with what to do instead.
"""

from __future__ import annotations

from struct import unpack_from
from typing import TYPE_CHECKING, NamedTuple

from pykexec.values.errors import ImageError

if TYPE_CHECKING:
    from pykexec.values.buffers import Buffer


class _Kind(NamedTuple):
    at: int
    magic: bytes
    what: str
    """With its article."""
    advice: str


_MADE_FROM = "give the kernel and the initrd that it was made from"
_INITRD = "an initrd goes behind --initrd; the kernel is the file beside it"
_PACKAGE = "unpack it; the kernel is the file boot/vmlinuz-* or lib/modules/*/vmlinuz in it"
_DISK = "mount it; the kernel is a file in it"
_PLAIN = "give the plain kernel, an Image"

_KINDS = (
    _Kind(
        0, b"\x36\x13\x03\x1b", "an NBI image, whose program calls a network boot ROM", _MADE_FROM
    ),
    _Kind(
        0, b"ANDROID!", "an Android boot image", "unpack it (unpack_bootimg), and give its kernel"
    ),
    _Kind(0, b"VNDRBOOT", "an Android vendor boot image", "the kernel is in boot.img beside it"),
    _Kind(
        0,
        b"\xd0\x0d\xfe\xed",
        "a device tree",
        "a device tree goes behind --dtb; 'pykexec inspect --dts' shows it",
    ),
    _Kind(0, b"070701", "a cpio archive, as an initramfs is", _INITRD),
    _Kind(0, b"070702", "a cpio archive, as an initramfs is", _INITRD),
    _Kind(257, b"ustar", "a tar archive", "unpack it"),
    _Kind(0, b"!<arch>\ndebian", "a Debian package", _PACKAGE),
    _Kind(0, b"\xed\xab\xee\xdb", "an RPM package", _PACKAGE),
    _Kind(0, b"PK\x03\x04", "a zip archive", "unpack it"),
    _Kind(0, b"7z\xbc\xaf\x27\x1c", "a 7z archive", "unpack it"),
    _Kind(0x8001, b"CD001", "an ISO 9660 image", _DISK),
    _Kind(0, b"hsqs", "a squashfs file system", _DISK),
    _Kind(0x438, b"\x53\xef", "an ext2, ext3 or ext4 file system", _DISK),
    _Kind(0, b"XFSB", "an XFS file system", _DISK),
    _Kind(0x10040, b"_BHRfS_M", "a Btrfs file system", _DISK),
    _Kind(0, b"QFI\xfb", "a QEMU disk image (qcow2)", "boot it in a virtual machine"),
    _Kind(0, b"KDUMP   ", "a dump of makedumpfile's", "its log: pykexec crash dmesg FILE"),
    _Kind(
        0,
        b"makedumpfile\0",
        "a flattened dump of makedumpfile's",
        "its log: pykexec crash dmesg FILE",
    ),
    _Kind(0, b"#!", "a script", "give the kernel file"),
)
_MBR_MARK = b"\x55\xaa"
_MBR_PARTITION = slice(446, 462)


def refuse(data: Buffer) -> None:
    """Raise :class:`ImageError` that names the file's kind, if it is one of these."""
    found = _by_magic(data) or _partitioned(data) or _efi_program(data)
    if found is not None:
        what, advice = found
        raise ImageError(f"{what}, which is not loaded here", offset=0, hint=advice)


def _by_magic(data: Buffer) -> tuple[str, str] | None:
    for kind in _KINDS:
        if bytes(data[kind.at : kind.at + len(kind.magic)]) == kind.magic:
            return kind.what, kind.advice
    return None


def _efi_program(data: Buffer) -> tuple[str, str] | None:
    """Name an EFI program: the kernels among PE files have been recognised before."""
    from pykexec.formats import linux_image, pe

    other = linux_image.other_architecture(data)
    if other is not None:
        return f"an Image for {other}", "give a kernel for this machine"
    if pe.probe(data) is not None:
        return None
    return (
        "an EFI program without a kernel in it (a boot loader or a shell)",
        "give the kernel that it starts",
    )


def _partitioned(data: Buffer) -> tuple[str, str] | None:
    """Name a disk image by the first entry of its partition table.

    The mark alone is also a boot sector's, which every bzImage begins with.
    """
    if bytes(data[510:512]) != _MBR_MARK or bytes(data[:2]) == b"MZ":
        return None
    status, kind, start, size = unpack_from("<B3xB3xII", bytes(data[_MBR_PARTITION]))
    if status not in (0, 0x80) or not (kind and start and size):
        return None
    return "a disk image with a partition table", _DISK
