"""The launchers that pykexec carries, as launcher/build_launchers.py wrote them here.

A launcher is /usr/sbin/kexec where pykexec is installed for a whole system or packed into an
initramfs: a static program that jumps by itself, and executes a script for everything else.
launcher/README.md has the contract between the two.
"""

from __future__ import annotations

from functools import cache
from pathlib import Path

from pykexec.built_files import BuiltFiles
from pykexec.values.errors import OptionError

DIRECTORY = Path(__file__).parent

SCRIPT = "lib/pykexec/kexec"
"""Where the launcher PREFIX/sbin/kexec looks for its script, below PREFIX, and then below /usr."""


@cache
def load(arch: str) -> bytes:
    """Return the launcher for ``arch``, an ELF file, checked against its SHA-256 in the manifest.

    Raises :class:`OptionError` when there is none for ``arch``, :class:`MachineError` when a
    file is missing or damaged.
    """
    files = BuiltFiles(DIRECTORY, "launcher")
    launchers = files.entries("launchers")
    if arch not in launchers:
        raise OptionError(
            f"there is no launcher for {arch!r}", hint=f"there is one for {', '.join(launchers)}"
        )
    try:
        return files.described(launchers[arch])
    except (ValueError, KeyError, TypeError) as error:
        raise files.damaged_manifest(error) from error


def script(
    *,
    door: str = "kexec",
    python: str = "/usr/bin/python3",
    options: str = "-IB",
    path: str | None = None,
) -> str:
    """Return a program in Python that enters pykexec by ``door``, to be written with mode 0755.

    It is what the launcher executes, and with another ``door`` (a function of
    :mod:`pykexec.cli.front_door`) a program of its own. ``python`` and ``options``, one word, are
    the first line's: isolated from the caller's environment and directory, writing no byte code.
    ``path`` is the directory that ``pykexec`` lies in; None where Python finds it unasked.
    """
    lines = [f"#!{python} {options}"]
    if path is not None:
        lines += ["import sys", f"sys.path.insert(0, {path!r})"]
    lines += [f"from pykexec.cli.front_door import {door}", f"{door}()", ""]
    return "\n".join(lines)
