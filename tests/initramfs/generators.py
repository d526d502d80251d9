"""Runs generators of initramfs images, as Debian's packages have them, with what contrib/ has.

Nothing is installed: a private mount namespace sees the packages, and pykexec as its own packages
install it, over this machine's /usr, /etc and /boot.
"""

from __future__ import annotations

import os
import stat
import subprocess
from collections.abc import Mapping, Sequence
from pathlib import Path

from tests.needs import unavailable
from tools import install

SUITE = "bookworm"
"""What is built on it runs on every later one."""
TOPS = ("usr", "etc", "boot")
ENVIRONMENT = {"PATH": "/usr/sbin:/usr/bin:/sbin:/bin", "LC_ALL": "C"}
TIMEOUT = 300
"""Seconds."""

# What mkinitcpio(8) says that a hook's build() may call. Debian has no mkinitcpio.
MKINITCPIO = """\
set -eu
BUILDROOT=$1 KERNELVERSION=$2 with=$3
add_symlink() {
    mkdir -p "$BUILDROOT${1%/*}"
    ln -s "$2" "$BUILDROOT$1"
}
add_runscript() {
    mkdir -p "$BUILDROOT/hooks"
    cp "/usr/lib/initcpio/hooks/$hook" "$BUILDROOT/hooks/$hook"
}
if [[ $with == systemd ]]; then
    add_systemd_unit() {
        mkdir -p "$BUILDROOT/usr/lib/systemd/system"
        cp "/usr/lib/systemd/system/$1" "$BUILDROOT/usr/lib/systemd/system/$1"
    }
fi
for hook in pykexec pykexec-crash; do
    . "/usr/lib/initcpio/install/$hook"
    for step in build help; do "$step" >/dev/null; done
done
"""

# What this machine has comes before the packages, and pykexec before both.
ENTER = """\
set -e
layer=$1 packages=$2
shift 2
for top in usr etc boot; do
    mount -t overlay overlay -o "lowerdir=$layer/$top:/$top:$packages/$top" "/$top"
done
exec "$@"
"""


def installed(layer: Path, settings: str) -> Path:
    """Lay pykexec out below ``layer``, as packages install it, and return it."""
    for top in TOPS:
        (layer / top).mkdir(parents=True)
    trees = [*install.GENERATORS.values(), dict.fromkeys(install.PACKERS, install.PACKAGED)]
    for tree in trees:
        for name, data, mode in install.generator_files(tree, install.PACKAGED):
            place = layer / name.lstrip("/")
            place.parent.mkdir(parents=True, exist_ok=True)
            place.write_bytes(data)
            place.chmod(mode)
    (layer / "etc/pykexec").mkdir()
    (layer / "etc/pykexec/initramfs.conf").write_text(settings)
    return layer


def run_over(
    layer: Path, packages: Path, command: Sequence[str], environment: Mapping[str, str]
) -> subprocess.CompletedProcess[str]:
    """Run a command that sees the layer, this machine, and the packages behind it."""
    words = [*alone(), "sh", "-c", ENTER, "enter", str(layer), str(packages)]
    tried = subprocess.run([*words, "true"], capture_output=True, text=True, check=False)
    if tried.returncode != 0:
        unavailable(f"no file system can be mounted here: {tried.stderr.strip()}", "ROOT")
    return subprocess.run(
        [*words, *command],
        capture_output=True,
        text=True,
        check=False,
        timeout=TIMEOUT,
        cwd="/",
        env={**ENVIRONMENT, **environment},
    )


def alone() -> list[str]:
    """Return what gives a command mounts of its own, to users too."""
    user = [] if os.geteuid() == 0 else ["--user", "--map-root-user"]
    return ["unshare", *user, "--mount", "--propagation", "private"]


def run_within(tree: Path, *command: str) -> subprocess.CompletedProcess[str]:
    """Run a command that has nothing but a tree."""
    words = [*alone(), "chroot", str(tree), *command]
    return subprocess.run(
        words, capture_output=True, text=True, check=False, timeout=TIMEOUT, env=ENVIRONMENT
    )


def unpack(members: Mapping[str, tuple[int, bytes, object]], tree: Path) -> Path:
    """Write the files and links of an archive below ``tree``, and return it."""
    tree.mkdir()
    for name, (mode, contents, _) in members.items():
        place = tree / name.strip("/")
        if stat.S_ISDIR(mode):
            place.mkdir(parents=True, exist_ok=True)
        elif stat.S_ISLNK(mode):
            place.symlink_to(contents.decode())
        elif stat.S_ISREG(mode):
            place.write_bytes(contents)
            place.chmod(stat.S_IMODE(mode))
    return tree
