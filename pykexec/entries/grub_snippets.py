"""GRUB's commands ``blscfg`` and ``uki``: menus out of Boot Loader Specification entries. Pure.

``blscfg`` is that of Fedora's GRUB, which all of Red Hat's kin have, and of GNU GRUB from 2.14 on;
``uki`` came with that. Each entry becomes a small script, as GRUB makes it, so that the variables
in it are filled in and its words split by the same rules. The order is RPM's of versions, the
newest first.
"""

from __future__ import annotations

import re
from functools import cmp_to_key
from typing import TYPE_CHECKING, TypeAlias

from pykexec.entries.grub_boot import BAD_ARGUMENT, NO_FILE, OK, Pending
from pykexec.entries.grub_files import Absent, FileReference
from pykexec.entries.grub_numbers import strtoul
from pykexec.entries.grub_options import BadOption, Option, parse_options
from pykexec.entries.grub_values import SourceText, UkiFacts

if TYPE_CHECKING:
    from collections.abc import Callable

    from pykexec.entries.grub_boot import Result
    from pykexec.entries.grub_run import Action, Run

_OPTIONS = {
    "path": Option("p", takes_value=True),
    "enable-fallback": Option("f"),
    "show-default": Option("d"),
    "show-non-default": Option("n"),
    "entry": Option("e", takes_value=True),
}
_Shows: TypeAlias = "Callable[[int, str, str], bool]"
_VARIABLE = re.compile(r"\$(\w*)", re.ASCII)
_SEGMENT = re.compile(r"~|[0-9]+|[A-Za-z]+")


class Snippet:
    """An entry of type #1 as GRUB reads it: what is behind a line without a value is lost."""

    def __init__(self, name: str, found: SourceText) -> None:
        self.ident = name.removesuffix(".conf")
        self.place = found.path
        self.values: dict[str, list[str]] = {}
        lines = found.text.replace("\r", "").split("\n")
        self.lost_from = 0
        """The first line with something that GRUB does not come to, 0 for none."""
        ended = False
        for number, line in enumerate(lines, start=1):
            words = line.strip(" \t").split(None, 1)
            if words and words[0].startswith("#"):
                continue
            if ended and words:
                self.lost_from = number
                break
            if len(words) < 2:
                ended = True
            else:
                self.values.setdefault(words[0], []).append(line.strip(" \t").split(None, 1)[1])

    def first(self, key: str) -> str:
        """Return the first value of a key, which is the one that GRUB takes; "" without."""
        return self.values.get(key, [""])[0]

    @property
    def title(self) -> str:
        """What the menu shows."""
        return self.first("title") or self.first("linux")


def rpm_order(first: str, second: str) -> int:
    """Compare two versions as RPM does: positive when the first is newer."""
    mine, other = (_SEGMENT.findall(text) for text in (first, second))
    for one, two in zip(mine, other, strict=False):
        if one == two:
            continue
        if "~" in (one, two):
            return -1 if one == "~" else 1
        if one.isdigit() != two.isdigit():
            return 1 if one.isdigit() else -1
        if one.isdigit():
            numbers = [(len(text.lstrip("0")), text.lstrip("0")) for text in (one, two)]
            if numbers[0] != numbers[1]:
                return 1 if numbers[0] > numbers[1] else -1
            continue
        return 1 if one > two else -1
    if len(mine) == len(other):
        return 0
    longer, sign = (mine, 1) if len(mine) > len(other) else (other, -1)
    return -sign if longer[min(len(mine), len(other))] == "~" else sign


def package_order(first: str, second: str) -> int:
    """Compare two entries' names, NAME-VERSION-RELEASE, part by part."""
    mine, other = (_package(name) for name in (first, second))
    for one, two in zip(mine, other, strict=True):
        if order := rpm_order(one, two):
            return order
    return 0


def _package(name: str) -> tuple[str, str, str]:
    rest, _, release = name.rpartition("-")
    head, _, version = rest.rpartition("-")
    return head, version, release


_rpm_key = cmp_to_key(rpm_order)
_package_key = cmp_to_key(package_order)


def _blscfg(run: Run, words: list[str]) -> Result:
    chosen = _choice(run, words)
    if chosen is None:
        return BAD_ARGUMENT
    path, shows = chosen
    if path.endswith(".conf"):
        directory, _, name = path.rpartition("/")
        places, only = [directory], name
    elif path:
        places, only = [path.rstrip("/")], ""
    else:
        blsdir = run.variables.value("blsdir")
        places, only = [blsdir.rstrip("/") or "/loader/entries", "/boot/loader/entries"], ""
    found = _snippets(run, places, only)
    if found is None:
        return NO_FILE
    for at, snippet in enumerate(found):
        if snippet.place not in run.shared.snippets and shows(at, snippet.ident, snippet.title):
            run.shared.snippets.add(snippet.place)
            _add_snippet(run, snippet)
    return OK


def _choice(run: Run, words: list[str]) -> tuple[str, _Shows] | None:
    """Return the path given and what is to be shown: (place in order, id, title) to bool."""
    path, wanted, only = "", set(), ""
    if len(words) == 1 and not words[0].startswith("-"):
        # As Fedora's GRUB has it.
        if words[0] in ("default", "non-default"):
            wanted.add(words[0])
        elif words[0].startswith("("):
            path = words[0]
        else:
            only = words[0]
    else:
        try:
            parsed = parse_options(words, _OPTIONS)
        except BadOption as error:
            run.tell(f"{error}")
            return None
        path, only = parsed.value("path") or "", parsed.value("entry") or ""
        wanted = {name for name in ("default", "non-default") if f"show-{name}" in parsed.values}
    if not wanted and not only:
        wanted = {"default", "non-default"}
    default = run.variables.value("default")
    number = strtoul(default)

    def shows(at: int, ident: str, title: str) -> bool:
        is_default = bool(default) and (
            default in (ident, title) or (number is not None and number == (at, ""))
        )
        return ("default" if is_default else "non-default") in wanted or (
            bool(only) and only.removesuffix(".conf") == ident.removesuffix(".conf")
        )

    return path, shows


def _snippets(run: Run, places: list[str], only: str) -> list[Snippet] | None:
    """Return the entries in the first directory that is there, the newest first."""
    reason = ""
    for place in places:
        reference = run.reference(place or "/")
        if isinstance(reference, str):
            reason = reason or reference
            continue
        names = run.shared.files.names(reference)
        if isinstance(names, Absent):
            reason = reason or f"{place}: {names.reason}"
            continue
        found: list[Snippet] = []
        for name in names:
            if not name.endswith(".conf") or name.startswith(".") or (only and name != only):
                continue
            run.step()
            text = run.shared.files.text(
                FileReference(reference.device, f"{reference.path}/{name}")
            )
            if isinstance(text, Absent):
                run.tell(f"{place}/{name}: {text.reason}")
                continue
            found.append(Snippet(name, text))
        return _sorted(run, found)
    run.tell(f"blscfg finds no entries: {reason}")
    run.shared.lost[run.where] = None
    return None


def _sorted(run: Run, found: list[Snippet]) -> list[Snippet]:
    """Return entries in the menu's order; older GRUBs go by the versions in the files first."""
    by_name = sorted(found, key=lambda one: _package_key(one.ident), reverse=True)
    by_version = sorted(by_name, key=lambda one: _rpm_key(one.first("version")), reverse=True)
    if by_name == by_version:
        return by_name
    question = "whether its blscfg sorts by names of files, or as older ones do by versions in them"
    return by_name if run.ask(question, usual=True) else by_version


def _expanded(run: Run, text: str) -> str:
    """Fill in the variables of a value; one that is not set leaves nothing."""
    return _VARIABLE.sub(lambda match: run.variables.value(match[1]), text)


def _add_snippet(run: Run, snippet: Snippet) -> None:
    linux = snippet.first("linux")
    if not linux:
        return
    place = snippet.place
    if snippet.lost_from:
        line = f"{place}, line {snippet.lost_from}"
        run.shared.add_problem(f"{line}: GRUB stops at the line without a value before it")
    if len(snippet.values.get("options", [])) > 1:
        run.shared.add_problem(f"{place}: GRUB takes the first 'options' only")
    options = _expanded(run, snippet.first("options")) if "options" in snippet.values else ""
    options = options or _expanded(run, run.variables.value("default_kernelopts"))
    initrds = list(snippet.values.get("initrd", []))
    early = run.variables.value("early_initrd").split()
    # They lie where the entry's own initrd does.
    head = (initrds[0] if initrds else linux).rpartition("/")[0]
    files = [f"{head}/{name}" for name in early] + initrds
    script = [f"linux {linux} {options}"]
    if files:
        script.append("initrd " + " ".join(files))
    if snippet.first("devicetree"):
        script.append(f"devicetree {_expanded(run, snippet.first('devicetree'))}")
    words = [snippet.title, *snippet.values.get("grub_arg", [])]
    run.pending.append(
        Pending(snippet.title, snippet.ident, words, "\n".join(script), place, is_snippet=True)
    )


def _uki(run: Run, words: list[str]) -> Result:
    chosen = _choice(run, words)
    if chosen is None:
        return BAD_ARGUMENT
    path, shows = chosen
    place = path.rstrip("/") or "/EFI/Linux"
    reference = run.reference(place)
    names = run.shared.files.names(reference) if isinstance(reference, FileReference) else None
    if not isinstance(reference, FileReference) or isinstance(names, Absent) or names is None:
        reason = names.reason if isinstance(names, Absent) else reference
        run.tell(f"uki finds no images in {place}: {reason}")
        run.shared.lost[run.where] = None
        return NO_FILE
    found = sorted((name for name in names if name.endswith(".efi")), key=_rpm_key, reverse=True)
    for at, name in enumerate(found):
        run.step()
        facts = run.shared.files.uki(FileReference(reference.device, f"{reference.path}/{name}"))
        key = f"{place}/{name}"
        if not isinstance(facts, UkiFacts):
            run.tell(f"{key}: {facts}")
        elif key not in run.shared.snippets and shows(at, name, facts.title):
            run.shared.snippets.add(key)
            script = f"chainloader '{key}'"
            title = facts.title or name
            run.pending.append(Pending(title, name, [title], script, run.where, is_snippet=True))
    return OK


SNIPPETS: dict[str, Action] = {"blscfg": _blscfg, "bls_import": _blscfg, "uki": _uki}
