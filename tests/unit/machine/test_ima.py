"""IMA's list: read whole however the kernel hands it out, and left alone where it is no use."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from pykexec.machine import ima, read_machine
from pykexec.machine.files import MachineFiles
from pykexec.machine.ima import MEASUREMENTS, read_ima_measurements
from pykexec.machine.record import record
from tests.builders.ima import MEASUREMENTS as LIST
from tests.builders.machines import MachineDirectory, build_machine


def test_the_list_is_a_fact_of_a_normal_load(tmp_path: Path) -> None:
    build_machine(tmp_path)
    assert read_machine(tmp_path).ima_measurements is None
    MachineDirectory(tmp_path).write(MEASUREMENTS, LIST)
    assert read_machine(tmp_path).ima_measurements == LIST
    assert read_machine(tmp_path, crash=True).ima_measurements is None


def test_a_record_does_not_name_the_files_that_ran(tmp_path: Path) -> None:
    machine = MachineDirectory(build_machine(tmp_path / "machine"))
    machine.write(MEASUREMENTS, LIST)
    record(machine.path, tmp_path / "record")
    assert not (tmp_path / "record" / MEASUREMENTS).exists()


def test_a_file_that_is_given_in_pieces_is_read_whole(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    MachineDirectory(tmp_path).write(MEASUREMENTS, LIST)
    read = os.read
    monkeypatch.setattr(os, "read", lambda descriptor, size: read(descriptor, min(size, 7)))
    assert read_ima_measurements(MachineFiles(tmp_path)) == LIST


def test_a_long_list_is_read_so_far_that_it_shows(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(ima, "IMA_LIST_MAX", 10)
    MachineDirectory(tmp_path).write(MEASUREMENTS, LIST)
    assert read_ima_measurements(MachineFiles(tmp_path)) == LIST[:11]


def test_a_list_that_cannot_be_read_is_none(tmp_path: Path) -> None:
    (tmp_path / MEASUREMENTS).mkdir(parents=True)
    assert read_ima_measurements(MachineFiles(tmp_path)) is None
