"""``make install`` and ``make uninstall``: into a directory, and over kexec-tools in a root."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from pykexec import launchers
from tests.needs import unavailable
from tests.vm.debian import FetchError, cache_dir
from tools import install, pristine, roots

PROJECT = Path(__file__).resolve().parents[2]
LIBRARY = "/usr/local/lib/pykexec"
PACKAGES = ("kexec-tools", "make", *install.LIBRARIES.values())


def make(*words: str) -> subprocess.CompletedProcess[str]:
    command = ["make", "--no-print-directory", f"PYTHON={sys.executable}", *words]
    return subprocess.run(command, cwd=PROJECT, capture_output=True, text=True, check=False)


def tree(root: Path) -> set[str]:
    return {str(path.relative_to(root)) for path in root.rglob("*")}


@pytest.fixture(scope="module")
def staged(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What a package would be built from."""
    dest = tmp_path_factory.mktemp("packages") / "not/made/yet"
    done = make("install", f"DESTDIR={dest}")
    assert (done.returncode, done.stderr) == (0, "")
    return dest


def test_everything_is_there(staged: Path) -> None:
    found = tree(staged)
    for name in (
        *("bin/pykexec", "sbin/vmcore-dmesg", "sbin/kexec", launchers.SCRIPT),
        *("lib/pykexec/kdump", "lib/pykexec/next-kernel", "lib/pykexec/early-crash"),
        *("share/man/man8/kexec.8", "share/bash-completion/completions/kexec"),
        *("lib/systemd/system/pykexec-kdump.service", "lib/udev/rules.d/98-pykexec-kdump.rules"),
        *("lib/pykexec/pykexec/purgatory_objects/x86_64.bin", "lib/pykexec/installed.json"),
    ):
        assert f"usr/local/{name}" in found
    schemas = {path.name for path in (PROJECT / "pykexec").rglob("*.schema.json")}
    assert schemas <= {path.name for path in staged.rglob("*.json")}
    assert {f"etc/pykexec/{name}.conf" for name in ("kdump", "kexec", "initramfs")} <= found
    assert {
        "usr/lib/dracut/modules.d/50pykexec-crash/module-setup.sh",
        "usr/share/initramfs-tools/hooks/pykexec",
        "usr/lib/initcpio/install/pykexec",
        "usr/lib/systemd/system/pykexec-crash-early.service",
    } <= found
    assert not any(name.endswith(install.ASIDE) for name in found)
    assert not any(name.startswith(("usr/sbin", "sbin")) for name in found)


def test_programs_are_named_where_they_are(staged: Path) -> None:
    for directory in ("usr/local/lib/systemd", "usr/local/lib/udev", "etc"):
        for path in (staged / directory).rglob("*"):
            if path.is_file():
                named = re.findall(r"[\w/]*/lib/pykexec/[\w-]+", path.read_text())
                assert all(name.startswith(f"{LIBRARY}/") for name in named), path
                assert all((staged / name[1:]).exists() for name in named), path


def test_generators_call_what_is_installed(staged: Path) -> None:
    for name in (
        "dracut/modules.d/50pykexec/module-setup.sh",
        "dracut/modules.d/50pykexec-crash/module-setup.sh",
        "initcpio/install/pykexec",
        "initcpio/install/pykexec-crash",
        "../share/initramfs-tools/hooks/pykexec",
    ):
        text = (staged / "usr/lib" / name).read_text()
        assert f"{LIBRARY}/pack " in text.replace('"', " "), name
        assert "/usr/lib/pykexec/pack" not in text
    # In an image everything has the same path, wherever pykexec is installed.
    module = staged / "usr/lib/dracut/modules.d/50pykexec/module-setup.sh"
    assert "$initdir/usr/lib/pykexec/kexec" in module.read_text()
    script = staged / "usr/share/initramfs-tools/scripts/init-top/pykexec"
    assert "/usr/lib/pykexec/early-crash" in script.read_text()
    assert all(os.access(file, os.X_OK) for file in (module, script))
    packed = (staged / "usr/local/lib/pykexec/early-crash").read_bytes()
    assert packed == (PROJECT / "contrib/initramfs/early-crash").read_bytes()


def test_programs_run_from_where_they_are_meant_to_be(staged: Path) -> None:
    """With this project's Python, of which the installed package is not a part."""
    if os.geteuid():
        unavailable("a private mount namespace needs root")
    script = f"""set -e
mount --bind {staged}/usr/local /usr/local
cd /
/usr/local/bin/pykexec --version
/usr/local/sbin/kexec --version
/usr/local/sbin/vmcore-dmesg --version
{sys.executable} -IBc 'import sys; sys.path.insert(0, "{LIBRARY}"); import pykexec
print(pykexec.__file__)'
"""
    done = subprocess.run(
        ["unshare", "--mount", "--propagation", "private", "sh", "-c", script],
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    lines = done.stdout.splitlines()
    assert lines[1].startswith("kexec (pykexec) ")
    assert lines[-1] == f"{LIBRARY}/pykexec/__init__.py"


def test_a_second_installation_and_its_end(tmp_path: Path) -> None:
    assert make("install", f"DESTDIR={tmp_path}").returncode == 0
    first = tree(tmp_path)
    settings = tmp_path / "etc/pykexec/kdump.conf"
    settings.write_text("KDUMP_SETTLE=7\n")
    assert make("install", f"DESTDIR={tmp_path}").returncode == 0
    assert tree(tmp_path) == first
    assert settings.read_text() == "KDUMP_SETTLE=7\n"
    (tmp_path / "usr/local/share/man/man8/other.8").touch()
    done = make("uninstall", f"DESTDIR={tmp_path}")
    assert done.returncode == 0, done.stderr
    assert f"kept, because it was changed: {settings}" in done.stdout
    left = {path for path in tree(tmp_path) if (tmp_path / path).is_file()}
    assert left == {"etc/pykexec/kdump.conf", "usr/local/share/man/man8/other.8"}


def test_without_an_installation(tmp_path: Path) -> None:
    done = make("uninstall", f"DESTDIR={tmp_path}")
    assert done.returncode == 2
    assert "install: nothing is installed below /usr/local: there is no" in done.stderr
    done = make("install", f"DESTDIR={tmp_path}", "PREFIX=usr")
    assert "PREFIX has to be an absolute path, not usr" in done.stderr
    assert tree(tmp_path) == set()


SNAPSHOT = r"""
snapshot() {
    find /usr /etc /opt /var/lib -xdev ! -name '*.pyc' ! -path '/var/lib/apt/*' \
        -printf '%p %y %m %l\n' | sort >"$1"
    find /usr /etc -xdev -type f ! -name '*.pyc' -exec sha256sum {} + | sort >>"$1"
    cat /var/lib/dpkg/diversions >>"$1"
}
"""
LIFE = (
    SNAPSHOT
    + r"""
set -e
cd /root/project
snapshot /tmp/before
is_ours() { kexec --version | grep -q pykexec && /sbin/kexec --version | grep -q pykexec; }
is_theirs() { "$1" --version | grep -q '^kexec-tools'; }
is_theirs /sbin/kexec

make install
is_ours
is_theirs /sbin/kexec.kexec-tools
pykexec --version; vmcore-dmesg --version
/usr/sbin/kexec -e && exit 1
[ $? = 1 ]
make install
is_ours

# An update of the package leaves ours, and renews theirs.
echo damaged >/usr/sbin/kexec.kexec-tools
apt-get install -qq --reinstall kexec-tools >/dev/null
is_ours
is_theirs /usr/sbin/kexec.kexec-tools

make uninstall
is_theirs /sbin/kexec
dpkg --verify kexec-tools
snapshot /tmp/after
diff /tmp/before /tmp/after

# Nothing of a package's is written over.
make install PREFIX=/usr 2>/tmp/said && exit 1
grep -q 'is there already, and not of this installation' /tmp/said
is_theirs /sbin/kexec
snapshot /tmp/after
diff /tmp/before /tmp/after

# Without dpkg.
mkdir /tmp/bin
mv /usr/bin/dpkg-divert /usr/bin/dpkg-query /tmp/bin
make install
is_ours
is_theirs /usr/sbin/kexec.kexec-tools
make install
make uninstall
mv /tmp/bin/* /usr/bin
snapshot /tmp/after
diff /tmp/before /tmp/after

# As /usr/sbin/kexec itself, without kexec-tools; installed meanwhile, that is put aside.
apt-get purge -qq kexec-tools >/dev/null
snapshot /tmp/before
make install PREFIX=/usr
is_ours
[ ! -L /usr/sbin/kexec ]
make uninstall PREFIX=/usr
snapshot /tmp/after
diff /tmp/before /tmp/after
make install
apt-get install -qq --no-install-recommends kexec-tools >/dev/null
is_ours
make uninstall
is_theirs /sbin/kexec
dpkg --verify kexec-tools
echo lived
"""
)


@pytest.fixture(params=["bookworm", "trixie"])
def root(request: pytest.FixtureRequest) -> Iterator[tuple[Path, roots.Host]]:
    """Return a root with kexec-tools, which is removed again."""
    place = cache_dir() / "install" / request.param
    made = place / "root"
    try:
        host = roots.this_host()
        base = roots.bootstrap(request.param, pristine.place_of(request.param), pristine.INCLUDED)
        roots.remove(made)
        place.mkdir(parents=True, exist_ok=True)
        roots.run("cp", "-a", str(base), str(made))
        roots.configure(made, request.param, host)
    except (roots.RootError, FetchError, FileNotFoundError) as error:
        unavailable(f"no root can be made: {error}")
    (made / "root/project").mkdir()
    yield made, host
    roots.remove(made)


@pytest.mark.full
def test_over_kexec_tools(root: tuple[Path, roots.Host]) -> None:
    made, host = root
    apt = f"""set -e
export DEBIAN_FRONTEND=noninteractive
apt-get update -qq && apt-get install -qq --no-install-recommends {" ".join(PACKAGES)}
"""
    binds = (roots.Bind(PROJECT, "/root/project", "ro"),)
    for script, directory in ((apt, "/"), (LIFE, "/root/project")):
        done = subprocess.run(
            roots.entering(made, directory, host, binds, ["sh", "-c", script]),
            env=roots.environment(host),
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            check=False,
        )
        assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-3000:]
    assert done.stdout.splitlines()[-1] == "lived"
