"""The labels of a configuration of Syslinux or U-Boot, line by line. Pure."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from pykexec.entries import BootEntry, EntryModule, Source
from pykexec.values.data_classes import dataclass, field

if TYPE_CHECKING:
    from collections.abc import Iterator

    from pykexec.entries.menu_reading import NestedReader

_DEPTH_MAX = 16
"""Of files within files, as both boot loaders have it."""
_FILES_MAX = 128
_OTHER_KERNELS = (".c32", ".com", ".cbt", ".bss", ".bs", ".bin", ".0", ".img")
"""Of KERNEL in Syslinux: its modules, boot sectors, PXE programs, disk images."""
_MENUS = ("menu.c32", "vesamenu.c32", "gfxboot.c32")
"""The programs that show a menu: DEFAULT starts them as UI does."""
_AS_KERNELS = ("mboot.c32", "linux.c32")
"""Modules that start a kernel, also by COM32."""
_OTHER_KEYS = frozenset({"com32", "boot", "bss", "pxe", "fdimage", "comboot", "config"})
_MENU_ONLY = frozenset({"disable", "disabled", "goto", "exit", "quit", "help"})
_ADDING = ("ipappend", "sysappend")
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
    """With the words behind it, which Syslinux has in front of those of APPEND."""
    is_linux: bool = False
    """By LINUX: whatever the kernel's file is called."""
    append: str | None = None
    initrd: str = ""
    """As INITRD has it, with commas."""
    is_line: bool = False
    """A line of the menu alone."""
    is_first: bool = True
    """It can be what the menu begins with: it is no separator, not hidden, and in no submenu."""
    obstacle: str = ""
    """What boot loaders differ in, in words that end a sentence."""
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
    notes: list[str] = field(default_factory=list)
    """Of all labels."""
    default: str = ""
    ontimeout: str = ""
    menu_defaults: list[Label] = field(default_factory=list)
    """Labels with MENU DEFAULT, and submenus."""
    interface: str = ""
    """What UI starts."""
    saves: bool = False
    """Syslinux starts what was chosen last."""
    endless: str = ""
    """The line that takes in a file which is being read already."""
    waits: bool = False
    """There is a menu or a prompt, which a timeout ends."""
    problems: list[str] = field(default_factory=list)

    def wishes(self) -> Iterator[tuple[str, str]]:
        """Yield what names the default by a value, the strongest first, with its keyword."""
        wishes = {
            "ONTIMEOUT": self.ontimeout if self.waits or not self.default else "",
            "DEFAULT": self.default,
        }
        yield from ((key, value) for key, value in wishes.items() if value)


def is_menu(command: str) -> bool:
    """Tell whether a command starts a program that shows the menu."""
    return command.lower().split(None, 1)[0].rpartition("/")[2] in _MENUS


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
        self._reading: list[str] = []
        self._label: Label | None = None
        """That the lines are of, if any."""
        self._submenus: list[Label] = []

    def read(self, text: str, where: str, depth: int) -> None:
        self._reading.append(where)
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
        self._reading.pop()

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
            elif found[1] in self._reading:
                self.found.endless = self.found.endless or place
                self._tell(f"{place}: {found[1]} is being read already, and is left out")
            else:
                self.read(*found, depth + 1)

    def _tell(self, problem: str) -> None:
        """Note a problem once: a file may be taken in more often."""
        if problem not in self.found.problems:
            self.found.problems.append(problem)

    def _line(self, key: str, value: str, where: str) -> None:
        found = self.found
        if key == "label":
            problem = "" if value else "cannot be named: LABEL is without a value"
            self._add(Label(value, where, problem=problem))
        elif key == "default":
            found.default = value
            found.waits = found.waits or (bool(value) and is_menu(value))
        elif key == "ontimeout":
            found.ontimeout = value
        elif key == "ui":
            found.interface, found.waits = value, True
        elif key == "prompt":
            found.waits = found.waits or value != "0"
        elif key == "menu":
            self._menu(value, where)
        elif self._label is not None:
            _take(self._label, key, value)
        elif key == "append":
            found.append = value
        elif key in _ADDING and value not in ("", "0"):
            found.notes.append(_added(key, value))

    def _add(self, label: Label) -> None:
        label.is_first = not self._submenus
        self.found.labels.append(label)
        self._label = label

    def _menu(self, text: str, where: str) -> None:
        words = text.split(None, 1)
        key, value = words[0].lower() if words else "", words[1] if len(words) > 1 else ""
        label = self._label
        # Each of these ends the label before it.
        if key in ("begin", "end", "separator"):
            self._label = None
        if key == "begin":
            submenu = Label(value, where, is_line=True, starts="opens a menu of its own")
            self._add(submenu)
            self._submenus.append(submenu)
            self._label = None
        elif key == "end":
            del self._submenus[-1:]
        elif key == "save":
            self.found.saves = True
        elif key == "default" and label is None and self._submenus:
            self._default(self._submenus[-1])
        elif label is None:
            return
        elif key == "label":
            # A caret marks the letter that is the entry's hot key.
            label.title = value.strip().replace("^", "", 1)
        elif key == "default":
            self._default(label)
        elif key == "hide":
            label.is_first = False
        elif key in _MENU_ONLY:
            label.is_line, label.is_first = True, False
            label.starts = "is a line of the menu, and starts nothing"

    def _default(self, label: Label) -> None:
        if label.is_first:
            self.found.menu_defaults.append(label)


def _take(label: Label, key: str, value: str) -> None:
    """Take a label's line in. Unknown keywords are passed over, as the boot loaders do."""
    is_module = key == "com32" and value.lower().rpartition("/")[2] in _AS_KERNELS
    if key in ("kernel", "linux") or is_module:
        if label.starts and not label.is_line:
            label.problem = "has a kernel, and something else that it starts: loaders differ in it"
        label.kernel, label.is_linux = value, key == "linux"
        if not value:
            label.problem = f"has {key.upper()} without a value"
    elif key == "append":
        label.append = value
    elif key == "initrd":
        if label.initrd not in ("", value):
            label.obstacle = "it has INITRD twice, and boot loaders differ in which one counts"
        label.initrd = label.initrd or value
    elif key in ("fdt", "devicetree") and value:
        label.device_tree = value
    elif key in _DEVICE_TREE_NOTES and value:
        label.notes.append(_DEVICE_TREE_NOTES[key].format(value))
    elif key in _ADDING and value != "0":
        label.notes.append(_added(key, value))
    elif key == "localboot":
        label.starts = f"boots from a disk (LOCALBOOT {value})"
    elif key in _OTHER_KEYS:
        label.starts = f"starts {value or 'nothing'} ({key.upper()}), which is no Linux kernel"


def _added(key: str, value: str) -> str:
    return f"{key.upper()} {value}: the boot loader adds words of the machine"


def described(label: Label, common: str) -> BootEntry | str:
    """Return a label's entry, or what it starts instead, in words that end a sentence."""
    append = common if label.append is None else label.append
    if append.strip() == "-":
        append = ""
    kernel, words = (*label.kernel.split(None, 1), "", "")[:2]
    base = kernel.rpartition("/")[2].lower()
    if label.starts and not label.problem:
        return label.starts
    if not kernel or not label.name or label.problem:
        label.problem = label.problem or "names no kernel"
        return label.problem
    append = " ".join(part for part in (words, append) if part)
    if not label.is_linux and base == "mboot.c32":
        return _multiboot(label, append)
    if not label.is_linux and base == "linux.c32" and append:
        kernel, _, append = append.partition(" ")
    elif (not label.is_linux and bare_kernel(base)) or base == "memdisk":
        return f"starts {kernel}, which is no Linux kernel"
    named = [*filter(None, dict.fromkeys((label.initrd, *_INITRD.findall(append))))]
    obstacle = label.obstacle
    if len(named) > 1:
        obstacle = f"it has the initrds {' and '.join(named)}: boot loaders differ in which count"
    append = _INITRD.sub("", append).strip()
    variable = _UBOOT_VARIABLE.search(append)
    return BootEntry(
        source=Source.EXTLINUX,
        id=label.name,
        title=label.title or label.name,
        where=label.where,
        kernel=kernel,
        initrds=tuple(name for name in (named or [""])[0].split(",") if name),
        cmdline=append,
        device_tree=label.device_tree,
        notes=tuple(label.notes),
        obstacle=f"its command line has {variable[0]}, which only the boot loader knows"
        if variable
        else obstacle,
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
