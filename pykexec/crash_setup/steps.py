"""What a setup does, as values: files, commands, and why. Pure."""

from __future__ import annotations

import hashlib
import shlex
from typing import TYPE_CHECKING

from pykexec.crash.json_records import build_object, parse_object
from pykexec.values.data_classes import asdict, dataclass, field
from pykexec.values.errors import PykexecError

if TYPE_CHECKING:
    from collections.abc import Sequence

MANIFEST = "/var/lib/pykexec/setup.json"
MANIFEST_SCHEMA = "pykexec.crash-setup/1"
EXIT_REBOOT = 3
EXIT_REFUSED = 4


class SetupRefusedError(PykexecError):
    """Nothing was changed, for the reasons that are in the message."""

    exit_code = EXIT_REFUSED


@dataclass(frozen=True, slots=True)
class WriteFile:
    """A file of our own, replaced in one step."""

    path: str
    data: bytes
    why: str
    mode: int = 0o644

    @property
    def digest(self) -> str:
        """The SHA-256 of what is written, in hexadecimal."""
        return hashlib.sha256(self.data).hexdigest()


@dataclass(frozen=True, slots=True)
class Run:
    """A command."""

    words: tuple[str, ...]
    why: str
    after: tuple[str, ...] = ()
    """It is needed only if one of these files has been written anew; none: always."""
    makes: str = ""
    """A file that it makes, under another name until it is complete."""

    def __str__(self) -> str:
        """Return it as one would type it."""
        return shlex.join(self.words)


Step = WriteFile | Run


@dataclass(frozen=True, slots=True)
class SetupPlan:
    """What is to be done, or why nothing is."""

    steps: tuple[Step, ...] = ()
    refusals: tuple[tuple[str, str], ...] = ()
    """Each with what to do about it."""
    notes: tuple[str, ...] = ()
    by_hand: tuple[str, ...] = ()
    """What the user has to do, since no step may."""
    word: str = ""
    """The ``crashkernel=`` that is written; "" where the one that is there stays."""
    needs_reboot: bool = False


@dataclass(frozen=True, slots=True)
class Manifest:
    """What a setup has left in the system, for the undo."""

    files: tuple[tuple[str, str], ...] = ()
    """Paths, and the SHA-256 of what was written."""
    units: tuple[str, ...] = ()
    """Those that it has enabled."""
    loader: tuple[str, ...] = ()
    """The command that makes the boot loader see a change."""
    word: str = ""
    cmdline_word: bool = False
    """The word stands in /etc/kernel/cmdline, which is not ours."""
    directory: str = ""
    """Where dumps appear in the running system; "" for elsewhere."""
    target: str = ""
    """In words."""
    options: dict[str, str] = field(default_factory=dict)
    """What the setup was told: the same builds the image for another kernel."""


def build_manifest(manifest: Manifest) -> bytes:
    """Encode it as JSON; :func:`parse_manifest` reads it back."""
    members = asdict(manifest)
    members["files"] = [{"path": path, "sha256": digest} for path, digest in manifest.files]
    return build_object(MANIFEST_SCHEMA, members)


def parse_manifest(data: bytes, where: str = MANIFEST) -> Manifest:
    """Decode it; raises :class:`~pykexec.errors.MachineError` naming what is wrong."""
    value = parse_object(data, MANIFEST_SCHEMA, where)
    options = value.fields("options")
    return Manifest(
        files=tuple((f.text("path"), f.text("sha256")) for f in value.fields_of_each("files")),
        units=value.texts("units"),
        loader=value.texts("loader"),
        word=value.text("word"),
        cmdline_word=value.flag("cmdline_word"),
        directory=value.text("directory"),
        target=value.text("target"),
        options={name: options.text(name) for name in options.names()},
    )


def describe(steps: Sequence[Step]) -> str:
    """Return every file with its contents, and every command, as a user reads them."""
    parts = []
    for step in steps:
        if isinstance(step, Run):
            parts.append(f"# {step.why}\n$ {step}\n")
            continue
        text = step.data.decode("utf-8", "replace")
        lines = text.splitlines()
        shown = (
            lines
            if len(lines) <= SHOWN_MAX
            else [*lines[:SHOWN_HEAD], f"... {len(lines)} lines in all"]
        )
        body = "".join(f"    {line}\n" for line in shown)
        parts.append(f"# {step.why}\n> {step.path} ({step.mode:o})\n{body}")
    return "\n".join(parts)


SHOWN_MAX = 40
SHOWN_HEAD = 6
