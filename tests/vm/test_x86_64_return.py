"""A jump into a second kernel and back, and there again: no Debian kernel can."""

from __future__ import annotations

import pytest

from tests.vm.conftest import Vm
from tests.vm.kernel_build import BUILT
from tests.vm.platforms import X86_64
from tests.vm.qemu import Machine
from tests.vm.scenario import boot_path

pytestmark = pytest.mark.full

MEM_MAX = 0x13FFFFFF
"""320 MiB for the second kernel, which the first keeps beside its own."""

FIRST = f"""
kept="in the shell's memory"
repack-initrd -p 2 /tmp/initrd
head -c 40000000 /dev/urandom >/tmp/kept
sha256sum </tmp/kept >/tmp/sum
up=$(cut -d. -f1 /proc/uptime)
sleep 3
kexec -d -l --load-preserve-context --mem-max={MEM_MAX:#x} {boot_path(BUILT)} \\
    --initrd=/tmp/initrd --append='{X86_64.console} maxcpus=1' 2>/tmp/said ||
    {{ cat /tmp/said; exit 1; }}
grep -o 'kexec_load: .*' /tmp/said
pykexec status | grep 'normal image'
kexec -e
echo "back $(uname -r) $kept"
[ "$(sha256sum </tmp/kept)" = "$(cat /tmp/sum)" ] && echo "files are whole"
now=$(cut -d. -f1 /proc/uptime)
[ "$now" -ge $((up + 3)) ] && [ "$now" -lt $((up + 900)) ] && echo "uptime goes on"
echo "cpus $(nproc)"
kexec -e
echo "back again, $kept"
[ "$(sha256sum </tmp/kept)" = "$(cat /tmp/sum)" ] && echo "files are whole"
"""

SECOND = """
there="in the other shell's memory"
free=$(sed -n 's/^MemTotal: *\\([0-9]*\\) kB$/\\1/p' /proc/meminfo)
[ "$free" -lt 330000 ] && echo "memory ends"
tr ' ' '\\n' </proc/cmdline | grep kexec_jump_back_entry
kexec --load-jump-back-helper
pykexec status | grep 'normal image'
kexec -e
echo "there again, $there"
kexec -e
"""


def test_there_and_back_twice(vm: Vm) -> None:
    result = vm(
        [FIRST, SECOND],
        kernel=BUILT,
        machine=Machine(memory="1536M", cpus=2),
        boot=[(BUILT, "cloud")],
        timeout=240,
    )

    first, second = result.phases[1], result.phases[2]
    assert "kexec_load: only this call honours --mem-max, --load-preserve-context" in first.lines
    assert any(boot_path(BUILT) in line for line in first.lines)
    assert second.lines[0] == "memory ends"
    word, _, digits = second.lines[1].partition("=0x")
    assert (word, len(digits), int(digits, 16) > MEM_MAX) == ("kexec_jump_back_entry", 16, True)
    assert "the kernel that waits at 0x" in second.lines[2]
    # What the first kernel says then comes behind the second one's begin.
    assert second.lines[3:] == [
        f"back {first.release} in the shell's memory",
        "files are whole",
        "uptime goes on",
        "cpus 2",
        "there again, in the other shell's memory",
        "back again, in the shell's memory",
        "files are whole",
    ]
