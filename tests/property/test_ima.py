"""IMA's list: as many measurements are counted as were made, and no bytes do harm."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pykexec.boot.ima import build_ima_buffer, check_ima_buffer, count_measurements
from pykexec.errors import ImageError
from tests.builders.ima import MEASUREMENTS, measurement

ENTRIES = st.lists(
    st.builds(
        lambda path, template: measurement(path, template=template),
        st.text(max_size=20),
        st.binary(max_size=12).filter(lambda name: name != b"ima"),
    ),
    max_size=6,
)


@given(ENTRIES)
def test_entries_are_counted(entries: list[bytes]) -> None:
    measurements = b"".join(entries)
    assert count_measurements(measurements) == len(entries)
    assert check_ima_buffer(build_ima_buffer(measurements, len(entries))) is None


@given(ENTRIES.filter(bool), st.data())
def test_a_cut_entry_is_noticed(entries: list[bytes], data: st.DataObject) -> None:
    missing = data.draw(st.integers(1, len(entries[-1]) - 1))
    with pytest.raises(ImageError):
        count_measurements(b"".join(entries)[:-missing])


@given(st.binary(max_size=80), st.integers(0, len(MEASUREMENTS)))
def test_damage_is_counted_or_refused(damage: bytes, at: int) -> None:
    measurements = MEASUREMENTS[:at] + damage + MEASUREMENTS[at + len(damage) :]
    try:
        count = count_measurements(measurements)
    except ImageError:
        return
    assert check_ima_buffer(build_ima_buffer(measurements, count)) is None
