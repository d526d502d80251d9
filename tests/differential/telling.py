"""A recorded call in a few words, for tables."""

from __future__ import annotations

import re
import struct

from tests.differential.sandbox import CapturedCall

ARCH_MASK = 0xFFFF0000
FILE_UNLOAD, FILE_NO_INITRAMFS = 0x1, 0x4
ADDED = re.compile(r" ?\b(acpi_rsdp|elfcorehdr|memmap)=\S+")
"""What a loader adds to a capture kernel's command line."""


def told(call: CapturedCall, initrd: bytes) -> str:
    """Say a call: what it does, flags, the command line, and whether ``initrd`` goes with it.

    ``load``, ``file``, ``unload``, ``file-unload``; ``sync``, ``up`` or ``down`` (an
    interface), ``reboot``, ``shutdown``.
    """
    if call.call in ("sync", "reboot"):
        return call.call
    if call.call == "ifflags":
        return call.words[1]
    if call.call == "execv":
        assert call.words[1:] == ("shutdown", "-r", "now")
        return "shutdown"
    if call.call == "kexec_file_load":
        kind, flags, cmdline, given = _file_load(call, initrd)
    else:
        kind, flags, cmdline, given = _load(call, initrd)
    text = ADDED.sub("", cmdline.decode())
    parts = [kind, f"{flags:#x}" if flags else "", f"{text!r}" if text else ""]
    return " ".join(part for part in (*parts, "initrd" if given else "") if part)


def _file_load(call: CapturedCall, initrd: bytes) -> tuple[str, int, bytes, bool]:
    if call.flags & FILE_UNLOAD:
        return "file-unload", call.flags & ~FILE_UNLOAD, b"", False
    assert (call.initrd is None) == bool(call.flags & FILE_NO_INITRAMFS)
    given = call.initrd is not None and call.initrd.data == initrd
    return "file", call.flags & ~FILE_NO_INITRAMFS, call.cmdline.rstrip(b"\0"), given


def _load(call: CapturedCall, initrd: bytes) -> tuple[str, int, bytes, bool]:
    flags = call.flags & ~ARCH_MASK
    if not call.segments:
        return "unload", flags, b"", False
    given = any(segment.data == initrd for segment in call.segments)
    return "load", flags, cmdline_of(call), given


def cmdline_of(call: CapturedCall) -> bytes:
    """Return the command line that an x86 zero page tells of; b"" without one."""
    pages = [s.data for s in call.segments if s.data[0x202:0x206] == b"HdrS"]
    if not pages:
        return b""
    low, high = (struct.unpack_from("<I", pages[0], offset)[0] for offset in (0x228, 0xC8))
    address = low | high << 32
    segment = next(s for s in call.segments if s.mem <= address < s.mem + s.memsz)
    return segment.data[address - segment.mem :].split(b"\0")[0]
