"""The labels of a configuration of Syslinux or U-Boot, line by line. Pure."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from pykexec.entries import BootEntry, EntryModule, Source

if TYPE_CHECKING:
    from collections.abc import Iterator

    from pykexec.entries.menu_reading import NestedReader

_DEPTH_MAX = 16
"""Of files within files, as both boot loaders have it."""
_FILES_MAX = 128
_OTHER_KERNELS = (".c32", ".com", ".cbt", ".bss", ".bs", ".bin", ".0", ".img")
"""Of KERNEL in Syslinux: its modules, boot sectors, PXE programs, disk images."""
_MENU = "menu.c32"
"""The program that shows a menu, and ``vesamenu.c32``: DEFAULT starts it as UI does."""
_OTHER_KEYS = frozenset({"com32", "boot", "bss", "pxe", "fdimage", "comboot", "config"})
_MENU_ONLY = frozenset({"separator", "disable", "goto", "exit", "quit", "help"})
_INITRD = re.compile(r"(?:^|(?<=\s))initrd=(\S*)\s*")
_UBOOT_VARIABLE = re.compile(r"\$[{(]\w+[)}]")
_DEVICE_TREE_NOTES = {
    "fdtdir": "U-Boot takes the board's device tree from {}",
    "devicetreedir": "U-Boot takes the board's device tree from {}",
    "fdtoverlays": "U-Boot applies the device tree overlays {}",
    "devicetree-overlay": "U-Boot applies the device tree overlays {}",
}


@dataclass(slots=True)
class Label:
    """What a label says."""

    name: str
    where: str
    title: str = ""
    kernel: str = ""
    is_linux: bool = False
    """By LINUX: whatever the kernel's file is called."""
    append: str | None = None
    initrds: list[str] = field(default_factory=list)
    device_tree: str | None = None
    notes: list[str] = field(default_factory=list)
    starts: str = ""
    """What it starts when that is no kernel, in words that end a sentence."""
    problem: str = ""
    """Why it is none, in words that end a sentence."""


@dataclass(slots=True)
class Labels:
    """What a configuration says, with the files that it takes in."""

    labels: list[Label] = field(default_factory=list)
    append: str = ""
    """The APPEND of labels that have none."""
    default: str = ""
    ontimeout: str = ""
    menu_default: str = ""
    waits: bool = False
    """There is a menu or a prompt, which a timeout ends."""
    problems: list[str] = field(default_factory=list)

    def wishes(self) -> Iterator[tuple[str, str]]:
        """Yield what may name the default, the strongest first: the keyword and its value."""
        wishes = {
            "ONTIMEOUT": self.ontimeout if self.waits or not self.default else "",
            "MENU DEFAULT": self.menu_default,
            "DEFAULT": self.default,
        }
        yield from ((key, value) for key, value in wishes.items() if value)


def _is_menu(command: str) -> bool:
    return command.lower().partition(" ")[0].endswith(_MENU)


def bare_kernel(name: str) -> bool:
    """Tell whether a kernel's file name is that of something else for Syslinux."""
    return name.lower().endswith(_OTHER_KERNELS)


def parse_labels(text: str, where: str, nested: NestedReader) -> Labels:
    """Parse a configuration; ``nested`` reads the files that it names by INCLUDE."""
    reader = _Reader(nested)
    reader.read(text, where, 1)
    return reader.found


class _Reader:
    def __init__(self, nested: NestedReader) -> None:
        self.found = Labels()
        self._nested = nested
        self._files = 0

    def read(self, text: str, where: str, depth: int) -> None:
        is_text = False
        for number, line in enumerate(text.split("\n"), start=1):
            words = line.strip().split(None, 1)
            if not words or words[0].startswith("#"):
                continue
            key, value = words[0].lower(), words[1].strip() if len(words) > 1 else ""
            if is_text:
                is_text = key != "endtext"
            elif key == "text":
                is_text = True
            elif key == "include":
                self._include(value, where, number, depth)
            elif key == "menu" and value.lower().startswith("include"):
                self._include(value[len("include") :].strip(), where, number, depth)
            else:
                self._line(key, value, f"{where}, line {number}")
        if is_text:
            self.found.problems.append(f"{where}: TEXT without ENDTEXT")

    def _include(self, value: str, where: str, number: int, depth: int) -> None:
        place = f"{where}, line {number}"
        # A tag may stand behind the name.
        name = value.split(None, 1)[0] if value else ""
        if not name:
            self._tell(f"{place}: INCLUDE without a file")
        elif self._files >= _FILES_MAX:
            self._tell(f"{where}: {_FILES_MAX} files taken in are the most, and the rest is left")
        elif depth >= _DEPTH_MAX:
            self._tell(f"{place}: {name!r} is left out: {depth} files deep is the most")
        else:
            self._files += 1
            found = self._nested(name, where)
            if isinstance(found, str):
                self._tell(f"{place}: cannot read {name!r}: {found}")
            else:
                self.read(*found, depth + 1)

    def _tell(self, problem: str) -> None:
        """Note a problem once: a file may be taken in more often."""
        if problem not in self.found.problems:
            self.found.problems.append(problem)

    def _line(self, key: str, value: str, where: str) -> None:
        found = self.found
        if key == "label":
            found.labels.append(
                Label(value, where)
                if value
                else Label("", where, problem="cannot be named: LABEL is without a value")
            )
        elif key == "default":
            found.default = value
            found.waits = found.waits or _is_menu(value)
        elif key == "ontimeout":
            found.ontimeout = value
        elif key in ("ui", "prompt"):
            found.waits = found.waits or value != "0"
        elif key == "menu":
            self._menu(value)
        elif found.labels:
            _take(found.labels[-1], key, value)
        elif key == "append":
            found.append = value

    def _menu(self, text: str) -> None:
        key, _, value = text.partition(" ")
        key = key.lower()
        if not self.found.labels:
            return
        label = self.found.labels[-1]
        if key == "label":
            # A caret marks the letter that is the entry's hot key.
            label.title = value.strip().replace("^", "", 1)
        elif key == "default":
            self.found.menu_default = self.found.menu_default or label.name
        elif key in _MENU_ONLY:
            label.starts = label.starts or "is a line of the menu, and starts nothing"


def _take(label: Label, key: str, value: str) -> None:
    """Take a label's line in. Unknown keywords are passed over, as the boot loaders do."""
    if key in ("kernel", "linux"):
        label.kernel, label.is_linux = value, key == "linux"
        if not value:
            label.problem = f"has {key.upper()} without a value"
    elif key == "append":
        label.append = value
    elif key == "initrd" and not label.initrds:
        label.initrds = [name for name in value.split(",") if name]
    elif key in ("fdt", "devicetree") and value:
        label.device_tree = value
    elif key in _DEVICE_TREE_NOTES and value:
        label.notes.append(_DEVICE_TREE_NOTES[key].format(value))
    elif key in ("ipappend", "sysappend") and value != "0":
        label.notes.append(f"{key.upper()} {value}: the boot loader adds words of the machine")
    elif key == "localboot":
        label.starts = f"boots from a disk (LOCALBOOT {value})"
    elif key in _OTHER_KEYS:
        label.starts = f"starts {value or 'nothing'} ({key.upper()}), which is no Linux kernel"


def described(label: Label, common: str) -> BootEntry | str:
    """Return a label's entry, or what it starts instead, in words that end a sentence."""
    append = common if label.append is None else label.append
    if append.strip() == "-":
        append = ""
    base = label.kernel.rpartition("/")[2].lower()
    if label.starts and not label.kernel:
        return label.starts
    if not label.kernel or not label.name:
        label.problem = label.problem or "names no kernel"
        return label.problem
    if not label.is_linux and base == "mboot.c32":
        return _multiboot(label, append)
    if not label.is_linux and base == "linux.c32" and append:
        label.kernel, _, append = append.partition(" ")
    elif (not label.is_linux and bare_kernel(base)) or base == "memdisk":
        return f"starts {label.kernel}, which is no Linux kernel"
    initrds = label.initrds
    if match := _INITRD.search(append):
        initrds = initrds or [name for name in match[1].split(",") if name]
        append = _INITRD.sub("", append).strip()
    variable = _UBOOT_VARIABLE.search(append)
    return BootEntry(
        source=Source.EXTLINUX,
        id=label.name,
        title=label.title or label.name,
        where=label.where,
        kernel=label.kernel,
        initrds=tuple(initrds),
        cmdline=append,
        device_tree=label.device_tree,
        notes=tuple(label.notes),
        obstacle=f"its command line has {variable[0]}, which only the boot loader knows"
        if variable
        else "",
    )


def _multiboot(label: Label, append: str) -> BootEntry | str:
    """Return what mboot.c32 starts: doc/mboot.txt; each file's words start with its name."""
    parts = [part.strip() for part in re.split(r"(?:^|(?<=\s))---(?=\s|$)", append)]
    kernel = re.sub(r"^(?:-\S+\s+)+", "", parts[0])
    files = [part.split(None, 1)[0] for part in (kernel, *parts[1:]) if part]
    if not kernel:
        label.problem = "starts mboot.c32 without a kernel in its APPEND"
        return label.problem
    return BootEntry(
        source=Source.EXTLINUX,
        id=label.name,
        title=label.title or label.name,
        where=label.where,
        kernel=files[0],
        cmdline=kernel,
        multiboot=1,
        modules=tuple(
            EntryModule(name, words)
            for name, words in zip(files[1:], filter(None, parts[1:]), strict=True)
        ),
        notes=tuple(label.notes),
    )
