"""A capture initramfs that Debian's own generator builds in a root of Debian's, and its disk."""

from __future__ import annotations

import shutil
import subprocess
from dataclasses import dataclass
from pathlib import Path

import pykexec
from pykexec.crash_setup.place import Place
from tests.vm import debian
from tests.vm.debian import Kernel
from tests.vm.installed import run_in
from tests.vm.qemu import Machine

UUID = "0a1b2c3d-1111-2222-3333-444455556666"
DISK = Place(
    "local",
    f"UUID={UUID}",
    "ext4",
    directory="/var/crash",
    modules=("ext4", "virtio_pci", "virtio_blk"),
)
"""The guest's disk; the machine that the image is built on has another."""

# What "crash setup" does to build the image, with the guest's disk in place of this machine's.
BUILD = """
import os, shutil, sys
FIRST
from dataclasses import replace
from pykexec import capture_files
from pykexec.cli import setup_facts
from pykexec.cli.setup_run import run_steps
from pykexec.crash_setup.dump_tool import choose
from pykexec.crash_setup.image import image_path, image_steps
from pykexec.crash_setup.place import Link, Place, saver_config
from pykexec.crash_setup.settings import Settings
from pykexec.crash_setup.steps import WriteFile
from pykexec.crash_setup.system import Generator

generator, release = sys.argv[1:]
os.makedirs("/lib/modules", exist_ok=True)
shutil.copytree("/bound/modules", f"/lib/modules/{release}")
shutil.copy("/bound/config", f"/boot/config-{release}")
os.system(f"depmod {release}")
place = PLACE
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
LEFT_OUT = ("--add-device", f"/dev/disk/by-uuid/{UUID}")
"""What dracut would look for on the machine that it runs on."""


@dataclass(frozen=True, slots=True)
class Built:
    """What was built in a root, and for which kernel."""

    kernel: Kernel
    place: Path
    """The directory that was /bound there."""

    @property
    def image(self) -> Path:
        """The capture initramfs."""
        return self.place / "capture.img"


def build(
    root: Path,
    place: Path,
    generator: str,
    series: str,
    then: str = "",
    *,
    first: str = "",
    target: Place = DISK,
) -> Built:
    """Build a capture initramfs in ``root``; ``first`` and ``then`` is Python around that."""
    place.mkdir(exist_ok=True)
    shutil.copytree(Path(pykexec.__file__).parent, place / "pykexec")
    kernel = debian.kernel(series)
    shutil.copytree(kernel.modules, place / "modules")
    shutil.copy(kernel.config, place / "config")
    script = BUILD.replace("FIRST", first).replace("LEFT_OUT", repr(LEFT_OUT))
    script = script.replace("PLACE", repr(target))
    (place / "build.py").write_text(script + then)
    print(run_in(root, place, "python3", "/bound/build.py", generator, kernel.release))
    return Built(kernel, place)


def make_disk(disk: Path) -> None:
    """Make the disk that a dump goes to, with a file system and nothing on it."""
    subprocess.run(["mkfs.ext4", "-q", "-U", UUID, disk, "256M"], check=True, capture_output=True)


def with_disk(disk: Path) -> Machine:
    """Return a machine that has the disk."""
    drive = f"file={disk},if=virtio,format=raw,cache=unsafe"
    return Machine(memory="1G", extra=("-drive", drive))


def caught_on(disk: Path, caught: Path) -> Path:
    """Copy what is on the disk into the directory ``caught``; returns that of the one dump."""
    caught.mkdir()
    subprocess.run(["debugfs", "-R", f"rdump / {caught}", disk], check=True, capture_output=True)
    (dump,) = (caught / "var/crash").iterdir()
    return dump
