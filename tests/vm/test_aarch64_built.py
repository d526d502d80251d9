"""Jumps that Debian's arm64 kernels cannot show: both calls, measurements, packed kernels."""

from __future__ import annotations

import pytest

from tests.vm import initramfs
from tests.vm.conftest import Vm
from tests.vm.kernel_build import BUILT
from tests.vm.loads import (
    LOADED,
    SHOW_CONTENT,
    assert_big_initrd_arrived,
    pack_big_initrd,
    printed,
)
from tests.vm.platforms import AARCH64
from tests.vm.qemu import Machine, aarch64_machine
from tests.vm.scenario import Result, boot_path
from tests.vm.test_x86_64_ima import MEASURE, MEASURED, SHOW, shown

pytestmark = pytest.mark.full

CMDLINE = f'{AARCH64.console} test.word="two words, äöü" vmtest.phase=2'
MEASUREMENTS = 'echo "measurements $(cat /sys/kernel/security/ima/runtime_measurements_count)"\n'
LATER = "/scenario/later"


def jump(loader: str, *, flavour: str = "cloud", initrd: str = "/boot/initrd-small") -> str:
    """Return the end of a phase: it loads the built kernel and jumps."""
    # The C tool wants to take down a network that a small kernel does not have.
    tool, *_ = loader.split()
    return (
        f"{loader} -l {boot_path(BUILT, flavour)} --initrd={initrd} --append='{CMDLINE}'\n"
        f"{LOADED}{tool} -x -e\n"
    )


def run(vm: Vm, phases: list[str], machine: Machine, *, flavour: str = "cloud") -> Result:
    """Run two phases on the built kernel, and see that the second has its command line."""
    result = vm(
        phases,
        kernel=BUILT,
        machine=machine,
        boot=[(BUILT, flavour)],
        files={MEASURED: "measured", LATER: "too late", **initramfs.c_kexec_files(AARCH64)},
        timeout=240,
    )
    assert result.phases[1].release == result.phases[2].release
    assert result.phases[1].release.endswith("-kexec-test")
    assert result.phases[2].cmdline == CMDLINE
    return result


@pytest.mark.parametrize(
    ("loader", "reason"),
    [
        pytest.param("kexec -d -c", "kexec_load: it was asked for", id="segments"),
        pytest.param("kexec -d -s", "kexec_file_load: it was asked for", id="file"),
        pytest.param("kexec -d -a", "kexec_file_load: nothing asked for needs", id="auto"),
        pytest.param("kexec-c -c", None, id="distribution-segments"),
        pytest.param("kexec-c -s", None, id="distribution-file"),
    ],
)
@pytest.mark.parametrize("efi", [False, True], ids=["tree", "efi"])
def test_both_calls_jump(vm: Vm, loader: str, reason: str | None, efi: bool) -> None:
    result = run(vm, [jump(loader), "nproc\n"], aarch64_machine(cpus=2, efi=efi))

    assert result.phases[2].lines == ["2"]
    if reason is not None:
        assert reason in "\n".join(result.phases[1].lines)


@pytest.mark.parametrize(
    "loader",
    [
        pytest.param("kexec -c", id="segments"),
        pytest.param("kexec -s", id="file"),
        pytest.param("kexec-c -s", id="distribution-file"),
    ],
)
def test_measurements_are_handed_on(vm: Vm, loader: str) -> None:
    """The next kernel's list begins with what this one has measured, at least up to the load."""
    load, jumps = jump(loader).split(LOADED)
    late = f"cat {LATER} >/dev/null\n"
    result = run(
        vm,
        [MEASURE + SHOW + MEASUREMENTS + load + late + jumps, SHOW + MEASUREMENTS],
        aarch64_machine(),
    )

    before, after = shown(result, 1), shown(result, 2)
    assert before[0].endswith(" boot_aggregate")
    assert any(line.endswith(f" {MEASURED}") for line in before)
    assert after[: len(before)] == before
    # Then the next kernel begins, as each does.
    assert [line.endswith(" boot_aggregate") for line in after].count(True) == 2
    assert after[-1].endswith(" boot_aggregate")
    if loader == "kexec -c":
        # It is a copy. With the other call the kernel may go on adding to its own.
        assert not any(line.endswith(f" {LATER}") for line in after)
    assert int(printed(result, 2, "measurements")) == len(after) > len(before)


@pytest.mark.parametrize(
    ("loader", "flavour"),
    [
        pytest.param("kexec -c", "gzip", id="segments-gzip"),
        pytest.param("kexec -s", "gzip", id="file-gzip"),
        pytest.param("kexec -c", "zboot", id="segments-zboot"),
        pytest.param("kexec -s", "zboot", id="file-zboot"),
        # The C tool of Debian 12 knows no zboot image.
        pytest.param("kexec-c -c", "gzip", id="distribution-gzip"),
    ],
)
def test_packed_kernel_is_unpacked(vm: Vm, loader: str, flavour: str) -> None:
    run(vm, [jump(loader, flavour=flavour), "uname -r\n"], aarch64_machine(), flavour=flavour)


def test_initrd_of_200_mib_arrives_whole(vm: Vm) -> None:
    size = 200 << 20
    load = jump("kexec -s", initrd="/tmp/initrd")
    result = run(vm, [pack_big_initrd(size) + load, SHOW_CONTENT], aarch64_machine(memory="2G"))

    assert_big_initrd_arrived(result, size)
