"""Which system call loads: the table of reasons."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from pykexec.calls.call_choice import Choice, choose, unload_order
from pykexec.errors import CommandLineError, HandoverLostError, ImageError, UsageError
from pykexec.formats.bzimage import parse_bzimage
from pykexec.planning.plans import PurgatoryOptions
from pykexec.values.calls import Call, CallWish, Target
from pykexec.values.consoles import PcConsole
from pykexec.values.facts import EfiFacts, MachineFacts
from pykexec.values.handover import Handover, Switch
from pykexec.values.kernel_state import KernelState
from tests.builders.bzimage import KernelSpec, build_bzimage
from tests.builders.plans import SMALL_KERNEL, build_facts, build_request

LOCKED = KernelState(lockdown="integrity")
FILE, SEGMENTS = Call.KEXEC_FILE_LOAD, Call.KEXEC_LOAD


def choice(
    wish: CallWish = CallWish.AUTO,
    *,
    state: KernelState | None = None,
    spec: KernelSpec = SMALL_KERNEL,
    facts: MachineFacts | None = None,
    **request: Any,
) -> Choice:
    facts = facts or build_facts(kernel=state or KernelState(lockdown="none"))
    image = parse_bzimage(build_bzimage(spec))
    return choose(wish, build_request(**request), image, facts)


def without(flag: int) -> KernelSpec:
    return replace(SMALL_KERNEL, xloadflags=SMALL_KERNEL.xloadflags & ~flag)


@pytest.mark.parametrize("lockdown", [None, "none"])
def test_the_file_call_is_preferred_and_the_other_may_follow(lockdown: str | None) -> None:
    chosen = choice(state=KernelState(lockdown=lockdown))
    assert (chosen.call, chosen.fallback, chosen.warnings) == (FILE, True, ())
    assert chosen.note.startswith("kexec_file_load: nothing asked for needs kexec_load")


NEEDED: list[tuple[dict[str, Any], str]] = [
    ({"mem_min": 4096}, "--mem-min"),
    ({"mem_max": 1 << 30}, "--mem-max"),
    ({"no_efi": True}, "--noefi"),
]
HARMLESS: list[tuple[dict[str, Any], str]] = [
    ({"pass_memmap_cmdline": True}, "--pass-memmap-cmdline"),
    ({"purgatory": PurgatoryOptions(skip_checks=True)}, "--no-checks"),
    ({"purgatory": PurgatoryOptions(console=PcConsole(console_serial=True))}, "--console-serial"),
    ({"purgatory": PurgatoryOptions(console=PcConsole(console_vga=True))}, "--console-vga"),
]
FORCED = [(CallWish.FILE, None), (CallWish.AUTO, LOCKED)]


@pytest.mark.parametrize(("request_", "name"), NEEDED + HARMLESS)
def test_options_of_kexec_load_choose_it(request_: dict[str, Any], name: str) -> None:
    chosen = choice(**request_)
    assert (chosen.call, chosen.reason) == (SEGMENTS, f"only this call honours {name}")


@pytest.mark.parametrize(("wish", "state"), FORCED)
@pytest.mark.parametrize(("request_", "name"), NEEDED)
def test_options_that_would_be_missed_are_refused(
    request_: dict[str, Any], name: str, wish: CallWish, state: KernelState | None
) -> None:
    with pytest.raises(UsageError) as caught:
        choice(wish, state=state, **request_)
    assert f"{name} cannot be honoured by kexec_file_load, and " in caught.value.message
    assert caught.value.hint


@pytest.mark.parametrize(("wish", "state"), FORCED)
@pytest.mark.parametrize(("request_", "name"), HARMLESS)
def test_options_that_do_no_harm_are_warned_about(
    request_: dict[str, Any], name: str, wish: CallWish, state: KernelState | None
) -> None:
    forced = choice(wish, state=state, **request_)
    assert forced.call is FILE
    [warning] = forced.warnings
    assert warning.startswith(f"{name} has no effect with kexec_file_load: ")


@pytest.mark.parametrize(
    ("spec", "facts", "words"),
    [
        (without(1), {}, "without XLF_KERNEL_64"),
        (without(2), {}, "without XLF_CAN_BE_LOADED_ABOVE_4G"),
        (replace(SMALL_KERNEL, version=0x020B), {}, "boot protocol 2.11, 2.12 is needed"),
        (without(0x20), {"la57": True}, "five-level page tables"),
        (SMALL_KERNEL, {"efi": EfiFacts(platform_bits=32)}, "32-bit"),
    ],
)
def test_images_that_only_kexec_load_can_take(
    spec: KernelSpec, facts: dict[str, Any], words: str
) -> None:
    machine = build_facts(**facts)
    chosen = choice(spec=spec, facts=machine)
    assert chosen.call is SEGMENTS
    assert words in chosen.reason
    with pytest.raises(ImageError, match="does not take this kernel") as caught:
        choice(CallWish.FILE, spec=spec, facts=machine)
    assert words in caught.value.message


def test_the_kernel_keeps_room_on_the_command_line() -> None:
    longest = SMALL_KERNEL.cmdline_size - 31
    assert choice(cmdline=b"x" * longest).call is FILE
    chosen = choice(cmdline=b"x" * (longest + 1))
    assert chosen.call is SEGMENTS
    assert f"at most {longest} are taken" in chosen.reason
    with pytest.raises(CommandLineError, match=f"at most {longest}"):
        choice(CallWish.FILE, cmdline=b"x" * (longest + 1))


@pytest.mark.parametrize(
    ("state", "words"),
    [
        (LOCKED, "locked down ([integrity])"),
        (KernelState(lockdown="confidentiality", xen=True), "locked down ([confidentiality])"),
        (KernelState(loadpin_enforced=True), "LoadPin is enforced"),
    ],
)
def test_where_kexec_load_is_refused_there_is_no_way_back(state: KernelState, words: str) -> None:
    chosen = choice(state=state)
    assert (chosen.call, chosen.fallback) == (FILE, False)
    assert words in chosen.reason


def test_xen() -> None:
    chosen = choice(state=KernelState(xen=True))
    assert chosen.call is SEGMENTS
    assert "Xen" in chosen.reason
    assert choice(CallWish.FILE, state=KernelState(xen=True)).call is FILE


def test_what_was_asked_for() -> None:
    assert choice(CallWish.SEGMENTS, state=LOCKED).note == "kexec_load: it was asked for"
    chosen = choice(CallWish.FILE)
    assert (chosen.note, chosen.fallback) == ("kexec_file_load: it was asked for", False)


def test_force_dtb_is_for_both_calls() -> None:
    """Linux before 6.18 refuses its flag, and the other call follows."""
    chosen = choice(force_dtb=True)
    assert (chosen.call, chosen.fallback) == (FILE, True)
    assert choice(CallWish.SEGMENTS, force_dtb=True).call is SEGMENTS


@pytest.mark.parametrize(
    ("wish", "state", "first"),
    [
        (CallWish.AUTO, KernelState(), SEGMENTS),
        (CallWish.SEGMENTS, KernelState(), SEGMENTS),
        (CallWish.FILE, KernelState(), FILE),
        (CallWish.AUTO, LOCKED, FILE),
        (CallWish.SEGMENTS, LOCKED, FILE),
        (CallWish.AUTO, KernelState(loadpin_enforced=True), FILE),
    ],
)
def test_unload_begins_with_what_is_permitted(
    wish: CallWish, state: KernelState, first: Call
) -> None:
    order = unload_order(wish, state)
    assert order[0] is first
    assert set(order) == {FILE, SEGMENTS}


HANDOVER = KernelState(lockdown="none", handover=True)
LAST = 0xFFF_FFFF


def test_handover_keeps_to_the_call_that_hands_over() -> None:
    """Nothing leads to the other one by itself, for it would lose what is preserved."""
    chosen = choice(state=HANDOVER)
    assert (chosen.call, chosen.fallback) == (FILE, False)
    lost = "kexec handover is on, and kexec_load loses what is preserved for the next kernel"
    assert chosen.reason == lost
    with pytest.raises(UsageError) as caught:
        choice(state=HANDOVER, mem_min=4096)
    assert caught.value.message == f"--mem-min cannot be honoured by kexec_file_load, and {lost}"
    assert "kexec_load (-c)" in (caught.value.hint or "")
    (warning,) = choice(state=HANDOVER, pass_memmap_cmdline=True, cmdline=b"kho=on").warnings
    assert warning.startswith("--pass-memmap-cmdline has no effect with kexec_file_load")
    with pytest.raises(ImageError, match="does not take this kernel"):
        choice(state=HANDOVER, spec=without(1))


def test_what_handover_has_is_lost_by_who_insists_alone() -> None:
    on = Switch(True, "")
    seen = Handover(on, on, registered=("LUO", "kexec-metadata", "memblock"))
    for state, more in (
        (HANDOVER, ""),
        (replace(HANDOVER, handed_over=seen), " (registered: LUO, memblock)"),
    ):
        with pytest.raises(HandoverLostError) as caught:
            choice(CallWish.SEGMENTS, state=state)
        assert caught.value.message == (
            "kexec_load was asked for, and kexec handover is on, and kexec_load loses what is "
            f"preserved for the next kernel{more}"
        )
        assert "--lose-preserved" in (caught.value.hint or "")
        assert caught.value.exit_code == 255
    for wish, least in ((CallWish.SEGMENTS, 0), (CallWish.AUTO, 4096)):
        chosen = choice(wish, state=HANDOVER, lose_preserved=True, mem_min=least)
        assert chosen.call is SEGMENTS
        (warning,) = chosen.warnings
        assert "kexec_load loses what is preserved for the next kernel" in warning
    assert choice(state=HANDOVER, lose_preserved=True).call is FILE
    assert choice(CallWish.SEGMENTS).warnings == ()
    # A kernel that waits keeps what is preserved.
    kept = choice(state=HANDOVER, preserve_context=True, mem_max=LAST)
    assert (kept.call, kept.warnings) == (SEGMENTS, ())


@pytest.mark.parametrize(
    ("running", "cmdline", "warning"),
    [
        (b"kho=on", b"ro kho=1", None),
        (b"kho=on", b"ro", "kho=on is not on the next kernel's command line: unless it is built"),
        (b"kho=on liveupdate=on", b"liveupdate=on kho=off", "kho=on is not on the next kernel's"),
        (b"kho=on liveupdate=on", b"kho=on liveupdate=y", None),
        (b"kho=on liveupdate=on", b"kho=on", "liveupdate=on is not on the next kernel's"),
    ],
)
def test_a_next_kernel_that_takes_nothing_over_is_warned_of(
    running: bytes, cmdline: bytes, warning: str | None
) -> None:
    facts = replace(build_facts(kernel=HANDOVER), cmdline=running)
    found = choice(facts=facts, cmdline=cmdline).warnings
    assert len(found) == (warning is not None)
    assert not found or found[0].startswith(warning or "")


def test_a_crash_kernel_is_handed_nothing_over() -> None:
    state = replace(HANDOVER, crash_size=64 << 20)
    for wish in (CallWish.AUTO, CallWish.SEGMENTS):
        assert choice(wish, state=state, target=Target.CRASH).warnings == ()
    assert choice(state=state, target=Target.CRASH).fallback
