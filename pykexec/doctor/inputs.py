"""Checks of what a load is given: the calls that are to take it, initrd, command line. Pure."""

from __future__ import annotations

from typing import TYPE_CHECKING

from pykexec.doctor import Finding, Level
from pykexec.formats.initramfs import measure_initramfs
from pykexec.values.calls import Call
from pykexec.values.command_line import kernel_words, key_of
from pykexec.values.errors import ImageError, MissingLibraryError
from pykexec.values.units import counted, format_size

if TYPE_CHECKING:
    from collections.abc import Iterator

    from pykexec.doctor import Asked, Surroundings
    from pykexec.formats import KernelImage
    from pykexec.planning.plans import LoadRequest
    from pykexec.values.buffers import Buffer

_OPTIONS = {Call.KEXEC_LOAD: "CONFIG_KEXEC", Call.KEXEC_FILE_LOAD: "CONFIG_KEXEC_FILE"}

_ROOT_WORDS = frozenset({"root", "nfsroot"})
"""Words by which a kernel finds its root file system."""

# Linux init/do_mounts_rd.c, "identify_ramdisk_image": (offset, magic) of what a RAM disk may hold.
_RAM_DISKS = {
    "ext2": (1024 + 56, (b"\x53\xef",)),
    "minix": (1024 + 16, (b"\x7f\x13", b"\x8f\x13", b"\x68\x24", b"\x78\x24")),
    "romfs": (0, (b"-rom1fs-",)),
    "cramfs": (0, (b"\x45\x3d\xcd\x28", b"\x28\xcd\x3d\x45")),
    "squashfs": (0, (b"hsqs",)),
}


def check_calls(around: Surroundings, asked: Asked) -> Finding:
    """Find out by the running kernel's configuration whether it has the call that is needed."""
    if around.config is None:
        return Finding("kernel_config", Level.NOTE, "the kernel's configuration is not to be found")
    missing = [call for call, option in _OPTIONS.items() if not around.config.has(option)]
    if not missing:
        return Finding("kernel_config", Level.FINE, "built with both calls", around.config_source)
    names = " and ".join(f"{call} ({_OPTIONS[call]})" for call in missing)
    text = f"the running kernel is built without {names}"
    if len(missing) == len(_OPTIONS):
        options = " or ".join(f"{option}=y" for option in _OPTIONS.values())
        advice = f"boot a kernel with {options}"
    elif asked.call in missing and not asked.fallback:
        option = _OPTIONS[asked.call]
        text += ", and only that call would do"
        advice = f"boot a kernel with {option}=y"
    else:
        return Finding("kernel_config", Level.NOTE, text, around.config_source)
    return Finding("kernel_config", Level.BLOCKS, text, around.config_source, advice)


def check_inputs(
    request: LoadRequest, image: KernelImage, page_size: int, initrd_name: str
) -> Iterator[Finding]:
    """Find what is wrong with initrd and command line of a Linux kernel; of others nothing.

    ``request`` is that for the kernel itself, with what a UKI has brought.
    """
    if not _is_linux(image):
        return
    yield check_root(request)
    if request.initrd is not None:
        yield check_initrd(request.initrd, request.cmdline, page_size, initrd_name)


def _is_linux(image: KernelImage) -> bool:
    from pykexec.formats.elf_program import ElfProgram
    from pykexec.formats.multiboot import Multiboot

    if isinstance(image, ElfProgram):
        return image.is_linux
    return not isinstance(image, Multiboot)


def check_root(request: LoadRequest) -> Finding:
    """Find out whether the new kernel is told where its root file system is.

    What is built into a kernel (CONFIG_CMDLINE, CONFIG_INITRAMFS_SOURCE) does not show, so that
    nothing is certain here.
    """
    words = kernel_words(request.cmdline)
    if any(key_of(word) in _ROOT_WORDS for word in words):
        return Finding("root", Level.FINE, "the command line names the root file system")
    advice = "take over the running one with --reuse-cmdline, or give root= with --append"
    if request.initrd is None:
        text = "there is no initrd, and no root= on the command line: unless both are built in, "
        text += "the new kernel finds no root file system"
        return Finding("root", Level.RISK, text, advice=advice)
    if not words:
        text = (
            "the command line is empty: an initrd seldom finds its root file system without root="
        )
        return Finding("root", Level.RISK, text, advice=advice)
    return Finding("root", Level.FINE, "no root=, and an initrd that may know it")


def check_initrd(data: Buffer, cmdline: bytes, page_size: int, name: str) -> Finding:
    """Find out whether the new kernel will be able to unpack its initrd; ``name`` is the file's.

    To its end, since that is where a cut one shows.
    """
    try:
        size = measure_initramfs(data, page_size)
    except MissingLibraryError as error:
        return Finding("initrd", Level.NOTE, f"not looked at: {error.message}", name)
    except ImageError as error:
        return _unlike_an_initramfs(error, data, cmdline, name)
    text = (
        f"the initrd is whole: {counted(size.entries, 'entry', 'entries')}, "
        f"{format_size(size.content)} in files"
    )
    return Finding("initrd", Level.FINE, text, name)


def _unlike_an_initramfs(error: ImageError, data: Buffer, cmdline: bytes, name: str) -> Finding:
    """A RAM disk of old is none, and may be meant: root=/dev/ram0 is how it is used."""
    kind = _ram_disk(data)
    in_ram = any(word.startswith(b"root=/dev/ram") for word in kernel_words(cmdline))
    if kind is not None or in_ram:
        what = f"a {kind} image" if kind is not None else "meant for root=/dev/ram"
        text = f"the initrd is no archive but {what}: the new kernel needs CONFIG_BLK_DEV_RAM"
        return Finding("initrd", Level.NOTE if in_ram else Level.RISK, text, name)
    return Finding("initrd", Level.BLOCKS, error.message, name, error.hint or "")


def _ram_disk(data: Buffer) -> str | None:
    for kind, (offset, magics) in _RAM_DISKS.items():
        if any(bytes(data[offset : offset + len(magic)]) == magic for magic in magics):
            return kind
    return None
