"""Files for GRUB's scripts that are nowhere but in a dictionary."""

from __future__ import annotations

import posixpath
from collections.abc import Mapping

from pykexec.entries.grub import GrubReading, read_grub
from pykexec.entries.grub_files import Absent, Device, FileReference
from pykexec.entries.grub_values import Node, SourceText, UkiFacts

PREFIX = "/boot/grub"


class MemoryFiles:
    """A file system of GRUB's own, and others that are not mounted."""

    def __init__(
        self, files: Mapping[str, str], devices: Mapping[str, Mapping[str, str]] | None = None
    ) -> None:
        """``devices`` has other file systems by what they are called or searched for."""
        self._systems: dict[str, Mapping[str, str]] = {"": files, **(devices or {})}

    def _files(self, device: Device) -> Mapping[str, str] | None:
        return self._systems.get(device.name if device.search is None else device.search.value)

    def node(self, reference: FileReference) -> Node | Absent:
        files = self._files(reference.device)
        if files is None:
            return Absent(f"{reference.device} is not mounted", certain=False)
        path = posixpath.normpath(reference.path)
        if path in files:
            return Node(False, len(files[path]), 0)
        below = path.rstrip("/") + "/"
        if any(name.startswith(below) for name in files):
            return Node(True, 0, 0)
        return Absent("there is no such file")

    def names(self, reference: FileReference) -> list[str] | Absent:
        node = self.node(reference)
        if isinstance(node, Absent):
            return node
        if not node.is_directory:
            return Absent("it is no directory")
        below = posixpath.normpath(reference.path).rstrip("/") + "/"
        files = self._files(reference.device) or {}
        found = {
            name.removeprefix(below).partition("/")[0]
            for name in files
            if below in name[: len(below)]
        }
        return sorted(found - {""})

    def text(self, reference: FileReference) -> SourceText | Absent:
        node = self.node(reference)
        if isinstance(node, Absent) or node.is_directory:
            return node if isinstance(node, Absent) else Absent("it is no regular file")
        path = posixpath.normpath(reference.path)
        return SourceText((self._files(reference.device) or {})[path], path)

    def uki(self, reference: FileReference) -> UkiFacts | str:
        """Take for a UKI what begins with ``UKI``: a title and a command line behind it."""
        found = self.text(reference)
        if isinstance(found, Absent):
            return found.reason
        if not found.text.startswith("UKI|"):
            return "it is no UKI"
        _, title, cmdline = found.text.split("|")
        return UkiFacts(title, cmdline)

    def has(self, device: Device) -> bool | None:
        return True if self._files(device) is not None else None


def read(
    text: str,
    files: Mapping[str, str] | None = None,
    devices: Mapping[str, Mapping[str, str]] | None = None,
    **variables: str,
) -> GrubReading:
    """Run a configuration that is ``/boot/grub/grub.cfg`` beside ``files``."""
    path = f"{PREFIX}/grub.cfg"
    everything = {path: text, **(files or {})}
    return read_grub(
        SourceText(text, path),
        FileReference(Device(), path),
        MemoryFiles(everything, devices),
        {"grub_platform": "efi", "grub_cpu": "x86_64", **variables},
    )
