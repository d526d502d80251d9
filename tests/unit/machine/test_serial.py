"""/sys/class/tty: which UARTs the purgatory can write to, and how."""

from __future__ import annotations

from pathlib import Path

import pytest

from pykexec.errors import MachineError, PykexecError
from pykexec.machine.files import MachineFiles
from pykexec.machine.serial import read_serial, read_serials
from pykexec.values.consoles import MemoryConsole, UartKind
from tests.builders.machines import MachineDirectory

BASE = 0x900_0000


@pytest.fixture
def machine(tmp_path: Path) -> MachineDirectory:
    return MachineDirectory(tmp_path)


def terminal(machine: MachineDirectory, name: str, **attributes: object) -> None:
    """Write a terminal's attributes; those of QEMU's PL011 where others are not given."""
    values = {"iomem_base": f"0x{BASE:X}", "iomem_reg_shift": 0, "type": 32, "io_type": 3}
    for attribute, value in (values | attributes).items():
        if value is not None:
            machine.write(f"sys/class/tty/{name}/{attribute}", f"{value}\n")


def read(machine: MachineDirectory, name: str) -> MemoryConsole:
    return read_serial(MachineFiles(machine.path), name)


def refused(machine: MachineDirectory, name: str) -> PykexecError:
    with pytest.raises(PykexecError) as caught:
        read(machine, name)
    return caught.value


@pytest.mark.parametrize(
    ("attributes", "expected"),
    [
        ({}, MemoryConsole(BASE, UartKind.PL011, 4)),
        ({"io_type": 2}, MemoryConsole(BASE, UartKind.PL011, 2)),
        ({"type": 4, "io_type": 2}, MemoryConsole(BASE, UartKind.UART_8250, 1, 0)),
        (
            {"type": 4, "io_type": 2, "iomem_reg_shift": 2},
            MemoryConsole(BASE, UartKind.UART_8250, 1, 2),
        ),
        (
            {"type": 20, "io_type": 3, "iomem_reg_shift": 2},
            MemoryConsole(BASE, UartKind.UART_8250, 4, 2),
        ),
        (
            {"type": 121, "io_type": 7, "iomem_reg_shift": 1},
            MemoryConsole(BASE, UartKind.UART_8250, 2, 1),
        ),
        ({"type": 62}, MemoryConsole(BASE, UartKind.PLAIN, 1)),
        ({"type": 0, "io_type": 99}, MemoryConsole(BASE, UartKind.PLAIN, 1)),
        (
            {"iomem_base": "0x40000901_00000000".replace("_", "")},
            MemoryConsole(0x4000_0901_0000_0000, UartKind.PL011, 4),
        ),
    ],
)
def test_kinds(
    machine: MachineDirectory, attributes: dict[str, object], expected: MemoryConsole
) -> None:
    terminal(machine, "ttyAMA0", **attributes)
    assert read(machine, "ttyAMA0") == expected


def test_a_terminal_that_is_not_there(machine: MachineDirectory) -> None:
    terminal(machine, "ttyAMA1")
    terminal(machine, "ttyAMA0")
    terminal(machine, "ttyS0", iomem_base="0x0", type=4, io_type=0)
    terminal(machine, "ttyS1", type=4, io_type=6)
    machine.write("sys/class/tty/hvc0/dev", "229:0\n")
    error = refused(machine, "ttyAMA7")
    assert error.message == "--serial: 'ttyAMA7' is no terminal with a UART in memory"
    assert error.hint == "give ttyAMA0, ttyAMA1"
    assert error.exit_code == 255


@pytest.mark.parametrize("name", ["ttyS0", "hvc0", "", ".", "..", "../tty/ttyAMA0", "/dev/ttyAMA0"])
def test_what_has_no_memory_or_is_no_name(machine: MachineDirectory, name: str) -> None:
    terminal(machine, "ttyAMA0")
    terminal(machine, "ttyS0", iomem_base="0x0", type=4, io_type=0)
    machine.write("sys/class/tty/hvc0/dev", "229:0\n")
    assert refused(machine, name).hint == "give ttyAMA0"


def test_a_machine_without_terminals(machine: MachineDirectory) -> None:
    assert refused(machine, "ttyAMA0").hint == "this machine shows none in /sys/class/tty"


@pytest.mark.parametrize(
    ("attributes", "message"),
    [
        (
            {"io_type": 0},
            "the purgatory cannot write to tty: io_type is 0, it knows 2, 3 for a UART of this "
            "type",
        ),
        (
            {"type": 4, "io_type": 6},
            "the purgatory cannot write to tty: io_type is 6, it knows 2, 7, 3 for a UART of this "
            "type",
        ),
        (
            {"type": 4, "io_type": 3, "iomem_reg_shift": 1},
            "the purgatory cannot write to tty: accesses of 4 bytes (io_type 3) to registers "
            "2 bytes apart (iomem_reg_shift 1)",
        ),
    ],
)
def test_what_cannot_be_driven(
    machine: MachineDirectory, attributes: dict[str, object], message: str
) -> None:
    terminal(machine, "tty", **attributes)
    error = refused(machine, "tty")
    assert isinstance(error, MachineError)
    assert error.message == message


@pytest.mark.parametrize("attribute", ["type", "io_type", "iomem_reg_shift"])
def test_a_missing_attribute_is_named(machine: MachineDirectory, attribute: str) -> None:
    attributes = {"type": 4, "io_type": 2} | {attribute: None}
    terminal(machine, "ttyS0", **attributes)
    assert refused(machine, "ttyS0").message == (
        f"{machine.path}/sys/class/tty/ttyS0/{attribute} is missing; "
        "it is needed for the purgatory's serial console"
    )


@pytest.mark.parametrize(("attribute", "text"), [("iomem_base", ""), ("type", "PL011")])
def test_a_malformed_attribute_is_named(
    machine: MachineDirectory, attribute: str, text: str
) -> None:
    terminal(machine, "ttyAMA0", **{attribute: text})
    assert f"ttyAMA0/{attribute}: {text!r} is not a " in refused(machine, "ttyAMA0").message


def test_all_that_can_be_written_to(machine: MachineDirectory) -> None:
    terminal(machine, "ttyAMA0")
    terminal(machine, "ttyS0", type=4, io_type=6)
    terminal(machine, "ttyS1", iomem_base="0x0")
    assert read_serials(MachineFiles(machine.path)) == {
        "ttyAMA0": MemoryConsole(BASE, UartKind.PL011, 4)
    }
