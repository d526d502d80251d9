"""Whether a crash would leave a dump: what is known before it happens. Pure."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from pykexec.crash_setup.dump_tool import choose
from pykexec.doctor import Finding, Level
from pykexec.values.data_classes import dataclass
from pykexec.values.units import format_size

if TYPE_CHECKING:
    from collections.abc import Iterable

_SETUP = "pykexec crash setup --yes"
_SAVER = "usr/lib/pykexec/capture/save"


@dataclass(frozen=True, slots=True)
class Image:
    """The initramfs of the running kernel that saves a dump, as it is."""

    path: str
    names: frozenset[str] = frozenset()
    problem: str = ""
    """Why nothing is known of it."""
    what: str = "the capture initramfs"
    """In words; where firmware takes the dump it is the ordinary one."""


@dataclass(frozen=True, slots=True)
class Seen:
    """What readiness is judged by."""

    release: str
    makedumpfile: str
    """Release of the installed makedumpfile, "" for none."""
    image: Image
    drivers: frozenset[str]
    """Modules that the target's device and file system need here; built-in ones are not among."""
    target: str
    """In words."""
    free: int | None = None
    """Bytes that are free there; None where that is not known."""
    ram: int = 0
    in_use: int = 0
    """Bytes of RAM that a dump without free, cache and user pages may have."""


def judge(seen: Seen) -> list[Finding]:
    """Return what is found, each with what to do about it."""
    return [_dump_tool(seen), *_drivers(seen), *_space(seen)]


def _dump_tool(seen: Seen) -> Finding:
    tool = choose(seen.makedumpfile, seen.release)
    level = Level.FINE if tool.knows_kernel else Level.NOTE
    return Finding("dump_tool", level, tool.reason, "makedumpfile -v", tool.advice)


def _drivers(seen: Seen) -> Iterable[Finding]:
    image = seen.image
    if image.problem:
        yield Finding("capture_image", Level.BLOCKS, image.problem, image.path, _SETUP)
        return
    if _SAVER not in image.names:
        text = f"{image.what} does not have what saves the dump"
        yield Finding("capture_image", Level.BLOCKS, text, image.path, _SETUP)
        return
    packed = {_module(name) for name in image.names if ".ko" in name}
    missing = sorted(name for name in seen.drivers if _module(name) not in packed)
    if missing:
        text = f"drivers of the dump's target are not in it: {', '.join(missing)}"
        yield Finding("dump_drivers", Level.BLOCKS, text, image.path, _SETUP)
        return
    text = f"{image.what} has the drivers of {seen.target}"
    if seen.drivers:
        text += f": {', '.join(sorted(seen.drivers))}"
    yield Finding("dump_drivers", Level.FINE, text, image.path)


def _module(name: str) -> str:
    """Return a module's name from its file's, as the kernel has it."""
    return re.sub(r"\.ko(\.\w+)?$", "", name.rpartition("/")[2]).replace("-", "_")


def _space(seen: Seen) -> Iterable[Finding]:
    if seen.free is None:
        return
    filtered = choose(seen.makedumpfile, seen.release).knows_kernel
    wanted = seen.in_use if filtered else seen.ram
    room = f"{format_size(seen.free)} are free in {seen.target}"
    if seen.free >= wanted:
        yield Finding("dump_space", Level.FINE, f"{room}, and a dump takes {format_size(wanted)} "
                      "at most as things are")  # fmt: skip
        return
    text = f"{room}, and a dump may take {format_size(wanted)}: what fits would be saved"
    advice = "make room there, or name another target: pykexec crash setup --target DIR --yes"
    yield Finding("dump_space", Level.RISK, text, "", advice)
