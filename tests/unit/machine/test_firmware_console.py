"""The console of a POWER machine's firmware, by its device tree."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from pykexec.errors import ConsoleError
from pykexec.loading.consoles import console_of
from pykexec.loading.options import options_of
from pykexec.machine.firmware_console import read_firmware_console
from pykexec.machine.roots import machine_files
from pykexec.values.consoles import FirmwareConsole, FirmwareKind

TREE = "sys/firmware/devicetree/base"


def machine(place: Path, **files: bytes) -> Path:
    for name, data in files.items():
        path = place / TREE / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(data)
    return place


def terminal(node: str, unit: int, compatible: bytes = b"hvterm1\0") -> dict[str, bytes]:
    return {f"{node}/compatible": compatible, f"{node}/reg": unit.to_bytes(4, "big")}


FIRST = terminal("vdevice/vty@71000000", 0x71000000)
SECOND = terminal("vdevice/vty@71000001", 0x71000001, b"hvterm-protocol\0")
OPAL = terminal("ibm,opal/consoles/serial@0", 0, b"ibm,opal-console-raw\0")


@pytest.mark.parametrize(
    ("files", "kind", "unit"),
    [
        ({"chosen/stdout-path": b"/vdevice/vty@71000001\0"}, 1, 0x71000001),
        ({"chosen/linux,stdout-path": b"/vdevice/vty@71000001:115200\0"}, 1, 0x71000001),
        ({"chosen/linux,stdout-path": b"/ibm,opal/consoles/serial@0\0"}, 2, 0),
        ({"chosen/stdout-path": b"/nowhere\0"}, 1, 0x71000000),
        ({}, 1, 0x71000000),
    ],
)
def test_the_one_that_the_tree_names(
    tmp_path: Path, files: dict[str, bytes], kind: int, unit: int
) -> None:
    place = machine(tmp_path, **{**FIRST, **SECOND, **OPAL, **files})
    found = read_firmware_console(machine_files(place), "hvc0")
    assert found == FirmwareConsole(FirmwareKind(kind), unit)


@pytest.mark.parametrize(
    ("tty", "files", "words"),
    [
        ("ttyS0", FIRST, "'ttyS0' is no console of firmware"),
        ("hvc0", {"chosen/bootargs": b"\0"}, "names no console of firmware"),
        ("hvc0", terminal("vdevice/disk@1", 1, b"ibm,v-scsi\0"), "names no console of firmware"),
    ],
)
def test_none(tmp_path: Path, tty: str, files: dict[str, bytes], words: str) -> None:
    place = machine(tmp_path, **files)
    with pytest.raises(ConsoleError, match=words):
        read_firmware_console(machine_files(place), tty)
    # A load goes on without.
    console, warnings = console_of("ppc64le", place, replace(options_of("k", more={}), serial=tty))
    assert console is None
    assert "the purgatory will be silent" in warnings[0]
