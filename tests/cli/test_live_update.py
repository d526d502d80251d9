"""``pykexec live-update``: sessions, their holders, and what is refused."""

from __future__ import annotations

import errno
import fcntl
import hashlib
import json
import os
import signal
import socket
import stat
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from pykexec.cli import live_update as cli_live_update
from pykexec.errors import DeniedError, KernelRejectedError, SessionError
from pykexec.formats.session_index import build_index
from pykexec.live_update import Session
from pykexec.loading import run_files
from pykexec.loading import update_asking as asking
from pykexec.loading import update_copies as copies
from pykexec.loading import update_holder as holder
from pykexec.loading import update_messages as messages
from pykexec.loading import update_places as places
from pykexec.loading import update_session as session_module
from pykexec.loading import update_status as status_module
from pykexec.loading import update_verbs as verbs
from pykexec.values.json_fields import Fields
from pykexec.values.kernel_state import KernelState
from pykexec.values.live_update import PreservedFile
from tests.builders.live_update import Orchestrator
from tests.builders.machines import MachineDirectory
from tests.cli.stand_in import stand_in
from tests.cli.test_pykexec import run
from tests.json_schemas import checked
from tests.unit.machine.test_handover import shown

Verb = Callable[..., tuple[int, str, str]]
INDEX = (PreservedFile(1, "a", 3, 0o640, hashlib.sha256(b"one").hexdigest()),)


def indexed(*files: PreservedFile, **contents: bytes) -> dict[int, bytes]:
    """Return what the tokens of a session are, by the names of its files."""
    return {0: build_index(files), **{file.token: contents[file.name] for file in files}}


@pytest.fixture
def kernel(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Orchestrator]:
    """Return the orchestrator; processes that hold sessions end with the test."""
    root = tmp_path / "machine"
    (root / "proc/sys/kernel/random").mkdir(parents=True)
    (root / "proc/sys/kernel/random/boot_id").write_text("this boot\n")
    (tmp_path / "orchestrator").mkdir()
    found = Orchestrator(tmp_path / "orchestrator")
    monkeypatch.setattr(fcntl, "ioctl", found.ioctl)
    monkeypatch.setattr(run_files, "ROOT", str(root))
    monkeypatch.setattr(session_module, "DEVICE", str(found.device))
    started = []
    fork = os.fork

    def forked() -> int:
        pid = fork()
        if pid:
            started.append(pid)
        return pid

    monkeypatch.setattr(os, "fork", forked)
    yield found
    for pid in started:
        end(pid)


def end(pid: int) -> None:
    """Kill a holder that this test has started, if it is still there."""
    try:
        os.kill(pid, signal.SIGKILL)
        os.waitpid(pid, 0)
    except (ProcessLookupError, ChildProcessError):
        pass


@pytest.fixture
def verb(kernel: Orchestrator, monkeypatch: pytest.MonkeyPatch) -> Verb:
    def call(*words: str) -> tuple[int, str, str]:
        return run(monkeypatch, "live-update", *words)

    return call


def pid_in(out: str) -> int:
    return int(out.rpartition("process ")[2].split()[0])


def written(path: Path, data: bytes, mode: int = 0o644) -> str:
    path.write_bytes(data)
    path.chmod(mode)
    return str(path)


def test_from_one_kernel_to_the_next(kernel: Orchestrator, verb: Verb, tmp_path: Path) -> None:
    """A file and a memfd, with names, modes and contents as they were."""
    content = os.urandom(300_000)
    digest = hashlib.sha256(content).hexdigest()
    file = written(tmp_path / "guest memory", content, 0o4640)
    memory = os.memfd_create("mine", os.MFD_CLOEXEC)
    os.write(memory, b"before")
    code, out, _ = verb("session", "create", "vm")
    assert (code, f"process {pid_in(out)} holds it until the jump" in out) == (0, True)
    code, out, err = verb("preserve", "vm", file, f"/proc/{os.getpid()}/fd/{memory}")
    assert (code, err) == (0, "")
    assert f"preserved 'guest memory': 293.0 KiB, SHA-256 {digest}" in out.replace("292.9", "293.0")
    assert "preserved 'mine': 6 bytes\n" in out
    os.pwrite(memory, b"AFTER!", 0)
    kernel.jump()
    target = tmp_path / "there"
    code, out, err = verb("retrieve", "vm", str(target))
    assert (code, err) == (0, "")
    assert (target / "guest memory").read_bytes() == content
    assert stat.S_IMODE((target / "guest memory").stat().st_mode) == 0o640
    assert (target / "mine").read_bytes() == b"AFTER!"
    assert "2 files of the session 'vm'" in out
    assert verb("finish", "vm") == (0, "finished the session 'vm'\n", "")
    code, _, err = verb("retrieve", "vm", str(tmp_path / "again"))
    assert (code, "(ENOENT): the kernel before handed no session" in err) == (255, True)
    os.close(memory)


def test_a_name_is_no_path(kernel: Orchestrator, verb: Verb, tmp_path: Path) -> None:
    """Whatever a session is called, its socket and its record stay where they belong."""
    for name in ("../../escaped", ".", "a b", "x" * 63, "\N{SNOWMAN}"):
        assert verb("session", "create", name)[0] == 0
    place = tmp_path / "machine" / places.DIRECTORY
    assert len(list(place.iterdir())) == 10
    assert stat.S_IMODE(place.stat().st_mode) == 0o700
    assert not list(tmp_path.glob("**/*escaped*"))
    names = {held.name for held in asking.held_by_pykexec()}
    assert names == {"../../escaped", ".", "a b", "x" * 63, "\N{SNOWMAN}"}
    for name in names:
        assert verb("session", "drop", name)[0] == 0
    assert list(place.iterdir()) == []


@pytest.mark.parametrize("name", ["", "x" * 64])
def test_what_is_no_name(verb: Verb, name: str) -> None:
    code, out, err = verb("session", "create", name)
    assert (code, out) == (255, "")
    assert "cannot be the name of a session" in err
    assert "1 to 63 bytes" in err


class TestCreate:
    def test_twice(self, verb: Verb) -> None:
        pid = pid_in(verb("session", "create", "vm")[1])
        code, _, err = verb("session", "create", "vm")
        assert code == 255
        assert f"process {pid} holds the outgoing session 'vm' already" in err

    def test_that_a_program_has_made(self, kernel: Orchestrator, verb: Verb) -> None:
        with Session.create("vm"):
            code, _, err = verb("session", "create", "vm")
            assert (code, "(EEXIST): there is a session of that name" in err) == (255, True)
        assert not asking.held_by_pykexec()
        assert verb("session", "create", "vm")[0] == 0

    def test_two_at_once(self, kernel: Orchestrator, verb: Verb) -> None:
        """Of two that begin at the same moment one is told of the other."""
        reading, writing = os.pipe()
        children = []
        for _ in range(4):
            pid = os.fork()
            if pid == 0:
                code = b"n"
                try:
                    cli_live_update.start_holder("vm", "outgoing")
                    code = b"y"
                finally:
                    os.write(writing, code)
                    os._exit(0)
            children.append(pid)
        os.close(writing)
        for pid in children:
            os.waitpid(pid, 0)
        with open(reading, "rb", buffering=0) as file:
            assert sorted(file.read(4)) == sorted(b"nnny")
        (held,) = asking.held_by_pykexec()
        assert held.pid is not None
        assert verb("session", "drop", "vm")[0] == 0

    def test_without_the_orchestrator(
        self, verb: Verb, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
    ) -> None:
        monkeypatch.setattr(session_module, "DEVICE", str(tmp_path / "none"))
        code, _, err = verb("session", "create", "vm")
        assert (code, "the kernel has no live update orchestrator" in err) == (255, True)
        assert "kho=on liveupdate=on" in err

    def test_while_another_process_has_the_device(
        self, kernel: Orchestrator, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        busy = [OSError(errno.EBUSY, "busy")] * 3

        def opened(path: str, *more: int) -> int:
            if path == str(kernel.device) and busy:
                raise busy.pop()
            return real(path, *more)

        real = os.open
        monkeypatch.setattr(os, "open", opened)
        with Session.create("vm") as session:
            assert not busy
            assert not session.incoming
        monkeypatch.setattr(session_module, "PATIENCE", 0.0)
        busy += [OSError(errno.EBUSY, "busy")] * 100
        with pytest.raises(KernelRejectedError, match="another process has it open"):
            Session.create("vm")

    def test_where_nothing_can_be_written(
        self, kernel: Orchestrator, verb: Verb, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """Nothing is made, or taken from the kernel before, that nobody could ask for."""

        def full(*_: object) -> None:
            raise OSError(errno.ENOSPC, "No space left on device")

        monkeypatch.setattr(places, "write_record", full)
        kernel.hand_over("old", indexed(*INDEX, a=b"one"))
        for words in (["session", "create", "vm"], ["retrieve", "old", "nowhere"]):
            code, _, err = verb(*words)
            assert (code, "No space left on device" in err) == (255, True)
            assert "the session could not be asked for" in err
        monkeypatch.undo()
        assert not Path("nowhere").exists()

    def test_who_is_not_root(
        self, kernel: Orchestrator, verb: Verb, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        def refuse() -> int:
            raise PermissionError(errno.EACCES, "Permission denied")

        monkeypatch.setattr(run_files, "open_directory", refuse)
        for words in (
            ["session", "create", "vm"],
            ["session", "drop", "vm"],
            ["preserve", "vm", "/etc/hostname"],
            ["retrieve", "vm", "nowhere"],
            ["finish", "vm"],
        ):
            code, _, err = verb(*words)
            assert (code, "hint: run it as root" in err) == (255, True), words
        with pytest.raises(DeniedError):
            verbs.drop("vm")

    def test_in_a_directory_that_is_open_to_others(
        self, kernel: Orchestrator, verb: Verb, tmp_path: Path
    ) -> None:
        place = tmp_path / "machine" / places.DIRECTORY
        place.mkdir(parents=True)
        place.chmod(0o777)
        code, _, err = verb("session", "create", "vm")
        assert (code, "and mode 777" in err) == (255, True)
        place.rmdir()
        place.write_text("a file")
        code, _, err = verb("session", "create", "vm")
        assert (code, "is not to be used: Not a directory" in err) == (255, True)

    def test_a_holder_that_dies_at_once(
        self, kernel: Orchestrator, verb: Verb, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        def die(*_: object) -> None:
            raise RuntimeError

        monkeypatch.setattr(holder, "hold", die)
        code, _, err = verb("session", "create", "vm")
        assert (code, "has ended at once" in err) == (255, True)


class TestPreserve:
    def test_without_a_session(self, verb: Verb, tmp_path: Path) -> None:
        code, _, err = verb("preserve", "vm", written(tmp_path / "a", b"one"))
        assert (code, "there is no outgoing session 'vm' that pykexec holds" in err) == (255, True)
        assert "session create NAME" in err

    def test_by_a_holder_that_was_killed(self, verb: Verb, tmp_path: Path) -> None:
        """Its socket and its record are still there, and say what was lost."""
        file = written(tmp_path / "a", b"one")
        pid = pid_in(verb("session", "create", "vm")[1])
        assert verb("preserve", "vm", file)[0] == 0
        end(pid)
        code, _, err = verb("preserve", "vm", file)
        assert (code, "the session 'vm' is lost: the process that held it has" in err) == (
            255,
            True,
        )
        (held,) = asking.held_by_pykexec()
        assert (held.pid, [item.name for item in held.files or ()]) == (None, ["a"])
        assert verb("session", "create", "vm")[0] == 0
        (held,) = asking.held_by_pykexec()
        assert held.files == ()
        assert verb("preserve", "vm", file)[0] == 0

    @pytest.mark.parametrize(
        ("kind", "text"),
        [
            ("directory", "is a directory, which cannot be preserved"),
            ("pipe", "is a pipe, which cannot be preserved"),
            ("device", "is a device, which cannot be preserved"),
            ("missing", "No such file or directory"),
            ("twice", "has a file 'file' already"),
        ],
    )
    def test_what_cannot_be(self, verb: Verb, tmp_path: Path, kind: str, text: str) -> None:
        path = tmp_path / "file"
        if kind == "directory":
            path.mkdir()
        elif kind == "pipe":
            os.mkfifo(path)
        elif kind == "device":
            path = Path("/dev/null")
        elif kind == "twice":
            path.write_bytes(b"one")
        verb("session", "create", "vm")
        if kind == "twice":
            verb("preserve", "vm", str(path))
        code, _, err = verb("preserve", "vm", str(path))
        assert text in err
        assert code == 255

    def test_a_memfd_of_an_odd_name(self, verb: Verb) -> None:
        """What cannot be a file's name is none: then it is called by its number."""
        memory = os.memfd_create("x/y", os.MFD_CLOEXEC)
        verb("session", "create", "vm")
        code, out, _ = verb("preserve", "vm", f"/proc/{os.getpid()}/fd/{memory}")
        os.close(memory)
        assert (code, out) == (0, f"preserved '{memory}': 0 bytes\n")

    def test_a_socket(self, verb: Verb, tmp_path: Path) -> None:
        verb("session", "create", "vm")
        path = tmp_path / "s"
        with socket.socket(socket.AF_UNIX) as listener:
            listener.bind(str(path))
            code, _, err = verb("preserve", "vm", str(path))
        assert (code, f"cannot open '{path}': No such device" in err) == (255, True)

    def test_what_the_kernel_does_not_take(
        self, kernel: Orchestrator, verb: Verb, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """The holder tells whose refusal it was: errno and call arrive."""

        def refuse(*_: object) -> bytes:
            raise OSError(errno.ENOENT, "No such file or directory")

        monkeypatch.setattr(
            kernel, "_preserve_fd", refuse
        )  # the index first: no session without it
        code, _, err = verb("session", "create", "vm")
        assert (code, "(ENOENT): the kernel preserves no files of this kind" in err) == (255, True)
        assert "not those of huge pages" in err
        with pytest.raises(KernelRejectedError) as raised:
            cli_live_update.start_holder("vm", "outgoing")
        assert (raised.value.call, raised.value.errno) == ("LIVEUPDATE_PRESERVE_FD", errno.ENOENT)

    def test_more_than_there_is_memory(
        self, verb: Verb, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(copies, "read_state", lambda: KernelState(memory_available=1 << 20))
        with (tmp_path / "large").open("wb") as file:
            file.truncate(1 << 30)
        verb("session", "create", "vm")
        code, _, err = verb("preserve", "vm", str(tmp_path / "large"))
        assert (code, "1 GiB, and 1 MiB of memory are to be had" in err) == (255, True)

    def test_memory_that_runs_out(
        self, verb: Verb, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        file = written(tmp_path / "a", b"one")
        verb("session", "create", "vm")

        def full(descriptor: int, data: bytes) -> int:
            raise OSError(errno.ENOSPC, "No space left on device")

        monkeypatch.setattr(os, "write", full)
        with pytest.raises(SessionError, match="cannot write the memory for"):
            copies.to_preserve(file)

    def test_a_file_that_cannot_be_read(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        def broken(descriptor: int, size: int) -> bytes:
            raise OSError(errno.EIO, "Input/output error")

        file = written(tmp_path / "a", b"one")
        monkeypatch.setattr(os, "read", broken)
        with pytest.raises(SessionError, match=r"cannot read '.*/a': Input/output error"):
            copies.to_preserve(file)

    def test_more_files_than_the_index_has_room_for(self, verb: Verb, tmp_path: Path) -> None:
        verb("session", "create", "vm")
        files = [written(tmp_path / f"{at:03}{'x' * 240}", b"") for at in range(200)]
        code, out, err = verb("preserve", "vm", *files)
        assert (code, "is more than a session has room for (65536)" in err) == (255, True)
        (held,) = asking.held_by_pykexec()
        assert len(held.files or ()) == out.count("preserved ") > 100


class TestRetrieve:
    def test_nothing_is_written_over(
        self, kernel: Orchestrator, verb: Verb, tmp_path: Path
    ) -> None:
        two = (*INDEX, PreservedFile(2, "b", 3))
        kernel.hand_over("vm", indexed(*two, a=b"one", b=b"two"))
        target = tmp_path / "there"
        target.mkdir()
        os.symlink("/nowhere", target / "b")
        code, out, err = verb("retrieve", "vm", str(target))
        assert (code, out) == (255, "")
        assert f"'{target}/b' is there already, and nothing is written over" in err
        assert os.listdir(target) == ["b"]
        (target / "b").unlink()
        assert verb("retrieve", "vm", str(target))[0] == 0
        assert verb("retrieve", "vm", str(target))[0] == 255
        assert verb("retrieve", "vm", str(tmp_path / "again"))[0] == 0
        (held,) = asking.held_by_pykexec()
        assert held.retrieved == {1, 2}

    @pytest.mark.parametrize(
        ("index", "text"),
        [
            (None, "(ENOENT): the session has no file by this token"),
            (b"", "it has 0 bytes, and an index has 65536"),
            (bytes(65536), "is not JSON"),
            (b'{"schema":"other/1"}', "schema 'other/1' is unknown"),
            ({"name": "../x"}, "the name of a file (it has a slash or a zero in it)"),
            ({"name": "/etc/passwd"}, "the name of a file"),
            ({"name": ".."}, "the name of a file (it is no name of a file)"),
            ({"name": ""}, "the name of a file"),
            ({"name": "x" * 256}, "the name of a file (it has more than 255 bytes)"),
            ({"token": 0}, "an integer from 1"),
            ({"mode": 0o4755}, "an integer from 0 to 511"),
            ({"size": -1}, "size is -1"),
            ({"sha256": "A" * 64}, "a SHA-256 in hexadecimal"),
        ],
    )
    def test_an_index_is_not_believed(
        self,
        kernel: Orchestrator,
        verb: Verb,
        tmp_path: Path,
        index: bytes | dict[str, object] | None,
        text: str,
    ) -> None:
        """It is from another kernel. What it is no index of can be had by its number, and waits."""
        files = {1: b"one"}
        if isinstance(index, dict):
            file = {"token": 1, "name": "a", "size": 3, "mode": 0o600, "sha256": None, **index}
            value = {"schema": "pykexec.session-index/1", "files": [file]}
            files[0] = json.dumps(value).encode().ljust(65536, b"\0")
        elif index is not None:
            files[0] = index.ljust(65536, b"\0") if index else index
        kernel.hand_over("vm", files)
        code, _, err = verb("retrieve", "vm", str(tmp_path / "there"))
        assert (code, text in err) == (255, True), err
        assert "--token N" in err
        assert not (tmp_path / "there").exists()
        code, _, err = verb("finish", "vm")
        assert (code, "files that only their maker knows" in err) == (255, True)
        code, _, _ = verb("retrieve", "vm", str(tmp_path / "there"), "--token", "1")
        assert (code, (tmp_path / "there/1").read_bytes()) == (0, b"one")
        assert verb("finish", "vm")[0] == 0

    def test_two_files_of_one_name(self, kernel: Orchestrator, verb: Verb, tmp_path: Path) -> None:
        two = (*INDEX, PreservedFile(2, "a", 3))
        kernel.hand_over("vm", {0: build_index(two), 1: b"one", 2: b"two"})
        code, _, err = verb("retrieve", "vm", str(tmp_path / "there"))
        assert (code, "has the name 'a' twice" in err) == (255, True)

    def test_what_is_not_what_was_preserved(
        self, kernel: Orchestrator, verb: Verb, tmp_path: Path
    ) -> None:
        kernel.hand_over("vm", indexed(*INDEX, a=b"One"))
        target = tmp_path / "there"
        code, _, err = verb("retrieve", "vm", str(target))
        assert (code, "'a' is not what was preserved: 3 bytes with the SHA-256" in err) == (
            255,
            True,
        )
        assert list(target.iterdir()) == []
        assert verb("retrieve", "vm", str(target), "--unchecked")[0] == 0
        assert (target / "a").read_bytes() == b"One"

    def test_a_token_that_there_is_not(
        self, kernel: Orchestrator, verb: Verb, tmp_path: Path
    ) -> None:
        kernel.hand_over("vm", indexed(*INDEX, a=b"one"))
        code, _, err = verb("retrieve", "vm", str(tmp_path / "there"), "--token", "9")
        assert (code, "(ENOENT): the session has no file by this token" in err) == (255, True)

    @pytest.mark.parametrize("kind", ["a file", "below a file", "a full disk", "unreadable"])
    def test_a_target_that_is_none(
        self,
        kernel: Orchestrator,
        verb: Verb,
        tmp_path: Path,
        monkeypatch: pytest.MonkeyPatch,
        kind: str,
    ) -> None:
        """The session keeps what is in it, and somewhere else there is room."""
        kernel.hand_over("vm", indexed(*INDEX, a=b"one"))
        file = written(tmp_path / "file", b"")
        target = {"a file": file, "below a file": f"{file}/there"}.get(kind, str(tmp_path / "t"))
        verb("retrieve", "vm", str(tmp_path / "first"))
        with monkeypatch.context() as patched:
            if kind == "a full disk":
                patched.setattr(os, "write", _failing(errno.ENOSPC))
            elif kind == "unreadable":
                patched.setattr(os, "pread", _failing(errno.EIO))
            code, _, err = verb("retrieve", "vm", target)
        said = {
            "a full disk": f"cannot write '{target}/a': No space left on device",
            "unreadable": "cannot read what came over: Input/output error",
        }.get(kind, f"cannot use '{target}' as a directory: Not a directory")
        assert (code, said in err) == (255, True), err
        assert not list(tmp_path.glob("t/*"))
        assert verb("retrieve", "vm", str(tmp_path / "second"))[0] == 0

    def test_what_cannot_be_made_whole(self, tmp_path: Path) -> None:
        directory = os.open(tmp_path, os.O_RDONLY)
        memory = os.memfd_create("m")
        with pytest.raises(SessionError, match=r"cannot make '.*': "):
            copies.store(memory, directory, str(tmp_path), PreservedFile(1, "x" * 300, 0))
        with pytest.raises(SessionError, match=r"cannot look at '.*' in "):
            copies.refuse_existing(directory, str(tmp_path), "x" * 300)
        os.close(directory)
        os.close(memory)


def _failing(number: int) -> Callable[..., int]:
    def fail(*_: object) -> int:
        raise OSError(number, os.strerror(number))

    return fail


class TestFinish:
    def test_with_files_that_nobody_retrieved(
        self, kernel: Orchestrator, verb: Verb, tmp_path: Path
    ) -> None:
        many = tuple(PreservedFile(at, f"f{at}", 1) for at in range(1, 9))
        kernel.hand_over("vm", indexed(*many, **{file.name: b"x" for file in many}))
        code, _, err = verb("finish", "vm")
        assert code == 255
        assert "what was not retrieved: 'f1', 'f2', 'f3', 'f4', 'f5' and 3 more" in err
        assert "--force finishes the session, and it is lost" in err
        assert verb("retrieve", "vm", str(tmp_path / "there"))[0] == 0
        assert verb("finish", "vm") == (0, "finished the session 'vm'\n", "")

    def test_by_force(self, kernel: Orchestrator, verb: Verb) -> None:
        kernel.hand_over("vm", indexed(*INDEX, a=b"one"))
        code, out, _ = verb("finish", "vm", "--force")
        assert (code, out) == (0, "lost 'a': 3 bytes\nfinished the session 'vm'\n")
        assert not asking.held_by_pykexec()

    def test_that_the_kernel_refuses(
        self, kernel: Orchestrator, verb: Verb, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """It is held still, and what is in it can be had."""
        monkeypatch.setattr(kernel, "_finish", _failing(errno.EBUSY))
        kernel.hand_over("vm", indexed(*INDEX, a=b"one"))
        code, _, err = verb("finish", "vm", "--force")
        assert (code, "(EBUSY): a file of it is not restored yet" in err) == (255, True)
        assert asking.held_by_pykexec()[0].pid is not None

    def test_that_another_program_has(self, kernel: Orchestrator, verb: Verb) -> None:
        kernel.hand_over("vm", indexed(*INDEX, a=b"one"))
        with Session.retrieve("vm"):
            code, _, err = verb("finish", "vm")
            assert (code, "(EINVAL): somebody has retrieved it before" in err) == (255, True)


class TestHolder:
    """What a holder is asked that it does not do costs nobody the session."""

    def raw(self, data: bytes) -> bytes:
        with (
            places.directory() as directory,
            socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET) as connection,
        ):
            connection.connect(places.socket_path(directory, "outgoing-vm"))
            connection.settimeout(10)
            if data:
                connection.send(data)
            else:
                connection.shutdown(socket.SHUT_WR)
            return connection.recv(1 << 20)

    def test_nonsense(self, verb: Verb) -> None:
        verb("session", "create", "vm")
        assert self.raw(b"nonsense") == b""
        assert self.raw(b"[]") == b""
        assert self.raw(b"") == b""
        assert b"is asked to 'dance'" in self.raw(b'{"do": "dance"}')
        assert b"do is missing, a text is needed" in self.raw(b"{}")
        assert b"is asked to 'finish'" in self.raw(b'{"do": "finish"}')
        assert b"is asked to 'preserve'" in self.raw(b'{"do": "preserve", "name": "a"}')
        assert asking.held_by_pykexec()[0].pid is not None

    def test_who_goes_without_waiting(self, verb: Verb) -> None:
        verb("session", "create", "vm")
        for _ in range(20):
            with (
                places.directory() as directory,
                socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET) as connection,
            ):
                connection.connect(places.socket_path(directory, "outgoing-vm"))
                connection.send(b'{"do": "list"}')
        assert asking.held_by_pykexec()[0].pid is not None

    def test_one_that_does_not_answer(self, verb: Verb, monkeypatch: pytest.MonkeyPatch) -> None:
        pid = pid_in(verb("session", "create", "vm")[1])
        os.kill(pid, signal.SIGSTOP)
        monkeypatch.setattr(messages, "PATIENCE", 0.2)
        code, _, err = verb("session", "drop", "vm")
        assert (code, "the holder of 'vm' does not answer" in err) == (255, True)
        os.kill(pid, signal.SIGCONT)

    def test_one_that_ends_meanwhile(self, kernel: Orchestrator) -> None:
        with (
            places.directory() as directory,
            socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET) as listener,
        ):
            listener.bind(places.socket_path(directory, "outgoing-vm"))
            listener.listen()
            pid = os.fork()
            if pid == 0:
                try:
                    listener.accept()[0].close()
                finally:
                    os._exit(0)
            with pytest.raises(SessionError, match=r"has ended without an answer|not answer"):
                verbs.drop("vm")

    def test_an_answer_that_says_what_may_not(self) -> None:
        with pytest.raises(SessionError, match="only root"):
            messages.raise_error(Fields({"error": "only root may ask", "hint": None}, "x"))

    def test_signals_of_a_terminal_end_no_holder(self, verb: Verb) -> None:
        pid = pid_in(verb("session", "create", "vm")[1])
        assert os.getsid(pid) == pid
        for number in (signal.SIGHUP, signal.SIGINT, signal.SIGQUIT):
            os.kill(pid, number)
        time.sleep(0.1)
        assert asking.held_by_pykexec()[0].pid == pid
        assert os.readlink(f"/proc/{pid}/cwd") == "/"
        for standard in range(3):
            assert os.readlink(f"/proc/{pid}/fd/{standard}") == "/dev/null"


def test_records_of_another_boot_tell_nothing(
    kernel: Orchestrator, verb: Verb, tmp_path: Path
) -> None:
    end(pid_in(verb("session", "create", "vm")[1]))
    assert [held.name for held in asking.held_by_pykexec()] == ["vm"]
    place = tmp_path / "machine" / places.DIRECTORY
    (place / "outgoing-nonsense.json").write_text("{}")
    assert [held.name for held in asking.held_by_pykexec()] == ["vm"]
    (tmp_path / "machine/proc/sys/kernel/random/boot_id").write_text("the next boot\n")
    assert asking.held_by_pykexec() == []
    assert verb("session", "create", "vm")[0] == 0


class TestStatus:
    @pytest.fixture
    def here(
        self, kernel: Orchestrator, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> MachineDirectory:
        """Return a machine with handover on and a kernel loaded; nobody else has sessions."""
        machine = shown(tmp_path / "machine")
        machine.write_description(kernel_release="7.2.1")
        machine.write("sys/kernel/kexec_loaded", "1\n")
        monkeypatch.setattr(status_module, "_open_sessions", lambda: iter(()))
        stand_in(monkeypatch, tmp_path / "machine")
        return machine

    def load_record(self, here: MachineDirectory, call: str | None, **more: object) -> None:
        value = {
            "schema": "pykexec.load/1",
            "time": "2026-01-31T12:00:00Z",
            "boot_id": "this boot",
            "kernel": "/boot/vmlinuz",
            "cmdline": "quiet",
            **({} if call is None else {"call": call}),
            **more,
        }
        here.write("run/pykexec/normal.json", json.dumps(value))

    @pytest.mark.parametrize(
        ("call", "on", "why"),
        [
            ("kexec_file_load", True, "the kernel was loaded by kexec_file_load"),
            ("kexec_load", False, "loaded by kexec_load, which hands nothing over"),
            (None, None, "nobody knows by which system call the kernel was loaded"),
        ],
    )
    def test_whether_the_jump_hands_over(
        self, here: MachineDirectory, verb: Verb, call: str | None, on: bool | None, why: str
    ) -> None:
        verb("session", "create", "a name\nof two lines")
        verb("preserve", "a name\nof two lines", "/etc/hostname")
        self.load_record(here, call)
        code, out, err = verb("status")
        assert (code, err) == (0, "")
        assert max(len(line) for line in out.splitlines()) <= 80
        assert why in " ".join(out.split())
        assert "session:        'a name\\nof two lines', outgoing, 1 file" in out
        assert "scratch:        0xbc00000-0xc3fffff, 8 MiB" in out
        value = checked(verb("status", "--json")[1])
        assert value["hands_over"]["on"] is on
        assert [held["files"][0]["name"] for held in value["sessions"]] == ["hostname"]

    def test_sessions_of_other_programs(
        self, here: MachineDirectory, verb: Verb, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
    ) -> None:
        monkeypatch.undo()
        descriptors = tmp_path / "proc/77/fd"
        descriptors.mkdir(parents=True)
        (tmp_path / "proc/self").mkdir()
        (tmp_path / "proc/78").mkdir()
        os.symlink("anon_inode:[luo_session] their own", descriptors / "5")
        os.symlink("anon_inode:[luo_session] their own", descriptors / "6")
        os.symlink("anon_inode:[eventfd]", descriptors / "7")
        monkeypatch.setattr(status_module, "PROC", str(tmp_path / "proc"))
        monkeypatch.setattr(status_module, "held_by_pykexec", lambda: [])
        (held,) = status_module.held_sessions()
        assert (held.name, held.pid, held.direction, held.files) == ("their own", 77, None, None)
        assert status_module.lost_sessions() == ("session 'their own', held by process 77",)

    def test_a_jump_that_would_lose_sessions(
        self, here: MachineDirectory, verb: Verb, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        self.load_record(here, "kexec_load")
        status_module.refuse_losing_jump()  # there is nothing to lose
        pid = pid_in(verb("session", "create", "vm")[1])
        code, _, err = run(monkeypatch, "exec")
        assert (code, "the jump would lose sessions for the next kernel" in err) == (255, True)
        assert f"  session 'vm', held by process {pid}" in err
        assert "--lose-preserved jumps all the same" in err
        for call, more in (
            ("kexec_file_load", {}),
            (None, {}),
            ("kexec_load", {"preserve_context": True}),
        ):
            self.load_record(here, call, **more)
            status_module.refuse_losing_jump()
        end(pid)
        self.load_record(here, "kexec_load")
        status_module.refuse_losing_jump()  # it is lost already
