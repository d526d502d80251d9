"""What the running kernel says of kexec, as a value. Pure."""

from __future__ import annotations

from pykexec.values.data_classes import dataclass

TYPE_CHECKING = False
if TYPE_CHECKING:
    from pykexec.values.handover import Handover

TYPE_CHECKING = False
if TYPE_CHECKING:
    from pykexec.values.xen import XenProblem


@dataclass(frozen=True, slots=True)
class KernelState:
    """The running kernel's view of kexec, and the gates in front of it."""

    release: str = ""
    loaded: bool | None = None
    """A normal image is loaded; None when the kernel does not say."""
    crash_loaded: bool | None = None
    crash_size: int | None = None
    """Bytes reserved by crashkernel=, both regions together."""
    crash_elfcorehdr_size: int | None = None
    kexec_load_disabled: bool | None = None
    load_limit_reboot: int | None = None
    """Loads left; -1 is no limit (kernel.kexec_load_limit_reboot)."""
    load_limit_panic: int | None = None
    lockdown: str | None = None
    """``none``, ``integrity`` or ``confidentiality``; None without the lockdown LSM."""
    secure_boot: bool | None = None
    secure_ipl: bool | None = None
    """s390x: the IPL was a secure one, after which kexec_file_load takes signed kernels alone."""
    effective_capabilities: int | None = None
    """CapEff of this process as a bit mask."""
    xen: bool = False
    """The kernel runs under Xen, as its host or as a guest."""
    xen_host: bool = False
    """It is Xen's dom0: the hypervisor has the machine, and kexec is its business."""
    xen_problem: XenProblem | None = None
    """Why nothing comes of its hypervisor; None: it answers."""
    loadpin_enforced: bool | None = None
    handover: bool = False
    """Kexec handover is on; False also where it cannot be told."""
    handed_over: Handover | None = None
    """What the machine says of it; None for kernels that have none."""
    memory_total: int | None = None
    """MemTotal in bytes."""
    memory_available: int | None = None
    """MemAvailable in bytes."""
    memory_cma: int | None = None
    """CmaTotal in bytes: areas that are lent to movable pages, for contiguous allocations."""
