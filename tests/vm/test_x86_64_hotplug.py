"""contrib/ in guests: udev's own daemon, the rule, and what a crash's core has after a reload."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.vm.conftest import Vm
from tests.vm.crashes import (
    CAPTURE_CMDLINE,
    CRASHKERNEL,
    DIMM,
    DIMM_START,
    KERNELS_FLOOR,
    LOADED,
    assert_whole,
    crash,
    hold_pages,
)
from tests.vm.debian import Suite
from tests.vm.initramfs import PROJECT, SUITE
from tests.vm.kdump import ram_of
from tests.vm.qemu import Machine
from tests.vm.scenario import Files, boot_path
from tests.vm.systemd import UDEV_LIBRARIES, libraries, systemd_files

CONTRIB = PROJECT / "contrib"
MACHINE = Machine(memory="768M,slots=2,maxmem=4G", cpus=2)
FIRST, SECOND = DIMM_START, DIMM_START + DIMM
"""Physical addresses of the DIMMs."""

COUNTED_KEXEC = '#!/usr/bin/busybox sh\necho load >>/run/loads\nexec kexec "$@"\n'

# Devices first, as at every boot: nothing is armed, and nothing may be started.
START = """
ln -s udevadm /usr/bin/systemd-udevd
mkdir -p /etc /run/udev
systemd-udevd --daemon
udevadm trigger --action=add
udevadm settle
[ ! -e /run/pykexec-kdump ]

kdump=/usr/lib/pykexec/kdump
loads_are() {
    [ "$(wc -l </run/loads)" = "$1" ] || { echo "loads: $(wc -l </run/loads), not $1"; return 1; }
}
change_cpu() {
    echo 0 >/sys/devices/system/cpu/cpu1/online
    echo 1 >/sys/devices/system/cpu/cpu1/online
}
plug() {
    echo plug
    until grep -q "^$1-.*System RAM" /proc/iomem; do sleep 0.1; done
    until [ "$(cat /sys/devices/system/memory/memory$((0x$1 / 0x8000000))/state)" = online ]; do
        sleep 0.1
    done
}
# Each block of the DIMM goes and comes, ten times.
burst() {
    for turn in 0 1 2 3 4 5 6 7 8 9; do
        for block in 0 1; do
            block=$((0x$1 / 0x8000000 + block))
            echo offline >/sys/devices/system/memory/memory$block/state
            echo online_movable >/sys/devices/system/memory/memory$block/state
        done
    done
}
nothing_comes() {
    udevadm settle
    [ ! -e /run/pykexec-kdump/events ]
}
reloaded() {
    until [ "$(wc -l </run/loads)" -gt "$1" ]; do sleep 0.1; done
    flock /run/pykexec-kdump/watch.lock true
    echo "events $(wc -l </run/pykexec-kdump/events.seen)"
    nothing_comes
    loads_are $(($1 + 1))
}
# What the rule would do: "udevadm test" runs nothing.
decides() {
    for device in cpu/cpu1 memory/memory1; do
        for action in add remove online offline change; do
            udevadm test --action=$action /sys/devices/system/$device >/run/decision 2>&1
            ! grep -q "run: '/usr/lib/pykexec/kdump event'" /run/decision ||
                echo "$1 ${device%%/*} $action"
        done
    done
}
"""
FOLLOWED = [
    "cpu add",
    "cpu remove",
    "memory add",
    "memory remove",
    "memory online",
    "memory offline",
]
"""Subsystem and action of the events that make a reload where the kernel does nothing."""


def udev_files(series: str, options: str, *settings: str) -> Files:
    """Return the files of udev and of contrib/, and a configuration; ``options`` are kexec's."""
    suite = Suite(SUITE)
    files: dict[str, bytes | str | Path] = {
        "/usr/bin/udevadm": suite.package("udev").root / "bin/udevadm",
        "/usr/bin/flock": suite.package("util-linux").root / "usr/bin/flock",
        "/usr/lib/pykexec/kdump": CONTRIB / "kdump/kdump",
        "/usr/lib/udev/rules.d/98-pykexec-kdump.rules": CONTRIB / "udev/98-pykexec-kdump.rules",
        "/usr/bin/counted-kexec": COUNTED_KEXEC,
        "/etc/pykexec/kdump.conf": "\n".join(
            (
                f"KDUMP_KERNEL={boot_path(series)}",
                "KDUMP_INITRD=/boot/initrd-small",
                f'KDUMP_APPEND="{CAPTURE_CMDLINE}"',
                f'KDUMP_OPTIONS="{options}"',
                "KDUMP_KEXEC='sh /usr/bin/counted-kexec'",
                *settings,
                "",
            )
        ),
    }
    return {**files, **libraries(UDEV_LIBRARIES)}


def contrib_units() -> Files:
    """Return the units of contrib/ that load crash kernels."""
    units = (CONTRIB / "systemd").glob("pykexec-kdump*")
    return {f"/usr/lib/systemd/system/{unit.name}": unit for unit in units}


def test_rule_reloads_where_the_kernel_does_not(vm: Vm, work: Path) -> None:
    """First with --hotplug, and then without, which the crash's core must not show."""
    script = f"""{START}
[ "$(cat /sys/bus/acpi/devices/PNP0C80:00/hid)" = PNP0C80 ]
$kdump load
loads_are 1
[ "$(cat /sys/devices/system/memory/crash_hotplug)" = 1 ]
decides kernel
change_cpu
plug {FIRST:x}
burst {FIRST:x}
nothing_comes

echo KDUMP_HOTPLUG=off >>/etc/pykexec/kdump.conf
$kdump load
loads_are 2
[ "$(cat /sys/devices/system/memory/crash_hotplug)" = 0 ]
decides rule
change_cpu
udevadm trigger --action=add
nothing_comes
plug {SECOND:x}
burst {SECOND:x}
reloaded 2
{LOADED}
{hold_pages(f"{SECOND:x}-{SECOND + DIMM - 1:x}")}
"""
    found = crash(
        vm,
        work,
        script,
        machine=MACHINE,
        append=f"memhp_default_state=online_movable {CRASHKERNEL}",
        files=udev_files("6.12", "-c"),
    )

    assert found.said(1, "kernel ") == []
    assert found.said(1, "rule ") == FOLLOWED
    # Two blocks appear and go online, and each goes and comes ten times.
    assert found.said(1, "events ") == ["44"]
    assert any(start <= SECOND and end >= SECOND + DIMM for start, end in ram_of(found.iomem))
    assert_whole(found, work, cpus=2)


@pytest.mark.full
def test_systemd_loads_at_boot_and_reloads(vm: Vm, work: Path) -> None:
    """systemd is the first process of a namespace, as in a container; udev runs outside."""
    wants = "/etc/systemd/system/multi-user.target.wants"
    script = f"""{START}
mount -t cgroup2 cgroup2 /sys/fs/cgroup
mkdir -p {wants}
ln -s /usr/lib/systemd/system/pykexec-kdump.service {wants}
container=vmtest unshare -m -p -f sh -c 'mount -t proc proc /proc && exec \\
    /usr/lib/systemd/systemd --system --log-target=console --unit=multi-user.target crashkernel' \\
    </dev/null >/run/systemd.log 2>&1 &
until [ "$(cat /sys/kernel/kexec_crash_loaded)" = 1 ]; do
    sleep 1
    [ -d /proc/$! ] || {{ cat /run/systemd.log; exit 1; }}
done
[ -d /run/systemd/system ]
loads_are 1
plug {FIRST:x}
burst {FIRST:x}
reloaded 1
plug {SECOND:x}
reloaded 2
{LOADED}
{hold_pages(f"{SECOND:x}-{SECOND + DIMM - 1:x}")}
"""
    found = crash(
        vm,
        work,
        script,
        machine=MACHINE,
        append=f"memhp_default_state=online_movable {CRASHKERNEL}",
        files={
            **udev_files("6.12", "-c", "KDUMP_HOTPLUG=off"),
            **systemd_files(),
            **contrib_units(),
        },
    )

    assert found.said(1, "events ") == ["44", "4"]
    assert_whole(found, work, cpus=2)


@pytest.mark.full
def test_rule_reloads_on_a_kernel_that_does_nothing_itself(vm: Vm, work: Path) -> None:
    """Linux 6.1 knows no crash hotplug, and kexec_file_load is no different there."""
    script = f"""{START}
$kdump load
[ ! -e /sys/devices/system/memory/crash_hotplug ]
decides rule
change_cpu
nothing_comes
plug {FIRST:x}
burst {FIRST:x}
reloaded 1
{LOADED}
{hold_pages(f"{FIRST:x}-{FIRST + DIMM - 1:x}")}
"""
    found = crash(
        vm,
        work,
        script,
        series="6.1",
        machine=MACHINE,
        append=f"memhp_default_state=online_movable {CRASHKERNEL}",
        files=udev_files("6.1", "-s"),
    )

    assert found.said(1, "rule ") == FOLLOWED
    assert found.said(1, "events ") == ["44"]
    assert_whole(found, work, cpus=2, floor=KERNELS_FLOOR)
