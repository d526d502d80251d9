"""What may be chosen about a load: by the options of the programs, by keywords from Python."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Literal, TypeAlias, TypedDict

from pykexec.loading.one_of import require_one_of
from pykexec.values.command_line import encode_cmdline
from pykexec.values.data_classes import dataclass
from pykexec.values.errors import ImageError, NoKernelError, UsageError
from pykexec.values.units import ADDRESS_MAX

if TYPE_CHECKING:
    from collections.abc import Mapping
    from typing import Any

    from pykexec.entries import EntryModule

StrPath: TypeAlias = "str | os.PathLike[str]"
CallName: TypeAlias = Literal["auto", "file", "segments"]
"""The values of :class:`pykexec.calls.call_choice.CallWish`."""


@dataclass(frozen=True, slots=True)
class LoadOptions:
    """What both front doors let the user choose about a load."""

    kernel: str
    call: str = "auto"
    """A value of :class:`pykexec.calls.call_choice.CallWish`."""
    crash: bool = False
    initrd: str | None = None
    append: str | None = None
    reuse_cmdline: bool = False
    mem_min: int = 0
    mem_max: int = ADDRESS_MAX
    no_checks: bool = False
    console_serial: bool = False
    console_vga: bool = False
    serial: str | None = None
    serial_baud: int = 0
    dtb: str | None = None
    pass_memmap_cmdline: bool = False
    no_efi: bool = False
    hotplug: bool = False
    preserve_context: bool = False
    no_cma: bool = False
    lose_preserved: bool = False
    """By kexec_load although kexec handover is on."""
    force_dtb: bool = False
    core_bits: int | None = None
    backup: bool | None = None
    """None: where the running kernel needs it."""
    ima: bool | None = None
    """None: unless the new kernel cannot take IMA's list."""
    image_type: str | None = None
    """A name of the architecture's ``options.image_types``; None takes any."""
    entry: int | None = None
    """Physical address."""
    entry_32bit: bool = False
    real_mode: bool = False
    modules: tuple[str, ...] = ()
    """Files for a multiboot kernel, each with the words of its command line behind it."""
    elf_args: str | None = None
    """A value of :class:`pykexec.planning.plans.ElfArgs`; None: by what the ELF file is."""
    reuse_initrd: bool = False
    boot_entry: str | None = None
    """The boot entry that :mod:`.chosen_entry` took kernel, initrds and words from."""
    boot_root: str = "/"
    """Where it was looked for."""
    more_initrds: tuple[str, ...] = ()
    """Behind ``initrd``, in one piece with it."""
    kernel_name: str | None = None
    """What a multiboot kernel's command line begins with; None for the kernel's path."""
    entry_modules: tuple[EntryModule, ...] = ()
    """Of the boot entry, before ``modules``."""
    notes: tuple[str, ...] = ()
    """What to say of all that."""
    seed: str | None = None
    """Plans only: what the seeds for the next kernel are made of, instead of fresh entropy."""
    foreign: tuple[str, ...] = ()
    """Options of other architectures that were given."""
    old_root: str = ""
    """Add the running kernel's root= to a line without one; the option that keeps it out."""


class MoreOptions(TypedDict, total=False):
    """The keywords of a load from Python that are rarely needed; fields of LoadOptions.

    They are called as the options of ``kexec`` are, of which kexec(8) says more.
    """

    boot_root: StrPath
    """``boot_entry`` is looked for in the system below this directory."""
    mem_min: int
    """Physical address: the image lies nowhere below."""
    mem_max: int
    """Physical address, inclusive: the image lies nowhere above."""
    no_checks: bool
    """The purgatory checks no digest."""
    console_serial: bool
    console_vga: bool
    serial: str
    """x86: ``ttyS0``, ``ttyS1`` or an I/O port; elsewhere the name of a tty."""
    serial_baud: int
    pass_memmap_cmdline: bool
    no_efi: bool
    hotplug: bool
    preserve_context: bool
    """x86: the running kernel waits until the next one returns to it."""
    no_cma: bool
    lose_preserved: bool
    """By kexec_load(2) too although kexec handover is on: what is preserved is lost."""
    force_dtb: bool
    core_bits: int
    """32 or 64."""
    backup: bool
    ima: bool
    image_type: str
    """As ``kexec -t`` has it."""
    entry: int
    """Physical address, instead of the kernel's own."""
    entry_32bit: bool
    real_mode: bool
    modules: tuple[str, ...]
    """Files for a multiboot kernel, each with the words of its command line behind it."""
    elf_args: Literal["linux", "elf", "none"]
    reuse_initrd: bool


def options_of(
    kernel: StrPath | None,
    *,
    crash: bool = False,
    initrd: StrPath | None = None,
    cmdline: str | bytes | None = None,
    append: str | bytes | None = None,
    reuse_cmdline: bool = False,
    dtb: StrPath | None = None,
    call: CallName = "auto",
    boot_entry: str | None = None,
    seed: str | None = None,
    more: Mapping[str, Any],
) -> LoadOptions:
    """Return the options that a Python program has given by keywords.

    Raises TypeError for a keyword that is none and for what is no path where one is wanted,
    and :class:`UsageError` for a value that is none of those known, or two that exclude each
    other.
    """
    unknown = sorted(more.keys() - MoreOptions.__annotations__.keys())
    if unknown:
        raise TypeError(f"unexpected keyword argument {unknown[0]!r}")
    require_one_of("call", call, ("auto", "file", "segments"))
    require_one_of("elf_args", more.get("elf_args"), (None, "linux", "elf", "none"))
    if kernel is None and boot_entry is None:
        raise NoKernelError("no kernel is named", hint="give its path, or boot_entry=")
    if kernel is not None and boot_entry is not None:
        raise UsageError(f"boot_entry excludes a kernel, and {kernel!r} is one")
    given = cmdline is not None
    if given and (reuse_cmdline or boot_entry is not None):
        raise UsageError(
            f"cmdline and {'reuse_cmdline' if reuse_cmdline else 'boot_entry'} exclude each other: "
            "both are the whole command line",
            hint="give what comes behind it as append",
        )
    words = [_words(text) for text in (cmdline, append) if text]
    rest = dict(more)
    if "boot_root" in rest:
        rest["boot_root"] = path_of(rest["boot_root"], "boot_root")
    if "modules" in rest:
        rest["modules"] = tuple(path_of(item, "modules") for item in rest["modules"])
    return LoadOptions(
        kernel="" if kernel is None else path_of(kernel, "kernel"),
        crash=crash,
        initrd=None if initrd is None else path_of(initrd, "initrd"),
        append=" ".join(words) if given or append is not None else None,
        reuse_cmdline=reuse_cmdline,
        dtb=None if dtb is None else path_of(dtb, "dtb"),
        call=call,
        boot_entry=boot_entry,
        seed=seed,
        **rest,
    )


def path_of(value: object, what: str) -> str:
    """Return a path that was given as ``what``; raises TypeError, and ImageError for no path."""
    if not isinstance(value, str | os.PathLike):
        raise TypeError(
            f"{what}: a path is wanted, a str or an os.PathLike, and not "
            f"{type(value).__name__}; what is in memory goes into a pykexec.LoadRequest"
        )
    path = os.fsdecode(value)
    if not path or "\0" in path:
        raise ImageError(f"{what}: {path!r} is no path", hint="give that of a file")
    return path


def _words(text: object) -> str:
    """Return a command line as the programs get theirs, from which come the same bytes again."""
    if isinstance(text, bytes):
        return os.fsdecode(text)
    if not isinstance(text, str):
        raise TypeError(f"a command line is a str or bytes, and not {type(text).__name__}")
    return os.fsdecode(encode_cmdline(text))
