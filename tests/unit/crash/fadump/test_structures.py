"""The structures of a firmware-assisted dump, each in its forms, whole and damaged."""

from __future__ import annotations

import struct

import pytest

from pykexec.crash.fadump.dump import DumpMemory, dump_at, dump_of_sections, dumps_in
from pykexec.crash.fadump.header import find_headers, parse_crash_info
from pykexec.crash.fadump.opal import parse_metadata, parse_mpipl
from pykexec.crash.fadump.registers import parse_opal_threads, parse_register_area
from pykexec.crash.fadump.sections import Kind, parse_kernel_dump
from pykexec.errors import ImageError
from pykexec.values.ranges import Range
from tests.builders import fadump

ORDERS = {"<": "little", ">": "big"}


class Sparse:
    """Memory of which some pieces are known, by their physical addresses."""

    def __init__(self, pieces: dict[int, bytes]) -> None:
        self._pieces = pieces

    def read_some(self, paddr: int, size: int) -> bytes:
        for start, data in self._pieces.items():
            if start <= paddr < start + len(data):
                return data[paddr - start : paddr - start + size]
        return b""


def captured(**changed: bytes) -> DumpMemory:
    pieces = {0x14000000: fadump.register_area(), fadump.HEADER_AT: fadump.new_header()}
    names = {"registers": 0x14000000, "header": fadump.HEADER_AT}
    return Sparse({**pieces, **{names[name]: data for name, data in changed.items()}})


class TestHeader:
    @pytest.mark.parametrize("order", ORDERS)
    def test_linux_6_10_and_later(self, order: str) -> None:
        data = fadump.new_header(order)
        assert len(data) == 0x1B0
        found = parse_crash_info(data)
        assert (found.magic, found.byte_order, found.version) == ("FADMPSIG", ORDERS[order], 1)
        assert found.crashing_cpu == 0
        assert found.vmcoreinfo == Range.sized(0x1509F000, 0x1024)
        assert found.elfcorehdr_addr is None
        assert found.cpus == (0, 1)
        assert found.size == 0x1B0
        assert {name: value for name, value in found.registers if value} == {
            name: value for name, value in fadump.PT_REGS.items() if value
        }

    def test_the_bytes_of_a_captured_header(self) -> None:
        data = bytes.fromhex(
            "47495350 4d444146 01000000 00000000 00f00915 00000000 24100000 00000000"
            "80010000 08000000"
        )
        found = parse_crash_info(data + bytes(0x180) + b"\x03" + bytes(7))
        assert found.vmcoreinfo == Range.sized(0x1509F000, 0x1024)
        assert (found.crashing_cpu, found.cpus) == (0, (0, 1))

    @pytest.mark.parametrize("order", ORDERS)
    def test_before_linux_6_10(self, order: str) -> None:
        data = fadump.old_header(order)
        assert len(data) == 0x1A0
        found = parse_crash_info(data, address=fadump.OLD_HEADER_AT)
        assert (found.magic, found.byte_order, found.version) == ("FADMPINF", ORDERS[order], None)
        assert found.elfcorehdr_addr == 0x280011A0
        assert (found.crashing_cpu, found.cpus, found.size) == (1, (0, 1), 0x1A0)
        assert found.vmcoreinfo is None
        assert dict(found.registers)["nip"] == fadump.PT_REGS["nip"]

    def test_the_old_form_ends_where_the_core_header_begins(self) -> None:
        data = fadump.old_header() + b"\x7fELF" + bytes(60)
        assert parse_crash_info(data).cpus == (0, 1)
        assert parse_crash_info(data).size == 0x1A0

    def test_the_old_form_alone_does_not_tell_its_end(self) -> None:
        found = parse_crash_info(fadump.old_header())
        assert (found.cpus, found.size) == (None, 0x178)

    @pytest.mark.parametrize(("regs", "size"), [(0x160, 0x100), (0x170, 0x100), (0x180, 0x100)])
    def test_old_kernels_of_each_pt_regs(self, regs: int, size: int) -> None:
        data = fadump.old_header(regs=regs, mask_size=size, cpus=(0, 64, 2047))
        assert parse_crash_info(data, address=fadump.OLD_HEADER_AT).cpus == (0, 64, 2047)

    def test_an_old_mask_that_may_lie_in_two_places(self) -> None:
        """For 256 processors behind 0x180 bytes of registers, or for 512 behind 0x160."""
        data = fadump.old_header(mask_size=0x20)
        assert parse_crash_info(data, address=fadump.OLD_HEADER_AT).cpus is None

    def test_before_a_crash_no_processor_has_crashed(self) -> None:
        assert parse_crash_info(fadump.new_header(cpu=0xFFFFFFFF)).crashing_cpu is None

    def test_a_mask_of_many(self) -> None:
        data = fadump.new_header(mask_size=0x100, cpus=(0, 63, 64, 2047))
        assert parse_crash_info(data).cpus == (0, 63, 64, 2047)

    @pytest.mark.parametrize("order", ORDERS)
    def test_the_form_of_the_mailing_list_is_unknown(self, order: str) -> None:
        with pytest.raises(ImageError, match="a patch that no released kernel has"):
            parse_crash_info(fadump.unmerged_header(order))

    @pytest.mark.parametrize(
        ("data", "said"),
        [
            (b"", "the magic is missing"),
            (b"FADMPSI", "no crash info header"),
            (bytes(0x1B0), "the magic is 0000000000000000"),
            (fadump.new_header()[:-1], "the mask of processors needs 8 bytes at offset 0x1a8"),
            (fadump.new_header()[:0x20], "the crash info header .FADMPSIG. needs 40 bytes"),
            (fadump.new_header()[:0x30], "its pt_regs needs 352 bytes"),
            (fadump.old_header()[:0x30], "its pt_regs needs 352 bytes"),
            (fadump.new_header(version=2), "has version 2; known is 1"),
            (fadump.new_header(mask_size=12, cpus=()), "a mask of 0xc"),
            (fadump.new_header(regs=0x500), "pt_regs of 0x500 bytes"),
        ],
    )
    def test_what_is_none(self, data: bytes, said: str) -> None:
        with pytest.raises(ImageError, match=said):
            parse_crash_info(data)

    @pytest.mark.parametrize(("at", "value"), [(0x10, (1 << 64) - 1), (0x18, 1 << 40)])
    def test_a_vmcoreinfo_that_cannot_be(self, at: int, value: int) -> None:
        data = bytearray(fadump.new_header())
        data[at : at + 8] = struct.pack("<Q", value)
        with pytest.raises(ImageError, match="vmcoreinfo of"):
            parse_crash_info(bytes(data))


class TestFinding:
    def test_a_magic_among_constants_is_no_header(self) -> None:
        image = bytearray(0x4000)
        image[0x100:0x108] = b"GISPMDAF"
        image[0x1004 : 0x1004 + 0x1B0] = fadump.new_header()  # not aligned
        image[0x2008 : 0x2008 + 0x1B0] = fadump.new_header()
        assert list(find_headers(bytes(image))) == [0x2008]

    def test_across_the_pieces_that_are_looked_at(self) -> None:
        image = bytearray(0x1001000)
        image[0xFFFFF8 : 0xFFFFF8 + 0x1B0] = fadump.new_header(">")
        image[0x1000800 : 0x1000800 + 0x1B0] = fadump.new_header()
        assert list(find_headers(bytes(image))) == [0xFFFFF8, 0x1000800]

    def test_some_are_enough(self) -> None:
        assert len(list(find_headers(fadump.new_header() * 40))) == 16

    def test_an_image_of_nothing_but_magics(self) -> None:
        with pytest.raises(ImageError, match="more than 1024 places"):
            list(find_headers(b"GISPMDAF" * 1100))


class TestKernelDump:
    def test_what_qemu_was_seen_to_leave(self) -> None:
        data = fadump.kernel_dump()
        assert len(data) == 0xC8
        found = parse_kernel_dump(data)
        assert (found.performed, found.triggered_before, found.failed) == (True, True, False)
        assert [section.name for section in found.sections] == [
            "registers", "hash page table", "boot memory", "parameters",
        ]  # fmt: skip
        assert found.boot_memory_size == 0x14000000
        assert found.header_address == 0x28001000
        assert found.problems == ()

    def test_boot_memory_with_holes(self) -> None:
        sections = (
            fadump.section(0x0011, 0, 0x10000000, 0x20000000),
            fadump.section(0x0011, 0x20000000, 0x8000000, 0x30000000),
        )
        found = parse_kernel_dump(fadump.kernel_dump(sections))
        assert found.header_address == 0x20000000 + 0x18000000
        assert len(found.of(Kind.BOOT_MEMORY)) == 2

    def test_what_a_capture_kernel_refuses(self) -> None:
        sections = (
            fadump.section(0x0001, 0, 0xA00, 0x14000000, dumped=0),
            fadump.section(0x0100, 0, 0x800, 0, dumped=0),
            fadump.section(0x0777, 0, 0x800, 0, dumped=0),
        )
        found = parse_kernel_dump(fadump.kernel_dump(sections, status=0x2000))
        assert found.problems == (
            "firmware tells of an error in the dump",
            "registers: 0 of 2560 bytes dumped",
        )
        assert found.sections[2].name == "type 0x0777"
        assert found.header_address is None

    @pytest.mark.parametrize(
        ("data", "said"),
        [
            (b"", "ibm,kernel-dump needs 40 bytes"),
            (fadump.kernel_dump()[:-1], "section 3 needs 40 bytes"),
            (struct.pack(">I", 2) + fadump.kernel_dump()[4:], "has format 2"),
            (fadump.kernel_dump(fadump.SECTIONS[:1] * 11), "has 11 sections"),
            (
                fadump.kernel_dump((fadump.section(0x0011, 1 << 63, 1 << 63, 1 << 63, 0),) * 1)[:-8]
                + b"\xff" * 8,
                "section 0 of ibm,kernel-dump ends behind",
            ),
        ],
    )
    def test_what_is_none(self, data: bytes, said: str) -> None:
        with pytest.raises(ImageError, match=said):
            parse_kernel_dump(data)


class TestRegisters:
    def test_as_qemu_writes_them(self) -> None:
        data = fadump.register_area()
        assert len(data) == 0xA00
        found = parse_register_area(data)
        assert [cpu.cpu for cpu in found] == [0, 1]
        values = dict(found[1].registers)
        assert values["gpr31"] == 0x11F
        assert (values["nip"], values["dsisr"]) == (0x1000, 0x1007)
        assert len(values) == 40

    def test_the_offset_counts(self) -> None:
        assert len(parse_register_area(fadump.register_area(offset=0x40))) == 2

    def test_none(self) -> None:
        assert parse_register_area(fadump.register_area(())) == ()

    @pytest.mark.parametrize(
        ("data", "said"),
        [
            (b"", "the register save area needs 16 bytes"),
            (b"REGSAVE " + bytes(100), "no register save area: the magic is"),
            (fadump.register_area()[:-0x300], "ends within a processor's registers"),
            (b"REGSAVE\0" + struct.pack(">II", 0, 1 << 31), "the number of processors"),
            (b"REGSAVE\0" + struct.pack(">III", 0, 16, 1 << 31), "2147483648 processors in a"),
            (
                b"REGSAVE\0" + struct.pack(">III", 0, 16, 1) + b"CPUEND\0\0" + bytes(40),
                "where CPUSTRT is due",
            ),
        ],
    )
    def test_what_is_none(self, data: bytes, said: str) -> None:
        with pytest.raises(ImageError, match=said):
            parse_register_area(data)

    def test_threads_of_opal(self) -> None:
        data = fadump.opal_thread(0x20) + fadump.opal_thread(0x21, 0x0F) + bytes(0x100)
        first, second = parse_opal_threads(data, 0x400)
        assert (first.cpu, first.active, second.cpu, second.active) == (0x20, True, 0x21, False)
        values = dict(first.registers)
        assert (values["gpr31"], values["nip"], values["link"]) == (0x201F, 0xC000, 0x11)
        assert len(values) == 35
        assert second.registers == ()

    @pytest.mark.parametrize("size", [0, 1, 0x18, 0x200])
    def test_threads_that_do_not_fit(self, size: int) -> None:
        with pytest.raises(ImageError, match="do not fit a thread"):
            parse_opal_threads(fadump.opal_thread(1), size)


class TestOpal:
    @pytest.mark.parametrize("order", ORDERS)
    def test_metadata(self, order: str) -> None:
        found = parse_metadata(fadump.opal_metadata(order, count=3, registered=2))
        assert (found.byte_order, found.registered) == (ORDERS[order], 2)
        assert found.header_address == fadump.HEADER_AT
        assert found.regions[1].source == Range.sized(0x10000000, 0x30000000)
        assert found.regions[2].destination == 0x50000000

    @pytest.mark.parametrize(
        ("data", "said"),
        [
            (bytes(64), "version 0, known is 1"),
            (fadump.opal_metadata(count=1, registered=2), "more than 128 in either"),
            (fadump.opal_metadata(count=2, registered=0)[:-1], "region 1 needs 24 bytes"),
            (fadump.opal_metadata()[:10], "the metadata for OPAL needs 16 bytes"),
            (fadump.opal_metadata()[:16] + b"\xff" * 24, "region 0 ends behind"),
        ],
    )
    def test_no_metadata(self, data: bytes, said: str) -> None:
        with pytest.raises(ImageError, match=said):
            parse_metadata(data)

    def test_result(self) -> None:
        found = parse_mpipl(fadump.mpipl())
        assert (found.crashing_pir, found.cpu_data_version, found.thread_size) == (0x20, 1, 0x400)
        assert found.regions[0].destination == 0x31000000

    @pytest.mark.parametrize("data", [bytes(64), fadump.mpipl(0), fadump.mpipl()[:-1], b""])
    def test_no_result(self, data: bytes) -> None:
        with pytest.raises(ImageError):
            parse_mpipl(data)


class TestWhole:
    def test_from_what_firmware_tells(self) -> None:
        found = dump_of_sections(captured(), fadump.kernel_dump())
        assert found.header is not None
        assert found.header.cpus == (0, 1)
        assert found.header_address == 0x28001000
        assert [cpu.cpu for cpu in found.saved] == [0, 1]
        assert found.problems == ()

    def test_without_memory(self) -> None:
        found = dump_of_sections(None, fadump.kernel_dump())
        assert (found.header, found.saved, found.problems) == (None, (), ())

    def test_damage_is_told(self) -> None:
        memory = captured(header=bytes(0x1B0), registers=bytes(0xA00))
        problems = dump_of_sections(memory, fadump.kernel_dump()).problems
        assert [text[:40] for text in problems] == [
            "crash info header at 0x28001000: no cras",
            "registers at 0x14000000: no register sav",
        ]

    def test_at_an_address(self) -> None:
        assert dump_at(captured(), fadump.HEADER_AT).header_address == fadump.HEADER_AT
        with pytest.raises(ImageError, match="the magic is missing"):
            dump_at(captured(), 0x1000)

    @pytest.mark.parametrize("order", ORDERS)
    def test_in_an_image(self, order: str) -> None:
        image = bytearray(0x10000)
        image[0x3000 : 0x3000 + 0x1B0] = fadump.new_header()
        metadata = fadump.opal_metadata(order, header=0x80003000)
        image[0x31B0 : 0x31B0 + len(metadata)] = metadata
        (found,) = dumps_in(bytes(image), base=0x80000000)
        assert found.header_address == 0x80003000
        assert found.metadata is not None
        assert len(found.metadata.regions) == 1

    def test_an_image_without(self) -> None:
        assert dumps_in(bytes(0x10000)) == ()
