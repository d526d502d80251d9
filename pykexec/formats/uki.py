"""Unified kernel images: a PE file with a kernel and more in its sections. Pure.

UAPI.5 Unified Kernel Image, "UKI Components" and "Multi-Profile UKIs". A section's content
is ``VirtualSize`` bytes long; the file may have more of it, as padding.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar

from pykexec.formats import pe
from pykexec.formats.layers import Brought, Layer
from pykexec.values.data_classes import dataclass
from pykexec.values.errors import ImageError
from pykexec.values.large_values import reduce_to_copies, short_repr
from pykexec.values.units import counted

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from pykexec.values.buffers import Buffer

NAME = "UKI"
_PROFILE = ".profile"
_READ = frozenset({".linux", ".initrd", ".ucode", ".cmdline", ".dtb", ".dtbauto", ".uname"})
_INITRD_ALIGNMENT = 4
"""Between archives (Linux Documentation/driver-api/early-userspace/buffer-format.rst)."""


@dataclass(frozen=True, slots=True)
class Uki(Brought):
    """What a UKI brings beside its kernel: of the base, and of one profile if any.

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
    profile: int = 0
    """The number of the profile that this is, from 0."""

    __repr__ = short_repr
    __reduce__ = reduce_to_copies

    @property
    def remarks(self) -> tuple[str, ...]:
        """Tell of profiles that are left."""
        if self.profiles < 2:
            return ()
        which = "the first" if not self.profile else f"number {self.profile}, counted from 0,"
        return (f"of the UKI's {self.profiles} profiles, {which} is used",)


def probe(data: Buffer) -> str | None:
    """Return None if this is a PE file with a ``.linux`` section, else why it is not."""
    reason = pe.probe(data)
    if reason is not None:
        return reason
    if not pe.parse_pe(data, "the PE file").named(".linux"):
        return "a PE file without a .linux section"
    return None


def unwrap(data: Buffer, profile: str | None = None) -> Layer:
    """Take the UKI apart. Raises :class:`ImageError` when it is cut, malformed or has no profile.

    Sections before the first ``.profile`` are the base. Without a choice by the user, of a
    number from 0 or an ID, a UKI boots its first profile, whose sections then stand for those of
    the base.
    """
    file = pe.parse_pe(data, "the UKI")
    number = 0 if profile is None else _numbered(file, profile)
    chosen = _chosen(file.sections, number)
    linux = chosen.get(".linux", ())
    if not linux or not len(linux[0].data):
        where = "empty" if linux else "in another profile"
        raise ImageError(f"the UKI has no kernel: its .linux is {where}", field=".linux")
    return Layer(
        NAME,
        linux[0].data,
        signed=file.certificates is not None,
        brought=_contents(chosen, tuple(section.name for section in file.sections), number),
    )


def _numbered(file: pe.PeFile, profile: str) -> int:
    """Return the number of the profile that a user names, by itself or by its ID."""
    names = [_assigned(bytes(section.data), "ID") for section in file.named(_PROFILE)]
    if profile in names:
        return names.index(profile)
    if profile.isascii() and profile.isdigit() and len(profile) < 4 and int(profile) < len(names):
        return int(profile)
    known = ", ".join(
        f"{number} ({name})" if name else str(number) for number, name in enumerate(names)
    )
    raise ImageError(
        f"the UKI has no profile {profile!r}; "
        + (f"it has {known}" if known else "it has none at all"),
        field=_PROFILE,
        hint=None if known else "name the file without #PROFILE",
    )


def _chosen(sections: Iterable[pe.Section], number: int) -> dict[str, tuple[pe.Section, ...]]:
    """Return by name the sections of the base, and over them those of profile ``number``."""
    parts: list[dict[str, tuple[pe.Section, ...]]] = [{}]
    for section in sections:
        if section.name == _PROFILE:
            if len(parts) == number + 2:
                break
            parts.append({})
        elif len(parts) in (1, number + 2):
            _require_whole(section)
            parts[-1][section.name] = (*parts[-1].get(section.name, ()), section)
    return parts[0] | (parts[number + 1] if len(parts) > number + 1 else {})


def _require_whole(section: pe.Section) -> None:
    """Refuse a section of which the file has only the beginning: zeros would stand for it."""
    if section.name in _READ and len(section.data) < section.virtual_size:
        raise ImageError(
            f"the UKI is malformed: its section {section.name} has "
            f"{counted(section.virtual_size, 'byte')} "
            f"(VirtualSize), of which the file has {len(section.data)}",
            field=section.name,
        )


def _contents(
    chosen: dict[str, tuple[pe.Section, ...]], names: tuple[str, ...], profile: int
) -> Uki:
    # Of sections with the same name the first counts, save for .dtbauto.
    first = {name: sections[0].data for name, sections in chosen.items()}
    cmdline = first.get(".cmdline")
    return Uki(
        initrd=join_initrds([first[name] for name in (".ucode", ".initrd") if name in first]),
        cmdline=None if cmdline is None else bytes(cmdline).strip(b"\0 \t\r\n"),
        device_tree=first.get(".dtb"),
        device_trees=tuple(section.data for section in chosen.get(".dtbauto", ())),
        uname=bytes(first.get(".uname", b"")).strip(b"\0\n").decode("utf-8", "replace"),
        os_release=_assigned(bytes(first.get(".osrel", b"")), "PRETTY_NAME"),
        profiles=names.count(_PROFILE),
        sections=names,
        profile=profile,
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


def _assigned(text: bytes, key: str) -> str:
    """Return what os-release(5) or a ``.profile`` assigns to ``key``, "" without it."""
    lines = text.decode("utf-8", "replace").strip("\0").splitlines()
    values = [line.removeprefix(f"{key}=") for line in lines if line.startswith(f"{key}=")]
    return values[-1].strip("\"'") if values else ""
