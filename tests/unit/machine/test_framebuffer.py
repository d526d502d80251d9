"""/proc/fb: who drives the display."""

from __future__ import annotations

from pathlib import Path

import pytest

from pykexec.machine.files import MachineFiles
from pykexec.machine.x86.framebuffer import read_framebuffer_driver
from tests.builders.machines import MachineDirectory


@pytest.mark.parametrize(
    ("text", "name"),
    [
        ("0 EFI VGA\n", "EFI VGA"),
        ("0 simpledrmdrmfb\n1 other\n", "simpledrmdrmfb"),
        ("", None),
        ("0\n", None),
    ],
)
def test_the_first_framebuffer_is_named(tmp_path: Path, text: str, name: str | None) -> None:
    MachineDirectory(tmp_path).write("proc/fb", text)
    assert read_framebuffer_driver(MachineFiles(tmp_path)) == name


def test_a_machine_without_framebuffers(tmp_path: Path) -> None:
    assert read_framebuffer_driver(MachineFiles(tmp_path)) is None
