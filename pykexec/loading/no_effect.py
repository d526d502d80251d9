"""What a load's options ask for in vain on a machine or for an image: told, and left out."""

from __future__ import annotations

from dataclasses import MISSING, fields, replace
from typing import TYPE_CHECKING

from pykexec.architectures import X86

if TYPE_CHECKING:
    from pykexec.formats import KernelImage
    from pykexec.loading.options import LoadOptions
    from pykexec.planning.plans import LoadRequest

_X86_ONLY = {
    "--console-serial": "console_serial",
    "--console-vga": "console_vga",
    "--serial-baud": "serial_baud",
    "--pass-memmap-cmdline": "pass_memmap_cmdline",
    "--noefi": "no_efi",
    "--force-dtb": "force_dtb",
    "--backup": "backup",
    "--entry-32bit": "entry_32bit",
    "--real-mode": "real_mode",
    "--module": "modules",
    "--elf32-core-headers or --elf64-core-headers": "core_bits",
    "--args-linux, --args-elf or --args-none": "elf_args",
}
"""Options that pykexec knows and that only x86 has, with their fields."""


def without_foreign(options: LoadOptions, arch: str) -> tuple[LoadOptions, tuple[str, ...]]:
    """Return ``options`` as if what has no meaning on ``arch`` was not given, and a warning."""
    defaults = {
        field.name: field.default for field in fields(options) if field.default is not MISSING
    }
    names = list(options.foreign)
    if arch not in X86:
        given = {
            name: field
            for name, field in _X86_ONLY.items()
            if getattr(options, field) != defaults[field]
        }
        names += given
        options = replace(options, **{field: defaults[field] for field in given.values()})
    if not names:
        return options, ()
    return options, (f"no effect on {arch}: {', '.join(names)}",)


def without_needless(
    request: LoadRequest, image: KernelImage
) -> tuple[LoadRequest, tuple[str, ...]]:
    """Return ``request`` without ``--args-linux`` where there is nothing else, and a warning.

    kdump-tools gives it for every kernel that it does not take for a bzImage.
    """
    from pykexec.formats.x86.bzimage import BzImage
    from pykexec.planning.plans import ElfArgs

    if request.elf_args is not ElfArgs.LINUX or not isinstance(image, BzImage):
        return request, ()
    return replace(request, elf_args=None), ("no effect on a bzImage: --args-linux",)
