"""The ioctls of the live update orchestrator: what is asked, and what a refusal is said to mean."""

from __future__ import annotations

import errno
import fcntl
import os
from collections.abc import Callable
from pathlib import Path

import pytest

from pykexec.calls import live_update
from pykexec.errors import KernelRejectedError, OptionError


class Kernel:
    """Answers ioctls, and remembers them."""

    def __init__(self, answer: bytes = b"", error: int = 0) -> None:
        """Answer with these bytes in the place of what was given, or with an errno."""
        self.asked: list[tuple[int, int, bytes]] = []
        self._answer, self._error = answer, error

    def ioctl(self, descriptor: int, number: int, argument: bytes) -> bytes:
        self.asked.append((descriptor, number, argument))
        if self._error:
            raise OSError(self._error, os.strerror(self._error))
        return self._answer or argument


@pytest.fixture
def kernel(monkeypatch: pytest.MonkeyPatch) -> Callable[..., Kernel]:
    def made(answer: bytes = b"", error: int = 0) -> Kernel:
        found = Kernel(answer, error)
        monkeypatch.setattr(fcntl, "ioctl", found.ioctl)
        return found

    return made


def name64(name: bytes) -> bytes:
    return name.ljust(64, b"\0")


def word(value: int, size: int = 4) -> bytes:
    return value.to_bytes(size, "little")


def test_each_call_is_that_of_the_header(kernel: Callable[..., Kernel]) -> None:
    """Linux include/uapi/linux/liveupdate.h: _IO(0xBA, n), the size first."""
    named = word(72)
    found = kernel(named + word(9) + name64(b"vm"))
    assert live_update.create_session(3, "vm") == 9
    assert live_update.retrieve_session(3, "vm") == 9
    assert live_update.session_name(9) == "vm"
    none = b"\xff\xff\xff\xff"
    assert found.asked == [
        (3, 0xBA00, named + none + name64(b"vm")),
        (3, 0xBA01, named + none + name64(b"vm")),
        (9, 0xBA43, named + bytes(4) + name64(b"")),
    ]

    found = kernel()
    live_update.preserve(9, 5, 0xFFFF_FFFF_0000_0001)
    live_update.finish(9)
    token = word(0xFFFF_FFFF_0000_0001, 8)
    assert found.asked == [(9, 0xBA40, word(16) + word(5) + token), (9, 0xBA42, word(8) + bytes(4))]

    found = kernel(
        (16).to_bytes(4, "little") + (6).to_bytes(4, "little") + (7).to_bytes(8, "little")
    )
    assert live_update.retrieve(9, 7) == 6
    assert found.asked == [
        (9, 0xBA41, (16).to_bytes(4, "little") + none + (7).to_bytes(8, "little"))
    ]


@pytest.mark.parametrize("name", ["", "x" * 64, "ä" * 32, "a\0b"])
def test_what_is_no_name_is_not_asked_for(kernel: Callable[..., Kernel], name: str) -> None:
    found = kernel()
    with pytest.raises(OptionError, match="cannot be the name of a session") as raised:
        live_update.create_session(3, name)
    assert raised.value.hint == "1 to 63 bytes, none of them zero"
    assert not found.asked


@pytest.mark.parametrize(
    ("call", "error", "text"),
    [
        (lambda: live_update.create_session(3, "vm"), errno.EEXIST, "a session of that name"),
        (lambda: live_update.retrieve_session(3, "vm"), errno.ENOENT, "handed no session of that"),
        (lambda: live_update.retrieve_session(3, "vm"), errno.EINVAL, "retrieved it before"),
        (lambda: live_update.preserve(3, 4, 5), errno.ENOENT, "preserves no files of this kind"),
        (lambda: live_update.preserve(3, 4, 5), errno.EBUSY, "the file is preserved already"),
        (lambda: live_update.preserve(3, 4, 5), errno.EEXIST, "a file by this token"),
        (lambda: live_update.preserve(3, 4, 5), errno.EINVAL, "came from the kernel before"),
        (lambda: live_update.preserve(3, 4, 5), errno.EOPNOTSUPP, "seals"),
        (lambda: live_update.retrieve(3, 5), errno.ENOENT, "no file by this token"),
        (lambda: live_update.retrieve(3, 5), errno.EINVAL, "was created in this kernel"),
        (lambda: live_update.finish(3), errno.EINVAL, "was created in this kernel"),
        (lambda: live_update.finish(3), errno.EBUSY, "not restored yet"),
        (lambda: live_update.finish(3), errno.EPERM, "takes the administrator"),
        (lambda: live_update.finish(3), errno.ENOSPC, "not a reason that this call is documented"),
    ],
)
def test_a_refusal_names_its_cause(
    kernel: Callable[..., Kernel], call: Callable[[], object], error: int, text: str
) -> None:
    kernel(error=error)
    with pytest.raises(KernelRejectedError) as raised:
        call()
    assert text in raised.value.message
    assert f"({errno.errorcode[error]})" in raised.value.message
    assert raised.value.message.startswith("LIVEUPDATE_")
    assert raised.value.errno == error


def test_without_the_orchestrator(tmp_path: Path) -> None:
    with pytest.raises(KernelRejectedError, match="no live update orchestrator") as raised:
        live_update.open_device(str(tmp_path / "liveupdate"))
    assert raised.value.hint is not None
    assert "liveupdate=on" in raised.value.hint


@pytest.mark.parametrize(
    ("error", "text"),
    [
        (errno.EBUSY, "another process has it open"),
        (errno.EIO, "what the kernel before handed over cannot be read"),
        (errno.EACCES, "it takes the administrator"),
    ],
)
def test_a_device_that_cannot_be_opened(
    monkeypatch: pytest.MonkeyPatch, error: int, text: str
) -> None:
    def refuse(path: str, flags: int) -> int:
        raise OSError(error, os.strerror(error), path)

    monkeypatch.setattr(os, "open", refuse)
    with pytest.raises(KernelRejectedError, match=text):
        live_update.open_device()


def test_a_device_that_can(tmp_path: Path) -> None:
    path = tmp_path / "liveupdate"
    path.touch()
    os.close(live_update.open_device(str(path)))
