"""Which protocol starts an x86 image, by what it is and what was asked for. Pure."""

from __future__ import annotations

from typing import TYPE_CHECKING

from pykexec.boot.x86.program import elf_args
from pykexec.formats.bzimage import BzImage
from pykexec.planning.plans import ElfArgs
from pykexec.values.errors import OptionError

if TYPE_CHECKING:
    from pykexec.formats import KernelImage
    from pykexec.planning.plans import LoadRequest, SegmentPlan
    from pykexec.purgatory_objects.parameters import PurgatoryObject
    from pykexec.values.facts import MachineFacts


def plan_image(
    facts: MachineFacts,
    request: LoadRequest,
    image: KernelImage,
    purgatory: PurgatoryObject,
) -> SegmentPlan:
    """Lay out ``image``; raises what its protocol raises, and :class:`OptionError`."""
    if isinstance(image, BzImage):
        return _plan_bzimage(facts, request, image, purgatory)
    from pykexec.formats.elf_program import ElfProgram
    from pykexec.formats.multiboot import Multiboot

    if isinstance(image, Multiboot):
        from pykexec.boot.x86.multiboot import plan_multiboot

        _refuse_tree(request)
        _refuse_return(request)
        return plan_multiboot(facts, request, image, purgatory)
    assert isinstance(image, ElfProgram)  # formats.identify has asked whom the image is for
    _refuse_modules(request, image.format_name)
    if elf_args(request, image) is ElfArgs.LINUX:
        from pykexec.boot.x86.linux import plan_x86_linux

        return plan_x86_linux(facts, request, image, purgatory)
    from pykexec.boot.x86.elf import plan_elf

    _refuse_tree(request)
    _refuse_return(request)
    return plan_elf(facts, request, image, purgatory)


def _plan_bzimage(
    facts: MachineFacts, request: LoadRequest, image: BzImage, purgatory: PurgatoryObject
) -> SegmentPlan:
    _refuse_modules(request, image.format_name)
    if request.elf_args not in (None, ElfArgs.LINUX):
        raise OptionError(
            f"--args-{request.elf_args} is for ELF files, and the kernel is a {image.format_name}",
            hint="leave the option out",
        )
    if request.entry_bits == 16:
        from pykexec.boot.x86.real_mode import plan_real_mode

        _refuse_tree(request)
        _refuse_return(request)
        return plan_real_mode(facts, request, image, purgatory)
    from pykexec.boot.x86.linux import plan_x86_linux

    return plan_x86_linux(facts, request, image, purgatory)


def _refuse_tree(request: LoadRequest) -> None:
    if request.dtb is not None or request.force_dtb:
        raise OptionError(
            "--dtb and --force-dtb are for Linux kernels that are entered in 64 or 32 bits",
            hint="leave the option out",
        )


def _refuse_return(request: LoadRequest) -> None:
    if request.preserve_context:
        raise OptionError(
            "--load-preserve-context is for Linux kernels that are entered in 64 or 32 bits: what "
            "other memory this one would use is not known",
            hint="give a bzImage, without --real-mode",
        )


def _refuse_modules(request: LoadRequest, format_name: str) -> None:
    if request.modules:
        raise OptionError(
            f"--module is for multiboot kernels, and the kernel is a {format_name}",
            hint="give an initrd with --initrd",
        )
