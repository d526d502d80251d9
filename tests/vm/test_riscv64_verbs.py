"""What pykexec says about a riscv64 machine, on the machine itself, and a board's boot entry."""

from __future__ import annotations

import pytest

from tests.vm import debian
from tests.vm.conftest import Vm
from tests.vm.loads import LOADED
from tests.vm.platforms import RISCV64
from tests.vm.qemu import riscv64_machine
from tests.vm.scenario import boot_path
from tests.vm.verbs import LOOK, assert_nothing_blocks, board_files

pytestmark = pytest.mark.full

KERNEL = boot_path("6.12")
CMDLINE = f"{RISCV64.console} vmtest.phase=2"


def test_doctor_estimate_and_entries(vm: Vm) -> None:
    result = vm(
        [f"{LOOK}kexec -c -l --entry default\n{LOADED}kexec -e\n", "uname -r\n"],
        machine=riscv64_machine(memory="1G", cpus=2),
        append="crashkernel=256M",
        files=board_files(KERNEL, CMDLINE),
        timeout=300,
    )

    assert_nothing_blocks(result, KERNEL, CMDLINE)
    assert result.phases[2].cmdline == CMDLINE
    assert result.phases[2].lines == [debian.kernel("6.12", arch=RISCV64.debian).release]
