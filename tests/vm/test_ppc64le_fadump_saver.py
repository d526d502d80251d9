"""The saver in the ordinary initramfs of a machine whose firmware takes the dump.

What generators pack is shown by tests/vm/test_fadump_initramfs.py. Here the same files lie in the
guests' own initramfs, beside Debian's programs, and are run as those of initramfs-tools are: before
the root is looked for. What is on the disk afterwards is what the saver has left.
"""

from __future__ import annotations

import hashlib
import re
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from pykexec import capture_files
from pykexec.crash.captured import State, parse_status
from pykexec.crash_setup.image import BIN, PROGRAMS, TREE, Packed, saver_tree
from pykexec.crash_setup.place import Place, saver_config
from pykexec.crash_setup.settings import CONTINUE, Settings
from pykexec.crash_setup.steps import MANIFEST, Manifest, build_manifest
from pykexec.values.units import MIB
from tests.vm import kdump
from tests.vm.capture import UUID
from tests.vm.conftest import Vm
from tests.vm.crashes import (
    PANIC,
    Crash,
    assert_debugger_reads,
    assert_log_ends_in_the_panic,
    assert_pages,
    crash,
    hold_pages,
)
from tests.vm.debian import Suite
from tests.vm.fadump import BOOT_MEMORY, JUMP, pseries_with_fadump, words_of
from tests.vm.kernel_build import BUILT, built_kernel
from tests.vm.platforms import PPC64LE
from tests.vm.qemu import Machine
from tests.vm.scenario import Files
from tests.vm.systemd import libraries
from tests.vm.tried import Tried

pytestmark = pytest.mark.full

HIGHER = "28200000-3fffffff"
"""For hold-pages: what is dumped where it is, behind boot memory and the area that this is copied
to."""
APPEND = "/sys/kernel/fadump/bootargs_append"
DISK = Place("local", f"UUID={UUID}", "ext4", directory="/var/crash")
SCRIPT = "/scripts/init-premount/pykexec-capture"
"""As initramfs-tools calls it."""
CONFIG = "/etc/pykexec-capture.conf"
PACKAGES = {
    "dash": ("sh",),
    "mount": ("mount", "umount"),
    "util-linux": ("blkid",),
    "kexec-tools": ("vmcore-dmesg",),
}
"""Where the saver's programs are from, if not from coreutils."""
LIBRARIES = {
    "libacl1": "libacl.so.1",
    "libattr1": "libattr.so.1",
    "libblkid1": "libblkid.so.1",
    "libgmp10": "libgmp.so.10",
    "libmount1": "libmount.so.1",
    "libpcre2-8-0": "libpcre2-8.so.0",
    "libselinux1": "libselinux.so.1",
}


def ends_in(action: str) -> str:
    """Return what sets the saver's last action, for a dump that was saved."""
    return f"sed -i 's/^CAPTURE_FINAL=.*/CAPTURE_FINAL={action}/' {CONFIG}\n"


FIRST = f"""
pykexec fadump append vmtest.phase=2
{hold_pages(BOOT_MEMORY, HIGHER)}
"""
# What becomes of the place of the words for the capture kernel: it is given to the first that asks.
RELEASED = f"""
[ ! -e /proc/vmcore ]
try unregistered pykexec fadump status
try append pykexec fadump append more
echo "memory $(grep MemTotal /proc/meminfo | tr -dc 0-9)"
python3 - <<'END'
import mmap
with open("/proc/meminfo") as meminfo:
    free = next(int(line.split()[1]) for line in meminfo if line.startswith("MemAvailable"))
taken = mmap.mmap(-1, (free - (40 << 10)) << 10)
for at in range(0, len(taken), 4096):
    taken[at : at + 4096] = (b"mine" + bytes(2044)) * 2
with open("/sys/kernel/fadump/bootargs_append", "rb") as file:
    print("found", file.read().decode("ascii", "replace"), end="")
END
kexec -c -l {JUMP} vmtest.phase=3'
kexec -e
"""
# Somebody ends the saver at its very last step, and releases by hand.
HELD = f"""
{ends_in("poweroff")}
try unsaved pykexec fadump release
try held {SCRIPT}
[ -e /proc/vmcore ]
mkdir -p /var/crash /run/disk
mount -t ext4 "$({BIN}/blkid -U {UUID})" /run/disk
mount --bind /run/disk/var/crash /var/crash
try release pykexec fadump release
umount /var/crash /run/disk
{RELEASED}
"""
# In the small initrd there is no Python.
CRASH_AGAIN = f"""
echo -n vmtest.phase=4 >{APPEND}
echo c >/proc/sysrq-trigger
"""
SAVES = f"{SCRIPT}\n"
GOES_ON = f"""
{SAVES}
[ -e /run/pykexec-capture/over ]
[ ! -e /proc/vmcore ]
"""
MATCH = (sys.executable, "-m", "pykexec.cli.main", "crash", "match")
HOLDER = "#!/bin/sh\nkill -9 $PPID\n"
FIRST_BLOCK = (
    *("-object", "memory-backend-ram,id=first,size=256M", "-numa", "node,memdev=first"),
    *("-object", "memory-backend-ram,id=second,size=768M", "-numa", "node,memdev=second"),
)
"""A kernel puts RTAS at the end of it, or at 768 MiB: now it is in the boot memory."""


def saver_files() -> Files:
    """Return what "crash setup" packs, the programs that it finds, and what it leaves behind."""
    suite = Suite(PPC64LE.suite, PPC64LE.debian)
    config = saver_config(DISK, Settings(final=CONTINUE), "", "guest")
    tree = saver_tree(DISK, config, Packed({}), capture_files.read)
    package_of = {name: package for package, names in PACKAGES.items() for name in names}
    programs: dict[str, bytes | str | Path] = {}
    for name in (*PROGRAMS, "vmcore-dmesg"):
        root = suite.package(package_of.get(name, "coreutils")).root
        file = "dash" if name == "sh" else name
        programs[f"{BIN}/{name}"] = next(root.glob(f"**/*bin/{file}"))
    return {
        **{step.path.removeprefix(TREE): step.data for step in tree},
        **programs,
        **libraries(LIBRARIES, platform=PPC64LE),
        SCRIPT: capture_files.read("initramfs-script").decode(),
        f"{BIN}/poweroff": HOLDER,
        MANIFEST: build_manifest(Manifest(directory="/var/crash", target="/var/crash")),
    }


def crash_with_saver(
    vm: Vm, work: Path, machine: Machine, append: str, take: str, *then: str, **more: Any
) -> tuple[Crash, list[Path]]:
    """Crash a machine that has a disk; return what came of it, and the directories of its dumps."""
    disk = work / "disk"
    with disk.open("wb") as file:
        file.truncate(2 << 30)
    subprocess.run(["mkfs.ext4", "-q", "-U", UUID, disk], check=True, capture_output=True)
    drive = ("-drive", f"file={disk},if=virtio,format=raw,cache=unsafe")
    found = crash(
        vm,
        work,
        FIRST,
        series=BUILT,
        flavour="elf",
        machine=replace(machine, extra=(*machine.extra, *drive)),
        append=f"fadump=on {append}",
        take=take,
        then=then,
        files=saver_files(),
        capture="vmtest.phase=2",
        timeout=400,
        **more,
    )
    subprocess.run(["debugfs", "-R", f"rdump / {work}", disk], check=True, capture_output=True)
    dumps = sorted((work / "var/crash").iterdir(), key=lambda place: place.name)
    for dump in dumps:
        check_dump(dump)
    first = replace(found, core=dumps[0] / "vmcore")
    assert_pages(first.core, first)
    assert_debugger_reads(first.core, first, "PPC64")
    assert kdump.notes(first.core).count("NT_PRSTATUS") == machine.cpus
    return found, dumps


def said_by_saver(found: Crash) -> list[str]:
    """Return what it has said on the console."""
    said = re.findall(r"pykexec-capture: (.*)", found.result.serial)
    print("\n".join(said))
    return said


def test_the_boot_goes_on(vm: Vm, work: Path) -> None:
    """Two crashes with a jump in between: released by hand, and by the saver."""
    machine = pseries_with_fadump()
    machine = replace(machine, extra=(*machine.extra, *FIRST_BLOCK))
    then = (CRASH_AGAIN, GOES_ON)
    found, dumps = crash_with_saver(vm, work, machine, "disable_radix=no", HELD, *then)
    assert len(dumps) == 2
    said = said_by_saver(found)
    assert said.count("saved: vmcore") == 2
    assert said.count("the memory is released, and the boot goes on") == 1
    assert said[-1] == "the memory is released, and the boot goes on"
    tried = Tried(found.result.phases[2].lines)
    assert tried.outcome("held") == (137, "00")
    for name, code, text in (
        ("unsaved", 255, "has not been saved, by all that is known here"),
        ("release", 0, "released; nothing is registered"),
        ("unregistered", 1, "nothing is registered since the dump was released"),
        ("append", 255, "their place was released with the memory of the dump"),
    ):
        assert tried.outcome(name) == (code, "00"), name
        assert text in words_of(tried, name)
    (memory,) = found.said(2, "memory ")
    assert int(memory) > 600 * MIB // 1024
    assert found.said(2, "found ") == ["mine"]


def test_the_machine_reboots(vm: Vm, work: Path) -> None:
    """It is to go on, and would do so without RTAS: that lies behind the boot memory."""
    machine = pseries_with_fadump(cpus=2)
    end = "reboot: Restarting system"
    found, dumps = crash_with_saver(vm, work, machine, "disable_radix", SAVES, stop_on=end)
    assert len(dumps) == 1
    assert said_by_saver(found)[-3:] == [
        "continue",
        "RTAS lies in the memory that would be released",
        "the boot cannot go on from here: reboot",
    ]


def check_dump(dump: Path) -> None:
    """All that the saver keeps is there, and is of the kernel that crashed."""
    status = parse_status((dump / "status").read_bytes())
    assert status is not None
    assert (status.state, status.core, status.log) == (
        State.COMPLETE,
        "vmcore",
        "vmcore-dmesg.txt",
    ), (dump / "status").read_text()
    core, kernel = dump / "vmcore", built_kernel(PPC64LE)
    assert status.release == kernel.release
    digest = hashlib.sha256(core.read_bytes()).hexdigest()
    assert (dump / "SHA256SUMS").read_text() == f"{digest}  vmcore\n"
    assert PANIC in (dump / "vmcore-dmesg.txt").read_text()
    assert_log_ends_in_the_panic(core)
    assert subprocess.run([*MATCH, kernel.vmlinux, core], check=False).returncode == 0
