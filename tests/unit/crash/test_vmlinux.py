"""Whether a vmlinux belongs to a core: what decides, and when nobody can tell."""

from __future__ import annotations

import pytest

from pykexec.crash.vmcore import open_core
from pykexec.crash.vmlinux import Belongs, Build, build_of_core, build_of_vmlinux, compare
from pykexec.formats.elf_details import read_details
from tests.builders.linked_elf import BANNER, BUILD_ID, Linked, build_linked
from tests.builders.vmcore import Record, elf_core, lockless
from tests.unit.crash.test_vmcore import Bytes

LINE = BANNER.rstrip(b"\n")


def core(records: list[Record], **info: str) -> bytes:
    memory = lockless(records)
    memory.info |= {name.replace("_", "-"): value for name, value in info.items()}
    return elf_core(memory)


def test_a_core_and_the_vmlinux_of_one_build() -> None:
    records = [Record(b"Booting Linux on physical CPU 0x0"), Record(LINE), Record(b"more")]
    data = core(records, OSRELEASE="6.12.0-synthetic", BUILD_ID=BUILD_ID.hex())
    found = build_of_core(open_core(Bytes(data)))
    assert found == Build(BUILD_ID.hex(), LINE.decode(), "6.12.0-synthetic")
    assert found == build_of_vmlinux(read_details(build_linked()))


def test_a_short_build_id_is_padded_as_the_kernel_does() -> None:
    found = build_of_vmlinux(read_details(build_linked(Linked(build_id=b"\xab" * 16))))
    assert found.build_id == "ab" * 16 + "00" * 4


def test_a_log_that_cannot_be_read_has_no_banner() -> None:
    memory = lockless([Record(LINE)])
    memory.info["SYMBOL(prb)"] = "10"
    assert build_of_core(open_core(Bytes(elf_core(memory)))).banner == ""


A, B = Build("a" * 40, "banner a", "6.1"), Build("b" * 40, "banner b", "6.2")


@pytest.mark.parametrize(
    ("core", "vmlinux", "verdict", "reason"),
    [
        (A, A, Belongs.YES, "both have the same build ID"),
        (A, Build(A.build_id, "", ""), Belongs.YES, "build ID"),
        # Who says another release with uname -r does not make another build of it.
        (A, Build(A.build_id, B.banner, B.release), Belongs.YES, "build ID"),
        (A, Build(B.build_id, A.banner, A.release), Belongs.NO, "the build ID of the core is"),
        (Build("", A.banner, "6.1"), A, Belongs.YES, "banner"),
        (Build("", A.banner, "6.1"), Build("", B.banner, "6.1"), Belongs.NO, "banner"),
        (Build("", "", "6.1"), B, Belongs.NO, "release"),
        (Build("", "", "6.1"), A, Belongs.UNKNOWN, "the release is the same"),
        (Build("", "", ""), A, Belongs.UNKNOWN, "nothing that both say"),
    ],
)
def test_the_strongest_that_both_have_decides(
    core: Build, vmlinux: Build, verdict: Belongs, reason: str
) -> None:
    found = compare(core, vmlinux)
    assert found.verdict is verdict
    assert reason in found.reason
