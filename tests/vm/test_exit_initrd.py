"""systemctl kexec by way of an exit initrd: dracut's /shutdown jumps, by the launcher alone.

The image is built by dracut in a root of Debian's, where /usr/sbin/kexec is the launcher, and has
nothing else of pykexec. At shutdown dracut's own service unpacks it into /run/initramfs.
"""

from __future__ import annotations

from pathlib import Path

import pytest

from pykexec.launchers import load
from tests.vm.conftest import Vm
from tests.vm.debian import Suite, kernel
from tests.vm.initramfs import SUITE, installed_kexec_files
from tests.vm.installed import installed_root, run_in
from tests.vm.scenario import CONSOLE, Files, boot_path
from tests.vm.systemd import first_process_files

# A root that can be left: the kernel's first one cannot, and the exit initrd is to unmount it.
REAL_ROOT = """
mkdir /real
mount -t tmpfs tmpfs /real
cp -a /bin /sbin /lib /lib64 /usr /etc /root /scenario /boot /real/
mkdir /real/proc /real/sys /real/dev /real/run /real/tmp
for name in proc sys dev run; do
    mount --move /$name /real/$name
done
exec switch_root /real /usr/lib/systemd/systemd --log-target=kmsg
"""
LEAVE = f"""
chmod 755 /usr/lib/dracut/dracut-initramfs-restore
mkdir -p /run/initramfs
: >/run/initramfs/.need_shutdown
systemctl start dracut-shutdown.service
kexec -l {boot_path("6.12")} --initrd=/boot/initrd-small \\
    --append='{CONSOLE} test.word=exit vmtest.phase=2'
rm -r /usr/lib/python3* /usr/lib/pykexec
systemctl kexec
sleep 600
"""
# Of dracut's kind: read by its shell when the old root is unmounted, right before the jump.
TELL = """echo "exit initrd: $ACTION by $(command -v kexec), of the old root $(
    while read -r _ place _; do
        case $place in /oldroot*) printf '%s ' "$place" ;; esac
    done </proc/mounts
)is mounted" >/dev/kmsg
"""
BUILD = """
cp /bound/kexec /usr/sbin/kexec
dracut --force --no-kernel --no-hostonly --gzip --kver 6.12 -m "dash base shutdown" \\
    --include /bound/tell /var/lib/dracut/hooks/shutdown/50-tell.sh /bound/image
mkdir /bound/unpacked
cd /bound/unpacked
zcat /bound/image | cpio -id --quiet
"""


def build_image(root: Path, place: Path) -> Path:
    """Build an image with dracut's shutdown module in ``root``; returns where it lies."""
    (place / "kexec").write_bytes(load("x86_64"))
    (place / "kexec").chmod(0o755)
    (place / "tell").write_text(TELL)
    print(run_in(root, place, "sh", "-ec", BUILD))
    packed = place / "unpacked"
    assert (packed / "usr/sbin/kexec").read_bytes() == load("x86_64")
    assert not list(packed.glob("usr/**/*python*"))
    assert (packed / "shutdown").stat().st_mode & 0o111
    return place / "image"


def restoring(root: Path) -> Files:
    """Return what restores the image at shutdown: dracut's service, and what its script needs."""
    programs = {name: Suite(SUITE).package(name).root / f"bin/{name}" for name in ("bash", "cpio")}
    (library,) = Suite(SUITE).package("libtinfo6").root.glob("**/libtinfo.so.6")
    of_dracut = ("systemd/system/dracut-shutdown.service", "dracut/dracut-initramfs-restore")
    return {
        **{f"/usr/lib/{name}": root / "usr/lib" / name for name in of_dracut},
        **{f"/usr/bin/{name}": path for name, path in programs.items()},
        "/usr/lib/x86_64-linux-gnu/libtinfo.so.6": library.resolve(),
    }


@pytest.mark.full
def test_the_exit_initrd_jumps(vm: Vm, work: Path) -> None:
    root = installed_root("trixie", "dracut")
    image = build_image(root, work)
    result = vm(
        [REAL_ROOT, "true\n"],
        append="vmtest.first printk.devkmsg=on",
        files={
            **first_process_files("systemd-kexec.service"),
            **installed_kexec_files(),
            **restoring(root),
            f"/boot/initrd.img-{kernel('6.12').release}": image,
            "/scenario/system1.sh": LEAVE,
        },
    )
    assert "test.word=exit" in result.phases[2].cmdline
    assert "stopped in order" in result.phases[1].lines
    (said,) = [line for line in result.serial.splitlines() if "exit initrd: " in line]
    assert said.endswith("exit initrd: kexec by /usr/sbin/kexec, of the old root is mounted"), said
