"""What is done to a command line so that a simulated kernel is heard."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pykexec.simulation.audible import MUTING, make_audible
from pykexec.values.command_line import kernel_words

X86, ARM, RISCV = "x86_64", "aarch64", "riscv64"


@pytest.mark.parametrize(
    ("arch", "cmdline", "expected"),
    [
        (X86, b"", b"console=ttyS0"),
        (X86, b"ro", b"ro console=ttyS0"),
        (X86, b"ro console=ttyS0", b"ro console=ttyS0"),
        (X86, b"console=ttyS0,115200n8  ro ", b"console=ttyS0,115200n8  ro "),
        (X86, b"console=tty0", b"console=tty0 console=ttyS0"),
        # Init speaks to the last one, and a second mention makes it that.
        (X86, b"console=ttyS0 console=tty0", b"console=ttyS0 console=tty0 console=ttyS0"),
        (X86, b"console=tty0 console=ttyS0", b"console=tty0 console=ttyS0"),
        (X86, b"console=ttyS1", b"console=ttyS1 console=ttyS0"),
        (X86, b"earlyprintk=serial", b"earlyprintk=serial console=ttyS0"),
        (X86, b"ro -- single", b"ro console=ttyS0 -- single"),
        (X86, b"quiet", b"console=ttyS0"),
        (X86, b"ro quiet splash console=ttyS0", b"ro splash console=ttyS0"),
        (X86, b"loglevel=4 console=ttyS0", b"console=ttyS0 loglevel=7"),
        (X86, b"loglevel=7 console=ttyS0", b"loglevel=7 console=ttyS0"),
        (X86, b"quiet console=ttyS0 -- quiet", b"console=ttyS0 -- quiet"),
        (ARM, b"quiet", b"console=ttyAMA0"),
        (ARM, b"console=ttyS0", b"console=ttyS0 console=ttyAMA0"),
        (ARM, b"console=ttyAMA0,115200", b"console=ttyAMA0,115200"),
        (RISCV, b"console=hvc0", b"console=hvc0 console=ttyS0"),
        ("i386", b"ro", b"ro"),
        (X86, b"quiet\0ro", b"quiet\0ro"),
    ],
)
def test_what_becomes_of_a_line(arch: str, cmdline: bytes, expected: bytes) -> None:
    found = make_audible(cmdline, arch)
    assert found.cmdline == expected
    assert bool(found.changes) == (cmdline != expected)
    assert make_audible(expected, arch).changes == ()


def test_each_change_is_told() -> None:
    found = make_audible(b"quiet loglevel=3 quiet", X86)
    assert found.changes == (
        "quiet is taken off",
        "loglevel=3 is taken off: the new kernel would not say that it runs its init",
        "loglevel=7 is added",
        "console=ttyS0 is added, which is where the new kernel is listened to",
    )


def test_what_mutes_may_stay_where_something_else_is_waited_for() -> None:
    found = make_audible(b"quiet loglevel=3", X86, says_init=False)
    assert found.cmdline == b"quiet loglevel=3 console=ttyS0"


@given(st.lists(st.sampled_from([b"quiet", b"loglevel=2", b"ro", b'a="b c"', b"--", b"console=x"])))
def test_other_words_stay(words: list[bytes]) -> None:
    found = make_audible(b" ".join(words), X86)
    before = [word for word in kernel_words(b" ".join(words)) if not MUTING.fullmatch(word)]
    after = kernel_words(found.cmdline)
    assert [word for word in after if word not in (b"loglevel=7", b"console=ttyS0")] == before
    assert not any(MUTING.fullmatch(word) for word in after)
