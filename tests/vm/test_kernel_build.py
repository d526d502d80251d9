"""The arm64 kernel that is built here has what it is built for."""

from __future__ import annotations

import gzip

import pytest

from tests.vm import initramfs
from tests.vm.conftest import Vm, unavailable
from tests.vm.kernel_build import BUILT, CONFIG, KernelBuildError, build_missing, check_config
from tests.vm.platforms import AARCH64
from tests.vm.qemu import aarch64_machine
from tests.vm.scenario import boot_path

IMA = "/sys/kernel/security/ima"
PROMISED = (
    "CONFIG_KEXEC",
    "CONFIG_KEXEC_FILE",
    "CONFIG_CRASH_DUMP",
    "CONFIG_IMA_KEXEC",
    "CONFIG_EFI_ZBOOT",
    "CONFIG_RANDOMIZE_BASE",
)


@pytest.fixture
def builder() -> None:
    """Skip, or fail, where the kernel cannot be built."""
    missing = build_missing()
    if missing:
        unavailable(missing)


def test_an_option_that_is_lost_stops_the_build() -> None:
    check_config("# a comment\nCONFIG_A=y\n", "CONFIG_A=y\n# CONFIG_B is not set\n")
    with pytest.raises(KernelBuildError, match="cannot be had: CONFIG_B=y"):
        check_config("CONFIG_A=y\nCONFIG_B=y\n", "CONFIG_A=y\n# CONFIG_B is not set\n")


@pytest.mark.full
@pytest.mark.usefixtures("builder")
def test_built_kernel_loads_by_file_and_carries_the_measurements(vm: Vm) -> None:
    """Of the kernel: it has both calls, and restores what its own loader handed on."""
    count = f'echo "measured $(grep -c boot_aggregate {IMA}/ascii_runtime_measurements)"\n'
    result = vm(
        [
            "send-file config.gz /proc/config.gz\n"
            + count
            + f"kexec-c -s -l {boot_path(BUILT)} --initrd=/boot/initrd-small "
            f"--append='{AARCH64.console} vmtest.phase=2'\nkexec-c -e\n",
            count,
        ],
        kernel=BUILT,
        machine=aarch64_machine(cpus=2),
        append="ima_policy=tcb",
        files=initramfs.c_kexec_files(AARCH64),
    )

    found = gzip.decompress(result.files["config.gz"]).decode()
    check_config(CONFIG.read_text(), found)
    assert {f"{option}=y" for option in PROMISED} <= set(found.splitlines())
    assert "measured 1" in result.phases[1].lines
    # Each kernel begins its own list with one; the first kernel's is in front of it.
    assert result.phases[2].lines == ["measured 2"]


@pytest.mark.full
@pytest.mark.usefixtures("builder")
def test_packed_kernel_is_started_by_the_firmware(vm: Vm) -> None:
    result = vm(["uname -r\n"], kernel=BUILT, flavour="zboot", machine=aarch64_machine(efi=True))

    assert result.phases[1].lines == [result.phases[1].release]
    assert "kexec-test" in result.phases[1].release
