"""Options of kexec(8) that pykexec has no use for: taken, told of once, ignored; or refused.

A script that is written for several architectures names the options of all of them.
"""

from __future__ import annotations

from dataclasses import MISSING, fields, replace
from typing import TYPE_CHECKING

from pykexec.architectures import X86
from pykexec.cli.getopt_long import Option

if TYPE_CHECKING:
    from pykexec.cli.load_request import LoadOptions
    from pykexec.formats import KernelImage
    from pykexec.plans import LoadRequest

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

_X86 = (
    ("reset-vga", ""),
    ("reuse-video-type", ""),
)
_OF_OTHERS = (
    # arm, ppc64
    ("dt-no-old-root", ""),
    ("atags", ""),
    ("image-size", "SIZE"),
    ("page-offset", "ADDR"),
    ("devicetreeblob", "FILE"),
    # ppc
    ("gamecube", ""),
    ("reuse-node", "NODE"),
    # ia64
    ("noio", ""),
    ("vmm", "FILE"),
    # sh
    ("empty-zero", "ADDR"),
    ("howto", "FLAGS"),
    ("miniroot", "N"),
    # m68k
    ("bootinfo", "FILE"),
)


def foreign_options(arch: str) -> tuple[Option, ...]:
    """Return the options that mean nothing to pykexec on ``arch``. They are in no usage text.

    Those that kexec(8) has on ``arch`` can be cut; those of other architectures cannot, so
    that they make no prefix ambiguous.
    """
    own = _X86 if arch in X86 else ()
    return tuple(
        Option(name, (name,), "", metavar=metavar, yields=(name, metavar) not in own)
        for name, metavar in (*_X86, *_OF_OTHERS)
    )


SILENT = dict.fromkeys(X86, frozenset({"reuse-video-type"}))
"""What is done anyway: the state of the screen is always handed on."""

NOTHING_TO_LOAD_FOR = dict.fromkeys(
    X86,
    frozenset(
        {
            *("append", "initrd", "reuse-cmdline", "dtb", "noefi", "pass-memmap-cmdline"),
            *("reuse-video-type", "entry-32bit", "args-elf", "args-linux", "args-none", "module"),
            "real-mode",
        }
    ),
)
"""What kexec(8) does not take without a kernel to load; on other architectures it does."""


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
    from pykexec.formats.bzimage import BzImage
    from pykexec.plans import ElfArgs

    if request.elf_args is not ElfArgs.LINUX or not isinstance(image, BzImage):
        return request, ()
    return replace(request, elf_args=None), ("no effect on a bzImage: --args-linux",)
