"""IMA's measurement list, carried over by kexec_load. Pure.

kexec_file_load does this in the kernel (Linux security/integrity/ima/ima_kexec.c); without
it an attested machine that jumps has measured what no list shows, and its quotes fail. What
the next kernel finds is ``struct ima_kexec_hdr`` (security/integrity/ima/ima.h) and the list
as binary_runtime_measurements has it, in the machine's own byte order.

A kernel that does not read the buffer is not harmed. It reads it under CONFIG_HAVE_IMA_KEXEC,
which the architecture selects, and gives the memory back; else the memory stays reserved
until the next boot (by device tree always; on x86 with CONFIG_IMA alone), or is not reserved
at all (x86 without CONFIG_IMA, and kernels before v6.0, which do not know SETUP_IMA).
"""

from __future__ import annotations

import struct
from typing import TYPE_CHECKING

from pykexec.architectures import architecture_of
from pykexec.values.calls import Target
from pykexec.values.command_line import split_words
from pykexec.values.data_classes import dataclass
from pykexec.values.errors import ImageError
from pykexec.values.facts import IMA_LIST_MAX
from pykexec.values.units import counted, format_size

if TYPE_CHECKING:
    from collections.abc import Callable

    from pykexec.formats.ikconfig import KernelConfig
    from pykexec.planning.plans import LoadRequest
    from pykexec.values.buffers import Buffer
    from pykexec.values.facts import MachineFacts

_HEADER = struct.Struct("<HHIQQ")
"""``version``, two reserved fields, ``buffer_size`` (header included), ``count``."""
_VERSION = 1
_ENTRY_HEAD = struct.Struct("<I20sI")
"""PCR, template digest, length of the template's name."""
_LENGTH = struct.Struct("<I")
_ORIGINAL_TEMPLATE = b"ima"
"""Its entries have no length, and no kernel restores them."""


@dataclass(frozen=True, slots=True)
class ImaPlan:
    """What is done about the list: the bytes to be carried if any, and notes."""

    data: bytes | None = None
    notes: tuple[str, ...] = ()


def plan_ima(
    facts: MachineFacts, request: LoadRequest, unpack: Callable[[], Buffer | None]
) -> ImaPlan:
    """Decide whether a plan carries the list.

    ``unpack`` gives the uncompressed kernel, or None; it is only called when the answer
    depends on how that was built. ``request.ima`` False turns it off, True overrules what
    the kernel's configuration says.
    """
    from pykexec.formats.ikconfig import read_kernel_config

    measurements = facts.ima_measurements
    if request.target is Target.CRASH:
        return ImaPlan()
    if not measurements:
        asked = request.ima is True
        return _not_carried("the running kernel shows none") if asked else ImaPlan()
    if request.ima is False:
        return _not_carried("as asked for")
    if len(measurements) > IMA_LIST_MAX:
        return _not_carried(f"it is longer than {format_size(IMA_LIST_MAX)}")
    cut = _cuts_memory(request.cmdline)
    if cut:
        return _not_carried(f"{cut.decode('ascii', 'replace')} may leave its memory out")
    try:
        count = count_measurements(measurements)
    except ImageError as error:
        return _not_carried(error.message)
    known = ""
    if request.ima is None:
        kernel = unpack()
        config = read_kernel_config(kernel) if kernel is not None else None
        reason = _cannot_take(config, facts.arch) if config is not None else None
        if reason is not None:
            return _not_carried(reason)
        known = "" if config is not None else "; whether the new kernel takes it cannot be told"
    note = (
        f"IMA's measurement list is carried over: {counted(count, 'measurement')}, "
        f"{format_size(len(measurements))}, without those from now until the jump{known}"
    )
    return ImaPlan(build_ima_buffer(measurements, count), (note,))


def _not_carried(reason: str) -> ImaPlan:
    return ImaPlan(None, (f"IMA's measurement list is not carried over: {reason}",))


def _cuts_memory(cmdline: bytes) -> bytes | None:
    """Return the word by which the new kernel may lose the memory that the buffer lies in.

    It reads the buffer all the same, and faults there before Linux kernel commit c5489d04337b
    ("x86/kexec: add a sanity check on previous kernel's ima kexec buffer") (in v7.0).
    """
    words = split_words(cmdline)
    return next((w for w in words if w.startswith(b"mem=") or w == b"memmap=exactmap"), None)


def _cannot_take(config: KernelConfig, arch: str) -> str | None:
    """Return why a kernel of this configuration would leave the list unread, or pass none on."""
    if not config.has("CONFIG_IMA_KEXEC"):
        return "the new kernel is built without CONFIG_IMA_KEXEC"
    if not architecture_of(arch).has_tree and config.has("CONFIG_OF_FLATTREE"):
        # arch/x86/kernel/setup.c, "ima_get_kexec_buffer": drivers/of/kexec.c takes its place.
        return "the new kernel is built with CONFIG_OF_FLATTREE, and would look in a device tree"
    return None


def count_measurements(measurements: bytes) -> int:
    """Count the entries of a binary measurement list of a little-endian machine.

    Linux security/integrity/ima/ima_fs.c, "ima_measurements_show". Counted and not read from
    runtime_measurements_count, which runs ahead. Raises :class:`ImageError` for a list that is
    cut, and for the original template.
    """
    at = count = 0
    while at < len(measurements):
        start = at
        at += _ENTRY_HEAD.size
        if at <= len(measurements):
            *_, name_size = _ENTRY_HEAD.unpack_from(measurements, start)
            if measurements[at : at + name_size] == _ORIGINAL_TEMPLATE:
                raise ImageError(
                    "its template 'ima' is one that no kernel restores",
                    offset=start,
                    hint="boot with ima_template=ima-ng",
                )
            at += name_size + _LENGTH.size
        if at <= len(measurements):
            (data_size,) = _LENGTH.unpack_from(measurements, at - _LENGTH.size)
            at += data_size
        if at > len(measurements):
            raise ImageError(
                f"entry {count} at offset {start:#x} ends at {at:#x}, "
                f"the list at {len(measurements):#x}",
                offset=start,
            )
        count += 1
    return count


def build_ima_buffer(measurements: bytes, count: int) -> bytes:
    """Return header and list, for a segment of whole pages.

    The kernel is told the segment's size, not this one's: it frees what it is told.
    """
    size = _HEADER.size + len(measurements)
    return _HEADER.pack(_VERSION, 0, 0, size, count) + measurements


def check_ima_buffer(data: Buffer) -> str | None:
    """Return what is wrong with a buffer as the next kernel reads it, None when it is whole."""
    if len(data) < _HEADER.size:
        return f"{counted(len(data), 'byte')} are no header of {_HEADER.size}"
    version, _, _, size, count = _HEADER.unpack_from(data)
    if version != _VERSION:
        return f"version {version} in the header, not {_VERSION}"
    if not _HEADER.size <= size <= len(data):
        return f"buffer_size {size} in the header, where {counted(len(data), 'byte')} are"
    try:
        found = count_measurements(bytes(data[_HEADER.size : size]))
    except ImageError as error:
        return error.message
    if found != count:
        return f"{counted(count, 'measurement')} in the header, {found} in the list"
    return None
