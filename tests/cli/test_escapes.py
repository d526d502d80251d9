"""Escape codes in files of all kinds, and what of them reaches a terminal: nothing."""

from __future__ import annotations

import json
import os
import pty
import re
import select
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.builders.bzimage import KernelSpec, build_bzimage
from tests.builders.machines import MachineDirectory, build_machine

EVIL = "\x1b]0;owned\x07\x1b[2J\x9b31m\x7f\u202e\u2028\x08\r"
# In a name or a value that is given, an end of a line would forge a message of our own.
EVIL_NAME = f"{EVIL}\nFORGED"
# What the program itself writes: ends of lines, which the terminal turns to \r\n, and colours.
OWN = re.compile(rb"\r\n|\x1b\[(?:0|7|3[1-6](?:;7)?)m")
NOT_PRINTABLE = re.compile(rb"[\x00-\x08\x0b-\x1f\x7f]|\xc2[\x80-\x9f]|\xe2\x80[\xa8-\xae]")
TIMEOUT = 60.0


def on_a_terminal(*words: str | Path) -> bytes:
    """Run ``pykexec`` or another program of the package on a pty; returns all it has written."""
    main, slave = pty.openpty()
    with subprocess.Popen(
        [sys.executable, "-m", *map(str, words)],
        stdin=subprocess.DEVNULL,
        stdout=slave,
        stderr=slave,
        env={**os.environ, "TERM": "xterm", "LC_ALL": "C.UTF-8"},
    ) as process:
        os.close(slave)
        written, end = b"", time.monotonic() + TIMEOUT
        while time.monotonic() < end:
            if not select.select([main], [], [], 1)[0]:
                continue
            try:
                piece = os.read(main, 1 << 16)
            except OSError:  # EIO: nobody has the other side any more
                break
            if not piece:
                break
            written += piece
        process.kill()
    os.close(main)
    return written


def verb(*words: str | Path) -> bytes:
    return on_a_terminal("pykexec.cli.main", *words)


def kernel(place: Path) -> Path:
    path = place / f"vmlinuz{EVIL_NAME}"
    path.write_bytes(
        build_bzimage(KernelSpec(release=f"6.12{EVIL_NAME} (me@host) #1", payload_size=64 << 10))
    )
    return path


def machine(place: Path) -> Path:
    """Build a machine with escape codes wherever one may have text."""
    built = MachineDirectory(
        build_machine(place / f"box{EVIL_NAME}", cmdline=f"ro a={EVIL}".encode())
    )
    iomem = (built.path / "proc/iomem").read_text()
    built.write("proc/iomem", (iomem + f"fe000000-fe0fffff : dev{EVIL}\n").encode())
    built.write("sys/class/dmi/id/sys_vendor", EVIL.encode())
    built.write("sys/kernel/security/lockdown", f"none [{EVIL}]".encode())
    built.write("proc/mounts", f"/dev/sda{EVIL} / ext4{EVIL} rw 0 0\n".encode())
    description = {"arch": "x86_64", "kernel_release": f"6.12{EVIL_NAME}", "left_out": [EVIL_NAME]}
    built.write("machine.json", json.dumps(description).encode())
    return built.path


def entries(place: Path) -> Path:
    boot = place / "root/boot"
    (boot / "loader/entries").mkdir(parents=True)
    (boot / "EFI/Linux").mkdir(parents=True)
    (boot / f"EFI/Linux/x{EVIL_NAME}.efi").write_bytes(b"no UKI")
    (boot / "vmlinuz-1").write_bytes(build_bzimage())
    (boot / f"loader/entries/a{EVIL_NAME}.conf").write_text(
        f"title T{EVIL}\nversion 1{EVIL}\nlinux /vmlinuz-1\noptions a={EVIL}\n"
    )
    (boot / "grub").mkdir()
    (boot / "grub/grub.cfg").write_text(
        f"menuentry 'G{EVIL}' {{ linux /vmlinuz-1{EVIL} a={EVIL} }}\n"
        f"set default='{EVIL}'\n}} {EVIL}"
    )
    return place / "root"


def log(place: Path) -> Path:
    path = place / f"log{EVIL_NAME}"
    path.write_text(json.dumps({"schema": EVIL_NAME}))
    return path


RUNS: dict[str, Callable[[Path], bytes]] = {
    "inspect": lambda place: verb("inspect", kernel(place)),
    "inspect of nothing": lambda place: verb("inspect", place / f"none{EVIL_NAME}"),
    "plan": lambda place: verb(
        "plan", kernel(place), "--machine", machine(place), "--call", "segments", "--reuse-cmdline"
    ),
    "plan with words": lambda place: verb(
        "plan", kernel(place), "--machine", machine(place), "--append", f"a={EVIL_NAME}"
    ),
    "plan --diff": lambda place: verb(
        "plan", kernel(place), "--machine", machine(place), "--diff", log(place)
    ),
    "doctor": lambda place: verb("doctor", "--machine", machine(place)),
    "status": lambda place: verb("status", "--machine", machine(place)),
    "crash status": lambda place: verb("crash", "status", "--machine", machine(place)),
    "crash estimate": lambda place: verb(
        "crash", "estimate", "--machine", machine(place), kernel(place)
    ),
    "machine show": lambda place: verb("machine", "show", machine(place), "--files"),
    "machine show of nothing": lambda place: verb("machine", "show", place / f"none{EVIL_NAME}"),
    "machine record": lambda place: verb(
        "machine", "record", "--redact", "--machine", machine(place), place / "x.tar"
    ),
    "entries": lambda place: verb("entries", "--root", entries(place)),
    "entry of no name": lambda place: verb(
        "plan", "--entry", f"no{EVIL_NAME}", "--root", entries(place), "--machine", machine(place)
    ),
    "simulate": lambda place: verb("simulate", kernel(place), "--machine", machine(place)),
    "an option": lambda place: verb(f"--x{EVIL_NAME}"),
    "an operand": lambda place: verb("inspect", "a", f"b{EVIL_NAME}"),
    "kexec": lambda place: on_a_terminal("pykexec.cli.kexec_compat", "--dry-run", kernel(place)),
    "kexec of an option": lambda _: on_a_terminal("pykexec.cli.kexec_compat", f"--x{EVIL_NAME}"),
    "vmcore-dmesg": lambda place: on_a_terminal("pykexec.cli.vmcore_dmesg", kernel(place)),
}


@pytest.mark.parametrize("name", RUNS)
def test_nothing_reaches_the_terminal(name: str, tmp_path: Path) -> None:
    written = RUNS[name](tmp_path)
    assert len(written) > 10
    assert b"Traceback" not in written
    assert NOT_PRINTABLE.search(OWN.sub(b"", written)) is None, written
    assert b"\nFORGED" not in written


@pytest.mark.parametrize("name", ["inspect", "machine show", "entries", "an option"])
def test_what_was_there_is_told(name: str, tmp_path: Path) -> None:
    assert NOT_PRINTABLE.search(EVIL.encode())
    assert rb"\x1b]0;owned\x07" in RUNS[name](tmp_path)
