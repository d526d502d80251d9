"""What is asked of a load on a machine with a device tree, whatever its architecture."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from pykexec.planning.plans import LoadRequest

INITRD = bytes(range(256)) * 40 + b"end"


def request_for(own: bytes, more: Mapping[str, Any]) -> LoadRequest:
    """Make a request for the kernel ``own`` with :data:`INITRD`, but for what ``more`` has."""
    given = {
        "kernel": own,
        "initrd": INITRD,
        "cmdline": b"ro quiet",
        "rng_seed": b"r" * 32,
        "kaslr_seed": b"kaslr-8b",
    }
    return LoadRequest(**{**given, **more})
