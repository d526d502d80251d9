"""``crashkernel=`` in each boot loader's own configuration. Pure.

A file of our own where the loader reads a directory of them; else what its owner has to write. The
kernel takes the last word (Linux kernel/crash_reserve.c, "get_last_crashkernel").
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from pykexec.crash_setup.steps import Run, WriteFile
from pykexec.crash_setup.system import Loader

if TYPE_CHECKING:
    from pykexec.crash_setup.steps import Step
    from pykexec.crash_setup.system import System

GRUB_FILE = "/etc/default/grub.d/50-pykexec.cfg"
EXTLINUX_FILE = "/etc/u-boot-menu/conf.d/50-pykexec.conf"
KERNEL_CMDLINE = "/etc/kernel/cmdline"
_FIRST = "# Written by pykexec crash setup, which --undo takes away.\n"
_WHY = "memory for the crash kernel, at the next boot"


def loader_steps(system: System, word: str) -> tuple[list[Step], tuple[str, ...]]:
    """Return the steps that put ``word`` on the next boot's command line, and what is by hand."""
    if system.loader is Loader.GRUB:
        name = "GRUB_CMDLINE_LINUX_DEFAULT"
        return _drop_in(GRUB_FILE, name, word, ("update-grub",))
    if system.loader is Loader.EXTLINUX:
        # u-boot-update's own default, which an assignment would otherwise replace.
        name = "U_BOOT_PARAMETERS"
        return _drop_in(EXTLINUX_FILE, name, word, ("u-boot-update",), "ro quiet")
    if system.loader is Loader.SYSTEMD_BOOT and system.kernel_cmdline is not None:
        line = with_word(system.kernel_cmdline, word, system.own_word)
        step = WriteFile(KERNEL_CMDLINE, line, f"{_WHY}; every other word stays")
        run = Run(("kernel-install", "add", system.release, system.kernel),
                  "the boot entry of the running kernel, anew", (KERNEL_CMDLINE,))  # fmt: skip
        return [step, run], ()
    return [], _by_hand(system, word)


def _drop_in(
    path: str, name: str, word: str, command: tuple[str, ...], default: str = ""
) -> tuple[list[Step], tuple[str, ...]]:
    before = f"${{{name}:-{default}}}" if default else f"${name}"
    text = f'{_FIRST}{name}="{before} {word}"\n'
    return [
        WriteFile(path, text.encode(), _WHY),
        Run(command, "write the boot loader's menu anew", (path,)),
    ], ()


def with_word(line: bytes, word: str, own: str) -> bytes:
    """Return a command line with ``word`` at its end, in place of our own of before."""
    kept = [item for item in line.split() if not own or item != own.encode()]
    return b" ".join([*kept, word.encode()] if word else kept) + b"\n"


def _by_hand(system: System, word: str) -> tuple[str, ...]:
    if system.loader is Loader.GRUBBY:
        return (f'grubby --update-kernel=ALL --args="{word}"',)
    if system.loader is Loader.RASPBERRY_PI:
        return (f"add {word} to the line of /boot/firmware/cmdline.txt",)
    if system.loader is Loader.ZIPL:
        return (f"add {word} to the parameters in /etc/zipl.conf, and call zipl",)
    if system.loader is Loader.SYSTEMD_BOOT:
        return (
            f"write the kernel's command line with {word} into {KERNEL_CMDLINE}, and call "
            f"kernel-install add {system.release} {system.kernel}",
        )
    return (f"add {word} to the kernel's command line in the boot loader's configuration",)
