"""What matters to a jump and not to a plan: the files that ``pykexec doctor`` looks at.

Read without privileges as well: what cannot be read is not known.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from pykexec.doctor import Mount, Surroundings
from pykexec.machine.handover import read_handover
from pykexec.machine.kernel_config import read_config

if TYPE_CHECKING:
    from collections.abc import Iterable

    from pykexec.machine.files import MachineFiles

IMA_POLICY = "sys/kernel/security/ima/policy"
"""Readable with CONFIG_IMA_READ_POLICY (Linux Documentation/ABI/testing/ima_policy)."""
MOUNTS = "proc/mounts"
_KERNEL = "sys/kernel"
_DMI = ("sys_vendor", "product_name", "board_name")
"""Of /sys/class/dmi/id; what names one machine (serial numbers, UUID) is not read."""
_LINES_MAX = 512
_ON_DISK = re.compile(rb"^(?:/dev/\S+ \S+ \S+|\S+ \S+ (?:zfs|btrfs|bcachefs)) rw[, ]")


def read_surroundings(
    files: MachineFiles, release: str, modules: Iterable[str], buses: Iterable[str]
) -> Surroundings:
    """Read them; ``modules`` and ``buses`` are the names that somebody asks about."""
    config, source = read_config(files, release)
    rules = _read_rules(files)
    mounts = (line.split(" ") for line in files.lines(MOUNTS, _is_on_disk, _LINES_MAX))
    dmi = {name: files.peek(f"sys/class/dmi/id/{name}") for name in _DMI}
    return Surroundings(
        shows_kernel=files.is_live or files.has_directory(_KERNEL),
        config=config,
        config_source=source,
        ima_rules=rules,
        kho=read_handover(files, release).handover.on or None,
        mounts=tuple(Mount(fields[1], fields[2]) for fields in mounts),
        dmi={name: value for name, value in dmi.items() if value is not None},
        modules=frozenset(n for n in modules if files.has_directory(f"sys/module/{n}")),
        buses=frozenset(name for name in buses if _has_devices(files, name)),
    )


def _is_on_disk(line: bytes) -> bool:
    return _ON_DISK.match(line) is not None


def _has_devices(files: MachineFiles, bus: str) -> bool:
    try:
        names = files.entries(f"sys/bus/{bus}/devices")
    except OSError:
        return False
    # One is recorded for all: a directory by itself would say nothing.
    return bool(names) and files.has_directory(f"sys/bus/{bus}/devices/{sorted(names)[0]}")


def _read_rules(files: MachineFiles) -> tuple[str, ...] | None:
    try:
        found = files.scan(IMA_POLICY, lambda line: b"KEXEC_" in line, _LINES_MAX)
    except OSError:
        return None
    return tuple(line.decode("utf-8", "replace").strip() for line in found)
