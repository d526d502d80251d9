"""Tars as anybody may have written them: each step goes forward, and what is odd is named."""

from __future__ import annotations

import io
import tarfile
import time
from pathlib import Path

import pytest

from pykexec.errors import MachineError
from pykexec.machine.roots import machine_files
from pykexec.machine.tar_headers import MEMBERS_MAX, Kind, Member, NotTarError, members

LONG = "box/" + "directory/" * 20 + "name"


def read(data: bytes) -> list[Member]:
    return list(members(lambda at, size: data[at : at + size], len(data)))


def header(name: bytes = b"a", size: bytes = b"00000000000\0", kind: bytes = b"0") -> bytes:
    """Return a ustar header with a checksum that fits."""
    block = bytearray(512)
    block[: len(name)] = name
    block[124 : 124 + len(size)] = size
    block[148:156] = b" " * 8
    block[156:157] = kind
    block[257:265] = b"ustar\x0000"
    block[148:156] = b"%06o\0 " % sum(block)
    return bytes(block)


def extension(kind: bytes, data: bytes) -> bytes:
    padded = data.ljust(-(-len(data) // 512) * 512, b"\0")
    return header(b"x", b"%011o\0" % len(data), kind) + padded


def pax(*records: str) -> bytes:
    text = b""
    for record in records:
        length = len(record.encode()) + 2
        length += len(str(length + len(str(length))))
        text += f"{length} {record}\n".encode()
    return text


@pytest.mark.parametrize("form", [tarfile.USTAR_FORMAT, tarfile.GNU_FORMAT, tarfile.PAX_FORMAT])
def test_what_pythons_tarfile_writes(form: int) -> None:
    target = io.BytesIO()
    with tarfile.open(fileobj=target, mode="w", format=form) as archive:
        for name, data in (("box/a", b"1" * 513), (LONG, b"22"), ("box/\u00e4", b"")):
            member = tarfile.TarInfo(name)
            member.size = len(data)
            archive.addfile(member, io.BytesIO(data))
        directory = tarfile.TarInfo("box/d")
        directory.type = tarfile.DIRTYPE
        archive.addfile(directory)
    data = target.getvalue()
    found = read(data)
    assert [item.name for item in found] == ["box/a", LONG, "box/\u00e4", "box/d"]
    assert [item.kind for item in found] == [Kind.FILE] * 3 + [Kind.DIRECTORY]
    assert data[found[1].offset : found[1].offset + found[1].size] == b"22"


NEGATIVE = b"\xff" * 12
HUGE = b"\x80" + b"\xff" * 11


@pytest.mark.parametrize(
    ("tar", "reason"),
    [
        (header(b"/etc/x"), "'/etc/x' is an absolute name"),
        (header(b"a/../../x"), "'a/../../x' leads out"),
        (header(b""), "no name that a file can have"),
        (header(b"a" * 100, kind=b"Z"), "of an unknown type"),
        (header(size=NEGATIVE), "the size of the member at 0 is -1"),
        (header(size=b"-0000000001\0"), "is no number"),
        (header(size=HUGE), "has 309485009821345068724781055 bytes by its header"),
        (header(size=b"00000001000\0"), "has 512 bytes by its header, of which the tar has 0"),
        (header(kind=b"L", size=HUGE), "a header of .* bytes at 512"),
        (extension(b"L", b"a" * (65 << 10)), "a header of 66560 bytes"),
        (extension(b"L", b"a") * 1500 + header(), "a second header of type 'L' for one member"),
        (extension(b"x", pax("path=a")) * 2 + header(), "a second header of type 'x'"),
        (extension(b"x", b"99 path=a\n") + header(), "the pax header at 0 is damaged"),
        (extension(b"x", b"0 path=a\n") + header(), "the pax header at 0 is damaged"),
        (extension(b"x", pax("size=-1")) + header(), "has a size of"),
        (extension(b"x", pax("size=" + "9" * 5000)) + header(), "has a size of"),
        (extension(b"x", pax("size=600")) + header(), "has 600 bytes by its header"),
        (extension(b"x", pax("path=/x")) + header(), "'/x' is an absolute name"),
        (extension(b"x", pax("path=a\0b")) + header(), "no name that a file can have"),
        (extension(b"g", pax("path=a")) + header(), "gives all members one path"),
        (extension(b"L", b"a"), "ends with a header that belongs to no member"),
        (header() + header(b"b")[:100], "in the midst of a header"),
        (header() + b"x" * 512, "no header of a tar at 512"),
        (extension(b"L", b"/".join([b"a"] * 101)) + header(), "no name that a file can have"),
    ],
)
def test_what_is_odd_is_refused(tar: bytes, reason: str) -> None:
    with pytest.raises(MachineError, match=reason) as caught:
        read(tar)
    assert len(caught.value.message) < 300


def test_headers_in_front_of_members_have_a_bound() -> None:
    one = extension(b"x", pax("comment=" + "x" * 60_000)) + header()
    with pytest.raises(MachineError, match="more than 4194304 bytes of long names and headers"):
        read(one * 100)
    assert len(read(one * 10)) == 10


def test_many_headers_about_all_members_take_no_time() -> None:
    block, count = header(kind=b"g"), MEMBERS_MAX // 4
    tar = block * count + header()
    started = time.process_time()
    assert len(read(tar)) == 1
    assert time.process_time() - started < 4


@pytest.mark.parametrize("data", [b"", bytes(1024), b"no tar", b"x" * 512])
def test_what_is_no_tar(data: bytes) -> None:
    with pytest.raises(NotTarError):
        read(data)


@pytest.mark.parametrize(
    ("tar", "kind"),
    [
        (header(kind=b"S"), Kind.SPARSE),
        (extension(b"x", pax("GNU.sparse.major=1", "path=a")) + header(), Kind.SPARSE),
        (header(kind=b"6"), Kind.FIFO),
        (header(kind=b"3"), Kind.CHARACTER),
        (header(b"a/"), Kind.DIRECTORY),
    ],
)
def test_other_kinds_of_members(tar: bytes, kind: Kind) -> None:
    assert [item.kind for item in read(tar)] == [kind]


@pytest.mark.parametrize(
    ("members_of", "reason"),
    [
        ((header(b"m/proc/cmdline"), header(b"./m//proc/cmdline")), "two members 'proc/cmdline'"),
        ((header(b"m/proc"), header(b"m/proc/cmdline")), "'proc' as a directory and as something"),
    ],
)
def test_a_name_stands_for_one_thing(
    tmp_path: Path, members_of: tuple[bytes, ...], reason: str
) -> None:
    (tmp_path / "x.tar").write_bytes(b"".join((header(b"m/machine.json"), *members_of)))
    with pytest.raises(MachineError, match=reason):
        machine_files(tmp_path / "x.tar")


def test_a_link_in_a_tar_leads_nowhere(tmp_path: Path) -> None:
    tar = header(b"m/machine.json") + header(b"m/proc", kind=b"2") + header(b"m/run", kind=b"6")
    (tmp_path / "x.tar").write_bytes(tar)
    files = machine_files(tmp_path / "x.tar")
    with pytest.raises(MachineError, match=r"x\.tar/proc: no regular file, but a symbolic link"):
        files.peek("proc/cmdline")
    with pytest.raises(MachineError, match=r"x\.tar/run: no regular file, but a FIFO"):
        files.load("run")
