"""Options of kexec(8) that mean nothing on the machine at hand: taken, told of once, ignored.

A script that is written for several architectures names the options of all of them.
"""

from __future__ import annotations

from dataclasses import MISSING, fields, replace
from typing import TYPE_CHECKING

from pykexec.cli.getopt_long import Option

if TYPE_CHECKING:
    from pykexec.cli.loading import LoadOptions

_ONLY_ON = {
    "x86_64": {
        "--console-serial": "console_serial",
        "--console-vga": "console_vga",
        "--serial-baud": "serial_baud",
        "--pass-memmap-cmdline": "pass_memmap_cmdline",
        "--noefi": "no_efi",
        "--force-dtb": "force_dtb",
        "--backup": "backup",
    },
    "aarch64": {"--dtb": "dtb"},
}
"""Options that pykexec knows, with their fields, by the one architecture that has them."""

FOREIGN: tuple[Option, ...] = tuple(
    Option(name, (name,), "", metavar=metavar)
    for name, metavar in (
        # x86: consoles, other entry points than the 64-bit one, other formats than bzImage
        ("reset-vga", ""),
        ("reuse-video-type", ""),
        ("elf32-core-headers", ""),
        ("elf64-core-headers", ""),
        ("real-mode", ""),
        ("entry-32bit", ""),
        ("args-elf", ""),
        ("args-linux", ""),
        ("args-none", ""),
        ("module", "MODULE"),
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
)
"""Options of other architectures than those that pykexec has plans for, or of entry points
that it does not use. They are in no usage text."""

IGNORED_ON = frozenset({"aarch64"})
"""Architectures on which :data:`FOREIGN` is accepted."""


def without_foreign(options: LoadOptions, arch: str) -> tuple[LoadOptions, tuple[str, ...]]:
    """Return ``options`` as if what has no meaning on ``arch`` was not given, and a warning."""
    defaults = {
        field.name: field.default for field in fields(options) if field.default is not MISSING
    }
    names = list(options.foreign)
    for owner, known in _ONLY_ON.items():
        if owner == arch:
            continue
        given = {
            name: field
            for name, field in known.items()
            if getattr(options, field) != defaults[field]
        }
        names += given
        options = replace(options, **{field: defaults[field] for field in given.values()})
    if not names:
        return options, ()
    return options, (f"no effect on {arch}: {', '.join(names)}",)
