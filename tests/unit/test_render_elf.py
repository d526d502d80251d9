"""What ``pykexec inspect`` says of ELF kernels."""

from __future__ import annotations

from pykexec.formats import identify
from pykexec.render.image import image_text, image_value
from tests.builders.elf import build_elf, build_x86_vmlinux


def test_a_vmlinux_in_words() -> None:
    text = image_text(identify(build_x86_vmlinux()))
    assert text.splitlines()[:3] == [
        "format:            ELF64 vmlinux for x86",
        "release:           6.99.0-synthetic",
        "entry point:       0x1000c43, 64 bits",
    ]
    assert "segment:           0x1200000-0x123ffff, 256 KiB" in text


def test_another_program_in_json() -> None:
    value = image_value(identify(build_elf()))
    assert (value["format"], value["linux"], value["entry"]) == ("ELF64", False, "0x200010")
    assert value["segments"] == [{"mem": "0x200000", "memsz": 0x2800, "filesz": 0x2800}]
