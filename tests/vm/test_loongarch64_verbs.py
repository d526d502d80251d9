"""What pykexec says about a loongarch64 machine, on the machine itself, and an ELF file's jump."""

from __future__ import annotations

from pathlib import Path

import pytest

from pykexec.architectures.loongarch64 import LOONGARCH64 as ROW
from pykexec.formats import identify
from pykexec.formats.elf_vmlinux import wrap
from tests.vm import debian
from tests.vm.conftest import Vm
from tests.vm.loads import LOADED
from tests.vm.platforms import LOONGARCH64
from tests.vm.qemu import loongarch64_machine
from tests.vm.scenario import boot_path
from tests.vm.verbs import ASKED, LOOK, assert_entry, found_by, look_files

pytestmark = pytest.mark.full

SERIES = "7.2"
KERNEL = boot_path(SERIES)
VMLINUX = "/boot/vmlinux"
GRUB = "/boot/grub/grub.cfg"
CMDLINE = f"{LOONGARCH64.console} vmtest.phase=2"
CONFIGURATION = f"""\
set default="0"
menuentry 'Debian GNU/Linux' --class debian --id debian {{
	linux {KERNEL} {CMDLINE} entry=grub
	initrd /boot/initrd-small
}}
"""
RECORD = "/tmp/machine.tar"
MORE = (
    ("status", "status"),
    ("elf", f"inspect {VMLINUX}"),
    ("zboot", f"inspect {KERNEL}"),
    ("plan", "plan *FILES --call segments"),
    ("recorded", f"plan *FILES --call segments --machine {RECORD}"),
    ("capture", "plan --crash *FILES --call segments"),
)
RECORDS = f'cli(["machine", "record", "{RECORD}"], standalone_mode=False)'
SCRIPT = f"""
{LOOK}kexec -c -l --entry default
{LOADED}pykexec crash load {KERNEL} --initrd=/boot/initrd-small --append=nr_cpus=1
pykexec crash status
kexec -c -l -t elf-loongarch {VMLINUX} --initrd=/boot/initrd-small --append='{CMDLINE}'
{LOADED}kexec -e
"""


def elf_file(work: Path) -> Path:
    """Write an ELF file of Debian's kernel: the one of its own has a gigabyte with it."""
    packed = debian.kernel(SERIES, arch=LOONGARCH64.debian).image.read_bytes()
    image = identify(packed, ROW.name).image
    file = work / "vmlinux"
    file.write_bytes(wrap(image.payload, len(image.payload), ROW.elf_machine))
    return file


def test_doctor_estimate_entries_and_an_elf_file(vm: Vm, tmp_path: Path) -> None:
    """Also plans: on the machine, and for its record."""
    result = vm(
        [SCRIPT, "uname -r\n"],
        kernel=SERIES,
        machine=loongarch64_machine(memory="2G", cpus=2),
        append="crashkernel=512M",
        files={
            **look_files(KERNEL, *ASKED, *MORE, before=RECORDS),
            GRUB: CONFIGURATION,
            VMLINUX: elf_file(tmp_path),
        },
        timeout=300,
    )

    found = found_by(result)
    assert found["estimate"]["said"]["fits"]
    assert_entry(found, "grub", KERNEL, f"{CMDLINE} entry=grub")
    sizes = {found[name]["said"]["image_size"] for name in ("elf", "zboot")}
    assert len(sizes) == 1
    places = [
        [(item["role"], item["mem"]) for item in found[name]["said"]["segments"]]
        for name in ("plan", "recorded")
    ]
    assert places[0] == places[1]
    assert found["capture"]["said"]["cmdline"].startswith("kexec mem=")
    release = debian.kernel(SERIES, arch=LOONGARCH64.debian).release
    assert result.phases[2].lines == [release]
    assert result.phases[2].cmdline.startswith(f"kexec {CMDLINE} initrd=")
