"""What a load's options ask for in vain on a machine or for an image: told, and left out."""

from __future__ import annotations

from typing import TYPE_CHECKING

from pykexec.architectures import architecture_of
from pykexec.values.data_classes import MISSING, fields, replace
from pykexec.values.errors import OptionError

if TYPE_CHECKING:
    from pykexec.formats import KernelImage
    from pykexec.loading.options import LoadOptions
    from pykexec.planning.plans import LoadRequest

_FIELDS = {
    "console_serial": ("--console-serial",),
    "console_vga": ("--console-vga",),
    "serial_baud": ("--serial-baud",),
    "pass_memmap_cmdline": ("--pass-memmap-cmdline",),
    "no_efi": ("--noefi",),
    "force_dtb": ("--force-dtb",),
    "backup": ("--backup",),
    "entry_32bit": ("--entry-32bit",),
    "real_mode": ("--real-mode",),
    "modules": ("--module",),
    "core_bits": ("--elf32-core-headers", "--elf64-core-headers"),
    "elf_args": ("--args-linux", "--args-elf", "--args-none"),
}
"""What not every architecture has: fields, and the options that set them."""


def without_foreign(options: LoadOptions, arch: str) -> tuple[LoadOptions, tuple[str, ...]]:
    """Return ``options`` as if what has no meaning on ``arch`` was not given, and a warning.

    Raises :class:`OptionError` for what is not to be had, and cannot be left out either.
    """
    own, lacking = architecture_of(arch).options.own, architecture_of(arch).options.lacking
    for name in options.foreign:
        if name.removeprefix("--") in lacking:
            raise OptionError(f"{name} on {arch}: {lacking[name.removeprefix('--')]}")
    defaults = {
        field.name: field.default for field in fields(options) if field.default is not MISSING
    }
    given = {
        field: " or ".join(names)
        for field, names in _FIELDS.items()
        if names[0].removeprefix("--") not in own and getattr(options, field) != defaults[field]
    }
    names = [*options.foreign, *given.values()]
    options = replace(options, **{field: defaults[field] for field in given})
    if not names:
        return options, ()
    return options, (f"no effect on {arch}: {', '.join(names)}",)


def without_needless(
    request: LoadRequest, image: KernelImage
) -> tuple[LoadRequest, tuple[str, ...]]:
    """Return ``request`` without ``--args-linux`` where there is nothing else, and a warning.

    kdump-tools gives it for every kernel that it does not take for a bzImage.
    """
    from pykexec.formats.bzimage import BzImage
    from pykexec.planning.plans import ElfArgs

    if request.elf_args is not ElfArgs.LINUX or not isinstance(image, BzImage):
        return request, ()
    return replace(request, elf_args=None), ("no effect on a bzImage: --args-linux",)
