"""A machine in a tar is read as its directory is, and nothing in it leads out of it."""

from __future__ import annotations

import io
import tarfile
from pathlib import Path

import pytest

from pykexec.errors import MachineError
from pykexec.machine import read_machine, tar_files
from pykexec.machine.files import MachineFiles
from pykexec.machine.kernel_state import read_kernel_state
from pykexec.machine.record import record, recorded_files
from pykexec.machine.roots import machine_files
from tests.builders.machines import build_machine

MACHINES = Path(__file__).parents[2] / "data" / "machines"
DESCRIPTION = b'{"arch": "x86_64"}'


def write_tar(path: Path, *members: tuple[str, bytes], kind: bytes = tarfile.REGTYPE) -> Path:
    """Write a tar; members of another ``kind`` than a file are links to the data."""
    with tarfile.open(path, "w") as archive:
        for name, data in members:
            member = tarfile.TarInfo(name)
            if kind == tarfile.REGTYPE or name.endswith("machine.json"):
                member.size = len(data)
                archive.addfile(member, io.BytesIO(data))
            else:
                member.type, member.linkname = kind, data.decode()
                archive.addfile(member)
    return path


@pytest.mark.parametrize("name", sorted(path.name for path in MACHINES.iterdir()))
def test_a_tar_gives_the_facts_of_the_directory(tmp_path: Path, name: str) -> None:
    record(MACHINES / name, tmp_path / "box.tar")
    directory = read_machine(MACHINES / name, crash=True)
    assert read_machine(tmp_path / "box.tar", crash=True) == directory
    assert read_kernel_state(tmp_path / "box.tar") == read_kernel_state(MACHINES / name)


def test_a_tar_lists_what_its_directory_does(tmp_path: Path) -> None:
    build_machine(tmp_path / "machine", firmware_map=True, efi=True)
    record(tmp_path / "machine", tmp_path / "record")
    record(tmp_path / "machine", tmp_path / "record.tar")
    listed = recorded_files(machine_files(tmp_path / "record"))
    assert recorded_files(machine_files(tmp_path / "record.tar")) == listed
    assert listed["sys/firmware/efi/fw_platform_size"] == 3


@pytest.mark.parametrize("top", ["", "box/", "./box/", "a/b/"])
def test_the_machine_may_lie_below_any_directory(tmp_path: Path, top: str) -> None:
    tar = write_tar(
        tmp_path / "x.tar", (f"{top}machine.json", DESCRIPTION), (f"{top}proc/cmdline", b"quiet\n")
    )
    files = machine_files(tar)
    assert files.exists
    assert not files.is_live
    assert files.load("proc/cmdline") == files.load("./proc//cmdline") == b"quiet\n"
    assert files.entries("proc") == ["cmdline"]
    assert files.members("proc") == [("cmdline", False)]
    assert sorted(files.members(".")) == [("machine.json", False), ("proc", True)]
    assert files.head("proc/cmdline", 2) == b"qu"


@pytest.mark.parametrize("kind", [tarfile.SYMTYPE, tarfile.LNKTYPE])
def test_links_are_refused_and_not_listed(tmp_path: Path, kind: bytes) -> None:
    (tmp_path / "secret").write_text("secret")
    tar = write_tar(
        tmp_path / "x.tar",
        ("box/machine.json", DESCRIPTION),
        ("box/proc/cmdline", str(tmp_path / "secret").encode()),
        kind=kind,
    )
    files = machine_files(tar)
    with pytest.raises(MachineError, match=r"x\.tar/proc/cmdline: no regular file, but a .* link"):
        files.peek("proc/cmdline")
    assert files.is_link("proc/cmdline") is (kind == tarfile.SYMTYPE)
    assert files.members("proc") == []


def test_no_name_leads_out(tmp_path: Path) -> None:
    (tmp_path / "secret").write_text("secret")
    files = machine_files(write_tar(tmp_path / "x.tar", ("box/machine.json", DESCRIPTION)))
    for name in ("../secret", "../../secret", "etc/passwd", "/etc/passwd"):
        assert files.peek(name) is None


@pytest.mark.parametrize("name", ["../secret", "/etc/passwd", "a/../../b", "a/..", "//x"])
def test_a_member_whose_name_leads_elsewhere_is_refused(tmp_path: Path, name: str) -> None:
    tar = write_tar(tmp_path / "x.tar", ("box/machine.json", DESCRIPTION), (name, b"x"))
    with pytest.raises(MachineError, match=rf"x\.tar: '{name}' (?:is an absolute|leads out)"):
        machine_files(tar)


def test_a_file_that_is_too_large(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tar_files, "FILE_MAX", 20)
    members = (("machine.json", DESCRIPTION), ("proc/iomem", bytes(21)))
    files = machine_files(write_tar(tmp_path / "x.tar", *members))
    with pytest.raises(MachineError, match=r"x\.tar/proc/iomem: larger than 20 bytes"):
        files.read("proc/iomem", "maps")


@pytest.mark.parametrize("content", [b"", b"no tar", b"\x1f\x8b\x08" + bytes(600)])
def test_what_is_no_tar(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "x.tar").write_bytes(content)
    with pytest.raises(MachineError, match=r"x\.tar is neither a machine directory nor a tar"):
        machine_files(tmp_path / "x.tar")


def test_a_tar_without_description(tmp_path: Path) -> None:
    tar = write_tar(tmp_path / "x.tar", ("proc/iomem", b""))
    with pytest.raises(MachineError, match=r"machine\.json is missing"):
        read_machine(tar)


def test_directories_are_no_tars(tmp_path: Path) -> None:
    assert type(machine_files(tmp_path)) is MachineFiles
    assert machine_files().is_live
