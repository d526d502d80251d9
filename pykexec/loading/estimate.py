"""From the files that the user names to an estimate of what they need."""

from __future__ import annotations

from typing import TYPE_CHECKING

from pykexec.values.data_classes import replace
from pykexec.values.errors import ImageError
from pykexec.values.units import align_up

if TYPE_CHECKING:
    from pathlib import Path

    from pykexec.crash.estimate import Estimate
    from pykexec.crash.fadump.state import FadumpState
    from pykexec.formats import Identified
    from pykexec.loading.options import LoadOptions
    from pykexec.values.facts import MachineFacts
    from pykexec.values.ranges import Range


def make_estimate(root: Path | str, options: LoadOptions) -> Estimate:
    """Estimate a crash load on the machine at ``root``; raises what reading the files does."""
    from pykexec.crash.estimate import Capture, estimate
    from pykexec.crash.reservation import fault, objection
    from pykexec.formats.initramfs import measure_initramfs
    from pykexec.loading.files import map_file, split_configuration
    from pykexec.loading.load_request import build_cmdline, identify_kernel
    from pykexec.machine import read_machine
    from pykexec.machine.fadump import read_fadump
    from pykexec.machine.roots import machine_files
    from pykexec.values.memory import crash_regions

    facts = read_machine(root)
    firmware = read_fadump(machine_files(root))
    path, configuration = split_configuration(options.kernel)
    kernel_file = map_file(path, "kernel")
    found = identify_kernel(path, kernel_file.data, facts.arch, None, configuration)
    kernel_size, kernel_source = _kernel_size(found)
    initrd = found.brought.initrd if found.brought is not None else None
    if options.initrd is not None:
        initrd = map_file(options.initrd, "initrd").data
    initrd_size, initramfs = 0, None
    if initrd is not None:
        initrd_size = len(initrd)
        try:
            initramfs = measure_initramfs(initrd, facts.page_size)
        except ImageError as error:
            error.message = f"{options.initrd or options.kernel!r}: {error.message}"
            raise
    line = build_cmdline(facts, options)
    own = found.brought.cmdline if found.brought is not None else None
    made = estimate(
        Capture(
            arch=facts.arch,
            page_size=facts.page_size,
            kernel_size=kernel_size,
            kernel_source=kernel_source,
            initrd_size=initrd_size,
            initramfs=initramfs,
            cmdline=line.cmdline or own or b"",
            cpus=facts.cpus or 1,
            regions=_boot_memory(firmware) or crash_regions(facts.iomem),
            elfcorehdr_size=_elfcorehdr_size(facts),
            release=found.image.release,
        )
    )
    if firmware.enabled:
        return _by_firmware(replace(made, notes=(*made.notes, *line.warnings)), firmware)
    against = objection(replace(facts, cmdline=made.proposal.encode()))
    return replace(
        made,
        notes=(*made.notes, *line.warnings),
        impossible=against.text if against is not None else "",
        unreserved="" if made.reserved else fault(facts).text,
    )


def _boot_memory(state: FadumpState) -> tuple[Range, ...]:
    """Return the memory of the kernel that firmware boots after a crash; nothing without fadump."""
    from pykexec.crash.fadump.state import boot_memory_of
    from pykexec.values.ranges import Range

    known = boot_memory_of(state) if state.enabled else None
    return () if known is None else (Range(0, known[0]),)


def _by_firmware(made: Estimate, state: FadumpState) -> Estimate:
    """Ask for what ``pykexec fadump size`` would ask for, where firmware takes the dump."""
    from pykexec.crash.crashkernel import Dialect, Wanted, wanted
    from pykexec.crash.fadump.size import recommend
    from pykexec.crash.fadump.state import boot_memory_of

    known = boot_memory_of(state)
    if known is None or state.ram is None or state.platform is None:
        return replace(
            made, unreserved="firmware takes the dump here, and nobody knows of how much"
        )
    asked = wanted(made.proposal.encode(), state.ram, Dialect())
    needed = asked.size if isinstance(asked, Wanted) else None
    best = recommend(state.ram, state.platform, needed=needed)
    enough = best.size is not None and best.size >= (needed or 0)
    note = f"firmware takes the dump (fadump), and the kernel has boot memory: {known[1]}"
    return replace(
        made,
        proposal=best.words,
        impossible="" if enough else best.reason,
        notes=(*made.notes, note),
    )


def _kernel_size(found: Identified) -> tuple[int, str]:
    """Return the memory that a kernel runs in, and where it says so."""
    from pykexec.formats.bzimage import BzImage
    from pykexec.formats.ipl_image import IplImage
    from pykexec.formats.linux_image import LinuxImage
    from pykexec.formats.vmlinux_efi import VmlinuxEfi
    from pykexec.formats.zimage import ZImage

    image = found.image
    if isinstance(image, LinuxImage):
        return image.base_offset + image.image_size, "image_size of the kernel"
    if isinstance(image, VmlinuxEfi):
        return image.image_size, "image_size of the kernel"
    if isinstance(image, ZImage):
        return image.kernel_end + image.program_size, "the zImage and the kernel in it"
    if isinstance(image, IplImage):
        return 4 * image.memsz, "four times the file: it says nothing"
    if not isinstance(image, BzImage):
        return image.end - image.start, "the kernel's segments"
    if image.header.init_size:
        return image.header.init_size, "init_size of the kernel"
    return image.memory_needed, "four times the file: it says nothing"


def _elfcorehdr_size(facts: MachineFacts) -> int:
    """Return the bytes of the core header, or of the room that the kernel keeps for it."""
    from pykexec.crash.elfcorehdr import elfcorehdr_size
    from pykexec.values.memory import dumped_ram

    # A note for each processor and one of VMCOREINFO; the kernel's text; the RAM.
    count = (facts.cpus or 1) + 2 + len(dumped_ram(facts.iomem))
    size = max(elfcorehdr_size(count), facts.kernel.crash_elfcorehdr_size or 0)
    return align_up(size, facts.page_size)
