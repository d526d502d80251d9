"""The saver in the ordinary initramfs, where firmware takes the dump."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from pykexec import capture_files
from pykexec.crash_setup.image import CAPTURE, TREE, Packed
from pykexec.crash_setup.ordinary import DRACUT_MODULE, REBUILD, firmware_plan, saver_steps
from pykexec.crash_setup.place import Link, Place
from pykexec.crash_setup.planner import UNIT, refusals
from pykexec.crash_setup.steps import Run, WriteFile
from pykexec.crash_setup.system import Generator
from tests.unit.crash_setup.test_planner import LEFT_BEHIND, SYSTEM

PLACE = Place("local", "UUID=1", "ext4", directory="/var/crash", modules=("ext4",))
PACKED = Packed({"sh": "/usr/bin/dash", "mount.nfs": "/usr/sbin/mount.nfs"})
CONTRIB = Path(__file__).resolve().parents[3] / "contrib"
POWER = replace(SYSTEM, arch="ppc64le", by_firmware="firmware takes the dump")


def planned(generator: Generator, place: Place = PLACE) -> tuple[dict[str, WriteFile], Run]:
    *files, run = saver_steps(generator, place, b"# where\n", PACKED, capture_files.read)
    assert isinstance(run, Run)
    return {step.path: step for step in files if isinstance(step, WriteFile)}, run


@pytest.mark.parametrize("generator", Generator)
def test_the_saver_and_what_it_needs(generator: Generator) -> None:
    files, run = planned(generator)
    assert files[f"{TREE}/usr/lib/pykexec/capture/save"].data == capture_files.read("save")
    assert files[f"{TREE}/etc/pykexec-capture.conf"].data == b"# where\n"
    assert files[f"{CAPTURE}/programs"].data.decode() == (
        "/usr/bin/dash /usr/lib/pykexec/capture/bin/sh\n/usr/sbin/mount.nfs /sbin/mount.nfs\n"
    )
    assert run.words == REBUILD[generator]
    assert not run.makes


def test_hooks_of_the_ordinary_initramfs() -> None:
    files, _ = planned(Generator.INITRAMFS_TOOLS)
    for name, data in (
        ("hooks", "initramfs-hook"),
        ("scripts/init-premount", "initramfs-script"),
    ):
        step = files[f"/etc/initramfs-tools/{name}/pykexec-capture"]
        assert (step.data, step.mode) == (capture_files.read(data), 0o755)


def test_dracut_is_asked_for_the_module_of_the_packages() -> None:
    module = CONTRIB / "dracut" / DRACUT_MODULE.rpartition("/")[2] / "module-setup.sh"
    files, _ = planned(Generator.DRACUT)
    hooks = [path for path in files if path.endswith(".sh")]
    assert len(hooks) == 2
    assert all(path.replace(CAPTURE, "$capture") in module.read_text() for path in hooks)
    assert f"capture={CAPTURE}\n" in module.read_text()
    conf = files["/etc/dracut.conf.d/pykexec-capture.conf"].data.decode().splitlines()[1:]
    assert conf == [
        'add_dracutmodules+=" pykexec-capture "',
        'add_drivers+=" ext4 "',
        'add_device+=" /dev/disk/by-uuid/1 "',
    ]
    link = Link("eth0", "02:00", "192.0.2.1", "192.0.2.7/24")
    far = Place("ssh", host="root@192.0.2.1", modules=("virtio_net",), link=link)
    files, _ = planned(Generator.DRACUT, far)
    conf = files["/etc/dracut.conf.d/pykexec-capture.conf"].data.decode().splitlines()[2:]
    assert conf == ['add_drivers+=" virtio_net =drivers/net "']


def test_what_crash_kernels_need_is_not_asked_for() -> None:
    """No load has to be permitted, and nobody else's crashkernel= is in the way."""
    left = replace(POWER, gates=("kexec_load_disabled is 1",), reserving=(LEFT_BEHIND,))
    assert refusals(left) == ()
    assert [text for text, _ in refusals(replace(POWER, others=("kdump.service",)))] == [
        "kdump.service is enabled here, and loads a crash kernel, too"
    ]


def test_the_service_keeps_it_registered() -> None:
    plan = firmware_plan(POWER, "give it more")
    assert [str(step) for step in plan.steps] == [
        f"systemctl enable {UNIT}",
        f"systemctl restart {UNIT}",
    ]
    assert plan.notes == (
        "firmware takes the dump here (fadump): no crash kernel is loaded",
        "give it more",
    )
    assert not plan.needs_reboot
    assert firmware_plan(replace(POWER, enabled=True), "").notes == plan.notes[:1]
