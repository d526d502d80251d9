"""From nothing to a proven dump, on an installed Debian with a boot loader, by nobody's hand."""

from __future__ import annotations

import re
import sys
from pathlib import Path

import pytest

from tests.vm.crashes import PANIC
from tests.vm.installed_disk import (
    Installed,
    Step,
    built_packages,
    installed_system,
    write_disk,
    write_medium,
)
from tests.vm.qemu import Machine

REBOOT = "systemctl reboot\nsleep 600\n"
FROM_NOTHING = (
    Step("boot", "grep BOOT_IMAGE= /proc/cmdline\nsystemctl --failed --no-legend\n"),
    Step("apt install", "apt-get install --yes ./packages/*.deb\n"),
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
INSTALLED = ("pykexec", "pykexec-kexec", "pykexec-initramfs")


def tell(line: str) -> None:
    print(line, file=sys.stderr, flush=True)


@pytest.mark.full
@pytest.mark.vm
@pytest.mark.parametrize(("suite", "generator"), [("bookworm", "initramfs-tools")])
def test_from_nothing_to_a_proven_dump(work: Path, suite: str, generator: str) -> None:
    root = installed_system(suite, generator)
    packages = {
        f"packages/{path.name}": path
        for path in built_packages(suite, work / "built")
        if path.name.partition("_")[0] in INSTALLED
    }
    assert len(packages) == len(INSTALLED)
    write_disk(root, work / "disk")
    write_medium(work / "medium", [step.script for step in FROM_NOTHING], packages)
    guest = Installed(
        f"test_installed_disk-{suite}-{generator}",
        work / "disk",
        work / "medium",
        Machine(memory="2G"),
    )
    done = guest.run(FROM_NOTHING, tell)

    assert "BOOT_IMAGE=/boot/vmlinuz" in done["crash setup --check"].phase.cmdline
    assert " crashkernel=" in done["crash setup --check"].phase.cmdline
    assert "ready: a crash is dumped to /var/crash" in done["crash setup --check"].said
    assert guest.console.count(PANIC) == 1
    report = done["report"].said
    assert re.search(r"caught: /var/crash/127\S+/vmcore, [\d.]+ [MG]iB, ends in the crash", report)
    assert PANIC in report
