"""struct screen_info from what /dev/fb0 says."""

from __future__ import annotations

import struct
from dataclasses import replace
from pathlib import Path

import pytest

from pykexec.machine.framebuffer import (
    FixedInfo,
    VariableInfo,
    build_screen_info,
    parse_fixed_info,
    parse_variable_info,
    read_framebuffer,
)

FIX = FixedInfo("EFI VGA", smem_start=0xC0000000, smem_len=1024 * 768 * 4, line_length=4096)
VAR = VariableInfo(1024, 768, 32, red=(16, 8), green=(8, 8), blue=(0, 8), transp=(24, 8))


def build(fix: FixedInfo = FIX, var: VariableInfo = VAR) -> bytes:
    data = build_screen_info(fix, var)
    assert data is not None
    assert len(data) == 64
    return data


def test_every_field_of_an_efi_framebuffer() -> None:
    data = build()
    assert data[:0x0F] == bytes(0x0F)
    assert data[0x0F] == 0x70
    assert struct.unpack_from("<HHH", data, 0x12) == (1024, 768, 32)
    assert struct.unpack_from("<II", data, 0x18) == (0xC0000000, 1024 * 768 * 4)
    assert struct.unpack_from("<H", data, 0x24) == (4096,)
    # size, position of red, green, blue, reserved
    assert tuple(data[0x26:0x2E]) == (8, 16, 8, 8, 8, 0, 8, 24)
    assert struct.unpack_from("<H", data, 0x32) == (1,)
    assert data[0x36:] == bytes(10)


def test_vesa_counts_its_size_in_64_kib() -> None:
    data = build(replace(FIX, id="VESA VGA", smem_len=(3 << 16) + 1))
    assert data[0x0F] == 0x23
    assert struct.unpack_from("<I", data, 0x1C) == (4,)


def test_a_base_above_4_gib_uses_the_extension() -> None:
    data = build(replace(FIX, smem_start=0x4_0000_1000))
    assert struct.unpack_from("<I", data, 0x18) == (0x1000,)
    assert struct.unpack_from("<II", data, 0x36) == (1 << 1, 4)


def test_a_palette_has_no_colour_positions() -> None:
    assert build(var=replace(VAR, bits_per_pixel=8))[0x26:0x2E] == bytes(8)


@pytest.mark.parametrize("name", ["simpledrmdrmfb", "i915drmfb", "", "EFI VG"])
def test_another_driver_is_no_firmware_framebuffer(name: str) -> None:
    assert build_screen_info(replace(FIX, id=name), VAR) is None


@pytest.mark.parametrize("var", [replace(VAR, xres=1 << 16), replace(VAR, red=(256, 8))])
def test_numbers_that_do_not_fit(var: VariableInfo) -> None:
    assert build_screen_info(FIX, var) is None


@pytest.mark.skipif(struct.calcsize("@L") != 8, reason="the layout below is the 64-bit one")
def test_the_kernel_structures_are_parsed() -> None:
    fixed = bytearray(80)
    struct.pack_into("<16sQI", fixed, 0, b"EFI VGA", 0xC0000000, 1024 * 768 * 4)
    struct.pack_into("<I", fixed, 48, 4096)
    assert parse_fixed_info(bytes(fixed)) == FIX
    colours = (16, 8, 0, 8, 8, 0, 0, 8, 0, 24, 8, 0)
    variable = struct.pack("<40I", 1024, 768, 1024, 1536, 0, 9, 32, 0, *colours, *[7] * 20)
    assert parse_variable_info(variable) == VAR


def test_no_device(tmp_path: Path) -> None:
    assert read_framebuffer(str(tmp_path / "fb0")) is None


def test_a_device_that_is_no_framebuffer() -> None:
    assert read_framebuffer("/dev/null") is None
