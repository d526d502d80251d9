"""A guest with an installed Debian on its disk, which its own boot loader starts.

The system is made of packages in a root directory; the disk of it, with a partition table, GRUB
and ext4, without anything being mounted. A second disk has what the guest is to do, and files for
it: steps, which go on through reboots.
"""

from __future__ import annotations

import os
import re
import shutil
import struct
import subprocess
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from tests.needs import unavailable
from tests.vm.debian import FetchError, cache_dir, locked
from tests.vm.qemu import Guest, Machine, disk_boot, turn
from tests.vm.scenario import TAIL, VmError
from tests.vm.transcript import Phase, Transcript
from tools.debian_packages import PackagingError, Root, build, place_of, prepared_root
from tools.roots import RootError, this_host

GUEST = Path(__file__).with_name("guest")
SYSTEM = (
    *("systemd-sysv", "udev", "kmod", "busybox", "grub-pc", "linux-image-cloud-amd64"),
    *("makedumpfile", "python3-click", "python3-construct", "python3-cffi-backend"),
    "python3-pyelftools",
)
"""Packages beside those of a minimal root; without what they recommend."""

UUID = "6f1d3b52-8c1e-4b0a-9f57-2a6d5c0e9b11"
SIZE = 4 << 30
"""Bytes of the disk, most of which are never written."""
SECTOR = 512
PARTITION = 2048 * SECTOR
CORE_MAX = PARTITION - SECTOR
BOOT_CODE = 440
"""Bytes of the first sector before the disk's number and its table of partitions."""

# The system's own initramfs again; and what grub-install leaves, which wants the disk as a device:
# a core that finds the rest.
BOOTABLE = """
set -e
for kernel in /boot/vmlinuz-*; do
    release=${kernel#*-}
    if [ -x /usr/bin/dracut ]; then
        dracut --force --quiet "/boot/initrd.img-$release" "$release"
    else
        update-initramfs -u -k "$release"
    fi
done
mkdir -p /boot/grub/i386-pc
cp /usr/lib/grub/i386-pc/*.mod /usr/lib/grub/i386-pc/*.lst /boot/grub/i386-pc
grub-mkimage --format=i386-pc --output=/boot/grub/i386-pc/core.img \\
    --prefix='(hd0,msdos1)/boot/grub' biosdisk part_msdos ext2
rm -rf /var/lib/apt/lists/*
"""
DRIVERS = "ext4 virtio_pci virtio_blk"
INITRAMFS_HOOK = f"""\
#!/bin/sh
[ "$1" != prereqs ] || exit 0
. /usr/share/initramfs-tools/hook-functions
manual_add_modules {DRIVERS}
"""
WORDS = ("console=ttyS0 loglevel=5 no_timer_check "
         "systemd.show_status=false systemd.default_timeout_start_sec=1800")  # fmt: skip
"""On every kernel's command line: time is not even in an emulated machine, and may be long."""
FIRST_MENU = """\
set timeout=0
menuentry 'First boot' {{
    linux /boot/vmlinuz-{release} root=UUID={uuid} ro {words}
    initrd /boot/initrd.img-{release}
}}
"""
UNIT = """\
[Unit]
Description=Steps of a test
After=multi-user.target

[Service]
ExecStart=/usr/local/sbin/step-runner
TimeoutStopSec=5

[Install]
WantedBy=multi-user.target
"""
MASKED = (
    *("getty.target", "getty-static.service", "systemd-user-sessions.service"),
    *("systemd-update-utmp.service", "systemd-update-utmp-runlevel.service"),
    *("modprobe@configfs.service", "modprobe@drm.service", "modprobe@efi_pstore.service"),
    *("modprobe@fuse.service", "modprobe@loop.service", "modprobe@dm_mod.service"),
    *("systemd-binfmt.service", "systemd-timesyncd.service", "systemd-random-seed.service"),
    *("systemd-journal-flush.service", "systemd-tmpfiles-clean.timer", "apt-daily.timer"),
    *("apt-daily-upgrade.timer", "dpkg-db-backup.timer", "fstrim.timer"),
    *("e2scrub_all.timer", "e2scrub_reap.service", "systemd-pstore.service"),
    *("dev-hugepages.mount", "dev-mqueue.mount", "sys-fs-fuse-connections.mount"),
    *("sys-kernel-config.mount", "proc-sys-fs-binfmt_misc.automount", "systemd-logind.service"),
)
"""Of no use here, and slow where a processor is emulated."""

MACHINE = Machine(memory="1G", cpu="qemu64,-cx16")
"""Without the instructions for which udev would load modules."""
SILENCE = 900.0
"""Seconds in which no step and no kernel says anything; $PYKEXEC_VM_PATIENCE multiplies it."""
POLL = 0.2


def installed_system(suite: str, generator: str, *others: str) -> Root:
    """Return a root with a kernel, GRUB, ``generator`` and ``others``; made once.

    It is the same for every caller: only to be read.
    """
    if os.geteuid() != 0 or shutil.which("debootstrap") is None:
        unavailable("a root of Debian's is made by root, with debootstrap")
    name = "-".join(("disk", generator, *others))
    try:
        with locked(place_of(suite) / "lock"):
            root = prepared_root(suite, name, this_host(), (*SYSTEM, generator, *others))
            _customize(root)
            return root
    except (RootError, PackagingError, FetchError) as error:
        unavailable(str(error))


def built_packages(suite: str, out: Path) -> list[Path]:
    """Build pykexec's packages of a suite from the tree as it is."""
    try:
        with locked(place_of(suite) / "lock"):
            return [path for path in build(suite, out) if path.suffix == ".deb"]
    except (RootError, FetchError) as error:
        unavailable(str(error))


def _customize(root: Root) -> None:
    place = root.path
    (kernel,) = (place / "boot").glob("vmlinuz-*")
    release = kernel.name.partition("-")[2]
    files = {
        "etc/fstab": f"UUID={UUID} / ext4 errors=remount-ro 0 0\n",
        "etc/hostname": "guest\n",
        "etc/default/grub.d/10-guest.cfg": 'GRUB_TIMEOUT=0\nGRUB_TERMINAL="console"\n'
        f'GRUB_CMDLINE_LINUX="{WORDS}"\nGRUB_CMDLINE_LINUX_DEFAULT=""\n',
        "boot/grub/grub.cfg": FIRST_MENU.format(release=release, uuid=UUID, words=_words(place)),
        "etc/systemd/system/vmtest.service": UNIT,
        "etc/systemd/system/systemd-journald.service.d/guest.conf": "[Service]\nWatchdogSec=0\n",
        # Only what the disk needs, and nowhere that "crash setup" would look.
        "etc/initramfs-tools/conf.d/guest": "MODULES=list\n",
        "etc/initramfs-tools/hooks/guest": INITRAMFS_HOOK,
        "etc/dracut.conf.d/guest.conf": f'hostonly="no"\ndrivers="{DRIVERS}"\n',
    }
    for name, text in files.items():
        path = place / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    # How this host gets packages is nothing to the guest.
    for name in ("etc/apt/sources.list", "etc/apt/apt.conf.d/90pristine", "etc/pip.conf"):
        (place / name).unlink(missing_ok=True)
    shutil.copy(GUEST / "step-runner", place / "usr/local/sbin/step-runner")
    for name in ("etc/initramfs-tools/hooks/guest", "usr/local/sbin/step-runner"):
        (place / name).chmod(0o755)
    units = place / "etc/systemd/system"
    (units / "multi-user.target.wants").mkdir(exist_ok=True)
    links = {"multi-user.target.wants/vmtest.service": "/etc/systemd/system/vmtest.service"}
    links |= dict.fromkeys(MASKED, "/dev/null")
    for name, target in links.items():
        (units / name).unlink(missing_ok=True)
        (units / name).symlink_to(target)
    if not (place / "boot/grub/i386-pc/core.img").exists():
        root.run("sh", "-c", BOOTABLE)
    if (place / "var/lib/kdump").is_dir():
        # kdump-tools builds an ordinary one at its first start: minutes, where that is emulated.
        built = place / f"boot/initrd.img-{release}"
        shutil.copy(built, place / f"var/lib/kdump/initrd.img-{release}")


def _words(root: Path) -> str:
    """Return the first boot's words: what a package has asked for in GRUB's configuration too."""
    texts = (path.read_text() for path in (root / "etc/default/grub.d").glob("*.cfg"))
    asked = (found[0] for text in texts if (found := re.search(r"crashkernel=[^\s\"]+", text)))
    return " ".join((WORDS, *asked))


def write_disk(root: Root, disk: Path) -> None:
    """Write a disk with a system on it that a BIOS starts."""
    grub = root.path / "usr/lib/grub/i386-pc/boot.img"
    core = (root.path / "boot/grub/i386-pc/core.img").read_bytes()
    assert len(core) <= CORE_MAX
    with disk.open("wb") as file:
        # boot.img loads the sector behind it, and that one the rest of the core, whose length
        # grub-mkimage has written into it: GRUB's manual, "Images".
        file.write(grub.read_bytes()[:BOOT_CODE])
        file.write(_partition_table())
        file.write(core)
        file.truncate(SIZE)
    words = ["mkfs.ext4", "-q", "-U", UUID, "-E", f"offset={PARTITION},lazy_itable_init=1"]
    size = f"{(SIZE - PARTITION) >> 10}k"
    _run([*words, "-d", str(root.path), str(disk), size])


def _partition_table() -> bytes:
    """Return the first sector behind its code: one partition of Linux's, which is active.

    https://uefi.org/specs/UEFI/2.10/05_GUID_Partition_Table_Format.html, "Legacy MBR".
    """
    sectors = (SIZE - PARTITION) // SECTOR
    chs = b"\xfe\xff\xff"  # Out of reach for cylinders: the sectors' numbers count.
    entry = struct.pack("<B3sB3sII", 0x80, chs, 0x83, chs, PARTITION // SECTOR, sectors)
    return b"\0" * 6 + entry + bytes(48) + b"\x55\xaa"


def write_medium(medium: Path, steps: Sequence[str], files: Mapping[str, Path]) -> None:
    """Write a disk with the scripts of steps, and files by their names on it."""
    tree = medium.with_suffix(".tree")
    (tree / "steps").mkdir(parents=True)
    for number, script in enumerate(steps, 1):
        (tree / "steps" / str(number)).write_text(script)
    for name, source in files.items():
        (tree / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(source, tree / name)
    _run(["mkfs.ext4", "-q", "-O", "^has_journal", "-d", str(tree), str(medium), "64M"])


def _run(words: list[str]) -> None:
    done = subprocess.run(words, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, check=False)
    assert done.returncode == 0, done.stdout.decode(errors="replace")


@dataclass(frozen=True, slots=True)
class Step:
    """What a guest is to do, by a script that may end in a reboot."""

    name: str
    script: str
    cut_on: str = ""
    """The power is cut when the console shows this, and comes back at once."""


@dataclass(frozen=True, slots=True)
class Done:
    """What came of a step."""

    phase: Phase
    seconds: float
    """Until the next step could begin: of a step that reboots, with the boot."""

    @property
    def said(self) -> str:
        """What it printed."""
        return self.phase.output


class StepError(VmError):
    """A step failed, or nothing was heard of it."""


class Installed:
    """A guest with a system on its disk, and what it has been told to do."""

    def __init__(self, name: str, disk: Path, medium: Path, machine: Machine) -> None:
        """Let its logs be called ``name``."""
        self._disks = disk, medium
        self._machine = machine
        self._logs = cache_dir() / "vm-logs" / name
        self._transcript = Transcript()
        self._times: list[float] = []
        self._before = ""
        """What the console had shown before the last cut."""
        self._patience = float(os.environ.get("PYKEXEC_VM_PATIENCE", "1"))

    def run(self, steps: Sequence[Step], tell: Callable[[str], None] = print) -> dict[str, Done]:
        """Do the steps; ``tell`` hears of each with its time. Raises :class:`StepError`."""
        with turn():
            while True:
                logs = self._logs / f"boot-{len(self._times)}"
                guest = Guest(self._machine, disk_boot(*self._disks), logs)
                with guest:
                    cut = self._follow(guest, steps, tell)
                self._before += guest.console
                if not cut:
                    break
        return {step.name: self._done(number) for number, step in enumerate(steps)}

    def _done(self, number: int) -> Done:
        seconds = self._times[number + 1] - self._times[number]
        return Done(self._transcript.phases[number], seconds)

    @property
    def console(self) -> str:
        """Everything that kernels have printed."""
        return self._before

    def _follow(self, guest: Guest, steps: Sequence[Step], tell: Callable[[str], None]) -> bool:
        """Watch until all is done, or the power is to be cut: then True."""
        phases = self._transcript.phases
        started = heard = time.monotonic()
        shown = printed = 0  # of the console: before the step, and so far
        while True:
            running = guest.running
            begun = len(phases)
            lines = self._transcript.feed(guest.hear())
            now = time.monotonic()
            console = guest.console
            if lines or len(phases) > begun or len(console) > printed:
                heard, printed = now, len(console)
            for number in range(begun, len(phases)):
                if number:
                    self._tell(steps[number - 1], number - 1, now, tell)
                else:
                    tell(f"first boot: {now - started:.0f} s")
                self._times.append(now)
                shown = len(console)
            if phases and phases[-1].rc is not None:
                step = steps[len(phases) - 1]
                if phases[-1].rc != 0:
                    raise self._error(guest, f"the step '{step.name}' failed")
                if len(phases) == len(steps):
                    self._tell(step, len(phases) - 1, now, tell)
                    self._times.append(now)
                    return False
            elif phases and self._is_cut(steps[len(phases) - 1], console[shown:], tell):
                return True
            if not running:
                raise self._error(guest, f"QEMU ended: {guest.complaint}")
            if now - heard > SILENCE * self._patience:
                raise self._error(guest, f"nothing was heard for {now - heard:.0f} s")
            time.sleep(POLL)

    @staticmethod
    def _is_cut(step: Step, console: str, tell: Callable[[str], None]) -> bool:
        if not step.cut_on or step.cut_on not in console:
            return False
        tell(f"the power is cut at: {step.cut_on}")
        return True

    def _tell(self, step: Step, number: int, now: float, tell: Callable[[str], None]) -> None:
        tell(f"{step.name}: {now - self._times[number]:.0f} s")
        for line in self._transcript.phases[number].lines:
            tell(f"    {line}")

    def _error(self, guest: Guest, why: str) -> StepError:
        parts = [f"{why} (logs: {self._logs})"]
        for phase in self._transcript.phases[-2:]:
            parts.append(f"--- step {phase.number}, {phase.release}, rc {phase.rc}:")
            parts += phase.lines[-TAIL:]
        return StepError("\n".join([*parts, "--- console:", *guest.console.splitlines()[-TAIL:]]))
