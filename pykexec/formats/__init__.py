"""File formats: bytes in, value out. Pure; ``construct`` stays behind these modules.

:func:`identify` peels one wrapping after the other off a kernel until an image is left that
a boot protocol knows. A probe answers from the header alone with None for "mine" or the
reason why it is not; only then is the file parsed.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, TypeAlias

from pykexec.errors import ImageError

if TYPE_CHECKING:
    from pykexec.formats.bzimage import BzImage
    from pykexec.formats.layers import Layer
    from pykexec.formats.linux_image import LinuxImage
    from pykexec.formats.uki import Uki
    from pykexec.formats.x86_elf import X86Elf
    from pykexec.plans import Buffer

    KernelImage: TypeAlias = BzImage | LinuxImage | X86Elf

MAX_DEPTH = 6
"""Wrappings around a kernel; people have three of them at most."""

# Image formats that the machines of an architecture start.
_STARTS = {"x86_64": ("x86",), "i386": ("x86",)}


@dataclass(frozen=True, slots=True)
class Wrapping:
    """A wrapping that was peeled off."""

    name: str
    """For people: ``gzip``, ``EFI zboot (zstd)``, ``UKI``."""
    signed: bool
    """It has an Authenticode signature."""


@dataclass(frozen=True, slots=True)
class Identified:
    """A kernel, and what it came in."""

    image: KernelImage
    """The innermost image, parsed."""
    file: Buffer
    """The innermost image as a file of its own, signature included: what kexec_file_load(2)
    takes. It is the very object that :func:`identify` got where there was no wrapping."""
    wrappings: tuple[Wrapping, ...] = ()
    """Outermost first."""
    uki: Uki | None = None
    """What the outermost UKI among the wrappings brings."""

    @property
    def signature_lost(self) -> bool:
        """A wrapping was signed, and what is left of it is not."""
        return any(wrapping.signed for wrapping in self.wrappings) and not self.image.signed


def identify(data: Buffer, arch: str | None = None) -> Identified:
    """Find the kernel in ``data``, whatever it is wrapped in.

    ``arch`` is that of the machine which is to start it, as ``uname -m`` says it; None takes
    a kernel for any. Raises :class:`ImageError` that says what was tried and why each was
    left, or what is wrong inside of which wrapping.
    """
    if not len(data):
        raise ImageError("the kernel file is empty (0 bytes)")
    wrappings: list[Wrapping] = []
    uki: Uki | None = None
    try:
        while (image := _image(data)) is None:
            layer = _peel(data)
            if len(wrappings) == MAX_DEPTH:
                raise ImageError(f"more than {MAX_DEPTH} wrappings around the kernel")
            wrappings.append(Wrapping(layer.name, layer.signed))
            data, uki = layer.inner, uki or layer.uki
    except ImageError as error:
        if wrappings:
            names = ", in ".join(wrapping.name for wrapping in reversed(wrappings))
            error.message = f"in {names}: {error.message}"
        raise
    if arch is not None and image.arch not in _STARTS.get(arch, (arch,)):
        raise ImageError(
            f"a kernel for {image.arch} ({image.format_name}) cannot be started by a machine of "
            f"architecture {arch}",
            hint=f"give a kernel for {arch}",
        )
    return Identified(image, data, tuple(wrappings), uki)


def _image(data: Buffer) -> KernelImage | None:
    """Parse ``data`` if it is an image that a boot protocol knows."""
    from pykexec.formats import bzimage, linux_image, x86_elf

    if bzimage.probe(data) is None:
        return bzimage.parse_bzimage(data)
    if linux_image.probe(data) is None:
        return linux_image.parse_linux_image(data)
    if x86_elf.probe(data) is None:
        return x86_elf.parse_x86_elf(data)
    return None


def _peel(data: Buffer) -> Layer:
    """Take one wrapping off; raises :class:`ImageError` when there is none that is known."""
    from pykexec.formats import bzimage, compression, elf, linux_image, uimage, uki, zboot
    from pykexec.formats.layers import KERNEL_LIMIT, Layer

    codec = compression.probe(data)
    if codec is not None:
        return Layer(str(codec), compression.decompress(data, KERNEL_LIMIT, "the kernel"))
    for wrapping in (zboot, uki, elf, uimage):
        if wrapping.probe(data) is None:
            return wrapping.unwrap(data)
    parsers = (bzimage, linux_image, zboot, uki, elf, uimage)
    tried = "; ".join(f"{parser.NAME}: {parser.probe(data)}" for parser in parsers)
    raise ImageError(
        f"not a kernel image that can be loaded ({len(data)} bytes): tried {tried}; "
        f"{', '.join(compression.Codec)}: no such magic",
        hint="give the file that the boot loader uses: vmlinuz, bzImage, Image or a .efi file",
    )
