"""From nothing to a proven dump, on an installed Debian with a boot loader, by nobody's hand."""

from __future__ import annotations

import json
import re
import sys
from collections.abc import Sequence
from pathlib import Path

import pytest

from tests.needs import unavailable
from tests.vm.crashes import PANIC
from tests.vm.installed_disk import (
    MACHINE,
    Installed,
    Step,
    built_packages,
    installed_system,
    write_disk,
    write_medium,
)
from tests.vm.qemu import qemu_missing

REBOOT = "systemctl reboot\nsleep 600\n"
FROM_NOTHING = (
    Step("boot", "grep BOOT_IMAGE= /proc/cmdline\nsystemctl --failed --no-legend\n"),
    Step("apt install", "apt-get install --yes -qq ./packages/*.deb\n"),
    Step(
        "crash setup",
        "code=0\npykexec crash setup --yes || code=$?\n[ $code = 3 ]\n"
        "code=0\npykexec crash setup --check || code=$?\n[ $code = 3 ]\n",
    ),
    Step("reboot", REBOOT),
    Step("crash setup --check", "cat /proc/cmdline\npykexec crash setup --check\n"),
    Step("crash test", "sync\npykexec crash test --yes\n"),
    Step("report", "pykexec crash test --report\npykexec crash status --json\n"),
    Step("crash, and a power cut", "pykexec crash test --yes\n", cut_on="the memory is saved by"),
    Step(
        "report of the cut",
        "code=0\npykexec crash test --report || code=$?\n[ $code = 1 ]\npykexec crash status\n",
    ),
)
INTEGRATION = {"initramfs-tools": "pykexec-initramfs", "dracut": "pykexec-dracut"}
SUITES = [("bookworm", "initramfs-tools"), ("trixie", "dracut")]

# Debian's own, with pykexec-kexec in place of kexec-tools.
LOAD = "--initrd=/boot/initrd.img-$(uname -r) /boot/vmlinuz-$(uname -r)"
IN_PLACE = (
    Step(
        "boot",
        "kexec --version\n[ $(cat /sys/kernel/kexec_crash_loaded) = 1 ]\n"
        "dpkg-query --show kexec-tools kdump-tools\n",
    ),
    Step(
        "apt install",
        "apt-get install --yes -qq ./packages/pykexec_*.deb ./packages/pykexec-kexec_*.deb\n"
        "kexec --version | grep pykexec\n"
        "dpkg-query --show --showformat='${Package} ${db:Status-Abbrev}\\n' "
        "kexec-tools kdump-tools pykexec-kexec\n",
    ),
    Step(
        "kdump-tools",
        "kdump-config unload\n[ $(cat /sys/kernel/kexec_crash_loaded) = 0 ]\n"
        "kdump-config load\n[ $(cat /sys/kernel/kexec_crash_loaded) = 1 ]\n"
        "kdump-config show\nkdump-config status\nkdump-config test\n"
        "pykexec crash status || true\n",
    ),
    Step(
        "systemctl kexec",
        f"kexec -l {LOAD} --reuse-cmdline --append=vmtest.jumped\nsystemctl kexec\nsleep 600\n",
    ),
    Step(
        "after the jump",
        "grep vmtest.jumped /proc/cmdline\nsystemctl is-active kdump-tools.service\n"
        "kdump-config status\nsystemctl --failed --no-legend\n",
    ),
)


def tell(line: str) -> None:
    print(line, file=sys.stderr, flush=True)


def installed(
    work: Path, suite: str, generator: str, steps: Sequence[Step], *others: str
) -> Installed:
    """Return a guest with ``others`` on its disk, and our packages at hand."""
    missing = qemu_missing()
    if missing:
        unavailable(missing)
    root = installed_system(suite, generator, *others)
    wanted = ("pykexec", "pykexec-kexec", INTEGRATION[generator])
    packages = {
        f"packages/{path.name}": path
        for path in built_packages(suite, work / "built")
        if path.name.partition("_")[0] in wanted
    }
    assert len(packages) == len(wanted)
    write_disk(root, work / "disk")
    write_medium(work / "medium", [step.script for step in steps], packages)
    name = "-".join(("test_installed_disk", suite, generator, *others))
    return Installed(name, work / "disk", work / "medium", MACHINE)


@pytest.mark.full
@pytest.mark.vm
@pytest.mark.parametrize(("suite", "generator"), SUITES)
def test_from_nothing_to_a_proven_dump(work: Path, suite: str, generator: str) -> None:
    guest = installed(work, suite, generator, FROM_NOTHING)
    done = guest.run(FROM_NOTHING, tell)

    checked = done["crash setup --check"]
    assert "BOOT_IMAGE=/boot/vmlinuz" in checked.phase.cmdline
    assert " crashkernel=" in checked.phase.cmdline
    assert "ready: a crash is dumped to /var/crash" in checked.said
    assert guest.console.count(PANIC) == 2
    report = done["report"].said
    caught = r"caught: /var/crash/127\S+/vmcore, [\d.]+ [MG]iB, ends in the crash [0-9a-f]{16}"
    assert re.search(caught, " ".join(report.split()))
    assert PANIC in report
    last = json.loads(report[report.index("{") :])["dumps"]["last"]
    assert (last["state"], last["core"], last["panic"]) == ("complete", "vmcore", PANIC)
    # What was written of the core may be on the disk by then, or not.
    cut = " ".join(done["report of the cut"].said.split())
    assert "verdict: not caught: " in cut
    said = "broken off while the memory was being saved; the log is in vmcore-dmesg.txt"
    assert cut.count(said) >= 2


@pytest.mark.full
@pytest.mark.vm
def test_in_place_of_kexec_tools(work: Path) -> None:
    others = ("kexec-tools", "kdump-tools")
    guest = installed(work, "bookworm", "initramfs-tools", IN_PLACE, *others)
    done = guest.run(IN_PLACE, tell)

    assert "kdump-tools ii \n" in done["apt install"].said
    assert "pykexec-kexec ii \n" in done["apt install"].said
    assert "kexec-tools ii" not in done["apt install"].said
    said = done["kdump-tools"].said
    assert "loaded kdump kernel" in said
    assert "ready to kdump" in said
    assert "vmtest.jumped" in done["after the jump"].phase.cmdline
    assert "ready to kdump" in done["after the jump"].said
