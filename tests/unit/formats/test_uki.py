"""Unified kernel images: which sections count, and how much of them."""

from __future__ import annotations

import struct

import pytest

from pykexec.errors import ImageError
from pykexec.formats import identify
from pykexec.formats.uki import Uki
from tests.builders.bzimage import build_bzimage
from tests.builders.images import build_image, build_uki
from tests.builders.pe_files import MACHINE_ARM64, MACHINE_X86_64, build_pe

IMAGE = build_image()


def uki_of(data: bytes) -> Uki:
    uki = identify(data).brought
    assert isinstance(uki, Uki)
    return uki


def test_what_a_uki_brings() -> None:
    uki = uki_of(
        build_uki(
            IMAGE,
            (".osrel", b'NAME=x\nPRETTY_NAME="An OS 13"\n'),
            (".cmdline", b" root=/dev/vda1 quiet\n\0"),
            (".uname", b"6.99.0-synthetic\0"),
            (".initrd", b"the initrd"),
            (".dtb", b"\xd0\x0d\xfe\xed for all"),
            (".dtbauto", b"\xd0\x0d\xfe\xed one"),
            (".dtbauto", b"\xd0\x0d\xfe\xed two"),
        )
    )
    assert uki.os_release == "An OS 13"
    assert uki.cmdline == b"root=/dev/vda1 quiet"
    assert uki.uname == "6.99.0-synthetic"
    assert uki.initrd is not None
    assert bytes(uki.initrd) == b"the initrd"
    assert uki.device_tree is not None
    assert bytes(uki.device_tree) == b"\xd0\x0d\xfe\xed for all"
    assert [bytes(tree)[5:] for tree in uki.device_trees] == [b"one", b"two"]
    assert uki.profiles == 0
    assert uki.sections[0] == ".text"
    assert uki.sections[-1] == ".linux"


def test_a_uki_with_nothing_but_a_kernel() -> None:
    uki = uki_of(build_uki(IMAGE))
    assert uki == Uki(None, None, None, (), "", "", 0, (".text", ".linux"))


def test_a_section_ends_with_its_virtual_size() -> None:
    """A signed kernel would not verify with the padding behind it."""
    found = identify(build_uki(IMAGE, (".initrd", b"i" * 513)))
    assert bytes(found.file) == IMAGE
    assert found.brought is not None
    assert found.brought.initrd is not None
    assert len(found.brought.initrd) == 513


def test_a_kernel_for_x86_comes_out_of_a_uki() -> None:
    kernel = build_bzimage()
    found = identify(build_uki(kernel, machine=MACHINE_X86_64), "x86_64")
    assert bytes(found.file) == kernel


def test_microcode_goes_before_the_initrd() -> None:
    uki = uki_of(build_uki(IMAGE, (".initrd", b"initrd"), (".ucode", b"ucode")))
    assert uki.initrd == b"ucode\0\0\0initrd\0\0"
    assert bytes(uki_of(build_uki(IMAGE, (".ucode", b"ucode"))).initrd or b"") == b"ucode"


def test_an_empty_initrd_is_none() -> None:
    assert uki_of(build_uki(IMAGE, (".initrd", b""))).initrd is None


def test_of_equal_sections_the_first_counts() -> None:
    assert uki_of(build_uki(IMAGE, (".cmdline", b"one"), (".cmdline", b"two"))).cmdline == b"one"


def profiled(*sections: tuple[str, bytes]) -> bytes:
    base = [(".linux", IMAGE), (".cmdline", b"base"), (".initrd", b"base"), (".dtbauto", b"base")]
    return build_pe(MACHINE_ARM64, [*base, *sections])


def test_the_first_profile_stands_over_the_base() -> None:
    uki = uki_of(
        profiled(
            (".profile", b"ID=main"),
            (".cmdline", b"first"),
            (".dtbauto", b"first"),
            (".profile", b"ID=rescue"),
            (".cmdline", b"second"),
            (".initrd", b"second"),
        )
    )
    assert (uki.cmdline, bytes(uki.initrd or b"")) == (b"first", b"base")
    assert [bytes(tree) for tree in uki.device_trees] == [b"first"]
    assert uki.profiles == 2


@pytest.mark.parametrize(
    ("name", "cmdline", "initrd", "remark"),
    [
        ("0", b"first", b"base", "the first is used"),
        ("main", b"first", b"base", "the first is used"),
        ("1", b"second", b"second", "number 1, counted from 0, is used"),
        ("rescue", b"second", b"second", "number 1, counted from 0, is used"),
        ("2", b"base", b"base", "number 2, counted from 0, is used"),
    ],
)
def test_a_profile_that_is_named(name: str, cmdline: bytes, initrd: bytes, remark: str) -> None:
    data = profiled(
        (".profile", b"ID=main"),
        (".cmdline", b"first"),
        (".profile", b"ID=rescue\nTITLE=Rescue\n"),
        (".cmdline", b"second"),
        (".initrd", b"second"),
        (".profile", b""),
    )
    uki = identify(data, configuration=name).brought
    assert isinstance(uki, Uki)
    assert (uki.cmdline, bytes(uki.initrd or b"")) == (cmdline, initrd)
    assert uki.remarks == (f"of the UKI's 3 profiles, {remark}",)


@pytest.mark.parametrize(
    ("profiles", "message"),
    [
        ((b"ID=main", b""), "the UKI has no profile '7'; it has 0 (main), 1"),
        ((), "the UKI has no profile '7'; it has none at all"),
    ],
)
def test_a_profile_that_is_none(profiles: tuple[bytes, ...], message: str) -> None:
    data = profiled(*((".profile", text) for text in profiles))
    with pytest.raises(ImageError) as caught:
        identify(data, configuration="7")
    assert caught.value.message == message


@pytest.mark.parametrize(
    ("data", "words"),
    [
        (build_pe(MACHINE_ARM64, [(".text", b"x")]), "an EFI program without a kernel in it"),
        (build_pe(MACHINE_ARM64, [(".linux", b"")]), "the UKI has no kernel: its .linux is empty"),
        (
            build_pe(MACHINE_ARM64, [(".profile", b""), (".profile", b""), (".linux", IMAGE)]),
            "the UKI has no kernel: its .linux is in another profile",
        ),
    ],
)
def test_a_uki_without_a_kernel(data: bytes, words: str) -> None:
    with pytest.raises(ImageError) as caught:
        identify(data)
    assert words in caught.value.message


@pytest.mark.parametrize("name", [".linux", ".initrd", ".cmdline"])
def test_a_section_that_is_larger_than_what_the_file_has_of_it(name: str) -> None:
    data = bytearray(build_uki(IMAGE, (".initrd", b"initrd"), (".cmdline", b"ro")))
    at = data.index(name.encode().ljust(8, b"\0")) + 8
    raw = struct.unpack_from("<I", data, at + 8)[0]
    struct.pack_into("<I", data, at, raw + 1)
    words = rf"its section \{name} has {raw + 1} bytes \(VirtualSize\), of which the file has {raw}"
    with pytest.raises(ImageError, match=words):
        identify(bytes(data))
