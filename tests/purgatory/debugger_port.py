"""QEMU's port for debuggers, as far as tests need it: breakpoints, and all registers.

GDB's manual, "Remote Serial Protocol". QEMU shows system registers in it by name; nothing has to
run in the machine for that, so what is found is what was there.
"""

from __future__ import annotations

import re
import socket
import time
from functools import cached_property
from pathlib import Path
from typing import Literal

_CHUNK = 0xF00
"""Bytes of a description that are asked for at once."""
_WRITTEN = 1024
"""Bytes of memory that are written at once: QEMU takes 4096 characters."""


class DebuggerPort:
    """A connection to a machine that stands still at first."""

    def __init__(self, path: Path, timeout: float, polls: float = 0.05) -> None:
        """Connect to the socket at ``path``, which need not exist yet; seconds of ``timeout``.

        Until it exists it is looked for each ``polls`` seconds.
        """
        self._socket = socket.socket(socket.AF_UNIX)
        self._socket.settimeout(timeout)
        end = time.monotonic() + timeout
        while True:
            try:
                self._socket.connect(str(path))
                break
            except (FileNotFoundError, ConnectionRefusedError):
                if time.monotonic() > end:
                    raise
                time.sleep(polls)
        self._received = b""
        # Before that is asked for, single registers are not to be had.
        self._ask("qXfer:features:read:target.xml:0,1")

    def close(self) -> None:
        """End the connection."""
        self._socket.close()

    def set_breakpoint(self, address: int) -> None:
        """Stop the machine before it executes what is at ``address``."""
        assert self._ask(f"Z1,{address:x},4") == "OK"

    def clear_breakpoint(self, address: int) -> None:
        """Do so no longer."""
        assert self._ask(f"z1,{address:x},4") == "OK"

    def run(self) -> None:
        """Let the machine run until it stops."""
        assert self._ask("c").startswith("T05")

    def start(self) -> None:
        """Let the machine run, for good."""
        self._send("c")

    def registers(self) -> dict[str, int]:
        """Return all registers by name, those of vectors excepted."""
        found = {}
        for name, number in self._numbers.items():
            answer = self._ask(f"p{number:x}")
            if not answer.startswith("E"):
                found[name] = int.from_bytes(bytes.fromhex(answer), "little")
        return found

    def resume(self) -> int:
        """Let the program run until it stops; return the number of the signal that it got."""
        answer = self._ask("c")
        assert answer[0] == "T", answer
        return int(answer[1:3], 16)

    def read_register(self, number: int, order: Literal["little", "big"] = "little") -> int:
        """Return one by its number, which QEMU gives in the processor's byte order of the time."""
        return int.from_bytes(bytes.fromhex(self._ask(f"p{number:x}")), order)

    def read_words(self) -> list[int]:
        """Return the first ones by their numbers, where all have 64 bits in little endian."""
        answer = bytes.fromhex(self._ask("g"))
        return [int.from_bytes(answer[at : at + 8], "little") for at in range(0, len(answer), 8)]

    def read_memory(self, address: int, size: int) -> bytes:
        """Return some of what the processor sees."""
        return bytes.fromhex(self._ask(f"m{address:x},{size:x}"))

    def write_register(self, number: int, value: int) -> None:
        """Set one of 64 bits."""
        assert self._ask(f"P{number:x}={value.to_bytes(8, 'little').hex()}") == "OK"

    def write_memory(self, address: int, data: bytes) -> None:
        """Write memory, at an address as the processor has it now."""
        for at in range(0, len(data), _WRITTEN):
            part = data[at : at + _WRITTEN]
            assert self._ask(f"M{address + at:x},{len(part):x}:{part.hex()}") == "OK"

    def monitor(self, command: str) -> str:
        """Return what QEMU's monitor answers."""
        answer, said = self._ask(f"qRcmd,{command.encode().hex()}"), ""
        while answer != "OK":
            assert answer.startswith("O"), answer
            said += bytes.fromhex(answer[1:]).decode()
            answer = self._receive()
        return said

    @cached_property
    def _numbers(self) -> dict[str, int]:
        """Return the numbers of registers that have at most 64 bits, by name."""
        files = re.findall(r'<xi:include href="([^"]+)"', self._read_features("target.xml"))
        found: dict[str, int] = {}
        following = 0
        for file in files:
            for tag in re.findall(r"<reg ([^>]*)>", self._read_features(file)):
                attributes = dict(re.findall(r'(\w+)="([^"]*)"', tag))
                number = int(attributes.get("regnum", following))
                following = number + 1
                if int(attributes["bitsize"]) <= 64:
                    found[attributes["name"]] = number
        return found

    def _read_features(self, name: str) -> str:
        text = ""
        while True:
            answer = self._ask(f"qXfer:features:read:{name}:{len(text):x},{_CHUNK:x}")
            text += answer[1:]
            if answer[0] == "l":
                return text

    def _send(self, request: str) -> None:
        total = sum(request.encode("ascii")) % 256
        self._socket.sendall(f"${request}#{total:02x}".encode("ascii"))

    def _ask(self, request: str) -> str:
        self._send(request)
        return self._receive()

    def _receive(self) -> str:
        while True:
            found = re.search(rb"\$([^#]*)#[0-9a-f]{2}", self._received)
            if found:
                self._received = self._received[found.end() :]
                self._socket.sendall(b"+")
                # An escaped byte is one of "#", "$", "}" and "*", none of which occurs in XML here.
                return found[1].decode("ascii")
            received = self._socket.recv(65536)
            assert received, "QEMU has ended the connection"
            self._received += received
