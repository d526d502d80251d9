"""A unified kernel image on x86_64: started by both calls, with all that it brings."""

from __future__ import annotations

from io import BytesIO

import pytest

from tests.vm.conftest import Vm
from tests.vm.cpio import CpioWriter
from tests.vm.loads import LOADED
from tests.vm.scenario import boot_path
from tests.vm.test_x86_64_boot import (
    ARRIVED,
    DESCRIBE,
    NONCE,
    assert_same_machine,
    next_cmdline,
    release_of,
)
from tests.vm.uki import objcopy_command, objcopy_files

# Built in the guest, where the initrd of the next kernel is.
SECTIONS = {
    ".osrel": "/scenario/os-release",
    ".cmdline": "/scenario/cmdline",
    ".ucode": "/scenario/ucode",
    ".linux": boot_path("6.12"),
    ".initrd": "/boot/initrd-small",
}
# Archives in front of the initrd are unpacked as well.
TAKE_UCODE = 'echo "ucode $(cat /kernel/x86/microcode/GenuineIntel.bin)"\n'
PACK = """
import lzma
uki = open("/tmp/uki.efi", "rb").read()
open("/tmp/uki.efi.xz", "wb").write(lzma.compress(uki, preset=0))
"""


def jump_by(options: str, file: str) -> str:
    """Return a phase that builds a UKI, loads ``file`` without any word about it, and jumps."""
    return (
        f"{objcopy_command(SECTIONS, '/tmp/uki.efi')}\n"
        f"/usr/bin/python3 /scenario/pack.py\n"
        f"kexec {options} -l {file} -d 2>/tmp/said\n"
        f"sed 's/^/said /' /tmp/said\n{LOADED}kexec -e\n"
    )


@pytest.mark.parametrize(
    ("options", "file", "notes"),
    [
        pytest.param(
            *("-c", "/tmp/uki.efi.xz", "the kernel is taken out of UKI, in xz"),
            marks=pytest.mark.full,
        ),
        ("-s", "/tmp/uki.efi", "the kernel is taken out of UKI"),
    ],
)
def test_jump_into_a_uki(vm: Vm, options: str, file: str, notes: str) -> None:
    ucode = BytesIO()
    archive = CpioWriter(ucode)
    archive.file("kernel/x86/microcode/GenuineIntel.bin", "no microcode")
    archive.close()
    result = vm(
        [DESCRIBE + jump_by(options, file), ARRIVED + TAKE_UCODE],
        files={
            "/scenario/ucode": ucode.getvalue(),
            NONCE: "by-uki",
            "/scenario/pack.py": PACK,
            "/scenario/cmdline": next_cmdline(),
            "/scenario/os-release": 'PRETTY_NAME="Debian"\n',
            **objcopy_files(),
        },
    )

    arrived = result.phases[2]
    assert arrived.release == release_of("6.12")
    assert arrived.cmdline == next_cmdline()
    assert "nonce by-uki" in arrived.lines
    assert "ucode no microcode" in arrived.lines
    assert_same_machine(result, 1, 2)
    said = [line.removeprefix("said").strip() for line in result.phases[1].lines]
    assert notes in said
    assert "the initrd is the UKI's" in said
    assert "the command line is the UKI's" in said
