"""An ELF kernel as it was linked, and whether a core is of it: for people and for programs."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from pykexec.crash.vmlinux import Belongs
from pykexec.render.crash import labelled
from pykexec.render.escape import one_line
from pykexec.render.lines import behind, table, wrapped

if TYPE_CHECKING:
    from pykexec.crash.vmlinux import Match
    from pykexec.formats.elf_details import ElfDetails, Note

MATCH_EXIT_CODES = {Belongs.YES: 0, Belongs.NO: 1, Belongs.UNKNOWN: 2}
"""Of ``pykexec crash match``."""
_NAME = 30
"""Columns for the name of a section or of a note's owner."""


def elf_value(details: ElfDetails) -> dict[str, Any]:
    """Return it as what JSON can say: part of schema ``pykexec.image/1``."""
    return {
        "bits": details.bits,
        "byte_order": details.byte_order,
        "machine": details.machine,
        "type": details.type,
        "entry": f"{details.entry:#x}",
        "build_id": details.build_id or None,
        "banner": details.banner or None,
        "segments": [
            {
                "vaddr": f"{item.vaddr:#x}",
                "paddr": f"{item.paddr:#x}",
                "filesz": item.filesz,
                "memsz": item.memsz,
                "flags": item.flags,
            }
            for item in details.segments
        ],
        "sections": [
            {"name": item.name, "vaddr": f"{item.vaddr:#x}", "size": item.size}
            for item in details.sections
        ],
        "notes": [
            {
                "owner": item.owner,
                "type": item.type,
                "kind": item.kind or None,
                "size": item.size,
                "text": item.text or None,
            }
            for item in details.notes
        ],
    }


def elf_text(details: ElfDetails) -> str:
    """Describe it in at most 80 columns: the build, then tables."""
    lines = [
        f"ELF:               {details.bits} bits, {details.byte_order} endian, "
        f"{details.machine}, {details.type}, entry {details.entry:#x}",
        f"build ID:          {details.build_id or 'none'}",
    ]
    if details.banner:
        lines += ["banner:", wrapped(one_line(details.banner))]
    parts = [
        ("segments", ("virtual", "physical", "file", "memory", "flags"), _segments(details)),
        ("sections", ("address", "size", "name"), _sections(details)),
        ("notes", ("owner", "type", "bytes", "what it says"), map(_note, details.notes)),
    ]
    for name, header, rows in parts:
        shown = list(rows)
        lines.append(f"{name}:" if shown else f"{name + ':':<19}none")
        if shown:
            lines.append(table(header, shown, frozenset()))
    return "\n".join(lines) + "\n"


def _segments(details: ElfDetails) -> list[tuple[str, ...]]:
    return [
        (
            f"{item.vaddr:#x}",
            f"{item.paddr:#x}",
            f"{item.filesz:#x}",
            f"{item.memsz:#x}",
            item.flags,
        )
        for item in details.segments
    ]


def _sections(details: ElfDetails) -> list[tuple[str, ...]]:
    return [(f"{item.vaddr:#x}", f"{item.size:#x}", item.name) for item in details.sections]


def _note(note: Note) -> tuple[str, ...]:
    kind = note.kind or f"{note.type:#x}"
    return (note.owner[:_NAME] or "-", kind, str(note.size), note.text)


def match_value(match: Match) -> dict[str, Any]:
    """Return the verdict as what JSON can say: schema ``pykexec.crash-match/1``."""
    return {
        "schema": "pykexec.crash-match/1",
        "verdict": match.verdict.value,
        "reason": match.reason,
        "compared": [
            {
                "what": item.what,
                "core": item.core or None,
                "vmlinux": item.vmlinux or None,
                "same": item.same,
            }
            for item in match.compared
        ],
    }


def match_text(match: Match) -> str:
    """Say what the core and the vmlinux have, and the verdict."""
    lines = []
    for item in match.compared:
        if item.same:
            lines.append(labelled(item.what, item.core))
            continue
        lines.append(labelled(item.what, f"core: {item.core or 'not known'}"))
        below = " " * 18
        lines.append(behind(below, f"vmlinux: {item.vmlinux or 'not known'}", len(below)))
    lines.append(labelled("verdict", f"{match.verdict.value}: {match.reason}"))
    return "\n".join(lines) + "\n"
