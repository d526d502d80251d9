"""What is no file: ``machine.json`` of a machine directory, uname and sysconf when live."""

from __future__ import annotations

import os
import struct

from pykexec.architectures import ARCHITECTURES, architecture_of, name_of
from pykexec.machine.files import FILE
from pykexec.values.data_classes import dataclass
from pykexec.values.errors import MachineError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping
    from typing import Any

    from pykexec.machine.files import MachineFiles
    from pykexec.values.json_fields import Fields

SCHEMA = "pykexec.machine/1"

DEFAULT_PAGE_SIZE = 4096

_EXAMPLE = next(iter(ARCHITECTURES))
_ARCH = "proc/sys/kernel/arch"
_PERSONALITY = "proc/self/personality"
_PER_MASK, _PER_LINUX32 = 0xFF, 0x08
"""Linux include/uapi/linux/personality.h."""

IMA = "IMA's measurement list"
SERIALS = "serial numbers"
"""And whatever else names one machine; ``left_out`` of :class:`Description`."""

_PAGE_SIZE_MAX = 1 << 20
"""Hexagon's; the largest of all."""
_CPUS_MAX = 1 << 16
"""Eight times as many as any kernel can be configured for (NR_CPUS)."""

_RECORD_HINT = "make a machine directory with: pykexec machine record DIR"


@dataclass(frozen=True, slots=True)
class KcoreLoad:
    """A PT_LOAD of /proc/kcore: ``memsz`` bytes of the kernel's address space."""

    vaddr: int
    memsz: int


@dataclass(frozen=True, slots=True)
class Description:
    """The facts that stand in no file of the machine."""

    arch: str
    page_size: int = DEFAULT_PAGE_SIZE
    """Bytes; a machine.json without it means 4096."""
    kernel_release: str = ""
    cpus: int | None = None
    caller_bits: int = 64
    """Of this program, which on a live machine may have fewer than the kernel; a recorded
    machine does not say."""
    kcore: tuple[KcoreLoad, ...] | None = None
    """None: not recorded, look at proc/kcore."""
    vmcoreinfo: Mapping[str, str] | None = None
    """What is used of the VMCOREINFO note in proc/kcore; None: not recorded, look there."""
    left_out: tuple[str, ...] = ()
    """What the machine has and the record has not, of IMA and SERIALS."""


def read_description(files: MachineFiles) -> Description:
    """Ask the running kernel, or read ``machine.json``.

    Raises :class:`MachineError` when the directory or the file is missing or malformed.
    """
    if files.is_live:
        return _describe_live(files)
    where = files.path(FILE)
    if not files.exists:
        raise MachineError(f"{files.root} is no machine directory: no such directory")
    data = files.read(FILE, "the architecture of the machine")
    if data is None:
        raise MachineError(
            f"{files.root} is no machine directory: {where} is missing, which names the "
            f"architecture",
            hint=f'{_RECORD_HINT}, or write {{"arch": "{_EXAMPLE}"}} into {where}',
        )
    return parse_description(data, where)


def _describe_live(files: MachineFiles) -> Description:
    system = os.uname()
    return Description(
        arch=name_of(_machine(files, system.machine)),
        page_size=os.sysconf("SC_PAGESIZE"),
        kernel_release=system.release,
        cpus=os.sysconf("SC_NPROCESSORS_CONF"),
        caller_bits=8 * struct.calcsize("P"),
    )


def _machine(files: MachineFiles, told: str) -> str:
    """Return the kernel's machine, where uname ``told`` that.

    In a 32-bit personality, as containers and build roots of i386 have it, uname says i686 on a
    64-bit kernel too (personality(2), "PER_LINUX32"). Kernels since v6.1 say apart from that what
    they are (Documentation/admin-guide/sysctl/kernel.rst, "arch"). Raises :class:`MachineError`
    where an older one may be of either kind.
    """
    here = architecture_of(name_of(told))
    if here.word_bits != 32 or not here.room:
        return told
    own = files.peek(_ARCH)
    if own is not None and architecture_of(name_of(own)).room == here.room:
        return own
    if int(files.peek(_PERSONALITY) or "0", 16) & _PER_MASK != _PER_LINUX32:
        return told
    raise MachineError(
        f"uname says {told}, but so it does on 64-bit kernels in the personality linux32, which "
        f"this program runs in; and there is no /{_ARCH} (Linux 6.1 and later)",
        hint="run it as: setarch linux64 COMMAND",
    )


def parse_description(data: bytes, where: str) -> Description:
    """Parse ``machine.json``; only ``arch`` must be there, unknown keys are ignored.

    Raises :class:`MachineError` naming ``where`` and the key that is wrong.
    """
    # Not at the top: the live machine has no machine.json, and start-up is measured.
    from pykexec.values.json_fields import Fields, parse_json

    value = Fields(parse_json(data, where, hint=_RECORD_HINT), where, hint=_RECORD_HINT)
    value.require_schema(
        SCHEMA,
        optional=True,
        hint="use the version of pykexec that recorded the machine, or record it again",
    )
    arch = value.text("arch", "")
    if not arch:
        raise MachineError(f'{where}: "arch" is needed, as uname -m prints it ("{_EXAMPLE}")')
    page_size = value.natural("page_size", DEFAULT_PAGE_SIZE)
    if not DEFAULT_PAGE_SIZE <= page_size <= _PAGE_SIZE_MAX or page_size & (page_size - 1):
        raise value.refuse("page_size", f"a power of two from 4096 to {_PAGE_SIZE_MAX}")
    kcore = value.fields("kcore") if value.is_given("kcore") else None
    return Description(
        arch=name_of(arch),
        page_size=page_size,
        kernel_release=value.text("kernel_release", ""),
        cpus=value.natural("cpus", None, least=1, most=_CPUS_MAX),
        kcore=None if kcore is None else _kcore(kcore),
        vmcoreinfo=None if kcore is None else _vmcoreinfo(kcore),
        left_out=value.texts("left_out", ()),
    )


def _kcore(value: Fields) -> tuple[KcoreLoad, ...]:
    return tuple(
        KcoreLoad(load.hexadecimal("vaddr"), load.natural("memsz", least=1))
        for load in value.fields_of_each("loads")
    )


def _vmcoreinfo(value: Fields) -> dict[str, str]:
    if not value.is_given("vmcoreinfo"):
        return {}
    found = value.fields("vmcoreinfo")
    return {name: found.text(name) for name in found.names()}


def build_description(description: Description) -> bytes:
    """Write ``machine.json``; :func:`parse_description` reads it back."""
    import json

    value: dict[str, Any] = {
        "schema": SCHEMA,
        "arch": description.arch,
        "page_size": description.page_size,
        "kernel_release": description.kernel_release,
    }
    if description.cpus is not None:
        value["cpus"] = description.cpus
    if description.kcore is not None:
        loads = [{"vaddr": hex(load.vaddr), "memsz": load.memsz} for load in description.kcore]
        value["kcore"] = {"loads": loads}
        if description.vmcoreinfo:
            value["kcore"]["vmcoreinfo"] = dict(description.vmcoreinfo)
    if description.left_out:
        value["left_out"] = list(description.left_out)
    return json.dumps(value, indent=2).encode() + b"\n"
