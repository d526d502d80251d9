"""The Python that guests run, and the byte code that they are given for it.

Guests have the host's Python, which compiles for them. Where Debian does not have that version for
an architecture, guests have a later one, and what compiles is the same one for the host, unpacked.
"""

from __future__ import annotations

import atexit
import subprocess
import sys
import tempfile
import warnings
from contextlib import ExitStack
from dataclasses import dataclass
from functools import cache
from pathlib import Path, PurePosixPath

from tests.vm import bytecode
from tests.vm.debian import Suite
from tests.vm.platforms import X86_64, Platform

SUITES = {"3.11": "bookworm", "3.13": "trixie", "3.14": "testing"}
"""The suite that has each version that guests may have."""
HOST = "{}.{}".format(*sys.version_info)
_LIBRARIES = ("libc6", "libexpat1", "zlib1g")
"""What an unpacked Python is linked against, by package."""


class BuildError(Exception):
    """The root file system of a guest cannot be built on this host."""


@dataclass(frozen=True, slots=True)
class Python:
    """A version of Python as Debian has it."""

    version: str
    """Such as ``3.13``."""
    suite: str

    @property
    def packages(self) -> tuple[str, ...]:
        """The packages that the interpreter and the standard library are in."""
        name = f"python{self.version}"
        return f"{name}-minimal", f"lib{name}-minimal", f"lib{name}-stdlib"

    @property
    def library(self) -> PurePosixPath:
        """Where the standard library is, relative to the root."""
        return PurePosixPath(f"usr/lib/python{self.version}")

    @property
    def cache_tag(self) -> str:
        """What names of byte code files have in them."""
        return f"cpython-{self.version.replace('.', '')}"

    def compiled(self, source: Path, shown: PurePosixPath) -> bytes:
        """Return a module's byte code, which Python does not compare with the source again."""
        with tempfile.NamedTemporaryFile(suffix=".pyc") as out, warnings.catch_warnings():
            # The libraries' own style is not ours to judge.
            warnings.simplefilter("ignore")
            if self.version == HOST:
                bytecode.compile_file(str(source), out.name, str(shown))
            else:
                _foreign(self).compile_file(str(source), out.name, str(shown))
            return Path(out.name).read_bytes()


def guest_python(platform: Platform = X86_64) -> Python:
    """Return the Python of a platform's guests; may raise :class:`BuildError`."""
    if HOST not in SUITES:
        raise BuildError(
            f"guests share byte code with the host, which runs Python {HOST}: needed is one of "
            f"{', '.join(SUITES)}, as Debian has them"
        )
    versions = list(SUITES)
    if platform.suite not in SUITES.values():
        return Python(versions[-1], platform.suite)
    first = next(at for at, name in enumerate(versions) if SUITES[name] == platform.suite)
    version = versions[max(first, versions.index(HOST))]
    return Python(version, SUITES[version])


class _Foreign:
    """A Python that is not installed on this host, compiling one file after another."""

    def __init__(self, python: Python, work: Path) -> None:
        suite = Suite(python.suite)
        program, *libraries = (suite.package(name).root for name in python.packages)
        links = work / "lib"
        links.mkdir()
        for name in _LIBRARIES:
            # Links: a package's directory may have a colon in its name, which a search path splits.
            for path in (suite.package(name).root / X86_64.libraries).glob("*.so*"):
                (links / path.name).symlink_to(path.resolve())
        environment = {
            "PYTHONHOME": str(libraries[0] / "usr"),
            "PYTHONPATH": ":".join(str(root / python.library) for root in libraries),
        }
        loader = (str(links / X86_64.loader), "--library-path", str(links))
        interpreter = (str(program / f"usr/bin/python{python.version}"), "-S", "-B")
        self._process = subprocess.Popen(
            [*loader, *interpreter, "-W", "ignore", bytecode.__file__],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            env=environment,
            text=True,
            bufsize=1,
        )

    def compile_file(self, source: str, out: str, shown: str) -> None:
        """Do as :func:`bytecode.compile_file`."""
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        print(source, out, shown, sep="\t", file=self._process.stdin)
        said = self._process.stdout.readline()
        if said.strip() != out:
            raise BuildError(f"the guests' Python does not compile {source}: {said.strip()}")

    def close(self) -> None:
        """End it."""
        assert self._process.stdin is not None
        self._process.stdin.close()
        self._process.wait()


@cache
def _foreign(python: Python) -> _Foreign:
    stack = ExitStack()
    work = stack.enter_context(tempfile.TemporaryDirectory(prefix="pykexec-python-"))
    foreign = _Foreign(python, Path(work))
    stack.callback(foreign.close)
    atexit.register(stack.close)
    return foreign
