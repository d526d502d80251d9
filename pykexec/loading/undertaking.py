"""A load or an unload, from before the system call to behind the record.

Records must not lie, whenever the process is killed. What is about to be done is written down
before the call, as a mark beside the record, and the mark goes when the record is the right one
again. Whoever finds a mark cannot tell which image is loaded. A lock is held over all of it, so
that of two loads at once the record is that of the later one, as the image is. Only what kills
without asking can leave a mark: other signals wait.
"""

from __future__ import annotations

import os
import time
from contextlib import ExitStack, contextmanager, suppress

from pykexec.loading import run_files
from pykexec.values.calls import Target

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from pykexec.loading.results import Record


@contextmanager
def undertaking(
    target: Target, what: str, warn: Callable[[str], None], record: Record | None = None
) -> Iterator[Journal]:
    """Make the system call in this block; ``record`` is then what is known of ``target``.

    Behind the block the journal says whether the record has been written.

    ``what`` says what is done, such as ``a load of /boot/vmlinuz``. None is the record of what
    is no longer loaded. Where the block raises, the old record stays, unless the kernel says
    that its image is gone. What goes wrong with files is only told ``warn``. Raises
    :class:`PykexecError` where another load or unload does not end.
    """
    from pykexec.loading.undisturbed import undisturbed

    data = None
    if record is not None:
        from pykexec.loading.load_record import build

        data = build(record)  # here, so that nothing can go wrong with it behind the call
    with ExitStack() as stack:
        journal = Journal(target)
        try:
            journal.directory = run_files.open_directory()
            stack.callback(os.close, journal.directory)
            stack.enter_context(run_files.locked(journal.directory, warn))
        except OSError as error:
            journal.problem = error
        stack.enter_context(undisturbed())
        journal.begin(what)
        try:
            yield journal
        except BaseException:
            journal.failed()
            raise
        journal.done(data, warn)


class Journal:
    """The record and the mark of one target."""

    def __init__(self, target: Target) -> None:
        from pykexec.machine import left_records

        self.directory: int | None = None
        self.problem: OSError | None = None
        """Why nothing can be written."""
        self.is_recorded = False
        """The record stands, as it was to be."""
        self._crash = target is Target.CRASH
        names = left_records.CRASH if self._crash else left_records.NORMAL
        self._record, self._mark = names.record, names.mark
        self._unfinished: bytes | None = None
        """The mark of an earlier one that was killed."""

    def begin(self, what: str) -> None:
        """Leave the mark; where that cannot be, remove the record that may become untrue."""
        from pykexec.machine.left_records import build_mark, read_left

        files = run_files.this_machine()
        if self.problem is None:
            self._unfinished = read_left(files, self._mark).data
            begun = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())
            mark = build_mark(files, f"{what}, begun at {begun} by process {os.getpid()},")
            self._write(self._mark, mark)
        if self.problem is not None:
            with suppress(OSError):
                self._remove(self._record)

    def failed(self) -> None:
        """Leave the record that was there, if its image still is."""
        from pykexec.machine import kernel_state

        read = kernel_state.read_crash_loaded if self._crash else kernel_state.read_loaded
        with suppress(OSError):
            if read("/") is False:
                self._remove(self._record)
            elif self._unfinished is not None:
                self._write(self._mark, self._unfinished)
                return
            self._remove(self._mark)

    def done(self, record: bytes | None, warn: Callable[[str], None]) -> None:
        """Write the record, or remove it; then remove the mark."""
        place = os.path.join(run_files.ROOT, self._record)
        if record is not None and self.problem is None:
            self._write(self._record, record)
            self.is_recorded = self.problem is None
        try:
            if record is None or self.problem is not None:
                self._remove(self._record)
            self._remove(self._mark)
        except OSError as error:
            warn(f"{place} is out of date and cannot be removed: {error.strerror}")
        if record is not None and self.problem is not None:
            what, use = "the kernel is loaded, but", ""
            if self._crash:
                what = "the crash kernel is loaded, but"
                use = ", from which 'pykexec crash status' tells what it is,"
            warn(f"{what} {place}{use} cannot be written: {self.problem.strerror}")

    def _write(self, name: str, data: bytes) -> None:
        assert self.directory is not None
        try:
            run_files.write(self.directory, os.path.basename(name), data)
        except OSError as error:
            self.problem = error

    def _remove(self, name: str) -> None:
        """Remove a file, if it is there, and also without a directory of ours; raises OSError."""
        with suppress(FileNotFoundError, NotADirectoryError):
            os.unlink(os.path.join(run_files.ROOT, name))
