"""The capture initramfs of ``crash setup``, built by Debian's own generator: a real crash.

Built in a root of Debian's, loaded by pykexec in a guest, crashed by ``crash test``. What is found
on the disk afterwards is what the saver has left.
"""

from __future__ import annotations

import hashlib
import re
import shutil
import subprocess
from pathlib import Path

import pytest

import pykexec
from pykexec.cli import trial
from pykexec.cli.vmcore_dmesg import read_log
from pykexec.crash.captured import State, parse_status
from pykexec.crash.trial import Token, build_token
from tests.vm import debian
from tests.vm.conftest import Vm
from tests.vm.crashes import PANIC
from tests.vm.installed import installed_root, run_in
from tests.vm.qemu import Machine
from tests.vm.scenario import CONSOLE

UUID = "0a1b2c3d-1111-2222-3333-444455556666"
MODULES = ("ext4", "virtio_pci", "virtio_blk")
"""Of the guest's disk; the machine that the image is built on has another."""

# What "crash setup" does to build the image, with the guest's disk in place of this machine's.
BUILD = """
import os, shutil, sys
from dataclasses import replace
from pykexec import capture_files
from pykexec.cli import setup_facts
from pykexec.cli.setup_run import run_steps
from pykexec.crash_setup.dump_tool import choose
from pykexec.crash_setup.image import image_path, image_steps
from pykexec.crash_setup.place import Place, saver_config
from pykexec.crash_setup.settings import Settings
from pykexec.crash_setup.steps import WriteFile
from pykexec.crash_setup.system import Generator

generator, uuid, release, *modules = sys.argv[1:]
os.makedirs("/lib/modules", exist_ok=True)
shutil.copytree("/bound/modules", f"/lib/modules/{release}")
shutil.copy("/bound/config", f"/boot/config-{release}")
os.system(f"depmod {release}")
place = Place("local", f"UUID={uuid}", "ext4", directory="/var/crash", modules=tuple(modules))
tool = choose(setup_facts.makedumpfile_version(), release)
packed = setup_facts.find_packed(place, tool.arguments)
config = saver_config(place, Settings(), tool.arguments, "guest")
steps = image_steps(Generator(generator), release, place, config, packed, capture_files.read)
for step in steps:
    if isinstance(step, WriteFile):
        step = replace(step, data=step.data.replace(b"MODULES=dep", b"MODULES=list"))
    else:
        step = replace(step, words=tuple(w for w in step.words if w not in LEFT_OUT))
    run_steps([step])
shutil.copy(image_path(release), "/bound/capture.img")
print(tool.reason)
"""
HOST_ONLY = ("--add-device", f"/dev/disk/by-uuid/{UUID}", "--hostonly")
"""What dracut would look for on the machine that it runs on."""

CAPTURE = f"{CONSOLE} nr_cpus=1 irqpoll reset_devices panic=10"
STEPS = f"""
try load pykexec crash load /boot/its-kernel --initrd=/boot/its-image --append="{CAPTURE}"
try status pykexec crash status
pykexec crash test --yes
"""


@pytest.mark.full
@pytest.mark.parametrize(
    ("suite", "generator", "series"),
    [("bookworm", "initramfs-tools", "6.1")],
)
def test_a_crash_leaves_a_dump(
    vm: Vm,
    work: Path,
    suite: str,
    generator: str,
    series: str,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    root = installed_root(suite, generator)
    built = work / "built"
    built.mkdir()
    shutil.copytree(Path(pykexec.__file__).parent, built / "pykexec")
    kernel = debian.kernel(series)
    shutil.copytree(kernel.modules, built / "modules")
    shutil.copy(kernel.config, built / "config")
    (built / "build.py").write_text(BUILD.replace("LEFT_OUT", repr(HOST_ONLY)))
    print(
        run_in(root, built, "python3", "/bound/build.py", generator, UUID, kernel.release, *MODULES)
    )
    disk = work / "disk"
    subprocess.run(["mkfs.ext4", "-q", "-U", UUID, disk, "256M"], check=True, capture_output=True)
    result = vm(
        [STEPS],
        kernel=series,
        machine=Machine(
            memory="1G", extra=("-drive", f"file={disk},if=virtio,format=raw,cache=unsafe")
        ),
        append="crashkernel=384M",
        files={"/boot/its-kernel": kernel.image, "/boot/its-image": built / "capture.img"},
        meant_death=re.escape(PANIC),
        stop_on="reboot: Restarting system",
    )
    print("\n".join(result.phases[1].lines))

    caught = work / "caught"
    caught.mkdir()
    subprocess.run(["debugfs", "-R", f"rdump / {caught}", disk], check=True, capture_output=True)
    (dump,) = (caught / "var/crash").iterdir()
    status = parse_status((dump / "status").read_bytes())
    assert status is not None
    assert (status.state, status.core, status.log) == (
        State.COMPLETE,
        "vmcore",
        "vmcore-dmesg.txt",
    ), (dump / "status").read_text()
    core = dump / "vmcore"
    digest = hashlib.sha256(core.read_bytes()).hexdigest()
    assert (dump / "SHA256SUMS").read_text() == f"{digest}  vmcore\n"
    log = (dump / "vmcore-dmesg.txt").read_bytes()
    mark = re.search(rb"pykexec: crash test ([0-9a-f]{16})", log)
    assert mark is not None
    assert PANIC.encode() in log
    assert PANIC.encode() in b"".join(read_log([str(core)]))

    # As at the next boot.
    token = Token("", "before", "", str(caught / "var/crash"), {}, mark[1].decode())
    monkeypatch.setattr(trial, "TOKEN", str(work / "token.json"))
    (work / "token.json").write_bytes(build_token(token))
    report = trial.make_report("after", None)
    assert report.success, report
    assert mark[1].decode() in report.verdict
    assert {item.panic for item in report.caught if item.panic} == {PANIC}
