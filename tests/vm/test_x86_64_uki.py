"""A unified kernel image on x86_64: started by both calls, with all that it brings."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.builders import pe_files
from tests.vm.conftest import Vm
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

# Built in the guest, where the initrd of the next kernel is.
BUILD = """
import lzma, sys
from pe_files import MACHINE_X86_64, build_pe

kernel, initrd, cmdline = sys.argv[1:]
uki = build_pe(
    MACHINE_X86_64,
    [
        (".text", b"the stub"),
        (".cmdline", cmdline.encode()),
        (".linux", open(kernel, "rb").read()),
        (".initrd", open(initrd, "rb").read()),
    ],
)
open("/tmp/uki.efi", "wb").write(uki)
open("/tmp/uki.efi.xz", "wb").write(lzma.compress(uki, preset=0))
"""


def jump_by(options: str, file: str) -> str:
    """Return a phase that builds a UKI, loads ``file`` without any word about it, and jumps."""
    return (
        f"/usr/bin/python3.11 /scenario/build.py {boot_path('6.12')} /boot/initrd-small "
        f"'{next_cmdline()}'\n"
        f"kexec {options} -l {file} -d 2>/tmp/said\n"
        f"sed 's/^/said /' /tmp/said\n{LOADED}kexec -e\n"
    )


@pytest.mark.parametrize(
    ("options", "file", "notes"),
    [
        ("-c", "/tmp/uki.efi.xz", "the kernel is taken out of UKI, in xz"),
        ("-s", "/tmp/uki.efi", "the kernel is taken out of UKI"),
    ],
)
def test_jump_into_a_uki(vm: Vm, options: str, file: str, notes: str) -> None:
    result = vm(
        [DESCRIBE + jump_by(options, file), ARRIVED],
        files={
            NONCE: "by-uki",
            "/scenario/build.py": BUILD,
            "/scenario/pe_files.py": Path(pe_files.__file__),
        },
    )

    arrived = result.phases[2]
    assert arrived.release == release_of("6.12")
    assert arrived.cmdline == next_cmdline()
    assert "nonce by-uki" in arrived.lines
    assert_same_machine(result, 1, 2)
    said = [line.removeprefix("said").strip() for line in result.phases[1].lines]
    assert notes in said
    assert "the initrd is the UKI's" in said
    assert "the command line is the UKI's" in said
