"""A dump over a network: the capture initramfs of ``crash setup``, and a real server of SSH.

The server is the distribution's own sshd, in the same root as the generator. QEMU starts it for
each connection of the guest's; the guest reaches nothing else.
"""

from __future__ import annotations

import re
import shlex
from pathlib import Path

import pytest

from pykexec.cli.vmcore_dmesg import read_log
from pykexec.crash.captured import State, parse_status
from pykexec.crash_setup.place import Link, Place
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
TARGET = Place(
    "ssh",
    directory=DIRECTORY,
    host=f"root@{PEER}",
    alias=NAME,
    modules=("virtio_net", "virtio_pci"),
    link=Link("eth0", MAC, PEER, "10.0.2.15/24"),
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
CAPTURE = f"{CONSOLE} nr_cpus=1 irqpoll reset_devices panic=10"
STEPS = f"""
try load pykexec crash load /boot/its-kernel --initrd=/boot/its-image --append="{CAPTURE}"
pykexec crash test --yes
"""
PATIENCE = 900.0
"""Seconds, for two boots under emulation."""


def network(root: Path, place: Path, key: str) -> Machine:
    """Return a machine with a way to a host that has the host key ``key``, and to no other."""
    upper = place / f"server-{key}"
    upper.mkdir()
    server = place / f"serve-{key}"
    words = ("unshare", "--mount", "--propagation", "private", "sh", "-c", ENTER, "sh")
    inside = ("sh", "-c", SSHD.replace("HOST", key))
    command = shlex.join((*words, str(root), str(upper), *inside))
    server.write_text(f"#!/bin/sh\nBOUND={place}\nexport BOUND\nexec {command}\n")
    server.chmod(0o755)
    forward = f"user,id=net,restrict=on,guestfwd=tcp:{PEER}:22-cmd:{server}"
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
    built = build(root, place, generator, series, first=KNOWN, target=TARGET)

    said = crash(vm, network(root, place, "host"), built, series)
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

    said = crash(vm, network(root, place, "other"), built, series)
    assert f"the key of root@{PEER} is not the one that was known at the setup" in said
    assert list(dumps.iterdir()) == [dump]
