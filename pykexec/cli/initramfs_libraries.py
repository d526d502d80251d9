"""The shared libraries that programs need, found as their machine's dynamic linker finds them.

By what the files say (System V ABI, "Dynamic Linking": DT_NEEDED, DT_RUNPATH, PT_INTERP), and not
by running ``ldd``: the machine may be another root directory.
"""

from __future__ import annotations

import os
import posixpath
from typing import TYPE_CHECKING, Any

from pykexec.initramfs.library_cache import library_paths
from pykexec.initramfs.tree import file_entry
from pykexec.values.data_classes import dataclass
from pykexec.values.errors import PykexecError

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence
    from pathlib import Path

    from pykexec.initramfs.tree import Entry

_LINKS_MAX = 40
"""As many as Linux follows (path_resolution(7))."""
_TRUSTED = ("lib64", "usr/lib64", "lib", "usr/lib", "usr/local/lib")


class PackingError(PykexecError):
    """An initramfs cannot be given what it needs; nothing was packed."""


class Root:
    """A machine's files below a root directory, with its links as that machine sees them."""

    def __init__(self, path: Path) -> None:
        """See the files below ``path``."""
        self.path = path

    def real(self, name: str) -> str:
        """Return an absolute path without links, "" for what is not there."""
        done: list[str] = []
        waiting = name.split("/")[::-1]
        links = 0
        while waiting:
            part = waiting.pop()
            if part in ("", "."):
                continue
            if part == "..":
                del done[-1:]
                continue
            here = self.path.joinpath(*done, part)
            if here.is_symlink():
                links += 1
                if links > _LINKS_MAX:
                    return ""
                target = os.readlink(here)
                if target.startswith("/"):
                    done.clear()
                waiting += target.split("/")[::-1]
            elif os.path.lexists(here):
                done.append(part)
            else:
                return ""
        return "/" + "/".join(done)

    def host_path(self, name: str) -> Path:
        """Return where a machine's path is found here; raises :class:`PackingError`."""
        real = self.real(name)
        if not real:
            raise PackingError(f"there is no {name} below {self.path}")
        return self.path / real[1:]

    def read(self, name: str) -> bytes:
        """Return a file's contents; raises :class:`PackingError`."""
        try:
            return self.host_path(name).read_bytes()
        except OSError as error:
            raise PackingError(f"cannot read {name}: {error.strerror}") from error


@dataclass(frozen=True, slots=True)
class Linked:
    """What an ELF file says about how it is linked."""

    machine: bytes
    """See :func:`machine_of`."""
    interpreter: str
    """The dynamic linker's path, "" where it names none."""
    needed: tuple[str, ...]
    run_path: tuple[str, ...]


def read_linked(path: Path) -> Linked | None:
    """Return what a file says, None when it is no ELF file with a dynamic section."""
    from elftools.common.exceptions import ELFError
    from elftools.elf.elffile import ELFFile

    try:
        with path.open("rb") as file:
            machine = machine_of(file.read(20))
            return _linked(ELFFile(file), machine) if machine else None
    except ELFError as error:
        raise PackingError(f"{path} is damaged: {error}") from error


def machine_of(header: bytes) -> bytes:
    """Return what files for the same architecture have in common, "" for no ELF file.

    That is class, byte order and e_machine, out of the first 20 bytes.
    """
    return header[4:6] + header[18:20] if header.startswith(b"\x7fELF") else b""


def _linked(elf: Any, machine: bytes) -> Linked | None:
    interpreter, needed = "", []
    paths: dict[str, str] = {}
    dynamic = False
    for segment in elf.iter_segments():
        if segment["p_type"] == "PT_INTERP":
            interpreter = segment.get_interp_name()
        elif segment["p_type"] == "PT_DYNAMIC":
            dynamic = True
            for tag in segment.iter_tags():
                if tag.entry.d_tag == "DT_NEEDED":
                    needed.append(tag.needed)
                elif tag.entry.d_tag in ("DT_RPATH", "DT_RUNPATH"):
                    paths[tag.entry.d_tag] = getattr(tag, tag.entry.d_tag[3:].lower())
    if not dynamic:
        return None
    run_path = paths.get("DT_RUNPATH", paths.get("DT_RPATH", ""))
    words = tuple(word for word in run_path.split(":") if word)
    return Linked(machine, interpreter, tuple(needed), words)


class Libraries:
    """Collects libraries for what is packed, those that the libraries need included."""

    def __init__(self, root: Root) -> None:
        """Look for libraries where the machine at ``root`` does."""
        self._root = root
        self.entries: dict[str, Entry] = {}
        """By place."""
        self.interpreter = ""
        """The dynamic linker's path."""
        cache = root.real("/etc/ld.so.cache")
        self._cache = library_paths(root.read(cache)) if cache else {}
        self._seen: set[str] = set()

    def add_for(self, source: str, place: str) -> None:
        """Add what an ELF file needs that lies at ``source`` and will lie at ``place``.

        Raises :class:`PackingError` when the machine has none of a library.
        """
        linked = read_linked(self._root.host_path(source))
        if linked is None:
            return
        if linked.interpreter:
            self.interpreter = linked.interpreter
            self._add(linked.interpreter, linked.interpreter.lstrip("/"))
        for name in linked.needed:
            found = self._find(name, linked, source, place)
            if found is None:
                raise PackingError(
                    f"{source} needs {name}, which is not where the dynamic linker looks",
                    hint="ldd shows what a program is linked against",
                )
            self._add(*found)

    def add_named(self, name: str, machine: Linked) -> bool:
        """Add a library that is opened by its name; tell whether the machine has it."""
        found = self._find(name, machine, "", "")
        if found is not None:
            self._add(*found)
        return found is not None

    @property
    def directories(self) -> Sequence[str]:
        """The directories of the image that have libraries."""
        return sorted({posixpath.dirname(place) for place in self.entries})

    def _add(self, source: str, place: str) -> None:
        if place in self.entries or (source == self.interpreter and source in self._seen):
            return
        self._seen.add(source)
        real = self._root.real(source)
        data = self._root.read(source)
        self.entries[place] = file_entry(place, data, real, executable=True)
        self.add_for(real, place)

    def _find(self, name: str, user: Linked, source: str, place: str) -> tuple[str, str] | None:
        """Return (path, place in the image) of a library, None when there is none."""
        if self.interpreter and posixpath.basename(self.interpreter) == name:
            return self.interpreter, self.interpreter.lstrip("/")
        for path, chosen in self._candidates(name, user, source, place):
            real = self._root.real(path)
            if real and self._fits(real, user):
                return path, chosen
        return None

    def _candidates(
        self, name: str, user: Linked, source: str, place: str
    ) -> Iterator[tuple[str, str]]:
        for word in user.run_path:
            own = posixpath.dirname(self._root.real(source))
            for origin in ("$ORIGIN", "${ORIGIN}"):
                if word.startswith(origin):
                    # What moves with its user: wheels bring libraries in this way.
                    rest = word.removeprefix(origin)
                    there = posixpath.normpath(f"{posixpath.dirname(place)}{rest}")
                    yield posixpath.normpath(f"{own}{rest}/{name}"), f"{there}/{name}"
            if word.startswith("/"):
                yield f"{word}/{name}", f"{word.strip('/')}/{name}"
        known = self._cache.get(name, ())
        # Debian's own, one for each architecture, is built into its dynamic linker.
        multiarch = (f"usr/lib/{part.name}" for part in self._root.path.glob("usr/lib/*-linux-*"))
        for path in (*known, *(f"/{place}/{name}" for place in (*multiarch, *_TRUSTED))):
            directory = self._root.real(posixpath.dirname(path))
            if directory:
                yield path, f"{directory.lstrip('/')}/{name}"

    def _fits(self, real: str, user: Linked) -> bool:
        with self._root.host_path(real).open("rb") as file:
            return machine_of(file.read(20)) == user.machine


def merged_directories(root: Root, places: Iterable[str]) -> Iterator[tuple[str, str]]:
    """Yield (place, target) of the machine's links that files at ``places`` lie behind."""
    for top in sorted({place.split("/")[0] for place in places}):
        link = root.path / top
        if link.is_symlink():
            yield top, os.readlink(link).lstrip("/")
