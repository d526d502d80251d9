"""Damaged configurations of every loader but GRUB: an answer or an error of ours, and soon."""

from __future__ import annotations

import random
import time
from typing import TYPE_CHECKING

import pytest

from pykexec.errors import PykexecError
from pykexec.machine.boot_entries import read_boot_entries
from tests.builders.boot_configs import EXTLINUX, fedora_entry, write_system
from tests.builders.bzimage import KernelSpec, build_bzimage
from tests.builders.images import build_uki
from tests.builders.pe_files import MACHINE_ARM64, build_pe
from tests.builders.plain_configs import (
    CONFIG_TXT,
    GRUB_CONF,
    LIMINE_CFG,
    LIMINE_CONF,
    MENU_LST,
    REFIND_CONF,
    REFIND_LINUX,
    ZIPL_CONF,
)

if TYPE_CHECKING:
    from pathlib import Path

UKI = build_uki(
    build_bzimage(KernelSpec(payload_size=512)),
    (".osrel", b"ID=a\nPRETTY_NAME=a\n"),
    (".cmdline", b"root=/dev/vda2"),
)
ADDON = build_pe(MACHINE_ARM64, [(".sbat", b"x"), (".cmdline", b"console=ttyS0")])
SYSLINUX = """include more.cfg
menu include more.cfg
ui vesamenu.c32
timeout 50
label xen
  kernel mboot.c32
  append xen.gz --- vmlinuz ro --- initrd.img
  text help
  about it
  endtext
label disk
  localboot 0
"""
SYSTEMS: tuple[dict[str, str | bytes], ...] = (
    {"/boot/extlinux/extlinux.conf": EXTLINUX},
    {"/boot/syslinux/syslinux.cfg": SYSLINUX, "/boot/syslinux/more.cfg": EXTLINUX},
    {
        "/boot/loader/loader.conf": "default a*\npreferred b.conf\ntimeout 3\n",
        "/boot/loader/entries/a+3-1.conf": fedora_entry("6.12"),
        "/boot/loader/entries/b.conf": "title b\nefi /EFI/Linux/a.efi\noptions x\n",
        "/boot/EFI/Linux/a.efi": UKI,
        "/boot/loader/addons/a.addon.efi": ADDON,
    },
    {"/boot/grub/menu.lst": MENU_LST, "/boot/grub/default": "1\n"},
    {"/boot/grub/grub.conf": GRUB_CONF, "/boot/grub/default": "0\n#\n"},
    {
        "/boot/firmware/config.txt": CONFIG_TXT + "include more.txt\n[pi4]\nkernel=a\n",
        "/boot/firmware/more.txt": "os_prefix=a/\ninitramfs b followkernel\n",
        "/boot/firmware/cmdline.txt": "root=PARTUUID=6a8c-02\n",
        "/proc/device-tree/model": "Raspberry Pi 4 Model B Rev 1.4\0",
    },
    {"/boot/refind_linux.conf": REFIND_LINUX, "/boot/vmlinuz-6.12": "k", "/boot/initrd-6.12": "i"},
    {"/boot/EFI/refind/refind.conf": REFIND_CONF},
    {"/boot/limine.conf": LIMINE_CONF},
    {"/boot/limine.cfg": LIMINE_CFG},
    {"/etc/zipl.conf": ZIPL_CONF, "/boot/parmfile-test": "ro\n"},
)
PIECES = (
    b"", b"\n", b"\0", b"\xff", b" ", b"\t", b'"', b"'", b"#", b"{", b"}", b"[", b"]", b"=", b":",
    b"/", b"//", b"..", b"$", b"${ROOT}", b"%v", b"%", b"---", b"title ", b"label ", b"default ",
    b"include ", b"kernel ", b"linux ", b"efi ", b"menuentry ", b"submenuentry ", b"[pi5]\n",
    b"os_prefix=", b"(hd0,0)", b"9" * 30, b"x" * 5000, b"\r\n", b"saved", b"@saved", b"auto-",
)  # fmt: skip


def damaged(generator: random.Random, data: bytes) -> bytes:
    mutated = bytearray(data)
    for _ in range(generator.randint(1, 8)):
        at = generator.randint(0, len(mutated))
        kind = generator.randrange(4)
        if kind == 0:
            mutated[at : at + generator.randint(0, 20)] = generator.choice(PIECES)
        elif kind == 1:
            del mutated[at:]
        elif kind == 2 and mutated:
            mutated[at % len(mutated)] = generator.randrange(256)
        else:
            start = generator.randint(0, len(mutated))
            mutated[at:at] = mutated[start : start + generator.randint(0, 200)]
    return bytes(mutated)


@pytest.mark.parametrize("count", [300, pytest.param(10_000, marks=pytest.mark.full)])
def test_damaged_configurations(tmp_path: Path, count: int) -> None:
    generator = random.Random(count)
    roots = [write_system(tmp_path / str(n), files) for n, files in enumerate(SYSTEMS)]
    for number in range(count):
        index = number % len(SYSTEMS)
        root, files = roots[index], SYSTEMS[index]
        path = generator.choice(list(files))
        content = files[path]
        whole = content.encode() if isinstance(content, str) else content
        data = damaged(generator, whole)
        write_system(root, {path: data})
        started = time.process_time()
        try:
            found = read_boot_entries(root, "x86_64")
        except PykexecError:
            continue
        finally:
            write_system(root, {path: whole})
        assert time.process_time() - started < 2, (path, data)
        assert found.default is None or found.default in found.entries
        assert found.reason
        ids = [(entry.source, entry.id) for entry in found.entries]
        assert all(ident for _, ident in ids), (path, data)
