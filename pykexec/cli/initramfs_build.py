"""Builds what an initramfs needs to run pykexec: Python, the modules, the libraries.

Nothing is packed that has not run: the result is laid out in a directory, and its own
interpreter imports every module of it.
"""

from __future__ import annotations

import json
import os
import posixpath
import subprocess
import sys
from fnmatch import fnmatchcase
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pykexec.architectures import ARCHITECTURES, name_of
from pykexec.cli.initramfs_libraries import (
    Libraries,
    PackingError,
    Root,
    merged_directories,
    read_linked,
)
from pykexec.initramfs.selection import (
    ADDED,
    ALWAYS,
    CODEC_LIBRARIES,
    DATA,
    NOT_FOLLOWED,
    OPENSSL,
    PROGRAMS,
    STAND_INS,
    left_out,
    purgatory_files,
)
from pykexec.initramfs.tree import HOME, INTERPRETER, file_entry, in_order, link_entry
from pykexec.launchers import SCRIPT, load, script
from pykexec.values.data_classes import dataclass, replace
from pykexec.values.errors import OptionError

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from pykexec.initramfs.selection import Program
    from pykexec.initramfs.tree import Entry

_CLOSURE = Path(__file__).with_name("initramfs_closure.py")
_DEBIAN = "/usr/share/pykexec"
"""Where Debian's package has modules that no other program is to import."""
PATIENCE = 1800.0
"""Seconds that an interpreter may take. It takes some three where nothing else runs."""


@dataclass(frozen=True, slots=True)
class Wish:
    """What is to be packed, and from where."""

    programs: tuple[str, ...] = ("kexec",)
    """Names of :data:`~pykexec.initramfs.selection.PROGRAMS`."""
    openssl: bool = False
    """Pack OpenSSL's SHA-256 too: faster where the processor helps, and 5 to 7 MB more."""
    root: Path = Path("/")
    """The machine whose files are taken; another one's pykexec is then its own."""
    python: str = ""
    """The interpreter's path on that machine; "": the one that runs this, or its python3."""


@dataclass(frozen=True, slots=True)
class Built:
    """What was picked."""

    entries: tuple[Entry, ...]
    """In the order in which they can be made."""
    modules: tuple[str, ...]
    """Names of the modules."""
    libraries: tuple[str, ...]
    """Directories of the image with shared libraries."""
    linker: str
    """The dynamic linker's path, "" when Python is linked statically."""
    codecs: tuple[str, ...]
    """Libraries that are opened by name."""
    lacking: tuple[str, ...]
    """Of those, what the machine has not."""

    @property
    def size(self) -> int:
        """Bytes in files."""
        return sum(len(entry.data) for entry in self.entries)


def build(wish: Wish) -> Built:
    """Pick everything that ``wish`` asks for; raises :class:`PackingError`."""
    root = Root(wish.root)
    python = _interpreter(wish, root)
    answer, codes = _ask_closure(wish, root, python)
    if answer["absent"]:
        raise PackingError(
            f"{python} finds no {', '.join(answer['absent'])}",
            hint="pykexec with its libraries has to be installed there",
        )
    major, minor = answer["version"]
    library = f"{HOME}/{answer['library']}/python{major}.{minor}"
    libraries = Libraries(root)
    libraries.add_for(python, INTERPRETER)
    entries = [file_entry(INTERPRETER, root.read(python), python, executable=True)]
    entries += _modules(answer, codes, library, root, libraries)
    entries += _data(answer, library, root, wish.programs)
    entries += (entry for name in wish.programs for entry in _commands(PROGRAMS[name]))
    linked = read_linked(root.host_path(python))
    missing = [] if linked is None else list(CODEC_LIBRARIES)
    found = [name for name in missing if linked and libraries.add_named(name, linked)]
    entries += libraries.entries.values()
    entries += (
        link_entry(place, target)
        for place, target in merged_directories(root, (entry.place for entry in entries))
    )
    return Built(
        in_order(entries),
        tuple(module["name"] for module in answer["modules"] if module["kind"] != "namespace"),
        tuple(libraries.directories),
        libraries.interpreter,
        tuple(found),
        tuple(name for name in missing if name not in found),
    )


def _interpreter(wish: Wish, root: Root) -> str:
    """Return the path of the interpreter that is packed, without links."""
    asked = wish.python
    if not asked:
        # Of a virtual environment the interpreter that it was made from.
        own = getattr(sys, "_base_executable", "") or sys.executable
        asked = own if str(wish.root) == "/" else "/usr/bin/python3"
    real = root.real(asked)
    if not real:
        raise PackingError(
            f"there is no Python at {asked}"
            + ("" if str(wish.root) == "/" else f" of {wish.root}"),
            hint="--python names another one",
        )
    return real


def _ask_closure(wish: Wish, root: Root, python: str) -> tuple[dict[str, Any], memoryview]:
    """Let the interpreter find the modules; returns its answer, and the byte code of them all."""
    if not _CLOSURE.exists():
        raise PackingError("this pykexec is in an initramfs itself, and has no sources to pack")
    own = str(wish.root) == "/" and not wish.python
    roots = [name for program in wish.programs for name in PROGRAMS[program].roots]
    question = {
        "roots": [*dict.fromkeys((*roots, *ALWAYS))],
        "left_out": sorted(left_out(openssl=wish.openssl)),
        "not_followed": NOT_FOLLOWED,
        "stand_ins": STAND_INS,
        "added": ADDED,
        "rooms": sorted({item.room for item in ARCHITECTURES.values()}),
        "digests": OPENSSL,
        # Wherever the running pykexec has its libraries from: an environment, Debian's packages.
        "path": [place for place in sys.path if place and os.path.exists(place)] if own else None,
        "also": [str(Path(__file__).parents[2])] if own else [_DEBIAN],
    }
    done = run_in(
        wish.root,
        python,
        ["-s", *(["-S"] if own else []), "-B", "-", json.dumps(question)],
        _CLOSURE.read_bytes(),
    )
    if done.returncode != 0:
        raise PackingError(f"{python} cannot find its modules: {_last_line(done.stderr)}")
    header, _, codes = done.stdout.partition(b"\n")
    return json.loads(header), memoryview(codes)


def run_in(
    root: Path, python: str, words: Sequence[str], stdin: bytes
) -> subprocess.CompletedProcess[bytes]:
    """Run the interpreter of a machine: as it is, in a chroot, or by its own dynamic linker."""
    try:
        if str(root) == "/":
            return _run([python, *words], stdin)
        if os.geteuid() == 0:
            try:
                return _run([python, *words], stdin, chroot=root)
            except subprocess.TimeoutExpired:
                raise
            except subprocess.SubprocessError:
                pass  # No CAP_SYS_CHROOT, as in containers.
        return _run([*_by_linker(Root(root), python), *words], stdin)
    except subprocess.TimeoutExpired as error:
        raise PackingError(f"{python} of {root} was not through in {PATIENCE:.0f} s") from error
    except (OSError, subprocess.SubprocessError) as error:
        raise PackingError(f"{python} of {root} does not run: {error}") from error


def _run(
    command: list[str], stdin: bytes, chroot: Path | None = None
) -> subprocess.CompletedProcess[bytes]:
    def enter() -> None:
        if chroot is not None:
            os.chroot(chroot)
            os.chdir("/")

    # A set and a dictionary of strings would be in another order each time.
    environment = {"PATH": "/usr/sbin:/usr/bin:/sbin:/bin", "PYTHONHASHSEED": "0", "LC_ALL": "C"}
    return subprocess.run(
        command,
        input=stdin,
        capture_output=True,
        env=environment,
        check=False,
        timeout=PATIENCE,
        preexec_fn=None if chroot is None else enter,
    )


def _by_linker(root: Root, python: str) -> list[str]:
    """Return the words that start a program of another root with that one's libraries."""
    libraries = Libraries(root)
    libraries.add_for(python, python.lstrip("/"))
    if not libraries.interpreter:
        return [str(root.host_path(python))]
    places = ":".join(str(root.path / directory) for directory in libraries.directories)
    linker = str(root.host_path(libraries.interpreter))
    return [linker, "--library-path", places, str(root.host_path(python))]


def _last_line(said: bytes) -> str:
    lines = said.decode(errors="replace").strip().splitlines()
    return lines[-1] if lines else "it says nothing"


def _modules(
    answer: Mapping[str, Any], codes: memoryview, library: str, root: Root, libraries: Libraries
) -> Iterator[Entry]:
    at = 0
    compiled = False
    for module in answer["modules"]:
        name, source = module["name"], module["file"]
        path = name.replace(".", "/")
        if module["kind"] == "source":
            place = (
                f"{library}/{path}/__init__.pyc" if module["package"] else f"{library}/{path}.pyc"
            )
            yield file_entry(place, bytes(codes[at : at + module["size"]]), source)
            at += module["size"]
        elif module["kind"] == "extension":
            directory = posixpath.dirname(path)
            if posixpath.basename(posixpath.dirname(source)) == "lib-dynload":
                directory, compiled = "lib-dynload", True
            place = posixpath.normpath(f"{library}/{directory}/{posixpath.basename(source)}")
            yield file_entry(place, root.read(source), source, executable=True)
            libraries.add_for(source, place)
    if not compiled:
        # Without that directory each start complains.
        yield file_entry(f"{library}/lib-dynload/empty", b"")


def _data(
    answer: Mapping[str, Any], library: str, root: Root, programs: Sequence[str]
) -> Iterator[Entry]:
    for module in answer["modules"]:
        name = module["name"]
        patterns = DATA.get(name, ())
        if name == "pykexec.purgatory_objects":
            machine = os.uname().machine
            own = (purgatory_files(machine, program) for program in programs)
            patterns = (*patterns, *dict.fromkeys(file for part in own for file in part))
        directory = posixpath.dirname(module["file"])
        files = sorted(os.listdir(root.host_path(directory))) if patterns else ()
        for file in files:
            if any(fnmatchcase(file, pattern) for pattern in patterns):
                source = f"{directory}/{file}"
                place = f"{library}/{name.replace('.', '/')}/{file}"
                yield file_entry(place, root.read(source), source)


def _commands(program: Program) -> Iterator[Entry]:
    """Yield what starts a program with the packed interpreter.

    kexec is the launcher, which jumps by itself when there is no Python any more, as in an exit
    initrd; for everything else it executes the script.
    """
    text = script(door=program.function, python=f"/{INTERPRETER}", options="-ISB").encode()
    started = file_entry(program.place, text, executable=True)
    if program.name == "kexec":
        try:
            launcher = load(name_of(os.uname().machine))
        except OptionError:
            pass  # None for this architecture: Python jumps.
        else:
            yield file_entry(f"usr/{SCRIPT}", text, executable=True)
            started = file_entry(program.place, launcher, executable=True)
    yield replace(started, replaces=True)
