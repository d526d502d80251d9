"""Runs a scenario in a guest: a script in each kernel of a chain of jumps.

A run that goes wrong says how: the guest was lost before a loader was asked anything
(tried once more), a script failed, or the next kernel never came.
"""

from __future__ import annotations

import gzip
import os
import re
import sys
import tempfile
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol

from tests.vm import debian, initramfs
from tests.vm.debian import Suite
from tests.vm.kernel_build import BUILT, built_kernel
from tests.vm.platforms import I386, X86_64, Platform
from tests.vm.qemu import Guest, Machine, direct_boot, turn, xen_boot
from tests.vm.transcript import Phase, Transcript

POLL = 0.05
"""Seconds."""

XEN_PACKAGE = "xen-hypervisor-4.17-amd64"

PHASE_TIMEOUT = 240.0
"""Seconds for each kernel: at least four times what one takes beside another guest.

$PYKEXEC_VM_PATIENCE multiplies it, for slower hosts.
"""

CONSOLE = X86_64.console
"""Of x86_64; the platform of a machine has that of another architecture."""

DEATHS = re.compile(
    r"Kernel panic|Oops: |BUG: |double fault|general protection fault|Internal error: |"
    r"Initramfs unpacking failed"
)
JUMPING = "Starting new kernel"
TAIL = 40
"""Lines of each log to show when a run fails."""


Files = Mapping[str, bytes | str | Path]
"""What to find in the guest, by absolute path; a host's file keeps its mode."""


class VmError(AssertionError):
    """A run did not go as it should have; the message shows the ends of the logs."""


class GuestLostError(VmError):
    """The first kernel died, or never ran its script: this tells nothing about a loader."""


class PhaseFailedError(VmError):
    """A phase's script returned an error, or came back where it should have jumped."""


class NoSecondKernelError(VmError):
    """A kernel was started by a loader and did not reach its phase."""


@dataclass(frozen=True, slots=True)
class Run:
    """What is to be run, and where."""

    kernel: str
    """The series of the first kernel, such as ``6.12``, or BUILT for our own."""
    phases: Sequence[str]
    """A shell script for each kernel; all but the last end in a jump."""
    flavour: str = "cloud"
    machine: Machine = field(default_factory=Machine)
    append: str = ""
    """Added to the first kernel's command line."""
    boot: Sequence[tuple[str, str]] = ()
    """(series, flavour) of the kernels to find in the guest as /boot/vmlinuz-SERIES[-FLAVOUR].

    In guests of i386 the kernels are those of amd64 but for the flavours ``686`` and ``686-pae``.

    Flavours of BUILT are its files: ``cloud`` is the plain image, ``gzip`` and ``zboot`` are
    the packed ones, ``elf`` is the vmlinux, ``boot-elf`` the ELF file that s390x boots by itself.
    """
    files: Files = field(default_factory=dict)
    timeout: float = PHASE_TIMEOUT
    """Seconds for each phase."""
    stop_on: str | None = None
    """A regular expression on the console that ends the run well, jump or no jump."""
    linger: float = 0.0
    """Seconds to go on listening after ``stop_on`` was seen."""
    poll: float = POLL
    """Seconds between two looks at what the guest has printed."""
    meant_death: str | None = None
    """A regular expression for the last words of a kernel that a phase kills on purpose."""
    name: str = "guest"
    """Names the directory of the logs."""
    xen: str | None = None
    """Words for Xen, below which the first kernel is then dom0, with a console of Xen's."""


@dataclass(frozen=True, slots=True)
class Result:
    """What came of a run."""

    phases: dict[int, Phase]
    serial: str
    """The console: what kernels and purgatories printed."""
    files: dict[str, bytes]
    """By the name under which the guest sent each."""
    seconds: float
    logs: Path


class Listener:
    """Told what happens while it happens; does nothing unless it is derived from."""

    def started(self, guest: Guest) -> None:
        """A guest is running; it may be the second one, when the first was lost."""

    def phase(self, phase: Phase) -> None:
        """A kernel has reached its phase."""

    def line(self, line: str) -> None:
        """A phase's script has printed a line."""

    def console(self, line: str) -> None:
        """A kernel or a purgatory has printed a line."""


def run(wanted: Run, listener: Listener | None = None) -> Result:
    """Run a scenario when it is its turn on this host; a lost guest is tried once more."""
    listener = listener or Listener()
    with turn():
        try:
            return _run_once(wanted, listener)
        except GuestLostError as error:
            print(f"{wanted.name}: guest lost, trying once more\n{error}", file=sys.stderr)
            return _run_once(wanted, listener)


def boot_path(series: str, flavour: str = "cloud") -> str:
    """Return where in the guest a kernel of ``Run.boot`` is found."""
    return f"/boot/vmlinuz-{series}" + ("" if flavour == "cloud" else f"-{flavour}")


def first_cmdline(wanted: Run) -> str:
    """Return the command line that the first kernel is given."""
    return f"{wanted.machine.platform.console} {wanted.append}".strip()


def debian_arch(flavour: str, platform: Platform) -> str:
    """Return the architecture that Debian has a flavour of kernels for guests in."""
    own = platform is not I386 or flavour.startswith("686")
    return platform.debian if own else "amd64"


def _image(series: str, flavour: str, platform: Platform) -> Path:
    if series != BUILT:
        return debian.kernel(series, flavour, debian_arch(flavour, platform)).image
    built = built_kernel(platform)
    files = {"cloud": built.image, "gzip": built.gzip, "zboot": built.zboot}
    return {**files, "elf": built.vmlinux, "boot-elf": built.bootable_elf}[flavour]


def _run_once(wanted: Run, listener: Listener) -> Result:
    platform = wanted.machine.platform
    first = _image(wanted.kernel, wanted.flavour, platform)
    files = dict(wanted.files)
    for series, flavour in wanted.boot or ((wanted.kernel, wanted.flavour),):
        files[boot_path(series, flavour)] = _image(series, flavour, platform)
    logs = debian.cache_dir() / "vm-logs" / re.sub(r"[^\w.-]+", "-", wanted.name)
    with tempfile.TemporaryDirectory(prefix="pykexec-vm-") as work:
        initrd = Path(work) / "initrd"
        initramfs.write_initramfs(initrd, initramfs.Scenario(wanted.phases, files), platform)
        if wanted.xen is None:
            boot = direct_boot(first, initrd, first_cmdline(wanted))
        else:
            xen = unpacked_xen(Path(work))
            boot = xen_boot(xen, wanted.xen, first, initrd, f"console=hvc0 {wanted.append}".strip())
        guest = Guest(wanted.machine, boot, logs)
        with guest:
            listener.started(guest)
            return Watch(wanted, guest, logs, listener).until_done()


def unpacked_xen(directory: Path) -> Path:
    """Return Debian's Xen, unpacked into ``directory``: QEMU starts the ELF file alone."""
    (packed,) = (Suite("bookworm").package(XEN_PACKAGE).root / "boot").glob("xen-*.gz")
    unpacked = directory / "xen"
    unpacked.write_bytes(gzip.decompress(packed.read_bytes()))
    return unpacked


class Watched(Protocol):
    """What is watched of a guest: :class:`tests.vm.qemu.Guest`."""

    @property
    def running(self) -> bool:
        """It has not ended by itself."""

    @property
    def console(self) -> str:
        """Everything printed on the console so far."""

    @property
    def complaint(self) -> str:
        """Why it ended, if that is known."""

    def hear(self) -> bytes:
        """Return what came on the second serial port since the last call."""


class Watch:
    """Follows a guest until it is done or has gone wrong."""

    def __init__(self, wanted: Run, guest: Watched, logs: Path, listener: Listener) -> None:
        self._wanted = wanted
        self._guest = guest
        self._logs = logs
        self._listener = listener
        self._transcript = Transcript()
        self._console_lines = 0
        self._timeout = wanted.timeout * float(os.environ.get("PYKEXEC_VM_PATIENCE", "1"))
        self._started = time.monotonic()

    def until_done(self) -> Result:
        """Return what came of the run; raises :class:`VmError` when it went wrong."""
        deadline = time.monotonic() + self._timeout
        while True:
            # Asked first: what a guest said before it ended is heard below.
            running = self._guest.running
            begun = len(self._transcript.phases)
            self._listen()
            if len(self._transcript.phases) > begun:
                deadline = time.monotonic() + self._timeout
            if self._stopped() or self._finished():
                return self._result()
            self._check_death(running)
            if time.monotonic() > deadline:
                raise self._lost(f"nothing more was heard for {self._timeout:.0f} s")
            time.sleep(self._wanted.poll)

    def _listen(self) -> None:
        # The console first: what a kernel prints at its start comes before its phase.
        console = self._guest.console.split("\n")[:-1]
        for line in console[self._console_lines :]:
            self._listener.console(line)
        self._console_lines = len(console)
        before = len(self._transcript.phases)
        lines = self._transcript.feed(self._guest.hear())
        for phase in self._transcript.phases[before:]:
            self._listener.phase(phase)
        for line in lines:
            self._listener.line(line)

    def _stopped(self) -> bool:
        if self._wanted.stop_on is None:
            return False
        if not re.search(self._wanted.stop_on, self._guest.console):
            return False
        time.sleep(self._wanted.linger)
        self._listen()
        return True

    def _finished(self) -> bool:
        """Tell whether the last phase has ended well; raise when one has ended badly."""
        phases = self._transcript.phases
        if not phases or phases[-1].rc is None:
            return False
        last = phases[-1]
        if last.rc != 0:
            raise PhaseFailedError(self._story(f"the script of phase {last.number} failed"))
        if last.number < len(self._wanted.phases):
            raise PhaseFailedError(self._story(f"phase {last.number} ended without a jump"))
        return True

    def _check_death(self, running: bool) -> None:
        said = self._mourned()[0]
        if running:
            # What a line that is still being printed begins with may be a death that is meant.
            said = said.rpartition("\n")[0]
        death = DEATHS.search(said)
        if death:
            time.sleep(1)  # for the rest of its last words
            raise self._lost(f"a kernel died ({death[0].strip()})")
        if not running:
            raise self._lost(f"QEMU ended: {self._guest.complaint or 'the guest reset itself'}")

    def _mourned(self) -> tuple[str, int]:
        """Return the console without the deaths that were meant, and how many these were."""
        if self._wanted.meant_death is None:
            return self._guest.console, 0
        return re.subn(self._wanted.meant_death, "", self._guest.console)

    def _lost(self, why: str) -> VmError:
        """Return the error for a guest that fell silent: whose fault is it?"""
        phases = self._transcript.phases
        # A kernel that was told to be quiet does not announce its jump.
        jumps = self._guest.console.count(JUMPING) + self._mourned()[1]
        if phases and jumps >= len(phases):
            return NoSecondKernelError(
                self._story(f"no kernel came after phase {phases[-1].number}: {why}")
            )
        if len(phases) > 1:
            return PhaseFailedError(self._story(f"phase {phases[-1].number}: {why}"))
        return GuestLostError(self._story(f"the first kernel was lost: {why}"))

    def _story(self, headline: str) -> str:
        parts = [f"{headline} (logs: {self._logs})"]
        for phase in self._transcript.phases:
            parts.append(
                f"--- phase {phase.number}, {phase.release}, cmdline <{phase.cmdline}>, "
                f"rc {phase.rc}:"
            )
            parts += phase.lines[-TAIL:]
        parts.append("--- console:")
        parts += self._guest.console.splitlines()[-TAIL:]
        return "\n".join(parts)

    def _result(self) -> Result:
        phases = {phase.number: phase for phase in self._transcript.phases}
        seconds = time.monotonic() - self._started
        console = self._guest.console
        return Result(phases, console, self._transcript.files, seconds, self._logs)
