"""Build the Debian packages: ``python -m tools.debian_packages [SUITE]``, into build/deb/SUITE.

The sdist is the upstream source; debian/ of the tree is added to it and built by
dpkg-buildpackage, in a root of the suite that has what debian/control names and nothing else.
lintian of the suite looks at the result. Roots and packages are kept in the cache, below deb/.
"""

from __future__ import annotations

import argparse
import hashlib
import os
import re
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from email.utils import formatdate
from pathlib import Path

from tests.vm.debian import FetchError, cache_dir, locked, parse_stanza
from tools.distributions import PROJECT, build_project, copy_tree, tracked
from tools.roots import (
    PACKAGES,
    SUITES,
    Bind,
    Host,
    RootError,
    bootstrap,
    configure,
    entering,
    environment,
    remove,
    run,
    this_host,
)

DEBIAN = PROJECT / "debian"
BUILDER = "65534"
"""User and group that build; nobody, who can change nothing of the root."""

LINTIAN = ("--fail-on", "error,warning", "--tag-display-limit", "0")
INSTALL = ("apt-get", "install", "--yes", "-qq", "--no-install-recommends")


class PackagingError(Exception):
    """A package is not built, or not as it has to be; the message says why."""


@dataclass(frozen=True, slots=True)
class Root:
    """A root of a suite that commands are run in."""

    suite: str
    path: Path
    host: Host
    binds: tuple[Bind, ...] = ()

    def run(self, *command: str, directory: str = "/", log: Path | None = None) -> str:
        """Run a command as root; returns what it printed, which is added to ``log``.

        Raises :class:`PackagingError` when it fails.
        """
        code, said = self.attempt(*command, directory=directory, log=log)
        if code != 0:
            last = "\n".join(said.splitlines()[-15:])
            where = f"; see {log}" if log else ""
            raise PackagingError(f"{self.suite}: {command[0]} failed{where}:\n{last}")
        return said

    def attempt(
        self, *command: str, directory: str = "/", log: Path | None = None
    ) -> tuple[int, str]:
        """Run a command as root; returns its exit code, and what it printed, errors too."""
        kept = Bind(packages_of(self.suite), PACKAGES, "rw")
        words = entering(self.path, directory, self.host, (kept, *self.binds), command)
        settings = {"DEBIAN_FRONTEND": "noninteractive", "LC_ALL": "C.UTF-8"}
        with log.open("a+b") if log else tempfile.TemporaryFile() as out:
            begin = out.seek(0, os.SEEK_END)
            done = subprocess.run(
                words,
                env={**environment(self.host), **settings},
                stdin=subprocess.DEVNULL,
                stdout=out,
                stderr=out,
                check=False,
            )
            out.seek(begin)
            return done.returncode, out.read().decode(errors="replace")

    def seeing(self, source: Path, target: str, mode: str = "rw") -> Root:
        """Return this root with a directory of the host in it."""
        (self.path / target[1:]).mkdir(parents=True, exist_ok=True)
        return replace(self, binds=(*self.binds, Bind(source, target, mode)))


def place_of(suite: str) -> Path:
    """Return where what is kept of a suite lies."""
    return cache_dir() / "deb" / suite


def packages_of(suite: str) -> Path:
    """Return where a suite's downloaded packages lie."""
    packages = place_of(suite) / "packages"
    (packages / "partial").mkdir(parents=True, exist_ok=True)
    return packages


def copied_root(suite: str, name: str, host: Host, original: Path) -> Root:
    """Return a root that is a copy of ``original``, in the place of one of that name."""
    path = place_of(suite) / name
    remove(path)
    run("cp", "-a", "--reflink=auto", str(original), str(path))
    return Root(suite, path, host)


def prepared_root(suite: str, name: str, host: Host, packages: Iterable[str]) -> Root:
    """Return a root with ``packages``, names or relations; made if there is none with them.

    The version of each is the one that the archive had when the root was made.
    """
    wanted = sorted(packages)
    base = bootstrap(suite, place_of(suite))
    key = hashlib.sha256(repr((wanted, base.stat().st_mtime_ns)).encode()).hexdigest()
    stamp = place_of(suite) / f"{name}.key"
    path = place_of(suite) / name
    if stamp.exists() and stamp.read_text() == key and path.is_dir():
        return Root(suite, path, host)
    stamp.unlink(missing_ok=True)
    root = copied_root(suite, name, host, base)
    configure(root.path, suite, host)
    # Nothing here has to outlive a power cut.
    (root.path / "etc/dpkg/dpkg.cfg.d/unsafe-io").write_text("force-unsafe-io\n")
    log = place_of(suite) / f"{name}.log"
    log.unlink(missing_ok=True)
    root.run("apt-get", "update", "-q", log=log)
    root.run("apt-get", "satisfy", *INSTALL[2:], *wanted, log=log)
    stamp.write_text(key)
    return root


def build_depends() -> list[str]:
    """Return what debian/control wants for a build, one relation each."""
    source = parse_stanza((DEBIAN / "control").read_text().partition("\n\n")[0])
    relations = (item.strip() for item in source["Build-Depends"].split(","))
    return ["build-essential", *(relation for relation in relations if relation)]


def upstream_version() -> str:
    """Return the version that debian/changelog packages."""
    return changelog_version().rpartition("-")[0]


def changelog_version() -> str:
    """Return the version of debian/changelog's first entry."""
    match = re.match(r"pykexec \(([^)]+)\) ", (DEBIAN / "changelog").read_text())
    if match is None:
        raise PackagingError("debian/changelog does not begin with an entry of pykexec")
    return match[1]


def suite_version(base: Path) -> str:
    """Return the version of the packages for a suite, of which ``base`` is a root.

    That of the changelog in a suite without a number; before it, in their order, those of the
    released ones: an upgrade of Debian upgrades the packages.
    """
    release = (base / "etc/debian_version").read_text().partition(".")[0].strip()
    return changelog_version() + (f"~deb{release}" if release.isdigit() else "")


def changelog(version: str, suite: str) -> str:
    """Return debian/changelog with an entry for ``version`` on top, if that has none.

    Dated by the last commit, like all that is built.
    """
    text = (DEBIAN / "changelog").read_text()
    if version == changelog_version():
        return text
    seconds = subprocess.run(
        ["git", "-C", str(PROJECT), "log", "-1", "--format=%ct"],
        capture_output=True,
        text=True,
        check=True,
    )
    source = parse_stanza((DEBIAN / "control").read_text().partition("\n\n")[0])
    entry = (
        f"pykexec ({version}) {suite}; urgency=medium\n\n  * Build for {suite}.\n\n"
        f" -- {source['Maintainer']}  {formatdate(int(seconds.stdout))}\n\n"
    )
    return entry + text


def write_source(directory: Path, version: str, suite: str) -> Path:
    """Write the upstream tarball and beside it the tree to build from; returns the latter."""
    (sdist,) = build_project(directory, ["sdist"])
    upstream = upstream_version()
    if sdist.name != f"pykexec-{upstream}.tar.gz":
        raise PackagingError(f"debian/changelog is about {upstream}, the sdist is {sdist.name}")
    sdist.rename(directory / f"pykexec_{upstream}.orig.tar.gz")
    run("tar", "-xzf", str(directory / f"pykexec_{upstream}.orig.tar.gz"), "-C", str(directory))
    tree = directory / f"pykexec-{upstream}"
    copy_tree((name for name in tracked() if name.startswith("debian/")), tree)
    (tree / "debian/changelog").write_text(changelog(version, suite))
    return tree


def build(suite: str, out: Path, *, version: str | None = None) -> list[Path]:
    """Build into the directory ``out``, which is emptied before; returns the files.

    ``version`` replaces that of :func:`suite_version`. Raises :class:`PackagingError`.
    """
    host = this_host()
    root = prepared_root(suite, "build", host, build_depends())
    shutil.rmtree(out, ignore_errors=True)
    out.mkdir(parents=True)
    log = out / "build.log"
    with tempfile.TemporaryDirectory() as directory:
        work = Path(directory)
        tree = write_source(work, version or suite_version(root.path), suite)
        # Whatever the umask here is.
        run("chmod", "-R", "a+rX,u+w", directory)
        run("chown", "-R", f"{BUILDER}:{BUILDER}", directory)
        seen = root.seeing(work, "/build")
        words = ["setpriv", f"--reuid={BUILDER}", f"--regid={BUILDER}", "--clear-groups"]
        words += [
            "env",
            "HOME=/nonexistent",
            "dpkg-buildpackage",
            "--no-sign",
            "--build=full",
            "-sa",
        ]
        seen.run(*words, directory=f"/build/{tree.name}", log=log)
        for path in sorted(work.iterdir()):
            if path.is_file():
                shutil.copy(path, out)
    return sorted(path for path in out.iterdir() if path != log)


def check(suite: str, out: Path) -> str:
    """Return what the suite's lintian says of what :func:`build` made; errors and warnings raise.

    debian/*.lintian-overrides have those that are meant to be so, each with its reason.
    """
    root = prepared_root(suite, "check", this_host(), ["lintian"]).seeing(out, "/out", "ro")
    (changes,) = (path.name for path in out.glob("*.changes"))
    found = root.run("lintian", *LINTIAN, "--allow-root", f"/out/{changes}", directory="/out")
    (out / "lintian.txt").write_text(found)
    return found


def default_suite(release: Mapping[str, str]) -> str:
    """Return the suite of a host by its os-release(5), testing where that is none of ours."""
    name = release.get("VERSION_CODENAME", "")
    return name if name in SUITES else "testing"


def os_release() -> dict[str, str]:
    """Return this host's os-release(5)."""
    try:
        lines = Path("/etc/os-release").read_text().splitlines()
    except OSError:
        return {}
    pairs = (line.partition("=") for line in lines if "=" in line)
    return {name: value.strip("\"'") for name, _, value in pairs}


def main(words: Sequence[str]) -> int:
    """Build, and look at the result; returns the exit code."""
    parser = argparse.ArgumentParser(description="Build pykexec's Debian packages.")
    parser.add_argument("suites", nargs="*", metavar="SUITE", help=", ".join(SUITES))
    arguments = parser.parse_args(words)
    if os.geteuid() != 0:
        print("deb: only root can make and enter a root directory", file=sys.stderr)
        return 1
    try:
        for suite in arguments.suites or [default_suite(os_release())]:
            out = PROJECT / "build/deb" / suite
            print(f"deb: {suite}: building, log {out / 'build.log'}", flush=True)
            with locked(place_of(suite) / "lock"):
                files = build(suite, out)
                print(check(suite, out), end="")
            for path in files:
                print(path)
    except (PackagingError, RootError, FetchError) as error:
        print(f"deb: {error}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
