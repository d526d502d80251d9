"""IMA's measurement list, as the running kernel shows it to root.

Linux security/integrity/ima/ima_fs.c, "binary_runtime_measurements".
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from pykexec.values.facts import IMA_LIST_MAX

if TYPE_CHECKING:
    from pykexec.machine.files import MachineFiles

MEASUREMENTS = "sys/kernel/security/ima/binary_runtime_measurements"


def read_ima_measurements(files: MachineFiles) -> bytes | None:
    """Return the binary list; None where there is none, or it cannot be read.

    Of a list longer than :data:`~pykexec.values.facts.IMA_LIST_MAX` one byte more than that is
    returned.
    """
    try:
        return files.head(MEASUREMENTS, IMA_LIST_MAX + 1)
    except OSError:
        return None
