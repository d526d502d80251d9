"""zipl.conf(5), of the boot loader of s390. Pure.

Its other form, entries of the Boot Loader Specification, is read as that; zipl.conf then only says
which one is the default.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from pykexec.entries import BootEntry, Source
from pykexec.entries.menu_reading import MenuReading
from pykexec.values.data_classes import dataclass, field

if TYPE_CHECKING:
    from pykexec.entries.menu_reading import Surroundings

_DEFAULT = "defaultboot"
_HEAD = re.compile(r"\[([^\]\s]+)\]|:(\w+)")
_VARIABLE = re.compile(r"\$\{\w+\}")
"""zipl-editenv(8): filled in when the machine boots."""
_ADDRESS = re.compile(r",0x[0-9a-fA-F]+$|,[0-9a-fA-F]+$")


@dataclass(slots=True)
class _Section:
    name: str
    where: str
    is_menu: bool
    values: dict[str, str] = field(default_factory=dict)


def parse_zipl(text: str, where: str, around: Surroundings) -> MenuReading:
    """Parse the sections; one that loads no kernel (a dump, a segment) is no entry."""
    sections: list[_Section] = []
    problems: list[str] = []
    for number, line in enumerate(map(str.strip, text.split("\n")), start=1):
        if not line or line.startswith("#"):
            continue
        place = f"{where}, line {number}"
        if match := _HEAD.fullmatch(line):
            sections.append(_Section(match[1] or match[2], place, match[1] is None))
            continue
        key, sign, value = (part.strip() for part in line.partition("="))
        if not sections or (not sign and key != "defaultauto"):
            problems.append(f"{place}: '[NAME]', ':NAME' or KEY=VALUE is needed")
            continue
        sections[-1].values.setdefault(key.lower(), _unquoted(value))
    started: dict[str, BootEntry | str] = {}
    for section in sections:
        if not section.is_menu and section.name != _DEFAULT:
            started.setdefault(section.name, _entry(section, around))
    entries = tuple(entry for entry in started.values() if isinstance(entry, BootEntry))
    default, reason = _default(sections, started, where)
    return MenuReading(entries, default, reason, tuple(problems))


def _unquoted(value: str) -> str:
    if len(value) > 1 and value[0] == value[-1] and value[0] in "\"'":
        return value[1:-1]
    return value


def _entry(section: _Section, around: Surroundings) -> BootEntry | str:
    """Return a section's entry, or what it does instead, in words that end a sentence."""
    values = section.values
    image = _ADDRESS.sub("", values.get("image", ""))
    if not image:
        other = next((key for key in ("dumpto", "mvdump", "segment", "kdump") if key in values), "")
        return f"is for {other}" if other else "has no image"
    cmdline, obstacle = values.get("parameters", ""), ""
    if parmfile := _ADDRESS.sub("", values.get("parmfile", "")):
        found = around.read(parmfile, section.where.partition(", line")[0])
        if isinstance(found, str):
            obstacle = f"its parmfile {parmfile} cannot be read: {found}"
        else:
            cmdline = " ".join((*found[0].split(), *cmdline.split()))
    if not obstacle and (variable := _VARIABLE.search(cmdline)):
        obstacle = f"its command line has {variable[0]}, which only zipl's environment knows"
    ramdisk = _ADDRESS.sub("", values.get("ramdisk", ""))
    return BootEntry(
        source=Source.ZIPL,
        id=section.name,
        title=section.name,
        where=section.where,
        kernel=image,
        initrds=(ramdisk,) if ramdisk else (),
        cmdline=cmdline.strip(),
        obstacle=obstacle,
    )


def _default(
    sections: list[_Section], started: dict[str, BootEntry | str], where: str
) -> tuple[str | None, str]:
    boot = next((section for section in sections if section.name == _DEFAULT), None)
    if boot is None:
        return None, f"{where} has no section [{_DEFAULT}]"
    said = f"[{_DEFAULT}] of {where}"
    wanted = boot.values.get("default", "")
    if menu_name := boot.values.get("defaultmenu", ""):
        menu = next((one for one in sections if one.is_menu and one.name == menu_name), None)
        if menu is None:
            return None, f"{said} names the menu {menu_name!r}, which is not there"
        numbers = [key for key in menu.values if key.isdigit()]
        number = menu.values.get("default", numbers[0] if numbers else "")
        wanted = menu.values.get(number, "")
        said = f"default={number} of the menu {menu_name!r} in {where}"
    elif not wanted and started:
        wanted = next(iter(started))
        said += ", the first section"
    if not wanted:
        return None, f"{said} names no section: which of loader/entries is taken is not known"
    found = started.get(wanted)
    if found is None:
        return None, f"{said} names {wanted!r}, which is no section there"
    if isinstance(found, str):
        return None, f"{said} names {wanted!r}, which {found}"
    return found.id, said
