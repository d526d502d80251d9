"""The ordinary initramfs with the saver, where firmware takes the dump: by Debian's own generators.

They are those of x86_64: what they do with hooks and modules is the same on every architecture.
"""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from pykexec.formats.initramfs import initramfs_names
from tests.vm.capture import build
from tests.vm.initramfs import PROJECT
from tests.vm.installed import installed_root

pytestmark = pytest.mark.full

# Behind the build of the capture initramfs, in the same root. The guest's disk is not there.
ORDINARY = """
import subprocess
from pykexec.crash_setup.ordinary import saver_steps

shutil.rmtree("/var/lib/pykexec/capture")
if generator == "dracut":
    shutil.copytree("/bound/dracut", "/usr/lib/dracut/modules.d", dirs_exist_ok=True)
else:
    with open("/etc/initramfs-tools/conf.d/small", "w") as file:
        file.write("MODULES=list\\nCOMPRESS=gzip\\n")
*files, last = saver_steps(Generator(generator), place, config, packed, capture_files.read)
for step in files:
    kept = b"".join(l for l in step.data.splitlines(True) if not l.startswith(b"add_device"))
    run_steps([replace(step, data=kept)])
print(last)
commands = {
    "initramfs-tools": ["mkinitramfs", "-o", "/bound/initrd", release],
    "dracut": ["dracut", "--force", "--hostonly", "--gzip", "/bound/initrd", release],
}
done = subprocess.run(commands[generator], stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
print(done.stdout.decode())
assert done.returncode == 0
"""
HOOKS = {
    "initramfs-tools": r"scripts/init-premount/pykexec-capture",
    "dracut": "50-pykexec-capture-settled.sh",
}


@pytest.mark.parametrize(
    ("suite", "generator", "series"),
    [
        ("bookworm", "initramfs-tools", "6.1"),
        ("bookworm", "dracut", "6.1"),
        ("trixie", "dracut", "6.12"),
    ],
)
def test_it_has_the_saver(work: Path, suite: str, generator: str, series: str) -> None:
    place = work / "built"
    place.mkdir()
    shutil.copytree(PROJECT / "contrib/dracut", place / "dracut")
    build(installed_root(suite, generator), place, generator, series, ORDINARY)

    names = initramfs_names((place / "initrd").read_bytes())
    capture = "usr/lib/pykexec/capture"
    wanted = {f"{capture}/save", f"{capture}/bin/sh", f"{capture}/bin/dd"}
    assert wanted | {"etc/pykexec-capture.conf"} <= names
    assert any(name.endswith(HOOKS[generator]) for name in names)
    drivers = {name.rpartition("/")[2].partition(".ko")[0] for name in names if ".ko" in name}
    assert "virtio_blk" in drivers  # ext4 is built in
