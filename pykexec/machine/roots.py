"""What is at the root of a machine: the machine itself, a copy of its files, a tar of them."""

from __future__ import annotations

import os

from pykexec.machine.files import MachineFiles


def machine_files(root: os.PathLike[str] | str = "/") -> MachineFiles:
    """Return the files of the live machine, of a machine directory, or of a tar of one.

    Raises :class:`MachineError` for a file that is no such tar.
    """
    if os.path.exists(root) and not os.path.isdir(root):
        from pykexec.machine.tar_files import TarFiles

        return TarFiles(root)
    return MachineFiles(root)
