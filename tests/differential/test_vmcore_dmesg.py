"""Our vmcore-dmesg and the distribution's print the same of every kind of log."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from tests.builders.vmcore import Memory, Record, elf_core, legacy, lockless, structured
from tests.needs import unavailable
from tests.vm.debian import FetchError, Suite

pytestmark = pytest.mark.differential

RECORDS = [
    Record(b"multi\nline text"),
    Record(b"tab\tand \x01 ctrl \xe2\x82\xac", ts_nsec=12345678901234),
    Record(b"", ts_nsec=5_000_000_000),
    Record(bytes(range(256)), ts_nsec=0),
    Record(b"reserved", state=0),
    Record(b"committed", state=1),
    Record(b"reusable", state=3),
    # Above this their tool prints 0.000000, for it computes with signed numbers.
    Record(b"last", ts_nsec=2**63 - 1),
]
TEXT = b"".join(b"<6>[    1.%06d] line \xc3\xa9\n" % number for number in range(30))
LOGS: dict[str, Memory] = {
    "lockless": lockless(RECORDS),
    "lockless-wrapped": lockless(RECORDS, first_lpos=800, first_id=14),
    "lockless-empty": lockless([]),
    "lockless-big-endian": lockless(RECORDS, order=">"),
    "lockless-32": lockless(RECORDS, word=4),
    "lockless-32-big-endian": lockless(RECORDS, word=4, order=">"),
    "structured": structured(RECORDS),
    "structured-3.5": structured(RECORDS, struct_name="log"),
    "structured-32-big-endian": structured(RECORDS, word=4, order=">"),
    "legacy": legacy(TEXT, size=2048),
    "legacy-wrapped": legacy(TEXT, size=256),
    "legacy-32": legacy(TEXT, word=4),
    "legacy-empty": legacy(b""),
}


@pytest.fixture(scope="session")
def their_vmcore_dmesg() -> Path:
    """Return the distribution's tool; it reads a file and writes text, nothing else."""
    try:
        return Suite("bookworm").package("kexec-tools").root / "sbin/vmcore-dmesg"
    except FetchError as error:
        unavailable(f"no vmcore-dmesg of the distribution: {error}")


def run(*command: str | Path) -> subprocess.CompletedProcess[bytes]:
    return subprocess.run(command, capture_output=True, check=False, timeout=60)


def ours(core: Path) -> subprocess.CompletedProcess[bytes]:
    return run(sys.executable, "-m", "pykexec.cli.vmcore_dmesg", core)


@pytest.mark.parametrize("name", LOGS)
def test_the_same_bytes(name: str, their_vmcore_dmesg: Path, tmp_path: Path) -> None:
    core = tmp_path / "core"
    core.write_bytes(elf_core(LOGS[name]))
    theirs, own = run(their_vmcore_dmesg, core), ours(core)
    assert theirs.returncode == 0, theirs.stderr
    assert own.stdout == theirs.stdout
    assert own.returncode == 0, own.stderr


def test_the_end_of_the_buffer_is_no_record(their_vmcore_dmesg: Path, tmp_path: Path) -> None:
    """Theirs prints the mark at which a structured log wraps as an empty record of second 0."""
    core = tmp_path / "core"
    core.write_bytes(elf_core(structured([Record(b"one"), Record(b"two")], wrap_after=1)))
    theirs, own = run(their_vmcore_dmesg, core), ours(core)
    assert theirs.stdout == b"[    0.001234] one\n[    0.000000] \n[    0.001234] two\n"
    assert own.stdout == b"[    0.001234] one\n[    0.001234] two\n"


def _without(memory: Memory, key: str) -> Memory:
    memory.info.pop(key)
    return memory


def _cut_notes() -> bytes:
    core = elf_core(legacy(TEXT))
    return core[:64] + core[64:72] + b"\xff" * 7 + core[79:]


REFUSED = {
    "empty": b"",
    "no-elf": bytes(100),
    "class": b"\x7fELF\x07" + bytes(60),
    "byte-order": b"\x7fELF\x02\x07\x01" + bytes(60),
    "header-cut": elf_core(legacy(TEXT))[:40],
    "program-headers-cut": elf_core(legacy(TEXT))[:100],
    "notes-cut": _cut_notes(),
    "no-log": elf_core(Memory(data=bytearray(64))),
    "structured-without-log_buf": elf_core(_without(structured(RECORDS), "SYMBOL(log_buf)")),
    "structured-without-next": elf_core(_without(structured(RECORDS), "SYMBOL(log_next_idx)")),
}


@pytest.mark.parametrize("name", REFUSED)
def test_the_same_exit_code(name: str, their_vmcore_dmesg: Path, tmp_path: Path) -> None:
    core = tmp_path / "core"
    core.write_bytes(REFUSED[name])
    theirs, own = run(their_vmcore_dmesg, core), ours(core)
    assert (own.returncode, own.stdout) == (theirs.returncode, theirs.stdout), theirs.stderr
