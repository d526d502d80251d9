"""Roots of Debian suites below the cache, made by debootstrap and entered by chroot.

What is done in one sees the network and the packages as this host does, and of its disk nothing
else. Nothing in there can load or start a kernel.
"""

from __future__ import annotations

import configparser
import os
import re
import shlex
import shutil
import subprocess
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from tests.vm.debian import (
    FetchError,
    Source,
    Suite,
    configured_archive,
    configured_sources,
)

SUITES = ("bookworm", "trixie", "testing")
PACKAGES = "/var/cache/apt/archives"
MONTH = 30 * 24 * 3600
"""Seconds after which a root is bootstrapped anew: apt would have to fetch too much."""

NEWEST_STABLE = "stable"
"""Its keyring has the keys of the suites that are newer than this host."""

CARRIED = re.compile(r"(?i)(https?|ftp|all|no)_proxy|PIP_.*|SSL_CERT_FILE|REQUESTS_CA_BUNDLE")
"""Environment that says how the network is reached from this host."""

THERE = "/pristine-host"
"""Below it roots see what of this host's disk these settings name, and cannot write to it."""

# The devices of a machine without any: no KVM, no disks. The kernel's switches cannot be written
# to, and nothing in there can load or start a kernel, whatever a test does.
ENTER = """\
set -e
root=$1 project=$2
shift 2
mount --bind "$root" "$root"
mount -t proc proc "$root/proc"
mount -t sysfs -o ro sysfs "$root/sys"
mount -t tmpfs -o mode=755 tmpfs "$root/dev"
mkdir "$root/dev/pts" "$root/dev/shm"
mount -t devpts -o newinstance,ptmxmode=666,mode=620,gid=5 devpts "$root/dev/pts"
mount -t tmpfs -o mode=1777 tmpfs "$root/dev/shm"
ln -s pts/ptmx "$root/dev/ptmx"
ln -s /proc/self/fd "$root/dev/fd"
ln -s /proc/self/fd/0 "$root/dev/stdin"
ln -s /proc/self/fd/1 "$root/dev/stdout"
ln -s /proc/self/fd/2 "$root/dev/stderr"
for device in null zero full random urandom tty; do
    : >"$root/dev/$device"
    mount --bind "/dev/$device" "$root/dev/$device"
done
for switches in sys sysrq-trigger; do
    [ -e "$root/proc/$switches" ] || continue
    mount --bind "$root/proc/$switches" "$root/proc/$switches"
    mount -o remount,bind,ro "$root/proc/$switches"
done
while [ "$1" != -- ]; do
    mount --bind "$1" "$root$2"
    [ "$3" = rw ] || mount -o "remount,bind,$3" "$root$2"
    shift 3
done
shift
exec setpriv --bounding-set=-sys_boot --inh-caps=-sys_boot -- \\
    chroot "$root" sh -c 'cd "$0" && exec "$@"' "$project" "$@"
"""


class RootError(Exception):
    """A root cannot be made or entered; the message says why."""


@dataclass(frozen=True, slots=True)
class Bind:
    """What is seen in a root at another place."""

    source: Path
    target: str
    """Absolute, in the root; it has to exist there."""
    mode: str
    """``ro`` or ``rw``."""


@dataclass(frozen=True, slots=True)
class Host:
    """How packages are had from this host: carried into the roots, and never into a commit."""

    apt: str
    """A file of apt's configuration."""
    pip: str
    """A file of pip's configuration."""
    environment: Mapping[str, str]
    shared: tuple[Path, ...]
    """What pip's configuration names on this host's disk."""


def apt_settings() -> str:
    """Return how apt gets its files: proxies, certificates, and what it is told not to check."""
    dump = output("apt-config", "dump", "Acquire")
    kept = [line for line in dump.splitlines() if "::IndexTargets" not in line]
    return "".join(f"{line}\n" for line in kept)


def pip_settings(files: Sequence[Path]) -> configparser.RawConfigParser:
    """Return what pip is told by its configuration files, of which later ones have the say."""
    settings = configparser.RawConfigParser()
    settings.read(files)
    return settings


def pip_files() -> list[Path]:
    """Return where pip looks for its configuration (pip's documentation, "Configuration")."""
    home = Path.home()
    config = Path(os.environ.get("XDG_CONFIG_HOME") or home / ".config")
    shared = os.environ.get("XDG_CONFIG_DIRS") or "/etc/xdg"
    found = [Path(place) / "pip/pip.conf" for place in reversed(shared.split(":"))]
    found += [Path("/etc/pip.conf"), home / ".pip/pip.conf", config / "pip/pip.conf"]
    own = os.environ.get("PIP_CONFIG_FILE")
    return [*found, *((Path(own),) if own else ())]


def named_paths(text: str) -> set[Path]:
    """Return what of this host's disk the values of a configuration name, if it exists.

    The pages of an index lead to the files that lie beside it.
    """
    words = text.split()
    plain = {Path(word) for word in words if word.startswith("/")}
    indexes = {Path(word.removeprefix("file://")) for word in words if word.startswith("file:///")}
    beside = {path.parent if path.parents[1:] else path for path in indexes}
    return {path for path in plain | beside if path.exists()}


def as_seen(text: str) -> str:
    """Return values of a configuration with this host's paths as roots see them."""
    return re.sub(r"(?<!\S)(file://)?(/\S+)", rf"\1{THERE}\2", text)


def this_host() -> Host:
    """Return how this host gets its packages."""
    settings = pip_settings(pip_files())
    lines: list[str] = []
    values: list[str] = []
    for section in settings.sections():
        lines.append(f"[{section}]")
        for name, value in settings.items(section):
            lines.append(f"{name} = {as_seen(' '.join(value.split()))}")
            values.append(value)
    environment = {
        name: value
        for name, value in os.environ.items()
        if CARRIED.fullmatch(name) and name != "PIP_CONFIG_FILE"
    }
    apt = apt_settings()
    files = {Path(name) for name in re.findall(r'"(/[^"]+)"', apt) if Path(name).is_file()}
    for file in files:  # Certificates and keys.
        apt = apt.replace(f'"{file}"', f'"{THERE}{file}"')
    named = named_paths(" ".join((*values, *environment.values()))) | files
    # A directory brings what is below it.
    shared = {path for path in named if named.isdisjoint(path.parents)}
    text = "".join(f"{line}\n" for line in lines)
    seen = {name: as_seen(value) for name, value in environment.items()}
    return Host(apt, text, seen, tuple(sorted(shared)))


def bootstrap(suite: str, place: Path, included: Sequence[str] = ()) -> Path:
    """Return a minimal root with the packages ``included``, ``place/base``; made if there is none.

    Packages are kept in ``place/packages``.
    """
    base = place / "base"
    if base.is_dir():
        if time.time() - base.stat().st_mtime < MONTH:
            return base
        remove(base)
    partial = place / "bootstrap"
    remove(partial)
    packages = place / "packages"
    packages.mkdir(parents=True, exist_ok=True)
    source = configured_archive()
    command = ["debootstrap", "--variant=minbase"]
    command += [f"--include={','.join(included)}"] if included else []
    command += [f"--cache-dir={packages}", f"--keyring={keyring(source)}"]
    script = Path("/usr/share/debootstrap/scripts") / suite
    # A debootstrap that is older than the suite does what it does for all of Debian's.
    known = () if script.exists() else ("sid",)
    log = place / "bootstrap.log"
    with log.open("wb") as out:
        words = [*command, suite, str(partial), source.uri, *known]
        done = subprocess.run(words, stdout=out, stderr=out, check=False)
    if done.returncode != 0:
        raise RootError(f"debootstrap failed for {suite}: see {log}")
    os.utime(partial)
    partial.rename(base)
    return base


def configure(root: Path, suite: str, host: Host) -> None:
    """Let a root get packages as this host does."""
    (root / "etc/apt/sources.list").write_text("".join(sources(suite)))
    (root / "etc/apt/apt.conf.d/90pristine").write_text(host.apt)
    for name in ("auth.conf", "auth.conf.d"):
        place = Path("/etc/apt") / name
        if place.exists():
            run("cp", "-a", str(place), str(root / "etc/apt"))
    (root / "etc/pip.conf").write_text(host.pip)
    for name in ("resolv.conf", "hosts"):
        shutil.copyfile(f"/etc/{name}", root / "etc" / name)


def entering(
    root: Path, directory: str, host: Host, binds: Iterable[Bind], command: Sequence[str]
) -> list[str]:
    """Return the words that run ``command`` in a root, with :func:`environment`."""
    seen = [(str(bind.source), bind.target, bind.mode) for bind in binds]
    for path in host.shared:
        seen.append((str(path), f"{THERE}{path}", "ro"))
        inside = root / f"{THERE}{path}"[1:]
        inside.parent.mkdir(parents=True, exist_ok=True)
        if path.is_dir():
            inside.mkdir(exist_ok=True)
        else:
            inside.touch()
    return [
        *("unshare", "--mount", "--pid", "--fork", "--kill-child", "--propagation", "private"),
        *("sh", "-c", ENTER, "pristine", str(root), directory),
        *(word for bind in seen for word in bind),
        *("--", *command),
    ]


def environment(host: Host) -> dict[str, str]:
    """Return what programs in a root are started with."""
    path = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
    return {"PATH": path, "HOME": "/root", "TERM": "dumb", **host.environment}


def sources(suite: str) -> Iterator[str]:
    """Yield the lines of a sources.list: the archive, and where it has them, corrections.

    The corrections' addresses are those of this host's, which are for another suite.
    """
    archive = configured_archive()
    yield f"deb {archive.uri} {suite} main\n"
    if suite != "testing":
        security = (source for source in configured_sources() if "security" in source.uri)
        for source in dict.fromkeys(item.uri for item in security):
            yield f"deb {source} {suite}-security main\n"


def keyring(source: Source) -> Path:
    """Return a keyring that has the keys of suites newer than this host."""
    try:
        package = Suite(NEWEST_STABLE).package("debian-archive-keyring")
        (found,) = package.root.glob("usr/share/keyrings/debian-archive-keyring.*g*")
    except (FetchError, ValueError):
        if source.signed_by is None:
            raise
        return Path(source.signed_by)
    return found


def output(*command: str) -> str:
    """Return what a command prints."""
    return subprocess.run(command, capture_output=True, text=True, check=True).stdout


def remove(root: Path) -> None:
    """Remove a root, if it is there, and nothing that is mounted in it."""
    run("rm", "-rf", "--one-file-system", str(root))


def run(*command: str) -> None:
    """Run a command that prints nothing that matters; raises :class:`RootError`."""
    done = subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, check=False)
    if done.returncode != 0:
        raise RootError(f"{shlex.join(command)}: {done.stdout.decode().strip()}")
