"""Records of loads that are killed, that fail, that come two at once, or in a strange /run."""

from __future__ import annotations

import errno
import os
import signal
import stat
import threading
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from pykexec.calls import syscalls
from pykexec.cli import kexec_compat
from pykexec.loading import run_files
from pykexec.machine.files import MachineFiles
from pykexec.machine.left_records import CRASH, NORMAL, SIZE_MAX, read_left, read_mark
from tests.builders.machines import MachineDirectory
from tests.cli.crash_machine import STATE
from tests.cli.stand_in import FakeLibc
from tests.cli.test_pykexec import run
from tests.needs import need_root

pytestmark = pytest.mark.usefixtures("no_sync")
LOADS = {"-l": NORMAL, "-p": CRASH}


@pytest.fixture
def no_sync(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("os.sync", lambda: None)


@pytest.fixture
def second(tmp_path: Path, kernel: str) -> str:
    path = tmp_path / "another"
    path.write_bytes(Path(kernel).read_bytes() + bytes(4096))
    return str(path)


def status(monkeypatch: pytest.MonkeyPatch) -> tuple[int, str]:
    code, out, err = run(monkeypatch, "crash", "status")
    assert err == ""
    return code, " ".join(out.partition("verdict:")[2].split())


def at_the_call(monkeypatch: pytest.MonkeyPatch, do: Callable[[], Any], answer: int = 0) -> None:
    """Let ``do`` happen in the midst of the system call."""
    libc = FakeLibc([answer])

    def syscall(*words: Any) -> int:
        do()
        return FakeLibc.syscall(libc, *words)

    monkeypatch.setattr(libc, "syscall", syscall)
    monkeypatch.setattr(syscalls, "_libc", libc)


def in_a_child(words: list[str]) -> int:
    """Run kexec in a process of its own; returns what os.wait says of its end."""
    child = os.fork()
    if not child:
        try:
            os._exit(kexec_compat.main(words))
        finally:
            os._exit(99)
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])


@pytest.mark.parametrize("umask", [0, 0o77, 0o777])
@pytest.mark.parametrize("option", LOADS)
def test_modes_do_not_depend_on_the_umask(
    here: MachineDirectory,
    kernel: str,
    umask: int,
    option: str,
) -> None:
    (here.path / "run").mkdir()
    before = os.umask(umask)
    try:
        assert kexec_compat.main([option, kernel]) == 0
    finally:
        os.umask(before)
    directory = here.path / "run/pykexec"
    modes = {path.name: stat.S_IMODE(path.stat().st_mode) for path in directory.iterdir()}
    record = Path(LOADS[option].record).name
    assert modes == {"lock": 0o600, record: 0o644}
    assert stat.S_IMODE(directory.stat().st_mode) == 0o755


def test_a_directory_that_was_open_to_all_is_closed(
    here: MachineDirectory,
    kernel: str,
) -> None:
    directory = here.path / "run/pykexec"
    directory.mkdir(parents=True)
    directory.chmod(0o777)
    os.mkfifo(directory / "lock", 0o666)
    os.mkfifo(directory / ".crash.json.new")
    os.mkfifo(directory / "crash.unfinished")
    (directory / "crash.json").symlink_to("/dev/zero")
    assert kexec_compat.main(["-p", kernel]) == 0
    assert stat.S_IMODE(directory.stat().st_mode) == 0o755
    assert {path.name for path in directory.iterdir()} == {"lock", "crash.json"}
    assert all(stat.S_ISREG(path.lstat().st_mode) for path in directory.iterdir())


@pytest.mark.parametrize("option", LOADS)
def test_a_mark_stands_beside_the_record_during_the_call(
    monkeypatch: pytest.MonkeyPatch,
    here: MachineDirectory,
    kernel: str,
    option: str,
) -> None:
    files, names, seen = MachineFiles(here.path), LOADS[option], []
    at_the_call(monkeypatch, lambda: seen.append(read_mark(files, names.mark)))
    assert kexec_compat.main(["-c", option, kernel]) == 0
    assert kexec_compat.main(["-u", *(["-p"] if option == "-p" else [])]) == 0
    assert seen[0].startswith(f"a load of {kernel}, begun at ")
    assert seen[0].endswith(f" by process {os.getpid()},")
    assert seen[1].startswith("an unload, begun at ")
    assert read_mark(files, names.mark) == ""


@pytest.mark.parametrize("words", [["-c", "-p"], ["-s", "-p"], ["-p", "-u"]])
def test_a_kill_between_the_call_and_the_record_is_told(
    monkeypatch: pytest.MonkeyPatch,
    here: MachineDirectory,
    kernel: str,
    second: str,
    words: list[str],
) -> None:
    assert kexec_compat.main(["-p", kernel]) == 0
    assert status(monkeypatch)[0] == 0
    at_the_call(monkeypatch, lambda: os.kill(os.getpid(), signal.SIGKILL))
    given = words if "-u" in words else [*words, second]
    assert in_a_child(given) == -signal.SIGKILL
    code, verdict = status(monkeypatch)
    assert code == 2
    assert "has not come to its end: it is under way, or was broken off" in verdict
    assert ("an unload" if "-u" in words else "a load of") in verdict
    # Neither does a load that fails make the older record true again; one that succeeds does.
    monkeypatch.setattr(syscalls, "_libc", FakeLibc([errno.EBUSY]))
    assert kexec_compat.main(["-c", "-p", kernel]) == 255
    assert status(monkeypatch)[0] == 2
    assert kexec_compat.main(["-c", "-p", kernel]) == 0
    assert status(monkeypatch)[0] == 0


def test_pykexec_status_tells_of_it(
    monkeypatch: pytest.MonkeyPatch,
    here: MachineDirectory,
    kernel: str,
) -> None:
    at_the_call(monkeypatch, lambda: os.kill(os.getpid(), signal.SIGKILL))
    assert in_a_child(["-l", kernel]) == -signal.SIGKILL
    here.write_kernel_state(replace(STATE, loaded=True))
    out = run(monkeypatch, "status")[1]
    assert f"loaded: nobody can tell which: a load of {kernel}, begun at " in out


def test_what_is_not_loaded_can_be_told(
    monkeypatch: pytest.MonkeyPatch,
    here: MachineDirectory,
    kernel: str,
) -> None:
    at_the_call(monkeypatch, lambda: os.kill(os.getpid(), signal.SIGKILL))
    assert in_a_child(["-p", kernel]) == -signal.SIGKILL
    here.write_kernel_state(replace(STATE, crash_loaded=False))
    assert status(monkeypatch)[0] == 1


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGQUIT])
def test_a_signal_waits_for_the_record(
    monkeypatch: pytest.MonkeyPatch,
    here: MachineDirectory,
    kernel: str,
    number: int,
) -> None:
    signal_before = signal.signal(number, signal.SIG_DFL)
    try:
        at_the_call(monkeypatch, lambda: os.kill(os.getpid(), number))
        assert in_a_child(["-p", kernel]) == -number
    finally:
        signal.signal(number, signal_before)
    assert status(monkeypatch)[0] == 0


def test_the_record_of_a_load_that_failed_is_the_old_one(
    monkeypatch: pytest.MonkeyPatch,
    here: MachineDirectory,
    kernel: str,
    second: str,
) -> None:
    assert kexec_compat.main(["-l", kernel]) == 0
    before = (here.path / NORMAL.record).read_bytes()
    here.write_kernel_state(replace(STATE, loaded=True))
    monkeypatch.setattr(syscalls, "_libc", FakeLibc([errno.ENOMEM]))
    assert kexec_compat.main(["-c", "-l", second]) == 255
    assert (here.path / NORMAL.record).read_bytes() == before
    assert not (here.path / NORMAL.mark).exists()


def test_a_second_load_waits_for_the_first(
    monkeypatch: pytest.MonkeyPatch,
    here: MachineDirectory,
    kernel: str,
    second: str,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """It comes during the call of the first, and its own call comes behind the first's record."""
    codes, order = [], []

    def load() -> None:
        codes.append(kexec_compat.main(["-c", "-p", second]))

    thread = threading.Thread(target=load)

    def begin() -> None:
        order.append((here.path / CRASH.record).exists())
        if len(order) == 1:
            thread.start()
            time.sleep(0.5)
            assert len(order) == 1

    at_the_call(monkeypatch, begin)
    codes.append(kexec_compat.main(["-c", "-p", kernel]))
    thread.join(30)
    assert codes == [0, 0]
    assert order == [False, True]
    assert second in (here.path / CRASH.record).read_text()
    said = capsys.readouterr().err
    assert said == "kexec: another load or unload is under way: waiting for it\n"


def test_a_load_does_not_wait_for_ever(
    monkeypatch: pytest.MonkeyPatch,
    here: MachineDirectory,
    kernel: str,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setattr(run_files, "PATIENCE", 0.2)
    directory = run_files.open_directory()
    with run_files.locked(directory, print):
        assert kexec_compat.main(["-p", kernel]) == 255
    os.close(directory)
    said = capsys.readouterr().err.splitlines()
    assert "another load or unload is under way, and has not ended in 0 s" in said[1]
    assert said[-1].startswith("hint: 'fuser ")
    assert kexec_compat.main(["-p", kernel]) == 0


def _with_mode(path: Path, mode: int) -> None:
    path.write_text("{}")
    path.chmod(mode)


def _of_somebody_else(path: Path) -> None:
    path.write_text("{}")
    os.chown(path, 1234, 0)


def _huge(path: Path) -> None:
    path.touch(0o644)
    os.truncate(path, 1 << 40)


STRANGE: dict[str, tuple[Callable[[Path], object], str]] = {
    "fifo": (os.mkfifo, "is no regular file"),
    "link": (lambda path: path.symlink_to("/dev/zero"), "is no regular file"),
    "directory": (os.mkdir, "is no regular file"),
    "huge": (_huge, f"{1 << 40} bytes"),
    "large": (lambda path: path.write_bytes(bytes(SIZE_MAX + 1)), "at most"),
    "writable": (lambda path: _with_mode(path, 0o666), "others may write"),
    "group": (lambda path: _with_mode(path, 0o664), "others may write"),
    "foreign": (_of_somebody_else, "user 1234"),
}


@pytest.mark.parametrize("name", STRANGE)
def test_a_strange_record_is_not_believed(tmp_path: Path, name: str) -> None:
    if name == "foreign":
        need_root("giving files away")
    files = MachineFiles(tmp_path)
    files.is_live = True
    (tmp_path / "run/pykexec").mkdir(parents=True)
    make, why = STRANGE[name]
    make(tmp_path / CRASH.record)
    left = read_left(files, CRASH.record)
    assert left.data is None
    assert why in left.problem
    make(tmp_path / CRASH.mark)
    assert why in read_mark(files, CRASH.mark)


def test_a_record_in_a_directory_of_all_is_not_believed(tmp_path: Path) -> None:
    files = MachineFiles(tmp_path)
    files.is_live = True
    directory = tmp_path / "run/pykexec"
    directory.mkdir(parents=True)
    (directory / "crash.json").write_text("{}")
    assert read_left(files, CRASH.record).data == b"{}"
    directory.chmod(0o777)
    assert "others may write" in read_left(files, CRASH.record).problem
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "elsewhere/crash.json").write_text("{}")
    directory.rename(tmp_path / "away")
    directory.symlink_to(tmp_path / "elsewhere")
    assert "is no directory" in read_left(files, CRASH.record).problem


def test_a_mark_of_another_boot_is_none(tmp_path: Path) -> None:
    files = MachineFiles(tmp_path)
    (tmp_path / "run/pykexec").mkdir(parents=True)
    (tmp_path / CRASH.mark).write_bytes(b"another boot\na load\n")
    assert read_mark(files, CRASH.mark) == ""
    (tmp_path / CRASH.mark).write_bytes(b"")
    assert read_mark(files, CRASH.mark) == "something"
