"""Xen's dom0: kernels that are loaded into the hypervisor, and what starts them."""

from __future__ import annotations

import pytest

from tests.vm import debian
from tests.vm.conftest import Vm
from tests.vm.qemu import Machine
from tests.vm.scenario import CONSOLE, Files, boot_path

SERIES = "6.1"
XEN_WORDS = "console=com1 com1=115200,8n1 dom0_mem=640M crashkernel=160M"
MACHINE = Machine(memory="1G", cpus=2, cpu="max,-cx16,-smap,-smep")
"""With SMAP, QEMU 7.2 faults where a processor returns to a guest of Xen."""

DOM0 = """
for module in /scenario/modules/*; do insmod $module; done
mount -t xenfs xenfs /proc/xen
"""


def dom0_files() -> Files:
    """Return the modules of dom0's kernel: only generic kernels can be dom0."""
    xen = debian.kernel(SERIES, "generic").modules / "kernel/drivers/xen"
    return {
        "/scenario/modules/1-privcmd.ko": xen / "xen-privcmd.ko",
        "/scenario/modules/2-xenfs.ko": xen / "xenfs/xenfs.ko",
    }


@pytest.mark.full
def test_dom0_loads_and_jumps(vm: Vm) -> None:
    """The hypervisor holds what was loaded, tells of it, unloads it, and starts the kernel."""
    kernel = boot_path(SERIES)
    words = "--console-serial --initrd=/boot/initrd-small"
    load = f"kexec -d -l {kernel} {words} --append='{CONSOLE} vmtest.phase=2'"
    script = f"""
        {DOM0}
        say() {{ echo "$1 $(kexec -S $2; echo $?)"; }}
        say before -l
        {load} 2>&1 | sed 's/^/said /'
        say loaded -l
        say crash ""
        pykexec status | sed 's/^/status /'
        kexec -u
        say unloaded -l
        {load} 2>/dev/null
        echo "linux $(cat /sys/kernel/kexec_loaded)"
        kexec -e
    """
    arrived = "echo xen $(ls /sys/hypervisor 2>/dev/null | wc -l)\ncat /proc/iomem\n"
    result = vm(
        [script, arrived],
        kernel=SERIES,
        flavour="generic",
        boot=[(SERIES, "cloud")],
        machine=MACHINE,
        files=dom0_files(),
        xen=XEN_WORDS,
    )
    first = result.phases[1].lines
    for line in ("before 0", "loaded 1", "crash 0", "unloaded 0", "linux 0"):
        assert line in first, line
    assert result.phases[2].release == debian.kernel(SERIES).release
    assert "xen 0" in result.phases[2].lines
    assert "SHA-256 is right" in result.serial
