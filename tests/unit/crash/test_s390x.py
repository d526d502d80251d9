"""What a crashed s390x kernel says of its addresses, in big endian."""

from __future__ import annotations

from typing import Any

import pytest

from pykexec.crash.core_reading import VmcoreError
from pykexec.crash.elf_core import VmcoreInfo
from pykexec.crash.s390x import translate

LATER = b"KERNELOFFSET=3ffe0000000\nKERNELOFFPHYS=12300000\nIDENTITYBASE=10000000000\n"
MEMORY: Any = None


@pytest.mark.parametrize(
    ("info", "vaddr", "paddr"),
    [
        pytest.param(LATER, 0x3FFE0100008, 0x12400008, id="image"),
        pytest.param(LATER, 0x10000001008, 0x1008, id="memory"),
        pytest.param(b"OSRELEASE=6.1.0\nKERNELOFFSET=100000", 0x345678, 0x345678, id="before-6.10"),
        pytest.param(b"OSRELEASE=4.19.0", 0x345678, 0x345678, id="before-kaslr"),
    ],
)
def test_the_linear_maps(info: bytes, vaddr: int, paddr: int) -> None:
    assert translate(vaddr, VmcoreInfo(info), MEMORY)[0] == paddr


@pytest.mark.parametrize(
    ("info", "words"),
    [
        pytest.param(LATER, "0xfffffff000 is not in the linear map", id="below"),
        pytest.param(LATER.replace(b"10000000000", b"?"), "does not tell", id="no-number"),
        pytest.param(LATER.partition(b"IDENT")[0], "does not tell", id="not-all"),
    ],
)
def test_addresses_that_nothing_tells_of(info: bytes, words: str) -> None:
    with pytest.raises(VmcoreError, match=words):
        translate(0xFFFFFFF000, VmcoreInfo(info), MEMORY)
