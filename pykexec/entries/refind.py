"""rEFInd's refind_linux.conf, and the stanzas of its refind.conf. Pure.

The rEFInd Boot Manager, "Methods of Booting Linux" and "Configuring the Boot Manager".
"""

from __future__ import annotations

import posixpath
import re
from typing import TYPE_CHECKING

from pykexec.entries import MENU_SEPARATOR, BootEntry, Source
from pykexec.entries.menu_reading import MenuReading, with_unique_ids
from pykexec.values.data_classes import dataclass, field, replace

if TYPE_CHECKING:
    from pykexec.entries.menu_reading import Surroundings

_TOKEN = re.compile(r'"((?:[^"]|"")*)"|([^\s"=,#]+|#)')
_KERNEL = re.compile(r"(?:vmlinuz|bzImage|kernel)(?:.*)", re.IGNORECASE | re.DOTALL)
_NO_KERNEL = (".img", ".sig", ".hmac", ".old", ".sha256", ".conf", ".png", ".icns")
_INITRD = re.compile(r"(?:^|(?<=\s))initrd=(\S*)\s*")
_DEPTH_MAX = 8
_FILES_MAX = 64


def _tokens(line: str) -> list[str]:
    """Split a line as rEFInd does, also at ``=`` and commas: quotation marks keep all of them, two
    of them are one.
    """
    found = []
    for match in _TOKEN.finditer(line):
        if match[2] == "#":
            break
        found.append(match[2] if match[2] is not None else match[1].replace('""', '"'))
    return found


def parse_refind_linux(text: str, where: str, around: Surroundings) -> MenuReading:
    """Parse refind_linux.conf: each line is an entry for each kernel of the same directory."""
    lines: list[tuple[str, str, str]] = []
    problems: list[str] = []
    for number, line in enumerate(text.split("\n"), start=1):
        words = _tokens(line)
        if not words:
            continue
        place = f"{where}, line {number}"
        if len(words) == 1:
            problems.append(f"{place}: a title and options are needed, there is only {words[0]!r}")
            continue
        lines.append((words[0], words[1], place))
    kernels = [
        name
        for name in around.names
        if _KERNEL.fullmatch(name) and not name.lower().endswith(_NO_KERNEL)
    ]
    found = [
        _of_kernel(kernel, title, options, place, around)
        for kernel in kernels
        for title, options, place in lines
    ]
    names = with_unique_ids([entry.id for entry in found])
    entries = tuple(replace(entry, id=name) for entry, name in zip(found, names, strict=True))
    reason = f"{where} names no default: rEFInd starts what it started last"
    return MenuReading(entries, None, reason, tuple(problems))


def kernel_version(name: str) -> str:
    """Return what ``%v`` stands for: from the first digit to the last one of a kernel's file
    name, "" without.
    """
    match = re.search(r"\d(?:.*\d)?", name, re.DOTALL)
    return match[0] if match else ""


def _of_kernel(
    kernel: str, title: str, options: str, where: str, around: Surroundings
) -> BootEntry:
    version = kernel_version(kernel)
    words = re.sub(r"%(.)", lambda match: {"v": version, "%": "%"}.get(match[1], match[0]), options)
    initrds = [item.replace("\\", "/") for item in _INITRD.findall(words) if item]
    initrds = [item if item.startswith("/") else f"/{item}" for item in initrds]
    return BootEntry(
        source=Source.REFIND,
        id=f"{kernel}{MENU_SEPARATOR}{title}",
        title=title,
        where=where,
        kernel=kernel,
        initrds=tuple(initrds) or _matching_initrd(kernel, around.names),
        cmdline=_INITRD.sub("", words).strip(),
    )


def _matching_initrd(kernel: str, names: tuple[str, ...]) -> tuple[str, ...]:
    """Return the initrd that rEFInd finds for a kernel: of the same version, beside it.

    Of several, what goes on behind the version most like the kernel's name, then the shortest.
    """
    version = kernel_version(kernel)
    found = [
        name
        for name in names
        if name.lower().startswith("init") and kernel_version(name) == version
    ]

    def likeness(name: str) -> int:
        parts = (text.partition(version)[2] if version else text for text in (kernel, name))
        return len(posixpath.commonprefix(list(parts)))

    return (min(found, key=lambda name: (-likeness(name), len(name))),) if found else ()


@dataclass(slots=True)
class _Stanza:
    title: str
    where: str
    values: dict[str, str] = field(default_factory=dict)
    added: str = ""
    """The words of ``add_options``."""
    is_disabled: bool = False
    parent: _Stanza | None = None

    def get(self, key: str) -> str:
        """Return a value, that of the stanza around where this one has none."""
        value = self.values.get(key)
        if value is None:
            return self.parent.get(key) if self.parent else ""
        return value


@dataclass(slots=True)
class _Config:
    stanzas: list[_Stanza] = field(default_factory=list)
    selection: str = ""
    scans: bool = True
    """The menu has more than the stanzas: what rEFInd finds itself."""
    problems: list[str] = field(default_factory=list)
    files: int = 0


def parse_refind(text: str, where: str, around: Surroundings) -> MenuReading:
    """Parse the stanzas of refind.conf, with the files that it takes in."""
    config = _Config()
    _read(text, where, around, config, 1)
    enabled = [
        stanza
        for stanza in config.stanzas
        if not stanza.is_disabled and not (stanza.parent and stanza.parent.is_disabled)
    ]
    paths = [
        MENU_SEPARATOR.join([*([one.parent.title] if one.parent else []), one.title])
        for one in enabled
    ]
    found = [
        _of_stanza(stanza, name)
        for stanza, name in zip(enabled, with_unique_ids(paths), strict=True)
    ]
    entries = tuple(entry for entry in found if isinstance(entry, BootEntry))
    default, reason = _default(config, enabled, found, where)
    return MenuReading(entries, default, reason, tuple(config.problems))


def _read(text: str, where: str, around: Surroundings, config: _Config, depth: int) -> None:
    open_stanzas: list[_Stanza] = []
    for number, line in enumerate(text.split("\n"), start=1):
        words = _tokens(line)
        if not words:
            continue
        key, place = words[0].lower(), f"{where}, line {number}"
        if key in ("menuentry", "submenuentry"):
            title = words[1] if len(words) > 1 and words[1] != "{" else ""
            parent = open_stanzas[0] if key == "submenuentry" and open_stanzas else None
            if (key == "submenuentry") != bool(parent) or not title:
                config.problems.append(f"{place}: {key!r} is not where it can be, or has no title")
            stanza = _Stanza(title, place, parent=parent)
            if title:
                config.stanzas.append(stanza)
            open_stanzas = [*([parent] if parent else []), stanza]
        elif key == "}":
            del open_stanzas[-1:]
        elif open_stanzas:
            _take(open_stanzas[-1], key, words)
        elif key == "default_selection":
            config.selection = ",".join(words[1:])
        elif key == "scanfor":
            config.scans = set(words[1:]) != {"manual"}
        elif key == "include" and len(words) > 1:
            _include(words[1], where, place, around, config, depth)
    if open_stanzas:
        config.problems.append(f"{open_stanzas[0].where}: the stanza has no end")


def _include(
    name: str, where: str, place: str, around: Surroundings, config: _Config, depth: int
) -> None:
    config.files += 1
    if depth >= _DEPTH_MAX or config.files > _FILES_MAX:
        found: tuple[str, str] | str = "too many files within each other"
    else:
        found = around.read(name.replace("\\", "/"), where)
    if not isinstance(found, str):
        _read(*found, around, config, depth + 1)
    elif (text := f"{place}: cannot read {name!r}: {found}") not in config.problems:
        config.problems.append(text)


def _take(stanza: _Stanza, key: str, words: list[str]) -> None:
    value = words[1] if len(words) > 1 else ""
    if key == "disabled":
        stanza.is_disabled = True
    elif key == "add_options":
        stanza.added = value
    elif key in ("loader", "initrd", "options", "volume", "ostype"):
        # Of the initrd, nothing means none, also where the stanza around has one.
        stanza.values[key] = value


def _of_stanza(stanza: _Stanza, name: str) -> BootEntry | str:
    """Return a stanza's entry, or what it starts instead, in words that end a sentence."""
    loader = stanza.get("loader").replace("\\", "/")
    if not loader:
        return "names no loader"
    if posixpath.basename(loader).lower().endswith(".efi") and not stanza.get("initrd"):
        return f"starts {loader}, which is an EFI program"
    volume = stanza.get("volume").removesuffix(":")
    device = f"(volume:{volume})" if volume else ""

    def located(path: str) -> str:
        path = path.replace("\\", "/")
        return f"{device}{path if path.startswith('/') else '/' + path}"

    initrd = stanza.get("initrd")
    return BootEntry(
        source=Source.REFIND,
        id=name,
        title=stanza.title,
        where=stanza.where,
        kernel=located(loader),
        initrds=(located(initrd),) if initrd else (),
        cmdline=" ".join(word for word in (stanza.get("options"), stanza.added) if word),
    )


def _default(
    config: _Config, stanzas: list[_Stanza], found: list[BootEntry | str], where: str
) -> tuple[str | None, str]:
    # Of a list, and of times of the day, what goes for all of them cannot be told.
    selection = config.selection
    said = f"default_selection {selection!r} in {where}"
    if not selection or selection == "+":
        return None, f"{where} names no default: rEFInd starts what it started last"
    if len(selection) == 1:
        return None, f"{said} is a place or a key in rEFInd's menu, which only rEFInd knows"
    titles = [stanza.title.lower() if stanza.parent is None else "" for stanza in stanzas]
    fit = [entry for title, entry in zip(titles, found, strict=True) if selection.lower() in title]
    if len(fit) != 1:
        return None, f"{said}, which {len(fit)} of its stanzas are called"
    if isinstance(fit[0], str):
        return None, f"{said}, which {fit[0]}"
    if config.scans and selection.lower() not in titles:
        config.problems.append(
            f"{said} is a part of the title {fit[0].title!r}, and may be one of what rEFInd finds "
            "itself"
        )
    return fit[0].id, said
