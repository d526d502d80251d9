"""The one table of architectures, and who is asked by which name. Pure.

What differs by architecture and is a value stands in a row, an :class:`Architecture`. What is code
lies in the rooms, modules of one name in each wing, all with the same functions: see
:func:`room_of`, and docs/adding-an-architecture.md for what they are.
"""

from __future__ import annotations

from pykexec.architectures.architecture import Architecture as Architecture
from pykexec.architectures.arm import ARM
from pykexec.architectures.arm64 import ARM64
from pykexec.architectures.loongarch64 import LOONGARCH64
from pykexec.architectures.m68k import M68K
from pykexec.architectures.others import OTHERS
from pykexec.architectures.ppc64le import PPC64LE
from pykexec.architectures.riscv64 import RISCV64
from pykexec.architectures.s390x import S390X
from pykexec.architectures.x86 import I386, X86_64

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

ARCHITECTURES = {
    item.name: item
    for item in (X86_64, ARM64, RISCV64, I386, PPC64LE, ARM, S390X, LOONGARCH64, M68K)
}
"""Those that there are plans for, by name."""

KNOWN = (*ARCHITECTURES.values(), *OTHERS)
"""Those too that are only told by their name."""

_NAMES = {machine: item.name for item in KNOWN for machine in item.machines}


def name_of(machine: str) -> str:
    """Return the name of the architecture that a ``uname -m`` stands for."""
    return _NAMES.get(machine, machine)


def architecture_of(name: str) -> Architecture:
    """Return what is known of the architecture ``name``; of an unknown one the defaults."""
    return next((item for item in KNOWN if item.name == name), Architecture(name))


def for_program(machine: str, pointer_bits: int) -> Architecture:
    """Return whose system calls a program makes, by ``uname -m`` and the size of its addresses.

    uname may tell of the other width: a 64-bit program in the personality linux32 hears of an
    i686 too.
    """
    told = architecture_of(name_of(machine))
    return next((item for item in family_of(told) if item.word_bits == pointer_bits), told)


def family_of(member: Architecture) -> list[Architecture]:
    """Return those that share ``member``'s room: they differ in width."""
    return [item for item in ARCHITECTURES.values() if item.room == member.room]


def word_bits_of(elf_machine: int) -> int:
    """Return the width of an ``e_machine``'s addresses; of an unknown one 64."""
    found = by_elf_machine(elf_machine)
    return 64 if found is None else found.word_bits


def room_of(wing: str, name: str) -> Any:
    """Return the module in ``wing`` for the architecture ``name``, imported now.

    None where there is none. What it has each wing says by a ``Protocol`` beside its own use of
    this function, which is the only one.
    """
    room = architecture_of(name).room
    # With a fromlist it gives the module itself. importlib would be 2 ms for the same.
    return __import__(f"pykexec.{wing}.{room}", fromlist=[room]) if room else None


def names_by(identity: str) -> dict[Any, str]:
    """Return the names of architectures by a field of :class:`Identity`, where that is known."""
    found = ((getattr(item.identity, identity), item.name) for item in KNOWN)
    return {key: name for key, name in found if key is not None}


def why_no_plan(name: str) -> str | None:
    """Return why there is no plan for machines of the architecture ``name``; None: there is."""
    if name in ARCHITECTURES:
        return None
    missing = architecture_of(name).missing
    return f"cannot plan for a machine of architecture {name!r}{missing and ': '}{missing}"


def why_not_loaded(name: str) -> str | None:
    """Return why nothing is loaded on machines of the architecture ``name``; None: it may be."""
    why = why_no_plan(name)
    if why is not None or architecture_of(name).calls is not None:
        return why
    return (
        f"loads for {name} are planned for recorded machines only: none has been carried out on a "
        "real one"
    )


def known_names() -> str:
    """Return which architectures there are plans for, as a hint."""
    loaded = [name for name, item in ARCHITECTURES.items() if item.calls is not None]
    planned = [name for name in ARCHITECTURES if name not in loaded]
    return (
        f"this version knows {', '.join(loaded)}; recorded machines may be {', '.join(planned)} too"
    )


def by_elf_machine(number: int) -> Architecture | None:
    """Return the architecture of an ELF file's ``e_machine``."""
    return next((item for item in KNOWN if item.identity.elf == number), None)
