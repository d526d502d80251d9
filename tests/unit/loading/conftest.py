"""The machine that stands in for this one is that of the programs' tests."""

from __future__ import annotations

from tests.cli.conftest import here, initrd, kernel

__all__ = ["here", "initrd", "kernel"]
