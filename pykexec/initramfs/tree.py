"""What goes into an image, as values: files and links with their places. Pure."""

from __future__ import annotations

import stat
from typing import TYPE_CHECKING

from pykexec.values.data_classes import dataclass

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

HOME = "usr/lib/pykexec"
"""Where Python lies in an image: apart from one that another module may bring, of which the
parts were picked at another time."""
INTERPRETER = f"{HOME}/bin/python3"


@dataclass(frozen=True, slots=True)
class Entry:
    """A file or a symbolic link of an image."""

    place: str
    """Path in the image, without a slash in front."""
    mode: int
    """Type and permissions, as in ``st_mode``."""
    data: bytes
    """Contents, or the target of a link."""
    source: str
    """Path of the file that it was made of, "" for what was made of none."""
    replaces: bool = False
    """It takes the place of what an image has there already; libraries do not."""

    @property
    def is_link(self) -> bool:
        """It is a symbolic link."""
        return stat.S_ISLNK(self.mode)


def file_entry(place: str, data: bytes, source: str = "", *, executable: bool = False) -> Entry:
    """Return a file; what the permissions of its source are does not matter."""
    return Entry(place, stat.S_IFREG | (0o755 if executable else 0o644), data, source)


def link_entry(place: str, target: str) -> Entry:
    """Return a symbolic link."""
    return Entry(place, stat.S_IFLNK | 0o777, target.encode(), "")


def in_order(entries: Iterable[Entry]) -> tuple[Entry, ...]:
    """Return entries in the order in which they can be made, the same for the same entries.

    Links come first: files may lie behind those that make ``lib64`` one with ``usr/lib64``. Of
    several entries for a place the first is kept.
    """
    known: dict[str, Entry] = {}
    for entry in entries:
        known.setdefault(entry.place, entry)
    return tuple(sorted(known.values(), key=lambda entry: (not entry.is_link, entry.place)))


def directories(entries: Iterable[Entry]) -> Iterator[str]:
    """Yield the directories that the entries lie in, each behind those above it.

    What a link of the entries leads to counts, what lies behind a link is no directory of its own.
    """
    entries = tuple(entries)
    links = {entry.place for entry in entries if entry.is_link}
    wanted = {entry.data.decode() for entry in entries if entry.is_link}
    for entry in entries:
        parts = entry.place.split("/")
        wanted |= {"/".join(parts[:end]) for end in range(1, len(parts))}
    for place in sorted({name for path in wanted for name in _prefixes(path)}):
        if not any(place == link or place.startswith(f"{link}/") for link in links):
            yield place


def _prefixes(path: str) -> Iterator[str]:
    parts = path.strip("/").split("/")
    for end in range(1, len(parts) + 1):
        yield "/".join(parts[:end])
