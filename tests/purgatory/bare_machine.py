"""QEMU's bare machines: memory is filled, the processor started, and what it says is heard."""

from __future__ import annotations

import subprocess
import threading
from collections.abc import Sequence
from pathlib import Path

from tests.vm.qemu import turn

TIMEOUT = 60
"""Seconds; QEMU needs two."""


def listen(
    program: str,
    words: Sequence[str],
    contents: dict[int, bytes],
    work: Path,
    memory: str = "64",
) -> str:
    """Return what the UART sends until the machine is off, or the purgatory stands still.

    ``contents`` is put into memory, by physical address; ``words`` say what is started,
    ``memory`` how many MiB there are.
    """
    command = [program, *words, "-m", memory, "-nodefaults", "-display", "none"]
    command += ["-serial", "stdio", "-no-reboot"]
    for start, data in contents.items():
        file = work / f"{start:x}"
        file.write_bytes(data)
        command += ["-device", f"loader,file={file},addr={start:#x},force-raw=on"]
    with (
        turn(),
        subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE) as qemu,
    ):
        assert qemu.stdout is not None
        said = b""
        limit = threading.Timer(TIMEOUT, qemu.kill)
        limit.start()
        for line in qemu.stdout:
            said += line
            if b"halted, reset the machine" in line:
                qemu.kill()
        limit.cancel()
    # OpenSBI puts one more carriage return before each line's end.
    return said.decode("ascii").replace("\r\r\n", "\n").replace("\r\n", "\n")
