"""What debian/ and packaging/ say is what the code and the other files say."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from pykexec import __version__
from tools import install
from tools.debian_packages import build_depends, changelog, changelog_version, upstream_version

PROJECT = Path(__file__).resolve().parents[2]
DEBIAN = PROJECT / "debian"


def test_all_are_of_this_version() -> None:
    assert upstream_version() == __version__
    spec = (PROJECT / "packaging/pykexec.spec").read_text()
    assert f"\nVersion:        {__version__}\n" in spec
    assert f"\npkgver={__version__}\n" in (PROJECT / "packaging/PKGBUILD").read_text()


def test_the_entry_for_a_suite_is_before_all_others() -> None:
    text = (DEBIAN / "changelog").read_text()
    assert changelog(changelog_version(), "testing") == text
    entry = changelog("0.1.0-1~deb12", "bookworm").removesuffix(text)
    assert re.fullmatch(
        r"pykexec \(0\.1\.0-1~deb12\) bookworm; urgency=medium\n\n  \* .*\n\n"
        r" -- .+ <.+>  \w{3}, \d\d \w{3} \d{4} \d\d:\d\d:\d\d [-+]\d{4}\n\n",
        entry,
    )


def test_cffi_is_asked_for_as_the_generated_modules_want_it() -> None:
    control = (DEBIAN / "control").read_text()
    versions = set()
    for path in (PROJECT / "pykexec").rglob("_*_abi.py"):
        (number,) = re.findall(r"_version = (0x\w+|\d+)", path.read_text())
        versions.add(int(number, 0))
    assert len(versions) == 1
    (version,) = versions
    assert f" python3-cffi-backend-api-max (>= {version}),\n" in control
    assert f" python3-cffi-backend-api-min (<= {version}),\n" in control


def test_every_file_of_contrib_is_in_a_package() -> None:
    """By name, or by the unit and rule that debian/rules hands to debhelper."""
    installed = "".join(path.read_text() for path in DEBIAN.glob("*.install"))
    rules = (DEBIAN / "rules").read_text()
    assert "$(wildcard contrib/systemd/*)" in rules
    words = [word.removesuffix("*") for word in installed.split() + rules.split()]
    directories = tuple(word for word in words if word.endswith("/"))
    files = [path for path in (PROJECT / "contrib").rglob("*") if path.is_file()]
    names = {str(file.relative_to(PROJECT)) for file in files if file.parent.name != "systemd"}
    missing = {name for name in names - set(words) if not name.startswith(directories)}
    # Debian has no mkinitcpio.
    elsewhere = ("contrib/README.md", "contrib/mkinitcpio/")
    assert {name for name in missing if not name.startswith(elsewhere)} == set()


def test_packages_have_hooks_where_make_install_puts_them() -> None:
    by_package = {
        "pykexec-dracut": "/usr/lib/dracut",
        "pykexec-initramfs": "/usr/share/initramfs-tools",
    }
    for package, generator in by_package.items():
        ((source, target),) = install.GENERATORS[generator].items()
        said = (DEBIAN / f"{package}.install").read_text()
        assert said == f"{source}/* {target.lstrip('/')}\n"
    lines = (DEBIAN / "pykexec.install").read_text().splitlines()
    directory = install.PACKAGED.lstrip("/")
    assert {f"{source} {directory}" for source in install.PACKERS | install.PROGRAMS} <= {*lines}
    assert {f"{source} etc/pykexec" for source in install.SETTINGS} <= {*lines}


@pytest.mark.parametrize("directory", ["debian", "packaging"])
def test_no_repository_is_named(directory: str) -> None:
    """Where packages come from is the machine's own matter."""
    for path in (PROJECT / directory).rglob("*"):
        if path.is_file() and path.name != "copyright":
            assert "://" not in path.read_text(), path


def test_relations_are_taken_apart() -> None:
    relations = build_depends()
    assert "debhelper-compat (= 13)" in relations
    assert relations[0] == "build-essential"
    assert not any("," in relation for relation in relations)


def test_each_architecture_has_the_launcher_that_its_package_installs() -> None:
    rules = (PROJECT / "debian/rules").read_text()
    names = dict(re.findall(r"patsubst (\w+),(\w+)", rules))
    lists = [
        re.findall(r"^Architecture: (.*)", (PROJECT / file).read_text(), re.MULTILINE)
        for file in ("debian/control", "debian/tests/control")
    ]
    architectures = {name for found in lists for line in found for name in line.split()} - {"all"}
    assert {"amd64", "ppc64el"} <= architectures
    launchers = {path.stem for path in (PROJECT / "pykexec/launchers").glob("*.elf")}
    assert {names.get(name, name) for name in architectures} <= launchers
    spec = (PROJECT / "packaging/pykexec.spec").read_text()
    (exclusive,) = re.findall(r"^ExclusiveArch: +(.*)", spec, re.MULTILINE)
    built = {re.sub(r"i[3-6]86", "i386", name) for name in exclusive.split()}
    assert {re.sub(r"armv7hl", "arm", name) for name in built} <= launchers
