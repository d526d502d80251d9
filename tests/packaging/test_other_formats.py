"""packaging/: the spec by Debian's rpmbuild, the functions of PKGBUILD by bash.

What Fedora and Arch would bring of their own has stand-ins: packaging/README.md says which.
"""

from __future__ import annotations

import re
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from pykexec import __version__
from tests.needs import need_root
from tests.vm.debian import locked
from tools.debian_packages import (
    Root,
    build_depends,
    default_suite,
    os_release,
    place_of,
    prepared_root,
)
from tools.distributions import PROJECT, build_project
from tools.roots import this_host

pytestmark = pytest.mark.full

MACROS = Path(__file__).parent / "fedora_macros"
PACKAGES = ("rpm", "python3-installer", "python3-build", "python3-venv")

# A Python that is laid out as everywhere but on Debian, under the names that packagers use. Debian
# 12's hatchling names a package that it works without, and that Debian has not.
PYTHON = """\
set -e
python3 -m venv --system-site-packages /build/python
cat >/build/bin/python <<'END'
#!/bin/sh
case ${2-} in
installer) shift 2; set -- -m installer --prefix=/usr "$@" ;;
build) set -- "$@" --skip-dependency-check ;;
esac
exec /build/python/bin/python "$@"
END
chmod 755 /build/bin/python
ln -s python /build/bin/python3
"""


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Root]:
    """A root of this host's suite with the sdist in /build."""
    need_root("making a root of a suite")
    suite = default_suite(os_release())
    work = tmp_path_factory.mktemp("work")
    (work / "bin").mkdir()
    build_project(work, ["sdist"])
    for path in (MACROS, PROJECT / "packaging/PKGBUILD"):
        shutil.copy(path, work)
    with locked(place_of(suite) / "lock"):
        found = prepared_root(suite, "formats", this_host(), [*build_depends(), *PACKAGES])
        found = found.seeing(work, "/build")
        found.run("sh", "-c", PYTHON)
        yield found


def listed(root: Root, command: str) -> set[str]:
    """Return the lines that a shell command prints, with the version of Python left out."""
    said = root.run("sh", "-c", command)
    return set(re.sub(r"python3\.\d+", "python3", said).splitlines())


RPMS = "/build/rpm/RPMS/*"
KEXEC = {
    "/usr/sbin/kexec",
    "/usr/sbin/vmcore-dmesg",
    "/usr/share/bash-completion/completions/kexec",
    "/usr/share/fish/vendor_completions.d/kexec.fish",
    "/usr/share/zsh/site-functions/_kexec",
}
PYKEXEC = {
    "/etc/pykexec/initramfs.conf",
    "/etc/pykexec/kdump.conf",
    "/etc/pykexec/kexec.conf",
    "/usr/bin/pykexec",
    "/usr/lib/pykexec/early-crash",
    "/usr/lib/pykexec/kdump",
    "/usr/lib/pykexec/kexec",
    "/usr/lib/pykexec/next-kernel",
    "/usr/lib/pykexec/pack",
    "/usr/lib/python3/site-packages/pykexec/purgatory_objects/MANIFEST.json",
    "/usr/lib/python3/site-packages/pykexec/purgatory_objects/x86_64.bin",
    "/usr/lib/systemd/system/pykexec-kdump.service",
    "/usr/lib/udev/rules.d/98-pykexec-kdump.rules",
    "/usr/share/bash-completion/completions/pykexec",
}
"""Some files of each kind, as they lie on both distributions."""


def test_the_spec_builds_from_the_sdist(root: Root) -> None:
    said = root.run(
        *("env", "PATH=/build/bin:/usr/sbin:/usr/bin:/sbin:/bin", "HOME=/build", "rpmbuild"),
        *("--nodeps", "--define", "_topdir /build/rpm", "--load", "/build/fedora_macros", "-tb"),
        f"/build/pykexec-{__version__}.tar.gz",
    )
    assert "smoke check:" in said
    own, drop_in = (
        listed(root, f"rpm -qp --list {RPMS}/{name}-0*.rpm")
        for name in ("pykexec", "pykexec-kexec")
    )
    assert own >= PYKEXEC
    assert drop_in >= KEXEC
    assert {path for path in own & drop_in if "/.build-id" not in path} == set()
    related = listed(root, f"rpm -qp --provides --conflicts {RPMS}/pykexec-kexec-0*.rpm")
    assert {"kexec-tools = 2.0.32", "kexec-tools"} <= related
    configuration = listed(root, f"rpm -qp --configfiles {RPMS}/pykexec-0*.rpm")
    assert configuration == {path for path in PYKEXEC if path.startswith("/etc/")}


PKGBUILD = """\
set -eu
export PATH=/build/bin:$PATH
cd /build
CARCH=x86_64
. ./PKGBUILD
srcdir=/build/src
mkdir -p "$srcdir"
for file in "${source[@]}"; do tar -xzf "$file" -C "$srcdir"; done
for step in build check; do (cd "$srcdir"; $step); done
for pkgname in "${pkgname[@]}"; do
    pkgdir=/build/pkg/$pkgname
    mkdir -p "$pkgdir"
    (cd "$srcdir"; "package_$pkgname")
done
"""


def test_the_functions_of_pkgbuild_build_from_the_sdist(root: Root) -> None:
    said = root.run("bash", "-c", PKGBUILD)
    assert "smoke check:" in said
    own, drop_in = (
        listed(root, f"cd /build/pkg/{name} && find . -not -type d | sed s,^.,,")
        for name in ("pykexec", "pykexec-kexec")
    )
    assert own >= PYKEXEC
    # Arch has one directory for programs.
    assert drop_in >= {path.replace("/sbin/", "/bin/") for path in KEXEC}
    assert own & drop_in == set()
