"""Whether memory goes over to the next kernel, as far as a machine tells."""

from __future__ import annotations

import gzip
from pathlib import Path

import pytest

from pykexec.formats.handover import ORCHESTRATOR
from pykexec.machine import read_machine
from pykexec.machine.files import MachineFiles
from pykexec.machine.handover import DEBUGFS, DEVICE, read_handover
from pykexec.machine.record import record
from pykexec.values.handover import holds
from pykexec.values.kernel_state import KernelState
from pykexec.values.ranges import Range
from tests.builders.machines import MachineDirectory, build_machine

BOTH = b"CONFIG_KEXEC_HANDOVER=y\nCONFIG_LIVEUPDATE=y\n"
RELEASE = "7.2.1"


def shown(path: Path) -> MachineDirectory:
    """Let debugfs show all that it does."""
    machine = MachineDirectory(path)
    machine.write(f"{DEBUGFS}/out/scratch_phys", "0xbc00000\n0x0\n0x23400000\n")
    machine.write(f"{DEBUGFS}/out/scratch_len", "0x800000\n0x0\n0x2000000\n")
    machine.write(f"{DEBUGFS}/out/fdt", b"\xd0\x0d\xfe\xed" + bytes(40) + b"kho-v4\0" + bytes(9))
    luo = b"luo-v5\0\0" + (3).to_bytes(8, "little") + bytes(16)
    machine.write(f"{DEBUGFS}/out/sub_fdts/{ORCHESTRATOR}", luo)
    machine.write(f"{DEBUGFS}/out/sub_fdts/memblock", b"anything")
    before = (1).to_bytes(4, "little") + b"7.1.9".ljust(65, b"\0") + (2).to_bytes(4, "little")
    machine.write(f"{DEBUGFS}/in/sub_fdts/kexec-metadata", before)
    machine.write(f"{DEVICE}/dev", "10:1\n")
    return machine


def test_all_that_debugfs_shows(tmp_path: Path) -> None:
    shown(tmp_path)
    found = read_handover(MachineFiles(tmp_path), RELEASE)
    assert (found.handover.on, found.handover.why) == (True, f"/{DEBUGFS} is there")
    assert (found.orchestrator.on, found.orchestrator.why) == (True, "/dev/liveupdate is there")
    areas = (Range.sized(0xBC00000, 0x800000), Range.sized(0x23400000, 0x2000000))
    assert found.scratch == areas
    assert found.registered == (ORCHESTRATOR, "memblock")
    assert found.layouts == ("kho-v4", "luo-v5")
    assert (found.update, found.predecessor, found.jumps) == (3, "7.1.9", 2)
    assert holds(0x2000000, areas)
    assert not holds(0x2000001, areas)
    assert not holds(1, ())


@pytest.mark.parametrize("name", ["out/scratch_len", "out/fdt", f"out/sub_fdts/{ORCHESTRATOR}"])
def test_what_makes_no_sense_is_not_known(tmp_path: Path, name: str) -> None:
    shown(tmp_path).write(f"{DEBUGFS}/{name}", "nonsense\n")
    found = read_handover(MachineFiles(tmp_path), RELEASE)
    assert found.handover.on is True
    assert (found.scratch is None) == (name == "out/scratch_len")
    assert len(found.layouts) == (2 if name == "out/scratch_len" else 1)


@pytest.mark.parametrize(
    ("config", "cmdline", "release", "on", "why"),
    [
        (BOTH, "kho=on", RELEASE, True, "kho= on the command line, and CONFIG_KEXEC_HANDOVER in"),
        (BOTH, "kho=off", RELEASE, False, "kho= on the command line switches it off"),
        (BOTH, "quiet", RELEASE, False, "kho=on is not on the command line"),
        (BOTH, "quiet -- kho=on", RELEASE, False, "kho=on is not on the command line"),
        (b"CONFIG_KEXEC=y\n", "kho=on", RELEASE, False, "/proc/config.gz has no CONFIG_KEXEC_HAND"),
        (
            BOTH + b"CONFIG_KEXEC_HANDOVER_ENABLE_DEFAULT=y\n",
            "quiet",
            RELEASE,
            True,
            "CONFIG_KEXEC_HANDOVER_ENABLE_DEFAULT in /proc/config.gz",
        ),
        (None, "kho=on", "6.15.1", False, "Linux 6.15 has none; 6.16 is the first"),
        (None, "kho=on", RELEASE, None, "and no configuration of this kernel is to be found"),
        (None, "quiet", RELEASE, None, "kho= is not on the command line, and no configuration"),
        (None, "kho=off", RELEASE, False, "switches it off"),
    ],
)
def test_without_debugfs(
    tmp_path: Path, config: bytes | None, cmdline: str, release: str, on: bool | None, why: str
) -> None:
    machine = MachineDirectory(tmp_path)
    machine.write("proc/cmdline", f"{cmdline}\n")
    if config is not None:
        machine.write("proc/config.gz", gzip.compress(config))
    found = read_handover(MachineFiles(tmp_path), release)
    assert found.handover.on is on
    assert why in found.handover.why
    assert found.orchestrator.on is False
    assert (found.scratch, found.registered, found.layouts) == (None, None, ())


def test_the_device_says_both(tmp_path: Path) -> None:
    MachineDirectory(tmp_path).write(f"{DEVICE}/dev", "10:1\n")
    found = read_handover(MachineFiles(tmp_path), RELEASE)
    assert (found.handover.on, found.handover.why) == (True, "/dev/liveupdate is there")
    assert found.orchestrator.on is True


def test_a_record_says_the_same(tmp_path: Path) -> None:
    """Also with what names a machine masked: nothing of it does."""
    path = build_machine(tmp_path / "machine", kernel=KernelState(release=RELEASE))
    shown(path)
    before = read_machine(path).kernel
    assert before.handover
    assert before.handed_over is not None
    for name, redacted in (("plain", False), ("masked", True)):
        record(path, tmp_path / name, redacted=redacted)
        assert read_machine(tmp_path / name).kernel.handed_over == before.handed_over
