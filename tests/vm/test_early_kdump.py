"""Early kdump: a crash before udev and the root, in an initramfs of each generator.

The image is built in a root of Debian's as docs/initramfs.md tells, and the guest boots it. No
Debian has mkinitcpio: what it does with hooks, by mkinitcpio(8), a script here does. A hook
behind pykexec's crashes the kernel; what is on the disk afterwards is what the saver has left.
Ahead of pykexec's, another hook loads the same by the C tool, for the times of both.
"""

from __future__ import annotations

import re
import shutil
import time
from collections.abc import Mapping
from pathlib import Path

import pytest

from pykexec import launchers
from pykexec.crash.captured import State, parse_status
from tests.needs import unavailable
from tests.vm.capture import Built, build, caught_on, make_disk, with_disk
from tests.vm.crashes import PANIC
from tests.vm.debian import cache_dir
from tests.vm.initramfs import PROJECT, c_kexec_files, installed_kexec_files
from tests.vm.installed import installed_root
from tests.vm.qemu import Guest, direct_boot, qemu_missing, turn
from tests.vm.scenario import CONSOLE, Files

CONTRIB = PROJECT / "contrib"
HOME = "/usr/lib/pykexec"
APPEND = "nr_cpus=1 irqpoll reset_devices panic=10"
CMDLINE = f"{CONSOLE} printk.devkmsg=on crashkernel=384M pykexec.crash"
PATIENCE = 900.0
"""Seconds, for two boots under emulation; $PYKEXEC_VM_PATIENCE is not asked."""

MARK = "early-test"
BY_C = f"""
echo "{MARK}: C begins" >/dev/kmsg
kexec-c -p --reuse-cmdline --append='{APPEND}' --initrd={HOME}/crash/initrd {HOME}/crash/kernel &&
    echo "{MARK}: C armed" >/dev/kmsg
kexec-c -p -u
echo "{MARK}: pykexec begins" >/dev/kmsg
"""
CRASH = f"""
echo "{MARK}: crash, nothing is mounted: $(cut -d' ' -f2 /proc/mounts | tr '\\n' ' ')" >/dev/kmsg
echo c >/proc/sysrq-trigger
"""
SCRIPT = """#!/bin/sh
PREREQ="{needs}"
if [ "${{1:-}}" = prereqs ]; then
    echo "$PREREQ"
    exit 0
fi
{commands}
"""
HOOK = SCRIPT.format(
    needs="",
    commands=". /usr/share/initramfs-tools/hook-functions\n"
    "copy_exec /usr/sbin/kexec-c\ncopy_exec /usr/bin/cut\ncopy_exec /usr/bin/tr",
)
MODULE = """#!/bin/bash
check() { return 0; }
install() {
    inst_multiple kexec-c cut tr
    inst_hook cmdline 00 "$moddir/before.sh"
    inst_hook cmdline 01 "$moddir/crash.sh"
}
"""
# The build root, what hooks of either kind find there, and an init that runs those of the image.
MKINITCPIO = r"""#!/bin/bash
set -eu
BUILDROOT=$(mktemp -d) KERNELVERSION=$1
add_runscript() {
    mkdir -p "$BUILDROOT/hooks"
    cp "/usr/lib/initcpio/hooks/$hook" "$BUILDROOT/hooks/$hook"
}
add_binary() {
    cp -L "$1" "$BUILDROOT/$1"
    for file in $(ldd "$1" | grep -o "/[^ ]*"); do
        mkdir -p "$BUILDROOT/${file%/*}" && cp -L "$file" "$BUILDROOT/$file"
    done
}
mkdir -p "$BUILDROOT"/{dev,proc,run,sys,tmp,usr/{bin,lib,lib64,sbin}}
for name in bin lib lib64 sbin; do ln -s "usr/$name" "$BUILDROOT/$name"; done
add_binary "$(command -v busybox)"
for name in $(busybox --list); do
    [ "$name" = busybox ] || ln -s busybox "$BUILDROOT/usr/bin/$name"
done
for hook in before pykexec pykexec-crash crash; do
    . "/usr/lib/initcpio/install/$hook"
    build
done
cat >"$BUILDROOT/init" <<'INIT'
#!/bin/ash
mount -t proc proc /proc
mount -t sysfs sys /sys
mount -t devtmpfs dev /dev
mount -t tmpfs run /run
for hook in before pykexec-crash crash; do
    . "/hooks/$hook"
    run_earlyhook
done
INIT
chmod 755 "$BUILDROOT/init"
(cd "$BUILDROOT" && find . | cpio --quiet -o -H newc | gzip) >/bound/initrd
"""
SETTINGS: Mapping[str, Files] = {
    "initramfs-tools": {
        "/etc/pykexec/initramfs.conf": "INITRAMFS_CRASH=yes\n",
        "/etc/initramfs-tools/conf.d/small": "MODULES=list\nCOMPRESS=gzip\n",
        "/etc/initramfs-tools/hooks/early-test": HOOK,
        "/etc/initramfs-tools/scripts/init-top/a-early-test": SCRIPT.format(
            needs="", commands=BY_C
        ),
        "/etc/initramfs-tools/scripts/init-top/early-test": SCRIPT.format(
            needs="pykexec", commands=CRASH
        ),
    },
    "dracut": {
        "/etc/dracut.conf.d/pykexec.conf": 'add_dracutmodules+=" pykexec-crash "\n',
        "/usr/lib/dracut/modules.d/51early-test/module-setup.sh": MODULE,
        "/usr/lib/dracut/modules.d/51early-test/before.sh": BY_C,
        "/usr/lib/dracut/modules.d/51early-test/crash.sh": CRASH,
    },
    "mkinitcpio": {
        "/usr/bin/mkinitcpio": MKINITCPIO,
        "/usr/lib/initcpio/install/before": (
            "build() {\n    add_binary /usr/sbin/kexec-c\n    add_runscript\n}\n"
        ),
        "/usr/lib/initcpio/hooks/before": f"run_earlyhook() {{\n{BY_C}}}\n",
        "/usr/lib/initcpio/install/crash": "build() { add_runscript; }\n",
        "/usr/lib/initcpio/hooks/crash": f"run_earlyhook() {{\n{CRASH}}}\n",
    },
}
"""What the administrator sets, and what the test adds."""
TREES = {
    "initramfs-tools": ("initramfs-tools", "/usr/share/initramfs-tools"),
    "dracut": ("dracut", "/usr/lib/dracut/modules.d"),
    "mkinitcpio": ("mkinitcpio", "/usr/lib/initcpio"),
}
"""Below contrib/, and where a package puts it."""
COMMANDS = {
    "initramfs-tools": ("mkinitramfs", "-o", "/bound/initrd"),
    "dracut": ("dracut", "--force", "--hostonly", "--gzip", "/bound/initrd"),
    "mkinitcpio": ("mkinitcpio",),
}
CAPTURED_BY = {"mkinitcpio": "initramfs-tools"}
"""Which generator's root it is, and who makes the initramfs of the crash kernel there."""
# Behind the build of the capture initramfs, in the same root.
INSTALL = """
import subprocess
shutil.copy("/bound/vmlinuz", f"/boot/vmlinuz-{release}")
shutil.copytree("/bound/files", "/", dirs_exist_ok=True, symlinks=True)
done = subprocess.run([*COMMAND, release], stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
print(done.stdout.decode())
assert done.returncode == 0
"""


def installed_files(generator: str) -> Files:
    """Return what packages install for this generator, with the package's own code in /bound."""
    door = {"door": "pykexec", "path": "/bound"}
    return {
        **installed_kexec_files(),
        "/usr/bin/pykexec": launchers.script(**door),
        f"{HOME}/pack": CONTRIB / "initramfs/pack",
        f"{HOME}/early-crash": CONTRIB / "initramfs/early-crash",
        "/etc/pykexec/kdump.conf": f"KDUMP_OPTIONS=--reuse-cmdline\nKDUMP_APPEND='{APPEND}'\n",
        **c_kexec_files(),
        **SETTINGS[generator],
    }


def put(files: Files, tree: Path) -> None:
    """Write files below ``tree``; programs and scripts are executable."""
    for name, data in files.items():
        place = tree / name.lstrip("/")
        place.parent.mkdir(parents=True, exist_ok=True)
        if isinstance(data, Path):
            shutil.copy(data, place)
            continue
        place.write_bytes(data.encode() if isinstance(data, str) else data)
        place.chmod(0o755)


def build_early(suite: str, generator: str, series: str, place: Path) -> Built:
    """Build a capture initramfs, and an ordinary one that has it and pykexec."""
    from tests.vm.debian import kernel

    files = place / "files"
    put(installed_files(generator), files)
    source, target = TREES[generator]
    shutil.copytree(CONTRIB / source, files / target.lstrip("/"), dirs_exist_ok=True)
    shutil.copy(kernel(series).image, place / "vmlinuz")
    then = INSTALL.replace("COMMAND", repr(COMMANDS[generator]))
    maker = CAPTURED_BY.get(generator, generator)
    return build(installed_root(suite, maker), place, maker, series, then)


def boot(built: Built, disk: Path, name: str) -> str:
    """Boot the image until the saver reboots; returns what was on the console."""
    machine = with_disk(disk)
    missing = qemu_missing(machine.platform)
    if missing:
        unavailable(missing)
    logs = cache_dir() / "vm-logs" / name
    done = "reboot: Restarting system"
    start = direct_boot(built.kernel.image, built.place / "initrd", CMDLINE)
    with turn(), Guest(machine, start, logs) as guest:
        deadline = time.monotonic() + PATIENCE
        while guest.running and done not in guest.console and time.monotonic() < deadline:
            time.sleep(0.5)
        console = guest.console
    assert done in console, "\n".join(console.splitlines()[-60:])
    return console


def said_at(log: str, line: str) -> float:
    """Return the seconds from boot at which a line was said; newer kernels add who said it."""
    (stamp,) = re.findall(rf"(?m)^\[ *([0-9.]+)\](?: \[ *T\d+\])? {re.escape(line)}$", log)
    return float(stamp)


@pytest.mark.full
@pytest.mark.vm
@pytest.mark.parametrize(
    ("suite", "generator", "series"),
    [
        ("bookworm", "initramfs-tools", "6.1"),
        ("trixie", "dracut", "6.12"),
        ("bookworm", "mkinitcpio", "6.1"),
    ],
)
def test_a_crash_before_the_root_is_dumped(
    work: Path, suite: str, generator: str, series: str
) -> None:
    place = work / "built"
    place.mkdir()
    built = build_early(suite, generator, series, place)
    disk = work / "disk"
    make_disk(disk)
    boot(built, disk, f"early-kdump-{generator}")

    dump = caught_on(disk, work / "caught")
    status = parse_status((dump / "status").read_bytes())
    assert status is not None
    assert status.state is State.COMPLETE, (dump / "status").read_text()
    log = (dump / "vmcore-dmesg.txt").read_text()
    assert PANIC in log
    (mounts,) = re.findall(rf"{MARK}: crash, nothing is mounted: (.*)", log)
    assert not {"/root", "/sysroot"} & set(mounts.split())
    times = {
        name: said_at(log, line)
        for name, line in {
            "C begins": f"{MARK}: C begins",
            "C armed": f"{MARK}: C armed",
            "begins": f"{MARK}: pykexec begins",
            "armed": "pykexec: early crash kernel: loaded",
        }.items()
    }
    by_c, by_us = times["C armed"] - times["C begins"], times["armed"] - times["begins"]
    print(f"{generator}: armed after {by_us:.2f} s, by the C tool {by_c:.2f}: {by_us / by_c:.2f}")
