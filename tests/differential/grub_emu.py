"""GNU GRUB's own answers about scripts: Debian's grub-emu, locked in.

grub-emu is GRUB's command line as a program. Its ``boot`` command starts what ``linux`` has
loaded by kexec, on the machine that it runs on. So it runs only here, and only so: in a mount
and a network namespace of its own, behind a seccomp filter that refuses ``kexec_load(2)``,
``kexec_file_load(2)`` and ``reboot(2)`` to it and to whatever it starts, and with scripts
that have no such command. The filter is tried before anything else runs: see :func:`lock_in`.

    python -m tests.differential.grub_emu PROGRAM ARGUMENTS...

locks itself in and becomes PROGRAM.
"""

from __future__ import annotations

import ctypes
import errno
import os
import re
import struct
import subprocess
import sys
from pathlib import Path

from tests.vm.fetched import fetched

SUITE = "bookworm"
_FORBIDDEN_COMMANDS = re.compile(
    r"\b(?:linux|boot|initrd|multiboot|module|chainloader|reboot|halt|fwsetup|kexec)\w*"
)
_MARK = "-- script "

_CLONE_NEWNS, _CLONE_NEWUSER, _CLONE_NEWNET = 0x00020000, 0x10000000, 0x40000000
_PR_SET_NO_NEW_PRIVS, _PR_SET_SECCOMP, _SECCOMP_MODE_FILTER = 38, 22, 2
_LD_WORD, _JUMP_EQUAL, _JUMP_GREATER_EQUAL, _RETURN = 0x20, 0x15, 0x35, 0x06
_ALLOW, _ERRNO, _KILL = 0x7FFF0000, 0x00050000, 0x80000000
_AUDIT_ARCH_X86_64 = 0xC000003E
_X32 = 0x40000000
_REBOOT, _KEXEC_LOAD, _KEXEC_FILE_LOAD = 169, 246, 320
_ANSWER = errno.EXFULL
"""What the filter answers: no kernel answers that to these calls."""


def _filter() -> bytes:
    """Return the BPF program: the architecture is x86-64, and none of three calls passes."""
    program = [
        (_LD_WORD, 0, 0, 4),
        (_JUMP_EQUAL, 1, 0, _AUDIT_ARCH_X86_64),
        (_RETURN, 0, 0, _KILL),
        (_LD_WORD, 0, 0, 0),
        (_JUMP_GREATER_EQUAL, 3, 0, _X32),
        (_JUMP_EQUAL, 2, 0, _REBOOT),
        (_JUMP_EQUAL, 1, 0, _KEXEC_LOAD),
        (_JUMP_EQUAL, 0, 1, _KEXEC_FILE_LOAD),
        (_RETURN, 0, 0, _ERRNO | _ANSWER),
        (_RETURN, 0, 0, _ALLOW),
    ]
    return b"".join(struct.pack("=HBBI", *line) for line in program)


def lock_in() -> None:
    """Take this process into its own namespaces and behind the filter; raises OSError.

    The filter is proven: each forbidden call is made with arguments that any kernel refuses, and
    has to be refused by the filter's own error.
    """
    libc = ctypes.CDLL(None, use_errno=True)

    def call(name: str, *arguments: object) -> None:
        if getattr(libc, name)(*arguments) != 0:
            raise OSError(ctypes.get_errno(), f"{name}{arguments}")

    user = 0 if os.geteuid() == 0 else _CLONE_NEWUSER
    call("unshare", user | _CLONE_NEWNS | _CLONE_NEWNET)
    code = _filter()
    buffer = ctypes.create_string_buffer(code, len(code))
    # struct sock_fprog: a length, and the address at a multiple of eight.
    program = ctypes.create_string_buffer(
        struct.pack("@HxxxxxxP", len(code) // 8, ctypes.addressof(buffer))
    )
    call("prctl", _PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0)
    call("prctl", _PR_SET_SECCOMP, _SECCOMP_MODE_FILTER, program, 0, 0)
    bad = ctypes.c_ulong(0xFFFF_FFFF)
    for number, arguments in (
        (_REBOOT, (0, 0, 0, 0)),
        (_KEXEC_LOAD, (0, 0, 0, bad)),
        (_KEXEC_FILE_LOAD, (-1, -1, 0, 0, bad)),
    ):
        ctypes.set_errno(0)
        if libc.syscall(number, *arguments) != -1 or ctypes.get_errno() != _ANSWER:
            raise OSError(ctypes.get_errno(), f"the filter lets call {number} through")


def command() -> tuple[str, ...]:
    """Return grub-emu with its own libraries and loader, fetched; raises FetchError."""
    return fetched(SUITE, "grub-emu", "usr/bin/grub-emu")


def answers(scripts: list[str], directory: Path) -> list[list[str]]:
    """Return for each script the lines that ``echo`` prints when GRUB runs it.

    The scripts share nothing but functions: each runs in a context of its own. ``directory`` is
    GRUB's prefix, and where they are written. Raises RuntimeError where GRUB does not get through.
    """
    main = []
    for number, script in enumerate(scripts):
        if _FORBIDDEN_COMMANDS.search(script):
            raise ValueError(f"the script may start something: {script!r}")
        (directory / f"{number}.cfg").write_bytes(os.fsencode(script))
        main.append(f"echo\necho '{_MARK}{number}'\nconfigfile $prefix/{number}.cfg\n")
    (directory / "grub.cfg").write_text("".join(main) + f"echo\necho '{_MARK}end'\nexit\n")
    done = subprocess.run(
        [sys.executable, "-m", "tests.differential.grub_emu", *command(), "-d", str(directory)],
        env={"TERM": "dumb", "PYTHONPATH": ":".join(sys.path)},
        stdin=subprocess.DEVNULL,
        capture_output=True,
        timeout=60,
        check=False,
    )
    text = re.sub(r"\x1b\[[0-9;]*[A-Za-z]|\r", "", os.fsdecode(done.stdout))
    parts = re.split(rf"^{_MARK}(\w+)\n", text, flags=re.MULTILINE)[1:]
    found = dict(zip(parts[::2], parts[1::2], strict=True))
    if "end" not in found:
        raise RuntimeError(f"grub-emu stopped early: {text[-500:]!r} {done.stderr[-500:]!r}")
    return [_lines(found[str(number)]) for number in range(len(scripts))]


def _lines(text: str) -> list[str]:
    """Return the printed lines without GRUB's errors; the last is the empty one before a mark."""
    lines = text.removesuffix("\n").split("\n")
    return [line for line in lines if line and not line.startswith("error: ")]


def main() -> None:
    """Lock in, and become the program."""
    lock_in()
    os.execv(sys.argv[1], sys.argv[1:])


if __name__ == "__main__":
    main()
