"""IMA's measurement list: when it is carried over, and what the next kernel finds."""

from __future__ import annotations

import lzma
import struct
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest

from pykexec.boot import ima
from pykexec.boot.ima import (
    ImaPlan,
    build_ima_buffer,
    check_ima_buffer,
    count_measurements,
    plan_ima,
)
from pykexec.boot.x86.ima import parse_ima_node
from pykexec.errors import ImageError, MissingLibraryError, NoRoomError
from pykexec.formats import compression
from pykexec.formats.ikconfig import KernelConfig, read_kernel_config
from pykexec.planning.invariants import verify
from pykexec.values.calls import Target
from pykexec.values.facts import CrashFacts
from pykexec.values.memory import IomemEntry
from pykexec.values.ranges import Range
from pykexec.values.roles import Role
from pykexec.values.units import GIB, MIB
from tests.builders.ima import (
    MEASUREMENTS,
    bzimage_around,
    kernel_with_config,
    mark_config,
    measurement,
)
from tests.builders.plans import RAM, SMALL_KERNEL, build_facts, build_plan, build_request
from tests.unit.test_x86_plan import nodes_of

FACTS = build_facts(ima_measurements=MEASUREMENTS)
ABLE = "CONFIG_IMA=y\nCONFIG_IMA_KEXEC=y\n# CONFIG_OF_FLATTREE is not set\n"
UNABLE = "CONFIG_IMA=y\n# CONFIG_IMA_KEXEC is not set\n"
WITH_OF = ABLE + "CONFIG_OF_FLATTREE=y\n"
NOT_CARRIED = "IMA's measurement list is not carried over: "
CARRIED = (
    f"IMA's measurement list is carried over: 3 measurements, {len(MEASUREMENTS)} bytes, "
    "without those from now until the jump"
)
UNKNOWN = "; whether the new kernel takes it cannot be told"


def no_kernel() -> None:
    return None


def never() -> None:
    raise AssertionError("the kernel was unpacked for nothing")


def built_with(text: str) -> Callable[[], bytes]:
    return lambda: kernel_with_config(text)


def test_the_buffer_is_a_header_and_the_list() -> None:
    data = build_ima_buffer(MEASUREMENTS, 3)
    # u16 version, u16 and u32 reserved, u64 buffer_size, u64 count
    assert data[:24] == struct.pack("<HHIQQ", 1, 0, 0, 24 + len(MEASUREMENTS), 3)
    assert data[24:] == MEASUREMENTS
    assert check_ima_buffer(data) is None
    assert check_ima_buffer(data + bytes(4096)) is None
    assert check_ima_buffer(build_ima_buffer(b"", 0)) is None


def test_measurements_are_counted() -> None:
    assert count_measurements(b"") == 0
    assert count_measurements(MEASUREMENTS) == 3
    assert count_measurements(measurement("x", template=b"ima-sig", pcr=11) * 9) == 9


@pytest.mark.parametrize("left", [1, 28, 34, 38, len(measurement("/bin/sh")) - 1])
def test_a_list_that_is_cut_is_refused(left: int) -> None:
    """In its head, behind it, behind the template's name, behind the length of the data."""
    cut = measurement("/bin/sh")[:left]
    with pytest.raises(ImageError, match=r"entry 3 at offset 0x\w+ ends at 0x\w+, the list at"):
        count_measurements(MEASUREMENTS + cut)


def test_the_original_template_is_refused() -> None:
    with pytest.raises(ImageError, match="'ima' is one that no kernel restores") as caught:
        count_measurements(MEASUREMENTS + measurement("x", template=b"ima"))
    assert caught.value.offset == len(MEASUREMENTS)
    assert caught.value.hint == "boot with ima_template=ima-ng"


@pytest.mark.parametrize(
    ("kernel", "note"),
    [
        (built_with(ABLE), CARRIED),
        (no_kernel, CARRIED + UNKNOWN),
        (lambda: b"a kernel without a configuration", CARRIED + UNKNOWN),
    ],
)
def test_the_list_is_carried(kernel: Callable[[], bytes | None], note: str) -> None:
    made = plan_ima(FACTS, build_request(), kernel)
    assert made == ImaPlan(build_ima_buffer(MEASUREMENTS, 3), (note,))


def test_on_other_machines_a_device_tree_is_where_kernels_look() -> None:
    arm64 = replace(FACTS, arch="aarch64")
    assert plan_ima(arm64, build_request(), built_with(WITH_OF)).notes == (CARRIED,)


@pytest.mark.parametrize(
    ("request_", "facts", "kernel", "reason"),
    [
        ({"ima": False}, {}, never, "as asked for"),
        ({"ima": True}, {"ima_measurements": None}, never, "the running kernel shows none"),
        ({}, {}, built_with(UNABLE), "the new kernel is built without CONFIG_IMA_KEXEC"),
        (
            {},
            {},
            built_with(WITH_OF),
            "the new kernel is built with CONFIG_OF_FLATTREE, and would look in a device tree",
        ),
        ({"cmdline": b"ro mem=1G"}, {}, never, "mem=1G may leave its memory out"),
        (
            {"cmdline": b"memmap=exactmap"},
            {},
            never,
            "memmap=exactmap may leave its memory out",
        ),
        (
            {},
            {"ima_measurements": MEASUREMENTS + measurement("x", template=b"ima")},
            never,
            "its template 'ima' is one that no kernel restores",
        ),
        (
            {},
            {"ima_measurements": bytes(27)},
            never,
            "entry 0 at offset 0x0 ends at 0x1c, the list at 0x1b",
        ),
    ],
)
def test_what_is_not_carried_is_told(
    request_: dict[str, Any],
    facts: dict[str, Any],
    kernel: Callable[[], bytes | None],
    reason: str,
) -> None:
    machine = build_facts(**{"ima_measurements": MEASUREMENTS, **facts})
    made = plan_ima(machine, build_request(**request_), kernel)
    assert made == ImaPlan(None, (NOT_CARRIED + reason,))


def test_a_list_that_is_too_long_is_not_carried(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ima, "IMA_LIST_MAX", len(MEASUREMENTS) - 1)
    made = plan_ima(FACTS, build_request(), no_kernel)
    assert made == ImaPlan(None, (f"{NOT_CARRIED}it is longer than {len(MEASUREMENTS) - 1} bytes",))


def test_whoever_insists_is_not_asked_for_a_configuration() -> None:
    assert plan_ima(FACTS, build_request(ima=True), never).notes == (CARRIED,)


@pytest.mark.parametrize("measurements", [None, b""])
def test_without_a_list_nothing_is_said(measurements: bytes | None) -> None:
    facts = build_facts(ima_measurements=measurements)
    assert plan_ima(facts, build_request(), never) == ImaPlan()
    assert plan_ima(facts, build_request(ima=False), never) == ImaPlan()


def test_a_capture_kernel_gets_none() -> None:
    wanted = build_request(target=Target.CRASH, ima=True)
    assert plan_ima(FACTS, wanted, never) == ImaPlan()


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda data: data[:23], "23 bytes are no header of 24"),
        (lambda data: b"\2" + data[1:], "version 2 in the header, not 1"),
        (lambda data: data[:8] + bytes(8) + data[16:], "buffer_size 0 in the header, where"),
        (lambda data: data[:-1], "in the header, where"),
        (lambda data: data[:16] + b"\4" + data[17:], "4 measurements in the header, 3 in the list"),
        (lambda data: data[:8] + struct.pack("<Q", len(data) - 9) + data[16:], "entry 2 at"),
    ],
)
def test_a_broken_buffer_is_noticed(change: Callable[[bytes], bytes], words: str) -> None:
    found = check_ima_buffer(change(build_ima_buffer(MEASUREMENTS, 3)))
    assert found is not None
    assert words in found


def test_a_configuration_is_read() -> None:
    config = read_kernel_config(memoryview(kernel_with_config(UNABLE)))
    assert config == KernelConfig(UNABLE.encode())
    assert config.has("CONFIG_IMA")
    assert not config.has("CONFIG_IMA_KEXEC")
    assert not KernelConfig(b"XCONFIG_A=y\nCONFIG_A=m\nCONFIG_A=yes\n").has("CONFIG_A")


@pytest.mark.parametrize(
    "kernel",
    [
        b"",
        b"no marks",
        mark_config(ABLE).removesuffix(b"IKCFG_ED"),
        mark_config(ABLE)[:30] + b"IKCFG_ED",
        b"IKCFG_EDIKCFG_ST\x1f\x8b\x08",
    ],
)
def test_a_configuration_that_is_not_there_or_damaged_is_none(kernel: bytes) -> None:
    assert read_kernel_config(kernel) is None


def test_an_x86_plan_tells_of_the_list() -> None:
    made = build_plan(FACTS)
    segment = made.segment(Role.IMA_BUFFER)
    assert segment is not None
    assert segment.data == build_ima_buffer(MEASUREMENTS, 3)
    assert segment.checked
    node = nodes_of(made)[8]
    assert node == struct.pack("<QQ", segment.dest.start, segment.dest.size)
    assert parse_ima_node(node) == segment.dest
    assert CARRIED + UNKNOWN in made.notes
    assert verify(made, FACTS) == []


def test_an_x86_plan_without_a_list_has_none_of_it() -> None:
    made = build_plan(build_facts())
    assert made.segment(Role.IMA_BUFFER) is None
    assert 8 not in nodes_of(made)


@pytest.mark.parametrize(("text", "carried"), [(ABLE, True), (UNABLE, False)])
def test_a_bzimage_tells_by_its_configuration(text: str, carried: bool) -> None:
    kernel = bzimage_around(kernel_with_config(text), SMALL_KERNEL)
    made = build_plan(FACTS, kernel=kernel)
    assert (made.segment(Role.IMA_BUFFER) is not None) is carried
    assert (CARRIED in made.notes) is carried


def test_a_compression_that_takes_long_is_left_alone() -> None:
    kernel = bzimage_around(kernel_with_config(UNABLE), SMALL_KERNEL, lzma.compress)
    assert CARRIED + UNKNOWN in build_plan(FACTS, kernel=kernel).notes


def test_a_compression_that_cannot_be_undone_leaves_the_question_open(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def missing(*_: object) -> bytes:
        raise MissingLibraryError("no libzstd")

    monkeypatch.setattr(compression, "decompress", missing)
    kernel = bzimage_around(kernel_with_config(UNABLE), SMALL_KERNEL)
    assert CARRIED + UNKNOWN in build_plan(FACTS, kernel=kernel).notes


def test_the_list_lies_where_kaslr_puts_no_kernel() -> None:
    segment = build_plan(FACTS).segment(Role.IMA_BUFFER)
    assert segment is not None
    assert segment.dest.end == 512 * MIB
    low = build_facts([Range(MIB, 256 * MIB)], ima_measurements=MEASUREMENTS)
    made = build_plan(low)
    segment, kernel = made.segment(Role.IMA_BUFFER), made.segment(Role.KERNEL)
    assert segment is not None
    assert kernel is not None
    assert 16 * MIB <= segment.dest.start < segment.dest.end <= kernel.dest.start
    assert verify(made, low) == []


def test_without_such_a_place_the_load_goes_on_unless_it_was_asked_for() -> None:
    high = build_facts([RAM[0], Range(GIB, 2 * GIB)], ima_measurements=MEASUREMENTS)
    made = build_plan(high)
    assert made.segment(Role.IMA_BUFFER) is None
    reason = f"no {24 + len(MEASUREMENTS)} bytes are free between 0x1000000 and 0x1fffffff"
    assert NOT_CARRIED + reason in made.notes
    assert verify(made, high) == []
    with pytest.raises(NoRoomError, match="cannot place ima_buffer"):
        build_plan(high, ima=True)


def test_a_crash_plan_carries_none() -> None:
    facts = build_facts(
        children=[IomemEntry(Range(512 * MIB, 768 * MIB), "Crash kernel")],
        crash=CrashFacts(page_offset_vaddr=0xFFFF888000000000, low_memory_reserved=True),
        ima_measurements=MEASUREMENTS,
    )
    made = build_plan(facts, target=Target.CRASH)
    assert made.segment(Role.IMA_BUFFER) is None
    assert 8 not in nodes_of(made)
    assert not any("IMA" in note for note in made.notes)


@pytest.mark.parametrize("payload", [b"", bytes(15), b"\xff" * 16])
def test_a_node_that_tells_of_nothing_is_none(payload: bytes) -> None:
    assert parse_ima_node(payload) is None
