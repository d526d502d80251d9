"""Options as getopt_long(3) reads them."""

from __future__ import annotations

import pytest

from pykexec.cli.getopt_long import scan
from pykexec.cli.kexec_options import OPTIONS, usage
from pykexec.errors import UsageError


def read(*words: str) -> list[tuple[str, str | None]]:
    return list(scan(words, OPTIONS))


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        (["-l", "K"], [("load", None), ("", "K")]),
        (["K", "--load"], [("", "K"), ("load", None)]),
        (["-ld", "K"], [("load", None), ("debug", None), ("", "K")]),
        (["--append=a b"], [("append", "a b")]),
        (["--append", "a b"], [("append", "a b")]),
        (["--command-line="], [("append", "")]),
        (["--initr", "x"], [("initrd", "x")]),
        (["--ramd=x"], [("initrd", "x")]),
        (["--dry-run"], [("dry-run", None)]),
        (["--dry=json", "K"], [("dry-run", "json"), ("", "K")]),
        (["--dry-run", "json"], [("dry-run", None), ("", "json")]),
        (["--kexec-syscall"], [("kexec-syscall", None)]),
        (["--", "-l"], [("", "-l")]),
        (["-"], [("", "-")]),
        (["--mem-min", "-1"], [("mem-min", "-1")]),
    ],
)
def test_reads(words: list[str], expected: list[tuple[str, str | None]]) -> None:
    assert read(*words) == expected


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--bogus"], "unrecognized option '--bogus'"),
        (["-Z"], "invalid option -- 'Z'"),
        (["--mem", "0"], "option '--mem' is ambiguous; possibilities: '--mem-max' '--mem-min'"),
        (["--load=x"], "option '--load' doesn't allow an argument"),
        (["--append"], "option '--append' requires an argument"),
    ],
)
def test_refuses(words: list[str], message: str) -> None:
    with pytest.raises(UsageError) as caught:
        read(*words)
    assert caught.value.message == message
    assert caught.value.exit_code == 1


def test_what_comes_before_a_bad_option_is_seen_first() -> None:
    scanned = scan(["-v", "--bogus"], OPTIONS)
    assert next(scanned) == ("version", None)


def test_posixly_correct_stops_at_the_first_operand(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("POSIXLY_CORRECT", "1")
    assert read("-l", "K", "-d") == [("load", None), ("", "K"), ("", "-d")]


def test_usage_fits_a_serial_console() -> None:
    lines = usage().splitlines()
    assert max(map(len, lines)) <= 80
    for option in OPTIONS:
        if option.help:
            assert any(f"-{option.short}," in line for line in lines) or not option.short
            assert all(f"--{long}" in usage() for long in option.long)
