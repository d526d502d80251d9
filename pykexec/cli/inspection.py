"""``pykexec inspect`` and ``crash match``: files are looked at, no machine is."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from pykexec.cli.terminal import say
from pykexec.cli.verb_options import json_option
from pykexec.render.escape import json_text
from pykexec.values.errors import EXIT_FAILURE, ImageError, UsageError

if TYPE_CHECKING:
    from pykexec.crash.vmlinux import Build
    from pykexec.formats.elf_details import ElfDetails
    from pykexec.values.buffers import Buffer


@click.command()
@click.argument("kernel")
@json_option
@click.option("--dts", is_flag=True, help="Print a device tree (.dtb) as its source.")
def inspect(kernel: str, as_json: bool, dts: bool) -> None:
    """Say what a kernel image is and what it asks for."""
    from pykexec.loading.files import map_file, split_configuration
    from pykexec.loading.load_request import identify_kernel
    from pykexec.render.image import image_text, image_value

    if dts:
        if as_json:
            raise UsageError("--dts and --json are two answers; ask for one")
        say(_source(kernel), end="")
        return
    path, configuration = split_configuration(kernel)
    file = map_file(path, "kernel")
    found = identify_kernel(path, file.data, configuration=configuration)
    details = None if found.elf is None else _details(path, found.elf)
    if as_json:
        say(json_text(image_value(found, details)))
    else:
        say(image_text(found, details), end="")


def _source(path: str) -> str:
    """Return a tree's source; raises :class:`ImageError` naming the file."""
    from pykexec.formats.device_tree import parse_device_tree
    from pykexec.formats.device_tree_source import SOURCE_MAX, device_tree_source
    from pykexec.loading.files import map_file

    data = map_file(path, "device tree").data
    try:
        if len(data) > SOURCE_MAX:
            raise ImageError(f"{len(data)} bytes; of a tree's source {SOURCE_MAX} are taken")
        return device_tree_source(parse_device_tree(data))
    except ImageError as error:
        error.message = f"device tree {path!r}: {error.message}"
        raise


def _details(path: str, data: Buffer) -> ElfDetails:
    from pykexec.formats.elf_details import read_details

    try:
        return read_details(data)
    except ImageError as error:
        error.message = f"kernel {path!r}: {error.message}"
        raise


@click.command("match")
@click.argument("vmlinux")
@click.argument("core", nargs=-1)
@json_option
@click.pass_context
def crash_match(context: click.Context, vmlinux: str, core: tuple[str, ...], as_json: bool) -> None:
    """Say whether VMLINUX is the kernel that a dump is of: /proc/vmcore, or CORE.

    By the build ID, else by the banner. Exit status: 0 it is, 1 it is not, 2 nobody can tell.
    """
    from pykexec.crash.vmlinux import build_of_vmlinux, compare
    from pykexec.render.elf import MATCH_EXIT_CODES, match_text, match_value

    linked = build_of_vmlinux(_linked(vmlinux))
    found = compare(_build_of_core(core or ("/proc/vmcore",)), linked)
    if as_json:
        say(json_text(match_value(found)))
    else:
        say(match_text(found), end="")
    context.exit(MATCH_EXIT_CODES[found.verdict])


def _linked(path: str) -> ElfDetails:
    """Read a vmlinux, also one that is compressed; it need not be for a machine of ours."""
    from pykexec.formats import compression
    from pykexec.formats.elf_details import is_elf
    from pykexec.loading.files import map_file
    from pykexec.loading.load_request import identify_kernel

    data = map_file(path, "vmlinux").data
    if is_elf(data):
        return _details(path, data)
    inner = identify_kernel(path, data).elf if compression.probe(data) is not None else None
    if inner is None:
        raise ImageError(
            f"vmlinux {path!r} is no ELF file",
            hint="give the vmlinux that the kernel was linked as; packages with debug "
            "information have it",
        )
    return _details(path, inner)


def _build_of_core(paths: tuple[str, ...]) -> Build:
    from pykexec.cli.vmcore_dmesg import open_memory
    from pykexec.crash.core_reading import VmcoreError
    from pykexec.crash.vmlinux import build_of_core

    try:
        return build_of_core(open_memory(paths))
    except VmcoreError as error:
        # The codes below are verdicts here.
        error.exit_code = EXIT_FAILURE
        raise
