"""Where a dump is to go, and what is to be done with it. Pure.

As the user says it, or as the configuration of another kdump says it that is there already:
kdump.conf(5) of kdump-utils, and Debian's /etc/default/kdump-tools. What of those is not
understood is told, and never passed over.
"""

from __future__ import annotations

import posixpath
import re
import shlex
from enum import Enum
from typing import TYPE_CHECKING

from pykexec.values.data_classes import dataclass, replace
from pykexec.values.errors import OptionError

if TYPE_CHECKING:
    from collections.abc import Iterator

DIRECTORY = "/var/crash"
"""Where distributions keep dumps."""
ACTIONS = ("reboot", "halt", "poweroff")
CONTINUE = "continue"
"""Where firmware takes the dump: the boot goes on, in what memory there is if it was not saved."""
_FILE_SYSTEMS = frozenset(
    ("ext2", "ext3", "ext4", "xfs", "btrfs", "f2fs", "vfat", "minix", "virtiofs")
)
_DEBIAN_NAME = re.compile(r"(?:export\s+)?([A-Z_]+)=(.*)")


class Kind(Enum):
    """What a dump goes to."""

    DIRECTORY = "directory"
    """Of a file system that is mounted here."""
    FILE_SYSTEM = "file system"
    """That may not be mounted, by its device."""
    DEVICE = "device"
    """With nothing else on it."""
    NFS = "nfs"
    SSH = "ssh"


_TARGETS = {"raw": Kind.DEVICE, "nfs": Kind.NFS, "ssh": Kind.SSH}
_WITHOUT_EFFECT = frozenset(("auto_reset_crashkernel", "force_rebuild", "force_no_rebuild"))
"""Of kdump-utils' own service: nothing is lost without them."""


@dataclass(frozen=True, slots=True)
class Target:
    """Where a dump goes."""

    kind: Kind
    source: str = ""
    """A device (``/dev/…``, ``UUID=…``), ``HOST:/EXPORT``, or ``USER@HOST``; "" for a directory."""
    fstype: str = ""
    """Of a file system by its device."""
    directory: str = DIRECTORY
    """Absolute, below the source; of a directory, in the running system."""
    key: str = ""
    """Of SSH: the file of the private key, which must have no passphrase."""

    def __str__(self) -> str:
        """Describe it in words."""
        if self.kind is Kind.DIRECTORY:
            return self.directory
        place = "" if self.kind is Kind.DEVICE else f", {self.directory}"
        return f"{self.kind.value} {self.source}{place}"


@dataclass(frozen=True, slots=True)
class Settings:
    """All that the saver is told. What is None is left to :mod:`pykexec.crash_setup`."""

    target: Target = Target(Kind.DIRECTORY)
    makedumpfile: str | None = None
    """Arguments of makedumpfile; "" for a plain copy."""
    final: str = "reboot"
    failure: str = "reboot"
    source: str = ""
    """The file that they are from; "" for what is the default."""
    untaken: tuple[str, ...] = ()
    """What of that file has no effect, and why."""


def parse_target(text: str, key: str = "") -> Target:
    """Read ``DIR``, ``/dev/DEVICE``, ``nfs://HOST/EXPORT`` or ``ssh://[USER@]HOST/DIR``.

    Raises :class:`OptionError` for anything else.
    """
    scheme, separator, rest = text.partition("://")
    host, slash, path = rest.partition("/")
    if separator and scheme in ("nfs", "ssh"):
        if not host or not slash or not path:
            raise OptionError(
                f"{text!r} names no host and directory",
                hint=f"{scheme}://HOST/DIRECTORY is how it is written",
            )
        if scheme == "nfs":
            return Target(Kind.NFS, f"{host}:/{path}", directory="/")
        return Target(Kind.SSH, host, directory=f"/{path}", key=key)
    if separator or not text.startswith("/") or "\n" in text:
        raise OptionError(
            f"{text!r} is no target for a dump",
            hint="DIR, /dev/DEVICE, nfs://HOST/EXPORT and ssh://USER@HOST/DIR are",
        )
    if text.startswith("/dev/"):
        return Target(Kind.DEVICE, text)
    return Target(Kind.DIRECTORY, directory=posixpath.normpath(text))


def parse_kdump_conf(text: str, where: str = "/etc/kdump.conf") -> Settings:
    """Read kdump.conf(5), as of kdump-utils 1.0.61; of several targets the last counts."""
    found, untaken = Settings(source=where), []
    path, key = DIRECTORY, ""
    for number, line in enumerate(text.splitlines(), 1):
        name, _, value = line.split("#", 1)[0].strip().partition(" ")
        value = value.strip()
        if not name:
            continue
        if name == "path":
            path = posixpath.join("/", value)
        elif name == "sshkey":
            key = value
        elif name in _FILE_SYSTEMS or name in _TARGETS:
            kind = _TARGETS.get(name, Kind.FILE_SYSTEM)
            fstype = name if kind is Kind.FILE_SYSTEM else ""
            found = replace(found, target=Target(kind, value, fstype))
        elif name not in _WITHOUT_EFFECT:
            found, problem = _directive(found, name, value)
            untaken += [f"line {number}: {problem}"] if problem else []
    target = replace(found.target, directory=path)
    if target.kind is Kind.SSH:
        target = replace(target, key=key or "/root/.ssh/kdump_id_rsa")
    return replace(found, target=target, untaken=tuple(untaken))


def _directive(settings: Settings, name: str, value: str) -> tuple[Settings, str]:
    """Take one that is no target; returns why it is not taken as well."""
    if name == "core_collector":
        return _collector(settings, value)
    if name not in ("final_action", "failure_action", "default"):
        return settings, f"{name} is not known here"
    if value not in ACTIONS:
        return settings, f"{name} {value}: only {', '.join(ACTIONS)}"
    if name == "final_action":
        return replace(settings, final=value), ""
    return replace(settings, failure=value), ""


def _collector(settings: Settings, value: str) -> tuple[Settings, str]:
    program, _, arguments = value.partition(" ")
    if program == "makedumpfile":
        words = [word for word in arguments.split() if word != "-F"]
        return replace(settings, makedumpfile=" ".join(words)), ""
    if program in ("cp", "scp", "dd"):
        return replace(settings, makedumpfile=""), ""
    return settings, f"core_collector {program}: only makedumpfile, cp and scp"


def parse_kdump_tools(text: str, where: str = "/etc/default/kdump-tools") -> Settings:
    """Read the variables of Debian's kdump-tools, as of 1.10.9."""
    found, untaken = Settings(source=where), []
    values = dict(_assignments(text))
    directory = values.pop("KDUMP_COREDIR", DIRECTORY) or DIRECTORY
    target = Target(Kind.DIRECTORY, directory=directory)
    key = values.pop("SSH_KEY", "")
    if values.get("NFS"):
        target = Target(Kind.NFS, values["NFS"], directory="/")
    elif values.get("SSH"):
        words = values["SSH"].split()
        target = Target(Kind.SSH, words[0], directory=directory, key=key or "/root/.ssh/id_rsa")
    if values.get("MAKEDUMP_ARGS"):
        words = [word for word in values["MAKEDUMP_ARGS"].split() if word != "-F"]
        found = replace(found, makedumpfile=" ".join(words))
    fail = values.pop("KDUMP_FAIL_CMD", "")
    if fail:
        action = fail.split()[0].rpartition("/")[2]
        if action in ACTIONS:
            found = replace(found, failure=action)
        else:
            untaken.append(f"KDUMP_FAIL_CMD={fail}: only {', '.join(ACTIONS)}")
    for name in ("NFS", "SSH", "MAKEDUMP_ARGS", "USE_KDUMP", "KDUMP_DUMP_DMESG"):
        values.pop(name, None)
    untaken += [f"{name}={value}: not known here" for name, value in values.items() if value]
    return replace(found, target=target, untaken=tuple(untaken))


def _assignments(text: str) -> Iterator[tuple[str, str]]:
    """Yield what is assigned in a file of shell variables, as long as nothing is expanded."""
    for line in text.splitlines():
        match = _DEBIAN_NAME.fullmatch(line.strip())
        if match is None:
            continue
        try:
            words = shlex.split(match[2], comments=True)
        except ValueError:
            words = [match[2]]
        yield match[1], words[0] if words else ""
