"""Places for several segments together: who gives way, for whom, and what a refusal says."""

from __future__ import annotations

import pytest

from pykexec.errors import NoRoomError
from pykexec.planning.arrangement import arrange
from pykexec.planning.explanations import Verdict, explain_refusal
from pykexec.planning.wanted import Option, Relation, Wanted, above, below, near
from pykexec.render.explain import explanation_text
from pykexec.values.ranges import Range, RangeSet
from pykexec.values.roles import Role
from pykexec.values.units import GIB, MIB
from pykexec.values.wishes import (
    GivenUp,
    Limit,
    Origin,
    Placed,
    Prefer,
    aligned,
    at_least,
    at_most,
    inside,
)

MORE = "'pykexec plan --explain initrd' says which range was left for which limit"


def wanted(role: Role, size: int, *limits: Limit | Relation, prefer: Prefer = Prefer.TOP) -> Wanted:
    return Wanted(role, (Option(size, limits, prefer),))


def places(placed: tuple[Placed, ...]) -> dict[Role, Range]:
    return {item.role: item.dest for item in placed}


def refused(free: list[Range], *items: Wanted) -> NoRoomError:
    with pytest.raises(NoRoomError) as caught:
        arrange(RangeSet(free), items)
    return caught.value


def test_the_first_has_the_first_choice() -> None:
    free = RangeSet([Range(0, 10 * MIB), Range(20 * MIB, 40 * MIB)])
    found = arrange(free, [wanted(Role.KERNEL, 8 * MIB), wanted(Role.INITRD, 12 * MIB)])
    assert [item.dest.start for item in found] == [32 * MIB, 20 * MIB]
    assert [item.given_up for item in found] == [None, None]


def test_the_kernel_gives_way_to_the_initrd() -> None:
    free = RangeSet([Range(0, 10 * MIB), Range(20 * MIB, 40 * MIB)])
    found = arrange(free, [wanted(Role.KERNEL, 8 * MIB), wanted(Role.INITRD, 13 * MIB)])
    assert [item.dest.start for item in found] == [2 * MIB, 27 * MIB]
    first_choice = Range(32 * MIB, 40 * MIB)
    assert found[0].given_up == GivenUp(first_choice, (Role.INITRD,))
    assert found[1].given_up is None


def test_the_small_ones_go_below_what_cannot() -> None:
    """A crash region just large enough: what takes the top first has to leave it."""
    limits = (at_least(16 * MIB, "pref_address"), aligned(2 * MIB, "kernel_alignment"))
    found = arrange(
        RangeSet([Range(15 * MIB, 48 * MIB)]),
        [
            wanted(Role.BACKUP, MIB // 2),
            wanted(Role.ELFCOREHDR, MIB // 2),
            wanted(Role.KERNEL, 32 * MIB, *limits),
        ],
    )
    assert places(found)[Role.KERNEL] == Range(16 * MIB, 48 * MIB)
    assert {item.given_up.needed_by for item in found[:2] if item.given_up} == {(Role.KERNEL,)}


def test_another_way_is_taken_where_the_first_has_no_place() -> None:
    own = Option(4 * MIB, inside(Range(2 * MIB, 6 * MIB), "p_paddr"))
    moved = Option(4 * MIB)
    item = Wanted(Role.KERNEL, (own, moved))
    assert arrange(RangeSet([Range(0, 20 * MIB)]), [item])[0].option == 0
    found = arrange(RangeSet([Range(3 * MIB, 20 * MIB)]), [item])[0]
    assert (found.option, found.dest) == (1, Range(16 * MIB, 20 * MIB))
    # Only moved it leaves room for the initrd.
    free = RangeSet([Range(0, 8 * MIB), Range(10 * MIB, 14 * MIB)])
    found = arrange(free, [item, wanted(Role.INITRD, 7 * MIB)])[0]
    assert (found.option, found.dest) == (1, Range(10 * MIB, 14 * MIB))


def test_above_and_below_another_one() -> None:
    free = RangeSet([Range(0, 10 * MIB), Range(20 * MIB, 30 * MIB)])
    ima = wanted(Role.IMA_BUFFER, 9 * MIB, below(Role.KERNEL, "KASLR"))
    kernel = wanted(Role.KERNEL, 8 * MIB, prefer=Prefer.BOTTOM)
    found = places(arrange(free, [kernel, ima]))
    assert found[Role.IMA_BUFFER].end <= found[Role.KERNEL].start == 20 * MIB
    initrd = wanted(Role.INITRD, 9 * MIB, above(Role.KERNEL, "old kernels"))
    top = wanted(Role.KERNEL, 8 * MIB)
    found = places(arrange(free, [top, initrd]))
    assert found[Role.KERNEL].end <= found[Role.INITRD].start


def test_two_in_one_window() -> None:
    window = near(Role.KERNEL, 32 * GIB, GIB, "one window")
    free = RangeSet([Range(GIB, GIB + 8 * MIB), Range(50 * GIB, 50 * GIB + 32 * MIB)])
    kernel = wanted(Role.KERNEL, 4 * MIB, aligned(2 * MIB, "base"), prefer=Prefer.BOTTOM)
    found = places(arrange(free, [kernel, wanted(Role.INITRD, 16 * MIB, window)]))
    assert found[Role.KERNEL].start == 50 * GIB
    error = refused(
        [Range(GIB, GIB + 8 * MIB), Range(50 * GIB, 50 * GIB + 18 * MIB)],
        kernel,
        wanted(Role.INITRD, 16 * MIB, window),
    )
    assert (error.role, error.beside) == (Role.INITRD, (Role.KERNEL,))


def test_a_window_at_the_end_of_all_addresses() -> None:
    window = near(Role.KERNEL, 32 * GIB, GIB, "one window")
    free = RangeSet([Range((1 << 64) - 16 * MIB, 1 << 64)])
    kernel, initrd = wanted(Role.KERNEL, 4 * MIB), wanted(Role.INITRD, 12 * MIB, window)
    assert places(arrange(free, [kernel, initrd]))[Role.INITRD].size == 12 * MIB
    assert refused(list(free), kernel, wanted(Role.INITRD, 13 * MIB, window)).role == Role.INITRD


def test_a_refusal_names_what_is_in_the_way_and_nothing_else() -> None:
    error = refused(
        [Range(0, 10 * MIB), Range(20 * MIB, 30 * MIB)],
        wanted(Role.PURGATORY, 4096),
        wanted(Role.KERNEL, 8 * MIB),
        wanted(Role.DTB, 8 * MIB),
        wanted(Role.INITRD, 6 * MIB),
        wanted(Role.SETUP_DATA, 4096),
    )
    assert error.role == Role.INITRD
    assert error.beside == (Role.KERNEL, Role.DTB)
    assert error.hint == (
        "initrd is 4 MiB too large for this machine's free memory beside kernel (8 MiB) and dtb "
        f"(8 MiB), wherever those are put; {MORE}"
    )
    text = explanation_text(explain_refusal(error))
    assert "There is none beside kernel and dtb, wherever\nthose are put." in text
    assert max(map(len, text.splitlines())) <= 80


def test_how_much_is_too_much_is_exact() -> None:
    """So much smaller it fits, in another arrangement than the one that failed."""
    ranges = [Range(0, 10 * MIB), Range(20 * MIB, 29 * MIB)]
    kernel = wanted(Role.KERNEL, 4 * MIB)
    error = refused(ranges, kernel, wanted(Role.INITRD, 11 * MIB))
    assert (error.role, error.beside) == (Role.INITRD, ())
    assert error.message.endswith("largest free range there is 10 MiB at 0x0")
    assert error.hint == f"initrd is 1 MiB too large for this machine's free memory; {MORE}"
    text = explanation_text(explain_refusal(error))
    assert "No place for initrd: 1 MiB short.\n" in text
    assert arrange(RangeSet(ranges), [kernel, wanted(Role.INITRD, 10 * MIB)])
    error = refused(ranges[:1], kernel, wanted(Role.INITRD, 11 * MIB))
    assert error.hint == f"initrd is 5 MiB too large for this machine's free memory; {MORE}"


def test_what_is_short_is_less_where_the_others_lie_elsewhere() -> None:
    ranges = [Range(0, 10 * MIB), Range(20 * MIB, 32 * MIB)]
    error = refused(ranges, wanted(Role.KERNEL, 4 * MIB), wanted(Role.INITRD, 13 * MIB))
    assert error.message.endswith("largest free range there is 12 MiB at 0x1400000")
    assert error.hint == f"initrd is 1 MiB too large for this machine's free memory; {MORE}"
    text = explanation_text(explain_refusal(error))
    assert "No place for initrd: 3 MiB short. With the others elsewhere it is 1 MiB." in text


def test_what_would_have_no_place_at_any_size() -> None:
    low, high = at_least(8 * MIB, "header"), at_most(8 * MIB, "boot protocol")
    error = refused([Range(0, GIB)], wanted(Role.INITRD, MIB, low, high))
    assert error.hint == f"initrd is 1024.0 KiB too large for this machine's free memory; {MORE}"
    full = wanted(Role.KERNEL, 2 * MIB)
    error = refused([Range(0, 2 * MIB)], full, wanted(Role.INITRD, MIB))
    assert error.hint == (
        f"there is no place for initrd beside kernel (2 MiB), wherever that is put; {MORE}"
    )
    error = refused([Range(0, MIB)], wanted(Role.INITRD, MIB, at_least(GIB, "high")))
    assert error.hint == f"no free memory is within these limits; {MORE}"


def test_the_users_limit_is_blamed_only_if_all_fits_without() -> None:
    own = at_most(10 * MIB - 1, "--mem-max", Origin.OPTION)
    items = (wanted(Role.KERNEL, 4 * MIB, own), wanted(Role.INITRD, 8 * MIB, own))
    error = refused([Range(0, 14 * MIB)], *items)
    assert error.hint == f"it fits without --mem-max; {MORE}"
    error = refused([Range(0, 11 * MIB)], *items)
    assert "--mem-max" not in (error.hint or "")


def test_a_later_one_may_be_the_obstacle() -> None:
    """In turn the initrd comes to nothing, but it would give way; the kernel could not."""
    top = at_least(8 * MIB, "high")
    error = refused(
        [Range(0, 4 * MIB), Range(8 * MIB, 12 * MIB)],
        wanted(Role.PURGATORY, 2 * MIB),
        wanted(Role.INITRD, 3 * MIB, top),
        wanted(Role.KERNEL, 3 * MIB, top),
    )
    assert (error.role, error.beside) == (Role.KERNEL, (Role.INITRD,))
    assert [item.role for item in error.placed] == [Role.PURGATORY, Role.INITRD]
    assert {item.verdict for item in explain_refusal(error).ranges} <= {
        Verdict.SMALL,
        Verdict.OUTSIDE,
    }


def test_fixed_places_need_no_search() -> None:
    """Sixteen pieces that can lie nowhere else are out of the way at once."""
    pieces = [
        wanted(Role.KERNEL, MIB, *inside(Range.sized(at * 2 * MIB, MIB), "p_paddr"))
        for at in range(16)
    ]
    small = wanted(Role.PURGATORY, MIB, at_most(4 * MIB - 1, "low"))
    free = RangeSet([Range(0, 32 * MIB)])
    # The purgatory's first choice is the top of its limits, which is free.
    assert places(arrange(free, [small, *pieces]))[Role.PURGATORY].start == 3 * MIB
    wide = wanted(Role.PURGATORY, MIB, at_most(3 * MIB - 1, "low"))
    found = arrange(free, [wide, *pieces])
    assert found[0].dest.start == MIB
    assert found[0].given_up == GivenUp(Range(2 * MIB, 3 * MIB), (Role.KERNEL,))
