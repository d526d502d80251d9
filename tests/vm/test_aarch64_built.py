"""Jumps that Debian's arm64 kernels cannot show: both calls, measurements, packed kernels."""

from __future__ import annotations

import pytest

from tests.vm import initramfs
from tests.vm.conftest import Vm
from tests.vm.kernel_build import BUILT
from tests.vm.platforms import AARCH64
from tests.vm.qemu import aarch64_machine
from tests.vm.scenario import Result, boot_path

pytestmark = [pytest.mark.full, pytest.mark.usefixtures("kernel_builder")]

LOADERS = [
    pytest.param("kexec-c -c", id="distribution-segments"),
    pytest.param("kexec-c -s", id="distribution-file"),
]
CARRIERS = [pytest.param("kexec-c -s", id="distribution-file")]
"""What hands the measurements on: of the C tool's loads, those that the kernel makes."""

PACKED = [pytest.param("kexec-c -c", "gzip", id="distribution-gzip")]
"""What loads which kind of packed kernel; the C tool of Debian 12 knows no zboot image."""

MIB = 1 << 20

LOADED = '[ "$(cat /sys/kernel/kexec_loaded)" = 1 ]\n'
CMDLINE = f'{AARCH64.console} test.word="two words, äöü" vmtest.phase=2'
MEASURED = """
echo "starts $(grep -c boot_aggregate /sys/kernel/security/ima/ascii_runtime_measurements)"
echo "lines $(wc -l </sys/kernel/security/ima/ascii_runtime_measurements)"
"""


def jump(loader: str, kernel: str, *, initrd: str = "/boot/initrd-small") -> str:
    """Return the end of a phase: it loads a kernel and jumps."""
    # The C tool wants to take down a network that a small kernel does not have.
    tool, _ = loader.split()
    return f"{loader} -l {kernel} --initrd={initrd} --append='{CMDLINE}'\n{LOADED}{tool} -x -e\n"


def said(result: Result, phase: int, name: str) -> str:
    """Return what a phase printed behind ``name``."""
    (line,) = [line for line in result.phases[phase].lines if line.startswith(f"{name} ")]
    return line.removeprefix(f"{name} ")


@pytest.mark.parametrize("loader", LOADERS)
@pytest.mark.parametrize("efi", [False, True], ids=["tree", "efi"])
def test_both_calls_jump(vm: Vm, loader: str, efi: bool) -> None:
    result = vm(
        [jump(loader, boot_path(BUILT)), "nproc\n"],
        kernel=BUILT,
        machine=aarch64_machine(cpus=2, efi=efi),
        files=initramfs.c_kexec_files(AARCH64),
    )

    assert result.phases[2].cmdline == CMDLINE
    assert result.phases[2].lines == ["2"]


@pytest.mark.parametrize("loader", CARRIERS)
def test_measurements_are_handed_on(vm: Vm, loader: str) -> None:
    """The next kernel's list begins with what this one has measured up to the load."""
    result = vm(
        [MEASURED + jump(loader, boot_path(BUILT)), MEASURED],
        kernel=BUILT,
        machine=aarch64_machine(),
        append="ima_policy=tcb",
        files=initramfs.c_kexec_files(AARCH64),
    )

    # Each kernel begins its own part with one.
    assert [said(result, phase, "starts") for phase in (1, 2)] == ["1", "2"]
    before, after = (int(said(result, phase, "lines")) for phase in (1, 2))
    assert after > before


@pytest.mark.parametrize(("loader", "flavour"), PACKED)
def test_packed_kernel_is_unpacked(vm: Vm, loader: str, flavour: str) -> None:
    result = vm(
        [jump(loader, boot_path(BUILT, flavour)), "uname -r\n"],
        machine=aarch64_machine(),
        boot=[(BUILT, flavour)],
        files=initramfs.c_kexec_files(AARCH64),
    )

    assert result.phases[1].release.endswith("cloud-arm64")
    assert result.phases[2].release.endswith("-kexec-test")
    assert result.phases[2].cmdline == CMDLINE


@pytest.mark.parametrize("loader", LOADERS)
def test_initrd_of_200_mib_arrives_whole(vm: Vm, loader: str) -> None:
    size = 200 * MIB
    pack = f"""
        mkdir -p /tmp/big/scenario
        head -c {size} /dev/urandom >/tmp/big/scenario/content
        echo "sent $(sha256sum </tmp/big/scenario/content)"
        {{ cat /boot/initrd-small
           cd /tmp/big && echo scenario/content | cpio -o -H newc; }} >/tmp/initrd
        rm /tmp/big/scenario/content
        """
    result = vm(
        [
            pack + jump(loader, boot_path(BUILT), initrd="/tmp/initrd"),
            'stat -c "size %s" /scenario/content\necho "arrived $(sha256sum </scenario/content)"\n',
        ],
        kernel=BUILT,
        machine=aarch64_machine(memory="2G"),
        files=initramfs.c_kexec_files(AARCH64),
        timeout=240,
    )

    assert said(result, 2, "size") == str(size)
    assert said(result, 2, "arrived") == said(result, 1, "sent")
