"""How long nothing is heard between two kernels, beside the distribution's kexec.

    python -m tests.vm.gap [--initrd MIB] [--memory SIZE] [--no-checks] [MACHINE ...]

Both tools load the same kernel and initrd with the same options, in a guest each. Seconds are
those of QEMU's processor time: what they would be if the host had nothing else to do, and the same
when it has. What lies between two lines is known to some 20 ms.
"""

from __future__ import annotations

import argparse
import re
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

from tests.vm import initramfs
from tests.vm.loads import LOADED
from tests.vm.platforms import AARCH64, I386, RISCV64, X86_64, Platform
from tests.vm.qemu import (
    SHA_QEMU,
    Guest,
    Machine,
    aarch64_machine,
    qemu_missing,
    qemu_since,
    riscv64_machine,
)
from tests.vm.scenario import JUMPING, Listener, Result, Run, boot_path, run

OURS, THEIRS = "kexec", "kexec-c"
"""As guests know them."""
MIB = 1 << 20
POLL = 0.01
"""Seconds between two looks at the console."""
TIMEOUT = 900.0
"""Seconds: the C tool's check alone takes some 60 on arm64, if the host has nothing else to do."""

LOAD_BEGINS, LOAD_ENDS = "gap: the load begins", "gap: the load ends"
PURGATORY_BEGINS = "the purgatory's first words"
PURGATORY_ENDS = "our purgatory's last words"
KERNEL_BEGINS = "the next kernel's first words"
MARKS: Mapping[str, re.Pattern[str]] = {
    LOAD_BEGINS: re.compile(LOAD_BEGINS),
    LOAD_ENDS: re.compile(LOAD_ENDS),
    JUMPING: re.compile(JUMPING),
    PURGATORY_BEGINS: re.compile("^(pykexec purgatory:|I'm in purgatory)"),
    PURGATORY_ENDS: re.compile("^pykexec purgatory: entering"),
    # Kernels of x86 have their first word before they unpack themselves.
    KERNEL_BEGINS: re.compile("Booting Linux|Linux version|early console in"),
}
"""In this order on the console."""

PURGATORY_CONSOLES: Mapping[Platform, str] = {
    AARCH64: "--serial=ttyAMA0",
    X86_64: "--console-serial",
    I386: "--console-serial",
    # The C tool's purgatory has none there.
    RISCV64: "",
}
"""Options with which both tools' purgatories are heard."""
EARLY_CONSOLES: Mapping[Platform, str] = {
    X86_64: "earlyprintk=serial,ttyS0,115200",
    I386: "earlyprintk=serial,ttyS0,115200",
}
"""What a kernel needs for its first words, where its usual command line is not enough."""

EL2_BOARD = "virt,virtualization=on,its=off"
MACHINES: Mapping[str, Machine] = {
    "arm64": aarch64_machine(memory="2G"),
    "arm64-el2": aarch64_machine(memory="2G", board=EL2_BOARD, cpu="cortex-a72"),
    "arm64-el2-vhe": aarch64_machine(memory="2G", board=EL2_BOARD),
    "x86_64": Machine(memory="2G"),
    "x86_64-sha": Machine(memory="2G"),
    "riscv64": riscv64_machine(memory="2G"),
}
"""By the names that the program takes."""
SINCE: Mapping[str, int] = {"x86_64-sha": SHA_QEMU}
"""The first whole version of QEMU that will do, where the host's need not."""

TRACE = "/sys/kernel/tracing"
TRACE_CALL = f"""
mount -t tracefs tracefs {TRACE}
for edge in enter exit; do
    echo 1 >{TRACE}/events/syscalls/sys_${{edge}}_kexec_load/enable
done
"""
TELL_CALL = f"""
sed -n 's/.* \\([0-9.]*\\): sys_kexec_load.*/call \\1/p' {TRACE}/trace
"""


@dataclass(frozen=True, slots=True)
class Jump:
    """A load and a jump, to be timed."""

    machine: Machine
    tool: str = OURS
    """``kexec``, ours, or ``kexec-c``, the distribution's."""
    kernel: str = "6.12"
    """A series of Debian's kernels."""
    flavour: str = "cloud"
    initrd: int = 200 * MIB
    """Bytes of zeros behind the usual initrd of tests."""
    options: str = ""
    """Further ones, which both tools know."""
    name: str = "gap"
    """Names the directory of the logs."""


@dataclass(frozen=True, slots=True)
class Times:
    """Seconds of QEMU's processor time."""

    call: float
    """In kexec_load(2). The guest's own clock tells which part of the whole load that is."""
    gap: float
    """From the running kernel's last words to the next one's first."""
    copy: float | None
    """Of that the time up to the purgatory's first words, for which the kernel copies segments to
    their places; None where the purgatory was not heard."""
    check: float | None
    """From there to its last words; None where it has none."""


class _Clock(Listener):
    """Takes down when each mark was first seen."""

    def __init__(self) -> None:
        self.seen: dict[str, float] = {}
        self._guest: Guest | None = None

    def started(self, guest: Guest) -> None:
        self._guest = guest
        self.seen.clear()

    def console(self, line: str) -> None:
        assert self._guest is not None
        for mark, pattern in MARKS.items():
            # The first kernel's first words are of no interest.
            wanted = mark not in self.seen and (mark == LOAD_BEGINS or LOAD_BEGINS in self.seen)
            if wanted and pattern.search(line):
                self.seen[mark] = self._guest.cpu_seconds


def machine_named(name: str) -> Machine:
    """Return one of :data:`MACHINES`, with a later QEMU where it needs that.

    Raises :class:`~tests.vm.debian.FetchError` where that cannot be had.
    """
    machine = MACHINES[name]
    if name not in SINCE:
        return machine
    return replace(machine, program=(qemu_since(SINCE[name], machine.platform),))


def _phase(jump: Jump) -> str:
    """Return the script that loads, tells how long the call took, and jumps."""
    platform = jump.machine.platform
    cmdline = f"{platform.console} {EARLY_CONSOLES.get(platform, '')} vmtest.phase=2"
    return f"""
        cp /boot/initrd-small /tmp/initrd
        head -c {jump.initrd} /dev/zero >>/tmp/initrd
        {TRACE_CALL}
        echo '{LOAD_BEGINS}' >/dev/console
        read -r begun rest </proc/uptime
        {jump.tool} -c -l {boot_path(jump.kernel, jump.flavour)} --initrd=/tmp/initrd \
            --append='{cmdline}' {PURGATORY_CONSOLES[platform]} {jump.options}
        read -r ended rest </proc/uptime
        echo '{LOAD_ENDS}' >/dev/console
        echo "load $begun $ended"
        {TELL_CALL}
        {LOADED}
        {jump.tool} -e
    """


def measure(jump: Jump) -> Times:
    """Boot a guest, jump in it once, and return how long that took."""
    platform = jump.machine.platform
    clock = _Clock()
    wanted = Run(
        kernel=jump.kernel,
        flavour=jump.flavour,
        phases=[_phase(jump), ""],
        machine=jump.machine,
        # On a busy host the first kernel takes its own slowness for a lockup.
        append="nowatchdog",
        files=initramfs.c_kexec_files(platform) if jump.tool == THEIRS else {},
        stop_on=rf"(?s){JUMPING}.*({MARKS[KERNEL_BEGINS].pattern}).*\n",
        timeout=TIMEOUT,
        poll=POLL,
        name=f"{jump.name}-{jump.tool}",
    )
    return _times(run(wanted, clock), clock.seen)


def _times(result: Result, seen: Mapping[str, float]) -> Times:
    lines = [line.split() for line in result.phases[1].lines]
    ((begun, ended),) = (map(float, words[1:]) for words in lines if words[0] == "load")
    entered, left = (float(words[1]) for words in lines if words[0] == "call")
    load = seen[LOAD_ENDS] - seen[LOAD_BEGINS]
    purgatory, leaving = seen.get(PURGATORY_BEGINS), seen.get(PURGATORY_ENDS)
    return Times(
        call=(left - entered) / (ended - begun) * load,
        gap=seen[KERNEL_BEGINS] - seen[JUMPING],
        copy=None if purgatory is None else purgatory - seen[JUMPING],
        check=None if purgatory is None or leaving is None else leaving - purgatory,
    )


def with_memory(machine: Machine, size: str) -> Machine:
    """Return the machine with so much memory, as QEMU takes it; the host may have less."""
    backend = f"memory-backend-ram,id=ram,size={size},reserve=off"
    board = f"{machine.board},memory-backend=ram"
    return replace(machine, memory=size, board=board, extra=(*machine.extra, "-object", backend))


def both(jump: Jump) -> tuple[Times, Times]:
    """Return what ours took, and what the distribution's tool."""
    ours, theirs = (measure(replace(jump, tool=tool)) for tool in (OURS, THEIRS))
    return ours, theirs


HEAD = (
    "| machine | tool | kexec_load, s | to the purgatory, s | in it, s | gap, s | ratio |\n"
    "|---|---|---|---|---|---|---|"
)


def row(name: str, tool: str, times: Times, other: Times | None = None) -> str:
    """Return a line of the table, with the ratio to ``other``."""
    parts = (times.call, times.copy, times.check, times.gap)
    words = ["" if part is None else f"{part:.2f}" for part in parts]
    ratio = f"{times.gap / other.gap:.3f}" if other else ""
    return f"| {' | '.join([name, tool, *words, ratio])} |"


def main(arguments: Sequence[str] | None = None) -> int:
    """Print a table of both tools' times on each machine that is named; returns the exit code."""
    parser = argparse.ArgumentParser(prog="python -m tests.vm.gap", description=__doc__)
    parser.add_argument("machines", nargs="*", metavar="MACHINE", help=", ".join(MACHINES))
    parser.add_argument("--initrd", type=int, default=200, metavar="MIB", help="size")
    parser.add_argument("--memory", default="2G", help="of the guest, as QEMU takes it")
    parser.add_argument("--no-checks", action="store_true", help="let both tools verify nothing")
    words = parser.parse_args(arguments)
    unknown = [name for name in words.machines if name not in MACHINES]
    if unknown:
        parser.error(f"no machine {unknown[0]}; there are {', '.join(MACHINES)}")
    print(HEAD, flush=True)
    for name in words.machines or MACHINES:
        missing = qemu_missing(MACHINES[name].platform)
        if missing:
            print(f"gap: {missing}", file=sys.stderr)
            return 1
        machine = with_memory(machine_named(name), words.memory)
        options = "--no-checks" if words.no_checks else ""
        jump = Jump(machine, initrd=words.initrd * MIB, options=options, name=f"gap-{name}")
        ours, theirs = both(jump)
        print(row(name, "pykexec", ours, theirs), flush=True)
        print(row(name, "kexec-tools", theirs), flush=True)
    return 0


if __name__ == "__main__":
    sys.exit(main())
