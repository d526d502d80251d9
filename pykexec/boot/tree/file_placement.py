"""How kernels that are given a device tree place what kexec_file_load(2) gives them. Pure."""

from __future__ import annotations

from typing import TYPE_CHECKING

from pykexec.planning.plans import PlacementRule
from pykexec.values.data_classes import dataclass
from pykexec.values.roles import Role

if TYPE_CHECKING:
    from collections.abc import Iterator

    from pykexec.formats import KernelImage
    from pykexec.planning.plans import LoadRequest


@dataclass(frozen=True, slots=True)
class FilePlacement:
    """One architecture's rules, in words."""

    kernel: str
    core_header: str
    initrd: str
    tree: str
    purgatory: str | None = None
    """None where the kernel enters the new one itself."""

    def rules(
        self,
        request: LoadRequest,
        image: KernelImage,
        version: tuple[int, int] | None,
        *,
        crash: bool,
    ) -> Iterator[PlacementRule]:
        """See :class:`~pykexec.planning.rooms.BootRoom`, "file_placement"."""
        del image, version
        where = "inside the crash region" if crash else "in memory that nothing was reserved in"
        yield PlacementRule(None, f"everything lies {where}")
        yield PlacementRule(Role.KERNEL, self.kernel)
        if crash:
            yield PlacementRule(Role.ELFCOREHDR, self.core_header)
        if self.purgatory is not None:
            yield PlacementRule(Role.PURGATORY, self.purgatory)
        if request.initrd is not None:
            yield PlacementRule(Role.INITRD, self.initrd)
        yield PlacementRule(Role.DTB, self.tree)
