"""The words of the launcher, as a header for its C: those that the program in Python says.

So neither can say anything else than the other. Placeholders are those of include/say.h.
"""

from __future__ import annotations

import errno
import os
from collections.abc import Callable, Iterator

from pykexec.calls.rejections import explain, shut_gates
from pykexec.cli import front_door, jump
from pykexec.errors import EXIT_NO_PYTHON, PykexecError
from pykexec.loading import load_record, running_kernel
from pykexec.machine import kernel_state
from pykexec.values.kernel_state import KernelState

CALL = "reboot"
WHAT = "jumping into a kernel"
CAPABILITIES = 0xCA9AB1117135
# Python 3.14 has a name for one more, which no call here ends with: the words are not to depend on
# who builds them.
LAST_ERROR = errno.ERFKILL

FILES = {
    "LOADED_FILES": kernel_state.LOADED,
    "LOAD_DISABLED_FILES": (kernel_state.LOAD_DISABLED,),
    "LOAD_LIMIT_FILES": (kernel_state.LOAD_LIMIT_REBOOT,),
    "LOADPIN_FILES": (kernel_state.LOADPIN,),
}
SINGLE_FILES = {
    "XEN_FEATURES_FILE": kernel_state.XEN_FEATURES,
    "XEN_CAPABILITIES_FILE": kernel_state.XEN_CAPABILITIES,
    "PROCESS_STATUS_FILE": kernel_state.PROCESS_STATUS,
    "RECORD_FILE": load_record.RECORD,
    "UPDATE_DEVICE_FILE": f"{kernel_state.SHOWS_HANDOVER[1]}/dev",
}
GATES = {
    "LOAD_DISABLED": KernelState(kexec_load_disabled=True),
    "LOAD_LIMIT": KernelState(load_limit_reboot=0),
    "LOADPIN": KernelState(loadpin_enforced=True),
}
NO_PYTHON = {
    "NO_PYTHON": "%s is missing: without Python only 'kexec -e' works",
    "NO_INTERPRETER": "the Python that %s names is missing: only 'kexec -e' works",
    "CANNOT_RUN": "cannot run %s: %e",
}


def header() -> str:
    """Return the header's text."""
    lines = [f"#define {name} {value}" for name, value in _definitions()]
    return "\n".join(["/* Written by texts.py. */", *lines, ""])


def _definitions() -> Iterator[tuple[str, str]]:
    for name, paths in FILES.items():
        yield name, " ".join(_literal(f"/{path}\0") for path in paths)
    for name, path in SINGLE_FILES.items():
        yield name, _literal(f"/{path}")
    yield "RETURNS", _literal(load_record.RETURNS)
    yield "HANDS_NOTHING_OVER", _literal(load_record.HANDS_NOTHING_OVER)
    yield "SIGINT_MARK", _literal(f"{front_door.SIGINT_MARK}=")
    yield from _refusals()
    for name, state in GATES.items():
        (gate,) = shut_gates(state, call=CALL)
        yield f"{name}_REASON", _literal(gate.reason)
        yield f"{name}_HINT", _literal(gate.hint)
    yield "INTERFACE_STAYS_TEXT", _said(jump.INTERFACE_STAYS.format("%n", "%e"))
    yield "INTERFACES_UNKNOWN_TEXT", _said(jump.INTERFACES_UNKNOWN.format("%e"))
    yield from _errors()
    for name, text in NO_PYTHON.items():
        yield f"{name}_TEXT", _said(text)
    yield "NO_PYTHON_CODE", str(EXIT_NO_PYTHON)


def _refusals() -> Iterator[tuple[str, str]]:
    """Refusals before anything is done, with their exit codes."""
    denied = KernelState(effective_capabilities=CAPABILITIES)
    refused: dict[str, Callable[[], None]] = {
        "LOADED_UNKNOWN": lambda: jump.require_loaded(KernelState()),
        "NOT_LOADED": lambda: jump.require_loaded(KernelState(loaded=False)),
        "DENIED": lambda: running_kernel.require_boot_capability(denied, WHAT),
    }
    for name, call in refused.items():
        error = _error_of(call)
        message = _escaped(error.message)
        message = message.replace(f"(uid {os.geteuid()})", "(uid %d)")
        message = message.replace(f"{CAPABILITIES:#x}", "0x%x")
        yield f"{name}_TEXT", _said(message, _escaped(error.hint or ""))
        yield f"{name}_CODE", str(error.exit_code)


def _error_of(call: Callable[[], None]) -> PykexecError:
    try:
        call()
    except PykexecError as error:
        return error
    raise AssertionError("nothing was refused")


def _errors() -> Iterator[tuple[str, str]]:
    """Every errno in words, and what is said of those that the jump may end with."""
    numbers = range(1, LAST_ERROR + 1)
    yield "ERRORS_LAST", str(LAST_ERROR)
    words = [
        f"{errno.errorcode.get(number, number)}\0{os.strerror(number)}\0" for number in numbers
    ]
    yield "ERRORS", " ".join(map(_literal, words))
    unknown = _cause(LAST_ERROR + 1)
    yield "UNKNOWN_REASON", _literal(unknown[0])
    yield "UNKNOWN_HINT", _literal(unknown[1])
    causes = {number: _cause(number) for number in numbers}
    rows = [
        f"CAUSE({number}, {_literal(reason)}, {_literal(hint)})"
        for number, (reason, hint) in causes.items()
        if (reason, hint) != unknown
    ]
    yield "JUMP_CAUSES", " ".join(rows)
    join = "%s%s%s%s%s"
    yield "JUMP_FAILED_TEXT", _said(f"{CALL} failed: %e (%E): {join}", join)
    yield "JUMP_FAILED_CODE", str(explain(CALL, LAST_ERROR, KernelState()).exit_code)


def _cause(number: int) -> tuple[str, str]:
    refusal = explain(CALL, number, KernelState())
    name = errno.errorcode.get(number, str(number))
    begin = f"{CALL} failed: {os.strerror(number)} ({name}): "
    assert refusal.message.startswith(begin)
    return refusal.message.removeprefix(begin), refusal.hint or ""


def _said(message: str, hint: str = "") -> str:
    """Return the literal of what :func:`front_door.report` prints."""
    return _literal(f"kexec: {message}\n" + (f"hint: {hint}\n" if hint else ""))


def _escaped(text: str) -> str:
    return text.replace("%", "%%")


def _literal(text: str) -> str:
    r"""Return a C string literal; octal ``\000`` so that a digit may follow."""
    escapes = {"\\": "\\\\", '"': '\\"', "\n": "\\n", "\0": "\\000"}
    assert text.isascii()
    return '"' + "".join(escapes.get(char, char) for char in text) + '"'
