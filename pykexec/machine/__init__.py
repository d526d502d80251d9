"""The machine: the only package that reads /proc, /sys and /dev, always below a root.

Everything to the right of it works on :class:`pykexec.values.facts.MachineFacts`. The root is
``/`` for the live machine, or a machine directory: the same relative paths, and a
``machine.json`` with what is no file (:mod:`pykexec.machine.description`). A tar that
``pykexec machine record`` wrote is as good as the directory.
"""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from os import PathLike

    from pykexec.values.facts import MachineFacts

__all__ = ["read_machine", "read_without_memory"]


def read_machine(root: PathLike[str] | str = "/", *, crash: bool = False) -> MachineFacts:
    """Read what a machine is, below ``root``.

    ``crash`` also reads what an ELF core header needs (:class:`~pykexec.values.facts.CrashFacts`);
    a normal load leaves /proc/kcore and /proc/kallsyms alone. Raises
    :class:`~pykexec.errors.MachineError` naming the file that is missing, unreadable or
    malformed, and what it is needed for; where the reader is not shown memory, its child
    :class:`~pykexec.errors.HiddenMemoryError`.
    """
    from pykexec.machine.description import read_description
    from pykexec.machine.gather import gather
    from pykexec.machine.roots import machine_files

    files = machine_files(root)
    return gather(files, read_description(files), crash=crash)


def read_without_memory(root: PathLike[str] | str = "/") -> MachineFacts:
    """Read what a machine tells everybody: no addresses, and ``iomem`` is empty.

    For who meets :class:`~pykexec.errors.HiddenMemoryError` and has a question that needs none.
    Raises :class:`~pykexec.errors.MachineError` only for a directory that is no machine
    directory.
    """
    from pykexec.machine.description import read_description
    from pykexec.machine.gather import gather_without_memory
    from pykexec.machine.roots import machine_files

    files = machine_files(root)
    return gather_without_memory(files, read_description(files))
