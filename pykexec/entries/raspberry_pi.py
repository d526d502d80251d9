"""The Raspberry Pi's firmware: config.txt and cmdline.txt. Pure.

Raspberry Pi Documentation, "config.txt": "Boot Options", "Conditional filters" and "include".
"""

from __future__ import annotations

import posixpath
import re
from typing import TYPE_CHECKING

from pykexec.entries import BootEntry, Source
from pykexec.entries.menu_reading import MenuReading
from pykexec.values.data_classes import dataclass, field

if TYPE_CHECKING:
    from pykexec.entries.menu_reading import Surroundings

_ID = "raspberry-pi"
_DEPTH_MAX = 10
_FILES_MAX = 64
_WANTED = frozenset(
    {
        "kernel",
        "initramfs",
        "ramfsfile",
        "cmdline",
        "os_prefix",
        "upstream_kernel",
        "auto_initramfs",
        "arm_64bit",
        "boot_ramdisk",
    }
)
_FILTER = re.compile(r"\[(.*)\]\s*(?:#.*)?")
_MODEL_FILTER = re.compile(r"pi\d\d?\d?\+?|pi0w|pi02|cm\d\w?")


@dataclass(slots=True)
class _Settings:
    values: dict[str, str] = field(default_factory=dict)
    doubt: str = ""
    """A filter that decides of one of them, and that only the firmware knows."""
    problems: list[str] = field(default_factory=list)
    files: int = 0
    filters: dict[str, bool | str] = field(default_factory=dict)
    """By kind: whether what follows counts, or the filter that only the firmware knows."""


def model_filters(model: str) -> frozenset[str]:
    """Return the names of the filters that a model passes: "Model filters"."""
    match = re.search(r"Raspberry Pi (.*)", model)
    if match is None:
        return frozenset()
    name = match[1]
    if name.startswith("Zero"):
        more = {"pi02", "pi0w"} if "Zero 2" in name else {"pi0w"} if "Zero W" in name else set()
        return frozenset({"pi0", *more})
    if board := re.match(r"([45])00", name):
        return frozenset({f"pi{board[1]}", f"pi{board[1]}00"})
    if module := re.match(r"Compute Module (\d)(S?)", name):
        number = module[1]
        return frozenset({f"pi{number}", f"cm{number}{module[2].lower()}"})
    if board := re.match(r"(\d) Model", name):
        plus = {"pi3+"} if board[1] == "3" and "Plus" in name else set()
        return frozenset({f"pi{board[1]}", *plus})
    return frozenset({"pi1"})


def parse_raspberry_pi(text: str, where: str, around: Surroundings) -> MenuReading:
    """Parse config.txt, with the files that it takes in: one entry, which starts by itself."""
    settings = _Settings()
    _read(text, where, around, settings, 1)
    values = settings.values
    obstacle = settings.doubt
    if "autoboot.txt" in around.names:
        obstacle = obstacle or (
            "autoboot.txt beside it may have the firmware start from another partition"
        )
    if values.get("boot_ramdisk", "0") not in ("", "0"):
        obstacle = obstacle or "the firmware takes all files out of boot.img (boot_ramdisk)"
    kernel = values.get("kernel", "") or _kernel_of(values, around)
    if not kernel:
        reason = obstacle or (
            f"{where} names no kernel, and the firmware takes one by the machine's model, which is "
            "not known"
        )
        return MenuReading((), None, reason, tuple(settings.problems))
    if re.search(r"u-?boot", kernel):
        return MenuReading((), None, f"{where} starts U-Boot ({kernel})", tuple(settings.problems))
    is_upstream = values.get("upstream_kernel", "0") not in ("", "0")
    prefix = values.get("os_prefix", "upstream/" if is_upstream else "")
    initrds = [name for name in values.get("initramfs", "").split(" ")[0].split(",") if name]
    notes = ["the firmware adds words of its own to the command line"]
    if prefix:
        notes.append(
            f"the firmware takes what is behind os_prefix, {prefix!r}, only if the board's device "
            "tree is there too"
        )
    if not initrds and values.get("auto_initramfs", "0") not in ("", "0"):
        initrds = _initramfs_of(kernel, prefix, around)
    name = _prefixed(prefix, values.get("cmdline", "cmdline.txt"))
    cmdline = around.read(name, where)
    if isinstance(cmdline, str):
        obstacle = obstacle or f"its command line, {name}, cannot be read: {cmdline}"
        cmdline = ("", "")
    entry = BootEntry(
        source=Source.RASPBERRY_PI,
        id=_ID,
        title=around.model or "Raspberry Pi",
        where=where,
        kernel=_prefixed(prefix, kernel),
        initrds=tuple(_prefixed(prefix, name) for name in initrds),
        # The firmware reads one line.
        cmdline=" ".join(cmdline[0].split("\n", 1)[0].strip().split()),
        obstacle=obstacle,
        notes=tuple(notes),
    )
    return MenuReading((entry,), entry.id, f"the firmware's {where}", tuple(settings.problems))


def _read(text: str, where: str, around: Surroundings, found: _Settings, depth: int) -> None:
    for number, line in enumerate(map(str.strip, text.split("\n")), start=1):
        if match := _FILTER.fullmatch(line):
            _filter(match[1].strip(), around, found)
            continue
        if line.lower().startswith("include "):
            key, value = "include", line[len("include ") :].strip()
        elif line.lower().startswith("initramfs "):
            key, value = "initramfs", line[len("initramfs ") :].strip()
        else:
            key, _, value = (part.strip() for part in line.partition("="))
        key = key.lower()
        if key not in _WANTED and key != "include":
            continue
        place = f"{where}, line {number}"
        if False in found.filters.values():
            continue
        if unknown := [item for item in found.filters.values() if isinstance(item, str)]:
            found.doubt = found.doubt or (
                f"{key!r} ({place}) depends on the filter [{unknown[0]}], which only the firmware "
                "can tell"
            )
            continue
        if key != "include":
            # The one does what the other does, and more.
            found.values["initramfs" if key == "ramfsfile" else key] = value
            continue
        found.files += 1
        taken = around.read(value, where)
        if depth >= _DEPTH_MAX or found.files > _FILES_MAX:
            taken = "too many files within each other"
        if isinstance(taken, str):
            found.problems.append(f"{place}: cannot read {value!r}: {taken}")
        else:
            _read(*taken, around, found, depth + 1)


def _filter(name: str, around: Surroundings, found: _Settings) -> None:
    """Take a filter in: one of a kind replaces another of it, ``[all]`` ends them."""
    name = name.lower()
    if name == "all":
        found.filters.clear()
    elif name == "none":
        found.filters["none"] = False
    elif name == "tryboot":
        # A load stands for the usual start.
        found.filters["tryboot"] = False
    elif _MODEL_FILTER.fullmatch(name):
        passed = model_filters(around.model)
        found.filters["model"] = name in passed if passed else name
    else:
        found.filters[re.split(r"[=:\d]", name, maxsplit=1)[0]] = name


def _kernel_of(values: dict[str, str], around: Surroundings) -> str:
    """Return what the firmware takes without ``kernel``, "" when the model is not known."""
    passed = model_filters(around.model)
    if not passed:
        return ""
    if "pi5" in passed:
        return "kernel_2712.img" if "kernel_2712.img" in around.names else "kernel8.img"
    wide = values.get("arm_64bit", "1" if "pi4" in passed else "0") != "0"
    if wide and passed & {"pi2", "pi3", "pi4", "pi02"}:
        return "kernel8.img"
    if "pi4" in passed:
        return "kernel7l.img"
    return "kernel7.img" if passed & {"pi2", "pi3", "pi02"} else "kernel.img"


def _initramfs_of(kernel: str, prefix: str, around: Surroundings) -> list[str]:
    """Return what ``auto_initramfs`` takes: the kernel's name with another beginning, if there."""
    base = posixpath.basename(kernel)
    if not base.startswith("kernel"):
        return []
    name = "initramfs" + base.removeprefix("kernel").removesuffix(".img")
    name = posixpath.join(posixpath.dirname(kernel), name)
    directory, _, inside = _prefixed(prefix, name).rpartition("/")
    # Only of the configuration's own directory is known what is in it.
    return [name] if directory.strip("/") or inside in around.names else []


def _prefixed(prefix: str, name: str) -> str:
    return name if name.startswith("/") else prefix + name
