"""QEMU as a child: started, its memory filled, listened to, and always ended.

Everything goes through inherited descriptors: the emulated RAM is a memfd that both sides map,
so that it is sparse and nothing is left on a disk; the monitor is a socket pair; the console is
QEMU's standard output.
"""

from __future__ import annotations

import codecs
import json
import mmap
import os
import selectors
import shutil
import socket
import subprocess
import time
from typing import TYPE_CHECKING, Any

from pykexec.values.errors import MissingProgramError, SimulationError
from pykexec.values.ranges import Range
from pykexec.values.units import KIB

if TYPE_CHECKING:
    from types import TracebackType

    from pykexec.simulation.emulated import EmulatedMachine

_ANSWER = 30.0
"""Seconds within which QEMU answers, and its firmware starts a program."""
_POLL = 0.02


class Emulator:
    """An emulated machine. Use it as a context manager: QEMU ends with the block."""

    def __init__(self, machine: EmulatedMachine) -> None:
        """Raises :class:`MissingProgramError` where there is no QEMU for ``machine``."""
        program = shutil.which(machine.program)
        if program is None:
            raise MissingProgramError(
                f"cannot simulate: there is no {machine.program} here",
                hint=f"install the Debian package {machine.package}",
            )
        self._program = program
        self._machine = machine
        self._events: list[str] = []
        self._answers: list[dict[str, Any]] = []
        self._received = b""
        self._decoder = codecs.getincrementaldecoder("utf-8")("replace")

    def __enter__(self) -> Emulator:
        """Start QEMU; the emulated processor stands still."""
        machine = self._machine
        self._complaints = _anonymous_file("complaints")
        self._monitor, others = socket.socketpair()
        self._monitor.settimeout(_ANSWER)
        memory = _anonymous_file("ram", size=machine.memory)
        self._memory = mmap.mmap(memory, machine.memory)
        inherited = [memory]
        if machine.start is not None:
            inherited.append(_anonymous_file("start", machine.start.image))
        try:
            self._process = subprocess.Popen(
                self._command(others.fileno(), *inherited),
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=self._complaints,
                pass_fds=(others.fileno(), *inherited),
            )
        finally:
            others.close()
            for descriptor in inherited:
                os.close(descriptor)
        assert self._process.stdout is not None
        self._console = self._process.stdout.fileno()
        self._selector = selectors.DefaultSelector()
        self._selector.register(self._console, selectors.EVENT_READ)
        self._selector.register(self._monitor, selectors.EVENT_READ)
        try:
            self._ask("qmp_capabilities")
        except BaseException:
            self.__exit__(None, None, None)
            raise
        return self

    def _command(self, monitor: int, memory: int, image: int | None = None) -> list[str]:
        """Return QEMU's command line; the arguments are descriptors."""
        machine = self._machine
        ram = f"memory-backend-file,id=ram,size={machine.memory},share=on"
        return [
            *_ended_with_us(),
            *(self._program, "-accel", "tcg", *machine.words),
            *("-m", f"{machine.memory // KIB}k", "-machine", f"{machine.board},memory-backend=ram"),
            *("-object", f"{ram},mem-path=/proc/self/fd/{memory}"),
            *("-nic", "none", "-display", "none", "-monitor", "none", "-serial", "stdio"),
            *("-chardev", f"socket,id=qmp,fd={monitor}", "-mon", "qmp,mode=control"),
            *("-S", "-no-reboot", "-no-shutdown"),
            *((machine.start.option, f"/proc/self/fd/{image}") if machine.start else ()),
        ]

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """End QEMU, whatever state the emulated machine is in."""
        self._process.kill()
        self._process.communicate()
        os.close(self._complaints)
        self._monitor.close()
        self._selector.close()
        self._memory.close()

    def enter_plan(self) -> None:
        """Let the firmware run, fill the memory, and let the processor enter the plan."""
        start, contents = self._machine.start, self._machine.contents
        if start is not None:
            self._ask("cont")
            deadline = time.monotonic() + _ANSWER
            while self._read(start.ready[0], len(start.ready[1])) != start.ready[1]:
                if time.monotonic() > deadline:
                    raise SimulationError(
                        f"the emulated firmware has not started a program within {_ANSWER:.0f} s"
                    )
                if self._process.poll() is not None:
                    raise self._ended()
                time.sleep(_POLL)
            contents += start.settle(self._read)
            # What the firmware has said is nothing of the plan's.
            while self.listen(0):
                pass
        for address, data in contents:
            self._write(address, data)
        if start is not None:
            self._write(*start.go)
        else:
            self._ask("cont")

    def listen(self, seconds: float) -> str:
        """Return what the console says; waits at most ``seconds`` for the first of it."""
        for key, _ in self._selector.select(seconds):
            if key.fileobj is self._monitor:
                self._receive()
                continue
            data = os.read(self._console, 64 * KIB)
            if not data:
                raise self._ended()
            return self._decoder.decode(data)
        return ""

    @property
    def stopped(self) -> bool:
        """The emulated machine has reset or switched itself off."""
        return "SHUTDOWN" in self._events

    def registers(self) -> str:
        """Return what QEMU shows of the processor's registers."""
        shown = self._ask("human-monitor-command", {"command-line": "info registers"})
        return str(shown)

    def _place(self, address: int, size: int) -> slice:
        offset = self._machine.locate(Range.sized(address, size))
        return slice(offset, offset + size)

    def _read(self, address: int, size: int) -> bytes:
        return bytes(self._memory[self._place(address, size)])

    def _write(self, address: int, data: bytes | memoryview) -> None:
        self._memory[self._place(address, len(data))] = data

    def _ask(self, command: str, arguments: dict[str, str] | None = None) -> Any:
        """Execute a command of QEMU's monitor and return its answer."""
        message = {"execute": command, "arguments": arguments or {}}
        deadline = time.monotonic() + _ANSWER
        try:
            self._monitor.sendall(json.dumps(message).encode())
        except OSError as error:
            raise self._ended() from error
        while not self._answers:
            if time.monotonic() > deadline:
                raise SimulationError(f"QEMU does not answer {command} within {_ANSWER:.0f} s")
            self._receive()
        answer = self._answers.pop()
        if "error" in answer:
            raise SimulationError(f"QEMU refuses {command}: {answer['error']['desc']}")
        return answer["return"]

    def _receive(self) -> None:
        """Take a piece of what the monitor says: its greeting, answers, events."""
        try:
            data = self._monitor.recv(64 * KIB)
        except TimeoutError:
            return
        except OSError as error:
            raise self._ended() from error
        if not data:
            raise self._ended()
        *whole, self._received = (self._received + data).split(b"\n")
        for message in map(json.loads, whole):
            if "event" in message:
                self._events.append(message["event"])
            elif "QMP" not in message:
                self._answers.append(message)

    def _ended(self) -> SimulationError:
        """Return the error for a QEMU that has ended by itself, with its own words."""
        try:
            status = str(self._process.wait(1))
        except subprocess.TimeoutExpired:
            status = "unknown"
        words = os.pread(self._complaints, 4 * KIB, 0).decode("utf-8", "replace").strip()
        return SimulationError(
            f"{self._machine.program} ended with status {status}: {words or 'it says nothing'}"
        )


def _anonymous_file(name: str, data: bytes = b"", size: int = 0) -> int:
    """Return a descriptor of a file in memory: ``data``, or ``size`` zeros."""
    descriptor = os.memfd_create(f"pykexec-{name}")
    os.truncate(descriptor, size or len(data))
    os.pwrite(descriptor, data, 0)
    return descriptor


def _ended_with_us() -> tuple[str, ...]:
    """Return what lets QEMU end when we are killed, where util-linux has it.

    Also when that happens before it is asked for: then there is another parent.
    """
    if shutil.which("setpriv") is None:
        return ()
    check = 'test "$PPID" = "$0" && exec "$@"'
    return ("setpriv", "--pdeathsig", "KILL", "sh", "-c", check, str(os.getpid()))
