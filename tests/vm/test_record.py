"""A recorded machine gives the plan that the machine itself gives."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

from pykexec.cli.main import cli
from tests.vm import debian
from tests.vm.conftest import Vm
from tests.vm.qemu import Machine
from tests.vm.record import SCRIPT, TAR, unpack
from tests.vm.scenario import CONSOLE, boot_path

OPTIONS = f'--call segments --append "{CONSOLE}" --json'


@pytest.mark.parametrize(
    "machine",
    [
        pytest.param(Machine(memory="8G"), id="bios"),
        pytest.param(Machine(firmware="ovmf", board="q35", cpus=2), id="ovmf"),
    ],
)
def test_a_recorded_machine_gives_the_same_plan(vm: Vm, machine: Machine, tmp_path: Path) -> None:
    result = vm(
        [
            # IMA's list is not recorded: it names every file that was opened.
            "umount /sys/kernel/security\n"
            f"pykexec plan {boot_path('6.12')} {OPTIONS} >/tmp/plan.json\n"
            f"send-file plan.json /tmp/plan.json\n{SCRIPT}"
        ],
        machine=machine,
        append="crashkernel=256M",
    )
    directory = tmp_path / "machine"
    unpack(result.files[TAR], directory)

    kernel = debian.kernel("6.12").image
    words = ["plan", str(kernel), "--call", "segments", "--machine", str(directory)]
    words += ["--append", CONSOLE, "--json"]
    elsewhere = CliRunner().invoke(cli, words, catch_exceptions=False)

    assert elsewhere.exit_code == 0, elsewhere.output
    live = json.loads(result.files["plan.json"])
    assert comparable(json.loads(elsewhere.output)) == comparable(live)


def comparable(plan: dict[str, Any]) -> dict[str, Any]:
    """Return a plan without the digests of what holds, or points to, a fresh random seed."""
    segments = [
        {
            key: value
            for key, value in segment.items()
            if key != "sha256" or segment["role"] in ("kernel", "boot_params")
        }
        for segment in plan["segments"]
    ]
    assert {"kernel", "boot_params"} <= {segment["role"] for segment in segments}
    return {**plan, "segments": segments}
