"""A launcher below a prefix, with its script."""

from __future__ import annotations

import sys
from pathlib import Path

from pykexec import launchers
from tests.differential.sandbox import PROJECT


class Installed:
    """PREFIX/sbin/kexec, and where its script goes."""

    def __init__(self, prefix: Path, image: bytes) -> None:
        """Write the launcher."""
        self.prefix = prefix
        self.program = prefix / "sbin/kexec"
        self.script = prefix / launchers.SCRIPT
        for path in (self.program, self.script):
            path.parent.mkdir(parents=True)
        self.program.write_bytes(image)
        self.program.chmod(0o755)

    def write_script(self, text: str | None = None) -> None:
        """Write the script: the one that enters this working tree, unless another is given."""
        if text is None:
            text = launchers.script(python=sys.executable, path=str(PROJECT))
        self.script.write_text(text)
        self.script.chmod(0o755)
