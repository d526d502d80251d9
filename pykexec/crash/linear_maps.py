"""How a kernel's addresses are undone that has mapped its image apart from all memory. Pure."""

from __future__ import annotations

from typing import TYPE_CHECKING

from pykexec.crash.core_reading import EXIT_NO_ADDRESS, VmcoreError
from pykexec.values.data_classes import dataclass
from pykexec.values.units import ADDRESS_MAX

if TYPE_CHECKING:
    from pykexec.crash.elf_core import VmcoreInfo

_SURE = 4096
"""Bytes from an address on for which both maps surely hold."""


@dataclass(frozen=True, slots=True)
class LinearMaps:
    """Where both begin; the image lies above memory."""

    image: int
    """The lowest virtual address that may be the image's."""
    image_offset: int
    """What it is mapped by: virtual less physical address, modulo 2^64."""
    memory: int
    """The virtual address of the first byte of memory …"""
    memory_start: int
    """… and its physical address, which may be negative."""

    def translate(self, vaddr: int) -> tuple[int, int]:
        """Return the physical address, and for how many bytes that surely goes on.

        Raises :class:`VmcoreError` for an address in neither map.
        """
        if vaddr >= self.image:
            return vaddr - self.image_offset & ADDRESS_MAX, _SURE
        paddr = vaddr - self.memory + self.memory_start
        if vaddr < self.memory or paddr < 0:
            raise VmcoreError(f"{vaddr:#x} is not in the linear map", EXIT_NO_ADDRESS)
        return paddr, _SURE


def map_numbers(vaddr: int, info: VmcoreInfo, *names: str) -> tuple[int, ...]:
    """Return numbers of VMCOREINFO; raises :class:`VmcoreError` if it does not have them all."""
    found = [info.number(name) for name in names]
    if None in found:
        raise untold(vaddr)
    return tuple(number for number in found if number is not None)


def untold(vaddr: int) -> VmcoreError:
    """Return the error for an address that nothing leads from to memory."""
    return VmcoreError(
        f"nothing covers {vaddr:#x}, and VMCOREINFO does not tell of the linear map",
        EXIT_NO_ADDRESS,
    )
