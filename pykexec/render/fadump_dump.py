"""The structures of a firmware-assisted dump, for people and for programs."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from pykexec.render.fadump import fact
from pykexec.values.units import counted

if TYPE_CHECKING:
    from collections.abc import Sequence

    from pykexec.crash.fadump.dump import FirmwareDump
    from pykexec.crash.fadump.header import CrashInfo

_SHOWN = ("nip", "link", "gpr1", "msr", "trap", "dar")
"""Registers that are shown to people; JSON has all."""


def dumps_text(dumps: Sequence[FirmwareDump]) -> str:
    """Describe each, with an empty line between them."""
    return "\n".join("".join(fact(*line) + "\n" for line in _lines(dump)) for dump in dumps)


def _lines(dump: FirmwareDump) -> list[tuple[str, str]]:
    lines = []
    if dump.header is not None:
        lines += _header_lines(dump.header, dump.header_address)
    if dump.kernel_dump is not None:
        for section in dump.kernel_dump.sections:
            text = f"{section.source} to {section.destination:#x}, {section.bytes_dumped} dumped"
            lines.append((section.name, text))
    if dump.metadata is not None:
        count = len(dump.metadata.regions)
        lines.append(
            ("metadata", f"{dump.metadata.registered} of {counted(count, 'region')} registered")
        )
    if dump.saved:
        active = sum(cpu.active for cpu in dump.saved)
        lines.append(("saved registers", f"of {counted(active, 'processor')}"))
    lines += [("problem", text) for text in dump.problems]
    return lines


def _header_lines(header: CrashInfo, address: int | None) -> list[tuple[str, str]]:
    kernels = "before Linux 6.10" if header.version is None else "of Linux 6.10 or later"
    where = "" if address is None else f" at {address:#x}"
    lines = [("header", f"{header.magic}{where}, {header.byte_order}-endian, {kernels}")]
    crashed = header.crashing_cpu
    lines.append(("crashed on", "no processor" if crashed is None else f"processor {crashed}"))
    if header.cpus is not None:
        lines.append(("processors", ", ".join(map(str, header.cpus)) or "none"))
    if header.vmcoreinfo is not None:
        lines.append(("vmcoreinfo", f"{header.vmcoreinfo.size} bytes at {header.vmcoreinfo}"))
    if header.elfcorehdr_addr is not None:
        lines.append(("core header", f"at {header.elfcorehdr_addr:#x}"))
    values = dict(header.registers)
    if crashed is not None:
        lines += [(name, f"{values[name]:#018x}") for name in _SHOWN]
    return lines


def dumps_value(dumps: Sequence[FirmwareDump]) -> dict[str, Any]:
    """Return the same as what JSON can say: schema ``pykexec.fadump-dump/1``."""
    return {"schema": "pykexec.fadump-dump/1", "dumps": [_value(dump) for dump in dumps]}


def _value(dump: FirmwareDump) -> dict[str, Any]:
    firmware, metadata = dump.kernel_dump, dump.metadata
    return {
        "header": None if dump.header is None else _header_value(dump.header),
        "header_address": None if dump.header_address is None else f"{dump.header_address:#x}",
        "sections": None
        if firmware is None
        else [
            {
                "kind": section.name,
                "source": f"{section.source.start:#x}",
                "size": section.source.size,
                "dumped": section.bytes_dumped,
                "destination": f"{section.destination:#x}",
                "error_flags": f"{section.error_flags:#x}",
            }
            for section in firmware.sections
        ],
        "opal": None
        if metadata is None
        else {
            "byte_order": metadata.byte_order,
            "registered": metadata.registered,
            "regions": [
                {
                    "source": f"{region.source.start:#x}",
                    "size": region.source.size,
                    "destination": f"{region.destination:#x}",
                }
                for region in metadata.regions
            ],
        },
        "saved_cpus": [
            {"cpu": cpu.cpu, "active": cpu.active, "registers": _registers(cpu.registers)}
            for cpu in dump.saved
        ],
        "problems": list(dump.problems),
    }


def _header_value(header: CrashInfo) -> dict[str, Any]:
    note = header.vmcoreinfo
    core = header.elfcorehdr_addr
    return {
        "magic": header.magic,
        "byte_order": header.byte_order,
        "version": header.version,
        "crashing_cpu": header.crashing_cpu,
        "cpus": None if header.cpus is None else list(header.cpus),
        "vmcoreinfo": None if note is None else {"start": f"{note.start:#x}", "size": note.size},
        "elfcorehdr_addr": None if core is None else f"{core:#x}",
        "registers": _registers(header.registers),
    }


def _registers(values: Sequence[tuple[str, int]]) -> dict[str, str]:
    return {name: f"{value:#x}" for name, value in values}
