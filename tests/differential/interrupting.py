"""Sends signals to a program at random moments, and says what it left behind; run in the sandbox.

Called with a JSON description (:class:`Task`) as its argument; prints a JSON list of what was
wrong, and a count of the signals that came before the program's first line.
"""

from __future__ import annotations

import ctypes
import json
import os
import random
import re
import shutil
import signal
import subprocess
import sys
import tarfile
import time
from dataclasses import asdict, dataclass
from pathlib import Path

from pykexec.machine.files import MachineFiles
from pykexec.machine.left_records import CRASH, NORMAL, Names, read_left, read_mark

RUN = Path("/run/pykexec")
_PR_SET_CHILD_SUBREAPER = 36
_ORPHANS_END = 3.0
"""Seconds within which the children of what was killed have ended."""
_ON_THE_WAY = {
    (name, b"<module>")
    for name in (
        b"__init__.py",
        b"cli/__init__.py",
        b"cli/main.py",
        b"cli/kexec_compat.py",
        b"cli/front_door.py",
    )
}
"""Code that Python runs before SIGINT has its default effect: no function but modules."""


@dataclass(frozen=True, slots=True)
class Task:
    """What is called, how often, and what there is before."""

    command: list[str]
    environment: dict[str, str]
    records: str
    """Where captured calls are written."""
    work: str
    """An empty directory, in which the program may leave its target."""
    count: int
    seed: int
    before: list[str]
    """What loads the image that is there before; empty where records are of no interest."""
    crash: bool = False
    unloads: bool = False

    def encoded(self) -> str:
        """Return the task as an argument."""
        return json.dumps(asdict(self))


def _start(task: Task, command: list[str]) -> subprocess.Popen[bytes]:
    return subprocess.Popen(
        command,
        env={**os.environ, **task.environment},
        cwd=task.work,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        close_fds=False,  # there is no /proc/self/fd here to find them by
    )


def _clear(directory: Path) -> None:
    for path in directory.iterdir() if directory.is_dir() else ():
        shutil.rmtree(path) if path.is_dir() else path.unlink()


def _named(names: Names) -> str | None:
    """Return the kernel that a record names; None where nobody can tell."""
    files = MachineFiles("/")
    left = read_left(files, names.record)
    if read_mark(files, names.mark) or left.data is None:
        return None
    kernel = json.loads(left.data)["kernel"]
    return str(kernel["path"] if isinstance(kernel, dict) else kernel)


def _is_called(records: Path) -> bool | None:
    """Tell whether the system call was made; None where it was killed in the midst of it."""
    for path in records.glob("*.json"):
        try:
            if json.loads(path.read_text())["call"].startswith("kexec"):
                return True
        except ValueError:
            return None
    return False


def _has_orphans() -> bool:
    deadline = time.monotonic() + _ORPHANS_END
    while True:
        try:
            pid, _ = os.waitpid(-1, os.WNOHANG)
        except ChildProcessError:
            return False
        if not pid:
            if time.monotonic() > deadline:
                return True
            time.sleep(0.02)


def _wrong_with_records(task: Task, number: int, old: str, new: str) -> list[str]:
    names = CRASH if task.crash else NORMAL
    called = _is_called(Path(task.records))
    named, killed = _named(names), number == signal.SIGKILL
    wrong = []
    truth = {True: None if task.unloads else new, False: old}.get(bool(called))
    if called is not None and named not in (truth, None):
        wrong.append(f"the record names {named}, {truth} is loaded")
    if called is not None and named is None and truth is not None and not killed:
        wrong.append(f"nobody can tell that {truth} is loaded")
    allowed = {"lock", Path(names.record).name}
    if killed:
        files = [Path(name).name for name in (names.record, names.mark)]
        allowed |= {Path(names.mark).name, *(f".{name}.new" for name in files)}
    left = {path.name for path in RUN.iterdir()} - allowed
    return wrong + ([f"left in {RUN}: {sorted(left)}"] if left else [])


def _wrong_with_work(task: Task, number: int) -> list[str]:
    wrong = []
    for path in Path(task.work).iterdir():
        if path.name.startswith("."):
            if number != signal.SIGKILL or path.is_file():
                wrong.append(f"left: {path.name}")
        elif path.suffix == ".tar":
            with tarfile.open(path) as archive:
                if not any(name.endswith("/machine.json") for name in archive.getnames()):
                    wrong.append(f"incomplete: {path.name}")
        elif not (path / "machine.json").exists():
            wrong.append(f"incomplete: {path.name}")
    return wrong


def _at_start(err: bytes) -> bool:
    """Tell whether Python itself was interrupted, on the way to the front door."""
    ours = set(re.findall(rb'File "[^"]*/pykexec/([^"]*)", line \d+, in (\S+)', err))
    return b"KeyboardInterrupt" in err and ours <= _ON_THE_WAY


def interrupt(task: Task) -> dict[str, object]:
    """Carry the task out."""
    chance = random.Random(task.seed)
    records = Path(task.records)
    old, kept = "", {}
    if task.before:
        process = _start(task, task.before)
        _, err = process.communicate()
        assert not process.returncode, err
        kept = {path.name: path.read_bytes() for path in RUN.iterdir()}
        old = str(_named(CRASH if task.crash else NORMAL))
    lasted = []
    for _ in range(2):
        _clear(Path(task.work))
        began = time.monotonic()
        _start(task, task.command).communicate()
        lasted.append(time.monotonic() - began)
    new = str(_named(CRASH if task.crash else NORMAL))
    wrong, early = [], 0
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGKILL):
        for _ in range(task.count):
            for directory in (records, Path(task.work), RUN):
                _clear(directory)
            for name, data in kept.items():
                (RUN / name).write_bytes(data)
                (RUN / name).chmod(0o600 if name == "lock" else 0o644)
            moment = chance.uniform(0, max(lasted) * 1.02)
            process = _start(task, task.command)
            time.sleep(moment)
            process.send_signal(number)
            _, err = process.communicate()
            found = []
            if _at_start(err):
                early += 1
            elif b"Traceback" in err or b"Exception ignored" in err or b"Fatal" in err:
                found.append(err[-2000:].decode("utf-8", "replace"))
            if process.returncode not in (0, 1, 255, -number) and not _at_start(err):
                found.append(f"exit {process.returncode}: {err[-200:]!r}")
            if _has_orphans():
                found.append("a process is left")
            if task.before:
                found += _wrong_with_records(task, number, old, new)
            found += _wrong_with_work(task, number)
            wrong += [f"{signal.Signals(number).name} after {moment:.3f} s: {x}" for x in found]
    return {"wrong": wrong, "early": early, "lasted": max(lasted), "signals": 3 * task.count}


if __name__ == "__main__":
    ctypes.CDLL(None).prctl(_PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)
    RUN.mkdir(mode=0o755, exist_ok=True)
    print(json.dumps(interrupt(Task(**json.loads(sys.argv[1])))))
