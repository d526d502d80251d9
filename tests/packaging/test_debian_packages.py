"""The packages are built in a clean root, work there, and come and go without a trace.

For the suite of this host, or those that $PYKEXEC_DEB_SUITES names, as ``make deb-check`` does.
"""

from __future__ import annotations

import os
import re
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.builders.arm64 import build_image
from tests.builders.bzimage import build_bzimage
from tests.builders.linked_elf import build_linked
from tests.needs import need_root
from tests.vm.debian import locked, parse_stanza
from tools.debian_packages import (
    Root,
    build,
    check,
    copied_root,
    default_suite,
    os_release,
    place_of,
    prepared_root,
    suite_version,
)
from tools.distributions import PROJECT
from tools.roots import remove, this_host

pytestmark = pytest.mark.full

SUITES = os.environ.get("PYKEXEC_DEB_SUITES", default_suite(os_release())).split()
INSTALL = ("apt-get", "install", "--yes", "-qq", "--no-install-recommends")
OURS = ("pykexec", "pykexec-kexec", "pykexec-initramfs", "pykexec-dracut")

LIBRARIES = ("python3-click", "python3-construct", "python3-cffi-backend", "python3-pyelftools")
THERE = {
    "around": (*LIBRARIES, "dracut-core", "initramfs-tools-core", "systemd", "udev"),
    "kdump-tools": (*LIBRARIES, "kexec-tools", "kdump-tools"),
}
"""What is there before the packages, and after them: what they need, and what they are made for."""

CHANGING = re.compile(
    r"/(proc|sys|dev|tmp|run|pristine-host|packages|older)(/|$)|/var/(cache|log|lib/apt)(/|$)"
    r"|/var/lib/dpkg/(lock|triggers|status-old|available-old|diversions-old|statoverride-old)"
    r"|/var/lib/systemd/deb-systemd-helper-(enabled|masked)$|/etc/ld\.so\.cache$"
)
"""What is not a package's, and whatever packages leave of themselves in apt's and dpkg's logs."""

STATE = ("/var/lib/dpkg/info/", "/var/lib/systemd/deb-systemd-helper-")
"""Where dpkg and its helpers remember a package until it is purged."""


TESTBED = ("autopkgtest", *LIBRARIES, "linux-image-cloud-amd64", "qemu-system-x86")
"""What runs debian/tests, and what these ask for."""


COPIES = ("clean", "installed", "kdump", "testbed")
"""Roots that are there for one test or one suite only."""


@dataclass(frozen=True, slots=True)
class Built:
    """The packages of a suite, and the same under a lower version."""

    suite: str
    newer: Path
    older: Path


@pytest.fixture(scope="module", params=SUITES)
def built(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Built]:
    """Build for a suite."""
    need_root("making a root of a suite")
    suite = request.param
    directory = tmp_path_factory.mktemp(suite)
    newer, older = directory / "newer", directory / "older"
    with locked(place_of(suite) / "lock"):
        build(suite, newer)
        older.mkdir()
        for package in newer.glob("*.deb"):
            relabel(package, older, suite_version(place_of(suite) / "base"))
        yield Built(suite, newer, older)
        for name in COPIES:
            remove(place_of(suite) / name)


def relabel(package: Path, directory: Path, version: str) -> None:
    """Write a package with the same files into a directory, under a version below ``version``."""
    tree = directory / "tree"
    subprocess.run(["dpkg-deb", "--raw-extract", str(package), str(tree)], check=True)
    control = tree / "DEBIAN/control"
    control.write_text(control.read_text().replace(version, f"{version}~0"))
    subprocess.run(["dpkg-deb", "--build", str(tree), str(directory)], check=True)
    subprocess.run(["rm", "-r", str(tree)], check=True)


def test_the_suites_lintian_has_nothing_to_say(built: Built) -> None:
    assert check(built.suite, built.newer) == ""


# One suite shows it: the rules are the same for all.
@pytest.mark.parametrize("built", SUITES[:1], indirect=True)
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

    def __init__(self, built: Built, name: str, there: str) -> None:
        """Without any package of ours, and with those of THERE."""
        prepared = prepared_root(built.suite, there, this_host(), THERE[there])
        root = copied_root(built.suite, name, this_host(), prepared.path)
        self.root = root.seeing(built.newer, "/packages", "ro").seeing(built.older, "/older", "ro")

    def install(self, *packages: str, older: bool = False) -> str:
        """Install packages of ours, by apt."""
        directory = "/older" if older else "/packages"
        words = [f"{directory}/{package}_*.deb" for package in packages]
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


def test_they_come_and_go_without_a_trace(built: Built) -> None:
    """Installed, upgraded, removed, installed again, purged; all of them."""
    machine = Machine(built, "clean", "around")
    before = machine.files()
    machine.install(*OURS, older=True)
    conf = machine.root.path / "etc/pykexec/kdump.conf"
    assert conf.exists()
    assert (machine.root.path / "usr/lib/python3/dist-packages/pykexec/__pycache__").is_dir()

    said = machine.install(*OURS)
    assert "Configuration file" not in said
    assert {machine.status(package) for package in OURS} == {"ii"}
    kept = {f"/etc/pykexec/{path.name}" for path in conf.parent.iterdir()} | {"/etc/pykexec"}

    conf.write_text(conf.read_text() + "# mine\n")
    machine.take_away(*OURS)
    left = machine.files() - before
    assert {path for path in left if not path.startswith(STATE)} == kept
    machine.install(*OURS)
    assert conf.read_text().endswith("# mine\n")
    machine.take_away(*OURS, purge=True)
    assert machine.files() == before


def test_it_takes_the_place_of_kexec_tools_and_gives_it_back(built: Built) -> None:
    """kdump-tools, which depends on kexec-tools, stays installed all the time."""
    machine = Machine(built, "kdump", "kdump-tools")
    before = machine.files()
    assert machine.status("kexec-tools") == "ii"
    # Not by dpkg alone, which would remove it when our kexec, the same file on Debian 12, is there.
    machine.install("pykexec")
    code, said = machine.root.attempt("sh", "-c", "dpkg --install /packages/pykexec-kexec_*.deb")
    assert (code, "pykexec-kexec conflicts with kexec-tools" in said) == (1, True)
    assert "pykexec" not in machine.root.run("/sbin/kexec", "--version")
    machine.install("pykexec-kexec")
    assert machine.status("kdump-tools") == "ii"
    assert machine.status("kexec-tools") in ("rc", "")
    assert "pykexec" in machine.root.run("/usr/sbin/kexec", "--version")
    assert "pykexec" in machine.root.run("vmcore-dmesg", "--version")
    # Its init scripts, where it has some, are left and not run.
    scripts = sorted((machine.root.path / "etc/init.d").glob("kexec*"))
    assert len(scripts) == (2 if built.suite == "bookworm" else 0)
    assert not any(script.stat().st_mode & 0o111 for script in scripts)
    machine.root.run("apt-get", "check")

    # Back, in one step: kdump-tools never lacks what it depends on.
    machine.root.run(*INSTALL, "kexec-tools", "pykexec-kexec-")
    assert machine.status("kdump-tools") == "ii"
    assert all(script.stat().st_mode & 0o111 for script in scripts)
    machine.take_away("pykexec", "pykexec-kexec", purge=True)
    assert machine.files() == before
    assert "pykexec" not in machine.root.run("/sbin/kexec", "--version")


@pytest.fixture(scope="module")
def installed(built: Built) -> Root:
    """Return a root with the packages, and below /project this project."""
    machine = Machine(built, "installed", "around")
    machine.install(*OURS)
    return machine.root.seeing(PROJECT, "/project", "ro")


def test_nothing_is_enabled_or_started(installed: Root) -> None:
    root = installed.path
    # Where /lib is a link, both are the same files.
    found = (*root.glob("lib/systemd/system/pykexec-*"), *root.glob("etc/systemd/system/pykexec-*"))
    units = {path.name for path in found}
    assert units == {path.name for path in (PROJECT / "contrib/systemd").iterdir()}
    assert not list(root.glob("etc/systemd/system/**/pykexec-*"))
    for unit in sorted(units):
        _, state = installed.attempt("systemctl", "--root=/", "is-enabled", unit)
        assert state.strip() in ("disabled", "static"), unit


def test_the_superficial_autopkgtests_pass(installed: Root) -> None:
    stanzas = [
        parse_stanza(text) for text in (PROJECT / "debian/tests/control").read_text().split("\n\n")
    ]
    superficial = [stanza["Tests"] for stanza in stanzas if "superficial" in stanza["Restrictions"]]
    assert len(superficial) == 2
    for name in superficial:
        installed.run(f"debian/tests/{name}", directory="/project")


@pytest.mark.parametrize("built", SUITES[:1], indirect=True)
def test_autopkgtest_passes(built: Built) -> None:
    """In a root: all that need no machine of their own, with a plan and a guest among them."""
    prepared = prepared_root(built.suite, "autopkgtest", this_host(), TESTBED)
    root = copied_root(built.suite, "testbed", this_host(), prepared.path)
    seen = root.seeing(built.newer, "/packages", "ro")
    seen.attempt("sh", "-c", "autopkgtest --output-dir=/tmp/said /packages/*.changes -- null")
    lines = (root.path / "tmp/said/summary").read_text().splitlines()
    results = {name: result for name, result, *_ in map(str.split, lines)}
    passed = dict.fromkeys(("installed", "drop-in", "plan", "guest"), "PASS")
    assert results == {**passed, "jump": "SKIP"}, lines


RECORDED = "/project/tests/data/machines"
PC = f"--machine {RECORDED}/x86_64-6.12-bios-8G"
BOARD = f"--machine {RECORDED}/aarch64-6.12-tree-1G"


def test_the_suites_own_libraries_do(installed: Root) -> None:
    """They are what its Python finds. Debian has no fdt: what needs it says so."""
    assert installed.attempt("python3", "-c", "import fdt")[0] == 1
    for name, data in (
        ("bzimage", build_bzimage()),
        ("image", build_image()),
        ("elf", build_linked()),
    ):
        (installed.path / "srv" / name).write_bytes(data)
    for words in (
        f"pykexec plan /srv/bzimage {PC}",
        f"pykexec plan /srv/bzimage {PC} --json --call segments",
        f"pykexec plan /srv/bzimage {PC} --call segments --dump /srv/segments",
        f"pykexec plan /srv/image {BOARD}",
        f"pykexec doctor /srv/bzimage {PC}",
        "pykexec inspect /srv/elf",
        "pykexec status",
    ):
        installed.run(*words.split())
    said = installed.run("kexec", "-l", "/srv/bzimage", "--dry-run")
    assert said.splitlines()[-1].startswith("verdict: ")

    code, said = installed.attempt(
        "pykexec", "inspect", "--dts", f"{RECORDED}/aarch64-6.12-tree-1G/sys/firmware/fdt"
    )
    assert code == 255
    assert said == "pykexec: a tree's source needs the Python package fdt: pip install fdt\n"


def test_another_package_may_depend_on_the_library(installed: Root) -> None:
    installed.run("apt-get", "satisfy", "--yes", "-qq", "python3-pykexec (>= 0.1)")
    installed.run("python3", "-c", "import pykexec; pykexec.LoadRequest")
