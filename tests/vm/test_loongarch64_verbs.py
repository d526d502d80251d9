"""What pykexec says about a loongarch64 machine, on the machine itself, and an ELF file's jump."""

from __future__ import annotations

import json
import textwrap
from pathlib import Path

import pytest

from pykexec.architectures.loongarch64 import LOONGARCH64 as ROW
from pykexec.formats import identify
from pykexec.formats.elf_vmlinux import wrap
from tests.vm import debian
from tests.vm.conftest import Vm
from tests.vm.loads import LOADED, printed
from tests.vm.platforms import LOONGARCH64
from tests.vm.qemu import loongarch64_machine
from tests.vm.scenario import boot_path

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
LOOK = textwrap.dedent(
    f"""
    import json
    from contextlib import redirect_stdout
    from io import StringIO
    from pykexec.cli.main import cli

    FILES = ["{KERNEL}", "--initrd", "/boot/initrd-small"]
    found = {{}}

    def look(name, *words):
        out = StringIO()
        with redirect_stdout(out):
            code = cli([*words, "--json"], standalone_mode=False)
        found[name] = {{"code": code or 0, "said": json.loads(out.getvalue())}}

    cli(["machine", "record", "/tmp/machine.tar"], standalone_mode=False)
    look("normal", "doctor", *FILES)
    look("crash", "doctor", "--crash", *FILES, "--append", "nr_cpus=1")
    look("estimate", "crash", "estimate", *FILES, "--append", "nr_cpus=1")
    look("entries", "entries")
    look("status", "status")
    look("elf", "inspect", "{VMLINUX}")
    look("zboot", "inspect", "{KERNEL}")
    look("plan", "plan", *FILES, "--call", "segments")
    look("recorded", "plan", *FILES, "--call", "segments", "--machine", "/tmp/machine.tar")
    look("capture", "plan", "--crash", *FILES, "--call", "segments")
    print("found", json.dumps(found))
    """
)
SCRIPT = f"""
/usr/bin/python3 -s /scenario/look.py
kexec -c -l --entry default
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
        files={"/scenario/look.py": LOOK, GRUB: CONFIGURATION, VMLINUX: elf_file(tmp_path)},
        timeout=300,
    )

    found = json.loads(printed(result, 1, "found"))
    assert {name: item["code"] for name, item in found.items()} == dict.fromkeys(found, 0)
    for name in ("normal", "crash"):
        levels = {item["check"]: item["level"] for item in found[name]["said"]["findings"]}
        assert "blocks" not in levels.values(), found[name]
        assert levels["crashkernel"] == "fine"
    assert found["estimate"]["said"]["fits"]
    listed = found["entries"]["said"]["entries"]
    (entry,) = (item for item in listed if item["source"] == "grub")
    assert (entry["kernel"], entry["cmdline"]) == (KERNEL, f"{CMDLINE} entry=grub")
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
