"""Files below the root of an installed system, which may not be the running one.

Symbolic links are followed as that system would follow them: an absolute one starts at its
root, and none leads out of it.
"""

from __future__ import annotations

import mmap
import os

from pykexec.machine.opening import load_regular, open_regular

_LINKS_MAX = 40
"""As the kernel has it (path_resolution(7))."""
SMALL_MAX = 1 << 20
"""Bytes of a configuration file at most."""


class BootTree:
    """A system's files; paths are absolute as that system has them."""

    def __init__(self, root: os.PathLike[str] | str) -> None:
        self.root = os.path.abspath(root)

    def place(self, path: str) -> str | None:
        """Return where ``path`` is on this machine, None if it is not there."""
        place = self._resolve(path)
        return place if place is not None and os.path.lexists(place) else None

    def exists(self, path: str) -> bool:
        """Tell whether there is such a file or directory."""
        return self.place(path) is not None

    def names(self, path: str) -> list[str]:
        """Return the names in a directory, sorted; none when it is missing; raises OSError."""
        place = self.place(path)
        if place is None or not os.path.isdir(place):
            return []
        return sorted(os.listdir(place))

    def text(self, path: str) -> str | None:
        """Return a file's text, None when it is missing; raises OSError.

        Bytes that are no UTF-8 come back by :func:`os.fsencode`.
        """
        data = self.data(path)
        return None if data is None else os.fsdecode(data)

    def data(self, path: str) -> bytes | None:
        """Return the bytes of a small file, None when it is missing; raises OSError."""
        place = self.place(path)
        if place is None or os.path.isdir(place):
            return None
        return load_regular(place, SMALL_MAX)

    def mapped(self, path: str) -> memoryview:
        """Return a file's bytes, mapped; raises OSError, also for an empty one."""
        place = self.place(path)
        if place is None:
            raise FileNotFoundError(path)
        descriptor = open_regular(place)
        try:
            return memoryview(mmap.mmap(descriptor, 0, prot=mmap.PROT_READ))
        except ValueError as error:
            raise OSError(str(error)) from error
        finally:
            os.close(descriptor)

    def identity(self, path: str) -> tuple[int, int] | None:
        """Return what is the same for two names of one file, None when it is missing."""
        place = self.place(path)
        if place is None:
            return None
        status = os.stat(place)
        return status.st_dev, status.st_ino

    def _resolve(self, path: str) -> str | None:
        """Return the place of ``path`` with every link followed, None for a loop."""
        done: list[str] = []
        rest = [part for part in path.split("/") if part][::-1]
        links = 0
        while rest:
            part = rest.pop()
            if part == ".":
                continue
            if part == "..":
                del done[-1:]
                continue
            place = os.path.join(self.root, *done, part)
            if "\0" in part:
                return None
            if not os.path.islink(place):
                done.append(part)
                continue
            links += 1
            if links > _LINKS_MAX:
                return None
            target = os.readlink(place)
            if target.startswith("/"):
                done.clear()
            rest += [item for item in target.split("/") if item][::-1]
        return os.path.join(self.root, *done)
