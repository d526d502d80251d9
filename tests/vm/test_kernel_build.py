"""The kernels that are built here have what they are built for."""

from __future__ import annotations

import gzip

import pytest

from tests.vm.conftest import Vm
from tests.vm.kernel_build import BUILT, RECIPES, KernelBuildError, check_config
from tests.vm.qemu import Machine, aarch64_machine, riscv64_machine

PROMISED = (
    "CONFIG_KEXEC",
    "CONFIG_KEXEC_FILE",
    "CONFIG_CRASH_DUMP",
    "CONFIG_IMA_KEXEC",
    "CONFIG_EFI_ZBOOT",
    "CONFIG_RANDOMIZE_BASE",
)
MACHINES = [
    pytest.param(aarch64_machine(cpus=2), id="arm64"),
    pytest.param(riscv64_machine(), id="riscv64"),
]
EFI_MACHINES = [
    pytest.param(aarch64_machine(efi=True), id="arm64"),
    pytest.param(riscv64_machine(efi=True), id="riscv64"),
]


def test_an_option_that_is_lost_stops_the_build() -> None:
    check_config("# a comment\nCONFIG_A=y\n", "CONFIG_A=y\n# CONFIG_B is not set\n")
    with pytest.raises(KernelBuildError, match="cannot be had: CONFIG_B=y"):
        check_config("CONFIG_A=y\nCONFIG_B=y\n", "CONFIG_A=y\n# CONFIG_B is not set\n")


@pytest.mark.full
@pytest.mark.parametrize("machine", MACHINES)
def test_built_kernel_has_what_was_asked_for(vm: Vm, machine: Machine) -> None:
    result = vm(["send-file config.gz /proc/config.gz\n"], kernel=BUILT, machine=machine)

    found = gzip.decompress(result.files["config.gz"]).decode()
    check_config(RECIPES[machine.arch].config.read_text(), found)
    assert {f"{option}=y" for option in PROMISED} <= set(found.splitlines())


@pytest.mark.full
@pytest.mark.parametrize("machine", EFI_MACHINES)
def test_packed_kernel_is_started_by_the_firmware(vm: Vm, machine: Machine) -> None:
    result = vm(["uname -r\n"], kernel=BUILT, flavour="zboot", machine=machine)

    assert result.phases[1].lines == [result.phases[1].release]
    assert "kexec-test" in result.phases[1].release
