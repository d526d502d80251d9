"""EFI zboot, ``vmlinuz.efi``: a PE file that expands a packed kernel. Pure.

Linux drivers/firmware/efi/libstub/zboot-header.S: "MZ", "zimg" at 4, the payload's offset at
8 and size at 12, the compression's name at 24. Before it is packed the kernel is padded with
zeros to the size that it has in memory (Makefile.zboot, "copy_and_pad").
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from pykexec.formats import pe
from pykexec.formats.compression import Codec, choose, decompress
from pykexec.formats.layers import Layer
from pykexec.values.errors import ImageError

if TYPE_CHECKING:
    from pykexec.formats.budget import Budget
    from pykexec.values.buffers import Buffer

NAME = "EFI zboot"

IMAGE_TYPE = b"zimg"
_HEADER_SIZE = 64
_NAME_OFFSET = 24
_NAME_SIZE = 32
# Makefile.zboot, "comp-type-y": each name that a kernel of some version has here.
_CODECS = {
    "gzip": (Codec.GZIP,),
    "xz": (Codec.XZ,),
    "xzkern": (Codec.XZ,),
    "lzma": (Codec.LZMA,),
    "zstd": (Codec.ZSTD,),
    "zstd22": (Codec.ZSTD,),
    "lzo": (Codec.LZO,),
    "lz4": (Codec.LZ4_LEGACY, Codec.LZ4),
}


def probe(data: Buffer) -> str | None:
    """Return None if the header is a zboot's, else why it is not."""
    if len(data) < _HEADER_SIZE:
        return f"the header needs {_HEADER_SIZE} bytes, there are {len(data)}"
    if bytes(data[:2]) != pe.MAGIC or bytes(data[4:8]) != IMAGE_TYPE:
        return "no 'MZ' with 'zimg' at offset 4"
    return None


def unwrap(data: Buffer, budget: Budget) -> Layer:
    """Expand the kernel.

    Where it is a PE file, the padding is cut off: behind the certificate table, since a
    signature holds only for a file that ends there, or behind the last section.

    Raises :class:`ImageError` for a file that is cut, damaged, or packed by something unknown.
    """
    file = pe.parse_pe(data, "the EFI zboot")
    codecs = _codecs(data)
    start, size = (int.from_bytes(data[at : at + 4], "little") for at in (8, 12))
    if start < _HEADER_SIZE or start + size > len(data):
        raise ImageError(
            f"the EFI zboot is truncated or malformed: its header says that the kernel takes the "
            f"bytes from {start:#x} to {start + size:#x}, there are {len(data):#x}",
            offset=8,
            field="payload offset",
            hint="copy the file again",
        )
    packed = memoryview(data)[start : start + size]
    codec = choose(packed, codecs)
    kernel: Buffer = decompress(packed, budget, "the kernel in the EFI zboot", codec)
    if pe.probe(kernel) is None:
        end = pe.parse_pe(kernel, "the kernel in the EFI zboot").end
        kernel = memoryview(kernel)[:end]
    return Layer(f"{NAME} ({codec})", kernel, signed=file.certificates is not None)


def _codecs(data: Buffer) -> tuple[Codec, ...]:
    raw = bytes(data[_NAME_OFFSET : _NAME_OFFSET + _NAME_SIZE]).split(b"\0", 1)[0]
    name = raw.decode("latin-1")
    if name not in _CODECS:
        raise ImageError(
            f"the EFI zboot is packed with {name!r}; known are {', '.join(_CODECS)}",
            offset=_NAME_OFFSET,
            field="compression type",
        )
    return _CODECS[name]
