"""``pykexec entries``, and ``--entry``: what the boot loader would start."""

from __future__ import annotations

import os
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import click

from pykexec.cli.terminal import say
from pykexec.cli.verb_options import json_option, warn
from pykexec.errors import MachineError, UsageError
from pykexec.render.escape import json_text

if TYPE_CHECKING:
    from pykexec.cli.load_request import LoadOptions
    from pykexec.entries import BootEntry
    from pykexec.machine.boot_entries import BootEntries

DEFAULT = "default"
_MULTIBOOT = {1: "multiboot-x86", 2: "multiboot2-x86"}


@click.command()
@click.option(
    "--root",
    type=click.Path(path_type=Path),
    default=Path("/"),
    metavar="DIR",
    help="List those of the system below DIR.",
)
@json_option
def entries(root: Path, as_json: bool) -> None:
    """List the boot entries: of the Boot Loader Specification, GRUB, extlinux and /boot.

    A star marks what the boot loader would start by itself.
    """
    from pykexec.architectures import architecture
    from pykexec.render.entries import entries_text, entries_value

    found = _read(root, architecture(os.uname().machine))
    if as_json:
        say(json_text(entries_value(found)))
        return
    for problem in found.problems:
        warn(problem)
    say(entries_text(found), end="")


def _read(root: Path | str, arch: str) -> BootEntries:
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
            f"grub.cfg, extlinux.conf, and kernels in /boot and /usr/lib/modules{said}",
            hint="mount the boot partition, and run as root; or name the kernel itself",
        )
    return found


def take_entry(options: LoadOptions, machine: Path | str) -> LoadOptions:
    """Return ``options`` with what the boot entry brings that they name.

    ``machine`` is where the load is for. Raises :class:`UsageError` for what excludes each
    other, :class:`MachineError` when there is no such entry, or files of it are missing.
    """
    from pykexec.entries import select
    from pykexec.machine.description import read_description
    from pykexec.machine.files import machine_files

    if options.kernel:
        raise UsageError(f"--entry excludes a kernel, and {options.kernel!r} is one")
    found = _read(options.boot_root, read_description(machine_files(machine)).arch)
    for problem in found.problems:
        warn(problem)
    if options.boot_entry == DEFAULT:
        chosen = found.default
        if chosen is None:
            raise MachineError(
                f"the boot loader's default is no entry that can be loaded: {found.reason}",
                hint="name one with --entry; see 'pykexec entries'",
            )
    else:
        chosen = select(found.entries, options.boot_entry or "")
    return _with_entry(options, chosen)


def _with_entry(options: LoadOptions, entry: BootEntry) -> LoadOptions:
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
    notes = [f"boot entry {entry.id!r}: {entry.where}"]
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
        image_type=options.image_type or _MULTIBOOT.get(entry.multiboot),
        notes=tuple(notes),
    )
