"""Boot entries: what boot loaders' configurations say about kernels. Pure.

Text in, :class:`BootEntry` out. Which files there are, :mod:`pykexec.machine.boot_entries`
finds out; paths here are those of the configuration, relative to whatever its boot loader
calls the root.
"""

from __future__ import annotations

import re
from enum import StrEnum
from typing import TYPE_CHECKING

from pykexec.values.data_classes import dataclass
from pykexec.values.errors import MachineError

if TYPE_CHECKING:
    from collections.abc import Iterable

MENU_SEPARATOR = ">"
"""Between a submenu and what is in it, as GRUB's ``default`` has it."""
_VARIABLE = re.compile(r"\$(?:\{\w+\}|[A-Za-z_]\w*)")
_PASSWORD = re.compile(r"\$(?:[0-9]|2[abxy]|y|gy|7)\$[^\s\"']*")
"""crypt(5): an installer's ``rootpw=$6$SALT$HASH``."""


class Source(StrEnum):
    """What kind of configuration an entry comes from."""

    BLS = "bls"
    """Boot Loader Specification, type #1."""
    UKI = "uki"
    """Boot Loader Specification, type #2."""
    GRUB = "grub"
    EXTLINUX = "extlinux"
    GRUB_LEGACY = "grub-legacy"
    RASPBERRY_PI = "raspberry-pi"
    REFIND = "refind"
    LIMINE = "limine"
    ZIPL = "zipl"
    FILES = "files"
    """Only a kernel with a usual name; no configuration says anything."""


@dataclass(frozen=True, slots=True)
class MissingFile:
    """A file that an entry names and that cannot be had."""

    name: str
    """As the configuration has it."""
    reason: str
    """Why, in words that end a sentence."""

    def __str__(self) -> str:
        return f"{self.name}: {self.reason}"


@dataclass(frozen=True, slots=True)
class EntryModule:
    """A module of a multiboot kernel."""

    path: str
    cmdline: str
    """As its boot loader hands it over: its first word is by custom a name."""
    is_unpacked: bool = True
    """What it is compressed with is taken off."""


@dataclass(frozen=True, slots=True)
class BootEntry:
    """A kernel, and how its boot loader would start it."""

    source: Source
    id: str
    """What ``--entry`` and the boot loader know it by; with the submenus that it is in."""
    title: str
    where: str
    """The file, and the line where there is one."""
    kernel: str
    initrds: tuple[str, ...] = ()
    cmdline: str = ""
    """As :func:`os.fsdecode` makes it of the file's bytes."""
    device_tree: str | None = None
    version: str = ""
    sort_key: str = ""
    machine_id: str = ""
    architecture: str = ""
    """As the configuration says it; "" for any."""
    tries_left: int | None = None
    """Boot counting; 0 has failed for good, None is not counted."""
    multiboot: int = 0
    """The version by which a multiboot kernel is started, 0 for others. Its ``cmdline`` is all that
    it is handed: the first word is by custom a name."""
    modules: tuple[EntryModule, ...] = ()
    is_efi_program: bool = False
    """``kernel`` is a program for EFI firmware; only a UKI can be loaded."""
    missing: tuple[MissingFile, ...] = ()
    """Files of it that are not there."""
    obstacle: str = ""
    """Why it cannot be loaded as it is, in words that end a sentence; "" when it can."""
    notes: tuple[str, ...] = ()
    """What its boot loader does beside, and a load does not."""


def unexpanded(words: str) -> str:
    """Return the first ``$name`` or ``${name}`` that a boot loader would fill in, "" without.

    The hash of a password has dollars of its own.
    """
    match = _VARIABLE.search(_PASSWORD.sub("", words))
    return match[0] if match else ""


def select(entries: Iterable[BootEntry], name: str) -> BootEntry:
    """Return the entry called ``name``: by id, else by title, version or file.

    ``SOURCE:NAME`` looks among the entries of one source. Raises :class:`MachineError` with
    the names to choose from when there is none, or more than one.
    """
    candidates = list(entries)
    prefix, _, rest = name.partition(":")
    if rest and prefix in set(Source):
        candidates = [entry for entry in candidates if entry.source == prefix]
        name = rest
    for found in (
        [entry for entry in candidates if name in (entry.id, entry.id.removesuffix(".conf"))],
        [entry for entry in candidates if name == entry.id.rpartition(MENU_SEPARATOR)[2]],
        [entry for entry in candidates if name in (entry.title, entry.version, entry.kernel)],
    ):
        if len(found) == 1:
            return found[0]
        if found:
            raise MachineError(
                f"{len(found)} boot entries are called {name!r}",
                hint="give one of " + ", ".join(f"{item.source}:{item.id}" for item in found),
            )
    names = ", ".join(repr(entry.id) for entry in candidates)
    raise MachineError(
        f"there is no boot entry {name!r}",
        hint=f"there are {names}" if names else "there are none at all",
    )
