"""Programs that pykexec carries and has not compiled: files with a manifest that describes them.

purgatory/build.py and launcher/build_launchers.py write both.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from pykexec.values.data_classes import dataclass
from pykexec.values.errors import MachineError

if TYPE_CHECKING:
    from pathlib import Path

_MANIFEST = "MANIFEST.json"


@dataclass(frozen=True, slots=True)
class BuiltFiles:
    """A directory of them. What is wrong with it is a :class:`MachineError`."""

    directory: Path
    what: str
    """What one of them is called."""

    def entries(self, group: str) -> dict[str, Any]:
        """Return a group of the manifest's: descriptions by name."""
        import json

        try:
            found: dict[str, Any] = json.loads(self._read(self.manifest))[group]
        except (ValueError, KeyError, TypeError) as error:
            raise self.damaged_manifest(error) from error
        return found

    def described(self, entry: dict[str, Any]) -> bytes:
        """Return the file that ``entry`` describes, checked against its SHA-256."""
        from hashlib import sha256

        path = self.directory / entry["file"]
        data = self._read(path)
        if sha256(data).hexdigest() != entry["sha256"] or len(data) != entry["size"]:
            raise self._damaged(path, f"{len(data)} bytes, not those that {_MANIFEST} describes")
        return data

    @property
    def manifest(self) -> Path:
        """The manifest's path."""
        return self.directory / _MANIFEST

    def damaged_manifest(self, error: Exception) -> MachineError:
        """Return what is raised for a manifest that does not have what it should."""
        return self._damaged(self.manifest, f"{type(error).__name__}: {error}")

    def _read(self, path: Path) -> bytes:
        try:
            return path.read_bytes()
        except OSError as error:
            raise self._damaged(path, error.strerror or str(error)) from error

    def _damaged(self, path: Path, what: str) -> MachineError:
        return MachineError(
            f"cannot use the {self.what} {path}: {what}",
            hint="pykexec is damaged; install it again",
        )
