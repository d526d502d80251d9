"""Debian as debootstrap installs it, in the cache: a root whose own programs can be run in it."""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path

from tests.needs import unavailable
from tests.vm.debian import cache_dir, locked
from tools.roots import RootError, bootstrap

PACKAGES = (
    *("systemd-sysv", "udev", "kmod", "makedumpfile", "busybox"),
    *("python3", "python3-click", "python3-cffi-backend", "python3-pyelftools"),
    *("python3-construct", "e2fsprogs"),
)
ENTER = """
set -e
root=$1 upper=$2
shift 2
mount -t tmpfs tmpfs "$upper"
mkdir "$upper/up" "$upper/work"
mount -t overlay -o "lowerdir=$root,upperdir=$upper/up,workdir=$upper/work" overlay "$upper"
mount -t proc proc "$upper/proc"
mount -t sysfs -o ro sysfs "$upper/sys"
mount -t tmpfs -o mode=755 tmpfs "$upper/dev"
for device in null zero full random urandom; do
    : >"$upper/dev/$device"
    mount --bind "/dev/$device" "$upper/dev/$device"
done
ln -s /proc/self/fd "$upper/dev/fd"
mkdir "$upper/bound"
mount --bind "$BOUND" "$upper/bound"
exec chroot "$upper" env -i PATH=/usr/sbin:/usr/bin:/sbin:/bin HOME=/root \\
    PYTHONDONTWRITEBYTECODE=1 PYTHONPATH=/bound "$@"
"""


def installed_root(suite: str, generator: str, *others: str) -> Path:
    """Return a root of ``suite`` with what builds an initramfs, and other packages; made once."""
    if os.geteuid() != 0 or shutil.which("debootstrap") is None:
        unavailable("a root of Debian's is made by root, with debootstrap")
    place = cache_dir() / "installed" / "-".join((suite, generator, *others))
    place.parent.mkdir(parents=True, exist_ok=True)
    with locked(place.with_suffix(".lock")):
        try:
            return bootstrap(suite, place, (*PACKAGES, generator, *others))
        except RootError as error:
            unavailable(str(error))


def run_in(root: Path, work: Path, *command: str) -> str:
    """Run a command in a root, which it cannot change; returns what it prints.

    ``work`` is /bound in there, and on Python's path. Its own mounts go with it.
    """
    upper = work / "mounted"
    upper.mkdir(exist_ok=True)
    words = ["unshare", "--mount", "--propagation", "private"]
    done = subprocess.run(
        [*words, "sh", "-c", ENTER, "sh", root, upper, *command],
        env={**os.environ, "BOUND": str(work)},
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout
    return done.stdout
