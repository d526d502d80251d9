"""The guests' own machinery, without a guest."""

from __future__ import annotations

import base64
import hashlib
import re
import stat
from io import BytesIO
from pathlib import Path

import pytest

from tests.vm import debian
from tests.vm.cpio import CpioWriter
from tests.vm.scenario import (
    GuestLostError,
    Listener,
    NoSecondKernelError,
    PhaseFailedError,
    Result,
    Run,
    Watch,
)
from tests.vm.transcript import Transcript, TranscriptError


def read_cpio(archive: bytes) -> dict[str, tuple[int, bytes, tuple[int, int]]]:
    """Return (mode, data, device numbers) of each entry up to the trailer."""
    entries: dict[str, tuple[int, bytes, tuple[int, int]]] = {}
    at = 0
    while True:
        assert archive[at : at + 6] == b"070701"
        assert at % 4 == 0
        fields = [int(archive[at + 6 + 8 * i : at + 14 + 8 * i], 16) for i in range(13)]
        mode, size, name_size = fields[1], fields[6], fields[11]
        name = archive[at + 110 : at + 110 + name_size - 1].decode()
        data_at = -(-(at + 110 + name_size) // 4) * 4
        if name == "TRAILER!!!":
            return entries
        assert name not in entries
        entries[name] = (mode, archive[data_at : data_at + size], (fields[9], fields[10]))
        at = -(-(data_at + size) // 4) * 4


def test_cpio_holds_what_was_put_in(tmp_path: Path) -> None:
    source = tmp_path / "tool"
    source.write_bytes(b"#!/bin/sh\n")
    source.chmod(0o755)
    out = BytesIO()
    archive = CpioWriter(out)
    archive.file("/a/b/text", "äöü")
    archive.file("a/tool", source)
    archive.file("a/plain", source, mode=0o600)
    archive.symlink("lib", "usr/lib")
    archive.device("dev/null", 1, 3, mode=0o666)
    archive.directory("a")
    archive.close()

    entries = read_cpio(out.getvalue())
    assert list(entries) == ["a", "a/b", "a/b/text", "a/tool", "a/plain", "lib", "dev", "dev/null"]
    assert entries["a"][0] == stat.S_IFDIR | 0o755
    assert entries["a/b/text"][:2] == (stat.S_IFREG | 0o644, "äöü".encode())
    assert entries["a/tool"][:2] == (stat.S_IFREG | 0o755, b"#!/bin/sh\n")
    assert entries["a/plain"][0] == stat.S_IFREG | 0o600
    assert entries["lib"][:2] == (stat.S_IFLNK | 0o777, b"usr/lib")
    assert entries["dev/null"] == (stat.S_IFCHR | 0o666, b"", (1, 3))
    assert len(out.getvalue()) % 512 == 0


DEB822 = """\
# a comment
Types: deb
URIs: file:/mirror/debian-security
Suites: bookworm-security
Components: main
Signed-By: /keys/security.gpg

Enabled: no
Types: deb
URIs: file:/disabled/debian
Suites: bookworm

Types: deb deb-src
URIs: file:/mirror/debian/
# another one
Suites: bookworm bookworm-updates
Components: main
Signed-By:
 -----BEGIN PGP PUBLIC KEY BLOCK-----
 .
"""

ONE_LINE = """\
# deb file:/commented/debian bookworm main
deb [arch=amd64 signed-by=/keys/other.gpg] file:/other bookworm main
deb-src file:/sources/debian bookworm main
deb [ signed-by=/keys/debian.gpg ] file:/mirror/debian bookworm main contrib
"""


def test_the_main_archive_is_found_in_either_format() -> None:
    deb822 = debian.parse_sources(DEB822, deb822=True)
    assert [source.uri for source in deb822] == [
        "file:/mirror/debian-security",
        "file:/mirror/debian/",
    ]
    assert debian.choose_archive(deb822) == debian.Source("file:/mirror/debian/", None)

    one_line = debian.parse_sources(ONE_LINE, deb822=False)
    assert [source.uri for source in one_line] == ["file:/other", "file:/mirror/debian"]
    chosen = debian.choose_archive(one_line)
    assert chosen == debian.Source("file:/mirror/debian", "/keys/debian.gpg")

    assert debian.choose_archive(one_line[:1]) is None


def test_dependencies_are_the_first_alternatives() -> None:
    field = "linux-image-6.1.0-50-cloud-amd64 (= 6.1.176-1), kmod | busybox, libc6:any (>= 2)"
    names = ("linux-image-6.1.0-50-cloud-amd64", "kmod", "libc6")
    assert debian.parse_depends(field) == names


BEGIN_1 = b"VMTEST phase=1 begin release=6.1 cmdline=<console=ttyS0 a=<b>>\n"
BEGIN_2 = b"VMTEST phase=2 begin release=7.2 cmdline=<x>\n"


def sent(name: str, data: bytes, digest_of: bytes | None = None) -> bytes:
    digest = hashlib.sha256(data if digest_of is None else digest_of).hexdigest()
    lines = f"VMTEST file name={name} sha256={digest}\n".encode()
    return lines + base64.encodebytes(data) + b"VMTEST file end\n"


def test_transcript_is_the_same_however_it_is_cut() -> None:
    payload = bytes(range(256)) * 3
    whole = (
        b"\x1b[2Jfirmware\r\n\x1b[01;01H"
        + BEGIN_1
        + b"one\r\n"
        + sent("f", payload)
        + b"two\n"
        + BEGIN_2
        + b"VMTEST phase=2 end rc=3\n"
    )
    for step in (1, 7, len(whole)):
        transcript = Transcript()
        shown = [
            line
            for at in range(0, len(whole), step)
            for line in transcript.feed(whole[at : at + step])
        ]
        assert shown == ["one", "two"]
        first, second = transcript.phases
        assert (first.release, first.cmdline, first.rc) == ("6.1", "console=ttyS0 a=<b>", None)
        assert first.output == "one\ntwo\n"
        assert (second.number, second.rc) == (2, 3)
        assert transcript.files == {"f": payload}


def test_a_damaged_file_is_refused() -> None:
    with pytest.raises(TranscriptError, match="f arrived with SHA-256"):
        Transcript().feed(BEGIN_1 + sent("f", b"data", digest_of=b"Data"))


class Puppet:
    """A guest that says what it is told to."""

    def __init__(self, channel: bytes, console: str, *, running: bool = False) -> None:
        self._channel = channel
        self.console = console
        self.running = running
        self.complaint = ""

    def hear(self) -> bytes:
        said, self._channel = self._channel, b""
        return said


def watch(
    channel: bytes,
    console: str = "",
    *,
    running: bool = False,
    stop_on: str | None = None,
    meant_death: str | None = None,
) -> Result:
    wanted = Run("6.12", ["first", "second"], timeout=0.2, stop_on=stop_on, meant_death=meant_death)
    guest = Puppet(channel, console, running=running)
    return Watch(wanted, guest, Path("logs"), Listener()).until_done()


JUMP = "kexec_core: Starting new kernel\n"
PANIC = "Kernel panic - not syncing: no reason\n"
END_2 = b"VMTEST phase=2 end rc=0\n"


def test_a_run_ends_with_its_last_phase() -> None:
    result = watch(BEGIN_1 + BEGIN_2 + END_2, JUMP, running=True)
    assert list(result.phases) == [1, 2]
    assert result.serial == JUMP


def test_a_run_can_end_with_what_the_console_says() -> None:
    assert list(watch(BEGIN_1, JUMP + "halted\n", running=True, stop_on="halted").phases) == [1]


@pytest.mark.parametrize(
    ("channel", "console", "running"),
    [
        pytest.param(b"", "", True, id="silent"),
        pytest.param(b"", "", False, id="qemu ended"),
        pytest.param(b"", PANIC, True, id="died while booting"),
        pytest.param(BEGIN_1, "Oops: 0002 [#1]\n", True, id="died in its phase"),
        pytest.param(BEGIN_1, "", True, id="hung in its phase"),
    ],
)
def test_a_guest_that_never_jumped_is_lost(channel: bytes, console: str, running: bool) -> None:
    with pytest.raises(GuestLostError):
        watch(channel, console, running=running)


@pytest.mark.parametrize("console", [JUMP, JUMP + PANIC])
@pytest.mark.parametrize("running", [True, False])
def test_a_jump_that_does_not_arrive_is_a_failure(console: str, running: bool) -> None:
    with pytest.raises(NoSecondKernelError, match="no kernel came after phase 1"):
        watch(BEGIN_1, console, running=running)


@pytest.mark.parametrize(
    ("channel", "says"),
    [
        (BEGIN_1 + b"VMTEST phase=1 end rc=5\n", "script of phase 1 failed"),
        (BEGIN_1 + b"VMTEST phase=1 end rc=0\n", "phase 1 ended without a jump"),
        (BEGIN_1 + BEGIN_2 + b"VMTEST phase=2 end rc=1\n", "script of phase 2 failed"),
        (BEGIN_1 + BEGIN_2, "phase 2: nothing more was heard"),
    ],
)
def test_a_script_that_goes_wrong_is_a_failure(channel: bytes, says: str) -> None:
    with pytest.raises(PhaseFailedError, match=says):
        watch(channel, JUMP, running=True)


def test_a_death_that_was_meant_is_a_jump() -> None:
    meant = re.escape(PANIC.strip())
    result = watch(BEGIN_1 + BEGIN_2 + END_2, PANIC, running=True, meant_death=meant)
    assert list(result.phases) == [1, 2]
    with pytest.raises(NoSecondKernelError, match="no kernel came after phase 1"):
        watch(BEGIN_1, PANIC, running=False, meant_death=meant)
    with pytest.raises(PhaseFailedError, match="a kernel died"):
        watch(BEGIN_1 + BEGIN_2, PANIC + "Oops: 0002\n", running=True, meant_death=meant)
