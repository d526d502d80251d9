"""GRUB's menu, from the configuration files of a system below a root.

Which file a name in a script means, a :class:`Resolver` finds out: :mod:`entries.grub_files`
says what it is asked and may answer.
"""

from __future__ import annotations

import posixpath
import re
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING

from pykexec.entries.grub import GrubFiles, GrubMenu, parse_grub, parse_grubenv
from pykexec.entries.grub_files import Absent, Device, FileReference, Resolver
from pykexec.errors import MachineError
from pykexec.machine.boot_paths import PartitionPaths

if TYPE_CHECKING:
    from pykexec.entries import BootEntry
    from pykexec.machine.boot_tree import BootTree

GRUB_CONFIGS = ("/boot/grub/grub.cfg", "/boot/grub2/grub.cfg", "/grub/grub.cfg", "/grub2/grub.cfg")
_DEVICE = re.compile(r"\(([^)]*)\)")


def reference_of(name: str) -> FileReference:
    """Return what a file name in a script refers to: ``(DEVICE)PATH``, or a path."""
    match = _DEVICE.match(name)
    if match is None:
        return FileReference(Device(), name)
    return FileReference(Device(match[1]), name[match.end() :])


class GrubConfig:
    """Reads the GRUB configuration of a system."""

    def __init__(
        self,
        tree: BootTree,
        snippets: list[BootEntry],
        resolver: Callable[[BootTree, str], Resolver] = PartitionPaths,
    ) -> None:
        self._tree = tree
        self._snippets = snippets
        self.path = next((path for path in GRUB_CONFIGS if tree.exists(path)), "")
        """The configuration file that GRUB starts with, "" without any."""
        self.problems: list[str] = []
        self._resolver = resolver(tree, self.path)

    def menu(self) -> GrubMenu | None:
        """Return the menu, None without a configuration that can be read."""
        text = self._text(self.path) if self.path else None
        if text is None:
            return None
        prefix = posixpath.dirname(self.path)
        files = GrubFiles(
            exists=lambda _, name: isinstance(self._find(name), str),
            include=self._included,
            environment=lambda name: self._environment(name or f"{prefix}/grubenv"),
            snippets=lambda: self._snippets,
        )
        efi = self._tree.exists("/sys/firmware/efi")
        variables = {
            "prefix": prefix,
            "config_directory": prefix,
            "grub_platform": "efi" if efi else "pc",
            # Of GRUB 2.00 and later.
            "feature_menuentry_id": "y",
            "feature_all_video_module": "y",
            "feature_default_font_path": "y",
            "feature_platform_search_hint": "y",
            "feature_timeout_style": "y",
        }
        try:
            return parse_grub(text, self.path, files, variables)
        except MachineError as error:
            self.problems.append(error.message)
            return None

    def _find(self, name: str) -> str | Absent:
        return self._resolver.find(reference_of(name))

    def _text(self, path: str) -> str | None:
        try:
            return self._tree.text(path)
        except OSError as error:
            self.problems.append(f"cannot read {path}: {error.strerror or error}")
            return None

    def _included(self, name: str) -> tuple[str, str] | None:
        path = self._find(name)
        text = self._text(path) if isinstance(path, str) else None
        return None if text is None or not isinstance(path, str) else (text, path)

    def _environment(self, name: str) -> Mapping[str, str]:
        path = self._find(name)
        if not isinstance(path, str):
            return {}
        try:
            return parse_grubenv(self._text(path) or "", path)
        except MachineError as error:
            self.problems.append(error.message)
            return {}
