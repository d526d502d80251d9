"""The three forms of the kernel log, their damage, and the command that prints them."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from pykexec.cli.vmcore_dmesg import main
from pykexec.crash.core_reading import VmcoreError
from pykexec.crash.vmcore import open_core
from pykexec.crash.vmcore_dmesg import LineFormat, dmesg, escape
from tests.builders.vmcore import Memory, Record, elf_core, legacy, lockless, structured
from tests.unit.crash.test_vmcore import Bytes

KINDS = [(8, "<"), (8, ">"), (4, "<"), (4, ">")]


def log_of(memory: Memory, form: LineFormat | None = None) -> bytes:
    return b"".join(dmesg(open_core(Bytes(elf_core(memory))), form))


def refused(memory: Memory) -> tuple[bytes, VmcoreError]:
    """Return what was printed before the error, and the error."""
    printed: list[bytes] = []
    with pytest.raises(VmcoreError) as caught:
        printed.extend(dmesg(open_core(Bytes(elf_core(memory)))))
    return b"".join(printed), caught.value


def stamped(*texts: bytes) -> bytes:
    return b"".join(b"[    0.001234] " + text + b"\n" for text in texts)


@pytest.mark.parametrize(("word", "order"), KINDS)
def test_lockless(word: int, order: str) -> None:
    records = [Record(b"one"), Record(b""), Record(b"\xc3\xa9\n\tx"), Record(b"y" * 100)]
    expected = stamped(b"one", b"", b"\\xc3\\xa9\n\tx", b"y" * 100)
    assert log_of(lockless(records, word=word, order=order)) == expected


@pytest.mark.parametrize(("word", "order"), KINDS)
def test_structured(word: int, order: str) -> None:
    records = [Record(b"one"), Record(b""), Record(b"three", ts_nsec=12345678901000)]
    expected = stamped(b"one", b"") + b"[12345.678901] three\n"
    for name in ("printk_log", "log"):
        memory = structured(records, word=word, order=order, wrap_after=2, struct_name=name)
        assert log_of(memory) == expected


@pytest.mark.parametrize(("word", "order"), KINDS)
def test_legacy(word: int, order: str) -> None:
    text = b"".join(b"<6>line %d \xff\n" % number for number in range(40))
    assert log_of(legacy(text, word=word, order=order, size=128)) == text[-128:]
    assert log_of(legacy(text[:20], word=word, order=order)) == text[:20]
    assert log_of(legacy(b"", word=word, order=order)) == b""


def test_an_i386_kernel_in_an_elf64_core() -> None:
    core = elf_core(lockless([Record(b"pae")], word=4), wide=True, machine=3)
    assert b"".join(dmesg(open_core(Bytes(core)))) == stamped(b"pae")


def test_records_that_are_not_complete_are_left_out() -> None:
    records = [Record(b"%d" % state, state=state) for state in (0, 1, 2, 3)]
    assert log_of(lockless(records)) == stamped(b"1", b"2")


def test_a_descriptor_of_another_id_is_left_out() -> None:
    memory = lockless([Record(b"one"), Record(b"two"), Record(b"three")], first_id=0)
    state = (2 << 62 | 1).to_bytes(8, "little")
    assert memory.data.count(state) == 1
    memory.data[:] = memory.data.replace(state, (2 << 62 | 17).to_bytes(8, "little"))
    assert log_of(memory) == stamped(b"one", b"three")


def test_text_that_wraps_around() -> None:
    records = [Record(b"x" * 500), Record(b"y" * 500), Record(b"z" * 20)]
    assert log_of(lockless(records[1:], first_lpos=512)) == stamped(b"y" * 500, b"z" * 20)


def test_text_that_ends_with_the_buffer() -> None:
    """Linux kernel commit 67e1b0052f6b: such a block is not moved to the beginning."""
    records = [Record(b"x" * 40), Record(b"y" * 16)]
    memory = lockless(records, size_bits=6, first_lpos=16, late_wrap=True)
    assert log_of(memory) == stamped(b"x" * 40, b"y" * 16)


def test_level_and_caller() -> None:
    records = [
        Record(b"a", level=3, facility=1, caller_id=123),
        Record(b"b", level=7, caller_id=1 << 31),
    ]
    form = LineFormat(level=True, caller=True)
    expected = b"<11>[    0.001234][  T123] a\n<7>[    0.001234][    C0] b\n"
    for word, order in KINDS:
        assert log_of(lockless(records, word=word, order=order), form) == expected
        assert log_of(structured(records, word=word, order=order), form) == expected


def test_escapes() -> None:
    text = b"a\x00\x1b[1m\x7f\t\r\xe2\x82\xac\xc2\x85\xed\xa0\x80\xf0\x9f\x90\xa7\xc3"
    assert escape(text, utf8=False) == (
        b"a\\x00\\x1b[1m\\x7f\t\r\\xe2\\x82\\xac\\xc2\\x85\\xed\\xa0\\x80\\xf0\\x9f\\x90\\xa7\\xc3"
    )
    assert escape(text, utf8=True) == (
        b"a\\x00\\x1b[1m\\x7f\t\r\xe2\x82\xac\\xc2\\x85\\xed\\xa0\\x80\xf0\x9f\x90\xa7\\xc3"
    )


LOCKLESS_KEYS = [
    key
    for key in lockless([]).info
    if key not in ("SYMBOL(prb)", "SIZE(printk_ringbuffer)", "OFFSET(printk_info.caller_id)")
]


@pytest.mark.parametrize("key", LOCKLESS_KEYS)
def test_a_missing_key_is_named(key: str) -> None:
    memory = lockless([Record(b"one")])
    del memory.info[key]
    _, error = refused(memory)
    assert f"no {key}" in error.message
    assert error.exit_code == 61


@pytest.mark.parametrize(
    ("key", "code"),
    [
        ("SYMBOL(log_buf)", 60),
        ("SYMBOL(log_buf_len)", 61),
        ("SYMBOL(log_next_idx)", 63),
        ("OFFSET(printk_log.ts_nsec)", 65),
        ("OFFSET(printk_log.len)", 66),
        ("OFFSET(printk_log.text_len)", 67),
    ],
)
def test_a_missing_key_of_the_structured_log(key: str, code: int) -> None:
    memory = structured([Record(b"one")])
    del memory.info[key]
    _, error = refused(memory)
    assert key in error.message
    assert error.exit_code == code


def test_no_log_at_all() -> None:
    assert refused(Memory())[1].exit_code == 50


def test_members_beyond_their_struct() -> None:
    memory = lockless([Record(b"one")])
    memory.info["SIZE(printk_info)"] = "20"
    assert "beyond the log's structs" in refused(memory)[1].message
    memory = structured([Record(b"one")])
    memory.info["SIZE(printk_log)"] = "8"
    assert "beyond the log's header" in refused(memory)[1].message


def test_a_lockless_ring_with_impossible_sizes() -> None:
    for field in ("prb_desc_ring.count_bits", "prb_data_ring.size_bits"):
        memory = lockless([Record(b"one")])
        # A pointer is there: more bits than any log has.
        memory.info[f"OFFSET({field})"] = "8"
        _, error = refused(memory)
        assert "damaged: 2^" in error.message
        assert error.exit_code == 64


def test_ids_further_apart_than_the_ring() -> None:
    memory = lockless([Record(b"one")], first_id=100)
    # What is there instead is 0.
    memory.info["OFFSET(prb_desc_ring.tail_id)"] = "40"
    printed, error = refused(memory)
    assert (printed, error.exit_code) == (b"", 68)


def test_a_lockless_block_smaller_than_its_id() -> None:
    memory = lockless([Record(b"one"), Record(b"two")], first_lpos=0)
    begin, following = (value.to_bytes(8, "little") for value in (16, 32))
    memory.data[:] = memory.data.replace(begin + following, begin + (18).to_bytes(8, "little"))
    printed, error = refused(memory)
    assert (printed, error.exit_code) == (stamped(b"one"), 69)


def test_a_lockless_block_longer_than_the_ring() -> None:
    memory = lockless([Record(b"one"), Record(b"two")], first_lpos=0)
    begin, following = (value.to_bytes(8, "little") for value in (16, 32))
    longer = (32 + 2048).to_bytes(8, "little")
    memory.data[:] = memory.data.replace(begin + following, begin + longer)
    printed, error = refused(memory)
    assert (printed, error.exit_code) == (stamped(b"one"), 69)


def variable(memory: Memory, name: str, value: int) -> None:
    at = int(memory.info[f"SYMBOL({name})"], 16) - memory.base
    memory.data[at : at + 4] = value.to_bytes(4, "little")


def test_a_structured_log_in_a_circle() -> None:
    memory = structured([Record(b"one"), Record(b"two")])
    variable(memory, "log_next_idx", 1000)
    printed, error = refused(memory)
    assert (printed, error.exit_code) == (stamped(b"one", b"two"), 68)


def test_a_structured_log_that_leaves_its_buffer() -> None:
    memory = structured([Record(b"one"), Record(b"two")])
    variable(memory, "log_buf_len", 40)
    printed, error = refused(memory)
    assert (printed, error.exit_code) == (stamped(b"one"), 69)
    variable(memory, "log_buf_len", 1 << 31 | 1)
    assert refused(memory)[1].exit_code == 64
    variable(memory, "log_buf_len", 1024)
    variable(memory, "log_first_idx", 2000)
    assert refused(memory)[1].exit_code == 69


def test_a_structured_record_shorter_than_its_text() -> None:
    memory = structured([Record(b"one")])
    memory.data[8:10] = (4).to_bytes(2, "little")
    assert refused(memory)[1].exit_code == 69


def test_a_legacy_log_without_a_size() -> None:
    memory = legacy(b"text")
    variable(memory, "log_buf_len", 0)
    assert refused(memory)[1].exit_code == 51


def run(*arguments: str | Path) -> subprocess.CompletedProcess[bytes]:
    command = [sys.executable, "-m", "pykexec.cli.vmcore_dmesg", *map(str, arguments)]
    return subprocess.run(command, capture_output=True, check=False, timeout=60)


def test_the_command(tmp_path: Path) -> None:
    core = tmp_path / "core"
    core.write_bytes(elf_core(lockless([Record(b"\xc3\xa9", caller_id=7)])))
    assert run(core).stdout == stamped(b"\\xc3\\xa9")
    assert run("-lcu", core).stdout == "<6>[    0.001234][    T7] é\n".encode()
    assert run("--lev", core).stdout == b"<6>" + stamped(b"\\xc3\\xa9")


def test_the_command_prints_what_comes_before_the_damage(tmp_path: Path) -> None:
    memory = structured([Record(b"one"), Record(b"two")])
    variable(memory, "log_buf_len", 40)
    core = tmp_path / "core"
    core.write_bytes(elf_core(memory))
    done = run(core)
    assert (done.returncode, done.stdout) == (69, stamped(b"one"))
    assert done.stderr.startswith(b"vmcore-dmesg: the log is damaged")


def test_usage(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    assert main(["--help"]) == 0
    assert "--utf8" in capsys.readouterr().out
    assert main(["-v"]) == 0
    assert capsys.readouterr().out.startswith("vmcore-dmesg (pykexec) ")
    for arguments in ([], ["-l"], ["--bogus", "a"]):
        assert main(arguments) == 1
        said = capsys.readouterr()
        assert (said.out, said.err.count("\n")) == ("", 2)
    assert main([str(tmp_path / "missing")]) == 2
    assert "No such file" in capsys.readouterr().err
    assert main([str(tmp_path)]) == 65
    assert "no core, but a directory" in capsys.readouterr().err


def test_a_full_disk(tmp_path: Path) -> None:
    core = tmp_path / "core"
    core.write_bytes(elf_core(legacy(b"text" * 10)))
    command = [sys.executable, "-m", "pykexec.cli.vmcore_dmesg", str(core)]
    with Path("/dev/full").open("wb") as full:
        done = subprocess.run(command, stdout=full, stderr=subprocess.PIPE, check=False)
    assert done.returncode == 54
    assert b"No space left" in done.stderr
