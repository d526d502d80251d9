"""From files to :class:`~pykexec.values.facts.MachineFacts`: every reader, in one order."""

from __future__ import annotations

from contextlib import suppress
from typing import TYPE_CHECKING

from pykexec.architectures import architecture_of
from pykexec.machine.acpi import read_memory_devices
from pykexec.machine.device_tree import read_device_tree
from pykexec.machine.efi import read_efi, read_platform
from pykexec.machine.firmware_memmap import read_firmware_map
from pykexec.machine.handover import with_handover
from pykexec.machine.hypervisor import facts_of
from pykexec.machine.ima import read_ima_measurements
from pykexec.machine.iomem import read_iomem
from pykexec.machine.kernel_state import XEN_GUEST_TYPE, kernel_state
from pykexec.machine.rooms import machine_room
from pykexec.values.errors import MachineError
from pykexec.values.facts import CrashFacts, MachineFacts
from pykexec.values.xen import machine_iomem

if TYPE_CHECKING:
    from pykexec.machine.description import Description
    from pykexec.machine.files import MachineFiles
    from pykexec.values.xen import XenFacts


def gather(files: MachineFiles, description: Description, *, crash: bool) -> MachineFacts:
    """Read all facts; see :func:`pykexec.machine.read_machine`."""
    room = machine_room(description.arch)
    # First, because without privileges this is the refusal that explains all others.
    iomem = read_iomem(files)
    cmdline = files.read("proc/cmdline", "the running kernel's command line") or b""
    cmdline = cmdline.rstrip(b"\r\n")
    kernel = with_handover(files, kernel_state(files, description.kernel_release))
    crash_facts = CrashFacts()
    if crash:
        from pykexec.machine.crash_facts import read_crash_facts

        crash_facts = read_crash_facts(files, description, iomem, xen=kernel.xen)
    firmware_map = read_firmware_map(files, cmdline)
    if kernel.xen_host:
        # What dom0's kernel takes for physical memory is not the machine's.
        xen = facts_of(files)
        iomem, firmware_map = machine_iomem(xen), xen.memory_map
        crash_facts = _xen_crash_facts(files, xen, crash_facts) if crash else crash_facts
    tree = _device_tree(files, description)
    own = room.read_own(files, memory=True) if room else {}
    return MachineFacts(
        arch=description.arch,
        page_size=description.page_size,
        iomem=own.pop("iomem", iomem),
        firmware_map=firmware_map,
        cmdline=cmdline,
        device_tree=tree[0] if tree is not None else None,
        device_tree_source=tree[1] if tree is not None else "",
        # A crash kernel gets none, and a record none either: it names every file that ran.
        ima_measurements=None if crash else read_ima_measurements(files),
        efi=read_efi(files),
        cpus=description.cpus,
        caller_bits=description.caller_bits,
        memory_devices=read_memory_devices(files),
        crash=crash_facts,
        kernel=kernel,
        **own,
    )


def _xen_crash_facts(files: MachineFiles, xen: XenFacts, own: CrashFacts) -> CrashFacts:
    """Return what a core of the whole machine is made from, below Xen.

    The hypervisor saves the processors' registers, dom0's kernel writes no notes of its own. That
    one's VMCOREINFO lies at a machine address where dom0 is a PV guest (Linux
    arch/x86/xen/mmu_pv.c, "paddr_vmcoreinfo_note").
    """
    paravirtual = (files.peek(XEN_GUEST_TYPE) or "PV") == "PV"
    return CrashFacts(
        crash_notes=xen.cpu_notes,
        vmcoreinfo=own.vmcoreinfo if paravirtual else None,
        xen_vmcoreinfo=xen.vmcoreinfo,
        in_machine_addresses=True,
        unreadable=own.unreadable,
        memory_encryption=own.memory_encryption,
    )


def gather_without_memory(files: MachineFiles, description: Description) -> MachineFacts:
    """Read what a machine tells everybody; what it does not tell is as if it were not there.

    ``iomem`` is empty, which that of no machine is: nothing can be placed by these facts.
    """
    room = machine_room(description.arch)
    tree = None
    with suppress(MachineError):
        tree = _device_tree(files, description)
    return MachineFacts(
        arch=description.arch,
        page_size=description.page_size,
        iomem=(),
        cmdline=(files.peek("proc/cmdline") or "").encode("utf-8", "surrogateescape"),
        device_tree=tree[0] if tree is not None else None,
        device_tree_source=tree[1] if tree is not None else "",
        efi=read_platform(files),
        cpus=description.cpus,
        caller_bits=description.caller_bits,
        memory_devices=read_memory_devices(files),
        kernel=with_handover(files, kernel_state(files, description.kernel_release)),
        **(room.read_own(files, memory=False) if room else {}),
    )


def _device_tree(files: MachineFiles, description: Description) -> tuple[bytes, str] | None:
    here = architecture_of(description.arch)
    return read_device_tree(files, flatten=here.has_tree, live=here.live_tree)
