"""What the kernel's own tests of kexec ask of the program called ``kexec``.

Linux tools/testing/selftests/kexec, test_kexec_load.sh and test_kexec_file_load.sh: both load the
running release's image by long options and judge by the exit status alone, save that ENOKEY is
known by its text; what was loaded is unloaded at once. test_kexec_jump.sh is for kernels with
CONFIG_KEXEC_JUMP, which Debian has not, and calls no ``kexec``.
"""

from __future__ import annotations

import pytest

from tests.vm.conftest import Vm
from tests.vm.tried import Tried

IMAGE = "/boot/vmlinuz-6.12"
SCRIPT = f"""
try file kexec --load --kexec-file-syscall {IMAGE}
try file-unload kexec --unload --kexec-file-syscall
try plain kexec --load {IMAGE}
try plain-unload kexec --unload
try segments kexec --load --kexec-syscall {IMAGE}
try segments-unload kexec --unload
"""


@pytest.mark.full
def test_nothing_asks_for_a_signature(vm: Vm) -> None:
    tried = Tried(vm([SCRIPT]).phases[1].lines)

    for name in ("file", "plain", "segments"):
        assert tried.outcome(name) == (0, "10"), tried.said(name)
        assert tried.outcome(f"{name}-unload") == (0, "00"), tried.said(f"{name}-unload")


@pytest.mark.full
def test_ima_wants_a_signature(vm: Vm) -> None:
    """The policy that secure boot brings with it; the image has no signature of IMA's."""
    tried = Tried(vm([SCRIPT], append="ima_policy=secure_boot").phases[1].lines)

    for name in ("file", "plain", "segments"):
        assert tried.outcome(name) == (255, "00"), tried.said(name)
        assert "Permission denied (EACCES)" in tried.said(name)
        assert "IMA" in tried.said(name)
        assert tried.outcome(f"{name}-unload") == (0, "00"), tried.said(f"{name}-unload")
