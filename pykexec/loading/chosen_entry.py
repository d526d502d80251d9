"""``--entry``: a boot entry instead of a kernel, for both front doors.

Whatever is wrong with what the boot loaders' configurations say is told, and only what one of
them says is loaded: of bare files, the user has to say with which words.
"""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

from pykexec.architectures import architecture_of
from pykexec.values.data_classes import replace
from pykexec.values.errors import MachineError, UsageError

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from pykexec.entries import BootEntry
    from pykexec.loading.options import LoadOptions
    from pykexec.machine.boot_entries import BootEntries

DEFAULT = "default"
_MULTIBOOT = {1: "multiboot", 2: "multiboot2"}
"""How the formats are called."""


def read_entries(root: Path | str, arch: str) -> BootEntries:
    """Return what the boot loaders of the system below ``root`` say.

    Raises :class:`MachineError` where there is not a single entry.
    """
    from pykexec.machine.boot_entries import NO_ENTRY, read_boot_entries

    if not os.path.isdir(root):
        raise UsageError(f"--root: there is no directory {str(root)!r}")
    found = read_boot_entries(root, arch)
    if not found.entries:
        # A menu that starts something else is worth more than where else was looked.
        seen = [found.reason] if found.reason != NO_ENTRY else []
        said = "".join(f"; {problem}" for problem in (*seen, *found.problems))
        raise MachineError(
            f"there is no boot entry below {root}: looked for loader/entries and EFI/Linux, "
            "grub.cfg, extlinux.conf and those of other loaders, and kernels in /boot and "
            f"/usr/lib/modules{said}",
            hint="mount the boot partition, and run as root; or name the kernel itself",
        )
    return found


def with_boot_entry(
    options: LoadOptions, machine: Path | str, warn: Callable[[str], None]
) -> LoadOptions:
    """Return ``options`` with what their boot entry brings, if they name one; see below."""
    if options.boot_entry is None or options.kernel:
        return options
    return take_entry(options, machine, warn)


def take_entry(
    options: LoadOptions, machine: Path | str, warn: Callable[[str], None]
) -> LoadOptions:
    """Return ``options`` with what the boot entry brings that they name.

    ``machine`` is where the load is for; ``warn`` is told every problem that ``pykexec entries``
    lists, whether or not there is such an entry. Raises :class:`UsageError` for what excludes each
    other, :class:`MachineError` when there is no such entry, or files of it are missing.
    """
    from pykexec.entries import select
    from pykexec.machine.description import read_description
    from pykexec.machine.roots import machine_files

    if options.kernel:
        raise UsageError(f"--entry excludes a kernel, and {options.kernel!r} is one")
    arch = read_description(machine_files(machine)).arch
    found = read_entries(options.boot_root, arch)
    for problem in found.problems:
        warn(problem)
    if options.boot_entry == DEFAULT:
        chosen = _default(found)
    else:
        chosen = select(found.entries, options.boot_entry or "")
    return _with_entry(options, chosen, arch)


def _default(found: BootEntries) -> BootEntry:
    """Return what a configuration names as its default; raises :class:`MachineError`."""
    from pykexec.entries import unexpanded

    chosen = found.default
    if chosen is None:
        raise MachineError(
            f"the boot loader's default is no entry that can be loaded: {found.reason}",
            hint="name one with --entry; see 'pykexec entries'",
        )
    variable = unexpanded(chosen.cmdline)
    if variable and not chosen.obstacle:
        raise MachineError(
            f"the boot loader's default, {chosen.id!r} ({chosen.where}), has {variable} in its "
            "command line, which its boot loader has not filled in",
            hint="name the entry with --entry to load it with these very words",
        )
    return chosen


def _with_entry(options: LoadOptions, entry: BootEntry, arch: str) -> LoadOptions:
    from pykexec.entries import Source

    if entry.cmdline and options.reuse_cmdline:
        raise UsageError(
            f"--reuse-cmdline and --entry exclude each other: {entry.id!r} has a command line",
            hint="add words to it with --append",
        )
    if entry.obstacle:
        raise MachineError(
            f"boot entry {entry.id!r} ({entry.where}) cannot be loaded: {entry.obstacle}",
            hint="name kernel, initrd and command line yourself",
        )
    own_initrd = entry.initrds if options.initrd is not None else ()
    ignored = {entry.device_tree, *own_initrd}
    missing = [str(file) for file in entry.missing if file.name not in ignored]
    if missing:
        raise MachineError(
            f"boot entry {entry.id!r} ({entry.where}) lacks {', and '.join(missing)}",
            hint="mount the partition that has it, or name kernel and initrd yourself",
        )
    if (
        entry.source is Source.FILES
        and not entry.cmdline
        and options.append is None
        and not options.reuse_cmdline
    ):
        raise MachineError(
            f"boot entry {entry.id!r} is a bare file: no configuration says its command line",
            hint="say it with --append, or take the running kernel's with --reuse-cmdline",
        )
    notes = [f"boot entry {entry.id!r}: {entry.where}"]
    notes += [f"boot entry {entry.id!r}: {note}" for note in entry.notes]
    if not entry.cmdline and not options.append and not options.reuse_cmdline:
        notes.append("the boot entry has no command line: --reuse-cmdline takes the running one")
    if entry.device_tree is not None and options.dtb is None:
        notes.append(
            f"the boot entry names a device tree, {entry.device_tree}: the running kernel's is "
            "handed over, which has what firmware wrote into it; --dtb takes the file"
        )
    initrds = (options.initrd,) if options.initrd is not None else entry.initrds
    return replace(
        options,
        kernel=entry.kernel,
        initrd=initrds[0] if initrds else None,
        more_initrds=tuple(initrds[1:]),
        append=" ".join(word for word in (entry.cmdline, options.append) if word),
        # What a boot loader hands a multiboot kernel has the name in it already.
        kernel_name="" if entry.multiboot else None,
        entry_modules=entry.modules,
        image_type=options.image_type or _image_type(entry.multiboot, arch),
        notes=tuple(notes),
    )


def _image_type(multiboot: int, arch: str) -> str | None:
    """Return what ``-t`` calls the kernels of a boot loader's multiboot command; None: any."""
    wanted = _MULTIBOOT.get(multiboot)
    types = architecture_of(arch).options.image_types
    return next((name for name, begins in types.items() if begins == wanted), wanted)
