"""What loading, unloading, planning and asking give: values, with what there was to warn of."""

from __future__ import annotations

from pykexec.values.calls import Call
from pykexec.values.data_classes import dataclass
from pykexec.values.large_values import short_repr

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import TypeAlias

    from pykexec.crash.captured import Dumps
    from pykexec.crash.status import CrashLoadRecord, CrashState, Judgement
    from pykexec.planning.plans import LoadRequest, Plan
    from pykexec.values.calls import Target
    from pykexec.values.facts import MachineFacts
    from pykexec.values.kernel_state import KernelState


@dataclass(frozen=True, slots=True)
class LoadRecord:
    """What went into a normal load. Files are not hashed: that would cost more than the load."""

    time: str
    """Of the load, in UTC: ``2026-01-31T12:00:00Z``."""
    boot_id: str
    """/proc/sys/kernel/random/boot_id; "" where there is none."""
    preserve_context: bool
    """The jump is one that is come back from. The launcher looks for it, too."""
    returns_to: int | None
    """Of the way back: the physical address that the other kernel waits at."""
    call: str | None
    """The system call by which it was loaded; None in records of older versions. The launcher looks
    for it, too."""
    kernel: str
    """An absolute path; of the way back, the address in words."""
    initrd: str | None
    cmdline: str
    """What is no UTF-8 in it are surrogates."""


Record: TypeAlias = "LoadRecord | CrashLoadRecord"
"""What a load leaves in /run/pykexec until the next boot."""


def kernel_in(record: Record) -> str:
    """Return the path of the kernel that a record is about."""
    return record.kernel if isinstance(record, LoadRecord) else record.kernel.path


def initrd_in(record: Record) -> str | None:
    """Return the path of the initrd that went with it; None: there was none."""
    if isinstance(record, LoadRecord):
        return record.initrd
    return None if record.initrd is None else record.initrd.path


@dataclass(frozen=True, slots=True)
class Loaded:
    """A load that was carried out."""

    plan: Plan
    """As it was carried out; its ``notes`` say what was done to the request."""
    reason: str
    """Why it was this system call, in words."""
    warnings: tuple[str, ...]
    """What was asked for and has no effect, or did not work beside the load itself."""
    record: Record | None
    """What was left about it in /run/pykexec; None where it could not be written, of which
    there is a warning."""

    __repr__ = short_repr

    @property
    def call(self) -> Call:
        """The system call by which it was loaded."""
        return call_of(self.plan)


@dataclass(frozen=True, slots=True)
class Unloaded:
    """An unload that was carried out; that nothing was loaded is no error."""

    target: Target
    warnings: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Planned:
    """A load that was planned, and verified where it is one by kexec_load(2)."""

    plan: Plan
    facts: MachineFacts
    """Of the machine that it was planned for."""
    request: LoadRequest
    """Out of the wrappings that the kernel came in."""
    reason: str
    """Why it is this system call, in words."""
    warnings: tuple[str, ...]
    """What was asked for and would have no effect."""

    __repr__ = short_repr

    @property
    def call(self) -> Call:
        """The system call by which it would be loaded."""
        return call_of(self.plan)


def call_of(plan: Plan) -> Call:
    """Return the system call that a plan is for."""
    from pykexec.planning.plans import FileLoadPlan

    return Call.KEXEC_FILE_LOAD if isinstance(plan, FileLoadPlan) else Call.KEXEC_LOAD


@dataclass(frozen=True, slots=True)
class ImageStatus:
    """One of the kernel's two images, and what pykexec's records say of it."""

    loaded: bool | None
    """None: the running kernel does not say."""
    record: Record | None
    """Of the last load by pykexec in this boot; another program may have loaded since."""
    unfinished: str
    """A load or an unload that has begun in this boot, in its own words, and has not come to its
    end: then nobody can tell what is loaded. "" for none."""


@dataclass(frozen=True, slots=True)
class Status:
    """What a machine says of kexec."""

    kernel: KernelState
    """The running kernel's own view."""
    normal: ImageStatus
    crash: ImageStatus
    shut_gates: tuple[str, ...]
    """What refuses a load here, in words."""

    @property
    def crash_size(self) -> int | None:
        """Bytes that ``crashkernel=`` reserves; None: the running kernel does not say."""
        return self.kernel.crash_size


@dataclass(frozen=True, slots=True)
class CrashStatus:
    """Whether the loaded crash kernel is still the right one: verdict, and what it is from."""

    state: CrashState
    judgement: Judgement
    dumps: Dumps | None = None
    """Where dumps go and the last one; None where nobody has set that up."""

    __repr__ = short_repr

    @property
    def is_fresh(self) -> bool:
        """One is loaded, and what went into it is what a load would take now."""
        from pykexec.crash.status import Freshness

        return self.judgement.verdict is Freshness.FRESH
