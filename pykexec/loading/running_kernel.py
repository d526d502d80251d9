"""What the running kernel says of kexec, and the refusals that need nothing else."""

from __future__ import annotations

import os

from pykexec.values.errors import DeniedError, PykexecError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from pathlib import Path

    from pykexec.values.kernel_state import KernelState


def read_state(root: Path | str = "/") -> KernelState:
    """Read the running kernel's kexec state."""
    from pykexec.machine.kernel_state import read_kernel_state

    return read_kernel_state(root)


def require_hypervisor(state: KernelState, what: str) -> None:
    """Refuse on Xen's dom0 where the hypervisor cannot be asked: only it could do it."""
    if state.xen_host:
        from pykexec.calls.rejections import xen_gate

        gate = xen_gate(state)
        if gate is not None:
            raise PykexecError(f"{what} cannot be done: {gate.reason}", hint=gate.hint)


def require_boot_capability(state: KernelState, what: str) -> None:
    """Refuse early, before the machine is asked, when CAP_SYS_BOOT is missing."""
    from pykexec.values.facts import CAP_SYS_BOOT

    if state.xen_host:
        # Who may open its device may do all that the hypervisor does.
        require_hypervisor(state, what)
        return
    capabilities = state.effective_capabilities
    if capabilities is not None and not capabilities >> CAP_SYS_BOOT & 1:
        raise DeniedError(
            f"{what} needs CAP_SYS_BOOT; this process (uid {os.geteuid()}) has "
            f"CapEff {capabilities:#x}",
            hint="run it as root, outside a container that drops the capability",
        )
