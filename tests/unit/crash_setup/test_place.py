"""How the capture kernel finds a target again, and what the saver is told of it."""

from __future__ import annotations

import shlex
import subprocess
from dataclasses import replace

import pytest

from pykexec.crash_setup.place import Link, Place, resolve, saver_config
from pykexec.crash_setup.settings import Kind, Settings, Target
from pykexec.entries.file_systems import Mounted, MountTable, Volume

DRIVERS = ("e1000e", "vmd")
LINK = Link("eth0", "52:54:00:00:00:01", "192.0.2.1", "192.0.2.7/24", "192.0.2.254", DRIVERS)
ROOT = Mounted("/", "ext4", "/dev/vda1", "/", Volume("vda1", "root-uuid"))


def table(*mounts: Mounted) -> MountTable:
    return MountTable((ROOT, *mounts))


def test_a_directory_by_its_file_system() -> None:
    var = Mounted("/var", "xfs", "/dev/vda2", "/", Volume("vda2", "var-uuid"))
    assert resolve(Target(Kind.DIRECTORY), table(var)) == Place(
        "local", "UUID=var-uuid", "xfs", "", "/crash", mount="/var", modules=("xfs",)
    )


def test_a_subvolume_from_the_top_level_on() -> None:
    var = Mounted("/var", "btrfs", "/dev/vda2", "/@var", Volume("vda2", "b"))
    found = resolve(Target(Kind.DIRECTORY), table(var))
    assert isinstance(found, Place)
    assert (found.options, found.directory) == ("subvolid=5", "/@var/crash")


@pytest.mark.parametrize(
    ("kind", "volume", "why"),
    [
        ("tmpfs", Volume(), "on tmpfs, which is on no disk"),
        ("overlay", Volume(), "on overlay, which is on no disk"),
        ("zfs", Volume("", "1"), "on zfs, which a capture kernel does not mount"),
        ("nfs4", Volume(), "on nfs4"),
        ("ext4", Volume("vda2"), "has no UUID"),
    ],
)
def test_what_does_not_outlive_the_crash(kind: str, volume: Volume, why: str) -> None:
    mounts = table(Mounted("/var", kind, "x", "/", volume))
    found = resolve(Target(Kind.DIRECTORY), mounts)
    assert isinstance(found, str)
    assert why in found


def test_hosts_by_their_addresses() -> None:
    nfs = resolve(Target(Kind.NFS, "host:/export", directory="/d"), table(), LINK)
    ssh = resolve(Target(Kind.SSH, "me@host", directory="/d", key="/k"), table(), LINK)
    assert isinstance(nfs, Place)
    assert isinstance(ssh, Place)
    assert (nfs.host, nfs.directory, nfs.fstype) == ("192.0.2.1:/export", "/d", "nfs")
    assert (nfs.modules, ssh.modules) == (("nfs", "nfsv4", *DRIVERS), DRIVERS)
    assert (ssh.host, ssh.alias, ssh.key) == ("me@192.0.2.1", "host", "/k")
    assert "there is no way to host" in str(resolve(Target(Kind.NFS, "host:/e"), table()))


def test_an_interface_that_the_capture_kernel_will_not_have() -> None:
    link = replace(LINK, interface="eth0.5", drivers=None)
    found = resolve(Target(Kind.SSH, "me@host", key="/k"), table(), link)
    assert str(found).startswith("the way to me@host is eth0.5: a tunnel, a VLAN")


def test_a_device_that_may_have_another_name_next_time() -> None:
    assert "write UUID=" in str(resolve(Target(Kind.FILE_SYSTEM, "LABEL=x", "ext4"), table()))


def test_the_shell_reads_what_is_written() -> None:
    odd = "/it's $HOME `id`"
    place = Place("local", "UUID=u", "ext4", directory=odd)
    config = saver_config(place, Settings(final="halt"), "-l -d 1", "me")
    names = '"$CAPTURE_PATH" $CAPTURE_FINAL "$CAPTURE_MAKEDUMPFILE"'
    script = f"{config.decode()}\nprintf '%s|%s|%s' {names}"
    said = subprocess.run(["sh", "-c", script], capture_output=True, text=True, check=True).stdout
    assert said == f"{odd}|halt|-l -d 1"
    assert shlex.quote(odd).encode() in config
