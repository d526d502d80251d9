"""What cannot run is said before anything is installed: tools/check-host."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

import pytest

PROJECT = Path(__file__).resolve().parents[2]
SOURCES = {"list": "deb [trusted=yes] file:/mirror/debian trixie main\n", "none": ""}
DEBIAN_11 = 'ID=debian\nVERSION_ID="11"\nPRETTY_NAME="Debian GNU/Linux 11 (bullseye)"\n'
FORKY = 'ID=debian\nPRETTY_NAME="Debian GNU/Linux forky/sid"\n'


class Host:
    """A host that is looked at: its Python, its /etc, and its dpkg and apt-get."""

    def __init__(self, root: Path) -> None:
        self._root = root
        self.bin = root / "bin"
        self.bin.mkdir()
        (root / "etc/apt").mkdir(parents=True)
        self.program("apt-get", "exit 99")
        self.program("dpkg", "echo amd64")
        self.program("grep", 'exec /bin/grep "$@"')
        self.release(FORKY)
        self.sources(SOURCES["list"])

    def program(self, name: str, script: str) -> None:
        place = self.bin / name
        place.write_text(f"#!/bin/sh\n{script}\n")
        place.chmod(0o755)

    def release(self, text: str) -> None:
        (self._root / "etc/os-release").write_text(text)

    def sources(self, text: str) -> None:
        (self._root / "etc/apt/sources.list").write_text(text)

    def check(self, goal: str) -> tuple[int, str]:
        done = subprocess.run(
            ["/bin/sh", PROJECT / "tools/check-host", goal, self.bin / "python3"],
            env={"PATH": str(self.bin), "PYKEXEC_ROOT": str(self._root)},
            capture_output=True,
            text=True,
            check=False,
        )
        assert done.stdout == ""
        return done.returncode, done.stderr


@pytest.fixture
def host(tmp_path: Path) -> Host:
    return Host(tmp_path)


@pytest.mark.parametrize("goal", ["build", "guests"])
@pytest.mark.parametrize("version", ["3.11", "3.13", "3.14", None])
def test_what_can_run(host: Host, goal: str, version: str | None) -> None:
    if version:
        host.program("python3", f"echo {version}")
    assert host.check(goal) == (0, "")


def test_a_python_that_guests_cannot_be_given(host: Host) -> None:
    host.program("python3", "echo 3.12")
    assert host.check("build") == (0, "")
    code, said = host.check("guests")
    assert code == 1
    assert "is Python 3.12, and guests can be given 3.11, 3.13 or 3.14\nhint: " in said


@pytest.mark.parametrize("version", ["3.9", "2.7"])
def test_a_python_that_is_too_old(host: Host, version: str) -> None:
    host.program("python3", f"echo {version}")
    code, said = host.check("build")
    assert code == 1
    assert f"is Python {version}, and 3.11 or later is needed\nhint: " in said


def test_a_suite_that_is_too_old(host: Host) -> None:
    host.release(DEBIAN_11)
    code, said = host.check("build")
    assert code == 1
    assert "Debian GNU/Linux 11 (bullseye) has no Python 3.11\nhint: Debian 12" in said


def test_another_architecture(host: Host) -> None:
    host.program("dpkg", "echo arm64")
    assert host.check("build") == (0, "")
    code, said = host.check("guests")
    assert (code, "on amd64 only, and this is arm64\nhint: 'make build'" in said) == (1, True)


def test_no_archive(host: Host) -> None:
    host.sources(SOURCES["none"])
    assert host.check("build") == (0, "")
    code, said = host.check("guests")
    assert (code, "no apt source here is a Debian archive" in said) == (1, True)


def test_no_apt(host: Host) -> None:
    (host.bin / "apt-get").unlink()
    code, said = host.check("build")
    assert (code, "there is no apt-get on Debian GNU/Linux forky/sid" in said) == (1, True)


@pytest.mark.parametrize("user", [0, 1000])
def test_missing_packages(tmp_path: Path, user: int) -> None:
    """Of alternatives the first that apt knows; without root or a candidate nothing is done."""
    host = Host(tmp_path)
    host.program("id", f"echo {user}")
    host.program("tr", 'exec /usr/bin/tr "$@"')
    host.program("dpkg-query", 'case $4 in there) echo "ii " ;; *) exit 1 ;; esac')
    host.program("apt-cache", 'case $2 in second) echo "second | 1" ;; esac')
    host.program("apt-get", 'echo "apt-get $*"')

    def install(*names: str) -> tuple[int, str, str]:
        done = subprocess.run(
            ["/bin/sh", PROJECT / "tools/install-packages", *names],
            env={"PATH": str(host.bin)},
            capture_output=True,
            text=True,
            check=False,
        )
        return done.returncode, done.stdout, done.stderr

    assert install("there", "first|there") == (0, "", "")
    code, out, err = install("there", "first|second")
    if user:
        assert (code, out) == (1, "")
        assert "missing Debian packages: first|second\nhint: run as root" in err
        return
    assert out.splitlines() == [
        "apt-get update -q",
        "Installing Debian packages: second",
        "apt-get install -q -y --no-install-recommends second",
    ]
    assert install("there+there|first") == (0, "", "")
    _, out, _ = install("first+there|there+first|second+second")
    assert out.splitlines()[1] == "Installing Debian packages: second second"
    code, out, err = install("first|second", "third")
    assert (code, out) == (1, "apt-get update -q\n")
    assert "apt knows no package third; nothing was installed\n" in err


def test_the_guests_that_it_knows_are_those_that_there_are() -> None:
    """The list in the script is that of the suites."""
    from tests.vm.guest_python import SUITES

    text = (PROJECT / "tools/check-host").read_text()
    minors = [version.partition(".")[2] for version in SUITES]
    assert f"build:* | {' | '.join(f'guests:{minor}' for minor in minors)})" in text
    assert os.access(PROJECT / "tools/check-host", os.X_OK)
