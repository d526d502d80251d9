"""Run ``make demo`` and ``make test`` on pristine Debian: ``python -m tools.pristine SUITE...``.

Of each suite a minimal root is made by debootstrap, with git and make and nothing else, and a
clone of the committed state in it. What the words of STEPS do there, a newcomer's machine does.
Roots, packages and wheels are kept in the cache, outside the repository, and so is what came of
each step: the same commit is not run again, an interrupted run goes on where it was.
"""

from __future__ import annotations

import argparse
import configparser
import json
import os
import re
import shlex
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from tests.vm.debian import (
    FetchError,
    Source,
    Suite,
    cache_dir,
    configured_archive,
    configured_sources,
)

PROJECT = Path(__file__).resolve().parent.parent
SUITES = ("bookworm", "trixie", "testing")
STEPS = ("demo", "test")
"""Targets of the Makefile, each of which goes to its end whatever the one before came to."""

INCLUDED = ("git", "make")
CLONE = "root/pykexec"
CACHE = "root/.cache"
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


class PristineError(Exception):
    """A root cannot be made or entered; the message says why."""


@dataclass(frozen=True, slots=True)
class Outcome:
    """What came of a step."""

    code: int
    """That of make."""
    seconds: float
    summary: str
    """The last line that was printed."""


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
    dump = _output("apt-config", "dump", "Acquire")
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


class Root:
    """The root of one suite, and what is kept of it."""

    def __init__(self, suite: str, host: Host) -> None:
        """Nothing is made yet."""
        self.suite = suite
        self._host = host
        self._place = cache_dir() / "pristine" / suite
        self._base = self._place / "base"
        self._root = self._place / "root"
        self._results = self._place / "results.json"

    def log(self, step: str) -> Path:
        """Return the file that has everything a step printed."""
        return self._place / f"{step}.log"

    def prepare(self, commit: str) -> None:
        """Make the root for ``commit``, unless the one that is there is for it."""
        self._place.mkdir(parents=True, exist_ok=True)
        if self._state().get("commit") == commit and self._root.is_dir():
            return
        self._results.unlink(missing_ok=True)
        self._bootstrap()
        _run("rm", "-rf", "--one-file-system", str(self._root))
        # Only a root that is complete has its name.
        partial = self._place / "partial"
        _run("rm", "-rf", "--one-file-system", str(partial))
        _run("cp", "-a", str(self._base), str(partial))
        self._configure(partial)
        _run("git", "clone", "--quiet", str(PROJECT), str(partial / CLONE))
        _run("git", "-C", str(partial / CLONE), "checkout", "--quiet", commit)
        partial.rename(self._root)
        self._write({"commit": commit, "steps": {}})

    def outcome(self, step: str) -> Outcome | None:
        """Return what came of a step in this root, None where it has not been to its end."""
        found = self._state().get("steps", {}).get(step)
        return None if found is None else Outcome(**found)

    def run(self, step: str) -> Outcome:
        """Run a step, and keep what comes of it."""
        started = time.monotonic()
        with self.log(step).open("wb") as log:
            done = subprocess.run(
                self._enter("make", step),
                env=self._environment(),
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                check=False,
            )
        lines = self.log(step).read_text(errors="replace").split("\n")
        said = next((line for line in reversed(lines) if line.strip()), "")
        found = Outcome(done.returncode, round(time.monotonic() - started, 1), said.strip("= "))
        state = self._state()
        state["steps"][step] = asdict(found)
        self._write(state)
        return found

    def shell(self, command: str) -> int:
        """Run a command in the root, here on the terminal; returns its exit code."""
        words = self._enter("sh", "-c", command)
        return subprocess.run(words, env=self._environment(), check=False).returncode

    def _state(self) -> dict[str, Any]:
        return json.loads(self._results.read_text()) if self._results.exists() else {}

    def _write(self, state: Mapping[str, Any]) -> None:
        partial = self._results.with_suffix(".new")
        partial.write_text(json.dumps(state, indent=1) + "\n")
        partial.rename(self._results)

    def _bootstrap(self) -> None:
        """Make the minimal root that all runs of this suite begin with."""
        if self._base.is_dir():
            if time.time() - self._base.stat().st_mtime < MONTH:
                return
            _run("rm", "-rf", "--one-file-system", str(self._base))
        partial = self._place / "bootstrap"
        _run("rm", "-rf", "--one-file-system", str(partial))
        packages = self._place / "packages"
        packages.mkdir(exist_ok=True)
        source = configured_archive()
        command = ["debootstrap", "--variant=minbase", f"--include={','.join(INCLUDED)}"]
        command += [f"--cache-dir={packages}", f"--keyring={keyring(source)}"]
        script = Path("/usr/share/debootstrap/scripts") / self.suite
        # A debootstrap that is older than the suite does what it does for all of Debian's.
        known = () if script.exists() else ("sid",)
        log = self._place / "bootstrap.log"
        with log.open("wb") as out:
            words = [*command, self.suite, str(partial), source.uri, *known]
            done = subprocess.run(words, stdout=out, stderr=out, check=False)
        if done.returncode != 0:
            raise PristineError(f"debootstrap failed for {self.suite}: see {log}")
        os.utime(partial)
        partial.rename(self._base)

    def _configure(self, root: Path) -> None:
        """Let the root get packages as this host does."""
        (root / "etc/apt/sources.list").write_text("".join(sources(self.suite)))
        (root / "etc/apt/apt.conf.d/90pristine").write_text(self._host.apt)
        for name in ("auth.conf", "auth.conf.d"):
            place = Path("/etc/apt") / name
            if place.exists():
                _run("cp", "-a", str(place), str(root / "etc/apt"))
        (root / "etc/pip.conf").write_text(self._host.pip)
        for name in ("resolv.conf", "hosts"):
            shutil.copyfile(f"/etc/{name}", root / "etc" / name)
        for directory in (CACHE, "root/.cache/pykexec/debian/unpacked"):
            (root / directory).mkdir(parents=True, exist_ok=True)

    def _enter(self, *command: str) -> list[str]:
        """Return the words that run a command in the root."""
        own = self._place / "cache"
        # Unpacked packages are named by their versions, so all roots may share them.
        unpacked = cache_dir() / "debian" / "unpacked"
        packages = self._place / "packages"
        for directory in (own / "pykexec/debian/unpacked", unpacked, packages):
            directory.mkdir(parents=True, exist_ok=True)
        binds = [
            (str(packages), "/var/cache/apt/archives", "rw"),
            (str(own), f"/{CACHE}", "rw"),
            (str(unpacked), f"/{CACHE}/pykexec/debian/unpacked", "rw"),
        ]
        for path in self._host.shared:
            binds.append((str(path), f"{THERE}{path}", "ro"))
            inside = self._root / f"{THERE}{path}"[1:]
            inside.parent.mkdir(parents=True, exist_ok=True)
            if path.is_dir():
                inside.mkdir(exist_ok=True)
            else:
                inside.touch()
        return [
            *("unshare", "--mount", "--pid", "--fork", "--kill-child", "--propagation", "private"),
            *("sh", "-c", ENTER, "pristine", str(self._root), f"/{CLONE}"),
            *(word for bind in binds for word in bind),
            *("--", *command),
        ]

    def _environment(self) -> dict[str, str]:
        path = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
        return {"PATH": path, "HOME": "/root", "TERM": "dumb", **self._host.environment}


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


def _output(*command: str) -> str:
    return subprocess.run(command, capture_output=True, text=True, check=True).stdout


def _run(*command: str) -> None:
    done = subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, check=False)
    if done.returncode != 0:
        raise PristineError(f"{shlex.join(command)}: {done.stdout.decode().strip()}")


def table(commit: str, outcomes: Mapping[tuple[str, str], Outcome]) -> str:
    """Return every outcome in a line."""
    lines = [
        f"commit {commit[:12]}",
        f"{'suite':10} {'step':6} {'result':9} {'time':>8}  last line",
    ]
    for (suite, step), found in outcomes.items():
        minutes, seconds = divmod(round(found.seconds), 60)
        result = "ok" if found.code == 0 else f"exit {found.code}"
        lines.append(
            f"{suite:10} {step:6} {result:9} {minutes:2}:{seconds:02} min  {found.summary[:60]}"
        )
    return "\n".join(lines)


def main(words: Sequence[str]) -> int:
    """Run everything; returns the exit code."""
    parser = argparse.ArgumentParser(description="Run the project's words on pristine Debian.")
    parser.add_argument(
        "suites", nargs="*", default=SUITES, metavar="SUITE", help=", ".join(SUITES)
    )
    parser.add_argument("--again", action="store_true", help="also what has been run before")
    parser.add_argument("--shell", metavar="COMMAND", help="run that in each root instead")
    arguments = parser.parse_args(words)
    if os.geteuid() != 0:
        print("pristine: only root can make and enter a root directory", file=sys.stderr)
        return 1
    commit = _output("git", "-C", str(PROJECT), "rev-parse", "HEAD").strip()
    if _output("git", "-C", str(PROJECT), "status", "--porcelain"):
        print("pristine: what is not committed is not in the clones", file=sys.stderr)
    host = this_host()
    outcomes: dict[tuple[str, str], Outcome] = {}
    try:
        for suite in arguments.suites:
            root = Root(suite, host)
            print(f"pristine: {suite}: preparing", flush=True)
            root.prepare(commit)
            if arguments.shell:
                root.shell(arguments.shell)
                continue
            for step in STEPS:
                found = root.outcome(step)
                if found is None or found.code != 0 or arguments.again:
                    print(f"pristine: {suite}: make {step}, log {root.log(step)}", flush=True)
                    found = root.run(step)
                outcomes[suite, step] = found
                print(f"pristine: {suite}: make {step}: exit {found.code}", flush=True)
    except (PristineError, FetchError) as error:
        print(f"pristine: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print("pristine: interrupted; the same command goes on from here", file=sys.stderr)
        return 130
    if outcomes:
        print(table(commit, outcomes))
    return int(any(found.code for found in outcomes.values()))


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
