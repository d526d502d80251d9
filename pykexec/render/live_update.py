"""A live update, for people and for programs."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from pykexec.formats.session_index import file_value
from pykexec.render.lines import behind
from pykexec.values.units import counted, format_size

if TYPE_CHECKING:
    from pykexec.values.handover import Switch
    from pykexec.values.live_update import Held, LiveUpdateStatus

_LABEL = 16
_ON = {None: "cannot be told", True: "on", False: "off"}
_YES = {None: "cannot be told", True: "yes", False: "no"}


def status_text(found: LiveUpdateStatus) -> str:
    """Describe what goes over, in lines of at most 80 columns."""
    facts = found.facts
    lines = [
        ("running kernel", found.release or "unknown"),
        ("kexec handover", _switch(facts.handover, _ON)),
        ("live update", _switch(facts.orchestrator, _ON)),
    ]
    if facts.handover.on is not False:
        if facts.scratch is None:
            lines.append(("scratch", "not to be seen (/sys/kernel/debug, root's)"))
        for area in facts.scratch or ():
            lines.append(
                ("scratch", f"{area.start:#x}-{area.end - 1:#x}, {format_size(area.size)}")
            )
        if facts.registered is not None:
            lines.append(("registered", ", ".join(facts.registered) or "nothing"))
        if facts.layouts:
            lines.append(("layouts", ", ".join(facts.layouts)))
    if facts.predecessor is not None:
        lines.append(("came from", f"{facts.predecessor}, jump {facts.jumps} since firmware"))
        lines.append(("", "the kernel lists no session of it: 'retrieve' asks for one by its name"))
    for held in found.sessions:
        lines.append(("session", _session(held)))
        lines += [("", _file(held, at)) for at in range(len(held.files or ()))]
    if not found.sessions and facts.orchestrator.on:
        lines.append(("sessions", "no process has one"))
    lines.append(("hands over", _switch(found.takes, _YES)))
    return "".join(
        behind(f"{label + ':' if label else '':<{_LABEL}}", text, _LABEL) + "\n"
        for label, text in lines
    )


def _switch(switch: Switch, words: dict[bool | None, str]) -> str:
    return f"{words[switch.on]}: {switch.why}"


def _session(held: Held) -> str:
    if held.pid is None:
        return f"{held.name!r}, LOST: the process that held it has ended"
    kind = held.direction or "from here or from the kernel before"
    files = "" if held.files is None else f", {counted(len(held.files), 'file')}"
    return f"{held.name!r}, {kind}{files}, held by process {held.pid}"


def _file(held: Held, at: int) -> str:
    assert held.files is not None
    file = held.files[at]
    state = ""
    if held.direction == "incoming":
        state = ", retrieved" if file.token in held.retrieved else ", not retrieved"
    return f"{file.token}: {file.name!r}, {format_size(file.size)}{state}"


def status_value(found: LiveUpdateStatus) -> dict[str, Any]:
    """Return the same as what JSON can say: schema ``pykexec.live-update/1``."""
    facts = found.facts
    return {
        "schema": "pykexec.live-update/1",
        "kernel_release": found.release,
        "handover": _switch_value(facts.handover),
        "orchestrator": _switch_value(facts.orchestrator),
        "scratch": None
        if facts.scratch is None
        else [{"start": f"{a.start:#x}", "end": f"{a.end:#x}"} for a in facts.scratch],
        "registered": None if facts.registered is None else list(facts.registered),
        "layouts": list(facts.layouts),
        "update": facts.update,
        "predecessor": None
        if facts.predecessor is None
        else {"release": facts.predecessor, "jumps": facts.jumps},
        "sessions": [_session_value(held) for held in found.sessions],
        "loaded": found.loaded,
        "call": found.call,
        "hands_over": _switch_value(found.takes),
    }


def _switch_value(switch: Switch) -> dict[str, Any]:
    return {"on": switch.on, "why": switch.why}


def _session_value(held: Held) -> dict[str, Any]:
    return {
        "name": held.name,
        "direction": held.direction,
        "pid": held.pid,
        "lost": held.pid is None,
        "by_pykexec": held.by_pykexec,
        "files": None
        if held.files is None
        else [
            {**file_value(file), "retrieved": file.token in held.retrieved} for file in held.files
        ],
    }
