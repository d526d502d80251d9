"""Bare POWER machines: QEMU's powernv board, with skiboot (OPAL) instead of a hypervisor."""

from __future__ import annotations

import secrets
from pathlib import Path

import pytest

from tests.vm import kdump
from tests.vm.conftest import Vm
from tests.vm.crashes import (
    ANYWHERE,
    assert_debugger_reads,
    assert_log_ends_in_the_panic,
    assert_pages,
    crash,
    hold_pages,
    load,
)
from tests.vm.loads import LOADED, printed
from tests.vm.platforms import PPC64LE
from tests.vm.qemu import POWERNV_BOARD, ppc64le_machine
from tests.vm.scenario import boot_path
from tests.vm.test_ppc64le_boot import ARRIVED, DESCRIBE, NONCE, assert_arrived, next_cmdline

pytestmark = pytest.mark.full

MACHINE = ppc64le_machine(memory="4G", cpus=2, board=POWERNV_BOARD)


def test_jump_and_jump_again(vm: Vm) -> None:
    """The processors go back to OPAL, which the next kernel gets them from."""
    nonce = secrets.token_hex(16)

    def jump(phase: int) -> str:
        return (
            f"repack-initrd -k -p {phase} /tmp/initrd\n"
            f"kexec -c -l {boot_path('6.12')} --initrd=/tmp/initrd --append='{next_cmdline()}'\n"
            f"rm /tmp/initrd\n{LOADED}kexec -e\n"
        )

    opal = 'echo "opal $(ls /sys/firmware/opal | wc -l)"\n'
    result = vm(
        [DESCRIBE + opal + jump(2), ARRIVED + opal + jump(3), ARRIVED + opal],
        kernel="6.12",
        machine=MACHINE,
        files={NONCE: nonce},
        timeout=400,
    )

    for phase in (2, 3):
        assert_arrived(result, phase, "6.12", next_cmdline())
        assert printed(result, phase, "nonce") == nonce
        assert printed(result, phase, "processors") == "2"
        assert printed(result, phase, "opal") == printed(result, 1, "opal") != "0"


def test_core_is_whole(vm: Vm, work: Path) -> None:
    found = crash(
        vm,
        work,
        hold_pages(ANYWHERE) + load("6.12", "kexec -c", platform=PPC64LE),
        series="6.12",
        machine=MACHINE,
        append="crashkernel=512M",
        timeout=500,
    )

    assert kdump.notes(found.core).count("NT_PRSTATUS") == MACHINE.cpus
    assert_pages(found.core, found)
    assert_debugger_reads(found.core, found, "PPC64")
    assert_log_ends_in_the_panic(found.core)
