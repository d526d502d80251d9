"""The arm64 kernel that is built here has what it is built for."""

from __future__ import annotations

import gzip

import pytest

from tests.vm.conftest import Vm
from tests.vm.kernel_build import BUILT, CONFIG, KernelBuildError, check_config
from tests.vm.qemu import aarch64_machine

PROMISED = (
    "CONFIG_KEXEC",
    "CONFIG_KEXEC_FILE",
    "CONFIG_CRASH_DUMP",
    "CONFIG_IMA_KEXEC",
    "CONFIG_EFI_ZBOOT",
    "CONFIG_RANDOMIZE_BASE",
)


def test_an_option_that_is_lost_stops_the_build() -> None:
    check_config("# a comment\nCONFIG_A=y\n", "CONFIG_A=y\n# CONFIG_B is not set\n")
    with pytest.raises(KernelBuildError, match="cannot be had: CONFIG_B=y"):
        check_config("CONFIG_A=y\nCONFIG_B=y\n", "CONFIG_A=y\n# CONFIG_B is not set\n")


@pytest.mark.full
def test_built_kernel_has_what_was_asked_for(vm: Vm) -> None:
    result = vm(
        ["send-file config.gz /proc/config.gz\n"], kernel=BUILT, machine=aarch64_machine(cpus=2)
    )

    found = gzip.decompress(result.files["config.gz"]).decode()
    check_config(CONFIG.read_text(), found)
    assert {f"{option}=y" for option in PROMISED} <= set(found.splitlines())


@pytest.mark.full
def test_packed_kernel_is_started_by_the_firmware(vm: Vm) -> None:
    result = vm(["uname -r\n"], kernel=BUILT, flavour="zboot", machine=aarch64_machine(efi=True))

    assert result.phases[1].lines == [result.phases[1].release]
    assert "kexec-test" in result.phases[1].release
