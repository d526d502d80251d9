"""extlinux.conf, of Syslinux and of U-Boot. Pure.

The Syslinux configuration is described in its doc/menu.txt and doc/syslinux.txt; what U-Boot
takes of it, and adds (``fdt``, ``fdtdir``, ``kaslrseed``), in its doc/develop/distro.rst and
doc/usage/cmd/pxe.rst.
"""

from __future__ import annotations

from dataclasses import dataclass, field

from pykexec.entries import BootEntry, Source
from pykexec.errors import MachineError

_OF_A_LABEL = frozenset(
    {"kernel", "linux", "append", "initrd", "fdt", "devicetree", "fdtdir", "devicetreedir"}
)
_OTHER_KERNELS = (".c32", ".com", ".cbt", ".bss", ".bs", ".0")
"""Of ``kernel`` in Syslinux: its modules, boot sectors, PXE programs."""


@dataclass(slots=True)
class _Label:
    name: str
    line: int
    title: str = ""
    kernel: str = ""
    append: str | None = None
    initrds: list[str] = field(default_factory=list)
    device_tree: str | None = None


@dataclass(frozen=True, slots=True)
class Extlinux:
    """A configuration: its Linux entries, and the one that starts by itself."""

    entries: tuple[BootEntry, ...]
    default: str | None
    """Its id; None without any entry."""


def parse_extlinux(text: str, where: str) -> Extlinux:
    """Parse a configuration; labels that start no Linux are left out.

    Raises :class:`MachineError` with the line for a keyword without its value, and for one of
    a label's before the first label.
    """
    labels: list[_Label] = []
    wishes = dict.fromkeys(("ontimeout", "menu default", "default"), "")
    common = ""
    for number, line in enumerate(text.split("\n"), start=1):
        words = line.strip().split(None, 1)
        if not words or words[0].startswith("#"):
            continue
        key, value = words[0].lower(), words[1].strip() if len(words) > 1 else ""
        if key == "label":
            labels.append(_Label(_given(value, key, where, number), number))
        elif key in wishes:
            # Syslinux takes a whole command there.
            wishes[key] = value.split(" ")[0]
        elif key == "menu":
            wishes["menu default"] = _menu(labels, value) or wishes["menu default"]
        elif key == "append" and not labels:
            common = value
        elif key in _OF_A_LABEL:
            if not labels:
                raise MachineError(f"{where}, line {number}: {words[0]!r} before the first label")
            _set(labels[-1], key, _given(value, key, where, number))
    entries = [_entry(label, common, where) for label in labels if _is_linux(label)]
    names = [entry.id for entry in entries]
    # A default may also be the program that shows the menu.
    wanted = [name for name in wishes.values() if name in names] + names
    return Extlinux(tuple(entries), wanted[0] if wanted else None)


def _given(value: str, key: str, where: str, number: int) -> str:
    if not value and key != "append":
        raise MachineError(f"{where}, line {number}: {key!r} without a value")
    return value


def _menu(labels: list[_Label], text: str) -> str:
    """Take a MENU line in; returns the name of the label that it makes the default."""
    words = text.split(None, 1)
    key = words[0].lower() if words else ""
    if labels and key == "label" and len(words) > 1:
        # A caret marks the letter that is the entry's hot key.
        labels[-1].title = words[1].replace("^", "", 1)
    return labels[-1].name if labels and key == "default" else ""


def _set(label: _Label, key: str, value: str) -> None:
    if key in ("kernel", "linux"):
        label.kernel = value
    elif key == "append":
        label.append = value
    elif key == "initrd":
        label.initrds = [name for name in value.split(",") if name]
    elif key in ("fdt", "devicetree"):
        label.device_tree = value


def _is_linux(label: _Label) -> bool:
    return bool(label.kernel) and not label.kernel.lower().endswith(_OTHER_KERNELS)


def _entry(label: _Label, common: str, where: str) -> BootEntry:
    words = (common if label.append is None else label.append).split()
    append = "" if words == ["-"] else (common if label.append is None else label.append)
    initrds = label.initrds
    for word in words:
        if word.startswith("initrd=") and not initrds:
            initrds = [name for name in word.removeprefix("initrd=").split(",") if name]
            append = " ".join(item for item in words if item is not word)
    return BootEntry(
        source=Source.EXTLINUX,
        id=label.name,
        title=label.title or label.name,
        where=f"{where}, line {label.line}",
        kernel=label.kernel,
        initrds=tuple(initrds),
        cmdline=append,
        device_tree=label.device_tree,
    )
