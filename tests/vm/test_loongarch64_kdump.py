"""Crashed loongarch64 kernels: what leaves the capture kernel, and who can read it."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.vm import kdump
from tests.vm.conftest import Vm
from tests.vm.crashes import (
    ANYWHERE,
    assert_log_ends_in_the_panic,
    assert_pages,
    assert_ranges,
    crash,
    hold_pages,
    load,
)
from tests.vm.platforms import LOONGARCH64
from tests.vm.qemu import loongarch64_machine
from tests.vm.scenario import boot_path

pytestmark = pytest.mark.full

LATER = f"kexec -c -l {boot_path('7.2')} --append=vmtest.phase=9\n"
"""Takes the place of the command line that the running kernel keeps, of which it has one."""


def test_core_is_whole(vm: Vm, work: Path) -> None:
    """A normal load behind the crash load does not change the capture kernel's command line."""
    found = crash(
        vm,
        work,
        hold_pages(ANYWHERE) + load("7.2", "kexec -c", platform=LOONGARCH64) + LATER,
        series="7.2",
        machine=loongarch64_machine(memory="2G", cpus=2),
        append="crashkernel=512M",
        timeout=400,
    )

    assert_ranges(found.core, found.iomem)
    assert kdump.notes(found.core).count("NT_PRSTATUS") == 2
    assert_pages(found.core, found)
    assert_log_ends_in_the_panic(found.core)
