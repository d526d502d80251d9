"""What names one machine in files that only x86 machines have."""

from __future__ import annotations

import posixpath
import re

from pykexec.machine.x86 import boot_params, edd

# Linux Documentation/arch/x86/zero-page.rst: edid_info and edd_mbr_sig_buffer.
_EDID = slice(0x140, 0x1C0)
_MBR_SIGNATURES = slice(0x290, 0x2D0)
# VESA Enhanced EDID Standard, 3.4 and 3.10.3: the serial number, and the descriptor of one.
_EDID_SERIAL = slice(12, 16)
_EDID_DESCRIPTORS = range(54, 126, 18)
_EDID_SERIAL_TAG = b"\0\0\0\xff"


def masked(name: str, data: bytes) -> bytes | None:
    """See :class:`~pykexec.machine.rooms.MachineRoom`."""
    if name.startswith(edd.DIRECTORY) and posixpath.basename(name) == "mbr_signature":
        return re.sub(rb"(?<=0x)[0-9a-f]+", lambda found: b"0" * len(found[0]), data)
    if name.endswith("boot_params/data") and len(data) == boot_params.SIZE:
        return _masked_boot_params(data)
    return None


def _masked_boot_params(data: bytes) -> bytes:
    edid = bytearray(data[_EDID])
    edid[_EDID_SERIAL] = bytes(4)
    for at in _EDID_DESCRIPTORS:
        if edid[at : at + 4] == _EDID_SERIAL_TAG:
            edid[at + 5 : at + 18] = bytes(13)
    changed = bytearray(data)
    changed[_EDID] = edid
    changed[_MBR_SIGNATURES] = bytes(_MBR_SIGNATURES.stop - _MBR_SIGNATURES.start)
    return bytes(changed)
