"""What pykexec says about a machine of 32-bit ARM, on the machine itself, up to a crash on purpose.

The processor is the newest that QEMU has of 32 bits.
"""

from __future__ import annotations

import re

import pytest

from tests.vm import debian
from tests.vm.conftest import Vm
from tests.vm.crashes import CAPTURE_CMDLINES, PANIC
from tests.vm.loads import LOADED
from tests.vm.platforms import ARM
from tests.vm.qemu import arm_machine
from tests.vm.scenario import boot_path
from tests.vm.tried import Tried
from tests.vm.verbs import LOOK, assert_nothing_blocks, board_files

pytestmark = pytest.mark.full

KERNEL = boot_path("6.12", "generic")
INITRD = "/boot/initrd-python"
CRASHKERNEL = "crashkernel=192M"
CMDLINE = f"{ARM.console} {CRASHKERNEL} vmtest.phase=2"
CAPTURE = CAPTURE_CMDLINES[ARM].replace("phase=2", "phase=3")
LOAD = f"{KERNEL} --initrd=/boot/initrd-small --append='{CAPTURE}'"
CRASH = f"""
try nothing pykexec crash status
try estimate pykexec crash estimate {LOAD}
try load pykexec crash load {LOAD} --serial=ttyAMA0
try loaded pykexec crash status
try asked pykexec crash test
pykexec crash test --yes
"""
TAKE = "head -c 5 /proc/vmcore | od -An -tx1\n"


def test_from_the_doctor_to_a_crash_on_purpose(vm: Vm) -> None:
    result = vm(
        [
            f"repack-initrd -k -p 2 {INITRD}\n{LOOK}"
            f"kexec -c -l --entry default --serial=ttyAMA0\n{LOADED}kexec -e\n",
            CRASH,
            TAKE,
        ],
        flavour="generic",
        machine=arm_machine(memory="1G", cpus=2, cpu="max"),
        append=CRASHKERNEL,
        files=board_files(KERNEL, CMDLINE, INITRD),
        timeout=400,
        meant_death=re.escape(PANIC),
    )

    found = assert_nothing_blocks(result, KERNEL, CMDLINE)
    assert found["estimate"]["said"]["fits"]
    release = debian.kernel("6.12", arch=ARM.debian).release
    assert (result.phases[2].cmdline, result.phases[2].release) == (CMDLINE, release)
    assert result.serial.count("\npykexec purgatory: caches on: SVC mode\n") == 2

    tried = Tried(result.phases[2].lines)
    codes = {
        name: tried.outcome(name) for name in ("nothing", "estimate", "load", "loaded", "asked")
    }
    assert codes == {
        "nothing": (1, "00"),
        "estimate": (0, "00"),
        "load": (0, "01"),
        "loaded": (0, "01"),
        "asked": (1, "01"),
    }
    # An ELF file of 32 bits: test_arm_kdump.py looks at what is in one.
    assert result.phases[3].lines == [" 7f 45 4c 46 01"]
