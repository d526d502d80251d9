"""Where the three programs begin and end: signals, standard streams, exit codes.

A signal ends a program at once, as it ends one that knows nothing of signals, and the shell
sees by which. Python would make a KeyboardInterrupt of SIGINT, whose traceback may begin in any
import. So that comes first here, and the programs are imported behind it; this module and the
packages above it import nothing that costs time. What must not be torn apart waits in
:mod:`pykexec.loading.undisturbed`.

The end is :func:`os._exit`: what there is to be cleaned up is cleaned up by then, and what the
interpreter would do on its way out can only go wrong, as flushing a stream to a full disk does.
"""

from __future__ import annotations

# Not signal: that one imports enum, functools and more before a handler could be set.
import _signal  # type: ignore[import-not-found]  # typeshed knows nothing of it
import gc
import os
import sys

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import NoReturn

    from pykexec.values.errors import PykexecError

SIGINT_MARK = "PYKEXEC_SIGINT_BLOCKED"
"""Variable with the number of the process in which the launcher has blocked SIGINT, which would
have interrupted Python's own start. Where somebody else has, it is left blocked."""
EXIT_FAILURE = 255
"""As in pykexec.values.errors, which is not imported before a refusal is met."""


def kexec() -> NoReturn:
    """Run the drop-in."""
    _enter("kexec", "pykexec.cli.kexec_compat")


def pykexec() -> NoReturn:
    """Run ``pykexec``."""
    _enter("pykexec", "pykexec.cli.main")


def vmcore_dmesg() -> NoReturn:
    """Run ``vmcore-dmesg``."""
    _enter("vmcore-dmesg", "pykexec.cli.vmcore_dmesg")


def _enter(program: str, module: str) -> NoReturn:
    # What a program makes lives to its end, a tenth of a second later. To look through all of it
    # again and again for what could go takes a fifth of a load with thousands of ranges of RAM.
    gc.disable()
    try:
        # One that is ignored stays so: the program runs in the background of a script.
        if _signal.getsignal(_signal.SIGINT) is _signal.default_int_handler:
            _signal.signal(_signal.SIGINT, _signal.SIG_DFL)
        if os.environ.pop(SIGINT_MARK, None) == str(os.getpid()):
            _signal.pthread_sigmask(_signal.SIG_UNBLOCK, [_signal.SIGINT])
        code = _run(program, module)
    except KeyboardInterrupt:
        end_by(_signal.SIGINT)
    os._exit(code)


def _run(program: str, module: str) -> int:
    from pykexec.cli import streams

    streams.open_standard_streams()
    try:
        # With a fromlist it gives the module itself. importlib would be 2 ms for the same.
        # All that is printed is flushed there, so that nothing is left to be.
        code: int = __import__(module, fromlist=["main"]).main()
    except Exception as error:
        # What is refused is caught in each program. What comes this far is a bug of ours, and it
        # too ends with one line and a documented exit code.
        return _report_bug(program, error)
    return code


def report(program: str, error: PykexecError, *, as_json: bool = False) -> int:
    """Say on stderr what is refused, what is loaded then, and the hint; returns the exit code.

    With ``as_json`` the same is the one document on stdout. Where nobody reads what is printed
    there is nobody to be told: that ends as in every filter.
    """
    import errno

    from pykexec.cli.terminal import say_line, tell
    from pykexec.values.errors import OutputError, UsageError

    if isinstance(error, OutputError) and error.errno == errno.EPIPE:
        end_by(_signal.SIGPIPE)
    hint = error.hint
    if hint is None and isinstance(error, UsageError) and error.names_help:
        hint = f"'{program} --help' lists the options"
    tell(program, error.message)
    for detail in error.details:
        say_line(f"  {detail}", err=True)
    if error.aftermath:
        tell(program, error.aftermath)
    if hint:
        say_line(f"hint: {hint}", err=True)
    if as_json and not error.answered and not isinstance(error, OutputError):
        _say_as_json(error, hint)
    return error.exit_code


def _say_as_json(error: PykexecError, hint: str | None) -> None:
    from pykexec.cli.terminal import say
    from pykexec.render.errors import error_value
    from pykexec.render.escape import json_text
    from pykexec.values.errors import OutputError

    try:
        say(json_text(error_value(error, hint)))
    except (OSError, OutputError):
        # Told on stderr, and by the exit code of what was refused, which counts for more.
        return


def _report_bug(program: str, error: Exception) -> int:
    """Say in two lines what must not have happened, and where."""
    from pykexec.cli.terminal import say, tell

    if isinstance(error, MemoryError):
        tell(program, "there is not enough memory")
        return EXIT_FAILURE
    # Python itself does not look at variables in isolated mode, in which the launcher starts it.
    if sys.flags.dev_mode or os.environ.get("PYTHONDEVMODE"):
        import traceback

        say("".join(traceback.format_exception(error)), err=True)
        return EXIT_FAILURE
    place, trace = "", error.__traceback__
    while trace is not None:
        file = trace.tb_frame.f_code.co_filename
        if "pykexec" in file:
            place = f" at {'/'.join(file.split(os.sep)[-2:])}:{trace.tb_lineno}"
        trace = trace.tb_next
    what = " ".join(f"{type(error).__name__}: {error}".split())
    tell(program, f"a bug in pykexec{place}: {what}")
    say("hint: please report it; with PYTHONDEVMODE=1 it shows the whole way there", err=True)
    return EXIT_FAILURE


def end_by(number: int) -> NoReturn:
    """End by a signal, whatever was to become of it so far."""
    _signal.signal(number, _signal.SIG_DFL)
    _signal.pthread_sigmask(_signal.SIG_UNBLOCK, [number])
    os.kill(os.getpid(), number)
    os._exit(128 + number)  # not reached
