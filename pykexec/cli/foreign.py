"""Options of kexec(8) that pykexec has no use for: taken, told of once, ignored; or refused.

A script that is written for several architectures names the options of all of them.
"""

from __future__ import annotations

from itertools import chain

from pykexec.architectures import ARCHITECTURES, architecture_of
from pykexec.cli.getopt_long import Option

_OF_OTHERS = (
    # arm
    ("atags", ""),
    ("image-size", "SIZE"),
    ("page-offset", "ADDR"),
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
    own = architecture_of(arch).options.ignored
    known = (item.options.ignored for item in ARCHITECTURES.values())
    of_known = dict.fromkeys(chain.from_iterable(known))
    return tuple(
        Option(name, (name,), "", metavar=metavar, yields=(name, metavar) not in own)
        for name, metavar in (*of_known, *_OF_OTHERS)
    )
