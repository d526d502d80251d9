"""Install pykexec for a whole system, and take it away again: ``make install`` and ``uninstall``.

The package goes to PREFIX/lib/pykexec, where no other program imports it; its libraries are the
distribution's. The launcher is PREFIX/sbin/kexec. What systemd and kdump-tools call,
/usr/sbin/kexec and /sbin/kexec, leads to it: what was there is put aside, by dpkg-divert where dpkg
is. Generators of initramfs images look for modules and hooks in one place each, whatever PREFIX is:
those that are here get theirs there. With DESTDIR, as packages are built, nothing is put aside,
nothing of this machine is looked at, and every generator's is written. What was installed is
written down in PREFIX/lib/pykexec/installed.json.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from pykexec import launchers
from pykexec.architectures import name_of
from pykexec.errors import OptionError, PykexecError

PROJECT = Path(__file__).resolve().parent.parent
CONTRIB = PROJECT / "contrib"
RECORD = "lib/pykexec/installed.json"
PACKAGED = "/usr/lib/pykexec"
"""Where what contrib/ has names programs; the prefix's own directory takes its place."""

LIBRARIES = {
    "click": "python3-click",
    "_cffi_backend": "python3-cffi-backend",
    "elftools": "python3-pyelftools",
}
"""What the package imports, and Debian's packages with it."""

CALLED = ("/usr/sbin/kexec", "/sbin/kexec")
"""How others call kexec: one file, where /sbin is a link."""
ASIDE = ".kexec-tools"

TREES = {
    "contrib/completions/bash": "share/bash-completion/completions",
    "contrib/completions/fish": "share/fish/vendor_completions.d",
    "contrib/completions/zsh": "share/zsh/site-functions",
    "contrib/systemd": "lib/systemd/system",
    "contrib/udev": "lib/udev/rules.d",
    "man": "share/man/man8",
}
PROGRAMS = {"contrib/kdump/kdump": "kdump", "contrib/kexec/next-kernel": "next-kernel"}
"""Scripts that go to PREFIX/lib/pykexec."""
PACKERS = {"contrib/initramfs/pack": "pack", "contrib/initramfs/early-crash": "early-crash"}
"""The same; the paths in them are those of an image."""
SETTINGS = (
    "contrib/kdump/kdump.conf",
    "contrib/kexec/kexec.conf",
    "contrib/initramfs/initramfs.conf",
)
GENERATORS = {
    "/usr/lib/dracut": {"contrib/dracut": "/usr/lib/dracut/modules.d"},
    "/usr/share/initramfs-tools": {"contrib/initramfs-tools": "/usr/share/initramfs-tools"},
    "/usr/lib/initcpio": {
        "contrib/mkinitcpio/install": "/usr/lib/initcpio/install",
        "contrib/mkinitcpio/hooks": "/usr/lib/initcpio/hooks",
        "contrib/mkinitcpio/pykexec-crash-early.service": "/usr/lib/systemd/system",
    },
}
"""By the directory that each generator of initramfs images has: files and trees, and where to."""
DOORS = {"bin/pykexec": "pykexec", "sbin/vmcore-dmesg": "vmcore_dmesg"}


class InstallError(Exception):
    """It cannot be done; the message says why, and nothing has been changed."""


@dataclass(slots=True)
class Record:
    """What was installed, by path without DESTDIR."""

    files: list[str] = field(default_factory=list)
    settings: dict[str, str] = field(default_factory=dict)
    """Those that were not there before, with their SHA-256: changed ones stay."""
    directories: list[str] = field(default_factory=list)
    """Those that were not there before, outermost first."""
    links: list[str] = field(default_factory=list)
    """Where others call kexec."""
    diverted: list[str] = field(default_factory=list)
    """By dpkg-divert."""
    renamed: list[str] = field(default_factory=list)
    """Without dpkg: to the name with ASIDE."""


@dataclass(frozen=True, slots=True)
class Place:
    """Where to."""

    prefix: str
    destdir: str
    python: str

    def real(self, path: str) -> Path:
        """Return where the installed ``path`` is to be written."""
        return Path(self.destdir + path)

    def below(self, name: str) -> str:
        """Return a path below the prefix."""
        return f"{self.prefix}/{name}"

    @property
    def library(self) -> str:
        """The private directory, in which the package lies."""
        return self.below("lib/pykexec")


def contents(place: Place) -> Iterator[tuple[str, bytes, int]]:
    """Yield path, contents and mode of each file but the settings."""
    for path in sorted((PROJECT / "pykexec").rglob("*")):
        if path.is_file() and "__pycache__" not in path.parts:
            inside = path.relative_to(PROJECT).as_posix()
            yield f"{place.library}/{inside}", path.read_bytes(), 0o644
    for source, target in TREES.items():
        for path in sorted((PROJECT / source).iterdir()):
            yield place.below(f"{target}/{path.name}"), adapted(place, path), 0o644
    for source, name in PROGRAMS.items():
        yield f"{place.library}/{name}", adapted(place, PROJECT / source), 0o755
    for source, name in PACKERS.items():
        yield f"{place.library}/{name}", (PROJECT / source).read_bytes(), 0o755
    for home, trees in GENERATORS.items():
        if place.destdir or os.path.isdir(home):
            yield from generator_files(trees, place.library)
    for name, door in DOORS.items():
        yield place.below(name), script(place, door), 0o755
    yield place.below(launchers.SCRIPT), script(place, "kexec"), 0o755
    yield place.below("sbin/kexec"), launcher(place), 0o755


def generator_files(trees: Mapping[str, str], library: str) -> Iterator[tuple[str, bytes, int]]:
    """Yield path, contents and mode of what a generator looks for.

    What it calls is in ``library``; what it puts into an image has the same path in every image.
    """
    own, packaged = (f"{directory}/pack".encode() for directory in (library, PACKAGED))
    for source, target in trees.items():
        top = PROJECT / source
        for path in [top] if top.is_file() else sorted(top.rglob("*")):
            if path.is_file():
                inside = path.name if path == top else path.relative_to(top).as_posix()
                mode = 0o755 if path.stat().st_mode & 0o111 else 0o644
                yield f"{target}/{inside}", path.read_bytes().replace(packaged, own), mode


def script(place: Place, door: str) -> bytes:
    """Return a program in Python that finds the package."""
    return launchers.script(door=door, python=place.python, path=place.library).encode()


def launcher(place: Place) -> bytes:
    """Return this machine's launcher, or where there is none the program in Python itself."""
    try:
        return launchers.load(name_of(os.uname().machine))
    except OptionError:
        return script(place, "kexec")


def adapted(place: Place, path: Path) -> bytes:
    """Return a text with the programs where they are."""
    return path.read_bytes().replace(PACKAGED.encode(), place.library.encode())


class Installation:
    """What is being installed, with what was there before."""

    def __init__(self, place: Place) -> None:
        """Read the record of an installation that is there."""
        self.place = place
        self.path = place.real(place.below(RECORD))
        self.before = read_record(self.path)
        self.record = Record(links=self.before.links, renamed=self.before.renamed)
        self.record.diverted = self.before.diverted
        self.record.directories = list(self.before.directories)

    def check_free(self, paths: list[str]) -> None:
        """Refuse to write over what is somebody else's."""
        own = {*self.before.files}
        taken = [path for path in paths if path not in own and self.place.real(path).exists()]
        if taken:
            more = f" and {len(taken) - 1} more" if taken[1:] else ""
            raise InstallError(
                f"{taken[0]}{more} is there already, and not of this installation\n"
                "hint: take another PREFIX, or remove the package that has it"
            )

    def write(self, path: str, data: bytes, mode: int) -> None:
        """Write a file in one step, with the directories above it."""
        target = self.place.real(path)
        self._make_directories(Path(path).parent)
        partial = target.with_name(f".{target.name}.new")
        partial.write_bytes(data)
        partial.chmod(mode)
        partial.rename(target)
        self.record.files.append(path)

    def _make_directories(self, directory: Path) -> None:
        missing = []
        while not self.place.real(str(directory)).is_dir():
            missing.append(directory)
            directory = directory.parent
        for path in reversed(missing):
            self.place.real(str(path)).mkdir(mode=0o755)
            self.record.directories.append(str(path))

    def write_settings(self) -> None:
        """Write the configuration that is not there, and new text where nobody has changed it."""
        for source in SETTINGS:
            path = f"/etc/pykexec/{Path(source).name}"
            target, data = self.place.real(path), adapted(self.place, PROJECT / source)
            if not target.exists() or digest(target) == self.before.settings.get(path):
                self.write(path, data, 0o644)
                self.record.files.remove(path)
                self.record.settings[path] = hashlib.sha256(data).hexdigest()
            elif path in self.before.settings:
                self.record.settings[path] = self.before.settings[path]

    def compile(self) -> None:
        """Write byte code, and note it."""
        package = self.place.real(f"{self.place.library}/pykexec")
        words = [self.place.python, "-m", "compileall", "-q", str(package)]
        if self.place.destdir:
            words[4:4] = ["-s", self.place.destdir, "-p", "/"]
        subprocess.run(words, check=True)
        for path in sorted(package.rglob("__pycache__")):
            installed = str(path).removeprefix(self.place.destdir)
            if installed not in self.record.directories:
                self.record.directories.append(installed)
            for file in sorted(path.iterdir()):
                self.record.files.append(f"{installed}/{file.name}")

    def remove_stale(self) -> None:
        """Remove what a former version had and this one has not."""
        for path in set(self.before.files) - set(self.record.files):
            self.place.real(path).unlink(missing_ok=True)

    def write_record(self) -> None:
        """Write down what there is."""
        value = {name: getattr(self.record, name) for name in Record.__dataclass_fields__}
        self.path.write_text(json.dumps(value, indent=1) + "\n")


def read_record(path: Path) -> Record:
    """Return what was installed; nothing where there is no record."""
    if not path.exists():
        return Record()
    value: dict[str, Any] = json.loads(path.read_text())
    return Record(**value)


def digest(path: Path) -> str:
    """Return the SHA-256 of a file."""
    return hashlib.sha256(path.read_bytes()).hexdigest()


def check_libraries(place: Place) -> None:
    """Refuse where the Python that is to run it lacks a library; packages name them themselves."""
    probe = "import importlib.util, sys; print(*(n for n in sys.argv[1:]" + (
        " if importlib.util.find_spec(n) is None))"
    )
    words = [place.python, "-I", "-c", probe, *LIBRARIES]
    done = subprocess.run(words, capture_output=True, text=True, check=False)
    if done.returncode != 0:
        raise InstallError(f"{place.python} does not run: {done.stderr.strip()}")
    missing = done.stdout.split()
    if missing:
        packages = " ".join(LIBRARIES[name] for name in missing)
        raise InstallError(
            f"{place.python} cannot import {', '.join(missing)}\n"
            f"hint: install the distribution's packages, on Debian: apt install {packages}"
        )


def called_paths() -> list[Path]:
    """Return the files that others call kexec by: two only where /sbin is no link."""
    parents = {os.path.realpath(os.path.dirname(path)) for path in CALLED}
    return sorted(Path(parent) / "kexec" for parent in parents if os.path.isdir(parent))


def put_aside(record: Record, paths: list[str]) -> None:
    """Put what is called kexec aside, once."""
    if shutil.which("dpkg-divert"):
        divert_by_dpkg(record)
        return
    for path in paths:
        if os.path.lexists(path) and path not in (*record.links, *record.renamed):
            os.rename(path, path + ASIDE)
            record.renamed.append(path)


def lead_to(place: Place, record: Record) -> None:
    """Let what others call be the launcher below the prefix."""
    target = place.below("sbin/kexec")
    ours = os.path.realpath(os.path.dirname(target)) + "/kexec"
    paths = [path for path in map(str, called_paths()) if path != ours]
    if paths:
        put_aside(record, paths)
    for path in paths:
        if path not in record.links:
            os.symlink(target, path)
            record.links.append(path)


def divert_by_dpkg(record: Record) -> None:
    """Have dpkg put a package's kexec aside, now and at each update of it.

    By both names, whichever the package uses (DEP 17, mitigation M18); the file is one, and is
    renamed once.
    """
    rename = "--rename"
    for path in CALLED:
        if path not in record.diverted:
            words = ["dpkg-divert", "--local", rename, "--divert", path + ASIDE, "--add", path]
            subprocess.run(words, check=True, stdout=subprocess.DEVNULL)
            record.diverted.append(path)
        if os.path.realpath("/sbin") == os.path.realpath("/usr/sbin"):
            rename = "--no-rename"


def check_called(place: Place, record: Record) -> None:
    """Refuse where somebody else has put kexec aside already, or a package of pykexec's is here."""
    if record.links or record.diverted or not shutil.which("dpkg-divert"):
        return
    for path in CALLED:
        words = ["dpkg-divert", "--list", path]
        found = subprocess.run(words, capture_output=True, text=True, check=True).stdout.strip()
        if found:
            raise InstallError(f"{path} is diverted already: {found}")
    done = subprocess.run(
        ["dpkg-query", "--search", place.below("sbin/kexec"), "/usr/sbin/kexec"],
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    owners = {line.partition(":")[0] for line in done.stdout.splitlines()}
    if any(owner.startswith("pykexec") for owner in owners):
        raise InstallError(
            f"the package {' '.join(sorted(owners))} is installed, which has kexec already\n"
            "hint: remove it first, or use it"
        )


def install(place: Place) -> None:
    """Install everything."""
    if place.destdir:
        os.makedirs(place.destdir, exist_ok=True)
    installation = Installation(place)
    if not place.destdir:
        check_libraries(place)
        check_called(place, installation.before)
    files = list(contents(place))
    installation.check_free([path for path, _, _ in files])
    try:
        for path, data, mode in files:
            installation.write(path, data, mode)
        installation.write_settings()
        installation.compile()
        if not place.destdir:
            lead_to(place, installation.record)
        installation.remove_stale()
    finally:
        if installation.path.parent.is_dir():
            installation.write_record()


def uninstall(place: Place) -> None:
    """Take away what the record has, and put back what was put aside."""
    path = place.real(place.below(RECORD))
    record = read_record(path)
    if not record.files:
        raise InstallError(f"nothing is installed below {place.prefix}: there is no {path}")
    if not place.destdir and shutil.which("systemctl"):
        units = [Path(file).name for file in record.files if "/systemd/system/" in file]
        subprocess.run(["systemctl", "disable", *units], capture_output=True, check=False)
    for name in (*record.links, *(place.destdir + file for file in record.files)):
        Path(name).unlink(missing_ok=True)
    for name in record.diverted:
        both = os.path.realpath("/sbin") == os.path.realpath("/usr/sbin")
        rename = "--no-rename" if both and name != CALLED[0] else "--rename"
        words = ["dpkg-divert", "--local", rename, "--remove", name]
        subprocess.run(words, check=True, stdout=subprocess.DEVNULL)
    for name in record.renamed:
        Path(f"{name}{ASIDE}").rename(name)
    for name, known in record.settings.items():
        file = place.real(name)
        if file.exists() and digest(file) == known:
            file.unlink()
        elif file.exists():
            print(f"kept, because it was changed: {file}")
    path.unlink()
    for name in reversed(record.directories):
        directory = place.real(name)
        if directory.is_dir() and not any(directory.iterdir()):
            directory.rmdir()


def main(arguments: list[str]) -> int:
    """Run the command line; return 0, or 1 where it cannot be done."""
    parser = argparse.ArgumentParser(description="Install pykexec for a whole system.")
    parser.add_argument("--prefix", default="/usr/local", metavar="DIR", help="%(default)s")
    parser.add_argument("--destdir", default="", metavar="DIR", help="for building packages")
    parser.add_argument("--python", default="/usr/bin/python3", metavar="PROGRAM")
    parser.add_argument("--uninstall", action="store_true", help="take it away again")
    options = parser.parse_args(arguments)
    place = Place(os.path.normpath(options.prefix), options.destdir.rstrip("/"), options.python)
    try:
        if not place.prefix.startswith("/"):
            raise InstallError(f"PREFIX has to be an absolute path, not {place.prefix}")
        uninstall(place) if options.uninstall else install(place)
    except (InstallError, PykexecError, OSError, subprocess.CalledProcessError) as error:
        print(f"install: {error}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
