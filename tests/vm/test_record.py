"""A recorded machine gives the plan that the machine itself gives, byte for byte."""

from __future__ import annotations

from pathlib import Path

import pytest
from click.testing import CliRunner

from pykexec.cli.main import cli
from tests.vm import debian
from tests.vm.conftest import Vm
from tests.vm.qemu import Machine, aarch64_machine, riscv64_machine
from tests.vm.record import TAR
from tests.vm.scenario import boot_path

PLANS = {"normal.json": (), "crash.json": ("--crash",)}
SCRIPT = """
python3 -s - <<'EOF'
from contextlib import redirect_stdout
from pykexec.cli.main import cli
for name, words in {commands!r}.items():
    with open(f"/tmp/{{name}}", "w") as file, redirect_stdout(file):
        cli(words, standalone_mode=False)
EOF
for name in {names}; do send-file $name /tmp/$name; done
"""
"""One process for all commands: under emulation, Python takes long to come up."""


@pytest.mark.parametrize(
    "machine",
    [
        pytest.param(Machine(memory="8G"), id="bios"),
        pytest.param(
            Machine(firmware="ovmf", board="q35", cpus=2), id="ovmf", marks=pytest.mark.full
        ),
        pytest.param(aarch64_machine(memory="2G"), id="arm64"),
        pytest.param(riscv64_machine(memory="2G"), id="riscv64", marks=pytest.mark.full),
    ],
)
def test_a_recorded_machine_gives_the_same_plan(vm: Vm, machine: Machine, tmp_path: Path) -> None:
    options = ["--call", "segments", "--append", machine.platform.console, "--seed", "1", "--json"]
    commands = {name: ["plan", boot_path("6.12"), *options, *more] for name, more in PLANS.items()}
    # With IMA's list, which the guest's kernel has made: it is part of the plan.
    commands["log"] = ["machine", "record", "--ima", f"/tmp/{TAR}"]
    script = SCRIPT.format(commands=commands, names=" ".join([*PLANS, TAR]))
    result = vm([script], machine=machine, append="crashkernel=256M")
    tar = tmp_path / TAR
    tar.write_bytes(result.files[TAR])

    kernel = debian.kernel("6.12", arch=machine.platform.debian).image
    for name, more in PLANS.items():
        command = ["plan", str(kernel), *options, *more, "--machine", str(tar)]
        elsewhere = CliRunner().invoke(cli, command, catch_exceptions=False)
        assert elsewhere.exit_code == 0, elsewhere.output
        assert elsewhere.output == result.files[name].decode()
