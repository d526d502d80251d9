"""Finding an entry by what people call it."""

from __future__ import annotations

import pytest

from pykexec.entries import BootEntry, Source, select
from pykexec.errors import MachineError

ENTRIES = (
    BootEntry(Source.BLS, "debian-6.12.conf", "Debian", "", "/boot/a", version="6.12"),
    BootEntry(Source.GRUB, "advanced>gnulinux-6.12", "Debian, 6.12", "", "/boot/b", version="6.12"),
    BootEntry(Source.GRUB, "Debian", "Debian", "", "/boot/c", version="6.1"),
)


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("debian-6.12.conf", 0),
        ("debian-6.12", 0),
        ("bls:Debian", 0),
        ("advanced>gnulinux-6.12", 1),
        ("gnulinux-6.12", 1),
        ("Debian, 6.12", 1),
        ("/boot/b", 1),
        ("grub:6.12", 1),
        # An id goes before a title.
        ("Debian", 2),
        ("6.1", 2),
    ],
)
def test_names(name: str, expected: int) -> None:
    assert select(ENTRIES, name) is ENTRIES[expected]


@pytest.mark.parametrize(
    ("name", "message", "hint"),
    [
        (
            "6.12",
            "2 boot entries are called '6.12'",
            "give one of bls:debian-6.12.conf, grub:advanced>gnulinux-6.12",
        ),
        (
            "bls:6.1",
            "there is no boot entry '6.1'",
            "there are 'debian-6.12.conf'",
        ),
        ("uki:x", "there is no boot entry 'x'", "there are none at all"),
    ],
)
def test_refusals(name: str, message: str, hint: str) -> None:
    with pytest.raises(MachineError) as caught:
        select(ENTRIES, name)
    assert (caught.value.message, caught.value.hint) == (message, hint)
