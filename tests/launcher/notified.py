"""Runs a program, static ones too, with some of its system calls answered instead of made.

The kernel asks this process about each (seccomp_unotify(2)), and it answers with an errno or 0.
Nothing is run before a probe has seen that ``reboot`` comes here; without CAP_SYS_BOOT it would
be refused besides.
"""

from __future__ import annotations

import errno
import fcntl
import json
import os
import select
import socket
import struct
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from tests.differential.sandbox import PROJECT, enter

NUMBERS = {"reboot": 169, "sync": 162, "ioctl": 16, "kexec_load": 246, "kexec_file_load": 320}
"""Linux arch/x86/entry/syscalls/syscall_64.tbl."""
REBOOT_KEXEC = 0x45584543
SIOCSIFFLAGS = 0x8914

# Linux include/uapi/linux/seccomp.h.
_NOTIFICATION = struct.Struct("=QII iIQ 6Q")
_ANSWER = struct.Struct("=QqiI")
_RECEIVE = 0xC0502100
_SEND = 0xC0182101
_LET_IT_BE_MADE = 1


@dataclass(frozen=True, slots=True)
class Ended:
    """How a program ended."""

    code: int
    """Negative: by this signal."""
    stdout: str
    stderr: str
    calls: tuple[str, ...]
    """In order: ``sync``, ``down NAME``, ``reboot``, and names of calls that it must not make."""


@dataclass(slots=True)
class Answers:
    """What the calls are answered."""

    reboot: int = errno.EPERM
    """An errno."""
    interfaces: dict[str, int] = field(default_factory=dict)
    """Errnos, by the name of an interface that stays up."""


def run_notified(
    command: Sequence[str],
    machine: Path,
    scratch: Path,
    answers: Answers,
    *,
    interface: str = "",
    before: str = "",
) -> Ended:
    """Run ``command`` on ``machine``; ``before`` is a line of shell that is run in its place."""
    ours, theirs = socket.socketpair()
    child = [
        sys.executable,
        "-I",
        str(Path(__file__).with_name("filtered.py")),
        str(theirs.fileno()),
    ]
    shell = ["/bin/sh", "-c", f'{before}\nexec "$@"', "sh"] if before else []
    scratch.mkdir(parents=True, exist_ok=True)
    process = subprocess.Popen(
        [*enter(machine, scratch, interface), *child, json.dumps(NUMBERS), *shell, *command],
        cwd=PROJECT,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        pass_fds=[theirs.fileno()],
        text=True,
    )
    theirs.close()
    calls: list[str] = []
    with ours:
        message, descriptors, _, _ = socket.recv_fds(ours, 1, 1)
    if message:
        _serve(descriptors[0], process, answers, calls)
    stdout, stderr = process.communicate()
    return Ended(process.returncode, stdout, stderr, tuple(calls))


def _serve(
    listener: int, process: subprocess.Popen[str], answers: Answers, calls: list[str]
) -> None:
    """Answer until the last process under the filter has ended."""
    poll = select.poll()
    poll.register(listener, select.POLLIN)
    try:
        while True:
            ready = poll.poll(60_000)
            if not ready or not ready[0][1] & select.POLLIN:
                return
            request = bytearray(_NOTIFICATION.size)
            try:
                fcntl.ioctl(listener, _RECEIVE, request)
            except OSError:
                continue  # it was killed meanwhile
            number, pid, _, call, _, _, *arguments = _NOTIFICATION.unpack(request)
            error = _answer(call, pid, arguments, answers, calls)
            flags = _LET_IT_BE_MADE if error is None else 0
            try:
                fcntl.ioctl(listener, _SEND, _ANSWER.pack(number, 0, -(error or 0), flags))
            except OSError:
                continue
    finally:
        os.close(listener)


def _answer(
    call: int, pid: int, arguments: list[int], answers: Answers, calls: list[str]
) -> int | None:
    """Note a call; return its errno, 0, or None for one that is to be made."""
    if call == NUMBERS["reboot"]:
        calls.append("reboot" if arguments[2] & 0xFFFF_FFFF == REBOOT_KEXEC else "wrong reboot")
        return answers.reboot
    if call == NUMBERS["sync"]:
        calls.append("sync")
        return 0
    if call == NUMBERS["ioctl"]:
        name, flags = _interface(pid, arguments[2])
        calls.append(f"{'up' if flags & 1 else 'down'} {name}")
        return answers.interfaces.get(name)
    calls.append(next(name for name, number in NUMBERS.items() if number == call))
    return errno.EPERM


def _interface(pid: int, address: int) -> tuple[str, int]:
    with open(f"/proc/{pid}/mem", "rb", buffering=0) as memory:
        memory.seek(address)
        name, flags = struct.unpack("=16sH", memory.read(18))
    return name.rstrip(b"\0").decode("utf-8", "backslashreplace"), flags
