"""Whether the loaded crash kernel is still the right one: what went in against now. Pure.

The kernel tells that a crash image is loaded, not what is in it. So a load leaves a record,
and this judges it by the files, the memory and the processors of now.
"""

from __future__ import annotations

from enum import Enum
from typing import TYPE_CHECKING

from pykexec.crash.json_records import build_object, parse_object
from pykexec.values.data_classes import asdict, dataclass
from pykexec.values.errors import MachineError
from pykexec.values.memory import CrashMemory
from pykexec.values.units import counted, format_size

if TYPE_CHECKING:
    from collections.abc import Callable

    from pykexec.values.json_fields import Fields
    from pykexec.values.kernel_state import KernelState
    from pykexec.values.ranges import Range

RECORD_SCHEMA = "pykexec.crash-load/1"
NO_RECORD = (
    "loaded by another program, or the record of the load could not be written: there is none"
)


@dataclass(frozen=True, slots=True)
class FileDigest:
    """A file as it was read: an absolute path, a size in bytes, the SHA-256 in hexadecimal."""

    path: str
    size: int
    sha256: str


@dataclass(frozen=True, slots=True)
class CrashLoadRecord:
    """What went into a crash load."""

    time: str
    """Of the load, in UTC: ``2026-01-31T12:00:00Z``."""
    boot_id: str
    """/proc/sys/kernel/random/boot_id; "" where there is none."""
    kernel_release: str
    """Of the kernel that was running."""
    call: str
    """``kexec_load`` or ``kexec_file_load``."""
    kernel: FileDigest
    initrd: FileDigest | None
    cmdline: str
    """As it was asked for; what is no UTF-8 in it are surrogates."""
    memory: CrashMemory
    cpus: str
    """The processors that were there, as in /sys/devices/system/cpu/present."""


def build_record(record: CrashLoadRecord) -> bytes:
    """Encode a record as JSON; :func:`parse_record` reads it back."""
    return build_object(RECORD_SCHEMA, asdict(record))


def parse_record(data: bytes, where: str) -> CrashLoadRecord:
    """Decode a record; raises :class:`MachineError` naming ``where`` and what is wrong."""
    value = parse_object(data, RECORD_SCHEMA, where)
    memory = value.fields("memory")
    texts = ("time", "boot_id", "kernel_release", "call", "cmdline", "cpus")
    has_initrd = value.is_given("initrd")
    return CrashLoadRecord(
        **{name: value.text(name) for name in texts},
        kernel=_file(value.fields("kernel")),
        initrd=_file(value.fields("initrd")) if has_initrd else None,
        memory=CrashMemory(memory.text("sha256"), memory.natural("ram"), memory.natural("ranges")),
    )


def _file(value: Fields) -> FileDigest:
    return FileDigest(value.text("path"), value.natural("size"), value.text("sha256"))


@dataclass(frozen=True, slots=True)
class CrashState:
    """What the machine says of its crash kernel now. None: it does not say."""

    kernel: KernelState
    boot_id: str
    regions: tuple[Range, ...] | None
    """Physical, in ascending order; None when the reader may not see addresses."""
    memory: CrashMemory | None
    cpus: str
    updates_memory: bool | None
    """The kernel itself updates the loaded image when memory comes or goes."""
    updates_cpus: bool | None
    record: bytes | None
    """What the last crash load left."""
    record_problem: str = ""
    """Why there is a record that is not believed."""
    unfinished: str = ""
    """A load or an unload that has begun, as it says of itself, and has not come to its end."""
    by_firmware: bool = False
    """Firmware takes the dump (fadump), and so there is no region for a crash kernel."""


@dataclass(frozen=True, slots=True)
class FileNow:
    """A recorded file now: its digest, or why there is none."""

    digest: FileDigest | None
    problem: str = ""
    gone: bool = False
    """There is no such file, on the machine itself."""


class Freshness(Enum):
    """How a recorded fact, or the whole image, stands to now."""

    FRESH = "fresh"
    STALE = "stale"
    NOT_LOADED = "not loaded"
    UNKNOWN = "cannot tell"


@dataclass(frozen=True, slots=True)
class Finding:
    """One of the things that went in, judged."""

    what: str
    freshness: Freshness
    detail: str


@dataclass(frozen=True, slots=True)
class Judgement:
    """The verdict, why, and what it was made from."""

    verdict: Freshness
    reason: str
    record: CrashLoadRecord | None = None
    """The record of the image that is loaded."""
    findings: tuple[Finding, ...] = ()


def judge(state: CrashState, where: str, look_at: Callable[[FileDigest], FileNow]) -> Judgement:
    """Judge the crash image by its record, which was read from ``where``.

    ``look_at`` reads a recorded file as it is now; it is asked only if an image is loaded.
    """
    loaded = state.kernel.crash_loaded
    if loaded is None:
        return Judgement(
            Freshness.UNKNOWN,
            "the running kernel does not say whether a crash kernel is loaded: no "
            "/sys/kernel/kexec/crash_loaded nor /sys/kernel/kexec_crash_loaded",
        )
    record, unusable = None, state.record_problem or NO_RECORD
    if state.record is not None:
        try:
            record = parse_record(state.record, where)
        except MachineError as error:
            unusable = error.message
    if record is not None and record.boot_id != state.boot_id:
        record = None
        unusable = "loaded by another program: the record is of another boot"
    if not loaded:
        return Judgement(Freshness.NOT_LOADED, _why_not_loaded(state, record))
    if state.unfinished:
        return Judgement(Freshness.UNKNOWN, unfinished_text(state.unfinished))
    if record is None:
        return Judgement(Freshness.UNKNOWN, unusable)
    return _compare(state, record, look_at)


def unfinished_text(what: str) -> str:
    """Say what a load or an unload means that has begun and not come to its end."""
    return f"{what} has not come to its end: it is under way, or was broken off. Load again"


def _why_not_loaded(state: CrashState, record: CrashLoadRecord | None) -> str:
    if state.by_firmware:
        return "firmware takes the dump here; 'pykexec fadump status' says whether it will"
    if state.kernel.crash_size == 0:
        return "no memory is reserved for a crash kernel: boot with crashkernel=SIZE"
    if record is not None:
        return (
            f"pykexec loaded one at {record.time}; since then it was unloaded by another "
            "program, or a load has failed, which drops the image that was there"
        )
    return "a panic would leave no dump"


def _compare(
    state: CrashState, record: CrashLoadRecord, look_at: Callable[[FileDigest], FileNow]
) -> Judgement:
    findings = [_judge_file("kernel", record.kernel, look_at(record.kernel))]
    if record.initrd is not None:
        findings.append(_judge_file("initrd", record.initrd, look_at(record.initrd)))
    findings += [_judge_memory(state, record), _judge_cpus(state, record)]
    for freshness in (Freshness.STALE, Freshness.UNKNOWN):
        named = [item.what for item in findings if item.freshness is freshness]
        if named:
            why = "changed since the load" if freshness is Freshness.STALE else "not comparable"
            return Judgement(freshness, f"{', '.join(named)}: {why}", record, tuple(findings))
    return Judgement(
        Freshness.FRESH, "what was loaded is what a load would take now", record, tuple(findings)
    )


def _judge_file(what: str, then: FileDigest, now: FileNow) -> Finding:
    if now.gone:
        return Finding(what, Freshness.STALE, f"{then.path}: {now.problem}")
    if now.digest is None:
        return Finding(what, Freshness.UNKNOWN, f"{then.path}: {now.problem}")
    if now.digest.sha256 == then.sha256:
        detail = f"{then.path}: unchanged, {format_size(then.size)}"
        return Finding(what, Freshness.FRESH, detail)
    if now.digest.size == then.size:
        sizes = f"other contents of the same {counted(then.size, 'byte')}"
    else:
        sizes = f"{counted(then.size, 'byte')} then, {now.digest.size} now"
    return Finding(what, Freshness.STALE, f"{then.path}: changed, {sizes}")


def _judge_memory(state: CrashState, record: CrashLoadRecord) -> Finding:
    now, then = state.memory, record.memory
    if now is None:
        detail = "/proc/iomem shows no addresses to this reader; run as root"
        return Finding("memory map", Freshness.UNKNOWN, detail)
    if now == then:
        detail = f"unchanged, {format_size(then.ram)} of RAM in {counted(then.ranges, 'range')}"
        return Finding("memory map", Freshness.FRESH, detail)
    before = f"{format_size(then.ram)} of RAM in {counted(then.ranges, 'range')}"
    detail = f"{before} then, {format_size(now.ram)} in {now.ranges} now"
    return _followed("memory map", detail, state.updates_memory)


def _judge_cpus(state: CrashState, record: CrashLoadRecord) -> Finding:
    if state.cpus == record.cpus:
        return Finding("processors", Freshness.FRESH, f"unchanged, {_cpus(record.cpus)}")
    detail = f"{_cpus(record.cpus)} then, {_cpus(state.cpus)} now"
    return _followed("processors", detail, state.updates_cpus)


def _cpus(listed: str) -> str:
    """Name processors by their list, which is no count: ``0`` is one of them."""
    return f"CPU {listed}" if listed.isdigit() else f"CPUs {listed}" if listed else "not listed"


def _followed(what: str, detail: str, updates: bool | None) -> Finding:
    if updates:
        return Finding(what, Freshness.FRESH, f"{detail}; the kernel has updated the core header")
    return Finding(what, Freshness.STALE, f"{detail}; the core header describes the former")
