"""Boot images of beoboot: what they bring, and what of them does not fit."""

from __future__ import annotations

from typing import Literal

import pytest

from pykexec.errors import ImageError
from pykexec.formats import identify
from pykexec.planning.plans import LoadRequest
from pykexec.planning.unwrapping import unwrap
from tests.builders.bzimage import build_bzimage
from tests.builders.images import build_beoboot

KERNEL = build_bzimage()
INITRD = b"070701" * 500


@pytest.mark.parametrize("order", ["big", "little"])
@pytest.mark.parametrize("cmdline", [b"", b"ro quiet", b"x" * 300, b"y" * 256])
def test_what_it_brings(order: Literal["big", "little"], cmdline: bytes) -> None:
    found = identify(build_beoboot(KERNEL, INITRD, cmdline, size_order=order), "x86_64")
    assert bytes(found.file) == KERNEL
    assert [item.name for item in found.wrappings] == ["beoboot"]
    assert found.brought is not None
    assert found.brought.cmdline == cmdline
    assert bytes(found.brought.initrd or b"") == INITRD


def test_an_initrd_that_no_flag_tells_of_is_none() -> None:
    found = identify(build_beoboot(KERNEL) + INITRD)
    assert found.brought is not None
    assert found.brought.initrd is None


def test_what_is_given_stands_instead() -> None:
    image = build_beoboot(KERNEL, INITRD, b"quiet")
    found = identify(image)
    taken = unwrap(LoadRequest(image), found)
    assert (taken.cmdline, bytes(taken.initrd or b"")) == (b"quiet", INITRD)
    assert "the command line is the beoboot image's" in taken.notes
    given = unwrap(LoadRequest(image, initrd=b"own", cmdline=b"ro"), found)
    assert (given.cmdline, given.initrd) == (b"ro", b"own")
    assert "the initrd is the one given; the beoboot image's is not used" in given.notes


@pytest.mark.parametrize(
    ("data", "words"),
    [
        (build_beoboot(KERNEL, arch=2), "is for architecture 2 of beoboot's; known is 1 alone"),
        (build_beoboot(KERNEL, arch=9), "is for architecture 9"),
        (build_beoboot(KERNEL, INITRD)[:-1], "truncated or malformed: behind a command line of 18"),
        (build_beoboot(KERNEL, cmdline=b"a\0b"), "truncated or malformed"),
        (b"BeoB\1", "the beoboot header needs 16 bytes"),
        (build_beoboot(b"no kernel"), "in beoboot: not a kernel image"),
        (build_beoboot(b""), "in beoboot: the kernel file is empty"),
    ],
)
def test_refuses(data: bytes, words: str) -> None:
    with pytest.raises(ImageError) as caught:
        identify(data)
    assert words in str(caught.value)
