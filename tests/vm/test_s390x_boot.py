"""Jumps between Debian's s390x kernels: what is planned is what the next kernel finds.

The last series with CONFIG_KEXEC there is 6.1; later ones say by themselves that they have none.
"""

from __future__ import annotations

import re
import secrets
import time
from pathlib import Path

import pytest

from tests.vm.conftest import Vm
from tests.vm.loads import (
    DAMAGE_FILES,
    INTACT,
    LOADED,
    SHOW_CONTENT,
    jump_damaged,
    pack_big_initrd,
    printed,
)
from tests.vm.platforms import S390X
from tests.vm.qemu import Monitor, s390x_machine
from tests.vm.scenario import Listener, VmError, boot_path

pytestmark = pytest.mark.full

SERIES = "6.1"
NONCE = "/scenario/nonce"
TWO = s390x_machine(memory="2G", cpus=2)
WAITING = (0x0002000180000000, 0x50590004)
"""A disabled wait, with the address for memory that has changed: purgatory/README.md."""
BIG = 100 << 20
"""Bytes."""
DESCRIBE = """
echo "memtotal $(sed -n 's/MemTotal: *//p' /proc/meminfo)"
echo "processors $(nproc)"
"""
ARRIVED = f'echo "nonce $(cat {NONCE})"\n' + DESCRIBE


def next_cmdline(phase: int = 2) -> str:
    """Return a command line for a later phase, with words that need exact transport.

    All ASCII: a line with other bytes is refused, as a kernel would take it for EBCDIC.
    """
    return f'{S390X.console} test.word="two words, $x" vmtest.phase={phase}'


def test_chain_with_command_line_and_a_big_initrd(vm: Vm) -> None:
    """Jump, and from there again with 100 MiB of initrd and another command line."""
    nonce = secrets.token_hex(16)
    cmdline = next_cmdline(3)
    first = (
        DESCRIBE
        + "repack-initrd -k -p 2 /tmp/initrd\n"
        + f"kexec -c -l {boot_path(SERIES)} --initrd=/tmp/initrd --reuse-cmdline\n"
        + f"rm /tmp/initrd\n{LOADED}kexec -e\n"
    )
    second = (
        ARRIVED
        + pack_big_initrd(BIG)
        + f"kexec -c -l {boot_path(SERIES)} --initrd=/tmp/initrd --append='{cmdline}'\n"
        + f"rm /tmp/initrd\n{LOADED}kexec -e\n"
    )
    result = vm(
        [first, second, ARRIVED + SHOW_CONTENT],
        kernel=SERIES,
        machine=TWO,
        files={NONCE: nonce},
        timeout=900,
    )

    assert result.phases[2].cmdline == result.phases[1].cmdline
    assert result.phases[3].cmdline == cmdline
    assert printed(result, 3, "size") == str(BIG)
    assert printed(result, 3, "arrived") == printed(result, 2, "sent")
    for phase in (2, 3):
        assert printed(result, phase, "nonce") == nonce
        assert printed(result, phase, "processors") == "2"
        totals = [int(printed(result, number, "memtotal").split()[0]) for number in (1, phase)]
        assert abs(totals[0] - totals[1]) < 8192


def psw_of(monitor: Monitor) -> tuple[int, int]:
    """Return the PSW of the first processor: mask and address."""
    said = str(monitor.ask("human-monitor-command", {"command-line": "info registers"}))
    mask, address = re.findall(r"PSW=mask (\w+) addr (\w+)", said)[0]
    return int(mask, 16), int(address, 16)


class Waits(Listener):
    """Asks QEMU for the PSW, some time after the damaged load was left for."""

    def __init__(self, monitor: Monitor) -> None:
        self._monitor = monitor
        self.psw = (0, 0)

    def line(self, line: str) -> None:
        """Look until the processor waits, once the damage is done."""
        if not line.startswith("damaged "):
            return
        end = time.monotonic() + 200
        while self.psw != WAITING and time.monotonic() < end:
            time.sleep(1)
            self.psw = psw_of(self._monitor)


def test_flipped_bit_stops(vm: Vm, tmp_path: Path) -> None:
    """There is no console to say so: the processor waits with an address that QEMU shows."""
    monitor = Monitor(tmp_path / "monitor")
    waits = Waits(monitor)
    with pytest.raises(VmError):  # It never comes to a second phase.
        vm(
            [jump_damaged(SERIES, next_cmdline(), "ttyS0"), ARRIVED],
            kernel=SERIES,
            machine=s390x_machine(memory="1G", extra=("-action", "panic=pause", *monitor.options)),
            files={NONCE: INTACT, **DAMAGE_FILES},
            listener=waits,
            timeout=30,
        )

    assert waits.psw == WAITING


def test_later_kernels_of_debian_have_no_kexec(vm: Vm) -> None:
    """The doctor says so beforehand, and the load what is missing, by either call."""
    path = boot_path("7.2")
    result = vm(
        [f"! pykexec doctor {path}\n! kexec -l {path} --append=x\n! kexec -c -l {path}\n"],
        kernel="7.2",
        machine=s390x_machine(),
    )

    said = " ".join(" ".join(result.phases[1].lines).split())
    assert "the running kernel shows no kexec: it is built without it" in said
    assert "boot a kernel with CONFIG_KEXEC=y or CONFIG_KEXEC_FILE=y" in said
    assert "verdict: a normal load is blocked: kexec" in said
    assert said.count("hint: it needs CONFIG_KEXEC=y") == 2
