"""What an ELF kernel says of itself, and that no file makes that long or wild."""

from __future__ import annotations

import contextlib
import random
import struct
import time

import pytest

from pykexec.errors import ImageError
from pykexec.formats import identify
from pykexec.formats.compression import Codec
from pykexec.formats.elf_details import Note, Section, Segment, find_banner, read_details
from tests.builders.compressed import compress
from tests.builders.elf import build_x86_vmlinux
from tests.builders.images import build_image, build_vmlinux
from tests.builders.linked_elf import BANNER, BUILD_ID, Linked, build_linked

WHOLE = build_linked()


@pytest.mark.parametrize("note_segment", [True, False])
@pytest.mark.parametrize(("bits", "machine"), [(64, 62), (64, 183), (32, 3)])
@pytest.mark.parametrize("order", ["<", ">"])
def test_all_is_read(bits: int, machine: int, order: str, note_segment: bool) -> None:
    found = read_details(build_linked(Linked(bits, order, machine, note_segment=note_segment)))
    assert (found.bits, found.byte_order) == (bits, "little" if order == "<" else "big")
    assert (found.type, found.entry) == ("EXEC", 0x1000000)
    assert found.machine == {62: "X86_64", 183: "AARCH64", 3: "386"}[machine]
    assert found.build_id == BUILD_ID.hex()
    assert found.banner == BANNER.decode().rstrip()
    assert found.release == "6.12.0-synthetic"
    vaddr = 0xFFFFFFFF81000000 if bits == 64 else 0xC1000000
    (segment,) = found.segments
    assert segment == Segment(vaddr, 0x1000000, segment.filesz, segment.filesz, "RE")
    assert found.sections[0] == Section(".text", vaddr, found.sections[0].size)
    assert found.sections[-1] == Section(".orc_unwind", 0x82C5D44C, 16)
    assert found.notes == (
        Note("Xen", 6, "guest OS", 6, "linux"),
        Note("Linux", 0x100, "build salt", 5, "salt"),
        Note("GNU", 3, "build ID", 20, ""),
    )


def test_a_file_without_sections_notes_and_banner() -> None:
    found = read_details(build_linked(Linked(banner=b"", build_id=None, sections=())))
    assert (found.build_id, found.banner, found.release) == ("", "", "")
    stripped = read_details(build_x86_vmlinux())
    assert (stripped.sections, stripped.notes) == ((), ())
    assert stripped.release == "6.99.0-synthetic"


def test_a_note_may_be_without_a_name() -> None:
    """As the ABI has it, though some releases of pyelftools do not; and zeros may follow."""
    found = read_details(build_vmlinux(build_image()))
    assert found.notes == (Note("", 0, "", 0, ""),)


def test_a_note_that_is_longer_than_all_of_them() -> None:
    first = WHOLE.index(b"Xen\0") - 12
    with pytest.raises(ImageError, match="a note of 4096 bytes and a name of 4 in the last"):
        read_details(patched(first + 4, "<I", 4096))


def test_the_banner_that_counts_is_the_whole_one() -> None:
    early = BANNER.replace(b"#1", b"#")
    assert find_banner(early + b"\0" + BANNER) == BANNER.decode().rstrip()
    assert find_banner(early) == early.decode().rstrip()
    assert find_banner(b"Linux version %s (%s)") == ""


def test_what_a_kernel_was_taken_out_of_is_kept() -> None:
    vmlinux = build_x86_vmlinux()
    assert bytes(identify(vmlinux).elf or b"") == vmlinux
    assert bytes(identify(compress(Codec.GZIP, vmlinux)).elf or b"") == vmlinux
    from tests.builders.bzimage import build_bzimage

    assert identify(build_bzimage()).elf is None


def patched(at: int, form: str, *values: int) -> bytes:
    return WHOLE[:at] + struct.pack(form, *values) + WHOLE[at + struct.calcsize(form) :]


SECTIONS_AT = struct.unpack_from("<Q", WHOLE, 40)[0]
NOTES_AT = 64 + 56  # program header
HOSTILE = {
    "no ELF": b"MZ" + bytes(100),
    "only its magic": b"\x7fELF",
    "cut in the header": WHOLE[:40],
    "class 9": patched(4, "B", 9),
    "many sections": patched(60, "<H", 0xFFFF),
    "a number of sections behind 16 bits": patched(60, "<H", 0)[:SECTIONS_AT]
    + struct.pack("<IIQQQQIIQQ", 0, 0, 0, 0, 0, 1 << 40, 0, 0, 0, 0),
    "many segments": patched(56, "<H", 0xFFF0),
    "sections behind the file": patched(40, "<Q", 1 << 62),
    "an entry size of nothing": patched(58, "<H", 0),
    "names out of no section": patched(62, "<H", 0xFF00),
    "notes without an end": patched(NOTES_AT + 32, "<Q", 1 << 40),
    "notes behind the file": patched(NOTES_AT + 8, "<Q", 1 << 63),
}


@pytest.mark.parametrize("name", HOSTILE)
def test_what_no_kernel_is_ends_soon(name: str) -> None:
    started, message = time.process_time(), ""
    try:
        read_details(HOSTILE[name])
    except ImageError as error:
        message = error.message
    assert time.process_time() - started < 2
    # Some bounds the package passes over.
    assert message or name in {"an entry size of nothing", "notes behind the file"}
    assert "\n" not in message
    assert len(message) < 300


@pytest.mark.parametrize("kind", [2, 6, 9, 11, 0x6FFFFFF6, 0x6FFFFFFE])
def test_sections_that_lead_to_themselves(kind: int) -> None:
    """Tables of symbols, hashes and versions, of which the package opens what they link to."""
    shdrs = b"".join(
        struct.pack("<IIQQQQIIQQ", 0, kind, 0, 0, 64, 1 << 20, at, 0, 8, 24) for at in range(2000)
    )
    ehdr = WHOLE[:16] + struct.pack("<HHIQQQIHHHHHH", 2, 62, 1, 0, 0, 64, 0, 64, 56, 0, 64, 2000, 0)
    started = time.process_time()
    with contextlib.suppress(ImageError):
        read_details(ehdr + shdrs)
    assert time.process_time() - started < 2


def test_one_name_for_all_sections_is_not_read_for_each() -> None:
    """Names without an end that overlap: each would be all that follows."""
    names = b"A" * (16 << 20)
    shdrs = b"".join(
        struct.pack("<IIQQQQIIQQ", at, 1, 0, 0, 0, 0, 0, 0, 0, 0) for at in range(2000)
    )
    table = struct.pack("<IIQQQQIIQQ", 0, 3, 0, 0, 64, len(names), 0, 0, 0, 0) + shdrs
    ehdr = WHOLE[:16] + struct.pack(
        "<HHIQQQIHHHHHH", 2, 62, 1, 0, 0, 64 + len(names), 0, 64, 56, 0, 64, 2001, 0
    )
    started = time.process_time()
    with pytest.raises(ImageError):
        read_details(ehdr + names + table)
    assert time.process_time() - started < 2


def check_damage(count: int) -> None:
    made = random.Random(count)
    kinds = [build_linked(Linked(bits, order)) for bits in (64, 32) for order in "<>"]
    for index in range(count):
        data = bytearray(kinds[index % len(kinds)])
        tables = (range(120), range(len(data) - 400, len(data)), range(0x1000, len(data)))
        for _ in range(made.randint(1, 6)):
            at = made.choice(made.choice(tables))
            data[at] = made.choice((0, 1, 0x7F, 0x80, 0xFF, made.randrange(256)))
        damaged = bytes(data[: made.choice((len(data), made.randrange(len(data))))])
        started = time.process_time()
        with contextlib.suppress(ImageError):
            read_details(damaged)
        assert time.process_time() - started < 2, damaged.hex()


@pytest.mark.parametrize("count", [100, pytest.param(3000, marks=pytest.mark.full)])
def test_damage_is_an_image_error_or_a_file(count: int) -> None:
    check_damage(count)
