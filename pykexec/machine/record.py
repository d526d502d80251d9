"""Writing a machine directory: what :func:`pykexec.machine.read_machine` reads, no more.

The readers run over files that remember what they gave away, so that there is no second
list of files to keep in step.
"""

from __future__ import annotations

import os
import re
import shutil
import tarfile
import tempfile
from contextlib import nullcontext, suppress
from io import BytesIO
from typing import TYPE_CHECKING

from pykexec.architectures import architecture_of
from pykexec.machine import hypervisor, kernel_state
from pykexec.machine.crash_state import crash_state
from pykexec.machine.description import IMA, SERIALS, build_description, read_description
from pykexec.machine.device_tree import without_seeds
from pykexec.machine.fadump import read_fadump
from pykexec.machine.files import FILE, MachineFiles
from pykexec.machine.gather import gather
from pykexec.machine.ima import read_ima_measurements
from pykexec.machine.kcore import read_kcore_loads, read_vmcoreinfo_numbers
from pykexec.machine.redact import Redactions, redact
from pykexec.machine.rooms import machine_room
from pykexec.machine.roots import machine_files
from pykexec.machine.serial import read_serials
from pykexec.values.data_classes import replace
from pykexec.values.errors import MachineError, UsageError

if TYPE_CHECKING:
    from collections.abc import Callable
    from contextlib import AbstractContextManager

    from pykexec.machine.description import Description

_OTHER_ARCHIVE = re.compile(
    r"\.(tar(\.\w+)?|t(gz|az|bz2?|xz|lz|zst?)|cpio|zip|7z)(\.\w{1,4})?$", re.IGNORECASE
)
_ABOUT_THE_READER = frozenset({kernel_state.PROCESS_STATUS})
"""Files about the process that reads, not about the machine."""


class _Recording(MachineFiles):
    """Files that keep what was read from them: whole files, or only the lines wanted."""

    def __init__(
        self, source: MachineFiles, *, redacted: bool, report: Redactions | None = None
    ) -> None:
        super().__init__(source.root)
        self.is_live = source.is_live
        self.files: dict[str, bytes] = {}
        self.directories: set[str] = set()
        self._source = source
        self._redacted = redacted
        self._report = report

    @property
    def exists(self) -> bool:
        return self._source.exists

    def load(self, name: str) -> bytes:
        data = self._source.load(name)
        self._keep(name, data)
        return data

    def head(self, name: str, size: int) -> bytes:
        data = self._source.head(name, size)
        self._keep(name, data)
        return data

    def scan(self, name: str, wanted: Callable[[bytes], bool], limit: int) -> list[bytes]:
        lines = self._source.scan(name, wanted, limit)
        if lines:
            # The file may have been scanned before, for other lines.
            before = self.files.pop(name, b"").splitlines(keepends=True)
            self._keep(name, b"".join(lines))
            after = self.files.get(name, b"").splitlines(keepends=True)
            self.files[name] = b"".join(dict.fromkeys(before + after))
        return lines

    def open(self, name: str) -> int:
        return self._source.open(name)

    def size(self, name: str) -> int:
        return self._source.size(name)

    def entries(self, name: str) -> list[str]:
        names = self._source.entries(name)
        self.directories.add(name)
        return names

    def members(self, name: str) -> list[tuple[str, bool]]:
        found = self._source.members(name)
        self.directories.add(name)
        return found

    def is_link(self, name: str) -> bool:
        return self._source.is_link(name)

    def _keep(self, name: str, data: bytes) -> None:
        kept = without_seeds(self, name, data)
        self.files[name] = redact(name, kept) if self._redacted else kept
        if self._report is not None:
            self._report.take(name, kept, self.files[name])


def record(
    root: os.PathLike[str] | str,
    target: os.PathLike[str] | str,
    *,
    redacted: bool = False,
    report: Redactions | None = None,
    ima: bool = False,
    also: Callable[[MachineFiles, str], object] | None = None,
    undisturbed: AbstractContextManager[None] | None = None,
) -> tuple[str, ...]:
    """Write what a machine is to the directory ``target``, or to a tar if it ends in .tar.

    Reading the record gives the facts of ``root`` again, with two exceptions:
    ``effective_capabilities`` belongs to the process that asks and is left out, and
    ``memory_available`` (like everything that changes) is that of the moment. Where
    /proc/kcore cannot be read, the crash facts that come from it are missing. The record of
    a crash load is taken along, the files that it is about are not.

    Nothing is recorded of setup_data, which holds the random seed, of keys, or of
    /proc/kallsyms beyond the symbols used; seeds in a device tree become zeros. IMA's list,
    which names every file that ran, is only recorded with ``ima``. The kernel's command line
    is recorded as it is, unless ``redacted`` masks what names this one machine there and
    elsewhere (:mod:`pykexec.machine.redact`), and tells ``report`` what it was. ``also`` may
    read more, which is recorded too: it is given the files and the kernel's release. Only the
    owner can read the result, for it shows where the kernel is in memory.

    ``target`` must not exist, or be an empty directory; it appears complete or not at
    all, and ``undisturbed`` may hold signals back meanwhile. Returns what the machine has and the
    record has not, as ``Description.left_out``. Raises :class:`UsageError` for a target that is in
    use or cannot be written, and what :func:`~pykexec.machine.read_machine` raises.
    """
    if redacted and ima:
        raise UsageError(
            "--redact and --ima exclude each other: IMA's list names files, and cannot be masked"
        )
    place = os.path.abspath(os.fspath(target))
    _check_target(place)
    source = machine_files(root)
    files = _Recording(source, redacted=redacted, report=report)
    description = read_description(files)
    if description.kcore is None:
        description = _with_kcore(description, files)
    gather(files, description, crash=True)
    crash_state(files, description.kernel_release)
    _keep_hypervisor(files)
    read_fadump(files)
    _read_ports(files, description)
    left_out = {*description.left_out, *({SERIALS} if redacted else ())}
    if also is not None:
        also(files, description.kernel_release)
    if ima:
        read_ima_measurements(files)
    elif read_ima_measurements(source):
        left_out.add(IMA)
    description = replace(description, left_out=tuple(sorted(left_out)))
    content = {name: files.files[name] for name in files.files.keys() - _ABOUT_THE_READER}
    with undisturbed or nullcontext():
        _write(place, files.directories, {**content, FILE: build_description(description)})
    return description.left_out


def _read_ports(files: _Recording, description: Description) -> None:
    """Read serial ports; a PC's are at I/O ports, whose addresses need not be looked up."""
    if architecture_of(description.arch).serial_in_memory:
        read_serials(files)


def _keep_hypervisor(files: _Recording) -> None:
    """Keep what a Xen host's hypervisor tells; of a recorded machine the file was read."""
    if files.is_live and kernel_state.is_xen_host(files):
        files.files[hypervisor.RECORD] = hypervisor.build(hypervisor.facts_of(files))


def _with_kcore(description: Description, files: MachineFiles) -> Description:
    """Add what /proc/kcore says; nothing where it cannot be read."""
    try:
        room = machine_room(description.arch)
        loads = read_kcore_loads(files)
        numbers = read_vmcoreinfo_numbers(files, room.NUMBERS if room else ())
    except MachineError:
        loads, numbers = (), {}
    return replace(description, kcore=loads, vmcoreinfo=numbers)


def recorded_files(files: MachineFiles) -> dict[str, int]:
    """Return name and size in bytes of each file of a record, sorted by name."""
    found = {}
    directories = [""]
    while directories:
        parent = directories.pop()
        for base, is_directory in files.members(parent or "."):
            name = f"{parent}/{base}".lstrip("/")
            if is_directory:
                directories.append(name)
            else:
                found[name] = files.size(name)
    return dict(sorted(found.items()))


def _write(place: str, directories: set[str], content: dict[str, bytes]) -> None:
    try:
        if place.endswith(".tar"):
            _write_tar(place, directories, content)
        else:
            _write_directory(place, directories, content)
    except OSError as error:
        raise UsageError(f"cannot write {place}: {error.strerror}") from error


def _check_target(place: str) -> None:
    if _OTHER_ARCHIVE.search(place) and not place.endswith(".tar"):
        raise UsageError(
            f"{place}: a record is a directory or a .tar, and this name says something else",
            hint="give a name that ends in .tar, and compress that file yourself",
        )
    if not os.path.lexists(place):
        return
    if place.endswith(".tar") or not os.path.isdir(place):
        raise UsageError(f"{place} exists already", hint="name a file that does not exist")
    try:
        used = bool(os.listdir(place))
    except OSError as error:
        raise UsageError(f"cannot write {place}: {error.strerror}") from error
    if used:
        raise UsageError(f"{place} is not empty", hint="name a new or an empty directory")


def _write_directory(place: str, directories: set[str], content: dict[str, bytes]) -> None:
    parent, name = os.path.split(place)
    temporary = tempfile.mkdtemp(prefix=f".{name}.", dir=parent)
    try:
        for directory in directories:
            os.makedirs(os.path.join(temporary, directory), exist_ok=True)
        for path, data in content.items():
            file_path = os.path.join(temporary, path)
            os.makedirs(os.path.dirname(file_path), exist_ok=True)
            with open(file_path, "wb") as file:
                file.write(data)
        os.rename(temporary, place)
    except BaseException:
        shutil.rmtree(temporary, ignore_errors=True)
        raise


def _write_tar(place: str, directories: set[str], content: dict[str, bytes]) -> None:
    """Write a tar that unpacks to one directory named like it, the same bytes each time."""
    parent, name = os.path.split(place)
    data = _tar(name.removesuffix(".tar"), directories, content)
    # A file without a name leaves nothing, whatever ends the process before it is complete.
    with suppress(OSError), open(os.open(parent, os.O_TMPFILE | os.O_WRONLY, 0o600), "wb") as file:
        file.write(data)
        file.flush()
        _link_open(file.fileno(), parent, name)
        return
    # There are file systems that have no such files, and chroots without /proc.
    fd, temporary = tempfile.mkstemp(prefix=f".{name}.", dir=parent)
    try:
        with os.fdopen(fd, "wb") as file:
            file.write(data)
        # Not rename: it would replace a file that came into being meanwhile.
        os.link(temporary, place)
    finally:
        os.unlink(temporary)


def _link_open(descriptor: int, parent: str, name: str) -> None:
    """Give an open file a name; raises OSError.

    With a descriptor for the directory: without any Python calls link(2), which would take the
    link in /proc for the file itself.
    """
    directory = os.open(parent, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.link(f"/proc/self/fd/{descriptor}", name, dst_dir_fd=directory)
    finally:
        os.close(directory)


def _tar(top: str, directories: set[str], content: dict[str, bytes]) -> bytes:
    written = BytesIO()
    with tarfile.open(fileobj=written, mode="w") as archive:
        for path in sorted({*directories, *content}):
            member = tarfile.TarInfo(f"{top}/{path}")
            if path in content:
                member.mode, member.size = 0o600, len(content[path])
                archive.addfile(member, BytesIO(content[path]))
            else:
                member.mode, member.type = 0o700, tarfile.DIRTYPE
                archive.addfile(member)
    return written.getvalue()
