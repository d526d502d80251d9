"""Builds arm64 Images and each wrapping that kernels come in, from real kernels too."""

from __future__ import annotations

import random
import struct
import zlib
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Literal

from pykexec.formats.compression import Codec
from tests.builders.compressed import compress
from tests.builders.pe_files import (
    MACHINE_ARM64,
    SectionSpec,
    build_pe,
    padded,
    pe_headers,
)

PE_OFFSET = 0x40
TEXT_START = 0x1000

ZBOOT_NAMES = {
    Codec.GZIP: "gzip",
    Codec.XZ: "xzkern",
    Codec.LZMA: "lzma",
    Codec.ZSTD: "zstd22",
    Codec.LZ4_LEGACY: "lz4",
    Codec.LZO: "lzo",
}
"""Makefile.zboot, "comp-type-y"."""
UIMAGE_CODES = {
    Codec.GZIP: 1,
    Codec.BZIP2: 2,
    Codec.LZMA: 3,
    Codec.LZO: 4,
    Codec.LZ4: 5,
    Codec.LZ4_LEGACY: 5,
    Codec.ZSTD: 6,
}


@dataclass(frozen=True, slots=True)
class ImageSpec:
    """An arm64 Image; its fields are the header's, and what is in it."""

    text_size: int = 0x2000
    data_size: int = 0x1000
    bss_size: int = 0x3000
    text_offset: int = 0
    image_size: int | None = None
    """None: all of it."""
    flags: int = 0xA
    """Little-endian, 4 KiB pages, placed anywhere."""
    magic: bytes = b"ARM\x64"
    efi: bool = True
    """A PE file, as with CONFIG_EFI."""
    release: str = "6.99.0-synthetic"


def build_image(spec: ImageSpec | None = None) -> bytes:
    """Build the file: header, text with the banner in it, data."""
    spec = spec or ImageSpec()
    file_size = TEXT_START + spec.text_size + spec.data_size
    size = spec.image_size if spec.image_size is not None else file_size + spec.bss_size
    code0 = 0xFA405A4D if spec.efi else 0x14001000
    head = struct.pack(
        "<IIQQQQQQ4sI",
        code0,
        0x14000400,
        spec.text_offset,
        size,
        spec.flags,
        0,
        0,
        0,
        spec.magic,
        PE_OFFSET if spec.efi else 0,
    )
    if spec.efi:
        data_start = TEXT_START + spec.text_size
        head += pe_headers(
            MACHINE_ARM64,
            [
                SectionSpec(".text", spec.text_size, spec.text_size, TEXT_START),
                SectionSpec(".data", spec.data_size + spec.bss_size, spec.data_size, data_start),
            ],
        )
    banner = f"Linux version {spec.release} (builder@synthetic) #1\n\0".encode()
    noise = random.Random(spec.text_size).randbytes(spec.text_size + spec.data_size - len(banner))
    half = spec.text_size // 2
    return head.ljust(TEXT_START, b"\0") + noise[:half] + banner + noise[half:]


def build_zboot(
    kernel: bytes,
    codec: Codec,
    *,
    name: str | None = None,
    pad_to: int | None = None,
    machine: int = MACHINE_ARM64,
) -> bytes:
    """Pack ``kernel`` as ``vmlinuz.efi``, padded to its size in memory before, as Linux does."""
    if pad_to is None:
        pad_to = int.from_bytes(kernel[16:24], "little")
    inner = kernel.ljust(pad_to, b"\0")
    packed = compress(codec, inner)
    # Behind the payload, and not counted, Linux keeps the size of what is packed.
    size = b"" if codec is Codec.GZIP else struct.pack("<I", len(inner) & 0xFFFFFFFF)
    kind = ZBOOT_NAMES[codec] if name is None else name
    start = b"MZ\0\0zimg" + bytes(16) + kind.encode() + b"\0"
    file = bytearray(build_pe(machine, [(".text", packed + size), (".data", b"x")], start))
    struct.pack_into("<II", file, 8, file.index(packed[:32]), len(packed))
    return bytes(file)


def build_beoboot(
    kernel: bytes,
    initrd: bytes | None = None,
    cmdline: bytes = b"root=/dev/vda1 ro",
    *,
    size_order: Literal["big", "little"] = "little",
    arch: int = 1,
) -> bytes:
    """Put beoboot's header, the command line and the rest in a row; mkbootimg wrote ``big``."""
    sizes = struct.pack("<II", len(kernel), len(initrd or b""))
    flags = bytes([arch, initrd is not None])
    cmdline += b"\0"
    length = len(cmdline).to_bytes(2, size_order)
    return b"".join((b"BeoB", flags, length, sizes, cmdline, kernel, initrd or b""))


def build_uimage(
    kernel: bytes,
    *,
    compression: int = 0,
    arch: int = 22,
    kind: int = 2,
    system: int = 5,
    load: int = 0x80000,
) -> bytes:
    """Put U-Boot's header in front of ``kernel``, which is already packed."""

    def header(crc: int) -> bytes:
        return struct.pack(
            ">IIIIIIIBBBB32s",
            0x27051956,
            crc,
            0x65000000,
            len(kernel),
            load,
            load,
            zlib.crc32(kernel),
            system,
            arch,
            kind,
            compression,
            b"Linux",
        )

    return header(zlib.crc32(header(0))) + kernel


KERNEL_VADDR = 0xFFFF800080000000


def build_vmlinux(image: bytes, *, big: bool = False, paddr: int | None = None) -> bytes:
    """Build an ELF file of which ``objcopy -O binary`` would make ``image``.

    Two loadable segments with a gap in the file between them, as text and data, then a note
    and the section headers, as the linker puts them behind what is loaded.
    """
    order = ">" if big else "<"
    middle = len(image) // 2 & -0x1000
    parts = [(0, image[:middle], middle), (middle, image[middle:], len(image) - middle + 0x5000)]
    phdr = struct.Struct(order + "IIQQQQQQ")
    offset = 0x10000
    headers, body = b"", b""
    for start, data, memsz in parts:
        at = offset + len(body)
        base = KERNEL_VADDR if paddr is None else paddr
        headers += phdr.pack(
            1, 7, at, KERNEL_VADDR + start, base + start, len(data), memsz, 0x10000
        )
        body += padded(data, 0x10000)
    headers += phdr.pack(4, 4, 0x200, 0, 0, 16, 16, 4)
    sections = bytes(64 * 3)
    ident = b"\x7fELF" + bytes([2, 2 if big else 1, 1]).ljust(12, b"\0")
    elf = ident + struct.pack(
        order + "HHIQQQIHHHHHH",
        3,
        183,
        1,
        KERNEL_VADDR,
        64,
        offset + len(body),
        0,
        64,
        56,
        3,
        64,
        3,
        2,
    )
    return (elf + headers).ljust(offset, b"\0") + body + sections


Wrapper = Callable[[bytes], bytes]


def _packed_uimage(image: bytes, codec: Codec) -> bytes:
    return build_uimage(compress(codec, image), compression=UIMAGE_CODES[codec])


def build_uki(kernel: bytes, *sections: tuple[str, bytes], machine: int = MACHINE_ARM64) -> bytes:
    """Build a UKI as ukify does: the stub's own sections, then the given ones, then .linux."""
    return build_pe(machine, [(".text", b"the stub"), *sections, (".linux", kernel)])


def _zboot_in_uki(image: bytes) -> bytes:
    return build_uki(build_zboot(image, Codec.ZSTD))


WRAPPERS: dict[str, Wrapper] = {
    **{str(codec): partial(compress, codec) for codec in Codec},
    **{f"zboot of {codec}": partial(build_zboot, codec=codec) for codec in ZBOOT_NAMES},
    **{f"uImage of {codec}": partial(_packed_uimage, codec=codec) for codec in UIMAGE_CODES},
    "uImage": build_uimage,
    "ELF": build_vmlinux,
    "UKI": build_uki,
    "UKI of zboot": _zboot_in_uki,
}
"""Every wrapping that an arm64 kernel comes in, by what it is called here."""
