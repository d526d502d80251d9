"""The capture initramfs of ``crash setup``, built by Debian's own generator: a real crash.

Built in a root of Debian's, loaded by pykexec in a guest, crashed by ``crash test``. What is found
on the disk afterwards is what the saver has left.
"""

from __future__ import annotations

import hashlib
import re
from pathlib import Path

import pytest

from pykexec.cli import trial
from pykexec.cli.vmcore_dmesg import read_log
from pykexec.crash.captured import State, parse_status
from pykexec.crash.trial import Token, build_token
from tests.vm.capture import build, caught_on, make_disk, with_disk
from tests.vm.conftest import Vm
from tests.vm.crashes import PANIC
from tests.vm.installed import installed_root
from tests.vm.scenario import CONSOLE

CAPTURE = f"{CONSOLE} nr_cpus=1 irqpoll reset_devices panic=10"
STEPS = f"""
try load pykexec crash load /boot/its-kernel --initrd=/boot/its-image --append="{CAPTURE}"
try status pykexec crash status
pykexec crash test --yes
"""
# Under emulation dracut's systemd takes a minute to get to the saver, beside other guests several.
PATIENCE = 900.0
"""Seconds."""


@pytest.mark.full
@pytest.mark.parametrize(
    ("suite", "generator", "series"),
    [
        ("bookworm", "initramfs-tools", "6.1"),
        # From 059 to 112 hooks have moved, and the main loop became a module.
        ("bookworm", "dracut", "6.1"),
        ("trixie", "dracut", "6.12"),
        ("testing", "dracut", "7.2"),
    ],
)
def test_a_crash_leaves_a_dump(
    vm: Vm,
    work: Path,
    suite: str,
    generator: str,
    series: str,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    built = build(installed_root(suite, generator), work / "built", generator, series)
    disk = work / "disk"
    make_disk(disk)
    result = vm(
        [STEPS],
        kernel=series,
        machine=with_disk(disk),
        append="crashkernel=384M",
        files={"/boot/its-kernel": built.kernel.image, "/boot/its-image": built.image},
        timeout=PATIENCE,
        meant_death=re.escape(PANIC),
        stop_on="reboot: Restarting system",
    )
    print("\n".join(result.phases[1].lines))

    caught = work / "caught"
    dump = caught_on(disk, caught)
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
