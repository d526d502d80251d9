"""Debian packages of any suite and architecture, unpacked into the cache.

Nothing is installed and /etc is only read: the archive's address is taken from the
configured apt source, and apt runs on private lists. Works as root and as a user.
"""

from __future__ import annotations

import fcntl
import json
import os
import re
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

WEEK = 7 * 24 * 3600
"""Seconds for which a resolved version is believed without asking the archive."""

ATTEMPTS = 3
KERNEL_SUITES = {"6.1": "bookworm", "6.12": "trixie", "7.2": "sid"}
SUITES_OF = {("6.12", "ppc64el"): "bookworm-backports"}
"""Where another suite has a series of one architecture, and keeps it longer."""
META_PACKAGES = {
    "cloud": "linux-image-cloud-{arch}",
    "generic": "linux-image-{arch}",
    "64k": "linux-image-{arch}-64k",
    "lpae": "linux-image-{arch}-lpae",
    "686": "linux-image-686",
    "686-pae": "linux-image-686-pae",
}
CLOUD_ARCHITECTURES = ("amd64", "arm64")
KERNEL_NAMES = {"ppc64el": "powerpc64le", "armhf": "armmp"}
"""What kernel packages are named after where that is not the architecture."""
KEYRING = Path("/usr/share/keyrings/debian-archive-keyring.gpg")


class FetchError(Exception):
    """A package cannot be had; the message says which and why."""


@dataclass(frozen=True, slots=True)
class Source:
    """Where the Debian archive is, as apt is configured on this host."""

    uri: str
    signed_by: str | None


@dataclass(frozen=True, slots=True)
class Package:
    """A Debian package, unpacked below ``root``."""

    name: str
    version: str
    depends: tuple[str, ...]
    """Names only, of each alternative the first."""
    root: Path

    def below_usr(self, name: str) -> Path:
        """Return where a file below /usr is; old packages have bin, lib and sbin beside it."""
        old = self.root / name
        return old if old.exists() else self.root / "usr" / name


@dataclass(frozen=True, slots=True)
class Kernel:
    """A Debian kernel on the host's disk."""

    key: str
    """The series asked for, such as ``6.12``."""
    release: str
    """What ``uname -r`` says when it runs."""
    version: str
    """Of the package."""
    image: Path
    config: Path
    modules: Path


def cache_dir() -> Path:
    """Return the directory for everything downloaded or built, outside the repository."""
    own = os.environ.get("PYKEXEC_CACHE")
    if own:
        return Path(own)
    base = os.environ.get("XDG_CACHE_HOME")
    return (Path(base) if base else Path.home() / ".cache") / "pykexec"


@contextmanager
def locked(path: Path) -> Iterator[None]:
    """Hold an exclusive lock on ``path``, waiting for it as long as it takes."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("a") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield


def parse_sources(text: str, *, deb822: bool) -> list[Source]:
    """Return the binary package sources of one apt configuration file."""
    return list(_parse_deb822(text) if deb822 else _parse_one_line(text))


def _parse_deb822(text: str) -> Iterator[Source]:
    for stanza in re.split(r"\n[ \t]*\n", text):
        fields = parse_stanza(stanza)
        if "deb" not in fields.get("Types", "").split() or fields.get("Enabled") == "no":
            continue
        signed_by = fields.get("Signed-By", "").strip()
        # An embedded key spans lines and cannot be named in a one-line list.
        usable = signed_by if signed_by.startswith("/") and "\n" not in signed_by else None
        for uri in fields.get("URIs", "").split():
            yield Source(uri, usable)


def _parse_one_line(text: str) -> Iterator[Source]:
    for line in text.splitlines():
        match = re.match(r"\s*deb\s+(?:\[(?P<options>[^]]*)\]\s*)?(?P<uri>\S+)\s+\S+", line)
        if match:
            signed_by = re.search(r"signed-by=(/\S+)", match["options"] or "")
            yield Source(match["uri"], signed_by[1] if signed_by else None)


def parse_stanza(text: str) -> dict[str, str]:
    """Return the fields of one deb822 paragraph; comments are left out."""
    fields: dict[str, str] = {}
    name = ""
    for line in text.splitlines():
        if line.startswith("#"):
            continue
        if line[:1] in (" ", "\t"):
            fields[name] += "\n" + line.strip()
        elif ":" in line:
            name, _, value = line.partition(":")
            fields[name] = value.strip()
    return fields


def choose_archive(sources: Iterable[Source]) -> Source | None:
    """Return the source of the main Debian archive, if there is one among ``sources``."""
    main = re.compile(r"(/debian/?|/debian\.list)$")
    return next((source for source in sources if main.search(source.uri)), None)


def configured_sources() -> list[Source]:
    """Return the sources of binary packages that apt is configured with on this host."""
    etc = Path("/etc/apt")
    files = [etc / "sources.list", *sorted((etc / "sources.list.d").glob("*"))]
    found: list[Source] = []
    for file in files:
        if file.is_file() and file.suffix in (".list", ".sources"):
            found += parse_sources(file.read_text(), deb822=file.suffix == ".sources")
    return found


def configured_archive() -> Source:
    """Return the main Debian archive as apt is configured, or $PYKEXEC_DEBIAN_URI."""
    keyring = str(KEYRING) if KEYRING.exists() else None
    own = os.environ.get("PYKEXEC_DEBIAN_URI")
    if own:
        return Source(own, keyring)
    source = choose_archive(configured_sources())
    if source is None:
        raise FetchError(
            "no apt source below /etc/apt has an address that ends in /debian; "
            "set PYKEXEC_DEBIAN_URI to that of a Debian mirror"
        )
    return Source(source.uri, source.signed_by or keyring)


def parse_depends(field: str) -> tuple[str, ...]:
    """Return the package names of a Depends field, of each alternative the first."""
    names = (re.match(r"\s*([a-z0-9][a-z0-9+.-]*)", item) for item in field.split(","))
    return tuple(name[1] for name in names if name)


class Suite:
    """The packages of one Debian suite and architecture."""

    def __init__(self, name: str, arch: str = "amd64") -> None:
        """``name`` is a suite such as ``bookworm``, ``arch`` Debian's name of one."""
        self.name = name
        self.arch = arch
        self._cache = cache_dir() / "debian"
        self._apt_dir = self._cache / "apt" / f"{name}-{arch}"
        self._resolved_file = self._apt_dir / "resolved.json"
        self._updated = False

    def package(self, name: str) -> Package:
        """Return a package, downloaded and unpacked unless the cache has it.

        Asks the archive when what is known about the package is older than a week; when
        that fails, an older answer will do.
        """
        with locked(self._apt_dir / "lock"):
            known = self._resolved(name)
            fresh = known is not None and time.time() - known[1] < WEEK
            if known is not None and fresh and known[0].root.is_dir():
                return known[0]
            try:
                return self._fetch(name)
            except FetchError as error:
                if known is None or not known[0].root.is_dir():
                    raise
                print(f"using the cached {name} {known[0].version}: {error}", file=sys.stderr)
                return known[0]

    def _root(self, name: str, version: str) -> Path:
        return self._cache / "unpacked" / self.arch / f"{name}_{version}"

    def _resolved(self, name: str) -> tuple[Package, float] | None:
        try:
            entry = json.loads(self._resolved_file.read_text())[name]
        except (FileNotFoundError, KeyError):
            return None
        version = str(entry["version"])
        root = self._root(name, version)
        return Package(name, version, tuple(entry["depends"]), root), float(entry["time"])

    def _remember(self, package: Package) -> None:
        known = {}
        if self._resolved_file.exists():
            known = json.loads(self._resolved_file.read_text())
        known[package.name] = {
            "version": package.version,
            "depends": package.depends,
            "time": time.time(),
        }
        partial = self._resolved_file.with_suffix(".new")
        partial.write_text(json.dumps(known, indent=1))
        partial.rename(self._resolved_file)

    def _fetch(self, name: str) -> Package:
        self._update()
        shown = self._run("apt-cache", "show", name, what=f"find {name} in {self.name}")
        fields = parse_stanza(shown.split("\n\n", maxsplit=1)[0])
        if "Version" not in fields:
            raise FetchError(f"the suite {self.name} has no package {name} for {self.arch}")
        depends = ",".join(filter(None, (fields.get("Pre-Depends"), fields.get("Depends"))))
        version = fields["Version"]
        root = self._root(name, version)
        package = Package(name, version, parse_depends(depends), root)
        if not root.is_dir():
            self._download(package)
        self._remember(package)
        return package

    def _download(self, package: Package) -> None:
        """Download a package and unpack it; its directory appears at once and complete."""
        package.root.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=package.root.parent) as work:
            wanted = f"{package.name}={package.version}"
            self._run("apt-get", "download", wanted, what=f"download {wanted}", cwd=work)
            debs = list(Path(work).glob("*.deb"))
            if len(debs) != 1:
                raise FetchError(f"apt-get download {wanted} left {len(debs)} files, not one")
            tree = Path(work) / "tree"
            subprocess.run(["dpkg-deb", "-x", debs[0], tree], check=True)
            try:
                tree.rename(package.root)
            except OSError:
                # Somebody with whom only this part of the cache is shared was faster.
                if not package.root.is_dir():
                    raise

    def _update(self) -> None:
        if not self._updated:
            self._run("apt-get", "update", what=f"read the package lists of {self.name}")
            self._updated = True

    @cached_property
    def _options(self) -> list[str]:
        """Write the private configuration and return the options that make apt use it."""
        source = configured_archive()
        for needed in ("lists/partial", "cache/archives/partial"):
            (self._apt_dir / needed).mkdir(parents=True, exist_ok=True)
        # The packages installed on this host must not colour the answers.
        (self._apt_dir / "status").touch()
        signed = f" signed-by={source.signed_by}" if source.signed_by else ""
        sources = self._apt_dir / "sources.list"
        sources.write_text(f"deb [arch={self.arch}{signed}] {source.uri} {self.name} main\n")
        settings = {
            "Dir::Etc::sourcelist": sources,
            "Dir::Etc::sourceparts": "-",
            "Dir::State": self._apt_dir,
            "Dir::State::Lists": self._apt_dir / "lists",
            "Dir::State::status": self._apt_dir / "status",
            "Dir::Cache": self._apt_dir / "cache",
            "APT::Architecture": self.arch,
            "APT::Architectures": self.arch,
            # apt's own user may have no way into a private cache directory.
            "APT::Sandbox::User": "root",
            "APT::Get::List-Cleanup": "false",
            "Acquire::Languages": "none",
            "Acquire::Retries": ATTEMPTS,
        }
        return [word for key, value in settings.items() for word in ("-o", f"{key}={value}")]

    def _run(self, *command: str, what: str, cwd: str | None = None) -> str:
        """Run an apt command, again when it fails: mirrors are sometimes out of step."""
        if shutil.which(command[0]) is None:
            raise FetchError(f"cannot {what}: there is no {command[0]} on this host")
        words = [command[0], *self._options, *command[1:]]
        for attempt in range(ATTEMPTS):
            time.sleep(5 * attempt)
            done = subprocess.run(words, cwd=cwd, capture_output=True, text=True, check=False)
            if done.returncode == 0:
                return done.stdout
            if command[0] == "apt-cache":
                break
        complaint = [line for line in done.stderr.splitlines() if line.startswith(("E:", "W:"))]
        raise FetchError(f"cannot {what}: {' '.join(complaint) or done.stderr.strip()}")


def kernel(key: str, flavour: str = "cloud", arch: str = "amd64") -> Kernel:
    """Return the newest Debian kernel of a series, with the flavour ``cloud`` or ``generic``.

    Of an architecture that has no ``cloud`` kernels it is the generic one. The flavours
    ``686`` and ``686-pae`` are 32-bit kernels, of the architecture ``i386``; ``64k`` are those of
    ``ppc64el`` with larger pages, ``lpae`` those of ``armhf`` with physical addresses of 40 bits.

    The series are named in :data:`KERNEL_SUITES`; a suite may have moved on to a later one,
    which the release then shows.
    """
    suite = Suite(SUITES_OF.get((key, arch), KERNEL_SUITES[key]), arch)
    if flavour == "cloud" and arch not in CLOUD_ARCHITECTURES:
        flavour = "generic"
    meta = META_PACKAGES[flavour].format(arch=KERNEL_NAMES.get(arch, arch))
    names = suite.package(meta).depends
    packages: list[Package] = []
    # A kernel package is a meta package in newer suites: its files are one step further.
    while names:
        own = [name for name in names if re.match(r"linux-(image|binary|modules|base)-\d", name)]
        found = [suite.package(name) for name in own]
        packages += found
        names = tuple(name for package in found for name in package.depends)
    roots = tuple(dict.fromkeys(package.root for package in packages))
    if not roots:
        raise FetchError(f"{META_PACKAGES[flavour]} of {suite.name} depends on no kernel package")
    modules = _find_one(roots, ("lib/modules/*/kernel", "usr/lib/modules/*/kernel")).parent
    release = modules.name
    image_names = tuple(f"{name}-{release}" for name in ("boot/vmlinuz", "boot/vmlinux"))
    image = _find_one(roots, (*image_names, f"usr/lib/modules/{release}/vmlinu?"))
    places = (f"boot/config-{release}", f"usr/lib/modules/{release}/config")
    version = packages[0].version
    return Kernel(key, release, version, image, _find_one(roots, places), modules)


def _find_one(roots: Iterable[Path], patterns: Iterable[str]) -> Path:
    patterns = tuple(patterns)
    found = [path for root in roots for pattern in patterns for path in sorted(root.glob(pattern))]
    if not found:
        raise FetchError(f"no {' or '.join(patterns)} in {', '.join(r.name for r in roots)}")
    return found[0]
