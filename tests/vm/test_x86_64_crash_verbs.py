"""The crash verbs from the load to the report, with a real kernel's files and a real crash."""

from __future__ import annotations

import json
import re
import tempfile
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from pykexec.cli import trial
from pykexec.crash.trial import Token, build_token
from tests.vm import debian, kdump
from tests.vm.conftest import Vm
from tests.vm.crashes import CAPTURE_CMDLINE, CRASHKERNEL, PANIC, TAKE_WHOLE
from tests.vm.qemu import Machine
from tests.vm.scenario import boot_path
from tests.vm.tried import Tried

KERNEL = boot_path("6.12")
LOAD = f"{KERNEL} --initrd=/boot/initrd --append='{CAPTURE_CMDLINE}'"
STEPS = f"""
cp /boot/initrd-small /boot/initrd
try nothing pykexec crash status
try load pykexec crash load {LOAD}
try fresh pykexec crash status
try fresh-json pykexec crash status --json
printf '\\0\\0\\0\\0' >>/boot/initrd
try stale pykexec crash status
try refused pykexec crash test --yes
try reload kexec -c -p {LOAD} --hotplug
try again pykexec crash status
echo 0 >/sys/devices/system/cpu/cpu1/online
try fewer pykexec crash status
try unload kexec -p -u
try gone pykexec crash status
try last kexec -c -p {LOAD}
try estimate pykexec crash estimate {LOAD} --json
try asked pykexec crash test
pykexec crash test --yes
"""
TAKE = 'echo "rootfs $(grep rootfs /proc/mounts)"\ncat /proc/meminfo\n' + TAKE_WHOLE


@pytest.fixture
def core() -> Iterator[Path]:
    """Return where the core goes, which goes with it."""
    with tempfile.TemporaryDirectory(prefix="pykexec-crash-") as directory:
        yield Path(directory) / "vmcore"


def test_from_the_load_to_the_report(
    vm: Vm, core: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    machine = Machine(memory="768M", cpus=2, extra=kdump.core_port(core))
    result = vm(
        [STEPS, TAKE],
        machine=machine,
        append=CRASHKERNEL,
        boot=[("6.12", "cloud")],
        files=kdump.port_modules(debian.kernel("6.12")),
        meant_death=re.escape(PANIC),
    )
    tried = Tried(result.phases[1].lines)
    codes = {
        name: tried.outcome(name)
        for name in ("nothing", "load", "fresh", "stale", "refused", "reload", "again", "fewer")
    }
    assert codes == {
        "nothing": (1, "00"),
        "load": (0, "01"),
        "fresh": (0, "01"),
        "stale": (1, "01"),
        "refused": (1, "01"),
        "reload": (0, "01"),
        "again": (0, "01"),
        "fewer": (0, "01"),
    }
    status = json.loads(tried.said("fresh-json"))
    assert status["record"]["call"] == "kexec_file_load"
    assert [region["size"] for region in status["regions"]] == [256 << 20]
    assert status["kernel_updates"] == {"memory": True, "cpus": True}
    assert "initrd: changed since the load" in " ".join(tried.said("stale").split())
    assert "by kexec_load" in " ".join(tried.said("again").split())
    assert (tried.outcome("gone"), tried.outcome("asked")) == ((1, "00"), (1, "01"))

    estimate = json.loads(tried.said("estimate"))
    assert estimate["fits"]
    limit = next(check for check in estimate["checks"] if check["name"] == "root file system")
    second = "\n".join(result.phases[2].lines)
    found = re.search(r"rootfs .*size=(\d+)k", second)
    assert found is not None
    real = int(found[1]) << 10
    assert 0.9 * real < limit["found"] <= real

    monkeypatch.setattr(trial, "TOKEN", str(tmp_path / "token.json"))
    token = Token("", "before", result.phases[1].release, str(core.parent), {})
    Path(trial.TOKEN).write_bytes(build_token(token))
    report = trial.make_report("after", None)
    assert report.verdict.startswith(f"caught: {core}, ")
    Path(trial.TOKEN).write_bytes(build_token(replace(token, known={str(core): 0})))
    assert trial.make_report("after", None).success
