"""A dump over a network: the capture initramfs of ``crash setup``, and real servers.

They are the distribution's own, sshd and the NFS server Ganesha, in the same root as the generator.
The guest reaches one port, which leads to the server, and nothing else.
"""

from __future__ import annotations

import contextlib
import hashlib
import re
import shlex
import socket
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from pykexec.cli.vmcore_dmesg import read_log
from pykexec.crash.captured import State, parse_status
from pykexec.crash_setup.place import Link, Place, resolve
from pykexec.crash_setup.settings import Kind, Target
from pykexec.entries.file_systems import MountTable
from tests.vm.capture import Built, build
from tests.vm.conftest import Vm
from tests.vm.crashes import PANIC
from tests.vm.installed import ENTER, installed_root, run_in
from tests.vm.qemu import Machine
from tests.vm.scenario import CONSOLE

NAME = "dumps.example"
"""Under which the host's key is known."""
PEER = "10.0.2.100"
MAC = "52:54:00:0a:0b:0c"
DIRECTORY = "/bound/dumps"
DRIVERS = ("virtio_net", "virtio_pci")
LINK = Link("eth0", MAC, PEER, "10.0.2.15/24", "", DRIVERS)
SSH = Place(
    "ssh",
    directory=DIRECTORY,
    host=f"root@{PEER}",
    alias=NAME,
    modules=DRIVERS,
    link=LINK,
    key="/bound/key",
)
OTHERS = ("openssh-client", "openssh-server", "iproute2")
# Keys as an administrator makes them: the host's, another one of the host's, and the user's.
KEYS = f"""
set -e
for name in host other key; do ssh-keygen -q -t ed25519 -N '' -f /bound/$name; done
echo "{NAME} $(cut -d' ' -f1,2 /bound/host.pub)" >/bound/known_hosts
"""
KNOWN = """
os.makedirs("/root/.ssh", exist_ok=True)
shutil.copy("/bound/known_hosts", "/root/.ssh/known_hosts")
"""
SSHD = """
mkdir -p /run/sshd /bound/dumps
exec /usr/sbin/sshd -i -E /bound/sshd.log -h /bound/HOST -o AuthorizedKeysFile=/bound/key.pub \\
    -o StrictModes=no -o UsePAM=no -o PermitRootLogin=yes -f /dev/null
"""
NFS = resolve(Target(Kind.NFS, f"{NAME}:/dumps", directory="/crash"), MountTable(()), LINK)
NFS_PACKAGES = ("nfs-common", "nfs-ganesha", "nfs-ganesha-vfs", "iproute2")
GANESHA = """
NFS_CORE_PARAM {
    Protocols = 4; NFS_Port = NUMBER; Bind_addr = 127.0.0.1; mount_path_pseudo = true;
    Enable_NLM = false; Enable_RQUOTA = false;
}
NFSv4 { Graceless = true; RecoveryBackend = fs; }
EXPORT {
    Export_Id = 1; Path = /bound/dumps; Pseudo = /dumps; Access_Type = RW;
    Squash = No_Root_Squash; SecType = sys; FSAL { Name = VFS; }
}
"""
NFSD = """
mkdir -p /run/ganesha /var/lib/nfs/ganesha
exec ganesha.nfsd -F -f /bound/ganesha.conf -L /bound/ganesha.log -p /run/ganesha/pid
"""
CAPTURE = f"{CONSOLE} nr_cpus=1 irqpoll reset_devices panic=10"
STEPS = f"""
try load pykexec crash load /boot/its-kernel --initrd=/boot/its-image --append="{CAPTURE}"
pykexec crash test --yes
"""
PATIENCE = 900.0
"""Seconds, for two boots under emulation."""


def served(root: Path, place: Path, name: str, script: str) -> Path:
    """Write a program that runs ``script`` in the root, with ``place`` as /bound."""
    upper = place / f"mounted-{name}"
    upper.mkdir()
    server = place / f"serve-{name}"
    words = ("unshare", "--mount", "--propagation", "private", "sh", "-c", ENTER, "sh")
    command = shlex.join((*words, str(root), str(upper), "sh", "-c", script))
    server.write_text(f"#!/bin/sh\nBOUND={place}\nexport BOUND\nexec {command}\n")
    server.chmod(0o755)
    return server


def network(port: int, program: Path) -> Machine:
    """Return a machine that reaches PEER at one port, where it gets to ``program``."""
    forward = f"user,id=net,restrict=on,guestfwd=tcp:{PEER}:{port}-cmd:{program}"
    device = f"virtio-net-pci,netdev=net,mac={MAC},romfile="
    return Machine(memory="1G", extra=("-netdev", forward, "-device", device))


def crash(vm: Vm, machine: Machine, built: Built, series: str) -> str:
    """Crash the guest, and return what the saver has said on the console."""
    result = vm(
        [STEPS],
        kernel=series,
        machine=machine,
        append="crashkernel=384M",
        files={"/boot/its-kernel": built.kernel.image, "/boot/its-image": built.image},
        timeout=PATIENCE,
        meant_death=re.escape(PANIC),
        stop_on="reboot: Restarting system",
    )
    said = re.findall(r"pykexec-capture: .*", result.serial)
    print("\n".join(said))
    return "\n".join(said)


@pytest.mark.full
@pytest.mark.parametrize(
    ("suite", "generator", "series"),
    [("bookworm", "initramfs-tools", "6.1"), ("trixie", "dracut", "6.12")],
)
def test_a_dump_by_ssh(vm: Vm, work: Path, suite: str, generator: str, series: str) -> None:
    root = installed_root(suite, generator, *OTHERS)
    place = work / "built"
    place.mkdir()
    run_in(root, place, "sh", "-c", KEYS)
    built = build(root, place, generator, series, first=KNOWN, target=SSH)

    def sshd(key: str) -> Path:
        return served(root, place, key, SSHD.replace("HOST", key))

    said = crash(vm, network(22, sshd("host")), built, series)
    log = place / "sshd.log"
    assert "pykexec-capture: saved: " in said, log.read_text() if log.exists() else "no connection"
    dumps = place / "dumps"
    (dump,) = dumps.iterdir()
    status = parse_status((dump / "status").read_bytes())
    assert status is not None
    assert (status.state, status.log) == (State.COMPLETE, "vmcore-dmesg.txt")
    assert PANIC in (dump / "vmcore-dmesg.txt").read_text()
    assert status.core == "vmcore.flat"
    assert PANIC.encode() in b"".join(read_log([str(dump / status.core)]))

    said = crash(vm, network(22, sshd("other")), built, series)
    assert f"the key of root@{PEER} is not the one that was known at the setup" in said
    assert list(dumps.iterdir()) == [dump]


def free_port() -> int:
    with socket.socket() as listening:
        listening.bind(("127.0.0.1", 0))
        port: int = listening.getsockname()[1]
        return port


@contextmanager
def nfs_server(root: Path, place: Path) -> Iterator[Path]:
    """Run the server; what each connection is to be handed to is what comes with it."""
    port = free_port()
    (place / "dumps").mkdir()
    (place / "ganesha.conf").write_text(GANESHA.replace("NUMBER", str(port)))
    server = subprocess.Popen([served(root, place, "nfsd", NFSD)])
    try:
        end = time.monotonic() + 120
        while server.poll() is None and time.monotonic() < end:
            with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port)):
                break
            time.sleep(0.5)
        else:
            pytest.fail((place / "ganesha.log").read_text())
        yield served(root, place, "relay", f"exec busybox nc 127.0.0.1 {port}")
    finally:
        server.kill()
        server.wait()


@pytest.mark.full
@pytest.mark.parametrize(("suite", "generator", "series"), [("bookworm", "initramfs-tools", "6.1")])
def test_a_dump_by_nfs(vm: Vm, work: Path, suite: str, generator: str, series: str) -> None:
    root = installed_root(suite, generator, *NFS_PACKAGES)
    place = work / "built"
    assert isinstance(NFS, Place)
    built = build(root, place, generator, series, target=NFS)

    with nfs_server(root, place) as relay:
        said = crash(vm, network(2049, relay), built, series)
    assert "pykexec-capture: saved: " in said, (place / "ganesha.log").read_text()
    (dump,) = (place / "dumps/crash").iterdir()
    status = parse_status((dump / "status").read_bytes())
    assert status is not None
    assert (status.state, status.core) == (State.COMPLETE, "vmcore")
    core = dump / "vmcore"
    digest = hashlib.sha256(core.read_bytes()).hexdigest()
    assert (dump / "SHA256SUMS").read_text() == f"{digest}  vmcore\n"
    assert PANIC.encode() in b"".join(read_log([str(core)]))
