"""Firmware-assisted dump, for people and for programs."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from pykexec.crash.fadump.state import how_it_stands, wish_of
from pykexec.render.lines import behind
from pykexec.values.units import counted, format_size

if TYPE_CHECKING:
    from pykexec.crash.fadump.capture_words import Addition
    from pykexec.crash.fadump.size import Recommendation
    from pykexec.crash.fadump.state import FadumpState

_LABEL = 18
EXIT_REGISTERED = 0
EXIT_NOT_REGISTERED = 1
EXIT_DUMP_ACTIVE = 3

_YES = {None: "unknown", True: "yes", False: "no"}


def exit_code(state: FadumpState) -> int:
    """Return that of ``pykexec fadump status``."""
    if state.dump_active:
        return EXIT_DUMP_ACTIVE
    return EXIT_REGISTERED if state.enabled and state.registered else EXIT_NOT_REGISTERED


def fact(label: str, text: str) -> str:
    """Write one fact behind its label, in lines of at most 80 columns."""
    return behind(f"{label + ':':<{_LABEL}}", text, _LABEL)


def status_text(state: FadumpState) -> str:
    """Describe the state, with the verdict last."""
    lines = [("firmware", "has no support" if state.platform is None else f"on {state.platform}")]
    if state.platform is not None:
        lines.append(("kernel", "has support" if state.kernel else "has no files for it"))
    if state.kernel:
        lines += _kernel_lines(state)
    stands = how_it_stands(state)
    lines.append(("verdict", stands.text))
    if stands.advice:
        lines.append(("do", stands.advice))
    return "".join(fact(label, text) + "\n" for label, text in lines)


def _kernel_lines(state: FadumpState) -> list[tuple[str, str]]:
    lines = [("enabled", _YES[state.enabled]), ("registered", _YES[state.registered])]
    if state.mem_reserved:
        lines.append(
            ("reserved", f"{format_size(state.mem_reserved)} ({state.mem_reserved} bytes)")
        )
    ready = "the capture kernel finds it" if state.hotplug_ready else "wants a new registration"
    lines.append(("later memory", ready))
    words = state.bootargs_append
    if state.words_are_lost:
        lines.append(("capture words", "nobody knows: their place was released with the dump"))
    elif words is not None:
        lines.append(("capture words", words or "none"))
    if state.os_term is False:
        lines.append(("panic", "firmware has no ibm,extended-os-term: a panic does not reach it"))
    if state.told_of_dump:
        size = "" if state.vmcore_size is None else f", {format_size(state.vmcore_size)}"
        told = f"active: /proc/vmcore{size}" if state.vmcore else "released, or refused"
        lines.append(("dump", told))
    return lines


def status_value(state: FadumpState) -> dict[str, Any]:
    """Return the same as what JSON can say: schema ``pykexec.fadump-status/1``."""
    stands, wish = how_it_stands(state), wish_of(state.cmdline)
    return {
        "schema": "pykexec.fadump-status/1",
        "platform": None if state.platform is None else state.platform.value,
        "kernel_support": state.kernel,
        "asked_for": None if wish is None else wish.value,
        "enabled": state.enabled,
        "registered": state.registered,
        "mem_reserved": state.mem_reserved,
        "hotplug_ready": state.hotplug_ready,
        "bootargs_append": state.bootargs_append,
        "os_term": state.os_term,
        "dump": {
            "told": state.told_of_dump,
            "vmcore": state.vmcore,
            "active": state.dump_active,
            "vmcore_size": state.vmcore_size,
        },
        "verdict": stands.text,
        "advice": stands.advice or None,
    }


def size_text(found: Recommendation, ram: int, platform: str) -> str:
    """Say what to reserve."""
    lines = [
        ("RAM", f"{format_size(ram)}, {platform}"),
        ("at least", format_size(found.minimum)),
        ("at most", f"{format_size(found.cap)} by crashkernel=, a quarter of RAM"),
    ]
    if found.size is None:
        lines.append(("verdict", f"too little RAM: {found.reason}"))
    else:
        lines += [("boot memory", f"{format_size(found.size)}: {found.reason}")]
        lines += [("command line", found.words)]
    return "".join(fact(label, text) + "\n" for label, text in lines)


def size_value(found: Recommendation, ram: int, platform: str) -> dict[str, Any]:
    """Return the same as what JSON can say: schema ``pykexec.fadump-size/1``."""
    return {
        "schema": "pykexec.fadump-size/1",
        "platform": platform,
        "ram": ram,
        "minimum": found.minimum,
        "cap": found.cap,
        "size": found.size,
        "reason": found.reason,
        "words": found.words or None,
    }


def addition_text(addition: Addition) -> str:
    """Show the line that the capture kernel will have."""
    line = addition.line.decode("utf-8", "surrogateescape")
    words = addition.value.decode("utf-8", "surrogateescape")
    size = counted(len(addition.value), "byte")
    return "".join(
        fact(label, text) + "\n"
        for label, text in (
            ("appended", f"{words} ({size}; room for {addition.left} more)"),
            ("capture kernel", line),
        )
    )
