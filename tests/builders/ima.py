"""Builds IMA measurement lists, and kernels that carry their configuration.

Linux security/integrity/ima/ima_fs.c, "ima_measurements_show"; kernel/configs.c.
"""

from __future__ import annotations

import gzip
import struct
from collections.abc import Callable
from dataclasses import replace

from tests.builders.bzimage import SECTOR, KernelSpec, build_bzimage


def measurement(path: str, *, pcr: int = 10, template: bytes = b"ima-ng") -> bytes:
    """Return one entry of a list: what it says of ``path`` is no true digest."""
    digest = b"\x1a\0\0\0sha256:\0" + bytes(32)
    name = path.encode() + b"\0"
    data = struct.pack("<I", len(digest)) + digest + struct.pack("<I", len(name)) + name
    head = struct.pack("<I20sI", pcr, path.encode()[:20], len(template)) + template
    return head + struct.pack("<I", len(data)) + data


MEASUREMENTS = b"".join(measurement(path) for path in ("boot_aggregate", "/init", "/bin/sh"))


def mark_config(text: str) -> bytes:
    """Return a configuration as a kernel's read-only data have it."""
    return b"IKCFG_ST" + gzip.compress(text.encode(), mtime=0) + b"IKCFG_ED"


def kernel_with_config(text: str) -> bytes:
    """Return an uncompressed kernel; one part of it looks like a mark and is none."""
    return b"\x7fELF" + bytes(4000) + b"IKCFG_ST IKCFG_ED" + bytes(99) + mark_config(text) + b"\0"


def bzimage_around(
    kernel: bytes, spec: KernelSpec, pack: Callable[[bytes], bytes] = gzip.compress
) -> bytes:
    """Build a bzImage with ``kernel`` compressed inside, its size behind it as kernels have it."""
    packed = pack(kernel) + struct.pack("<I", len(kernel))
    data = bytearray(build_bzimage(replace(spec, payload_length=len(packed))))
    at = (spec.setup_sects + 1) * SECTOR + spec.payload_offset
    data[at : at + len(packed)] = packed
    return bytes(data)
