"""Boot entries for people and for programs."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from pykexec.render.lines import behind

if TYPE_CHECKING:
    from pykexec.entries import BootEntry
    from pykexec.machine.boot_entries import BootEntries


_LABEL = 18


def entries_text(found: BootEntries) -> str:
    """List the entries in 80 columns; a longer name stays whole, so that it can be copied."""
    parts = [_entry_text(entry, is_default=entry is found.default) for entry in found.entries]
    chosen = "none" if found.default is None else found.default.id
    return "\n".join([*parts, _labelled("default", f"{chosen} ({found.reason})")]) + "\n"


def _labelled(label: str, text: str) -> str:
    return behind(f"{label + ':':<{_LABEL}}", text, _LABEL, break_long_words=False)


def _entry_text(entry: BootEntry, *, is_default: bool) -> str:
    lines = [("  title", entry.title)] if entry.title != entry.id else []
    lines += [("  kernel", entry.kernel)]
    lines += [("  initrd", name) for name in entry.initrds]
    if entry.device_tree is not None:
        lines.append(("  device tree", entry.device_tree))
    lines.append(("  command line", entry.cmdline or "(none)"))
    for module in entry.modules:
        lines.append(("  module", module.path))
        lines.append(("    with", module.cmdline or "(none)"))
    if entry.tries_left is not None:
        lines.append(("  tries left", str(entry.tries_left)))
    lines += [("  missing", str(file)) for file in entry.missing]
    lines += [("  note", text) for text in entry.notes]
    if entry.obstacle:
        lines.append(("  not loadable", entry.obstacle))
    lines.append(("  from", f"{entry.source}, {entry.where}"))
    head = _labelled("* entry" if is_default else "  entry", entry.id)
    return "\n".join([head, *(_labelled(label, text) for label, text in lines)]) + "\n"


def entries_value(found: BootEntries) -> dict[str, Any]:
    """Return the same as what JSON can say: schema ``pykexec.entries/1``."""
    return {
        "schema": "pykexec.entries/1",
        "entries": [
            {
                "id": entry.id,
                "source": entry.source.value,
                "title": entry.title,
                "version": entry.version,
                "kernel": entry.kernel,
                "initrds": list(entry.initrds),
                "cmdline": entry.cmdline,
                "device_tree": entry.device_tree,
                "multiboot": entry.multiboot,
                "modules": [
                    {"path": module.path, "cmdline": module.cmdline} for module in entry.modules
                ],
                "tries_left": entry.tries_left,
                "missing": [file.name for file in entry.missing],
                "missing_because": [file.reason for file in entry.missing],
                "obstacle": entry.obstacle,
                "notes": list(entry.notes),
                "where": entry.where,
                "default": entry is found.default,
            }
            for entry in found.entries
        ],
        "default": None if found.default is None else found.default.id,
        "reason": found.reason,
        "problems": found.problems,
    }
