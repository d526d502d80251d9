"""How one plan differs from another, or from what a loader said with ``-d``.

Both sides are the values of the JSON form; a log gives only some of the keys, and only those
are compared. Segments are matched by role; those of a log without roles by the size of their
contents, else by their address. Digests of what holds a fresh seed, or a digest over one, say
nothing and are left out: what the next kernel is told is compared in words.
"""

from __future__ import annotations

import json
import re
from typing import TYPE_CHECKING, Any

from pykexec.render.escape import json_text, one_line
from pykexec.render.json import SCHEMA
from pykexec.render.style import PLAIN, Style
from pykexec.render.text import signed_lines
from pykexec.values.data_classes import dataclass, replace
from pykexec.values.errors import UsageError
from pykexec.values.json_fields import Fields, parse_json, shorten
from pykexec.values.roles import Role
from pykexec.values.units import format_size

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

DIFF_SCHEMA = "pykexec.plan-diff/1"
_SCALARS = ("arch", "target", "syscall", "entry", "kernel_entry", "flags", "cmdline")
_SEGMENT_KEYS = ("mem", "memsz", "bufsz", "sha256", "checked")
_LISTS = ("told", "memory_map", "notes")
_SEEDED = (Role.SETUP_DATA, Role.DTB, Role.BOOTINFO, Role.PURGATORY)
_DIGITS = 16
"""Of a digest, for people."""

_HINT = "give what 'pykexec plan --json' or 'kexec -d' has printed"
_HEXADECIMAL = re.compile(r"(?:0[xX])?[0-9a-fA-F]{1,16}")
_INDEX_DIGITS = 4
"""Of a segment's number; Linux takes 16 segments, and printed ones may be of others."""

# What kexec(8) and pykexec print for -d; the buffer of pykexec is a role.
_CALL = re.compile(r"kexec_load: entry = (?P<entry>0x[0-9a-f]+|\(nil\)) flags = (?P<flags>\S+)")
_SEGMENT = re.compile(r"segment\[(?P<index>\d+)\]\.(?P<key>buf|bufsz|mem|memsz)\s*= (?P<value>\S+)")


@dataclass(frozen=True, slots=True)
class Difference:
    """One thing that is not the same; None where one side has nothing of it."""

    name: str
    before: str | None
    after: str | None


def parse_other(text: str, where: str) -> dict[str, Any]:
    """Read the other side: a plan as JSON, or a log of ``kexec -d``; ``where`` names it.

    Raises :class:`UsageError` for anything else.
    """
    if not text.lstrip().startswith(("{", "[")):
        return _parse_log(text, where)
    where = f"--diff: {where}"
    value = parse_json(text, where, UsageError, _HINT)
    schema = value.get("schema") if isinstance(value, dict) else None
    if schema != SCHEMA:
        raise UsageError(
            f"{where} is no plan: schema {shorten(schema)}, not {SCHEMA!r}", hint=_HINT
        )
    plan = Fields(value, where, error=UsageError, hint=_HINT)
    _check(plan)
    if plan.is_given("layout"):
        _check(plan.fields("layout"))
    return dict(value)


def _check(plan: Fields) -> None:
    """Refuse what is compared and not of the type that pykexec/schemas/plan.json says."""
    for name in _SCALARS:
        plan.text(name, None)
    for name in ("kernel", "initrd"):
        if plan.is_given(name):
            plan.fields(name).natural("size")
    for segment in plan.fields_of_each("segments", ()):
        segment.text("role")
        segment.hexadecimal("mem")
        segment.natural("memsz", None)
        segment.natural("bufsz", None)
        segment.text("sha256", None)
        segment.flag("checked", None)
    for region in plan.fields_of_each("memory_map", ()):
        for key in ("start", "end", "name"):
            region.text(key)
    for item in plan.fields_of_each("told", ()):
        item.text("name")
        item.text("after", None)
    plan.texts("notes", ())


def _parse_log(text: str, where: str) -> dict[str, Any]:
    """Read the last load in a log: what comes before it was another one, or tried in vain."""
    found: dict[str, Any] = {}
    segments: dict[int, dict[str, Any]] = {}
    for line in text.splitlines():
        call = _CALL.search(line)
        if call:
            entry = "0x0" if call["entry"] == "(nil)" else call["entry"]
            found = {"syscall": "kexec_load", "entry": entry}
            found["flags"] = f"{_number(call['flags'], where):#x}"
            segments = {}
        segment = _SEGMENT.search(line)
        if segment:
            values = segments.setdefault(_index(segment["index"], where), {})
            _take_value(values, segment["key"], segment["value"], where)
    found["segments"] = [item for _, item in sorted(segments.items()) if "mem" in item]
    if "flags" not in found or not found["segments"]:
        raise UsageError(
            f"--diff: {where} is neither a plan nor a log of a load: it has no JSON, and no lines "
            "'kexec_load: entry = ...' and 'segment[0].mem = ...'",
            hint=_HINT,
        )
    return found


def _index(text: str, where: str) -> int:
    if len(text) > _INDEX_DIGITS:
        raise UsageError(f"--diff: {where}: no load has a segment of number {shorten(text)}")
    return int(text)


def _take_value(values: dict[str, Any], key: str, text: str, where: str) -> None:
    if key == "buf":
        if text in list(Role):
            values["role"] = text
    elif key == "mem":
        values["mem"] = f"{_number(text, where):#x}"
    else:
        values[key] = _number(text, where)


def _number(text: str, where: str) -> int:
    if text == "(nil)":
        return 0
    if _HEXADECIMAL.fullmatch(text) is None:
        raise UsageError(
            f"--diff: {where}: {shorten(text)} is not a hexadecimal number of at most 64 bits"
        )
    return int(text, 16)


def differences(before: Mapping[str, Any], after: Mapping[str, Any]) -> tuple[Difference, ...]:
    """Compare ``before``, from :func:`parse_other`, with the JSON value ``after`` of a plan."""
    return tuple(_differences(before, after))


def _differences(before: Mapping[str, Any], after: Mapping[str, Any]) -> Iterator[Difference]:
    for key in _SCALARS:
        if key in before and before[key] != after.get(key):
            yield Difference(key, _words(before[key]), _words(after.get(key)))
    for key in ("kernel", "initrd"):
        if key in before and key in after and before[key] != after[key]:
            yield Difference(key, _words(before[key]), _words(after[key]))
    yield from _segment_differences(before.get("segments", []), after.get("segments", []))
    for key in _LISTS:
        if key not in before:
            continue
        old, new = ([_item_words(item) for item in side.get(key, [])] for side in (before, after))
        for item in dict.fromkeys([*old, *new]):
            if item not in new:
                yield Difference(key, item, None)
            elif item not in old:
                yield Difference(key, None, item)
    yield from _layout_differences(before.get("layout"), after.get("layout"))


def _layout_differences(before: object, after: object) -> Iterator[Difference]:
    """Compare what lies beneath two plans for kexec_file_load; the rest is in the plans too."""
    if isinstance(before, dict) and isinstance(after, dict):
        kept = ("entry", "kernel_entry", "segments", "memory_map")
        sides = ({key: side[key] for key in kept if key in side} for side in (before, after))
        for item in _differences(*sides):
            yield replace(item, name=f"layout: {item.name}")


def _segment_differences(
    before: Sequence[Mapping[str, Any]], after: Sequence[Mapping[str, Any]]
) -> Iterator[Difference]:
    for old, new in _matched(before, after):
        role = _words((new or old or {}).get("role", "of the log"))
        name = f"segment {role}"
        if old is None or new is None:
            yield Difference(name, _segment_words(old), _segment_words(new))
            continue
        for key in _SEGMENT_KEYS:
            if key == "sha256" and new["role"] in _SEEDED:
                continue
            if key in old and key in new and old[key] != new[key]:
                yield Difference(f"{name} {key}", _words(old[key], key), _words(new[key], key))


def _matched(
    before: Sequence[Mapping[str, Any]], after: Sequence[Mapping[str, Any]]
) -> Iterator[tuple[Mapping[str, Any] | None, Mapping[str, Any] | None]]:
    """Yield the pairs, in the order of ``after``; then what is left over of ``before``."""
    left = list(before)
    pairs: dict[int, Mapping[str, Any]] = {}
    for key in ("role", "bufsz", "mem"):
        for index, new in enumerate(after):
            match = next((old for old in left if _same(old, new, key)), None)
            if match is not None and index not in pairs:
                pairs[index] = match
                left.remove(match)
    for index, new in enumerate(after):
        yield pairs.get(index), new
    for old in left:
        yield old, None


def _same(old: Mapping[str, Any], new: Mapping[str, Any], key: str) -> bool:
    """Tell whether two segments are one by that key; a role, where there is one, decides."""
    return key in old and old[key] == new[key] and (key == "role" or "role" not in old)


def _segment_words(segment: Mapping[str, Any] | None) -> str | None:
    if segment is None:
        return None
    size = segment.get("memsz")
    text = f"at {segment['mem']}" + (f", {format_size(size)}" if isinstance(size, int) else "")
    return _words(text)


def _item_words(item: object) -> str | None:
    """Write an item of a list: a region of memory, what is told, or a note."""
    match item:
        case {"start": start, "end": end, "name": name}:
            return _words(f"{start} to {end} {name}")
        case {"name": name, "after": after}:
            return _words(f"{name}: nothing" if after is None else f"{name}: {after}")
        case _:
            return _words(item)


def _words(value: object, key: str = "") -> str | None:
    """Write a JSON value for people; a size with its bytes, so that no difference is rounded."""
    if value is None:
        return None
    if key in ("memsz", "bufsz") and isinstance(value, int):
        return f"{value:#x} ({format_size(value)})"
    if key == "sha256" and isinstance(value, str):
        value = f"{value[:_DIGITS]}..."
    if isinstance(value, str):
        return one_line(value)
    return one_line(json.dumps(value, ensure_ascii=False))


def diff_json(found: Sequence[Difference]) -> str:
    """Return the differences as indented JSON: schema ``pykexec.plan-diff/1``."""
    changes = [{"name": item.name, "before": item.before, "after": item.after} for item in found]
    value = {"schema": DIFF_SCHEMA, "changes": changes}
    return json_text(value)


def diff_text(found: Sequence[Difference], where: str, style: Style = PLAIN) -> str:
    """Return the differences in at most 80 columns: ``-`` is ``where``, ``+`` this plan."""
    if not found:
        return f"No difference to {one_line(where)}.\n"
    lines = [f"This plan (+) and {one_line(where)} (-):"]
    for item in found:
        lines += signed_lines(item.name, item.before, item.after, style)
    return "\n".join(lines) + "\n"
