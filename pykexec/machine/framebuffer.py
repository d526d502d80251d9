"""The active linear framebuffer as ``struct screen_info`` (x86).

Only /dev/fb0 of the live machine says whether firmware's framebuffer is still in use.
Layouts: Linux include/uapi/linux/screen_info.h and include/uapi/linux/fb.h.
"""

from __future__ import annotations

import fcntl
import os
import struct
from dataclasses import dataclass
from enum import IntEnum

from pykexec.machine.description import FRAMEBUFFER, SCREEN_INFO_SIZE
from pykexec.units import align_up

_FBIOGET_VSCREENINFO = 0x4600
_FBIOGET_FSCREENINFO = 0x4602
# struct fb_fix_screeninfo in this process's own layout: "L" is the kernel's unsigned long,
# and "0L" pads the end to its alignment. Used: id, smem_start, smem_len, line_length.
_FIX = struct.Struct("@16sLIIIIHHHILIIHHH0L")
# struct fb_var_screeninfo: forty 32-bit numbers.
_VAR = struct.Struct("@40I")

_VLFB_UNIT = 1 << 16
_PALETTE_DEPTH = 8
_VIDEO_CAPABILITY_64BIT_BASE = 1 << 1


class VideoType(IntEnum):
    """``orig_video_isVGA`` of a linear framebuffer: Linux include/uapi/linux/screen_info.h."""

    VIDEO_TYPE_VLFB = 0x23
    VIDEO_TYPE_EFI = 0x70


_TYPES = {"VESA VGA": VideoType.VIDEO_TYPE_VLFB, "EFI VGA": VideoType.VIDEO_TYPE_EFI}


@dataclass(frozen=True, slots=True)
class FixedInfo:
    """What is used of ``struct fb_fix_screeninfo``."""

    id: str
    smem_start: int
    """Physical address."""
    smem_len: int
    """Bytes."""
    line_length: int
    """Bytes."""


@dataclass(frozen=True, slots=True)
class VariableInfo:
    """What is used of ``struct fb_var_screeninfo``; a colour is (offset, length) in bits."""

    xres: int
    yres: int
    bits_per_pixel: int
    red: tuple[int, int]
    green: tuple[int, int]
    blue: tuple[int, int]
    transp: tuple[int, int]


def parse_fixed_info(data: bytes) -> FixedInfo:
    """Parse ``struct fb_fix_screeninfo`` as this machine's kernel lays it out."""
    fields = _FIX.unpack(data)
    name = fields[0].split(b"\0")[0].decode("ascii", "replace")
    return FixedInfo(name, smem_start=fields[1], smem_len=fields[2], line_length=fields[9])


def parse_variable_info(data: bytes) -> VariableInfo:
    """Parse ``struct fb_var_screeninfo``."""
    fields = _VAR.unpack(data)
    # From the eighth number on: four colours of offset, length, msb_right.
    red, green, blue, transp = ((fields[at], fields[at + 1]) for at in range(8, 20, 3))
    return VariableInfo(fields[0], fields[1], fields[6], red, green, blue, transp)


def build_screen_info(fix: FixedInfo, var: VariableInfo) -> bytes | None:
    """Build the 64 bytes of ``struct screen_info`` for a framebuffer of the firmware.

    None when another driver runs the display: it has reprogrammed the hardware, and the
    next kernel could not draw there without that driver. None too when the numbers do not
    fit the structure.
    """
    video_type = _TYPES.get(fix.id)
    if video_type is None:
        return None
    # The unit differs: Linux drivers/firmware/sysfb_simplefb.c, "sysfb_create_simplefb".
    size = fix.smem_len
    if video_type is VideoType.VIDEO_TYPE_VLFB:
        size = align_up(size, _VLFB_UNIT) // _VLFB_UNIT
    screen_info = bytearray(SCREEN_INFO_SIZE)
    colours = (var.red, var.green, var.blue, var.transp)
    try:
        struct.pack_into("<B", screen_info, 0x0F, video_type)
        struct.pack_into("<3H", screen_info, 0x12, var.xres, var.yres, var.bits_per_pixel)
        struct.pack_into("<2I", screen_info, 0x18, fix.smem_start & 0xFFFFFFFF, size)
        struct.pack_into("<H", screen_info, 0x24, fix.line_length)
        if var.bits_per_pixel > _PALETTE_DEPTH:
            pairs = (number for offset, length in colours for number in (length, offset))
            struct.pack_into("<8B", screen_info, 0x26, *pairs)
        struct.pack_into("<H", screen_info, 0x32, 1)
        if fix.smem_start >> 32:
            base = (_VIDEO_CAPABILITY_64BIT_BASE, fix.smem_start >> 32)
            struct.pack_into("<2I", screen_info, 0x36, *base)
    except struct.error:
        return None
    return bytes(screen_info)


def read_framebuffer(device: str = FRAMEBUFFER) -> bytes | None:
    """Ask /dev/fb0 of the live machine; None without a firmware framebuffer there."""
    try:
        fd = os.open(device, os.O_RDONLY | os.O_CLOEXEC)
    except OSError:
        return None
    try:
        fix = fcntl.ioctl(fd, _FBIOGET_FSCREENINFO, bytes(_FIX.size))
        var = fcntl.ioctl(fd, _FBIOGET_VSCREENINFO, bytes(_VAR.size))
    except OSError:
        return None
    finally:
        os.close(fd)
    return build_screen_info(parse_fixed_info(fix), parse_variable_info(var))
