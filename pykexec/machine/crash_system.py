"""What a setup of crash dumps looks at in the system below a root."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from pykexec.crash_setup.loaders import EXTLINUX_FILE, GRUB_FILE, KERNEL_CMDLINE
from pykexec.crash_setup.system import Generator, Loader, Reserving
from pykexec.values.command_line import key_of, split_words

if TYPE_CHECKING:
    from collections.abc import Iterator

    from pykexec.machine.boot_tree import BootTree

_UNITS = ("/usr/lib/systemd/system", "/lib/systemd/system", "/etc/systemd/system")
_OTHERS = ("kdump-tools.service", "kdump.service", "kdump-early.service")
_GRUB_FILES = ("/etc/default/grub", "/etc/default/grub.d")
_OTHER_FILES = ("/etc/default/u-boot", "/etc/u-boot-menu/conf.d", KERNEL_CMDLINE)
_ASSIGNED = re.compile(r"""crashkernel=[^\s"']+""")
_LOADER_CONF = ("/boot/efi/loader/loader.conf", "/efi/loader/loader.conf",
                "/boot/loader/loader.conf")  # fmt: skip


def read_generator(tree: BootTree) -> Generator | None:
    """Tell what may build a capture initramfs; mkinitramfs can stand beside dracut."""
    if tree.exists("/usr/sbin/mkinitramfs"):
        return Generator.INITRAMFS_TOOLS
    return Generator.DRACUT if tree.exists("/usr/bin/dracut") else None


def read_loader(tree: BootTree) -> Loader:
    """Tell whose configuration has the command line of the next boot."""
    if tree.exists("/usr/sbin/grubby") and tree.exists("/etc/fedora-release"):
        return Loader.GRUBBY
    systemd = any(tree.exists(path) for path in _LOADER_CONF)
    if tree.exists("/usr/sbin/update-grub") and tree.exists("/boot/grub/grub.cfg"):
        return Loader.GRUB
    if tree.exists("/usr/sbin/u-boot-update") and tree.exists("/boot/extlinux/extlinux.conf"):
        return Loader.EXTLINUX
    if systemd and tree.exists("/usr/bin/kernel-install"):
        return Loader.SYSTEMD_BOOT
    if tree.exists("/boot/firmware/cmdline.txt"):
        return Loader.RASPBERRY_PI
    if tree.exists("/etc/zipl.conf"):
        return Loader.ZIPL
    return Loader.UNKNOWN


def read_others(tree: BootTree) -> tuple[str, ...]:
    """Return the units of other kdumps that are enabled."""
    return tuple(unit for unit in _OTHERS if is_enabled(tree, unit))


def is_enabled(tree: BootTree, unit: str) -> bool:
    """Tell whether a target wants the unit, by a link of the administrator's."""
    base = "/etc/systemd/system"
    wants = [name for name in tree.names(base) if name.endswith((".wants", ".requires"))]
    # Not followed: the unit may be gone, and the link left behind.
    return any(unit in tree.names(f"{base}/{name}") for name in wants) and has_unit(tree, unit)


def has_unit(tree: BootTree, unit: str) -> bool:
    """Tell whether the unit is installed."""
    return any(tree.exists(f"{place}/{unit}") for place in _UNITS)


def read_reserving(tree: BootTree, own_word: str) -> tuple[Reserving, ...]:
    """Return every ``crashkernel=`` in the boot loaders' configurations, save our own."""
    found = []
    for place in (*_GRUB_FILES, *_OTHER_FILES):
        for path in _files(tree, place):
            text = tree.text(path) or ""
            lines = (line for line in text.splitlines() if not line.lstrip().startswith("#"))
            words = [word for line in lines for word in _ASSIGNED.findall(line)]
            found += [Reserving(path, word) for word in words if word != own_word]
    return tuple(found)


def _files(tree: BootTree, place: str) -> Iterator[str]:
    names = tree.names(place)
    for name in names:
        # What grub-mkconfig and u-boot-update read; not what dpkg keeps beside it.
        path = f"{place}/{name}"
        if name.endswith((".cfg", ".conf")) and path not in (GRUB_FILE, EXTLINUX_FILE):
            yield path
    if not names and tree.exists(place):
        yield place


def read_confined(tree: BootTree) -> str:
    """Tell of a container or a chroot; "" for a machine."""
    for path in ("/run/systemd/container", "/.dockerenv", "/run/.containerenv"):
        if tree.exists(path):
            kind = (tree.text(path) or "").strip() if path.endswith("/container") else ""
            return f"a container ({kind or path})"
    own, first = tree.identity("/"), tree.identity("/proc/1/root")
    if tree.root == "/" and own is not None and first is not None and own != first:
        return "a chroot"
    return ""


def read_family(tree: BootTree) -> str:
    """Return which kind of distribution it is: ``debian``, ``fedora``, ``arch``, or its own id."""
    text = tree.text("/etc/os-release") or tree.text("/usr/lib/os-release") or ""
    values = dict(re.findall(r'(?m)^(ID|ID_LIKE)="?([^"\n]*)"?$', text))
    words = [values.get("ID", ""), *values.get("ID_LIKE", "").split()]
    known = (word for word in words if word in ("debian", "fedora", "arch", "suse"))
    return next(known, "fedora" if "rhel" in words else words[0])


def find_kernel(tree: BootTree, release: str) -> str:
    """Return the image of an installed kernel, "" where there is none."""
    places = (f"/boot/vmlinuz-{release}", f"/lib/modules/{release}/vmlinuz",
              f"/boot/vmlinux-{release}")  # fmt: skip
    return next((path for path in places if tree.exists(path)), "")


def find_initramfs(tree: BootTree, release: str) -> str:
    """Return the ordinary initramfs of an installed kernel, "" where there is none."""
    names = (f"initrd.img-{release}", f"initramfs-{release}.img", f"initrd-{release}")
    places = (f"/boot/{name}" for name in names)
    return next((path for path in places if tree.exists(path)), "")


def running_word(cmdline: bytes) -> str:
    """Return the ``crashkernel=`` of a command line that counts, "" for none."""
    words = [word for word in split_words(cmdline) if key_of(word) == "crashkernel"]
    return words[-1].decode("utf-8", "replace") if words else ""
