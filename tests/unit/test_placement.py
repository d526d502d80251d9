"""What a refusal to place says."""

from __future__ import annotations

import pytest

from pykexec.errors import NoRoomError
from pykexec.planning.placement import find
from pykexec.values.ranges import Range, RangeSet
from pykexec.values.units import MIB
from pykexec.values.wishes import Origin, Placement, at_least, at_most

MORE = "'pykexec plan --explain initrd' says which range was left for which limit"


def refusal(free: RangeSet, wish: Placement) -> NoRoomError:
    with pytest.raises(NoRoomError) as caught:
        find(free, wish, "initrd")
    return caught.value


def test_says_what_was_needed_and_what_was_found() -> None:
    free = RangeSet([Range.sized(0x40000000, 48 * MIB)])
    error = refusal(free, Placement(61 * MIB, (at_most(0x7FFFFFFF, "initrd_addr_max"),)))
    assert error.message == (
        "cannot place initrd: need 61 MiB at or below 0x7fffffff (initrd_addr_max); "
        "largest free range there is 48 MiB at 0x40000000"
    )
    assert error.hint == f"initrd is 13 MiB too large for this machine's free memory; {MORE}"
    assert error.exit_code == 255


def test_blames_the_users_own_limit_when_that_is_the_cause() -> None:
    free = RangeSet([Range.sized(0x100000000, 64 * MIB)])
    wish = Placement(
        MIB, (at_most(0x7FFFFFFF, "--mem-max", Origin.OPTION), at_least(MIB, "pref_address"))
    )
    error = refusal(free, wish)
    assert error.message == (
        "cannot place initrd: need 1 MiB between 0x100000 (pref_address) and 0x7fffffff "
        "(--mem-max); "
        "no free RAM lies there; largest free range anywhere is 64 MiB at 0x100000000"
    )
    assert error.hint == f"it fits without --mem-max; {MORE}"


def test_what_has_no_place_is_not_called_too_large_where_there_is_memory_elsewhere() -> None:
    free = RangeSet([Range.sized(0x100000000, 64 * MIB)])
    error = refusal(free, Placement(MIB, (at_most(0x7FFFFFFF, "initrd_addr_max"),)))
    assert error.hint == f"no free memory is within these limits; {MORE}"


def test_limits_that_contradict_each_other_leave_no_place() -> None:
    free = RangeSet([Range(0, 64 * MIB)])
    limits = (
        at_least(32 * MIB, "--mem-min", Origin.OPTION),
        at_most(16 * MIB, "--mem-max", Origin.OPTION),
    )
    error = refusal(free, Placement(4096, limits))
    assert error.hint == f"it fits without --mem-max and --mem-min; {MORE}"


def test_without_any_memory() -> None:
    assert "no RAM is free" in refusal(RangeSet(), Placement(4096)).message
