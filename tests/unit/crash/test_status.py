"""The verdict on a loaded crash kernel, from its record and the machine of now."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import Any

import pytest

from pykexec.crash.status import (
    CrashLoadRecord,
    CrashState,
    FileDigest,
    FileNow,
    Freshness,
    Judgement,
    build_record,
    judge,
    parse_record,
)
from pykexec.errors import MachineError
from pykexec.values.kernel_state import KernelState
from pykexec.values.memory import CrashMemory, IomemEntry, crash_memory
from pykexec.values.ranges import Range
from tests.builders.machines import RAM, iomem_of

WHERE = "/run/pykexec/crash.json"
KERNEL = FileDigest("/boot/vmlinuz", 1000, "aa")
INITRD = FileDigest("/boot/initrd", 2000, "bb")
MEMORY = CrashMemory("cc", 7 << 30, 3)
RECORD = CrashLoadRecord(
    time="2026-01-31T12:00:00Z",
    boot_id="this",
    kernel_release="6.12",
    call="kexec_load",
    kernel=KERNEL,
    initrd=INITRD,
    cmdline="irqpoll nr_cpus=1",
    memory=MEMORY,
    cpus="0-3",
)
STATE = CrashState(
    kernel=KernelState("6.12", crash_loaded=True, crash_size=256 << 20),
    boot_id="this",
    regions=(),
    memory=MEMORY,
    cpus="0-3",
    updates_memory=None,
    updates_cpus=False,
    record=build_record(RECORD),
)


def verdict(state: CrashState = STATE, **files: FileNow) -> Judgement:
    """Judge with files that are as they were, except for those given by their last names."""

    def look_at(then: FileDigest) -> FileNow:
        return files.get(then.path.rpartition("/")[2], FileNow(then))

    return judge(state, WHERE, look_at)


def not_fresh(judgement: Judgement) -> dict[str, str]:
    return {
        item.what: item.detail
        for item in judgement.findings
        if item.freshness is not Freshness.FRESH
    }


def test_nothing_changed_is_fresh() -> None:
    found = verdict()
    assert found.verdict is Freshness.FRESH
    assert found.record == RECORD
    assert [item.what for item in found.findings] == [
        "kernel",
        "initrd",
        "memory map",
        "processors",
    ]
    assert not_fresh(found) == {}


@pytest.mark.parametrize(
    ("now", "detail"),
    [
        (FileNow(replace(INITRD, size=2001, sha256="dd")), "changed, 2000 bytes then, 2001 now"),
        (FileNow(replace(INITRD, sha256="dd")), "changed, other contents of the same 2000 bytes"),
        (FileNow(None, "no such file", gone=True), "no such file"),
    ],
)
def test_a_changed_file_is_stale(now: FileNow, detail: str) -> None:
    found = verdict(initrd=now)
    assert found.verdict is Freshness.STALE
    assert found.reason == "initrd: changed since the load"
    assert not_fresh(found) == {"initrd": f"/boot/initrd: {detail}"}


def test_a_file_that_cannot_be_read_leaves_it_open() -> None:
    found = verdict(vmlinuz=FileNow(None, "Permission denied"))
    assert found.verdict is Freshness.UNKNOWN
    assert found.reason == "kernel: not comparable"
    worse = verdict(
        vmlinuz=FileNow(None, "Permission denied"), initrd=FileNow(replace(INITRD, sha256="dd"))
    )
    assert worse.verdict is Freshness.STALE


def test_a_load_without_an_initrd() -> None:
    state = replace(STATE, record=build_record(replace(RECORD, initrd=None)))
    assert [item.what for item in verdict(state).findings] == ["kernel", "memory map", "processors"]


MORE_MEMORY = CrashMemory("ee", 8 << 30, 4)


@pytest.mark.parametrize(
    ("changed", "what", "detail"),
    [
        (
            {"memory": MORE_MEMORY},
            "memory map",
            "7 GiB of RAM in 3 ranges then, 8 GiB in 4 now; the core header describes the former",
        ),
        (
            {"cpus": "0-4"},
            "processors",
            "CPUs 0-3 then, CPUs 0-4 now; the core header describes the former",
        ),
    ],
)
def test_a_changed_machine_is_stale(changed: dict[str, Any], what: str, detail: str) -> None:
    found = verdict(replace(STATE, **changed))
    assert found.verdict is Freshness.STALE
    assert not_fresh(found) == {what: detail}


@pytest.mark.parametrize(
    "changed",
    [{"memory": MORE_MEMORY, "updates_memory": True}, {"cpus": "0-4", "updates_cpus": True}],
)
def test_a_change_that_the_kernel_follows_is_fresh(changed: dict[str, Any]) -> None:
    found = verdict(replace(STATE, **changed))
    assert found.verdict is Freshness.FRESH
    [detail] = [item.detail for item in found.findings if "now" in item.detail]
    assert detail.endswith("the kernel has updated the core header")


def test_hidden_addresses_leave_it_open() -> None:
    found = verdict(replace(STATE, memory=None))
    assert found.verdict is Freshness.UNKNOWN
    assert "run as root" in not_fresh(found)["memory map"]


@pytest.mark.parametrize(
    ("state", "expected", "reason"),
    [
        (KernelState(), Freshness.UNKNOWN, "does not say whether a crash kernel is loaded"),
        (KernelState(crash_loaded=False, crash_size=0), Freshness.NOT_LOADED, "no memory is res"),
        (
            KernelState(crash_loaded=False, crash_size=1),
            Freshness.NOT_LOADED,
            "pykexec loaded one at 2026-01-31T12:00:00Z; since then it was unloaded by another",
        ),
    ],
)
def test_what_is_not_loaded(state: KernelState, expected: Freshness, reason: str) -> None:
    found = verdict(replace(STATE, kernel=state))
    assert found.verdict is expected
    assert reason in found.reason
    assert found.record is None


def test_not_loaded_and_never_was() -> None:
    kernel = KernelState(crash_loaded=False, crash_size=1)
    found = verdict(replace(STATE, kernel=kernel, record=None))
    assert found.verdict is Freshness.NOT_LOADED
    assert "leave no dump" in found.reason


@pytest.mark.parametrize(
    ("record", "reason"),
    [
        (None, "loaded by another program, or the record"),
        (
            build_record(replace(RECORD, boot_id="other")),
            "loaded by another program: the record is of another boot",
        ),
        (b"[", f"{WHERE} is not JSON: "),
    ],
)
def test_an_image_without_a_usable_record(record: bytes | None, reason: str) -> None:
    found = verdict(replace(STATE, record=record))
    assert found.verdict is Freshness.UNKNOWN
    assert found.reason.startswith(reason)
    assert found.record is None


def test_a_record_reads_back() -> None:
    odd = replace(RECORD, initrd=None, cmdline="a=\udcff")
    assert parse_record(build_record(RECORD), WHERE) == RECORD
    assert parse_record(build_record(odd), WHERE) == odd


MEMORY_JSON = {"sha256": "", "ram": 1, "ranges": 1}


@pytest.mark.parametrize(
    ("value", "message"),
    [
        ([], "all of it is [], an object is needed"),
        ({"schema": "pykexec.crash-load/9"}, "schema 'pykexec.crash-load/9' is unknown"),
        ({"time": 7}, "time is 7, a text is needed"),
        ({"kernel": None}, "kernel is missing, an object is needed"),
        (
            {"kernel": {"path": "/x", "size": "1", "sha256": ""}},
            "kernel.size is '1', an integer",
        ),
        ({"initrd": 1}, "initrd is 1, an object is needed"),
        ({"memory": {}}, "memory.sha256 is missing, a text is needed"),
        ({"memory": {**MEMORY_JSON, "ram": True}}, "memory.ram is True, an integer"),
        ({"memory": {**MEMORY_JSON, "ram": -1}}, "memory.ram is -1, an integer"),
        (
            {"memory": {**MEMORY_JSON, "ranges": 1 << 64}},
            "memory.ranges is 18446744073709551616",
        ),
        ({"cmdline": "\ud800"}, r"cmdline is '\ud800', a text is needed"),
        ({"cpus": "0\0"}, r"cpus is '0\x00', a text is needed"),
        ({"time": [7] * 1000}, "time is [7, 7, 7, 7, 7, 7, ...], a text"),
    ],
)
def test_a_malformed_record_is_refused(value: Any, message: str) -> None:
    if isinstance(value, dict):
        value = {**json.loads(build_record(RECORD)), **value}
    with pytest.raises(MachineError) as caught:
        parse_record(json.dumps(value).encode(), WHERE)
    assert caught.value.message.startswith(f"{WHERE}: {message}")


def test_memory_is_summed_up_by_what_a_load_depends_on() -> None:
    crash = IomemEntry(Range(0x20000000, 0x30000000), "Crash kernel")
    summed = crash_memory(iomem_of(RAM, [crash]))
    assert summed.ram == sum(item.size for item in RAM) - crash.range.size
    assert summed.ranges == 4
    with_kernel = IomemEntry(Range(0x1000000, 0x2000000), "Kernel code")
    assert crash_memory(iomem_of(RAM, [crash, with_kernel])) == summed
    assert crash_memory(iomem_of(RAM, [])) != summed
    moved = IomemEntry(Range(0x20000000, 0x28000000), "Crash kernel")
    rest = IomemEntry(Range(0x28000000, 0x30000000), "Crash kernel")
    assert crash_memory(iomem_of(RAM, [moved, rest])) != summed
