"""Plans for m68k: where a kernel lies, and what it is told right behind itself."""

from __future__ import annotations

import gzip
import json
import os
import struct
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from pykexec.architectures import why_not_loaded
from pykexec.boot.m68k import file_obstacle
from pykexec.boot.m68k.protocol import PAGE_TABLES
from pykexec.calls import syscalls
from pykexec.errors import (
    CommandLineError,
    ImageError,
    MachineError,
    NoRoomError,
    OptionError,
    PykexecError,
)
from pykexec.formats import identify
from pykexec.formats.bootinfo import (
    Record,
    Tag,
    build_bootinfo,
    chunks_of,
    parse_bootinfo,
    place_record,
)
from pykexec.machine import read_machine
from pykexec.machine.m68k import FILE, masked
from pykexec.planning.invariants import invariants_of, verify
from pykexec.planning.plans import SegmentPlan
from pykexec.render.text import plan_text
from pykexec.values.calls import Target
from pykexec.values.data_classes import replace as replaced
from pykexec.values.facts import MachineFacts
from pykexec.values.ranges import Range
from pykexec.values.roles import Role
from pykexec.values.units import MIB
from tests.builders.m68k import (
    ENTRY,
    IMAGE_SIZE,
    KERNEL,
    LINKED,
    MODEL,
    RAM,
    VIRT,
    build_facts,
    build_kernel,
    build_plan,
    build_records,
    number,
)
from tests.builders.tree_requests import INITRD
from tests.cli.test_pykexec import run

RECORD = Path(__file__).resolve().parents[1] / "data/machines/m68k-made-amiga-192M"


def told(plan: SegmentPlan) -> tuple[Record, ...]:
    """Return what is behind the kernel."""
    kernel = plan.segment(Role.KERNEL)
    assert kernel is not None
    behind = plan.segment_at(kernel.dest.end)
    assert behind is not None
    return parse_bootinfo(bytes(behind.data))


def by_tag(records: tuple[Record, ...]) -> dict[int, bytes]:
    return {item.tag: item.data for item in records}


def violated(plan: SegmentPlan, facts: MachineFacts | None = None) -> set[str]:
    return {item.invariant for item in verify(plan, facts or build_facts())}


def test_the_kernel_lies_from_the_first_chunk_on_and_is_entered_by_the_running_one() -> None:
    plan = build_plan()
    kernel, start = plan.segment(Role.KERNEL), RAM[0].start
    assert kernel is not None
    assert kernel.dest == Range(start + LINKED, start + LINKED + IMAGE_SIZE)
    assert plan.entry == plan.kernel_entry == start + ENTRY
    assert plan.segment(Role.PURGATORY) is None
    assert not any(segment.checked for segment in plan.segments)
    assert plan.flags == 4 << 16
    assert plan.check_seconds is None
    assert violated(plan) == set()


def test_memory_that_begins_at_0_keeps_its_first_page() -> None:
    plan = build_plan(build_facts((Range(0, 64 * MIB),)))
    assert min(segment.dest.start for segment in plan.segments) == LINKED


def test_the_next_kernel_is_told_the_machine_and_its_own_load() -> None:
    plan = build_plan()
    records = told(plan)
    initrd = plan.segment(Role.INITRD)
    assert initrd is not None
    assert chunks_of(records) == RAM
    found = by_tag(records)
    assert found[MODEL.tag] == MODEL.data
    assert found[Tag.COMMAND_LINE].rstrip(b"\0") == b"ro quiet"
    assert struct.unpack(">II", found[Tag.RAMDISK]) == (initrd.dest.start, len(INITRD))
    assert found[Tag.RNG_SEED][:34] == b"\0\x20" + b"r" * 32
    assert [item.tag for item in records].count(Tag.RAMDISK) == 1
    assert all(len(item.data) % 4 == 0 for item in records)


def test_what_is_of_this_boot_alone_is_left_out() -> None:
    seed = Record(0x8006, b"\0\x04seed")
    for machine, kept in ((VIRT, False), (1, True)):
        records = build_records(RAM, seed, machine=machine)
        facts = build_facts(bootinfo=build_bootinfo(records))
        found = by_tag(told(build_plan(facts, initrd=None, rng_seed=None)))
        assert (0x8006 in found) is kept
        assert Tag.RAMDISK not in found
        assert Tag.RNG_SEED not in found


def test_page_tables_have_room_behind_the_kernel() -> None:
    facts = build_facts((Range(0, 8 * MIB),))
    plan = build_plan(facts, initrd=bytes(3 * MIB))
    initrd, behind = plan.segment(Role.INITRD), plan.segment(Role.BOOTINFO)
    assert initrd is not None
    assert behind is not None
    assert initrd.dest.start >= behind.dest.end + PAGE_TABLES
    with pytest.raises(NoRoomError, match="initrd"):
        build_plan(facts, initrd=bytes(4 * MIB))


def test_the_initrd_is_in_the_first_chunk_even_if_there_is_more_room() -> None:
    with pytest.raises(NoRoomError):
        build_plan(build_facts((Range(0, 8 * MIB), RAM[1])), initrd=bytes(4 * MIB))


def test_a_packed_kernel_is_unpacked() -> None:
    packed = build_plan(kernel=gzip.compress(KERNEL))
    assert bytes(packed.segments[0].data) == bytes(build_plan().segments[0].data)


@pytest.mark.parametrize(
    ("change", "error", "words"),
    [
        ({"kernel": build_kernel(magic=0)}, ImageError, "4249561a (BOOTINFOV_MAGIC) is not 2"),
        ({"kernel": build_kernel(release="")}, ImageError, "or it has no version in it"),
        (
            {"kernel": build_kernel(memsz=IMAGE_SIZE + 16)},
            ImageError,
            "the kernel is linked for 0x1000 to 0x301010, which are not whole pages of 4096",
        ),
        ({"kernel": build_kernel(memsz=256 * MIB)}, NoRoomError, "kernel"),
        (
            {"cmdline": b"x" * 256},
            CommandLineError,
            "m68k kernels take at most 255 (COMM",
        ),
        ({"dtb": b"\xd0\x0d\xfe\xed"}, OptionError, "--dtb: m68k kernels are told"),
        ({"entry": 0x1000}, OptionError, "--entry: on m68k there is no purgatory"),
        ({"target": Target.CRASH}, OptionError, "do not start another one when they crash"),
        ({"preserve_context": True}, OptionError, "no m68k kernel can be returned to"),
    ],
)
def test_refuses(change: dict[str, Any], error: type[PykexecError], words: str) -> None:
    with pytest.raises(error) as caught:
        build_plan(**change)
    assert words in caught.value.message


@pytest.mark.parametrize(
    ("bootinfo", "words"),
    [
        (None, "there is no /proc/bootinfo, by which the next kernel is told of its machine"),
        (b"", "/proc/bootinfo: the boot information ends without its last record"),
        (b"\0\1", "/proc/bootinfo: the boot information ends inside of a record"),
        (b"\0\1\0\0" + bytes(8), "has a record (tag 0x1) of 0 bytes"),
        (b"\0\1\0\x20" + bytes(8), "has a record (tag 0x1) of 32 bytes"),
        (build_bootinfo([number(1, 1)]), "has no BI_CPUTYPE, BI_FPUTYPE, BI_MMUTYPE"),
        (build_bootinfo(build_records()[:4]), "/proc/bootinfo tells of no memory (BI_MEMCHUNK)"),
    ],
)
def test_a_machine_that_does_not_say_what_it_is(bootinfo: bytes | None, words: str) -> None:
    with pytest.raises(MachineError) as caught:
        build_plan(build_facts(bootinfo=bootinfo))
    assert words in caught.value.message


def test_a_kernel_that_could_not_tell_on_is_noted() -> None:
    records = build_records(RAM, Record(0x8001, bytes(1600)))
    plan = build_plan(build_facts(bootinfo=build_bootinfo(records)))
    assert any("keeps 1536 at most" in note for note in plan.notes)
    assert not any("keeps 1536" in note for note in build_plan().notes)


def with_records(plan: SegmentPlan, *records: Record) -> SegmentPlan:
    return with_data(plan, Role.BOOTINFO, build_bootinfo(records))


def with_data(plan: SegmentPlan, role: Role, data: bytes) -> SegmentPlan:
    changed = (replaced(item, data=data) if item.role is role else item for item in plan.segments)
    return replaced(plan, segments=tuple(changed))


def test_the_verifier_sees_what_is_wrong() -> None:
    plan = build_plan()
    records = told(plan)
    assert "entered-directly" in violated(replaced(plan, kernel_entry=plan.entry + 4))
    assert "bootinfo" in violated(with_data(plan, Role.BOOTINFO, b"\0\1\0\0"))
    only = tuple(item for item in plan.segments if item.role is not Role.BOOTINFO)
    assert "bootinfo" in violated(replaced(plan, segments=only))
    assert "command-line" in violated(replaced(plan, cmdline=b"rw"))
    elsewhere = place_record(Tag.RAMDISK, Range(RAM[0].start, RAM[0].end), len(INITRD))
    without = [item for item in records if item.tag != Tag.RAMDISK]
    assert "initrd-is-told" in violated(with_records(plan, *without, elsewhere))
    assert "initrd-is-told" in violated(with_records(plan, *without))
    less = [item for item in records if item.tag != Tag.CPUTYPE]
    assert "machine-is-told" in violated(with_records(plan, *less))
    other = [item for item in records if item.place != RAM[0]]
    assert "machine-is-told" in violated(with_records(plan, *other))
    assert "machine-is-told" in violated(plan, build_facts(bootinfo=None))
    assert {"bootinfo", "machine-is-told"} <= {*invariants_of(plan)}


def test_what_is_printed() -> None:
    facts = build_facts()
    text = plan_text(build_plan(facts), facts)
    assert "Way:      0x1002000 kernel, without a purgatory" in text
    assert "Checked:  nothing, before the kernel is entered" in text
    assert "- initrd: 0x8e00000-0x8eaefff, 700 KiB" in text
    assert "nothing checks the load before the kernel is entered" in text


def test_a_record_has_its_memory_from_the_boot_information() -> None:
    facts = read_machine(RECORD)
    assert [entry.range for entry in facts.iomem if entry.name == "System RAM"] == list(RAM)
    assert len(facts.iomem) == 5
    assert violated(build_plan(facts), facts) == set()


def test_memory_that_the_kernel_shows_itself_is_not_told_twice(tmp_path: Path) -> None:
    (tmp_path / "proc").mkdir()
    (tmp_path / "machine.json").write_text(json.dumps({"arch": "m68k"}))
    (tmp_path / "proc/cmdline").write_text("ro\n")
    (tmp_path / "proc/iomem").write_text("01000000-08ffffff : System RAM\n")
    (tmp_path / "proc/bootinfo").write_bytes((RECORD / "proc/bootinfo").read_bytes())
    assert len(read_machine(tmp_path).iomem) == 1
    (tmp_path / "proc/iomem").write_text("00bfd000-00bfdfff : CIA B\n")
    (tmp_path / "proc/bootinfo").write_bytes(b"\0\1")
    assert [entry.name for entry in read_machine(tmp_path).iomem] == ["CIA B"]


def test_a_record_to_be_shown_has_neither_command_line_nor_seed() -> None:
    seed = Record(Tag.RNG_SEED, b"\0\x08" + b"secret!!" + bytes(2))
    data = build_bootinfo(build_records(RAM, seed))
    hidden = masked(FILE, data)
    assert hidden is not None
    assert len(hidden) == len(data)
    assert b"root=" in data
    assert not any(word in hidden for word in (b"root=", b"secret"))
    assert chunks_of(parse_bootinfo(hidden)) == RAM
    assert masked(FILE, b"\0\1ab") == bytes(4)
    assert masked("proc/cmdline", data) is None


def test_by_the_program(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    kernel = tmp_path / "vmlinux"
    kernel.write_bytes(KERNEL)
    words = ["plan", "--machine", str(RECORD), str(kernel), "--append", "ro"]
    code, out, err = run(monkeypatch, *words, "--json")
    assert (code, err) == (0, "")
    value = json.loads(out)
    assert [item["role"] for item in value["segments"]] == ["kernel", "bootinfo"]
    code, out, err = run(monkeypatch, *words, "--explain", "bootinfo")
    assert (code, err) == (0, "")
    assert "right behind the kernel" in out
    code, out, err = run(monkeypatch, "inspect", str(kernel))
    assert (code, err) == (0, "")
    assert "m68k" in out
    code, out, _ = run(monkeypatch, "doctor", *words[1:], "--json")
    found = {item["check"]: item for item in json.loads(out)["findings"]}
    assert found["architecture"]["level"] == "blocks"
    assert "planned for recorded machines only" in found["architecture"]["text"]
    for option in ("--crash", "--crash --call segments"):
        code, out, err = run(monkeypatch, *words, *option.split())
        assert (code, out) == (1, "")
        assert "m68k kernels do not start another one when they crash" in err
    code, out, err = run(monkeypatch, "simulate", *words[1:])
    assert code != 0
    assert "cannot simulate a plan for m68k" in err


def test_nothing_is_loaded_on_a_machine_of_the_kind(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*arguments: object) -> int:
        pytest.fail(f"called {arguments}")

    monkeypatch.setattr(os, "uname", lambda: SimpleNamespace(machine="m68k"))
    monkeypatch.setattr(syscalls, "_syscall", refuse)
    with pytest.raises(OptionError) as caught:
        syscalls.reboot_kexec()
    assert caught.value.message == (
        "loads for m68k are planned for recorded machines only: none has been carried out on a "
        "real one"
    )
    assert why_not_loaded("m68k") == caught.value.message
    assert why_not_loaded("x86_64") is None


def test_there_is_no_other_call() -> None:
    image = identify(KERNEL, "m68k").image
    assert file_obstacle(image, build_facts()) == "m68k kernels have no kexec_file_load"
