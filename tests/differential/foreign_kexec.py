"""Runs this working tree's kexec as if this machine were one of another architecture.

The first argument is what ``uname -m`` says there, the second the page size, the others are
kexec's. What the C library tells of the machine is replaced, and the numbers of the system calls
are those of the host, by which the capturing library knows them: no call can become another one.
Everything else is as it is.
"""

from __future__ import annotations

import os
import sys

from pykexec.architectures import for_program
from pykexec.calls import syscalls
from pykexec.cli import kexec_compat


def pretend(architecture: str, page_size: int) -> None:
    """Let this process take its host for such a machine with pages of ``page_size`` bytes."""
    real_uname, real_sysconf = os.uname, os.sysconf
    here = for_program(real_uname().machine, 8 * syscalls._POINTER_SIZE)
    vars(syscalls)["for_program"] = lambda *_: here
    os.uname = lambda: os.uname_result((*real_uname()[:4], architecture))
    os.sysconf = lambda name: page_size if name == "SC_PAGESIZE" else real_sysconf(name)


if __name__ == "__main__":
    pretend(sys.argv[1], int(sys.argv[2]))
    sys.exit(kexec_compat.main(sys.argv[3:]))
