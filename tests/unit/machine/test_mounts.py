"""What is mounted below a root, and the kernels that boot loaders mean by their paths."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Mapping
from pathlib import Path
from random import Random

import pytest

from pykexec.entries import Source
from pykexec.entries.file_systems import Mounted, Volume
from pykexec.machine.boot_entries import BootEntries, read_boot_entries
from pykexec.machine.boot_tree import BootTree
from pykexec.machine.mounts import read_mounts
from tests.builders.boot_configs import write_system
from tests.builders.mount_tables import Mount, mountinfo, write_mounts
from tests.needs import need_root

ROOT = "0a000000-0000-4000-8000-000000000001"
BOOT = "0b000000-0000-4000-8000-000000000002"
OTHER = "0c000000-0000-4000-8000-000000000003"


def entry(name: str, uuid: str, kernel: str, words: str = "ro") -> str:
    search = f" search --no-floppy --fs-uuid --set=root {uuid}\n" if uuid else ""
    return f"menuentry {name} --id {name} {{\n{search} linux {kernel} {words}\n}}\n"


def read(root: Path, files: Mapping[str, str | bytes]) -> BootEntries:
    return read_boot_entries(write_system(root, files), "x86_64")


def kernels(root: Path, found: BootEntries) -> dict[str, str]:
    """Return each entry's kernel below the root, or why it is missing."""
    return {
        item.id: item.missing[0].reason
        if item.missing
        else f"/{os.path.relpath(item.kernel, root)}"
        for item in found.entries
        if item.source == "grub"
    }


def not_mounted(uuid: str, device: str = "") -> str:
    return f"the file system with fs-uuid {uuid}{device} is not mounted"


BTRFS = {
    "/boot/grub/grub.cfg": entry("now", ROOT, "/@/boot/vmlinuz")
    + entry("snapshot", ROOT, "/@snapshots/42/snapshot/boot/vmlinuz")
    + entry("lost", ROOT, "/@snapshots/43/snapshot/boot/vmlinuz")
    + entry("rolled-back", ROOT, "/@old/boot/vmlinuz")
    + entry("own", "", "/@/boot/vmlinuz")
    + entry("top", "", "/boot/vmlinuz"),
    "/boot/vmlinuz": "k",
    "/.snapshots/42/snapshot/boot/vmlinuz": "old",
}
BTRFS_MOUNTS = [
    Mount("/", "/dev/sda2", "btrfs", "/@"),
    Mount("/home", "/dev/sda2", "btrfs", "/@home"),
    Mount("/.snapshots", "/dev/sda2", "btrfs", "/@snapshots"),
]


def test_btrfs_with_snapshots(tmp_path: Path) -> None:
    """A path is one from the top level on; what is not mounted is not this system's file."""
    write_mounts(tmp_path, BTRFS_MOUNTS, {ROOT: "sda2"})
    lost = f"the subvolume of the file system with fs-uuid {ROOT} that has it is not mounted"
    found = read(tmp_path, BTRFS)
    assert kernels(tmp_path, found) == {
        "now": "/boot/vmlinuz",
        "snapshot": "/.snapshots/42/snapshot/boot/vmlinuz",
        "lost": "there is no such file",
        "rolled-back": lost,
        "own": "/boot/vmlinuz",
        "top": "the subvolume of the file system of grub.cfg that has it is not mounted",
    }
    assert (found.default, found.problems) == (found.entries[0], [])
    write_mounts(tmp_path, BTRFS_MOUNTS[:2])
    assert kernels(tmp_path, read(tmp_path, {}))["snapshot"] == lost


def test_btrfs_by_the_top_level(tmp_path: Path) -> None:
    """Where that is mounted as well, everything is at hand."""
    top = Mount("/mnt/top level", "/dev/sda2", "btrfs")
    write_mounts(tmp_path, [BTRFS_MOUNTS[0], top], {ROOT: "sda2"})
    info = tmp_path / "proc/self/mountinfo"
    info.write_text(info.read_text().replace("top level", "top\\040level"))
    found = read(tmp_path, {**BTRFS, "/mnt/top level/@old/boot/vmlinuz": "k"})
    assert kernels(tmp_path, found)["rolled-back"] == "/mnt/top level/@old/boot/vmlinuz"


def test_btrfs_on_several_devices(tmp_path: Path) -> None:
    """udev links the UUID to one of them, and the mount names another."""
    (tmp_path / f"sys/fs/btrfs/{ROOT}/devices").mkdir(parents=True)
    for device in ("sda2", "sdb2"):
        (tmp_path / f"sys/fs/btrfs/{ROOT}/devices/{device}").touch()
    write_mounts(tmp_path, BTRFS_MOUNTS, {ROOT: "sdb2"})
    found = kernels(tmp_path, read(tmp_path, BTRFS))
    assert found["snapshot"] == "/.snapshots/42/snapshot/boot/vmlinuz"


SUSE = {
    "/boot/grub2/grub.cfg": 'set btrfs_relative_path="yes"\nexport btrfs_relative_path\n'
    + entry("now", ROOT, "/boot/vmlinuz"),
    "/boot/vmlinuz": "k",
}


def test_paths_of_the_default_subvolume(tmp_path: Path) -> None:
    mounts = [
        Mount("/", "/dev/sda2", "btrfs", "/@/.snapshots/1/snapshot"),
        Mount("/boot/grub2/x86_64-efi", "/dev/sda2", "btrfs", "/@/boot/grub2/x86_64-efi"),
    ]
    write_mounts(tmp_path, mounts, {ROOT: "sda2"})
    found = read(tmp_path, SUSE)
    assert kernels(tmp_path, found) == {"now": "/boot/vmlinuz"}
    assert found.problems == []


POOL = "b27d79ae3ab198f8"
ZFS = {
    "/boot/grub/grub.cfg": entry("now", POOL, "/BOOT/ubuntu_ab@/vmlinuz")
    + entry("then", POOL, "/BOOT/ubuntu_ab@before/vmlinuz")
    + entry("gone", POOL, "/BOOT/ubuntu_ab@never/vmlinuz")
    + entry("other", POOL, "/BOOT/ubuntu_cd@/vmlinuz")
    + entry("own", "", "/BOOT/ubuntu_ab@/vmlinuz")
    + entry("strange", "1234567890abcdef", "/BOOT/ubuntu_ab@/vmlinuz"),
    "/boot/vmlinuz": "k",
    "/boot/.zfs/snapshot/before/vmlinuz": "old",
}
ZFS_MOUNTS = [
    Mount("/", "rpool/ROOT/ubuntu_ab", "zfs"),
    Mount("/boot", "bpool/BOOT/ubuntu_ab", "zfs"),
]


def test_zfs(tmp_path: Path) -> None:
    """GRUB has the pool's number in hexadecimal, udev in decimal; its label is its name."""
    pools = {"bpool": "sda3", "rpool": "sda4"}
    write_mounts(tmp_path, ZFS_MOUNTS, {str(int(POOL, 16)): "sda3", "77": "sda4"}, pools)
    lost = "the dataset or snapshot of the pool bpool that has it is not mounted"
    found = read(tmp_path, ZFS)
    assert kernels(tmp_path, found) == {
        "now": "/boot/vmlinuz",
        "then": "/boot/.zfs/snapshot/before/vmlinuz",
        "gone": lost,
        "other": lost,
        "own": "/boot/vmlinuz",
        "strange": not_mounted("1234567890abcdef"),
    }
    assert (found.default, found.reason) == (
        found.entries[0], "default=0 in /boot/grub/grub.cfg"
    )  # fmt: skip


def test_zfs_in_a_copy(tmp_path: Path) -> None:
    """Nothing says what was mounted where: what is as it is now may be there, no snapshot."""
    files = {name: text for name, text in ZFS.items() if "before" not in name}
    found = kernels(tmp_path, read(tmp_path, files))
    assert found["now"] == found["own"] == "/boot/vmlinuz"
    assert found["then"] == found["gone"] == "there is no such file"


@pytest.mark.parametrize("source", ["/dev/sda1", "/dev/mapper/vg-boot"])
def test_boot_apart(tmp_path: Path, source: str) -> None:
    """The root has a file of the same name, and GRUB means the boot partition's."""
    device = "dm-1" if "mapper" in source else "sda1"
    files = {
        "/boot/grub/grub.cfg": entry("now", BOOT, "/vmlinuz") + entry("root", ROOT, "/vmlinuz")
        + entry("covered", ROOT, "/boot/vmlinuz") + entry("own", "", "/vmlinuz")
        + entry("none", BOOT, "/boot/vmlinuz"),
        "/boot/vmlinuz": "k",
        "/vmlinuz": "old",
    }  # fmt: skip
    (tmp_path / "dev/mapper").mkdir(parents=True)
    (tmp_path / "dev/mapper/vg-boot").symlink_to("../dm-1")
    mounts = [Mount("/", "/dev/sda2"), Mount("/boot", source)]
    write_mounts(tmp_path, mounts, {ROOT: "sda2", BOOT: device})
    assert kernels(tmp_path, read(tmp_path, files)) == {
        "now": "/boot/vmlinuz",
        "root": "/vmlinuz",
        "covered": "what is mounted on /boot covers it",
        "own": "/boot/vmlinuz",
        "none": "there is no such file",
    }


def test_two_systems(tmp_path: Path) -> None:
    """os-prober's entry: the other disk is there and not mounted, a third one is not there."""
    files = {
        "/boot/grub/grub.cfg": entry("this", ROOT, "/boot/vmlinuz")
        + entry("other", OTHER, "/boot/vmlinuz") + entry("third", BOOT, "/boot/vmlinuz"),
        "/boot/vmlinuz": "k",
    }  # fmt: skip
    mounts = [Mount("/", "/dev/sda2")]
    write_mounts(tmp_path, mounts, {ROOT: "sda2", OTHER: "sdb1"})
    found = read(tmp_path, files)
    assert kernels(tmp_path, found) == {
        "this": "/boot/vmlinuz",
        "other": not_mounted(OTHER, " (/dev/sdb1)"),
        "third": not_mounted(BOOT),
    }
    assert found.default is found.entries[0]
    # It may be mounted anywhere.
    write_mounts(tmp_path, [*mounts, Mount("/mnt/other", "/dev/sdb1")])
    write_system(tmp_path, {"/mnt/other/boot/vmlinuz": "k2"})
    assert kernels(tmp_path, read(tmp_path, {}))["other"] == "/mnt/other/boot/vmlinuz"


def test_xen_on_a_boot_partition(tmp_path: Path) -> None:
    """The hypervisor, its kernel and the initrd are looked up alike."""
    text = (
        f"menuentry xen {{\n search --fs-uuid --set=root {BOOT}\n"
        " multiboot2 /xen.gz dom0_mem=1G\n module2 /vmlinuz placeholder ro\n"
        " module2 --nounzip /initrd.img\n}\n"
    )
    files = {"/boot/grub/grub.cfg": text, "/vmlinuz": "old", "/initrd.img": "old"}
    files |= {f"/boot/{name}": "x" for name in ("xen.gz", "vmlinuz", "initrd.img")}
    mounts = [Mount("/", "/dev/sda2"), Mount("/boot", "/dev/sda1")]
    write_mounts(tmp_path, mounts, {ROOT: "sda2", BOOT: "sda1"})
    (found,) = (item for item in read(tmp_path, files).entries if item.source == "grub")
    assert (found.kernel, found.missing) == (str(tmp_path / "boot/xen.gz"), ())
    assert [module.path for module in found.modules] == [
        str(tmp_path / "boot/vmlinuz"), str(tmp_path / "boot/initrd.img"),
    ]  # fmt: skip
    write_mounts(tmp_path, mounts[:1])
    (found,) = (item for item in read(tmp_path, {}).entries if item.source == "grub")
    assert [file.reason for file in found.missing] == [not_mounted(BOOT, " (/dev/sda1)")] * 3


FSTAB = f"""# <file system> <mount point> <type> <options>
UUID={ROOT} / btrfs subvol=@ 0 1
UUID={ROOT} /home btrfs subvol=/@home 0 2
UUID={ROOT} /.snapshots btrfs subvol=@snapshots
LABEL="boot" /boot ext4 defaults
UUID={OTHER} /gone ext4 noauto
/swap none swap sw
"""


def test_a_copy_with_its_fstab(tmp_path: Path) -> None:
    """What is in it was where fstab mounts it."""
    files = {
        "/etc/fstab": FSTAB,
        "/boot/grub/grub.cfg": entry("own", "", "/vmlinuz") + entry("other", OTHER, "/vmlinuz")
        + entry("snapshot", ROOT, "/@snapshots/1/boot/k") + entry("now", ROOT, "/@/k"),
        "/boot/vmlinuz": "k", "/vmlinuz": "old", "/k": "k", "/.snapshots/1/boot/k": "k",
    }  # fmt: skip
    found = kernels(tmp_path, read(tmp_path, files))
    assert found == {
        "own": "/boot/vmlinuz",
        # fstab has it, and it is in no place of this copy.
        "other": not_mounted(OTHER),
        "snapshot": "/.snapshots/1/boot/k",
        "now": "/k",
    }
    table = read_mounts(BootTree(tmp_path))
    assert table.at("/boot/x") == Mounted(
        "/boot", "ext4", 'LABEL="boot"', volume=Volume(label="boot")
    )
    assert table.at("/gone") == table.at("/")


def test_two_systems_in_a_copy(tmp_path: Path) -> None:
    files = {
        "/boot/grub/grub.cfg": entry("this", ROOT, "/boot/vmlinuz")
        + entry("other", OTHER, "/boot/vmlinuz"),
        "/boot/vmlinuz": "k",
    }
    # Nothing at all tells which of the two this is.
    found = read(tmp_path, files)
    assert kernels(tmp_path, found) == {"this": "/boot/vmlinuz", "other": "/boot/vmlinuz"}
    assert found.problems == [
        f"/boot/grub/grub.cfg has kernels on the file system with fs-uuid {ROOT}, the file system "
        f"with fs-uuid {OTHER}: neither links in /dev/disk nor fstab tell which of them this is, "
        "and none is loaded"
    ]
    assert {entry.obstacle for entry in found.entries if entry.source is Source.GRUB} == {
        "it is on one of 2 file systems, and neither links in /dev/disk nor fstab tell which of "
        "them this is"
    }
    # Nor where it is mounted and no udev runs.
    write_mounts(tmp_path, [Mount("/", "/dev/sda2")])
    assert len(read(tmp_path, {}).problems) == 1
    found = read(tmp_path, {"/etc/fstab": f"UUID={ROOT} / ext4 defaults 0 1\n"})
    assert kernels(tmp_path, found) == {"this": "/boot/vmlinuz", "other": not_mounted(OTHER)}
    assert found.problems == []


@pytest.mark.parametrize(
    ("device", "reason"),
    [
        ("(hd0,gpt2)", ""),
        ("(hd1,gpt2)", "GRUB's device (hd1,gpt2) is on disk 2, and there are 1 as far as fstab and "
         "links in /dev/disk tell"),
        ("(hd0,gpt7)", "GRUB's device (hd0,gpt7) is not mounted"),
        ("(md/boot)", "there is no GRUB's device (md/boot)"),
    ],
)  # fmt: skip
def test_a_device_that_fstab_does_not_tell_of(tmp_path: Path, device: str, reason: str) -> None:
    files = {
        "/etc/fstab": "/dev/sda2 / ext4 defaults 0 1\n",
        "/boot/grub/grub.cfg": entry("a", "", f"{device}/boot/vmlinuz"),
        "/boot/vmlinuz": "k",
    }
    assert kernels(tmp_path, read(tmp_path, files)) == {"a": reason or "/boot/vmlinuz"}


def test_one_device_that_nothing_tells_of(tmp_path: Path) -> None:
    """It is taken for the file system of grub.cfg, with a note; beside another one it is not."""
    text = entry("a", OTHER, "/boot/vmlinuz")
    files = {"/boot/grub/grub.cfg": text, "/boot/vmlinuz": "k"}
    for _ in range(2):
        found = read(tmp_path, files)
        assert kernels(tmp_path, found) == {"a": "/boot/vmlinuz"}
        assert found.problems == []
        assert found.entries[0].notes == (
            f"nothing tells where the file system with fs-uuid {OTHER} is: its files are taken "
            "from here",
        )
        # The same of a root that is known by its device alone.
        write_mounts(tmp_path, [Mount("/", "/dev/sda2")])
    found = read(tmp_path, {"/boot/grub/grub.cfg": text + entry("b", "", "(hd0,gpt3)/k"), "/k": ""})
    assert [item.obstacle for item in found.entries[:1]] == [""]
    # Of several that it may be, the only one with the file counts, if there is one.
    write_mounts(tmp_path, [Mount("/", "/dev/sda2"), Mount("/mnt", "/dev/sdb1")])
    assert kernels(tmp_path, read(tmp_path, {}))["a"] == "/boot/vmlinuz"
    assert kernels(tmp_path, read(tmp_path, {"/mnt/boot/vmlinuz": ""})) == {
        "a": "neither links in /dev/disk nor fstab tell which of those on /, /mnt is the file "
        f"system with fs-uuid {OTHER}",
        "b": "GRUB's device (hd0,gpt3) is not mounted",
    }


@pytest.mark.parametrize("root", ["/dev/mapper/vg-root", f"UUID={ROOT}"])
def test_a_partition_beside_what_is_none(tmp_path: Path, root: str) -> None:
    """A logical volume is no partition, and the root has no such file: /boot is meant."""
    files = {
        "/etc/fstab": f"{root} / ext4 defaults\nUUID={BOOT} /boot ext4 defaults\n",
        "/boot/grub/grub.cfg": entry("a", "", "(hd0,msdos1)/vmlinuz"),
        "/boot/grub/menu.lst": "title b\nroot (hd0,0)\nkernel /vmlinuz ro\n",
        "/boot/vmlinuz": "k",
    }
    found = read(tmp_path, files)
    assert kernels(tmp_path, found) == {"a": "/boot/vmlinuz"}
    note = "nothing tells where GRUB's device (hd0,{}1) is: its files are taken from here"
    assert [entry.notes for entry in found.entries] == [
        (note.format("msdos"),), (note.format(""),),
    ]  # fmt: skip
    assert found.entries[1].missing == ()


def test_in_a_container(tmp_path: Path) -> None:
    """Its root is no device's, and a single file is bound from the host's: that has no kernel."""
    mounts = [
        Mount("/", "overlay", "overlay"),
        Mount("/etc/hosts", "/dev/sda1", "ext4", "/var/lib/containers/1/hosts"),
    ]
    write_mounts(tmp_path, mounts)
    files = {"/boot/grub/grub.cfg": entry("a", ROOT, "/boot/vmlinuz"), "/boot/vmlinuz": "k"}
    assert kernels(tmp_path, read(tmp_path, files)) == {"a": "/boot/vmlinuz"}


SNAPPER = """set btrfs_relative_path="y"
export btrfs_relative_path
btrfs-mount-subvol ($root) /.snapshots @/.snapshots
menuentry now { linux /boot/vmlinuz ro $extra_cmdline }
if [ -f /.snapshots/2/snapshot/boot/grub2/grub.cfg ]; then
  menuentry old "/.snapshots/2/snapshot" "@/.snapshots/2/snapshot" {
    btrfs_subvol="$3"
    extra_cmdline="rootflags=subvol=$3"
    export extra_cmdline
    configfile "$2/boot/grub2/grub.cfg"
  }
fi
"""


@pytest.mark.parametrize("known", [False, True])
def test_a_snapshot_of_snapper(tmp_path: Path, known: bool) -> None:
    """Its menu is read in its own subvolume: the kernel of the same name there is meant."""
    below = "/.snapshots/2/snapshot"
    files = {
        "/boot/grub2/grub.cfg": SNAPPER,
        "/boot/vmlinuz": "new",
        f"{below}/boot/grub2/grub.cfg": 'set btrfs_relative_path="y"\n'
        "menuentry it { linux /boot/vmlinuz ro $extra_cmdline }\n",
        f"{below}/boot/vmlinuz": "old",
    }
    if known:
        files["/etc/fstab"] = f"UUID={ROOT} / btrfs defaults 0 0\n" + (
            f"UUID={ROOT} /.snapshots btrfs subvol=/@/.snapshots 0 0\n"
        )
    found = read(tmp_path, files)
    assert kernels(tmp_path, found) == {
        "now": "/boot/vmlinuz", "old>it": f"{below}/boot/vmlinuz",
    }  # fmt: skip
    assert [entry.cmdline for entry in found.entries[:2]] == [
        "ro", "ro rootflags=subvol=@/.snapshots/2/snapshot",
    ]  # fmt: skip
    assert found.problems == []


COREOS = """if [ -d (md/md-boot)/grub2 ]; then
  set boot=md/md-boot
  set prefix=($boot)/grub2
else
  search --label boot --set boot --no-floppy
fi
set root=$boot
if [ -f "/ignition.firstboot" ]; then
  set ignition_firstboot="ignition.firstboot rd.neednet=1"
fi
blscfg
"""


@pytest.mark.parametrize("array", [False, True])
def test_fedora_coreos(tmp_path: Path, array: bool) -> None:
    """Its boot partition may be a RAID array, which its script looks for first."""
    disk = "md127" if array else "vda3"
    mounts = [
        Mount("/", "/dev/vda4", "xfs", "/ostree/deploy/fedora-coreos/deploy/1.0"),
        Mount("/boot", f"/dev/{disk}"),
    ]
    write_mounts(tmp_path, mounts, {ROOT: "vda4", BOOT: disk}, {"boot": disk, "root": "vda4"})
    if array:
        (tmp_path / "dev/md").mkdir()
        (tmp_path / "dev/md/md-boot").symlink_to("../md127")
    files = {
        "/boot/grub2/grub.cfg": COREOS,
        "/boot/loader/entries/ostree-1.conf": "title Fedora CoreOS (ostree:0)\nversion 1\n"
        "options $ignition_firstboot ostree=/ostree/boot.1/fedora-coreos/0\n"
        "linux /ostree/fedora-coreos-0/vmlinuz-6.11\n",
        "/boot/ostree/fedora-coreos-0/vmlinuz-6.11": "k",
    }
    found = read(tmp_path, files)
    assert found.problems == []
    assert kernels(tmp_path, found) == {"ostree-1": "/boot/ostree/fedora-coreos-0/vmlinuz-6.11"}
    assert found.default is not None
    assert (found.default.obstacle, found.default.cmdline) == (
        "", "ostree=/ostree/boot.1/fedora-coreos/0",
    )  # fmt: skip


def test_a_boot_partition_that_is_not_mounted(tmp_path: Path) -> None:
    """fstab knows it; the directory below it has files of the same name."""
    write_mounts(tmp_path, [Mount("/", "/dev/mapper/vg-root")])
    files = {
        "/etc/fstab": f"/dev/mapper/vg-root / ext4 defaults\nUUID={BOOT} /boot ext4 defaults\n",
        "/boot/grub/grub.cfg": entry("a", BOOT, "/vmlinuz"),
        "/vmlinuz": "old", "/boot/vmlinuz": "k",
    }  # fmt: skip
    assert kernels(tmp_path, read(tmp_path, files)) == {"a": not_mounted(BOOT)}


def test_a_partition_by_its_guid(tmp_path: Path) -> None:
    """Limine's uuid() is that of a file system or of a partition."""
    text = "".join(
        f"/{name}\n    protocol: linux\n    path: uuid({uuid}):/k\n    cmdline: ro\n"
        for name, uuid in (("fs", ROOT), ("part", BOOT), ("other", OTHER))
    )
    files = {"/boot/limine.conf": text, "/k": "root", "/boot/k": "k"}
    mounts = [Mount("/", "/dev/sda2"), Mount("/boot", "/dev/sda1")]
    write_mounts(tmp_path, mounts, {ROOT: "sda2", "AB-CD": "sda1"}, None, {BOOT: "sda1"})
    entries = [item for item in read(tmp_path, files).entries if item.source == "limine"]
    assert [item.kernel for item in entries[:2]] == [str(tmp_path / "k"), str(tmp_path / "boot/k")]
    assert [file.reason for file in entries[2].missing] == [
        f"the file system with uuid {OTHER} is not mounted"
    ]


def test_no_path_leads_out_of_its_file_system(tmp_path: Path) -> None:
    files = {
        "/boot/grub/grub.cfg": entry("up", "", "/../vmlinuz") + entry("link", "", "/link")
        + entry("inner", "", "/inner"),
        "/boot/vmlinuz": "k", "/vmlinuz": "old",
    }  # fmt: skip
    write_mounts(
        write_system(tmp_path, files), [Mount("/", "/dev/sda2"), Mount("/boot", "/dev/sda1")]
    )
    (tmp_path / "boot/link").symlink_to("../vmlinuz")
    (tmp_path / "boot/inner").symlink_to("vmlinuz")
    found = read(tmp_path, {})
    assert kernels(tmp_path, found) == {
        "up": "/boot/vmlinuz",
        "link": "it is a link to what is mounted on /, which no boot loader follows",
        "inner": "/boot/vmlinuz",
    }


def test_names_of_partitions(tmp_path: Path) -> None:
    """Of GRUB's (hd0,gpt2) only the partition's number is ours to compare."""
    files = {
        "/boot/grub/grub.cfg": entry("two", "", "(hd0,gpt2)/k") + entry("one", "", "(hd0,1)/k")
        + entry("lvm", "", "(lvm/vg-boot)/k") + entry("other", "", "(lvm/vg-x)/k")
        + entry("crypt", "", "(cryptouuid/ab)/k") + entry("ten", "", "(hd1,msdos9)/k"),
        "/boot/k": "k", "/k": "root", "/srv/k": "s",
    }  # fmt: skip
    mounts = [
        Mount("/", "/dev/nvme0n1p2"),
        Mount("/srv", "/dev/nvme0n1p1"),
        Mount("/boot", "/dev/mapper/vg-boot"),
    ]
    write_mounts(tmp_path, mounts, {ROOT: "nvme0n1p2", BOOT: "nvme0n1p1"})
    assert kernels(tmp_path, read(tmp_path, files)) == {
        "two": "/k",
        "one": "/srv/k",
        "lvm": "/boot/k",
        "other": "GRUB's device (lvm/vg-x) is not mounted",
        "crypt": "GRUB's device (cryptouuid/ab) is not mounted",
        "ten": "GRUB's device (hd1,msdos9) is not mounted",
    }
    (tmp_path / "dev/disk/by-uuid" / OTHER).symlink_to("../../sda2")
    assert kernels(tmp_path, read(tmp_path, {}))["two"] == (
        "GRUB's device (hd0,gpt2) is one of nvme0n1p2, sda2, and only GRUB knows which"
    )


def test_a_search_by_file_and_by_label(tmp_path: Path) -> None:
    by = "menuentry {0} --id {0} {{\n search --set=root {1}\n linux /k\n}}\n"
    files = {
        "/boot/grub/grub.cfg": by.format("file", "--file /mark") + by.format("both", "--file /k")
        + by.format("label", "--label 'my boot'") + by.format("none", "--label x"),
        "/boot/k": "k", "/boot/mark": "", "/k": "root",
    }  # fmt: skip
    mounts = [Mount("/", "/dev/sda2"), Mount("/boot", "/dev/sda1")]
    write_mounts(tmp_path, mounts, {}, {"my\\x20boot": "sda1", "root": "sda2"})
    assert kernels(tmp_path, read(tmp_path, files)) == {
        "file": "/boot/k",
        "both": "the file system with file /k is one of those on /, /boot, and only GRUB knows "
        "which",
        "label": "/boot/k",
        "none": "the file system with label x is not mounted",
    }


def test_mounts_that_others_cover(tmp_path: Path) -> None:
    """An automount below the file system itself; a place that a later mount has hidden."""
    mounts = [
        Mount("/", "/dev/sda2"),
        Mount("/efi", "systemd-1", "autofs"),
        Mount("/efi", "/dev/sda1", "vfat", parent=2),
        Mount("/mnt/a", "/dev/sdb1"),
        Mount("/mnt", "tmpfs", "tmpfs"),
    ]
    write_mounts(tmp_path, mounts)
    table = read_mounts(BootTree(tmp_path))
    assert [(mount.place, mount.kind) for mount in sorted(table.mounts, key=lambda m: m.place)] == [
        ("/", "ext4"), ("/efi", "vfat"), ("/mnt", "tmpfs"),
    ]  # fmt: skip
    assert table.at("/efi/EFI") == Mounted("/efi", "vfat", "/dev/sda1", volume=Volume("sda1"))


@pytest.mark.parametrize("text", ["", "x\n", "1 2 3\n - \n", "1 1 0:1 / / rw - ext4 /dev/a rw\n"])
def test_tables_that_are_none(tmp_path: Path, text: str) -> None:
    write_mounts(tmp_path, [])
    (tmp_path / "proc/self/mountinfo").write_text(text)
    files = {"/boot/grub/grub.cfg": entry("a", ROOT, "/boot/k"), "/boot/k": "k"}
    assert kernels(tmp_path, read(tmp_path, files)) == {"a": "/boot/k"}


LIVE = """
import sys
import time
from pykexec.entries import Source
from pykexec.machine.boot_entries import read_boot_entries
for entry in read_boot_entries(sys.argv[1], "x86_64").entries:
    print(entry.id, entry.kernel, entry.cmdline, *entry.missing)
"""


def test_mounts_of_the_running_machine(tmp_path: Path) -> None:
    """A boot partition that is really one, in a mount namespace of its own."""
    need_root("mounting")
    script = """set -e
    mount -t tmpfs none "$1"; mkdir -p "$1/boot" "$1/data"
    mount -t tmpfs none "$1/boot"; mkdir -p "$1/boot/grub2"
    touch "$1/boot/flag" "$1/boot/vmlinuz" "$1/vmlinuz"; echo v2=1 > "$1/boot/more.cfg"
    mkdir "$1/boot/sub"; touch "$1/boot/sub/bound"; mount --bind "$1/boot/sub" "$1/data"
    cat > "$1/boot/grub2/grub.cfg"
    exec "$2" -c "$3" "$1"
    """
    menu = (
        "if [ -f /flag ]; then v=1; fi\nsource /more.cfg\n"
        + entry("one", "", "/vmlinuz", "v=$v v2=$v2")
        + entry("two", "", "/boot/vmlinuz")
        + entry("three", "", "/sub/bound")
    )
    root = tmp_path / "root"
    root.mkdir()
    done = subprocess.run(
        ["unshare", "--mount", "sh", "-c", script, "sh", root, sys.executable, LIVE],
        input=menu, capture_output=True, text=True, check=True,
    )  # fmt: skip
    assert done.stdout.splitlines() == [
        f"one {root}/boot/vmlinuz v=1 v2=1",
        "two /boot/vmlinuz ro /boot/vmlinuz: there is no such file",
        f"three {root}/boot/sub/bound ro",
    ]


def test_a_host_of_many_containers(tmp_path: Path) -> None:
    """The time goes with the number of mounts, and not with its square."""
    mounts = [Mount("/", "/dev/sda2")]
    mounts += [Mount(f"/var/lib/c/{at}/rootfs", "overlay", "overlay") for at in range(4000)]
    write_mounts(tmp_path, mounts, {ROOT: "sda2"})
    files = {
        "/boot/grub/grub.cfg": "search --file /boot/k --set=root\n"
        + "".join(entry(f"e{at}", ROOT, "/boot/k") for at in range(20)),
        "/boot/k": "k",
    }
    start = time.process_time()
    assert set(kernels(tmp_path, read(tmp_path, files)).values()) == {"/boot/k"}
    assert time.process_time() - start < 4


@pytest.mark.parametrize("seed", range(4))
def test_tables_that_are_damaged(tmp_path: Path, seed: int) -> None:
    """Whatever they say, there is an answer."""
    random = Random(seed)
    fstab = FSTAB.encode()
    table = mountinfo([*BTRFS_MOUNTS, *ZFS_MOUNTS[1:], Mount("/efi", "/dev/sda1")]).encode()
    write_system(write_mounts(tmp_path, [], {ROOT: "sda2"}), BTRFS)
    for _ in range(25):
        for name, text in (("etc/fstab", fstab), ("proc/self/mountinfo", table)):
            damaged = bytearray(text)
            for _ in range(random.randrange(1, 12)):
                at = random.randrange(len(damaged))
                damaged[at : at + random.randrange(3)] = random.choice(
                    (b"", b" ", b"\n", b"/", b"\0", b"\\040", b"\\777", b"\xff", b"@", b"..")
                )
            write_system(tmp_path, {name: bytes(damaged)})
        read(tmp_path, {})
