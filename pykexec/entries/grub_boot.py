"""What GRUB's commands have put together for a line of its menu, as values. Pure."""

from __future__ import annotations

from typing import TYPE_CHECKING, TypeAlias

from pykexec.entries.grub_values import GrubEntry, GrubModule
from pykexec.values.data_classes import dataclass, field

if TYPE_CHECKING:
    from pykexec.entries.grub_files import FileReference
    from pykexec.entries.grub_syntax import Script
    from pykexec.entries.grub_unknown import Doubt

OK, FALSE, NO_FILE, BAD_NUMBER, BAD_COMMAND, BAD_ARGUMENT, NO_KERNEL = 0, 1, 5, 10, 17, 18, 22
"""Numbers of GRUB's errors (its err.h), as ``$?`` has them."""
Result: TypeAlias = "int | Doubt"


@dataclass(slots=True)
class Pending:
    """A line of the menu whose commands have not been run."""

    title: str
    id: str
    arguments: list[str]
    """Title and what else stands in front of the block: ``$1`` and so on in it."""
    script: Script | str
    """As text for ``--source`` and what ``blscfg`` makes up."""
    where: str
    is_submenu: bool = False
    is_snippet: bool = False


@dataclass(slots=True)
class Boot:
    """What an entry's commands have put together."""

    kernel: FileReference | None = None
    cmdline: str = ""
    initrds: list[FileReference] = field(default_factory=list)
    device_tree: FileReference | None = None
    multiboot: int = 0
    modules: list[GrubModule] = field(default_factory=list)
    starts: str = ""
    """What is started that is no kernel for us."""
    obstacle: str = ""
    """Why it cannot be started as it is."""
    loaded: Result = NO_KERNEL
    """Whether ``boot`` finds something to start."""

    def entry(self, line: Pending, ident: str) -> GrubEntry | None:
        """Return the entry for a line of the menu, None when it starts nothing for us."""
        if self.kernel is None:
            return None
        return GrubEntry(
            id=ident,
            title=line.title,
            where=line.where,
            kernel=self.kernel,
            cmdline=self.cmdline,
            initrds=tuple(self.initrds),
            device_tree=self.device_tree,
            multiboot=self.multiboot,
            modules=tuple(self.modules),
            obstacle=self.obstacle,
        )

    def restart(self) -> None:
        """Forget what an earlier command has loaded: GRUB loads one thing."""
        device_tree = self.device_tree
        self.__init__()  # type: ignore[misc]  # of this very class: there is none below it
        self.device_tree = device_tree
