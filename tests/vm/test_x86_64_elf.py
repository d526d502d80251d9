"""ELF kernels on x86_64: Debian's own ``vmlinux``, taken out of its bzImage."""

from __future__ import annotations

import pytest

from pykexec.formats.bzimage import parse_bzimage
from pykexec.formats.ikconfig import unpacked
from tests.vm import debian
from tests.vm.conftest import Vm
from tests.vm.loads import LOADED
from tests.vm.qemu import Machine
from tests.vm.test_x86_64_boot import (
    ARRIVED,
    DESCRIBE,
    NONCE,
    assert_same_machine,
    next_cmdline,
    release_of,
)

VMLINUX = "/boot/vmlinux"


def vmlinux_of(series: str) -> bytes:
    """Return the ELF kernel that Debian's bzImage has inside."""
    kernel = unpacked(parse_bzimage(debian.kernel(series).image.read_bytes()))
    assert kernel is not None
    return bytes(kernel)


@pytest.mark.parametrize(
    ("series", "machine"),
    [
        pytest.param("6.12", Machine(), id="6.12-bios"),
        pytest.param("6.1", Machine(), id="6.1-bios", marks=pytest.mark.full),
        pytest.param("7.2", Machine(), id="7.2-bios", marks=pytest.mark.full),
        pytest.param("6.12", Machine(firmware="ovmf"), id="6.12-ovmf", marks=pytest.mark.full),
    ],
)
def test_jump_into_a_vmlinux(vm: Vm, series: str, machine: Machine) -> None:
    """Without any option about it: the call is chosen, and that it is Linux is seen."""
    load = (
        f"kexec -a -l {VMLINUX} --initrd=/boot/initrd-small --append='{next_cmdline()}'\n"
        f"{LOADED}kexec -e\n"
    )
    result = vm(
        [DESCRIBE + load, ARRIVED],
        kernel=series,
        machine=machine,
        files={NONCE: "by-elf", VMLINUX: vmlinux_of(series)},
    )

    arrived = result.phases[2]
    assert arrived.release == release_of(series)
    assert arrived.cmdline == next_cmdline()
    assert "nonce by-elf" in arrived.lines
    assert_same_machine(result, 1, 2)
