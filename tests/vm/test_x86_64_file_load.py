"""kexec_file_load on Debian's x86_64 kernels: chosen, made, refused, undone."""

from __future__ import annotations

import textwrap

import pytest

from pykexec.values.ranges import Range
from pykexec.values.units import MIB, align_down
from tests.vm.conftest import Vm
from tests.vm.loads import LOADED
from tests.vm.qemu import Machine
from tests.vm.scenario import boot_path
from tests.vm.test_x86_64_boot import (
    ARRIVED,
    DESCRIBE,
    NONCE,
    assert_same_machine,
    next_cmdline,
    release_of,
)
from tests.vm.tried import Tried

PAGE = 4096
PLACED = """sed -n 's/ : System RAM$//p' /proc/iomem | sed 's/^/ram /'
dmesg | sed -n 's/.*segment\\[.*mem=\\(0x[0-9a-f]*\\) memsz=\\(0x[0-9a-f]*\\)$/placed \\1 \\2/p'
"""
"""Where RAM is, and what a kernel that knows the debug flag (6.8) says of its segments, in the
order in which it has placed them."""


def assert_placed_from_the_top(lines: list[str]) -> None:
    """Hold the kernel to what planning.file_placement says of it: x86, from Linux 6.8 on."""
    rows = [line.split() for line in lines]
    ram = [row[1].split("-") for row in rows if row[0] == "ram"]
    found = [(int(row[1], 16), int(row[2], 16)) for row in rows if row[0] == "placed"]
    assert len(found) == 4, lines
    taken: list[Range] = []
    for name, (start, size) in zip(
        ("purgatory", "boot_params", "kernel", "initrd"), found, strict=True
    ):
        align = 2 * MIB if name == "kernel" else PAGE
        place = Range.sized(align_down(int(ram[-1][1], 16) + 1 - size, align), size)
        while any(place.overlaps(other) for other in taken):
            place = Range.sized(align_down(place.start - PAGE, align), size)
        assert place.start == start, name
        taken.append(place)


def jump_by(options: str, series: str) -> str:
    """Return a phase that loads with these options, keeps what was said, and jumps."""
    return (
        f"kexec {options} -l {boot_path(series)} --initrd=/boot/initrd-small "
        f"--append='{next_cmdline()}' 2>/tmp/said\n"
        f"sed 's/^/said /' /tmp/said\n{PLACED}{LOADED}kexec -e\n"
    )


@pytest.mark.parametrize(
    ("series", "options", "says"),
    [
        # 6.1 does not know the debug flag, and the load must not fail for that.
        pytest.param(
            "6.1",
            "-d -s",
            "kexec_file_load: it was asked for",
            id="6.1-debug",
            marks=pytest.mark.full,
        ),
        pytest.param(
            "6.12",
            "-d -s",
            "kexec_file_load: it was asked for",
            id="6.12-debug",
            marks=pytest.mark.full,
        ),
        pytest.param("6.12", "-d", "kexec_file_load: nothing asked for needs", id="6.12-auto"),
        pytest.param("7.2", "-s", None, id="7.2", marks=pytest.mark.full),
        pytest.param("7.2", "-a -d --no-cma", "kexec_file_load: nothing", id="7.2-auto-no-cma"),
    ],
)
def test_jump_into_what_the_kernel_loaded_itself(
    vm: Vm, series: str, options: str, says: str | None
) -> None:
    result = vm(
        [DESCRIBE + jump_by(options, series), ARRIVED],
        kernel=series,
        files={NONCE: "by-file"},
    )

    arrived = result.phases[2]
    assert arrived.release == release_of(series)
    assert arrived.cmdline == next_cmdline()
    assert "nonce by-file" in arrived.lines
    assert_same_machine(result, 1, 2)
    said = [line for line in result.phases[1].lines if line.startswith("said ")]
    if says is None:
        assert said == []
    else:
        assert any(says in line for line in said), said
        assert any(line.startswith("said kexec_file_load: flags = 0x") for line in said)
    if "-d" in options and series != "6.1" and "--no-cma" not in options:
        assert_placed_from_the_top(result.phases[1].lines)
    # The purgatory is the kernel's own, which prints nothing.
    assert "pykexec purgatory" not in result.serial


FROM_MEMORY = """
import sys
import pykexec

facts = pykexec.read_machine()
request = pykexec.LoadRequest(
    kernel=open(sys.argv[1], "rb").read(), initrd=b"not a file's contents", cmdline=b"ro"
)
pykexec.load(pykexec.plan_file_load(facts, request), facts.kernel)
"""

SCRIPT = textwrap.dedent(
    f"""
    kernel={boot_path("6.12")}
    try by-file kexec -s -l $kernel --append=first
    try by-segments-instead kexec -c -l $kernel --append=second
    try undone-by-file kexec -s -u
    try by-file-again kexec -s -l $kernel
    try undone-by-segments kexec -c -u
    try from-memory /usr/bin/python3 /scenario/from-memory.py $kernel
    try cannot-honour kexec -s -l $kernel --mem-max=0x20000000
    try ignored kexec -s -i -l $kernel
    head -c 600000 /dev/zero >/tmp/zeros
    try not-a-kernel kexec -s -l /tmp/zeros
    try crash kexec -s -p $kernel --append=third
    try crash-status kexec -S
    try crash-undone kexec -u -p
    try crash-by-segments kexec -c -p $kernel --append=fourth
    try crash-again kexec -p -s $kernel
    # init_size is 1.75 GiB: the kernel notices it when it looks for memory.
    cp $kernel /tmp/too-large
    printf '\\0\\0\\0\\160' | dd of=/tmp/too-large bs=1 seek=608 conv=notrunc 2>/dev/null
    try too-large kexec -s -l /tmp/too-large
    try crash-too-large kexec -s -p /tmp/too-large
    try crash-once-more kexec -p -s $kernel
    echo integrity >/sys/kernel/security/lockdown
    try locked-auto kexec -l $kernel
    try locked-file kexec -s -l $kernel
    try locked-segments kexec -c -l $kernel
    try locked-option kexec -l $kernel --mem-max=0x20000000
    try locked-unload kexec -u
    try locked-unload-crash kexec -p -u
    """
)


def test_calls_follow_each_other_and_lockdown_is_named(vm: Vm) -> None:
    result = vm(
        [SCRIPT],
        machine=Machine(memory="1G"),
        append="crashkernel=256M",
        files={"/scenario/from-memory.py": FROM_MEMORY},
    )

    tried = Tried(result.phases[1].lines)
    for name in ("by-file", "by-segments-instead", "by-file-again", "from-memory"):
        assert tried.outcome(name) == (0, "10"), tried.said(name)
    for name in ("undone-by-file", "undone-by-segments"):
        assert tried.outcome(name) == (0, "00"), tried.said(name)
    assert tried.outcome("cannot-honour") == (1, "10")
    assert "--mem-max cannot be honoured by kexec_file_load" in tried.said("cannot-honour")
    assert tried.outcome("ignored") == (0, "10")
    assert "--no-checks has no effect with kexec_file_load" in tried.said("ignored")
    assert tried.outcome("not-a-kernel") == (255, "10")

    assert tried.outcome("crash") == (0, "11"), tried.said("crash")
    assert tried.outcome("crash-status") == (1, "11")
    assert tried.outcome("crash-undone") == (0, "10"), tried.said("crash-undone")
    assert tried.outcome("crash-by-segments") == (0, "11"), tried.said("crash-by-segments")
    assert tried.outcome("crash-again") == (0, "11"), tried.said("crash-again")

    stays = f"the kernel loaded before stays loaded: {boot_path('6.12')}, by pykexec's record"
    assert tried.outcome("too-large") == (255, "11")
    assert "kexec_file_load failed: Cannot assign requested address" in tried.said("too-large")
    assert stays in tried.said("too-large")
    assert tried.outcome("crash-too-large") == (255, "10")
    assert "no crash kernel is loaded any more" in tried.said("crash-too-large")
    assert tried.outcome("crash-once-more") == (0, "11"), tried.said("crash-once-more")

    for name, call in (
        ("locked-auto", "kexec_file_load"),
        ("locked-file", "kexec_file_load"),
        ("locked-segments", "kexec_load"),
    ):
        assert tried.outcome(name) == (255, "11"), "what was loaded before stays loaded"
        assert stays in tried.said(name)
        assert f"{call} failed: Operation not permitted (EPERM)" in tried.said(name)
        assert "[integrity]" in tried.said(name)
    assert "no signature that it trusts" in tried.said("locked-auto")
    assert "kexec_load failed" not in tried.said("locked-auto"), (
        "there is no way back to kexec_load"
    )
    assert tried.outcome("locked-option") == (1, "11")
    assert "locked down ([integrity])" in tried.said("locked-option")
    assert tried.outcome("locked-unload") == (0, "01"), tried.said("locked-unload")
    assert tried.outcome("locked-unload-crash") == (0, "00"), tried.said("locked-unload-crash")
