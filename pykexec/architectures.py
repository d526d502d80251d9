"""The names of architectures, as :attr:`pykexec.values.facts.MachineFacts.arch` has them. Pure."""

from __future__ import annotations

I386 = "i386"
"""That of all x86 kernels of 32 bits."""
X86 = ("x86_64", I386)
"""Those that are x86."""
_MACHINES_OF_I386 = ("i386", "i486", "i586", "i686")


def architecture(machine: str) -> str:
    """Return the architecture that a ``uname -m`` stands for."""
    return I386 if machine in _MACHINES_OF_I386 else machine
