"""What people hand over by mistake is named in one line."""

from __future__ import annotations

import pytest

from pykexec.errors import ImageError
from pykexec.formats import identify
from pykexec.formats.compression import Codec
from pykexec.formats.device_tree import DeviceTree, Node, build_device_tree
from tests.builders.compressed import compress
from tests.builders.pe_files import MACHINE_X86_64, build_pe


def with_bytes(at: int, magic: bytes, size: int = 0x12000) -> bytes:
    """Return a file of zeros with ``magic`` in it."""
    return bytes(at) + magic + bytes(max(0, size - at - len(magic)))


# A partition of GPT's protective table.
PARTITION = bytes.fromhex("00000200 eeffffff 01000000 ffff0f00")
FILES = {
    "an Android boot image": with_bytes(0, b"ANDROID!"),
    "an Android vendor boot image": with_bytes(0, b"VNDRBOOT"),
    "a device tree": build_device_tree(DeviceTree(Node(""))),
    "a cpio archive, as an initramfs is": with_bytes(0, b"070701"),
    "a tar archive": with_bytes(257, b"ustar\x0000"),
    "a Debian package": with_bytes(0, b"!<arch>\ndebian-binary"),
    "an RPM package": with_bytes(0, b"\xed\xab\xee\xdb"),
    "a zip archive": with_bytes(0, b"PK\x03\x04"),
    "an ISO 9660 image": with_bytes(0x8001, b"CD001"),
    "a squashfs file system": with_bytes(0, b"hsqs"),
    "an ext2, ext3 or ext4 file system": with_bytes(0x438, b"\x53\xef"),
    "an XFS file system": with_bytes(0, b"XFSB"),
    "a Btrfs file system": with_bytes(0x10040, b"_BHRfS_M"),
    "a QEMU disk image (qcow2)": with_bytes(0, b"QFI\xfb"),
    "a dump of makedumpfile's": with_bytes(0, b"KDUMP   "),
    "a flattened dump of makedumpfile's": with_bytes(0, b"makedumpfile\0"),
    "a script": b"#!/bin/sh\n" * 100,
    "a disk image with a partition table": with_bytes(446, PARTITION + bytes(48) + b"\x55\xaa"),
    "an EFI program without a kernel in it (a boot loader or a shell)": build_pe(
        MACHINE_X86_64, [(".text", b"x" * 64), (".data", b"y")]
    ),
}


@pytest.mark.parametrize("what", FILES)
def test_a_file_is_named(what: str) -> None:
    with pytest.raises(ImageError) as caught:
        identify(FILES[what])
    assert caught.value.message == f"{what}, which is not loaded here"
    assert caught.value.hint


@pytest.mark.parametrize("codec", [Codec.GZIP, Codec.ZSTD, Codec.XZ])
def test_also_packed_as_an_initrd_is(codec: Codec) -> None:
    with pytest.raises(ImageError) as caught:
        identify(compress(codec, with_bytes(0, b"070701")))
    assert caught.value.message == (
        f"in {codec}: a cpio archive, as an initramfs is, which is not loaded here"
    )
    assert caught.value.hint is not None
    assert "--initrd" in caught.value.hint
