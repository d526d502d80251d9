"""The launcher as a file, where it finds a script of its own."""

from __future__ import annotations

from pathlib import Path

import pytest

from pykexec import launchers
from tests.launcher.installed import Installed


@pytest.fixture
def installed(tmp_path: Path) -> Installed:
    """Return this machine's launcher below a prefix, without a script yet."""
    return Installed(tmp_path / "prefix", launchers.load("x86_64"))
