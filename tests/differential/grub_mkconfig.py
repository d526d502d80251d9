"""grub.cfg as Debian's own grub-mkconfig writes it, for machines that we make up.

The scripts of a suite's packages run in a root of their own, with busybox for a shell. What they
ask about disks is answered by a stand-in for grub-probe, as GRUB's documentation says what each
``--target`` is; grub-mkrelpath puts a subvolume or a dataset in front of a path, or takes the
mount point away. Nothing generated is kept: it is made anew by each run.
"""

from __future__ import annotations

import os
import shutil
import subprocess
from dataclasses import dataclass, field
from pathlib import Path

from tests.vm.debian import Suite

SUITES = ("bookworm", "trixie", "testing")
PACKAGES = ("grub-common", "grub2-common")
KERNELS = ("6.12.57+deb13-amd64", "6.12.9+deb13-amd64")
"""The newest first, which is not the order of their names."""
CMDLINE = 'console=ttyS0 dyndbg="file a +p"'
CMDLINE_AS_GRUB_JOINS_IT = 'console=ttyS0 "dyndbg=file a +p"'

_APPLETS = (
    "[", "ash", "awk", "basename", "cat", "chmod", "cp", "cut", "date", "dirname", "echo",
    "egrep", "env", "expr", "false", "fgrep", "find", "grep", "head", "id", "ls", "mkdir",
    "mktemp", "mv", "paste", "printf", "pwd", "readlink", "rm", "rmdir", "sed", "sh", "sort",
    "stat", "tail", "test", "touch", "tr", "true", "umask", "uname", "uniq", "wc", "which",
    "xargs",
)  # fmt: skip
_PROBE = """#!/bin/sh
# grub-probe --target=T PATH, or --device DEVICE --target=T
target= device= path=
while [ $# -gt 0 ]; do
  case "$1" in
    --target=*) target="${1#--target=}" ;;
    -t|--target) target="$2"; shift ;;
    -d|--device) device="$2"; shift ;;
    -*) ;;
    *) if [ -z "$device" ]; then path="$1"; fi ;;
  esac
  shift
done
if [ -z "$device" ]; then
  case "$path" in /boot|/boot/*) device=BOOT ;; *) device=ROOT ;; esac
fi
file="/answers/$(echo "$device" | tr / _)/$target"
[ -f "$file" ] || exit 1
cat "$file"
"""
_RELATIVE = """#!/bin/sh
case "$1" in
  /boot|/boot/*) echo "$(cat /answers/boot_prefix)${1#"$(cat /answers/boot_mount)"}" ;;
  /) cat /answers/root_prefix ;;
  *) echo "$(cat /answers/root_prefix)$1" ;;
esac
"""
_KIND = """#!/bin/sh
# grub-file: Xen for PCs is a multiboot kernel of both versions.
case "$1" in --is-x86-multiboot*) exit 0 ;; *) exit 1 ;; esac
"""
_COMPARE = """#!/bin/sh
# dpkg --compare-versions A OP B
[ "$1" = --compare-versions ] || exit 2
newest="$(printf '%s\\n%s\\n' "$2" "$4" | sort -V | tail -n1)"
case "$3" in
  gt) [ "$2" != "$4" ] && [ "$newest" = "$2" ] ;;
  lt) [ "$2" != "$4" ] && [ "$newest" = "$4" ] ;;
  ge) [ "$newest" = "$2" ] ;;
  eq) [ "$2" = "$4" ] ;; *) exit 2 ;;
esac
"""


@dataclass(frozen=True, slots=True)
class Volume:
    """A file system, and where it is."""

    device: str
    uuid: str
    filesystem: str = "ext2"
    partmap: str = "gpt"
    abstraction: str = ""
    hint: str = "hd0,gpt2"
    """GRUB's name of the device."""
    label: str = ""


@dataclass(frozen=True, slots=True)
class Machine:
    """What grub-mkconfig finds."""

    root: Volume
    boot: Volume | None = None
    """Given where /boot is apart."""
    is_efi: bool = False
    root_prefix: str = ""
    """What GRUB has in front of a path: a Btrfs subvolume, a ZFS dataset."""
    settings: dict[str, str] = field(default_factory=dict)
    """For /etc/default/grub."""
    has_xen: bool = False
    other: Volume | None = None
    """The file system of another system."""
    others: str = ""
    """What os-prober prints, "" for nothing."""
    other_boot: str = ""
    """What linux-boot-prober prints about it."""


def _write(path: Path, text: str, *, executable: bool = False) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)
    path.chmod(0o755 if executable else 0o644)


def _answers(root: Path, machine: Machine) -> None:
    boot = machine.boot or machine.root
    volumes = [(machine.root, "ROOT"), (boot, "BOOT")]
    if machine.other is not None:
        volumes.append((machine.other, "OTHER"))
    for volume, alias in volumes:
        answers = {
            "device": volume.device,
            "fs_uuid": volume.uuid,
            "fs": volume.filesystem,
            "partmap": volume.partmap,
            "abstraction": volume.abstraction,
            "compatibility_hint": volume.hint,
            "hints_string": f"--hint-bios={volume.hint} --hint-efi={volume.hint}",
            "drive": f"({volume.hint})",
            "fs_label": volume.label,
            "cryptodisk_uuid": "0" * 32,
        }
        for name in (alias, volume.device.replace("/", "_")):
            for target, answer in answers.items():
                _write(root / "answers" / name / target, answer + "\n" if answer else "")
    _write(root / "answers/root_prefix", machine.root_prefix)
    _write(root / "answers/boot_prefix", "" if machine.boot else machine.root_prefix)
    _write(root / "answers/boot_mount", "/boot" if machine.boot else "")


def make_root(root: Path, suite: str, machine: Machine) -> None:
    """Lay the root out: the packages' scripts, stand-ins, kernels; raises FetchError."""
    for package in PACKAGES:
        source = Suite(suite).package(package).root
        for part in ("etc", "usr/share/grub", "usr/lib/grub", "usr/sbin"):
            if (source / part).is_dir():
                shutil.copytree(source / part, root / part, symlinks=True, dirs_exist_ok=True)
    _programs(root, machine)
    _answers(root, machine)
    for kernel in KERNELS:
        _write(root / f"boot/vmlinuz-{kernel}", kernel)
        _write(root / f"boot/initrd.img-{kernel}", kernel)
        _write(root / f"boot/config-{kernel}", "CONFIG_XEN=y\nCONFIG_XEN_DOM0=y\n")
    if machine.has_xen:
        _write(root / "boot/xen-4.20-amd64.gz", "xen")
    if machine.is_efi:
        (root / "sys/firmware/efi").mkdir(parents=True)
    for volume in (machine.root, machine.boot):
        if volume is not None:
            _write(root / volume.device.lstrip("/"), "")
            _write(root / f"dev/disk/by-uuid/{volume.uuid}", "")
    settings = {
        "GRUB_DEFAULT": "0",
        "GRUB_TIMEOUT": "5",
        "GRUB_DISTRIBUTOR": "Debian",
        "GRUB_CMDLINE_LINUX_DEFAULT": "quiet",
        "GRUB_CMDLINE_LINUX": CMDLINE,
        "GRUB_TERMINAL": "console",
        **machine.settings,
    }
    text = "".join(f"{name}='{value}'\n" for name, value in settings.items())
    _write(root / "etc/default/grub", text)
    (root / "boot/grub").mkdir()
    (root / "tmp").mkdir()


def _programs(root: Path, machine: Machine) -> None:
    """Put busybox in, and what stands in for programs that look at disks."""
    package = Suite("bookworm").package("busybox-static").root
    busybox = next(
        path for path in (package / "usr/bin/busybox", package / "bin/busybox") if path.exists()
    )
    (root / "bin").mkdir(parents=True)
    shutil.copy(busybox, root / "bin/busybox")
    for applet in _APPLETS:
        (root / "bin" / applet).symlink_to("busybox")
    (root / "usr/sbin/grub-probe").unlink(missing_ok=True)
    programs = {
        "sbin/grub-probe": _PROBE,
        "bin/grub-mkrelpath": _RELATIVE,
        "bin/grub-file": _KIND,
        "bin/grub-script-check": "#!/bin/sh\nexit 0\n",
        "bin/grub-editenv": "#!/bin/sh\nexit 0\n",
        "bin/dpkg": _COMPARE,
    }
    if machine.others:
        programs["bin/os-prober"] = f"#!/bin/sh\necho '{machine.others}'\n"
        programs["bin/linux-boot-prober"] = f"#!/bin/sh\necho '{machine.other_boot}'\n"
    for name, text in programs.items():
        _write(root / "usr" / name, text, executable=True)


def generate(root: Path) -> str:
    """Run grub-mkconfig in the root; raises RuntimeError with what it has complained of."""
    user = [] if os.geteuid() == 0 else ["--map-root-user"]
    done = subprocess.run(
        [
            "unshare",
            *user,
            "--mount",
            "--net",
            f"--root={root}",
            "/bin/sh",
            "/usr/sbin/grub-mkconfig",
        ],
        env={"PATH": "/usr/sbin:/usr/bin:/bin", "LANG": "C"},
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        check=False,
        timeout=120,
    )
    if done.returncode != 0 or "### END" not in done.stdout:
        raise RuntimeError(f"grub-mkconfig ends with {done.returncode}: {done.stderr}")
    return done.stdout
