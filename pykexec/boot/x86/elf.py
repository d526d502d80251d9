"""ELF programs that are not Linux: boot notes, or nothing, and a jump to the entry point. Pure.

The boot notes are those of the "ELF Boot Proposal" that Etherboot and kexec know: a header,
then ELF notes with an empty name.
"""

from __future__ import annotations

import struct
from typing import TYPE_CHECKING

from pykexec.architectures.x86 import I386
from pykexec.boot.load_space import free_for, load_limits
from pykexec.boot.x86.finish import Told, finish_plan
from pykexec.boot.x86.kernels import LOWEST_PLACE
from pykexec.boot.x86.program import elf_args, moved_by, want_program
from pykexec.planning.plan_builder import PlanBuilder
from pykexec.planning.plans import BootProtocol, ElfArgs, SegmentPlan
from pykexec.purgatory_objects.x86 import Entry32Registers, Entry64Registers
from pykexec.values.calls import Target
from pykexec.values.errors import ImageError, NoRoomError, OptionError
from pykexec.values.roles import Role
from pykexec.values.units import ADDRESS_MAX_32, align_up
from pykexec.values.wishes import at_least, at_most

if TYPE_CHECKING:
    from pykexec.formats.elf_program import ElfProgram
    from pykexec.planning.plans import LoadRequest
    from pykexec.purgatory_objects.parameters import PurgatoryObject
    from pykexec.purgatory_objects.registers import Registers
    from pykexec.values.facts import MachineFacts

ELF_BOOT_MAGIC = 0x0E1FB007
_EBN_BOOTLOADER_NAME = 2
_EBN_BOOTLOADER_VERSION = 3
_EBN_COMMAND_LINE = 4
_STACK_SIZE = 4096


def plan_elf(
    facts: MachineFacts, request: LoadRequest, image: ElfProgram, purgatory: PurgatoryObject
) -> SegmentPlan:
    """Lay out an ELF program with boot notes or with nothing, as the request says.

    Raises :class:`NoRoomError`, :class:`ImageError` for a program that the running kernel cannot
    enter and :class:`OptionError` for what such a program cannot be given.
    """
    _check_request(facts, request, image)
    if image.relocatable:
        try:
            return _lay_out(facts, request, image, purgatory, moved=False)
        except NoRoomError:
            return _lay_out(facts, request, image, purgatory, moved=True)
    return _lay_out(facts, request, image, purgatory, moved=False)


def _lay_out(
    facts: MachineFacts,
    request: LoadRequest,
    image: ElfProgram,
    purgatory: PurgatoryObject,
    *,
    moved: bool,
) -> SegmentPlan:
    reach = (at_most(ADDRESS_MAX_32, "a 32-bit program"),) if image.bits == 32 else ()
    low = at_least(LOWEST_PLACE, "the first MiB is firmware's")
    with_notes = elf_args(request, image) is ElfArgs.ELF
    notes = build_boot_notes(request.cmdline) if with_notes else b""
    builder = PlanBuilder(free_for(facts, request), facts.page_size, load_limits(facts, request))
    want_program(builder, image.segments, *reach, moved=moved)
    builder.want(Role.PURGATORY, purgatory.memsz, low, *reach, checked=False)
    if with_notes:
        builder.want(Role.BOOT_NOTES, align_up(len(notes), 16) + _STACK_SIZE, low, *reach)
    builder.settle()

    entry = image.entry_addr + (moved_by(builder, image.segments) if moved else 0)
    registers: Registers
    if not with_notes:
        registers = Entry64Registers(rip=entry) if image.bits == 64 else Entry32Registers(eip=entry)
    else:
        dest = builder.place_of(Role.BOOT_NOTES)
        registers, stack = _with_notes(image.bits, entry, dest.start, dest.end)
        builder.fill(Role.BOOT_NOTES, notes.ljust(dest.size - len(stack), b"\0") + stack)
    handed = "boot notes" if with_notes else "nothing"
    told = Told(
        cmdline=request.cmdline,
        notes=(f"an ELF program of {image.bits} bits, which is handed {handed}",),
        protocol=BootProtocol.ELF,
    )
    return finish_plan(facts, request, builder, purgatory, registers, told)


def _check_request(facts: MachineFacts, request: LoadRequest, image: ElfProgram) -> None:
    linux = "give --args-linux if the program is a Linux kernel"
    if request.initrd is not None:
        raise OptionError("an initrd cannot be handed to an ELF program", hint=linux)
    if request.target is Target.CRASH:
        raise OptionError("an ELF program that is not Linux cannot be a crash kernel", hint=linux)
    if request.cmdline and elf_args(request, image) is ElfArgs.NONE:
        raise OptionError("--args-none hands no command line over", hint="leave out --append")
    if request.entry_bits not in (None, image.bits):
        raise OptionError(
            f"an ELF program of {image.bits} bits has no entry point of {request.entry_bits} bits"
        )
    if facts.arch == I386.name and image.bits == 64:
        raise ImageError("a 64-bit program cannot be entered from a 32-bit kernel")


def _with_notes(bits: int, entry: int, notes: int, end: int) -> tuple[Registers, bytes]:
    """Return the registers for notes at address ``notes``, and what is on a stack up to ``end``.

    In 64 bits they are the first argument. In 32 bits they are the first one too, which is on
    the stack behind the return address; magic and address are also in eax and ebx.
    """
    if bits == 64:
        return Entry64Registers(rdi=notes, rsp=end, rip=entry), b""
    stack = struct.pack("<4I", 0, notes, 0, 0)
    registers = Entry32Registers(eax=ELF_BOOT_MAGIC, ebx=notes, esp=end - len(stack), eip=entry)
    return registers, stack


def build_boot_notes(cmdline: bytes) -> bytes:
    """Build the notes: who loads, its version, and the command line."""
    from pykexec import __version__

    records = (
        (_EBN_BOOTLOADER_NAME, b"pykexec"),
        (_EBN_BOOTLOADER_VERSION, __version__.encode()),
        (_EBN_COMMAND_LINE, cmdline),
    )
    body = b"".join(_note(kind, text + b"\0") for kind, text in records)
    size = 12 + len(body)

    def head(checksum: int) -> bytes:
        return struct.pack("<IIHH", ELF_BOOT_MAGIC, size, checksum, len(records))

    return head(ip_checksum(head(0) + body)) + body


def _note(kind: int, text: bytes) -> bytes:
    return struct.pack("<III", 0, len(text), kind) + text.ljust(align_up(len(text), 4), b"\0")


def ip_checksum(data: bytes) -> int:
    """Return the Internet checksum of ``data`` (RFC 1071), words little endian."""
    words = struct.unpack(f"<{(len(data) + 1) // 2}H", data.ljust(align_up(len(data), 2), b"\0"))
    total = int(sum(words))
    while total >> 16:
        total = (total & 0xFFFF) + (total >> 16)
    return ~total & 0xFFFF
