"""Signals at random moments: no traceback, nothing left, and records that do not lie.

The system calls are recorded. The moments cover a whole run, the start of the interpreter too:
what that answers to SIGINT before it has come to a line of this project is counted apart.
"""

from __future__ import annotations

import json
import random
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from pykexec.values.kernel_state import KernelState
from tests.builders.bzimage import KernelSpec, build_bzimage
from tests.builders.machines import MachineDirectory
from tests.differential.interrupting import Task
from tests.differential.machines import golden_b
from tests.differential.sandbox import PROJECT, Sandbox, enter, own_kexec
from tests.needs import unavailable

pytestmark = pytest.mark.differential

STATE = KernelState(loaded=True, crash_loaded=True, crash_size=256 << 20)
KEXEC = {
    "l": ("-c -l NEW --initrd=INITRD", "-c -l OLD"),
    "file-l": ("-s -l NEW --initrd=INITRD", "-s -l OLD"),
    "p": ("-c -p NEW --initrd=INITRD", "-c -p OLD"),
    "u": ("-u", "-s -l OLD"),
    "p-u": ("-p -u", "-s -p OLD"),
}
PYKEXEC = {
    "plan": "plan NEW --initrd INITRD --call segments --machine MACHINE",
    "record": "machine record TARGET.tar --machine MACHINE",
    "record-directory": "machine record TARGET --machine MACHINE",
}
SIMULATE = "simulate NEW --append console=ttyS0 --machine MACHINE --noefi --timeout 1"
COUNTS = [
    pytest.param(3, id="few"),
    pytest.param(100, id="many", marks=pytest.mark.full),
]
"""Of each of three signals."""


class Place:
    """A machine, files, and the sandbox around them."""

    def __init__(self, sandbox: Sandbox, root: Path) -> None:
        self._sandbox, self._root = sandbox, root
        self.machine = golden_b(root / "machine")
        MachineDirectory(self.machine).write_kernel_state(STATE, old_names=True)
        for size, name in enumerate(("OLD", "NEW"), 1):
            (root / name).write_bytes(build_bzimage(KernelSpec(payload_size=size << 18)))
        (root / "INITRD").write_bytes(random.Random(1).randbytes(8 << 20))

    def words(self, text: str) -> list[str]:
        """Split words and put paths for names."""
        paths = {name: str(self._root / name) for name in ("OLD", "NEW", "INITRD")}
        paths |= {"MACHINE": str(self.machine), "TARGET": "target"}
        for name, path in paths.items():
            text = text.replace(name, path)
        return text.split()

    def interrupt(self, module: str, text: str, before: str, count: int) -> dict[str, object]:
        """Interrupt a program so many times by each signal; returns what was found."""
        scratch = self._root / "scratch"
        records, work = scratch / "records", scratch / "work"
        for directory in (records, work):
            directory.mkdir(parents=True)
        environment = self._sandbox.environment(own_kexec(), records)
        python = [sys.executable, "-m", module]
        task = Task(
            command=[*python, *self.words(text)],
            environment=environment,
            records=str(records),
            work=str(work),
            count=count,
            seed=count,
            before=[*python, *self.words(before)] if before else [],
            crash="-p" in before,
            unloads="-u" in text,
        )
        runner = [sys.executable, "-m", "tests.differential.interrupting", task.encoded()]
        done = subprocess.run(
            [*enter(self.machine, scratch), *runner],
            cwd=PROJECT,
            capture_output=True,
            text=True,
            check=False,
        )
        assert done.returncode == 0, done.stderr
        found: dict[str, object] = json.loads(done.stdout)
        print({name: value for name, value in found.items() if name != "wrong"})
        return found


@pytest.fixture
def place(sandbox: Sandbox, tmp_path: Path) -> Place:
    return Place(sandbox, tmp_path)


@pytest.mark.parametrize("count", COUNTS)
@pytest.mark.parametrize("name", KEXEC)
def test_loads_and_unloads(place: Place, name: str, count: int) -> None:
    text, before = KEXEC[name]
    found = place.interrupt("pykexec.cli.kexec_compat", text, before, count)
    assert found["wrong"] == []


@pytest.mark.parametrize("count", COUNTS)
@pytest.mark.parametrize("name", PYKEXEC)
def test_verbs(place: Place, name: str, count: int) -> None:
    assert place.interrupt("pykexec.cli.main", PYKEXEC[name], "", count)["wrong"] == []


@pytest.mark.vm
@pytest.mark.parametrize("count", COUNTS)
def test_a_simulation(place: Place, count: int) -> None:
    if shutil.which("qemu-system-x86_64") is None:
        unavailable("there is no qemu-system-x86_64 on this host")
    assert place.interrupt("pykexec.cli.main", SIMULATE, "", count)["wrong"] == []


def test_two_loads_at_once(sandbox: Sandbox, place: Place, tmp_path: Path) -> None:
    """The last call is that of the image that the record names."""
    scratch = tmp_path / "scratch"
    records = scratch / "records"
    records.mkdir(parents=True)
    environment = sandbox.environment(own_kexec(), records)
    python = f"{sys.executable} -m pykexec.cli.kexec_compat"
    loads = [" ".join(place.words(f"{python} -s -p {name}")) for name in ("OLD", "NEW")]
    script = f"""for i in 1 2 3 4 5; do
        rm -f {records}/*
        {loads[0]} & {loads[1]} & wait
        last=$(ls {records}/*.json | tail -n 1)
        cmp -s "${{last%.json}}.kernel" {tmp_path}/OLD && wanted=OLD || wanted=NEW
        grep -q "{tmp_path}/$wanted" /run/pykexec/crash.json || echo "$i: not $wanted"
        [ "$(ls /run/pykexec)" = "crash.json
lock" ] || ls /run/pykexec
        [ "$(ls {records}/*.json | wc -l)" = 2 ] || echo "$i: no two calls"
    done"""
    done = subprocess.run(
        [*enter(place.machine, scratch), "env", *(f"{k}={v}" for k, v in environment.items()),
         "sh", "-c", script],
        cwd=PROJECT, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert (done.returncode, done.stdout) == (0, ""), done.stderr
