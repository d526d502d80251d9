"""Has the kernel ask about system calls, hands the listener on, and becomes a program.

Called with a descriptor of a socket, the numbers of the calls as JSON, and the program's words.
Of ioctl only SIOCSIFFLAGS is asked about.
"""

from __future__ import annotations

import ctypes
import json
import os
import socket
import struct
import sys

# Linux include/uapi/linux/{prctl,seccomp,filter,bpf_common,audit}.h.
PR_SET_NO_NEW_PRIVS = 38
CALL_SECCOMP = 317
SET_MODE_FILTER = 1
NEW_LISTENER = 1 << 3
ALLOW, ASK, KILL = 0x7FFF0000, 0x7FC00000, 0x80000000
LOAD, EQUAL, RETURN = 0x20, 0x15, 0x06
ARCH_X86_64 = 0xC000003E
ARCH_I386 = 0x40000003
NUMBER, ARCH, SECOND_ARGUMENT = 0, 4, 24
SIOCSIFFLAGS = 0x8914


def statement(code: int, value: int, yes: int = 0, no: int = 0) -> bytes:
    """Return an instruction of classic BPF."""
    return struct.pack("=HBBI", code, yes, no, value)


def program(numbers: dict[str, int]) -> bytes:
    """Return a filter: nothing but the calls of 64 bits is known, and these are asked about."""
    words = [
        statement(LOAD, ARCH),
        statement(EQUAL, ARCH_X86_64, 1, 0),
        statement(RETURN, KILL),
        statement(LOAD, NUMBER),
        statement(EQUAL, numbers["ioctl"], 0, 4),
        statement(LOAD, SECOND_ARGUMENT),
        statement(EQUAL, SIOCSIFFLAGS, 1, 0),
        statement(RETURN, ALLOW),
        statement(RETURN, ASK),
    ]
    for name, number in numbers.items():
        if name != "ioctl":
            words += [statement(EQUAL, number, 0, 1), statement(RETURN, ASK)]
    return b"".join([*words, statement(RETURN, ALLOW)])


def main(descriptor: int, numbers: dict[str, int], words: list[str]) -> None:
    """Install the filter and execute ``words``."""
    libc = ctypes.CDLL(None, use_errno=True)
    code = program(numbers)
    filters = ctypes.create_string_buffer(code, len(code))
    described = struct.pack("=H6xQ", len(code) // 8, ctypes.addressof(filters))
    block = ctypes.create_string_buffer(described, len(described))
    if libc.prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0):
        sys.exit("no_new_privs could not be set")
    listener = libc.syscall(CALL_SECCOMP, SET_MODE_FILTER, NEW_LISTENER, block)
    if listener < 0:
        sys.exit(f"no filter: {os.strerror(ctypes.get_errno())}")
    socket.send_fds(socket.socket(fileno=descriptor), [b"x"], [listener])
    os.close(listener)
    os.execv(words[0], words)


if __name__ == "__main__":
    main(int(sys.argv[1]), json.loads(sys.argv[2]), sys.argv[3:])
