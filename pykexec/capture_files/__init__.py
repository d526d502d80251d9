"""What runs in a capture initramfs, and what packs it there: shell scripts, as files.

``save`` saves the dump; the others are of initramfs-tools and dracut. Reads nothing but them.
"""

from __future__ import annotations

from pathlib import Path

from pykexec.values.errors import MachineError


def read(name: str) -> bytes:
    """Return one of the files; raises :class:`MachineError` when it is missing."""
    file = Path(__file__).with_name(name)
    try:
        return file.read_bytes()
    except OSError as error:
        raise MachineError(
            f"cannot read {file}: {error.strerror}", hint="pykexec is damaged; install it again"
        ) from error
