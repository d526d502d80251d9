"""Doing what a setup has planned, and undoing it."""

from __future__ import annotations

import hashlib
import os
import subprocess
from contextlib import suppress
from typing import TYPE_CHECKING

from pykexec.cli.terminal import say_line
from pykexec.cli.verb_options import warn
from pykexec.crash_setup.image import CAPTURE, STATE
from pykexec.crash_setup.steps import MANIFEST, Run, build_manifest
from pykexec.values.errors import PykexecError

if TYPE_CHECKING:
    from collections.abc import Iterable

    from pykexec.crash_setup.steps import Manifest, Step, WriteFile

_TAIL = 12
"""Lines that are shown of what a command has said that failed."""


def build_image(steps: Iterable[Step]) -> None:
    """Do the steps of the capture initramfs; nothing of an earlier one is left to be packed."""
    import shutil

    shutil.rmtree(CAPTURE, ignore_errors=True)
    run_steps(steps)


def run_steps(steps: Iterable[Step]) -> None:
    """Do the steps in their order, each of which is told; raises :class:`PykexecError`."""
    written: set[str] = set()
    for step in steps:
        if not isinstance(step, Run):
            if _write(step):
                written.add(step.path)
            continue
        if step.after and written.isdisjoint(step.after):
            say_line(f"nothing to do for: {step}")
            continue
        say_line(f"running: {step}")
        _run(step)


def _write(step: WriteFile) -> bool:
    """Write a file unless it is as it should be; tells whether it was not."""
    with suppress(OSError):
        with open(step.path, "rb") as file:
            same = file.read() == step.data and os.fstat(file.fileno()).st_mode & 0o777 == step.mode
        if same:
            return False
    partial = f"{step.path}.pykexec-new"
    try:
        os.makedirs(os.path.dirname(step.path), mode=0o755, exist_ok=True)
        descriptor = os.open(partial, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_NOFOLLOW, 0o600)
        with os.fdopen(descriptor, "wb") as file:
            file.write(step.data)
            os.fchmod(descriptor, step.mode)
            file.flush()
            os.fsync(descriptor)
        os.replace(partial, step.path)
    except OSError as error:
        with suppress(OSError):
            os.unlink(partial)
        raise PykexecError(f"cannot write {step.path}: {error.strerror}") from error
    if not step.path.startswith(f"{CAPTURE}/"):
        say_line(f"wrote {step.path}: {step.why}")
    return True


def _run(step: Run) -> None:
    words = list(step.words)
    partial = f"{step.makes}.new" if step.makes else ""
    if partial:
        words = [partial if word == step.makes else word for word in words]
    try:
        done = subprocess.run(
            words,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            umask=0o077 if partial else -1,
            check=False,
        )
    except OSError as error:
        raise PykexecError(
            f"cannot run {words[0]}: {error.strerror}", hint=f"it is to {step.why}"
        ) from error
    said = done.stdout.decode("utf-8", "replace").strip().splitlines()
    if done.returncode != 0 or (partial and not os.path.exists(partial)):
        with suppress(OSError):
            os.unlink(partial)
        how = f"ended with {done.returncode}" if done.returncode else "has made nothing"
        text = "\n  ".join([f"{words[0]} {how}, and was to {step.why}:", *said[-_TAIL:]])
        raise PykexecError(text, hint="what was done before stays; call this again, or --undo")
    if partial:
        os.replace(partial, step.makes)


def keep_manifest(manifest: Manifest) -> None:
    """Write down what the undo has to take away; before it is there."""
    from pykexec.loading.run_files import write_in

    try:
        write_in(MANIFEST, build_manifest(manifest))
    except OSError as error:
        raise PykexecError(f"cannot write {MANIFEST}: {error.strerror}") from error


def undo(manifest: Manifest) -> None:
    """Take away what the manifest names and nothing else; what was changed since stays."""
    from pykexec.crash_setup.loaders import KERNEL_CMDLINE, with_word

    for unit in manifest.units:
        _tell(Run(("systemctl", "disable", "--now", unit), "load no crash kernel any more"))
    for path, digest in manifest.files:
        if not path.startswith(f"{STATE}/"):
            _remove(path, digest)
    if manifest.cmdline_word:
        with suppress(OSError):
            with open(KERNEL_CMDLINE, "rb") as file:
                line = file.read()
            _replace(KERNEL_CMDLINE, with_word(line, "", manifest.word))
            say_line(f"{KERNEL_CMDLINE}: {manifest.word} taken away")
    if manifest.loader:
        _tell(Run(manifest.loader, "make anew what they were a part of"))
    _remove_state()


def _replace(path: str, data: bytes) -> None:
    from pykexec.crash_setup.steps import WriteFile

    _write(WriteFile(path, data, "without pykexec's word"))


def _tell(step: Run) -> None:
    say_line(f"running: {step}")
    try:
        _run(step)
    except PykexecError as error:
        warn(error.message)


def _remove(path: str, digest: str) -> None:
    try:
        with open(path, "rb") as file:
            found = hashlib.sha256(file.read()).hexdigest()
        if digest and found != digest:
            warn(f"{path} was changed since, and stays")
            return
        os.unlink(path)
        say_line(f"removed {path}")
    except FileNotFoundError:
        return
    except OSError as error:
        warn(f"{path} cannot be removed: {error.strerror}")


def _remove_state() -> None:
    """Take away what is only ours: the images, what they were built from, the manifest last."""
    import shutil

    shutil.rmtree(CAPTURE, ignore_errors=True)
    for name in sorted(os.listdir(STATE)) if os.path.isdir(STATE) else ():
        if name.startswith("capture-") and name.endswith((".img", ".img.new")):
            _remove(f"{STATE}/{name}", "")
    _remove(MANIFEST, "")
