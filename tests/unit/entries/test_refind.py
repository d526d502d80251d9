"""rEFInd's refind_linux.conf and refind.conf."""

from __future__ import annotations

import pytest

from pykexec.entries.refind import kernel_version, parse_refind, parse_refind_linux
from tests.builders.plain_configs import REFIND_CONF, REFIND_LINUX, around

NAMES = ("config-6.12", "initramfs-6.12.img", "initramfs-6.11.img", "vmlinuz-6.11", "vmlinuz-6.12")


def test_each_line_is_an_entry_for_each_kernel_beside_it() -> None:
    found = parse_refind_linux(REFIND_LINUX, "/boot/refind_linux.conf", around(names=NAMES))
    assert [(e.id, e.initrds, e.cmdline) for e in found.entries[3:]] == [
        (
            "vmlinuz-6.12>Boot with standard options",
            ("/boot/initramfs-6.12.img",),
            "root=UUID=6a8c rw quiet",
        ),
        (
            "vmlinuz-6.12>Boot to single-user mode",
            ("initramfs-6.12.img",),
            'root=UUID=6a8c rw single dyndbg="file x.c +p"',
        ),
        ("vmlinuz-6.12>Boot with minimal options", ("initramfs-6.12.img",), "ro root=UUID=6a8c"),
    ]
    assert len(found.entries) == 6
    assert (found.default, found.problems) == (None, ())
    assert found.reason.startswith("/boot/refind_linux.conf names no default")


def test_arch_without_versions() -> None:
    names = ("initramfs-linux-fallback.img", "initramfs-linux.img", "vmlinuz-linux")
    (entry,) = parse_refind_linux('"a" "rw"\n', "r", around(names=names)).entries
    assert (entry.kernel, entry.initrds) == ("vmlinuz-linux", ("initramfs-linux.img",))


@pytest.mark.parametrize(
    ("kernel", "initrd"),
    [
        ("vmlinuz-6.1.0-26-generic", "initrd.img-6.1.0-26-generic"),
        ("vmlinuz-6.1.0-26-lowlatency", "initrd.img-6.1.0-26-lowlatency"),
        # No other version's, be it longer.
        ("vmlinuz-6.1.0-2", None),
        ("vmlinuz-6.6-x86_64", "initramfs-6.6-x86_64.img"),
    ],
)
def test_initrds_by_version(kernel: str, initrd: str | None) -> None:
    names = (
        kernel, "initrd.img-6.1.0-26-generic", "initrd.img-6.1.0-26-lowlatency",
        "initramfs-6.6-x86_64-fallback.img", "initramfs-6.6-x86_64.img",
    )  # fmt: skip
    (entry,) = parse_refind_linux('"a" "v=%v"\n', "r", around(names=names)).entries
    assert entry.initrds == ((initrd,) if initrd else ())
    assert entry.cmdline == f"v={kernel_version(kernel)}"


def test_a_line_without_options() -> None:
    found = parse_refind_linux('"only a title"\n# x\n', "r", around(names=NAMES))
    assert found.problems == (
        "r, line 1: a title and options are needed, there is only 'only a title'",
    )


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("vmlinuz-6.12.57+deb13-amd64", "6.12.57+deb13-amd64"),
        ("vmlinuz-6.1.0-26-generic", "6.1.0-26"),
        ("bzImage-3.efi", "3"),
        ("k", ""),
    ],
)
def test_versions(name: str, expected: str) -> None:
    assert kernel_version(name) == expected


def test_stanzas() -> None:
    found = parse_refind(REFIND_CONF, "refind.conf", around())
    assert [(e.id, e.kernel, e.initrds, e.cmdline) for e in found.entries] == [
        (
            "Arch Linux",
            "(volume:Arch Root)/boot/vmlinuz-linux",
            ("(volume:Arch Root)/boot/initramfs-linux.img",),
            "root=PARTUUID=5028fa50 rw add_efi_memmap",
        ),
        (
            "Arch Linux>Boot using fallback initramfs",
            "(volume:Arch Root)/boot/vmlinuz-linux",
            ("(volume:Arch Root)/boot/initramfs-linux-fallback.img",),
            "root=PARTUUID=5028fa50 rw add_efi_memmap",
        ),
        (
            "Arch Linux>Boot to terminal",
            "(volume:Arch Root)/boot/vmlinuz-linux",
            ("(volume:Arch Root)/boot/initramfs-linux.img",),
            "root=PARTUUID=5028fa50 rw add_efi_memmap systemd.unit=multi-user.target",
        ),
    ]
    assert found.default == "Arch Linux"
    assert found.reason == "default_selection 'Arch' in refind.conf"
    told = (
        "default_selection 'Arch' in refind.conf is a part of the title 'Arch Linux', and may be "
        "one of what rEFInd finds itself",
    )
    assert found.problems == told
    for text in (
        REFIND_CONF.replace('"Arch"', '"arch linux"'), f"scanfor manual\n{REFIND_CONF}",
    ):  # fmt: skip
        found = parse_refind(text, "refind.conf", around())
        assert (found.default, found.problems) == ("Arch Linux", ())


@pytest.mark.parametrize(
    ("selection", "reason"),
    [
        ("+", "refind.conf names no default: rEFInd starts what it started last"),
        ("Windows", "which starts /EFI/Microsoft/Boot/bootmgfw.efi, which is an EFI program"),
        ("Fedora", "which 0 of its stanzas are called"),
        ("2", "is a place or a key in rEFInd's menu, which only rEFInd knows"),
        ("Arch 8:00 17:00", "which 0 of its stanzas are called"),
        ("=Arch,Windows", "which 0 of its stanzas are called"),
    ],
)
def test_defaults_that_are_none(selection: str, reason: str) -> None:
    text = REFIND_CONF.replace('"Arch"', selection)
    found = parse_refind(text, "refind.conf", around())
    assert found.default is None
    assert found.reason.endswith(reason)


def test_files_within_files_and_stanzas_that_are_none() -> None:
    files = {"more.conf": "menuentry x {\nloader vmlinuz\n}\n", "loop.conf": "include loop.conf\n"}
    text = "include more.conf\ninclude gone.conf\ninclude loop.conf\nsubmenuentry y {\n}\n"
    found = parse_refind(text + "menuentry z {\nloader /a\n", "r", around(files))
    assert [(e.id, e.kernel) for e in found.entries] == [("x", "/vmlinuz"), ("z", "/a")]
    assert found.problems == (
        "r, line 2: cannot read 'gone.conf': there is no such file",
        "loop.conf, line 1: cannot read 'loop.conf': too many files within each other",
        "r, line 4: 'submenuentry' is not where it can be, or has no title",
        "r, line 6: the stanza has no end",
    )
