"""Options of kexec(8) that pykexec has no use for: taken, told of once, ignored; or refused.

A script that is written for several architectures names the options of all of them.
"""

from __future__ import annotations

from pykexec.architectures import X86
from pykexec.cli.getopt_long import Option

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
