"""Unified kernel images: a PE file with a kernel and more in its sections. Pure.

UAPI.5 Unified Kernel Image, "UKI Components" and "Multi-Profile UKIs". A section's content
is ``VirtualSize`` bytes long; the file may have more of it, as padding.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import takewhile
from typing import TYPE_CHECKING, ClassVar

from pykexec.errors import ImageError
from pykexec.formats import pe
from pykexec.formats.layers import Brought, Layer
from pykexec.units import counted

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from pykexec.plans import Buffer

NAME = "UKI"
_PROFILE = ".profile"
_READ = frozenset({".linux", ".initrd", ".ucode", ".cmdline", ".dtb", ".dtbauto", ".uname"})
_INITRD_ALIGNMENT = 4
"""Between archives (Linux Documentation/driver-api/early-userspace/buffer-format.rst)."""


@dataclass(frozen=True, slots=True)
class Uki(Brought):
    """What a UKI brings beside its kernel: of the base, and of the first profile if any.

    The initrd is ``.ucode`` and ``.initrd``, in this order, as the EFI stub joins them; the command
    line ``.cmdline``; the device trees ``.dtb`` and each ``.dtbauto``.
    """

    container: ClassVar[str] = "the UKI"

    uname: str
    """``.uname``: the kernel's release, "" without the section."""
    os_release: str
    """``.osrel``: PRETTY_NAME, or "" without it."""
    profiles: int
    """How many profiles there are. 0: the UKI has no more than its base."""
    sections: tuple[str, ...]
    """The names of all sections, in the file's order."""

    @property
    def remarks(self) -> tuple[str, ...]:
        """Tell of profiles that are left."""
        return (f"of the UKI's {self.profiles} profiles, the first is used",) * (self.profiles > 1)


def probe(data: Buffer) -> str | None:
    """Return None if this is a PE file with a ``.linux`` section, else why it is not."""
    reason = pe.probe(data)
    if reason is not None:
        return reason
    if not pe.parse_pe(data, "the PE file").named(".linux"):
        return "a PE file without a .linux section"
    return None


def unwrap(data: Buffer) -> Layer:
    """Take the UKI apart. Raises :class:`ImageError` when it is cut or malformed.

    Sections before the first ``.profile`` are the base. Without a choice by the user a UKI
    boots its first profile, whose sections then stand for those of the base.
    """
    file = pe.parse_pe(data, "the UKI")
    chosen = _chosen(file.sections)
    linux = chosen.get(".linux", ())
    if not linux or not len(linux[0].data):
        where = "empty" if linux else "in a profile that is not the first"
        raise ImageError(f"the UKI has no kernel: its .linux is {where}", field=".linux")
    return Layer(
        NAME,
        linux[0].data,
        signed=file.certificates is not None,
        brought=_contents(chosen, tuple(section.name for section in file.sections)),
    )


def _chosen(sections: Iterable[pe.Section]) -> dict[str, tuple[pe.Section, ...]]:
    """Return by name the sections of the base, and over them those of the first profile."""
    chosen: dict[str, tuple[pe.Section, ...]] = {}
    rest = iter(sections)
    for _ in ("base", "first profile"):
        part: dict[str, tuple[pe.Section, ...]] = {}
        for section in takewhile(lambda section: section.name != _PROFILE, rest):
            _require_whole(section)
            part[section.name] = (*part.get(section.name, ()), section)
        chosen |= part
    return chosen


def _require_whole(section: pe.Section) -> None:
    """Refuse a section of which the file has only the beginning: zeros would stand for it."""
    if section.name in _READ and len(section.data) < section.virtual_size:
        raise ImageError(
            f"the UKI is malformed: its section {section.name} has "
            f"{counted(section.virtual_size, 'byte')} "
            f"(VirtualSize), of which the file has {len(section.data)}",
            field=section.name,
        )


def _contents(chosen: dict[str, tuple[pe.Section, ...]], names: tuple[str, ...]) -> Uki:
    # Of sections with the same name the first counts, save for .dtbauto.
    first = {name: sections[0].data for name, sections in chosen.items()}
    cmdline = first.get(".cmdline")
    return Uki(
        initrd=join_initrds([first[name] for name in (".ucode", ".initrd") if name in first]),
        cmdline=None if cmdline is None else bytes(cmdline).strip(b"\0 \t\r\n"),
        device_tree=first.get(".dtb"),
        device_trees=tuple(section.data for section in chosen.get(".dtbauto", ())),
        uname=bytes(first.get(".uname", b"")).strip(b"\0\n").decode("utf-8", "replace"),
        os_release=_pretty_name(bytes(first.get(".osrel", b""))),
        profiles=names.count(_PROFILE),
        sections=names,
    )


def join_initrds(archives: Sequence[Buffer]) -> Buffer | None:
    """Return the archives in a row; a single one stays where it is, an empty one is none."""
    archives = [archive for archive in archives if len(archive)]
    if len(archives) < 2:
        return archives[0] if archives else None
    return b"".join(
        piece
        for archive in archives
        for piece in (archive, bytes(-len(archive) % _INITRD_ALIGNMENT))
    )


def _pretty_name(os_release: bytes) -> str:
    """Return ``PRETTY_NAME`` of os-release(5), "" without it."""
    lines = os_release.decode("utf-8", "replace").strip("\0").splitlines()
    values = [line.removeprefix("PRETTY_NAME=") for line in lines if line[:12] == "PRETTY_NAME="]
    return values[-1].strip("\"'") if values else ""
