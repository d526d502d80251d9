"""Only regular files are opened and nothing is waited for; in a record, only its own."""

from __future__ import annotations

import os
import socket
from collections.abc import Callable
from pathlib import Path

import pytest

from pykexec.errors import MachineError
from pykexec.machine import files as machine_files_module
from pykexec.machine import read_machine
from pykexec.machine.files import MachineFiles
from pykexec.machine.opening import UnfitFileError, load_regular, open_below, open_regular
from tests.builders.machines import build_machine


def make_socket(path: Path) -> None:
    with socket.socket(socket.AF_UNIX) as bound:
        here = Path.cwd()
        os.chdir(path.parent)  # the name of a socket may have 107 bytes
        try:
            bound.bind(path.name)
        finally:
            os.chdir(here)


UNFIT: dict[str, Callable[[Path], object]] = {
    "FIFO": os.mkfifo,
    "link to a file": lambda path: path.symlink_to("/etc/passwd"),
    "link to /dev/zero": lambda path: path.symlink_to("/dev/zero"),
    "dangling link": lambda path: path.symlink_to("nowhere"),
    "link to itself": lambda path: path.symlink_to(path),
    "socket": make_socket,
}
# Read whole, only looked for, by its first bytes, by some lines; one that most records lack.
PLACES = (
    "proc/iomem",
    "proc/cmdline",
    "machine.json",
    "proc/meminfo",
    "sys/kernel/kexec_loaded",
    "sys/kernel/security/ima/binary_runtime_measurements",
)


@pytest.mark.parametrize("place", PLACES)
@pytest.mark.parametrize("kind", UNFIT)
def test_a_record_has_nothing_but_files(tmp_path: Path, place: str, kind: str) -> None:
    build_machine(tmp_path / "machine")
    path = tmp_path / "machine" / place
    path.unlink(missing_ok=True)
    path.parent.mkdir(parents=True, exist_ok=True)
    UNFIT[kind](path)
    with pytest.raises(MachineError, match=f"machine/{place}: no regular file, but a"):
        read_machine(tmp_path / "machine")


def test_no_directory_of_a_record_is_a_link(tmp_path: Path) -> None:
    build_machine(tmp_path / "machine")
    (tmp_path / "machine/proc").rename(tmp_path / "elsewhere")
    (tmp_path / "machine/proc").symlink_to(tmp_path / "elsewhere")
    with pytest.raises(MachineError, match="machine/proc: a symbolic link, which is not followed"):
        read_machine(tmp_path / "machine")
    (tmp_path / "link").symlink_to(build_machine(tmp_path / "other"))
    assert read_machine(tmp_path / "link").arch == "x86_64"


def test_a_record_may_not_be_without_end(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    build_machine(tmp_path)
    os.truncate(tmp_path / "proc/iomem", 1 << 40)
    with pytest.raises(MachineError, match="proc/iomem: larger than 16777216 bytes"):
        read_machine(tmp_path)
    monkeypatch.setattr(machine_files_module, "RECORD_MAX", 1000)
    files = MachineFiles(tmp_path)
    for _ in range(3):
        assert len(files.head("proc/iomem", 600)) == 600  # counted once
    with pytest.raises(MachineError, match="more than 1000 bytes of it"):
        files.head("proc/iomem", 1001)


def test_a_directory_of_a_record_has_an_end(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(machine_files_module, "NAMES_MAX", 3)
    for number in range(4):
        (tmp_path / f"{number}").touch()
    with pytest.raises(MachineError, match="more than 3 names in it"):
        MachineFiles(tmp_path).entries(".")


@pytest.mark.parametrize("name", ["../secret", "a/../../secret", "a/../secret", "..", "a\0b"])
def test_no_name_leads_out_of_a_root(tmp_path: Path, name: str) -> None:
    (tmp_path / "root/a").mkdir(parents=True)
    (tmp_path / "secret").write_text("secret")
    (tmp_path / "root/secret").write_text("secret")
    with pytest.raises(UnfitFileError, match="no name of a file below it"):
        open_below(str(tmp_path / "root"), name)


@pytest.mark.parametrize("kind", sorted(UNFIT.keys() - {"link to a file"}))
def test_what_a_user_names_is_not_waited_for_either(tmp_path: Path, kind: str) -> None:
    UNFIT[kind](tmp_path / "x")
    reason = "no regular file|No such file|Too many levels"
    with pytest.raises(OSError, match=reason):
        open_regular(str(tmp_path / "x"))
    with pytest.raises(OSError, match=reason):
        load_regular(str(tmp_path / "x"), 10)


def test_what_a_user_names_may_be_a_link(tmp_path: Path) -> None:
    (tmp_path / "x").write_bytes(b"0123456789")
    (tmp_path / "link").symlink_to("x")
    assert load_regular(str(tmp_path / "link"), 10) == b"0123456789"
    with pytest.raises(UnfitFileError, match="larger than 9 bytes"):
        load_regular(str(tmp_path / "link"), 9)
