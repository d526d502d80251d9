"""What pykexec says about a riscv64 machine, on the machine itself, and a board's boot entry."""

from __future__ import annotations

import json
import textwrap

import pytest

from tests.vm import debian
from tests.vm.conftest import Vm
from tests.vm.loads import LOADED, printed
from tests.vm.platforms import RISCV64
from tests.vm.qemu import riscv64_machine
from tests.vm.scenario import boot_path

pytestmark = pytest.mark.full

KERNEL = boot_path("6.12")
EXTLINUX = "/boot/extlinux/extlinux.conf"
CMDLINE = f"{RISCV64.console} vmtest.phase=2"
CONFIGURATION = f"""\
## {EXTLINUX}, as Debian's u-boot-menu writes it.
default l0
menu title U-Boot menu
prompt 1
timeout 50

label l0
	menu label Debian GNU/Linux
	linux {KERNEL}
	initrd /boot/initrd-small
	append {CMDLINE}
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

    look("normal", "doctor", *FILES)
    look("crash", "doctor", "--crash", *FILES, "--append", "nr_cpus=1")
    look("estimate", "crash", "estimate", *FILES, "--append", "nr_cpus=1")
    look("entries", "entries")
    print("found", json.dumps(found))
    """
)
SCRIPT = f"""
/usr/bin/python3 -s /scenario/look.py
kexec -c -l --entry default
{LOADED}kexec -e
"""


def test_doctor_estimate_and_entries(vm: Vm) -> None:
    result = vm(
        [SCRIPT, "uname -r\n"],
        machine=riscv64_machine(memory="1G", cpus=2),
        append="crashkernel=256M",
        files={"/scenario/look.py": LOOK, EXTLINUX: CONFIGURATION},
        timeout=300,
    )

    found = json.loads(printed(result, 1, "found"))
    assert {name: item["code"] for name, item in found.items()} == {
        "normal": 0,
        "crash": 0,
        "estimate": 0,
        "entries": 0,
    }
    for name in ("normal", "crash"):
        levels = {item["check"]: item["level"] for item in found[name]["said"]["findings"]}
        assert "blocks" not in levels.values(), found[name]
        assert levels["crashkernel"] == "fine"
    listed = found["entries"]["said"]["entries"]
    (entry,) = (item for item in listed if item["source"] == "extlinux")
    assert entry["kernel"] == KERNEL
    assert entry["cmdline"] == CMDLINE
    assert result.phases[2].cmdline == CMDLINE
    assert result.phases[2].lines == [debian.kernel("6.12", arch=RISCV64.debian).release]
