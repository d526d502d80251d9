"""File formats: bytes in, value out. Pure.

:func:`identify` peels one wrapping after the other off a kernel until an image is left that
a boot protocol knows. A probe answers from the header alone with None for "mine" or the
reason why it is not; only then is the file parsed.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple, TypeAlias

from pykexec.architectures import architecture_of
from pykexec.values.data_classes import dataclass
from pykexec.values.elf_headers import MAGIC as ELF_MAGIC
from pykexec.values.errors import ImageError
from pykexec.values.large_values import reduce_to_copies, short_repr
from pykexec.values.units import counted

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

    from pykexec.formats.budget import Budget
    from pykexec.formats.bzimage import BzImage
    from pykexec.formats.elf_program import ElfProgram
    from pykexec.formats.ipl_image import IplImage
    from pykexec.formats.layers import Brought, Layer
    from pykexec.formats.linux_image import LinuxImage
    from pykexec.formats.multiboot import Multiboot
    from pykexec.formats.vmlinux_efi import VmlinuxEfi
    from pykexec.formats.zimage import ZImage
    from pykexec.values.buffers import Buffer

    KernelImage: TypeAlias = (
        BzImage | LinuxImage | VmlinuxEfi | ZImage | ElfProgram | Multiboot | IplImage
    )

MAX_DEPTH = 6
"""Wrappings around a kernel; people have three of them at most."""


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
    brought: Brought | None = None
    """What the outermost container among the wrappings brings: a UKI, a FIT image, a
    zImage or a beoboot image."""
    elf: Buffer | None = None
    """The ELF file that the image is, or was taken out of; None for a kernel that never was one."""

    __repr__ = short_repr
    __reduce__ = reduce_to_copies

    @property
    def signature_lost(self) -> bool:
        """A wrapping was signed, and what is left of it is not."""
        return any(wrapping.signed for wrapping in self.wrappings) and not self.image.signed


def identify(
    data: Buffer,
    arch: str | None = None,
    wanted: str | None = None,
    configuration: str | None = None,
) -> Identified:
    """Find the kernel in ``data``, whatever it is wrapped in.

    ``arch`` is that of the machine which is to start it, as ``uname -m`` says it; None takes
    a kernel for any. ``wanted`` begins the name of the format to prefer where a file could be of
    several, ``configuration`` names one of a FIT image, or a profile of a UKI. Raises
    :class:`ImageError` that says what was tried and why each was left, or what is wrong inside of
    which wrapping.
    """
    from pykexec.formats.budget import Budget
    from pykexec.formats.layers import KERNEL_LIMIT

    wrappings: list[Wrapping] = []
    brought: Brought | None = None
    elf: Buffer | None = None
    budget = Budget(KERNEL_LIMIT)
    try:
        while (image := _image(data, wanted)) is None:
            layer = _peel(data, budget, configuration)
            if len(wrappings) == MAX_DEPTH:
                raise ImageError(f"more than {MAX_DEPTH} wrappings around the kernel")
            wrappings.append(Wrapping(layer.name, layer.signed))
            if _is_elf(data):
                elf = data
            data, brought = layer.inner, brought or layer.brought
    except ImageError as error:
        if wrappings:
            names = ", in ".join(wrapping.name for wrapping in reversed(wrappings))
            error.message = f"in {names}: {error.message}"
        raise
    if configuration is not None:
        _require_choice(wrappings, configuration)
    if arch is not None and image.arch != architecture_of(arch).image_arch:
        raise ImageError(
            f"a kernel for {image.arch} ({image.format_name}) cannot be started by a machine of "
            f"architecture {arch}",
            hint=f"give a kernel for {arch}",
        )
    if _is_elf(data):
        elf = data
    return Identified(image, data, tuple(wrappings), brought, elf)


def _is_elf(data: Buffer) -> bool:
    return bytes(data[:4]) == ELF_MAGIC


def _require_choice(wrappings: Iterable[Wrapping], configuration: str) -> None:
    from pykexec.formats import fit, uki

    if not any(wrapping.name.startswith((fit.NAME, uki.NAME)) for wrapping in wrappings):
        raise ImageError(
            f"there is no FIT image to take the configuration {configuration!r} of",
            hint="name the file without #CONFIGURATION",
        )


class _Format(NamedTuple):
    """An image that a boot protocol knows."""

    name: str
    probe: Callable[[Buffer], str | None]
    parse: Callable[[Buffer], KernelImage]
    searched: bool = False
    """Its magic is looked for in the first kilobytes, and may be that of a kernel in a wrapping
    which keeps parts of it as they are: an LZ4 block, an uncompressed uImage."""


def _formats() -> Iterator[_Format]:
    """Yield the formats in the order in which they are tried, each imported when it is its turn.

    What is the most particular comes first: a bzImage of iPXE has a multiboot header as well,
    and a multiboot kernel is an ELF file.
    """
    from pykexec.formats import bzimage

    yield _Format(bzimage.NAME, bzimage.probe, bzimage.parse_bzimage)
    from pykexec.formats import linux_image

    yield _Format(linux_image.NAME, linux_image.probe, linux_image.parse_linux_image)
    from pykexec.formats import vmlinux_efi

    yield _Format(vmlinux_efi.NAME, vmlinux_efi.probe, vmlinux_efi.parse_vmlinux_efi)
    from pykexec.formats import zimage

    yield _Format(zimage.NAME, zimage.probe, zimage.parse_zimage)
    from pykexec.formats import ipl_image

    yield _Format(ipl_image.NAME, ipl_image.probe, ipl_image.parse_ipl_image)
    from pykexec.formats import elf_program, multiboot

    yield _Format(multiboot.NAME_2, multiboot.probe_2, multiboot.parse_multiboot_2, searched=True)
    yield _Format(multiboot.NAME_1, multiboot.probe_1, multiboot.parse_multiboot_1, searched=True)
    yield _Format(elf_program.NAME, elf_program.probe, elf_program.parse_elf_program)


def _image(data: Buffer, wanted: str | None) -> KernelImage | None:
    """Parse ``data`` if it is an image that a boot protocol knows."""
    if not len(data):
        raise ImageError("the kernel file is empty (0 bytes)")
    order: Iterable[_Format] = _formats()
    if wanted is not None:
        order = sorted(
            order, key=lambda item: not wanted.startswith(item.name.split(maxsplit=1)[0])
        )
    found = next((item for item in order if item.probe(data) is None), None)
    if found is None or (found.searched and _begins_as_a_wrapping(data)):
        return None
    return found.parse(data)


def _begins_as_a_wrapping(data: Buffer) -> bool:
    """Tell whether the magic of a wrapping is where it belongs."""
    from pykexec.formats import beoboot, compression, fit, uimage, uki, zboot

    if compression.probe(data) is not None:
        return True
    return any(wrapping.probe(data) is None for wrapping in (zboot, uki, uimage, fit, beoboot))


def _peel(data: Buffer, budget: Budget, configuration: str | None) -> Layer:
    """Take one wrapping off; raises :class:`ImageError` when there is none that is known."""
    from pykexec.formats import (
        beoboot,
        boot_wrapper,
        compression,
        elf_vmlinux,
        fit,
        other_files,
        uimage,
        uki,
        zboot,
        zimage,
    )
    from pykexec.formats.layers import Layer

    codec = compression.probe(data)
    if codec is not None:
        return Layer(str(codec), compression.decompress(data, budget, "the kernel"))
    if zboot.probe(data) is None:
        return zboot.unwrap(data, budget)
    if uki.probe(data) is None:
        return uki.unwrap(data, configuration)
    if zimage.probe_appended(data) is None:
        return zimage.unwrap(data)
    if boot_wrapper.probe(data) is None:
        return boot_wrapper.unwrap(data, budget)
    if elf_vmlinux.probe(data) is None:
        return elf_vmlinux.unwrap(data, budget)
    if uimage.probe(data) is None:
        return uimage.unwrap(data, budget)
    if fit.probe(data) is None:
        return fit.unwrap(data, configuration, budget)
    if beoboot.probe(data) is None:
        return beoboot.unwrap(data)
    other_files.refuse(data)
    reasons = [(item.name, item.probe(data)) for item in _formats()]
    reasons += [(item.NAME, item.probe(data)) for item in (zboot, uki, elf_vmlinux, uimage, fit)]
    reasons.append((", ".join(compression.Codec), "no such magic"))
    refusal = ImageError(
        f"not a kernel image that can be loaded ({counted(len(data), 'byte')})",
        hint="give the file that the boot loader uses: vmlinuz, bzImage, Image or a .efi file",
    )
    refusal.details = tuple(f"{name}: {reason}" for name, reason in reasons)
    raise refusal
