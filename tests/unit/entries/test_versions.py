"""The order of versions, by the examples of the specification and of kernels."""

from __future__ import annotations

import random

import pytest

from pykexec.entries.versions import version_key


@pytest.mark.parametrize(
    ("older", "newer"),
    [
        # UAPI.10, "Examples".
        ("bar-123", "foo-123"),
        ("123", "123a"),
        ("123", "123.a"),
        ("123.a", "123.b"),
        ("123.a", "123a"),
        ("A", "a"),
        ("", "0"),
        ("0", "0."),
        ("0", "0.0"),
        ("1_", "1.2"),
        ("1.3.3", "1_2_3"),
        ("1+", "1.2"),
        ("1.3.3", "1+2+3"),
        # Its examples have a lone tilde above "" and "0", its text below both, as systemd does.
        ("~", ""),
        ("~", "0"),
        # What its text says.
        ("6.12~rc1", "6.12"),
        ("6.12~rc1", "6.12~rc2"),
        ("6.12-1", "6.12.1"),
        ("6.12^1", "6.12.9"),
        ("6.12-9", "6.12^1"),
        # Corners in which systemd's order is the measure.
        ("123^1", "123.1"),
        ("123^45-67.89", "123.45-67.89"),
        ("123^aa2-67.89", "123aa2-67.89"),
        ("123.aa2-67.89", "123aa2-67.89"),
        ("123-99.99", "123^aa2-67.89"),
        ("123~rc1-99.99", "123-45.67.89"),
        ("12_3", "123"),
        ("12.3", "12_3"),
        ("123", "123_0"),
        ("123..0", "123.0"),
        ("xyz.4", "2"),
        ("10.1xyz", "10xyz"),
        ("6.0", "6.0.rc1"),
        ("1.0", "1.0^"),
        ("1.0^git1", "1.01"),
        ("1.0^20160101^git1", "1.0^20160102"),
        ("1.0~rc1~git123", "1.0~rc1"),
        ("1.0~rc1", "1.0~rc1^git1"),
        ("1.0^git1~pre", "1.0^git1"),
        # Kernels.
        ("6.9.12-200.fc40.x86_64", "6.11.4-301.fc41.x86_64"),
        ("6.12.48+deb13-amd64", "6.12.57+deb13-amd64"),
        ("6.1.0-9-amd64", "6.1.0-13-amd64"),
        ("5.15.0-91-generic", "5.15.0-101-generic"),
        ("9" * 5000, "1" + "0" * 5000),
    ],
)
def test_order(older: str, newer: str) -> None:
    assert version_key(older) < version_key(newer)


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("11", "11"),
        ("systemd-123", "systemd-123"),
        ("11ä", "11ö"),
        ("1_", "1"),
        ("_1", "1"),
        ("1+", "1"),
        ("+1", "1"),
        ("11\u03b1", "11\u03b2"),
        ("123_aa2-67.89", "123aa+2-67.89"),
        ("001", "1"),
    ],
)
def test_the_same(one: str, other: str) -> None:
    assert version_key(one) == version_key(other)


def test_all_of_a_scale_at_once() -> None:
    scale = ["122.1", "123~rc1-1", "123", "123-a", "123-a.1", "123-1", "123-1.1", "123.a-1"]
    scale[-1:] = ["123^post1", "123^1", "123.a-1", "123.1-1", "123a-1", "124-1"]
    mixed = scale.copy()
    random.Random(1).shuffle(mixed)
    assert sorted(mixed, key=version_key) == scale
