"""A machine for people and for programs."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from pykexec.architectures import architecture_of
from pykexec.calls.rejections import shut_gates
from pykexec.render.crash import labelled
from pykexec.render.lines import table
from pykexec.values.data_classes import dataclass
from pykexec.values.memory import crash_regions
from pykexec.values.units import counted, format_size

if TYPE_CHECKING:
    from pykexec.values.facts import MachineFacts

_YES_NO = {None: "unknown", True: "on", False: "off"}
_LOADED = {None: "unknown", True: "loaded", False: "not loaded"}


@dataclass(frozen=True, slots=True)
class Shown:
    """A machine, and how it came to be known."""

    facts: MachineFacts
    crash_obstacle: str
    """Why what an ELF core header is made from cannot be read; "" if it can."""
    left_out: tuple[str, ...]
    """What the machine has and its record has not."""
    files: dict[str, int] | None
    """Of a record: sizes in bytes by name; None of the live machine."""


def machine_text(shown: Shown, *, list_files: bool) -> str:
    """Describe a machine in at most 80 columns."""
    facts = shown.facts
    release = f"Linux {facts.kernel.release}" if facts.kernel.release else "Linux"
    ram = [entry.range for entry in facts.iomem if entry.name == "System RAM"]
    total = format_size(sum(item.size for item in ram))
    lines = [
        ("machine", f"{facts.arch}, {release}"),
        ("processors", "unknown" if facts.cpus is None else str(facts.cpus)),
        ("pages", format_size(facts.page_size)),
        ("firmware", _firmware(facts)),
        ("memory", f"{total} of System RAM in {counted(len(ram), 'range')}"),
        ("memory map", _map_source(facts)),
    ]
    for region in crash_regions(facts.iomem):
        lines.append(("crash memory", f"{format_size(region.size)} from {region.start:#x}"))
    lines += [
        ("core header", shown.crash_obstacle or _core_header(facts)),
        ("normal image", _LOADED[facts.kernel.loaded]),
        ("crash image", _LOADED[facts.kernel.crash_loaded]),
        ("command line", facts.cmdline.decode("utf-8", "surrogateescape") or "(empty)"),
    ]
    lines += [("shut", gate.reason) for gate in shut_gates(facts.kernel)]
    if facts.framebuffer_driver is not None:
        lines.append(("display", facts.framebuffer_driver))
    if facts.ima_measurements:
        lines.append(("IMA's list", format_size(len(facts.ima_measurements))))
    lines += [("left out", item) for item in shown.left_out]
    if shown.files is not None:
        size = format_size(sum(shown.files.values()))
        lines.append(("record", f"{counted(len(shown.files), 'file')}, {size}"))
    text = "\n".join(labelled(label, value) for label, value in lines) + "\n"
    if list_files and shown.files:
        rows = [(str(size), name) for name, size in shown.files.items()]
        text += table(("bytes", "file"), rows, frozenset({0})) + "\n"
    return text


def _firmware(facts: MachineFacts) -> str:
    parts = []
    if facts.efi is not None:
        bits = f"{facts.efi.platform_bits}-bit " if facts.efi.platform_bits else ""
        parts.append(f"{bits}EFI, secure boot {_YES_NO[facts.kernel.secure_boot]}")
    if facts.kernel.secure_ipl is not None:
        parts.append(f"{'a secure' if facts.kernel.secure_ipl else 'no secure'} IPL")
    if facts.device_tree is not None:
        parts.append(f"device tree of {format_size(len(facts.device_tree))}")
    return ", ".join(parts) or "BIOS or unknown"


def _map_source(facts: MachineFacts) -> str:
    source = "/sys/firmware/memmap" if len(facts.firmware_map) else "/proc/iomem"
    return f"{counted(len(facts.memory_map), 'range')}, from {source}"


def _core_header(facts: MachineFacts) -> str:
    if architecture_of(facts.arch).own_core_header:
        return "made by the capture kernel"
    crash = facts.crash
    text = "kernel text unknown"
    if crash.kernel_text is not None:
        text = f"kernel text from {crash.kernel_text.start:#x}"
    elif crash.direct_map_end is not None:
        text = f"memory is mapped up to {crash.direct_map_end:#x}"
    elif architecture_of(facts.arch).kernel_in_linear_map:
        text = "kernel text mapped with all memory"
    notes = "no notes of processors"
    if crash.crash_notes:
        notes = f"notes of {counted(len(crash.crash_notes), 'processor')}"
    return f"{notes}, {text}"


def machine_value(shown: Shown) -> dict[str, Any]:
    """Return the same as what JSON can say: schema ``pykexec.machine-show/1``."""
    facts = shown.facts
    return {
        "schema": "pykexec.machine-show/1",
        "arch": facts.arch,
        "kernel_release": facts.kernel.release,
        "cpus": facts.cpus,
        "page_size": facts.page_size,
        "efi": facts.efi is not None,
        "secure_boot": facts.kernel.secure_boot,
        "device_tree_size": None if facts.device_tree is None else len(facts.device_tree),
        "memory": [
            {
                "start": f"{entry.range.start:#x}",
                "end": f"{entry.range.end:#x}",
                "name": entry.name,
            }
            for entry in facts.iomem
        ],
        "memory_map_from_firmware": bool(len(facts.firmware_map)),
        "crash_regions": [
            {"start": f"{region.start:#x}", "end": f"{region.end:#x}"}
            for region in crash_regions(facts.iomem)
        ],
        "crash_obstacle": shown.crash_obstacle or None,
        "loaded": facts.kernel.loaded,
        "crash_loaded": facts.kernel.crash_loaded,
        "cmdline": facts.cmdline.decode("utf-8", "backslashreplace"),
        "shut_gates": [gate.reason for gate in shut_gates(facts.kernel)],
        "framebuffer_driver": facts.framebuffer_driver,
        "ima_measurements_size": len(facts.ima_measurements or b""),
        "left_out": list(shown.left_out),
        "files": shown.files,
    }
