"""``pykexec crash test``: the token, the crash, and what is found afterwards."""

from __future__ import annotations

import os
import secrets
import stat
import time
from typing import TYPE_CHECKING

from pykexec.values.errors import DeniedError, NotLoadedError, PykexecError, UsageError

if TYPE_CHECKING:
    from collections.abc import Iterator

    from pykexec.crash.fadump.state import FadumpState
    from pykexec.crash.status import CrashState, Judgement
    from pykexec.crash.trial import Caught, Kind, Report, Token

TOKEN = "/var/lib/pykexec/crash-test.json"
"""On a disk: it has to survive the crash."""
KERNEL_LOG = "/dev/kmsg"


def refusal(
    state: CrashState, judgement: Judgement, firmware: FadumpState | None, *, force: bool
) -> PykexecError | None:
    """Return why this machine is not to be crashed; None when it may be.

    ``firmware`` is what takes the dump where that is no crash kernel. ``force`` is for an image
    that may be the wrong one; without any there would be no dump.
    """
    if firmware is not None:
        return _refused_by(firmware) or _no_trigger()
    return _refused_for(state, judgement, force=force) or _no_trigger()


def _refused_by(firmware: FadumpState) -> PykexecError | None:
    from pykexec.crash.fadump.state import how_it_stands

    if firmware.registered and not firmware.dump_active:
        return None
    stands = how_it_stands(firmware)
    return NotLoadedError(f"a crash would leave no dump: {stands.text}", hint=stands.advice)


def _refused_for(state: CrashState, judgement: Judgement, *, force: bool) -> PykexecError | None:
    from pykexec.crash.status import Freshness

    if not state.kernel.crash_loaded:
        return NotLoadedError(
            f"no crash kernel is known to be loaded: {judgement.reason}",
            hint="load one first: pykexec crash load KERNEL",
        )
    if judgement.verdict is not Freshness.FRESH and not force:
        return NotLoadedError(
            f"the crash kernel is not known to be the right one: {judgement.reason}",
            hint="load it again, or give --force if one is loaded all the same",
        )
    return None


def _no_trigger() -> PykexecError | None:
    from pykexec.calls import syscalls

    if not os.access(syscalls.SYSRQ_TRIGGER, os.W_OK):
        return DeniedError(
            f"{syscalls.SYSRQ_TRIGGER} is missing, or may not be written",
            hint="it needs root, and a kernel with CONFIG_MAGIC_SYSRQ",
        )
    if os.path.lexists(TOKEN):
        return UsageError(
            f"an earlier test has left {TOKEN} and was not reported",
            hint="see what came of it: pykexec crash test --report",
        )
    return None


def prepare(state: CrashState, dump_dir: str) -> None:
    """Leave the token; raises :class:`PykexecError` when it cannot be written."""
    from pykexec.crash.trial import Token, build_token
    from pykexec.loading.run_files import write_in

    mark = secrets.token_hex(8)
    token = Token(
        time=time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()),
        boot_id=state.boot_id,
        kernel_release=state.kernel.release,
        dump_dir=os.path.abspath(dump_dir),
        known={path: status.st_mtime_ns for path, _, status in _candidates(dump_dir)},
        id=mark if _mark_log(mark) else "",
    )
    try:
        write_in(TOKEN, build_token(token))
    except OSError as error:
        raise PykexecError(f"cannot write {TOKEN}: {error.strerror}") from error


def _mark_log(mark: str) -> bool:
    """Write a line into the kernel's log; tells whether it is there."""
    from pykexec.crash.trial import log_mark

    try:
        with open(KERNEL_LOG, "wb", buffering=0) as log:
            log.write(b"<5>" + log_mark(mark) + b"\n")
    except OSError:
        return False
    return True


def crash() -> None:
    """Write all buffers out and crash; returns only by an exception, the token then gone."""
    from pykexec.calls import syscalls

    os.sync()
    try:
        syscalls.trigger_panic()
    except OSError as error:
        os.unlink(TOKEN)
        raise PykexecError(f"cannot crash the kernel: {error.strerror}") from error
    except PykexecError:
        os.unlink(TOKEN)
        raise


def make_report(boot_id: str, dump_dir: str | None) -> Report:
    """Say what came of the crash, and remove the token.

    ``dump_dir`` overrides where to look. Raises :class:`UsageError` without a token.
    """
    from pykexec.crash.trial import parse_token, report
    from pykexec.machine.opening import load_regular
    from pykexec.values.json_fields import JSON_MAX

    try:
        data = load_regular(TOKEN, JSON_MAX)
    except FileNotFoundError as error:
        raise UsageError(
            f"no test is under way: {TOKEN} is missing",
            hint="pykexec crash test --yes leaves it, and crashes the machine",
        ) from error
    except OSError as error:
        raise DeniedError(f"cannot read {TOKEN}: {error.strerror}", hint="run as root") from error
    token = parse_token(data, TOKEN)
    found = report(token, boot_id, _look(token, dump_dir or token.dump_dir))
    try:
        os.unlink(TOKEN)
    except OSError as error:
        raise DeniedError(f"cannot remove {TOKEN}: {error.strerror}", hint="run as root") from error
    return found


def _candidates(directory: str) -> Iterator[tuple[str, Kind, os.stat_result]]:
    """Yield the cores and logs below a directory; what cannot be looked at is passed over."""
    from pykexec.crash.trial import kind_of

    for place, _, names in os.walk(os.path.abspath(directory)):
        for name in sorted(names):
            kind = kind_of(name)
            path = os.path.join(place, name)
            if kind is None:
                continue
            try:
                status = os.lstat(path)
            except OSError:
                continue
            if stat.S_ISREG(status.st_mode):
                yield path, kind, status


def _look(token: Token, directory: str) -> Iterator[Caught]:
    from pykexec.crash.trial import Caught, Kind
    from pykexec.machine.left_dumps import saver_word
    from pykexec.values.data_classes import replace

    for path, kind, status in _candidates(directory):
        if token.known.get(path) == status.st_mtime_ns:
            continue
        found = Caught(path, kind, status.st_size, None)
        if kind is Kind.LOG:
            found = _look_at(found, *_log_tail(path), token.id)
        elif kind is Kind.CORE:
            found = _look_at(found, *_core_tail(path), token.id)
        elif kind is Kind.STATUS:
            try:
                said = saver_word(path)
            except OSError:
                said = None
            if said is None:  # somebody else's file
                continue
            found = replace(found, said=str(said))
        yield found


def _look_at(found: Caught, log: bytes, problem: str, mark: str) -> Caught:
    from pykexec.crash.trial import what_it_shows
    from pykexec.values.data_classes import replace

    if problem:
        return replace(found, problem=problem)
    panicked, panic = what_it_shows(log, mark)
    return replace(found, panicked=panicked, panic=panic)


def _log_tail(path: str) -> tuple[bytes, str]:
    from pykexec.crash.trial import LOG_TAIL
    from pykexec.machine.opening import open_regular

    try:
        with os.fdopen(open_regular(path), "rb") as file:
            file.seek(max(os.fstat(file.fileno()).st_size - LOG_TAIL, 0))
            return file.read(LOG_TAIL), ""
    except OSError as error:
        return b"", f"cannot be read: {error.strerror}"


def _core_tail(path: str) -> tuple[bytes, str]:
    from pykexec.cli.vmcore_dmesg import read_log
    from pykexec.crash.trial import LOG_TAIL

    tail = b""
    try:
        for piece in read_log([path]):
            tail = (tail + piece)[-LOG_TAIL:]
    except PykexecError as error:
        return b"", f"its log cannot be read: {error.message}"
    return tail, ""
