"""Debian's kdump-tools, as it is, with pykexec's ``kexec`` as /sbin/kexec."""

from __future__ import annotations

import lzma
import re
import subprocess
from pathlib import Path

import pytest

from pykexec.cli.vmcore_dmesg import read_log
from tests.vm import debian, kdump
from tests.vm.conftest import Vm
from tests.vm.crashes import CRASHKERNEL, PANIC, crash
from tests.vm.debian import Suite
from tests.vm.initramfs import SUITE, installed_kexec_files
from tests.vm.qemu import Machine
from tests.vm.scenario import Files
from tests.vm.systemd import LATER_SUITE, PHASE, first_process_files, libraries
from tests.vm.tried import Tried

MAKEDUMPFILE = f'#!/usr/bin/busybox sh\nexec {kdump.guest_command()} "$@"\n'

# What the packages' own installation scripts do. The initrd would be made by mkinitramfs: here it
# is the small one with makedumpfile's libraries, which goes on with phase 2.
INSTALL = """
release=$(uname -r)
chmod 755 /usr/bin/makedumpfile
mkdir -p /etc/default /var/lib/kdump
ln /boot/vmlinuz-6.12 /boot/vmlinuz-$release
cp /usr/share/kdump-tools/kdump-tools.conf /etc/default/kdump-tools
cp /etc/kdump/sysctl.conf /var/lib/kdump/latest_sysctls-$release
initrd=/var/lib/kdump/initrd.img-$release
repack-initrd -s -p 2 $initrd
truncate -s $((($(stat -c %s $initrd) + 3) / 4 * 4)) $initrd
(cd / && find usr/lib/makedumpfile | cpio -o -H newc 2>/dev/null) >>$initrd
"""
USE = """
try status-before kdump-config status
try load kdump-config load
try status kdump-config status
try show kdump-config show
try unload kdump-config unload
try status-after kdump-config status
try test kdump-config test
try service /etc/init.d/kdump-tools start
try reload kdump-config try-reload
"""
# The disk, in a guest that has none.
TAKE = f"""
chmod 755 /usr/bin/makedumpfile
mkdir -p /var/crash
mount -t tmpfs tmpfs /var/crash
kdump-config savecore
for module in /scenario/modules/*; do
    [ ! -e "$module" ] || insmod "$module"
done
for found in /var/crash/*/*; do
    echo "crash $found"
done
send-file dmesg /var/crash/*/dmesg.*
cat /var/crash/*/dump.* >{kdump.PORT}
"""


def kdump_tools_files(release: str = SUITE) -> Files:
    """Return kdump-tools as Debian has it, and what it calls that BusyBox has not."""
    suite = Suite(SUITE)
    files: dict[str, bytes | str | Path] = {
        **installed_kexec_files(),
        "/usr/bin/makedumpfile": MAKEDUMPFILE,
    }
    files |= kdump.guest_makedumpfile()
    files |= libraries({"libmagic1": "libmagic.so.1"})
    # Where the package has a link to it.
    magic = suite.package("libmagic-mgc").root / "usr/lib/file/magic.mgc"
    files["/usr/share/misc/magic.mgc"] = magic
    wanted = {
        "kdump-tools": (
            "usr/sbin/kdump-config",
            "etc/init.d/kdump-tools",
            "etc/kdump/sysctl.conf",
            "usr/share/kdump-tools/kdump-tools.conf",
        ),
        "sysvinit-utils": ("lib/lsb/init-functions", "lib/init/vars.sh"),
        "file": ("usr/bin/file",),
        "util-linux": ("usr/bin/flock",),
    }
    for package, names in wanted.items():
        root = (Suite(release) if package == "kdump-tools" else suite).package(package).root
        for name in names:
            place = f"/usr/{name}" if name.startswith("lib/") else f"/{name}"
            files[place] = root / name
    return files


def test_load_status_unload_crash_and_dump(vm: Vm, work: Path) -> None:
    """Its dump is makedumpfile's own format, which the C tool's vmcore-dmesg does not read."""
    found = crash(
        vm,
        work,
        INSTALL + USE,
        append=f"{CRASHKERNEL} test.word=kept",
        take=TAKE,
        files=kdump_tools_files(),
        capture="test.word=kept reset_devices systemd.unit=kdump-tools-dump.service nr_cpus=1",
    )

    tried = Tried(found.result.phases[1].lines)
    for name, loaded, says in (
        ("status-before", "00", "Not ready to kdump"),
        ("load", "01", "loaded kdump kernel"),
        ("status", "01", "ready to kdump"),
        ("show", "01", "kexec command:"),
        ("unload", "00", "unloaded kdump kernel"),
        ("status-after", "00", "Not ready to kdump"),
        ("test", "00", "kexec command to be used:"),
        ("service", "01", "loaded kdump kernel"),
        ("reload", "01", "loaded kdump kernel"),
    ):
        assert tried.outcome(name) == (0, loaded), (name, tried.said(name))
        assert says in tried.said(name), name
    (dump,) = (line for line in found.said(2, "crash ") if "/dump." in line)
    assert re.fullmatch(r"/var/crash/\d{12}/dump\.\d{12}", dump)
    assert PANIC in found.result.files["dmesg"].decode(errors="replace")
    assert_ends_in_the_crash(work, found.core)


def assert_ends_in_the_crash(work: Path, flattened: Path) -> None:
    """The dump is one that makedumpfile takes, and its log ends in the panic."""
    core = work / "dump"
    with flattened.open("rb") as stream:
        assert stream.read(12) == b"makedumpfile"  # makedumpfile.h, "struct makedumpfile_header"
    kdump.makedumpfile(work, "-R", core, stdin=flattened)
    kdump.makedumpfile(work, "--dump-dmesg", core, work / "log")
    for log in ((work / "log").read_bytes(), b"".join(read_log([str(core)]))):
        assert PANIC.encode() in log[log.index(b"sysrq: Trigger a crash") :]


# As Debian boots: systemd first, which starts the package's units, and /var/crash on a disk.
DISK = """
insmod /scenario/virtio_blk.ko
mkdir -p /var/crash
mount -t ext4 /dev/vda /var/crash
"""
WANTS = "/etc/systemd/system/basic.target.wants"
UNITS = "**/lib/systemd/system/*.service"
FIRST_BOOT = f"""{INSTALL}
repack-initrd -p 2 $initrd
{DISK}
mkdir -p {WANTS}
ln -s /usr/lib/systemd/system/kdump-tools.service {WANTS}
{PHASE}"""
THEN_CRASH = """
systemctl is-active kdump-tools.service
[ "$(cat /sys/kernel/kexec_crash_loaded)" = 1 ]
cat /var/crash/kexec_cmd
sync
echo c >/proc/sysrq-trigger
"""


@pytest.mark.full
@pytest.mark.parametrize("release", [SUITE, LATER_SUITE])
def test_units_dump_to_a_disk_and_reboot(vm: Vm, work: Path, release: str) -> None:
    kernel = debian.kernel("6.12")
    (module,) = kernel.modules.glob("**/virtio_blk.ko.xz")
    package = Suite(release).package("kdump-tools").root
    units = {f"/usr/lib/systemd/system/{unit.name}": unit for unit in package.glob(UNITS)}
    assert len(units) == 2
    disk = work / "disk"
    subprocess.run(
        ["mkfs.ext4", "-q", "-O", "^has_journal", disk, "256M"], check=True, capture_output=True
    )
    vm(
        [FIRST_BOOT, DISK + PHASE],
        machine=Machine(extra=("-drive", f"file={disk},if=virtio,format=raw")),
        append="crashkernel=384M vmtest.first",
        files={
            **kdump_tools_files(release),
            **first_process_files(),
            **units,
            "/scenario/virtio_blk.ko": lzma.decompress(module.read_bytes()),
            "/scenario/system1.sh": THEN_CRASH,
        },
        meant_death=re.escape(PANIC),
        stop_on="reboot: Restarting system",
    )

    caught = work / "caught"
    caught.mkdir()
    subprocess.run(["debugfs", "-R", f"rdump / {caught}", disk], check=True, capture_output=True)
    (dump,) = caught.glob("*/dump.*")
    (log,) = caught.glob("*/dmesg.*")
    assert PANIC in log.read_text(errors="replace")
    assert_ends_in_the_crash(work, dump)
