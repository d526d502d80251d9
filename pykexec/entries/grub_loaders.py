"""GRUB's commands that load a kernel and what goes with it. Pure.

GNU GRUB Manual, "linux", "initrd", "multiboot", "module", "chainloader", "devicetree". What a
command line is made of the words is the rule of GRUB's ``cmdline.c``.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from pykexec.entries.grub_boot import BAD_ARGUMENT, NO_FILE, NO_KERNEL, OK
from pykexec.entries.grub_files import Absent, Device, FileReference
from pykexec.entries.grub_run import Booted, Left
from pykexec.entries.grub_unknown import Doubt
from pykexec.entries.grub_values import GrubModule, UkiFacts

if TYPE_CHECKING:
    from pykexec.entries.grub_boot import Result
    from pykexec.entries.grub_run import Action, Run

_TO_ESCAPE = re.compile(r"[\\'\"]")
_TO_ESCAPE_BUT_CODES = re.compile(r"\\(?!x[0-9A-Fa-f]{2})|['\"]")
_CODE = re.compile(r"\\x[0-9A-Fa-f]{2}")
_OTHERS = {
    "kfreebsd": "FreeBSD", "knetbsd": "NetBSD", "kopenbsd": "OpenBSD", "xnu_kernel": "macOS",
    "xnu_kernel64": "macOS", "xnu_resume": "macOS", "ntldr": "Windows", "plan9": "Plan 9",
    "truecrypt": "TrueCrypt", "freedos": "FreeDOS", "pxechainloader": "a program of the network",
    "linux_loader": "a boot loader", "legacy_kernel": "what GRUB legacy's 'kernel' starts",
    "xen_hypervisor": "Xen, which a device tree tells of its guests",
}  # fmt: skip
_ENDS = {
    "fwsetup": "the firmware's setup",
    "reboot": "the machine again",
    "halt": "nothing: it turns the machine off",
    "poweroff": "nothing: it turns the machine off",
    "exit": "what the firmware has next",
    "appleloader": "Apple's loader",
}
"""Commands that leave GRUB, and what they start."""


def joined(words: list[str], *, keeps_codes: bool = False) -> str:
    """Join a command line as GRUB does: it escapes quotes, and quotes words with blanks.

    Red Hat's ``keeps_codes``: a backslash of ``\\xHH`` is not escaped.
    """
    to_escape = _TO_ESCAPE_BUT_CODES if keeps_codes else _TO_ESCAPE
    found = []
    for word in words:
        text = to_escape.sub(r"\\\g<0>", word)
        found.append(f'"{text}"' if " " in text else text)
    return " ".join(found)


def _file(run: Run, name: str, what: str) -> FileReference:
    """Return a file's reference; what cannot be named becomes an obstacle."""
    reference = run.reference(name)
    if isinstance(reference, FileReference):
        return reference
    if run.shared.unknowns.unknown(name):
        run.boot.obstacle = run.boot.obstacle or f"{what} is not known: {reference}"
    # No absolute path: such a file is found nowhere.
    return FileReference(Device(), run.shared.unknowns.shown(name).lstrip("/"))


def _words(run: Run, words: list[str], what: str) -> str:
    """Return a command line; one that only GRUB can fill in is an obstacle."""
    has_codes = any(map(_CODE.search, words))
    question = r"whether it is Red Hat's, which does not escape the backslash of \xHH"
    text = joined(words, keeps_codes=has_codes and run.ask(question, usual=False))
    unknowns = run.shared.unknowns
    if said := unknowns.unknown(text):
        run.boot.obstacle = run.boot.obstacle or f"only GRUB knows a part of {what}: {said}"
    return unknowns.shown(text)


def _result(run: Run, file: FileReference, name: str) -> Result:
    """Return whether GRUB can open a file."""
    if not file.path.startswith("/"):
        if run.shared.unknowns.unknown(name):
            return Doubt(f"whether there is {run.shared.unknowns.shown(name)}", usual=True)
        return NO_FILE
    node = run.shared.files.node(file)
    if not isinstance(node, Absent):
        return OK if not node.is_directory else NO_FILE
    if node.certain:
        return NO_FILE
    return Doubt(f"whether there is {run.shared.unknowns.shown(name)}: {node.reason}", usual=True)


def _linux(run: Run, words: list[str]) -> Result:
    if not words:
        return BAD_ARGUMENT
    run.boot.restart()
    run.boot.kernel = _file(run, words[0], "the kernel")
    run.boot.cmdline = _words(run, words[1:], "the command line")
    run.boot.loaded = _result(run, run.boot.kernel, words[0])
    return run.boot.loaded


def _initrd(run: Run, words: list[str]) -> Result:
    if run.boot.kernel is None or run.boot.multiboot or not words:
        return BAD_ARGUMENT
    run.boot.initrds = []
    for word in words:
        if word.startswith("newc:"):
            run.boot.obstacle = (
                run.boot.obstacle or f"GRUB packs files into an initrd itself: {word!r}"
            )
        elif not word.startswith("--"):
            run.boot.initrds.append(_file(run, word, "the initrd"))
    return OK


def _device_tree(run: Run, words: list[str]) -> Result:
    run.boot.device_tree = _file(run, words[0], "the device tree") if words else None
    return OK


def _multiboot(version: int) -> Action:
    def command(run: Run, words: list[str]) -> Result:
        words = [word for word in words if not word.startswith("--quirk-")]
        if not words:
            return BAD_ARGUMENT
        run.boot.restart()
        run.boot.multiboot = version
        run.boot.kernel = _file(run, words[0], "the kernel")
        run.boot.cmdline = _words(run, words[1:], "the command line")
        run.boot.loaded = _result(run, run.boot.kernel, words[0])
        return run.boot.loaded

    return command


def _module(run: Run, words: list[str]) -> Result:
    is_unpacked = words[:1] != ["--nounzip"]
    if not is_unpacked:
        words = words[1:]
    if not words or not run.boot.multiboot or run.boot.kernel is None:
        return BAD_ARGUMENT
    file = _file(run, words[0], "a module")
    cmdline = _words(run, words[1:], f"the command line of {words[0]}")
    run.boot.modules.append(GrubModule(file, cmdline, is_unpacked))
    return _result(run, file, words[0])


def _chainloader(run: Run, words: list[str]) -> Result:
    words = [word for word in words if word not in ("--force", "-f", "--bpb", "-b")]
    if not words:
        return BAD_ARGUMENT
    run.boot.restart()
    shown = run.shared.unknowns.shown(words[0])
    run.boot.starts = f"chainloads {shown} and is no Linux kernel"
    run.boot.loaded = OK
    reference = run.reference(words[0])
    if isinstance(reference, str):
        return OK
    found = run.shared.files.uki(reference)
    if not isinstance(found, UkiFacts):
        run.boot.starts += f" ({found})"
        return OK
    run.boot.kernel = reference
    run.boot.cmdline = _words(run, words[1:], "the command line") if words[1:] else found.cmdline
    if found.cmdline and run.boot.cmdline.split() != found.cmdline.split():
        run.boot.obstacle = "the UKI has another command line, and Secure Boot decides which counts"
    return OK


def _other(name: str) -> Action:
    def command(run: Run, words: list[str]) -> Result:
        run.boot.restart()
        run.boot.starts = f"starts {_OTHERS[name]}"
        run.boot.loaded = OK
        return OK

    return command


def _leave(name: str) -> Action:
    def command(run: Run, words: list[str]) -> Result:
        if "--is-supported" in words:
            return Doubt(f"whether the firmware has {name!r}", usual=True)
        run.boot.restart()
        run.boot.starts = f"starts {_ENDS[name]}"
        if run.is_entry:
            raise Booted
        raise Left(name)

    return command


def _nothing(run: Run, words: list[str]) -> Result:
    """Take in what goes with a kernel that is none for us."""
    return OK


def _boot(run: Run, words: list[str]) -> Result:
    """Start what has been loaded; where nothing is, this is an error and no more."""
    if run.is_true(run.boot.loaded):
        raise Booted
    return NO_KERNEL


LOADERS: dict[str, Action] = {
    **dict.fromkeys(("linux", "linux16", "linuxefi"), _linux),
    **dict.fromkeys(("initrd", "initrd16", "initrdefi"), _initrd),
    **dict.fromkeys(("devicetree", "fdt"), _device_tree),
    "multiboot": _multiboot(1),
    "multiboot2": _multiboot(2),
    **dict.fromkeys(("module", "module2"), _module),
    **{name: _other(name) for name in _OTHERS},
    **{name: _leave(name) for name in _ENDS},
    **dict.fromkeys(
        (
            "kfreebsd_loadenv", "kfreebsd_module", "kfreebsd_module_elf", "knetbsd_module",
            "knetbsd_module_elf", "kopenbsd_ramdisk", "legacy_initrd", "legacy_initrd_nounzip",
            "xnu_devprop_load", "xnu_kext", "xnu_kextdir", "xnu_mkext", "xnu_ramdisk",
            "xnu_splash", "xen_module", "xen_initrd", "xen_linux", "xen_xsm",
        ),
        _nothing,
    ),
    "chainloader": _chainloader,
    "boot": _boot,
}  # fmt: skip
