"""A unified kernel image as people make one: Debian's EFI stub, and sections by objcopy."""

from __future__ import annotations

import shlex
from collections.abc import Mapping
from pathlib import Path

from tests.vm.debian import Suite
from tests.vm.initramfs import SUITE
from tests.vm.scenario import Files

STUB = "/usr/lib/systemd/boot/efi/linuxx64.efi.stub"
OBJCOPY = "/usr/bin/x86_64-linux-gnu-objcopy"
LIBRARIES = (
    ("libbinutils", "libbfd-*.so"),
    ("libbinutils", "libsframe.so.0"),
    ("libzstd1", "libzstd.so.1"),
)
"""What objcopy is linked against, besides what every guest has."""

_VMA = {
    ".osrel": 0x20000,
    ".cmdline": 0x30000,
    ".ucode": 0x40000,
    ".linux": 0x2000000,
    ".initrd": 0x3000000,
}
"""Where systemd-stub(7) of Debian 12 puts each section, in its "objcopy" example; that has no
``.ucode``."""


def stub() -> Path:
    """Return the EFI stub of Debian's systemd."""
    return Suite(SUITE).package("systemd-boot-efi").root / STUB[1:]


def objcopy_files() -> Files:
    """Return what a guest needs to run :func:`objcopy_words`."""
    objcopy = Suite(SUITE).package("binutils-x86-64-linux-gnu").root / OBJCOPY[1:]
    files = {STUB: stub(), OBJCOPY: objcopy}
    for package, pattern in LIBRARIES:
        (path,) = Suite(SUITE).package(package).root.glob(f"usr/lib/*/{pattern}")
        files[f"/usr/lib/x86_64-linux-gnu/{path.name}"] = path
    return files


def objcopy_words(
    sections: Mapping[str, str | Path], uki: str | Path, *, stub: str | Path = STUB
) -> list[str]:
    """Return the command that puts files into a copy of ``stub``, each as the section named."""
    words = [Path(OBJCOPY).name]
    for name, path in sections.items():
        words += ["--add-section", f"{name}={path}"]
        words += ["--change-section-vma", f"{name}={_VMA[name]:#x}"]
    return [*words, str(stub), str(uki)]


def objcopy_command(sections: Mapping[str, str], uki: str) -> str:
    """Return the command for a guest's shell."""
    return shlex.join(objcopy_words(sections, uki))
