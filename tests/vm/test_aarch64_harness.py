"""The arm64 guests themselves: they start, jump with the C tool, and say what they are.

pykexec's own loads have tests of their own, of which `make test` runs the most telling. When
those fail, these tell whether what carries them is sound.
"""

from __future__ import annotations

import pytest

from tests.vm import initramfs
from tests.vm.conftest import Vm
from tests.vm.platforms import AARCH64
from tests.vm.qemu import Machine, aarch64_machine
from tests.vm.scenario import Result, boot_path

pytestmark = pytest.mark.full

JUMP = "kexec-c -e\n"
FACTS = """
echo "cpus $(nproc)"
dmesg | sed -n 's/.*CPU: All CPU(s) started at /level /p; s/.*CPU features: detected: /has /p'
[ ! -d /sys/firmware/efi ] || echo efi
[ ! -d /sys/firmware/acpi ] || echo acpi
[ ! -d /proc/device-tree/memory@40000000 ] || echo tree
"""


def load(series: str) -> str:
    """Return the part of a phase that loads a kernel of Debian's with the C tool."""
    return (
        f"kexec-c -c -l {boot_path(series)} --initrd=/boot/initrd-small "
        f"--append='{AARCH64.console} vmtest.phase=2'\n"
    )


def jump(vm: Vm, series: str, machine: Machine, script: str = "") -> Result:
    """Jump into the same kernel; both kernels print FACTS."""
    return vm(
        [FACTS + script + load(series) + JUMP, FACTS],
        kernel=series,
        machine=machine,
        files=initramfs.c_kexec_files(AARCH64),
    )


def facts(result: Result, phase: int) -> set[str]:
    """Return what a kernel said of itself."""
    return set(result.phases[phase].lines)


def test_python_runs_and_a_device_tree_guest_jumps(vm: Vm) -> None:
    result = jump(vm, "6.12", aarch64_machine(cpus=4), "pykexec --version\n")

    assert any(line.startswith("pykexec, version") for line in result.phases[1].lines)
    for phase in (1, 2):
        assert {"cpus 4", "level EL1", "tree"} <= facts(result, phase)
        assert facts(result, phase).isdisjoint({"efi", "acpi"})
    assert "KASLR enabled" in result.serial
    assert "GICv3" in result.serial


def test_efi_guest_with_acpi_jumps(vm: Vm) -> None:
    result = jump(vm, "6.12", aarch64_machine(efi=True))

    for phase in (1, 2):
        assert {"efi", "acpi"} <= facts(result, phase)
        assert "tree" not in facts(result, phase)


@pytest.mark.parametrize("series", ["6.1", "7.2"])
@pytest.mark.parametrize("efi", [False, True], ids=["tree", "efi"])
def test_other_kernels_jump(vm: Vm, series: str, efi: bool) -> None:
    result = jump(vm, series, aarch64_machine(efi=efi))

    assert "level EL1" in facts(result, 2)
    assert ("efi" in facts(result, 2)) == efi


@pytest.mark.parametrize("cpu", ["cortex-a72", "max,lpa2=off,pauth-impdef=on"])
def test_guest_that_starts_at_el2_jumps(vm: Vm, cpu: str) -> None:
    """The one processor leaves EL2 to a stub, the other (with VHE) runs the kernel there."""
    result = jump(vm, "6.12", aarch64_machine(board="virt,virtualization=on,its=off", cpu=cpu))

    for phase in (1, 2):
        assert "level EL2" in facts(result, phase)
