"""GRUB's ``test``, and the numbers in it."""

from __future__ import annotations

from collections.abc import Sequence

import pytest

from pykexec.entries.grub_numbers import signed, strtoul
from pykexec.entries.grub_test import truth


class Facts:
    """One file, and nothing that is not known."""

    def test_file(self, operator: str, path: str) -> bool:
        return path == "/there"

    def test_times(self, first: str, operator: str, second: str) -> bool:
        return False

    def test_unknown(self, words: Sequence[str]) -> bool | None:
        return None


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        ([], True),
        (["]"], True),
        (["x"], True),
        ([""], False),
        (["-n", "x"], True),
        (["-z", ""], True),
        (["-z", "x"], False),
        (["-n"], True),
        (["x", "=", "x"], True),
        (["x", "=", "x", "]"], True),
        (["x", "==", "y"], False),
        (["x", "!=", "y"], True),
        (["a", "<", "b"], True),
        (["b", "<=", "a"], False),
        (["b", ">", "a"], True),
        (["a", ">=", "a"], True),
        (["é", ">", "z"], True),
        (["10", "-gt", "9"], True),
        (["10", "-lt", "9"], False),
        (["1", "-eq", "01"], True),
        (["0x1F", "-eq", "31"], True),
        (["3x", "-eq", "3"], True),
        (["1", "-ne", "1"], False),
        (["-2", "-le", "-1"], True),
        (["x", "-ge", "0"], True),
        (["4294967295", "-eq", "-1"], True),
        (["vmlinuz-2", "-plt", "vmlinuz-11"], True),
        (["vmlinuz-2", "-pgt", "vmlinuz-11"], False),
        (["a", "-nt", "b"], False),
        (["!", "x"], False),
        (["!", "!", "x"], True),
        (["!"], True),
        (["", "-o", "x"], True),
        (["x", "-a", ""], False),
        (["x", "-a", "x", "-o", ""], True),
        (["(", "", "-o", "x", ")", "-a", "x"], True),
        (["(", "", ")", "-o", ""], False),
        (["!", "(", "", "-o", "", ")"], True),
        (["(", "(", "", ")"], False),
        (["x", ")", ""], True),
        (["x", "y"], True),
        (["x", ""], False),
        (["-f", "/there"], True),
        (["-s", "/not"], False),
        (["-f", "/there", "-a", "!", "-e", "/not"], True),
        (["-f", "=", "-f"], True),
        (["("] * 100_000, True),
    ],
)
def test_conditions(words: list[str], expected: bool) -> None:
    assert truth(words, Facts()) is expected


@pytest.mark.parametrize(
    ("text", "base", "expected"),
    [
        ("12", 0, (12, "")),
        (" 12 x", 0, (12, " x")),
        ("0x1fg", 0, (31, "g")),
        ("017", 0, (15, "")),
        ("08", 0, (8, "")),
        ("0", 0, (0, "")),
        ("0x", 0, None),
        ("x", 0, None),
        ("", 0, None),
        ("010", 10, (10, "")),
        ("9" * 5000, 0, ((1 << 64) - 1, "")),
    ],
)
def test_numbers(text: str, base: int, expected: tuple[int, str] | None) -> None:
    assert strtoul(text, base) == expected


def test_numbers_have_32_bits() -> None:
    assert [signed(text) for text in ("-1", "2147483648", "-", "9" * 30)] == [-1, -(1 << 31), 0, -1]
