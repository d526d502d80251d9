"""The packages are built in a clean root, and come and go without a trace.

For the suite of this host, or those that $PYKEXEC_DEB_SUITES names, as ``make deb-check`` does.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.needs import need_root
from tests.vm.debian import locked, parse_stanza
from tools.debian_packages import (
    Root,
    build,
    check,
    default_suite,
    fresh_root,
    os_release,
    place_of,
    suite_version,
)
from tools.distributions import PROJECT
from tools.roots import this_host

pytestmark = pytest.mark.full

SUITES = os.environ.get("PYKEXEC_DEB_SUITES", default_suite(os_release())).split()
INSTALL = ("apt-get", "install", "--yes", "-qq", "--no-install-recommends")

CHANGING = re.compile(
    r"/(proc|sys|dev|tmp|run|pristine-host|packages|older)(/|$)|/var/(cache|log|lib/apt)(/|$)"
    r"|/var/lib/dpkg/(lock|triggers|status-old|available-old|diversions-old|statoverride-old)"
    r"|/var/lib/systemd/deb-systemd-helper-(enabled|masked)$|/etc/ld\.so\.cache$"
)
"""What is not a package's, and whatever packages leave of themselves in apt's and dpkg's logs."""

STATE = ("/var/lib/dpkg/info/", "/var/lib/systemd/deb-systemd-helper-")
"""Where dpkg and its helpers remember a package until it is purged."""


@dataclass(frozen=True, slots=True)
class Built:
    """The packages of a suite, and others of a lower version from the same tree."""

    suite: str
    newer: Path
    older: Path


@pytest.fixture(scope="module", params=SUITES)
def built(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Built]:
    """Build for a suite, twice."""
    need_root("making a root of a suite")
    suite = request.param
    directory = tmp_path_factory.mktemp(suite)
    with locked(place_of(suite) / "lock"):
        newer = directory / "newer"
        build(suite, newer)
        version = suite_version(place_of(suite) / "base")
        build(suite, directory / "older", version=f"{version}~0")
        yield Built(suite, newer, directory / "older")


def test_the_suites_lintian_has_nothing_to_say(built: Built) -> None:
    assert check(built.suite, built.newer) == ""


def test_built_again_they_are_the_same(built: Built, tmp_path: Path) -> None:
    build(built.suite, tmp_path / "again")
    packages = sorted(built.newer.glob("*.deb"))
    assert packages
    for package in packages:
        assert package.read_bytes() == (tmp_path / "again" / package.name).read_bytes()


def test_what_runs_between_kernels_is_built_there(built: Built) -> None:
    log = (built.newer / "build.log").read_text()
    assert "purgatory/build.py --out" in log
    assert "smoke check:" in log


class Machine:
    """A root in which packages are installed, as apt does it from an archive."""

    def __init__(self, root: Root, built: Built) -> None:
        """Without any package of ours."""
        self.root = root.seeing(built.newer, "/packages", "ro").seeing(built.older, "/older", "ro")
        self.root.run("apt-get", "update", "-q")

    def install(self, *packages: str, older: bool = False) -> str:
        """Install by apt: packages of the archive, and of ours by their names."""
        directory = "/older" if older else "/packages"
        words = []
        for package in packages:
            found = sorted((self.root.path / directory[1:]).glob("*"))
            assert not found, "seen only inside"
            words.append(
                f"{directory}/{package}_*.deb" if package.startswith("pykexec") else package
            )
        return self.root.run("sh", "-c", f"{' '.join(INSTALL)} {' '.join(words)}")

    def take_away(self, *packages: str, purge: bool = False) -> str:
        """Remove packages, and nothing that came with them."""
        return self.root.run("apt-get", "purge" if purge else "remove", "--yes", "-qq", *packages)

    def files(self) -> set[str]:
        """Return every path of the root, links with their targets, but what always changes."""
        found = set()
        for directory, directories, names in os.walk(self.root.path):
            for name in (*directories, *names):
                path = Path(directory) / name
                inside = f"/{path.relative_to(self.root.path)}"
                if not CHANGING.match(inside):
                    found.add(f"{inside} -> {path.readlink()}" if path.is_symlink() else inside)
        return found

    def status(self, package: str) -> str:
        """Return dpkg's three letters, empty for a package that it knows nothing of."""
        words = ("dpkg-query", "--show", "--showformat=${db:Status-Abbrev}", package)
        code, said = self.root.attempt(*words)
        return said.strip() if code == 0 else ""


@pytest.fixture
def machine(built: Built) -> Machine:
    return Machine(fresh_root(built.suite, "machine", this_host()), built)


DEPENDENCIES = ("python3-click", "python3-construct", "python3-cffi-backend", "python3-pyelftools")


def test_it_comes_and_goes_without_a_trace(machine: Machine) -> None:
    """Installed, upgraded, removed, installed again, purged."""
    machine.install(*DEPENDENCIES, "init-system-helpers")
    before = machine.files()
    machine.install("pykexec", older=True)
    assert machine.status("pykexec") == "ii"
    conf = machine.root.path / "etc/pykexec/kdump.conf"
    assert conf.exists()
    assert (machine.root.path / "usr/lib/python3/dist-packages/pykexec/__pycache__").is_dir()

    said = machine.install("pykexec")
    assert "Configuration file" not in said
    machine.root.run("pykexec", "--version")
    machine.root.run("/usr/lib/pykexec/kexec", "--version")
    kept = {f"/etc/pykexec/{path.name}" for path in conf.parent.iterdir()} | {"/etc/pykexec"}

    conf.write_text(conf.read_text() + "# mine\n")
    machine.take_away("pykexec")
    left = machine.files() - before
    assert {path for path in left if not path.startswith(STATE)} == kept
    machine.install("pykexec")
    assert conf.read_text().endswith("# mine\n")
    machine.take_away("pykexec", purge=True)
    assert machine.files() == before


def test_it_takes_the_place_of_kexec_tools_and_gives_it_back(machine: Machine) -> None:
    """kdump-tools, which depends on kexec-tools, stays installed all the time."""
    machine.install(*DEPENDENCIES, "kexec-tools", "kdump-tools")
    before = machine.files()
    assert machine.status("kexec-tools") == "ii"
    machine.install("pykexec", "pykexec-kexec")
    assert machine.status("kdump-tools") == "ii"
    assert machine.status("kexec-tools") in ("rc", "")
    assert "pykexec" in machine.root.run("/usr/sbin/kexec", "--version")
    assert "pykexec" in machine.root.run("vmcore-dmesg", "--version")
    machine.root.run("apt-get", "check")

    # Back, in one step: kdump-tools never lacks what it depends on.
    machine.root.run(*INSTALL, "kexec-tools", "pykexec-kexec-")
    assert machine.status("kdump-tools") == "ii"
    machine.take_away("pykexec", "pykexec-kexec", purge=True)
    assert machine.files() == before
    assert "pykexec" not in machine.root.run("/sbin/kexec", "--version")


def test_nothing_is_enabled_or_started(machine: Machine) -> None:
    machine.install("systemd", "udev", "pykexec")
    root = machine.root.path
    units = {path.name for path in root.glob("*/systemd/system/pykexec-*")}
    units |= {path.name for path in root.glob("usr/lib/systemd/system/pykexec-*")}
    assert units == {path.name for path in (PROJECT / "contrib/systemd").iterdir()}
    assert not list(root.glob("etc/systemd/system/**/pykexec-*"))
    for unit in sorted(units):
        _, state = machine.root.attempt("systemctl", "--root=/", "is-enabled", unit)
        assert state.strip() in ("disabled", "static"), unit


def test_the_superficial_autopkgtests_pass(machine: Machine) -> None:
    stanzas = [
        parse_stanza(text) for text in (PROJECT / "debian/tests/control").read_text().split("\n\n")
    ]
    superficial = [stanza["Tests"] for stanza in stanzas if "superficial" in stanza["Restrictions"]]
    assert len(superficial) == 2
    machine.install("pykexec", "pykexec-kexec")
    seen = machine.root.seeing(PROJECT, "/source", "ro")
    for name in superficial:
        seen.run(f"debian/tests/{name}", directory="/source")


def test_another_package_may_depend_on_the_library(machine: Machine) -> None:
    machine.install("pykexec")
    machine.root.run("apt-get", "satisfy", "--yes", "-qq", "python3-pykexec (>= 0.1)")
    machine.root.run("python3", "-c", "import pykexec; pykexec.LoadRequest")
