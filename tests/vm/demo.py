"""``make demo``: a guest, a dry run, a load, a jump, and what the next kernel says of it."""

from __future__ import annotations

import re
import sys

from tests.vm.debian import FetchError
from tests.vm.guest_python import BuildError
from tests.vm.qemu import Machine, QemuError, qemu_missing
from tests.vm.scenario import CONSOLE, Listener, Run, VmError, boot_path, run
from tests.vm.transcript import Phase

SERIES = "6.12"
CMDLINE = f"{CONSOLE} quiet demo.says=hello vmtest.phase=2"
LOAD = f"kexec -c -l {boot_path(SERIES)} --initrd=/boot/initrd-small --append='{CMDLINE}'"
WORTH_SHOWING = re.compile(r"purgatory|Starting new kernel|^  (segment|expected|computed) ")

SHOW = 'show() { echo "# $1"; eval "$1"; }\n'
PLAIN = "export NO_COLOR=1\n"
"""For a guest, whose output always goes to a terminal of its own."""
BOOT_ID = "cat /proc/sys/kernel/random/boot_id"
BEFORE = f"""{SHOW}
show "uname -r"
show "{BOOT_ID}"
show "{LOAD} --dry-run"
show "{LOAD} --console-serial"
show "cat /sys/kernel/kexec_loaded"
show "kexec -e"
"""
AFTER = f"""{SHOW}
show "uname -r"
show "cat /proc/cmdline"
show "{BOOT_ID}"
"""


class _Transcript(Listener):
    """Prints the guest's side of the story as it is told."""

    def phase(self, phase: Phase) -> None:
        name = {1: "first", 2: "second"}[phase.number]
        print(f"\n== {name} kernel: {phase.release}", flush=True)

    def line(self, line: str) -> None:
        print(f"   {line}", flush=True)

    def console(self, line: str) -> None:
        if WORTH_SHOWING.search(line):
            print(f" | {line}", flush=True)


def main() -> int:
    """Run the demonstration; returns the exit code."""
    missing = qemu_missing()
    if missing:
        print(f"demo: {missing}", file=sys.stderr)
        return 1
    machine = Machine()
    print(
        f"== a guest with Debian's {SERIES} cloud kernel: {machine.cpus} CPU, {machine.memory}, "
        f"{machine.firmware.upper()}, emulated by QEMU; its packages are fetched the first time",
        flush=True,
    )
    before = BEFORE if sys.stdout.isatty() else PLAIN + BEFORE
    wanted = Run(SERIES, [before, AFTER], machine=machine, name="demo")
    try:
        result = run(wanted, _Transcript())
    except (VmError, FetchError, BuildError, QemuError) as error:
        print(f"\ndemo: FAILED: {error}", file=sys.stderr)
        return 1
    arrived = result.phases[2]
    boots = {_after(phase.lines, f"# {BOOT_ID}") for phase in result.phases.values()}
    if arrived.cmdline != CMDLINE or len(boots) != 2:
        print(f"\ndemo: FAILED: the second kernel has the command line {arrived.cmdline!r}")
        return 1
    print(
        f"\ndemo: ok: the running kernel booted {arrived.release} without firmware, "
        f"command line as planned; {result.seconds:.0f} s in QEMU"
    )
    return 0


def _after(lines: list[str], line: str) -> str:
    return lines[lines.index(line) + 1]


if __name__ == "__main__":
    sys.exit(main())
