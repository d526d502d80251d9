"""A guest that is Xen, with Debian's kernel as its dom0."""

from __future__ import annotations

from tests.vm import debian
from tests.vm.qemu import Machine
from tests.vm.scenario import Files

SERIES = "6.1"
FLAVOUR = "generic"
"""Debian's cloud kernels cannot be dom0."""
CPU = "max,-cx16,-smap,-smep"
"""With SMAP, QEMU 7.2 faults where a processor returns to a guest of Xen."""
MACHINE = Machine(memory="1G", cpus=2, cpu=CPU)
WORDS = "console=com1 com1=115200,8n1 dom0_mem=640M crashkernel=160M"
"""The hypervisor's command line. What it leaves free holds images that wait for the jump."""
BEGIN = """
for module in /scenario/xen/*; do insmod $module; done
mount -t xenfs xenfs /proc/xen
"""
"""How a phase in dom0 begins, with the files of :func:`dom0_files`."""


def dom0_files() -> Files:
    """Return the modules by which programs reach the hypervisor."""
    drivers = debian.kernel(SERIES, FLAVOUR).modules / "kernel/drivers/xen"
    return {
        "/scenario/xen/1-privcmd.ko": drivers / "xen-privcmd.ko",
        "/scenario/xen/2-xenfs.ko": drivers / "xenfs/xenfs.ko",
    }
