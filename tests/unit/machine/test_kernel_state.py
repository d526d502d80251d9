"""The kernel's view of kexec: old and new names, gates, and what is not known."""

from __future__ import annotations

from pathlib import Path

import pytest

from pykexec.errors import MachineError
from pykexec.machine.files import MachineFiles
from pykexec.machine.kernel_state import (
    read_crash_loaded,
    read_kernel_state,
    read_loaded,
)
from pykexec.machine.x86.processor import read_la57
from pykexec.values.kernel_state import KernelState
from tests.builders.machines import MachineDirectory

STATE = KernelState(
    release="6.12.1-test",
    loaded=True,
    crash_loaded=False,
    crash_size=256 << 20,
    crash_elfcorehdr_size=110592,
    kexec_load_disabled=False,
    load_limit_reboot=-1,
    load_limit_panic=3,
    lockdown="integrity",
    secure_boot=True,
    effective_capabilities=0x1FFFFFFFFFF,
    xen=False,
    loadpin_enforced=True,
    memory_total=8 << 30,
    memory_available=7 << 30,
)


def machine(path: Path) -> MachineDirectory:
    directory = MachineDirectory(path)
    directory.write_description(kernel_release="6.12.1-test")
    return directory


@pytest.mark.parametrize("old_names", [False, True])
def test_everything_under_new_and_old_names(tmp_path: Path, old_names: bool) -> None:
    machine(tmp_path).write_kernel_state(STATE, old_names=old_names)
    assert (tmp_path / "sys/kernel/kexec").exists() is not old_names
    assert read_kernel_state(tmp_path) == STATE
    assert read_loaded(tmp_path) is True
    assert read_crash_loaded(tmp_path) is False


def test_the_new_name_wins(tmp_path: Path) -> None:
    directory = machine(tmp_path)
    directory.write("sys/kernel/kexec/loaded", "0\n")
    directory.write("sys/kernel/kexec_loaded", "1\n")
    assert read_loaded(tmp_path) is False


def test_nothing_is_known(tmp_path: Path) -> None:
    machine(tmp_path)
    assert read_kernel_state(tmp_path) == KernelState(release="6.12.1-test")
    assert read_loaded(tmp_path) is None


def test_loaded_needs_no_machine_directory(tmp_path: Path) -> None:
    assert read_loaded(tmp_path) is None
    MachineDirectory(tmp_path).write("sys/kernel/kexec_loaded", "0\n")
    assert read_loaded(tmp_path) is False


def test_the_state_needs_a_machine_directory(tmp_path: Path) -> None:
    with pytest.raises(MachineError, match="is no machine directory"):
        read_kernel_state(tmp_path)


def test_what_makes_no_sense_is_not_known(tmp_path: Path) -> None:
    directory = machine(tmp_path)
    directory.write_kernel_state(STATE)
    for name in (
        "sys/kernel/kexec/loaded",
        "sys/kernel/kexec/crash_size",
        "sys/kernel/security/lockdown",
        "proc/self/status",
        "proc/meminfo",
        "proc/sys/kernel/loadpin/enforce",
        "sys/firmware/efi/efivars/SecureBoot-8be4df61-93ca-11d2-aa0d-00e098032b8c",
    ):
        directory.write(name, b"MemTotal: x kB\nCapEff:\n\xff maybe 1_0 -")
    state = read_kernel_state(tmp_path)
    assert (state.loaded, state.crash_size, state.lockdown) == (None, None, None)
    assert (state.effective_capabilities, state.memory_total) == (None, None)
    assert (state.loadpin_enforced, state.secure_boot) == (None, None)


def test_an_unreadable_file_is_not_known(tmp_path: Path) -> None:
    (machine(tmp_path).path / "sys/kernel/kexec/loaded").mkdir(parents=True)
    assert read_loaded(tmp_path) is None


@pytest.mark.parametrize("mode", ["none", "integrity", "confidentiality"])
def test_lockdown_is_the_word_in_brackets(tmp_path: Path, mode: str) -> None:
    machine(tmp_path).write_kernel_state(KernelState(lockdown=mode))
    assert read_kernel_state(tmp_path).lockdown == mode


def test_handover_shows_in_debugfs(tmp_path: Path) -> None:
    directory = machine(tmp_path)
    assert not read_kernel_state(tmp_path).handover
    directory.write("sys/kernel/debug/kho/out/scratch_len", "0x800000\n")
    assert read_kernel_state(tmp_path).handover


def test_secure_boot_is_off(tmp_path: Path) -> None:
    machine(tmp_path).write_kernel_state(KernelState(secure_boot=False))
    assert read_kernel_state(tmp_path).secure_boot is False


@pytest.mark.parametrize(
    ("files", "host"),
    [
        ({}, False),
        ({"sys/hypervisor/properties/features": "00000705\n"}, False),
        ({"sys/hypervisor/properties/features": "00000f05\n"}, True),
        ({"sys/hypervisor/properties/features": "<denied>\n"}, False),
        ({"proc/xen/capabilities": "control_d\n"}, True),
        ({"proc/xen/capabilities": ""}, False),
    ],
)
def test_a_xen_host(tmp_path: Path, files: dict[str, str], host: bool) -> None:
    directory = machine(tmp_path)
    for name, content in files.items():
        directory.write(name, content)
    assert read_kernel_state(tmp_path).xen_host is host


def test_xen_shows_in_either_place(tmp_path: Path) -> None:
    machine(tmp_path / "a").write("sys/hypervisor/type", "xen\n")
    (machine(tmp_path / "b").path / "proc/xen").mkdir(parents=True)
    machine(tmp_path / "c").write("sys/hypervisor/type", "other\n")
    states = [read_kernel_state(tmp_path / name).xen for name in "abc"]
    assert states == [True, True, False]


@pytest.mark.parametrize(
    ("cpuinfo", "expected"),
    [
        ("flags\t\t: fpu la57 lm\nvmx flags\t: x\n", True),
        ("processor\t: 0\nflags\t\t: fpu la570 lm\n", False),
        ("Features\t: fp la57\nbogoflags\t: la57\n", None),
    ],
)
def test_la57(tmp_path: Path, cpuinfo: str, expected: bool | None) -> None:
    MachineDirectory(tmp_path).write("proc/cpuinfo", cpuinfo)
    assert read_la57(MachineFiles(tmp_path)) is expected


def test_la57_without_cpuinfo(tmp_path: Path) -> None:
    assert read_la57(MachineFiles(tmp_path)) is None
