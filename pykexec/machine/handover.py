"""Kexec handover and the live update orchestrator, as far as a machine shows them.

debugfs says the most, and is often not mounted: then the orchestrator's device, and else command
line and configuration together, which do not know whether the kernel found the memory for it (Linux
kernel/liveupdate/kexec_handover.c, "kho_reserve_scratch").
"""

from __future__ import annotations

import re
from contextlib import suppress
from typing import TYPE_CHECKING

from pykexec.formats.handover import (
    METADATA,
    ORCHESTRATOR,
    parse_metadata,
    parse_orchestrator,
    parse_scratch,
)
from pykexec.machine.kernel_config import read_config
from pykexec.machine.kernel_state import SHOWS_HANDOVER
from pykexec.values.command_line import kernel_words, key_of, switched
from pykexec.values.data_classes import replace
from pykexec.values.errors import ImageError
from pykexec.values.handover import Handover, Switch

if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import TypeVar

    from pykexec.formats.ikconfig import KernelConfig
    from pykexec.machine.files import MachineFiles
    from pykexec.values.kernel_state import KernelState

    _Found = TypeVar("_Found")

DEBUGFS, DEVICE = SHOWS_HANDOVER
_OUT, _IN = f"{DEBUGFS}/out", f"{DEBUGFS}/in"
_FIRST_HANDOVER, _FIRST_ORCHESTRATOR = (6, 16), (6, 19)
"""Linux that had them first."""
_LAYOUT = re.compile(rb"kho-v\d+(?=\0)")
_HEAD = 4096


def with_handover(files: MachineFiles, state: KernelState) -> KernelState:
    """Add what goes over to the next kernel, where the running one may know of it."""
    version = re.match(r"(\d+)\.(\d+)", state.release)
    if not version or (int(version[1]), int(version[2])) < _FIRST_HANDOVER:
        return state
    found = read_handover(files, state.release)
    return replace(state, handover=found.handover.on is True, handed_over=found)


def read_handover(files: MachineFiles, release: str) -> Handover:
    """Read all that there is to be known; nothing is raised for what is not."""
    cmdline = (files.peek("proc/cmdline") or "").encode("utf-8", "surrogateescape")
    shown, device = files.has_directory(DEBUGFS), files.has_directory(DEVICE)
    config, source = (None, "") if shown and device else read_config(files, release)
    if shown:
        handover = Switch(True, f"/{DEBUGFS} is there")
    elif device:
        handover = Switch(True, "/dev/liveupdate is there")
    else:
        handover = _by_words(
            cmdline, "kho", "KEXEC_HANDOVER", config, source, release, _FIRST_HANDOVER
        )
    found = Handover(handover, _orchestrator(handover, device, cmdline, config, source, release))
    return _with_debugfs(found, files) if shown else found


def _orchestrator(
    handover: Switch,
    device: bool,
    cmdline: bytes,
    config: KernelConfig | None,
    source: str,
    release: str,
) -> Switch:
    if device:
        return Switch(True, "/dev/liveupdate is there")
    if handover.on is False:
        return Switch(False, "it needs kexec handover")
    found = _by_words(
        cmdline, "liveupdate", "LIVEUPDATE", config, source, release, _FIRST_ORCHESTRATOR
    )
    if found.on is not False:
        # Its device would be there: Linux kernel/liveupdate/luo_core.c, "liveupdate_ioctl_init".
        return Switch(False, "there is no /dev/liveupdate")
    return found


def _by_words(
    cmdline: bytes,
    word: str,
    option: str,
    config: KernelConfig | None,
    source: str,
    release: str,
    first: tuple[int, int],
) -> Switch:
    """Conclude from what the kernel was told and how it was built."""
    if config is not None and not config.has(f"CONFIG_{option}"):
        return Switch(False, f"{source} has no CONFIG_{option}")
    version = re.match(r"(\d+)\.(\d+)", release)
    if config is None and version and (int(version[1]), int(version[2])) < first:
        return Switch(False, f"Linux {version[0]} has none; {first[0]}.{first[1]} is the first")
    given = any(key_of(item) == word for item in kernel_words(cmdline))
    if given and not switched(cmdline, word):
        return Switch(False, f"{word}= on the command line switches it off")
    if config is None:
        said = f"{word}= is on the command line" if given else f"{word}= is not on the command line"
        return Switch(None, f"{said}, and no configuration of this kernel is to be found")
    if given:
        return Switch(True, f"{word}= on the command line, and CONFIG_{option} in {source}")
    if config.has(f"CONFIG_{option}_ENABLE_DEFAULT"):
        return Switch(True, f"CONFIG_{option}_ENABLE_DEFAULT in {source}")
    return Switch(False, f"{word}=on is not on the command line")


def _with_debugfs(found: Handover, files: MachineFiles) -> Handover:
    scratch = None
    phys, sizes = files.peek(f"{_OUT}/scratch_phys"), files.peek(f"{_OUT}/scratch_len")
    if phys is not None and sizes is not None:
        try:
            # An area of no size has an address, and no room.
            scratch = tuple(area for area in parse_scratch(phys, sizes) if area.size)
        except ImageError:
            scratch = None
    # Also registered is memblock's reserve_mem, and whatever drivers have.
    registered = _names(files, f"{_OUT}/sub_fdts")
    luo = _parsed(files, f"{_OUT}/sub_fdts/{ORCHESTRATOR}", parse_orchestrator)
    before = _parsed(files, f"{_IN}/sub_fdts/{METADATA}", parse_metadata)
    layouts = [*_tree_layout(files), *([luo.compatible] if luo else [])]
    return replace(
        found,
        scratch=scratch,
        registered=registered,
        layouts=tuple(layouts),
        update=luo.updates if luo else None,
        predecessor=before.release if before else None,
        jumps=before.jumps if before else None,
    )


def _names(files: MachineFiles, directory: str) -> tuple[str, ...] | None:
    """Return the names in a directory, in order, and have a record keep them."""
    try:
        names = sorted(files.entries(directory))
    except OSError:
        return None
    for name in names:
        with suppress(OSError):
            files.head(f"{directory}/{name}", 1)
    return tuple(names)


def _tree_layout(files: MachineFiles) -> list[str]:
    """Return the name of the tree's own layout, out of a tree that debugfs shows cut off."""
    try:
        head = files.head(f"{_OUT}/fdt", _HEAD)
    except OSError:
        return []
    name = _LAYOUT.search(head)
    return [name[0].decode("ascii")] if name else []


def _parsed(files: MachineFiles, name: str, parse: Callable[[bytes], _Found]) -> _Found | None:
    try:
        return parse(files.load(name))
    except (OSError, ImageError):
        return None
