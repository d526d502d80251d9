"""What a machine says of its crash kernel, with and without privileges."""

from __future__ import annotations

from pathlib import Path

import pytest

from pykexec.errors import MachineError
from pykexec.machine.crash_state import RECORD, read_crash_state
from pykexec.machine.record import record
from pykexec.values.kernel_state import KernelState
from pykexec.values.memory import IomemEntry, crash_memory
from pykexec.values.ranges import Range
from tests.builders.machines import RAM, MachineDirectory, build_machine, iomem_of

LOW = IomemEntry(Range(0x20000000, 0x28000000), "Crash kernel")
HIGH = IomemEntry(Range(0x180000000, 0x190000000), "Crash kernel")
STATE = KernelState("6.12", crash_loaded=True, crash_size=0x18000000)


def full_machine(path: Path) -> MachineDirectory:
    machine = MachineDirectory(build_machine(path, children=[LOW, HIGH], kernel=STATE))
    machine.write("proc/sys/kernel/random/boot_id", "3ac1d356\n")
    machine.write("sys/devices/system/cpu/present", "0-3\n")
    machine.write("sys/devices/system/cpu/crash_hotplug", "1\n")
    machine.write("sys/devices/system/memory/crash_hotplug", "0\n")
    machine.write(RECORD, b"{}")
    return machine


def test_everything_is_read(tmp_path: Path) -> None:
    found = read_crash_state(full_machine(tmp_path / "m").path)
    assert found.kernel == STATE
    assert (found.boot_id, found.cpus, found.record) == ("3ac1d356", "0-3", b"{}")
    assert (found.updates_memory, found.updates_cpus) == (False, True)
    assert found.regions == (LOW.range, HIGH.range)
    assert found.memory == crash_memory(iomem_of(RAM, [LOW, HIGH]))


@pytest.mark.parametrize("text", [None, "00000000-00000000 : System RAM\n"])
def test_what_is_hidden_or_missing_is_unknown(tmp_path: Path, text: str | None) -> None:
    path = build_machine(tmp_path / "m", iomem=text or "")
    if text is None:
        (path / "proc/iomem").unlink()
    found = read_crash_state(path)
    assert (found.memory, found.regions, found.record) == (None, None, None)
    assert (found.boot_id, found.cpus, found.updates_memory) == ("", "", None)


def test_no_machine_directory_is_refused(tmp_path: Path) -> None:
    with pytest.raises(MachineError, match="is no machine directory"):
        read_crash_state(tmp_path / "missing")


def test_a_recorded_machine_has_it_all(tmp_path: Path) -> None:
    machine = full_machine(tmp_path / "m")
    record(machine.path, tmp_path / "copy")
    assert read_crash_state(tmp_path / "copy") == read_crash_state(machine.path)
