"""The programs of docs/library.md: taken out of it, checked, and run on machines that stand in."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from pykexec.calls import syscalls
from pykexec.values.ranges import Range
from tests.builders.machines import RAM, MachineDirectory, iomem_of
from tests.cli.crash_machine import CODE, REGION, STATE
from tests.cli.stand_in import KEXEC_FILE_LOAD, KEXEC_LOAD, FakeLibc

PROJECT = Path(__file__).resolve().parents[3]
TEXT = (PROJECT / "docs/library.md").read_text(encoding="utf-8")
PROGRAMS = dict(re.findall(r"<!-- program: (\w+)\.py -->\n```python\n(.*?)```", TEXT, re.DOTALL))
SHELL = dict(re.findall(r"<!-- shell: (\w+) -->\n```sh\n(.*?)```", TEXT, re.DOTALL))
SHELL["kdump"] = (PROJECT / "contrib/kdump/kdump").read_text(encoding="utf-8")
MACHINES = PROJECT / "tests/data/machines"


def program(name: str) -> Any:
    """Return a program of the document as a module."""
    module = ModuleType(name)
    exec(compile(PROGRAMS[name], f"{name}.py", "exec"), module.__dict__)
    return module


def lines_of(text: str) -> int:
    """Count lines, but for empty ones and comments."""
    return sum(bool(line.strip()) and not line.startswith("#") for line in text.splitlines())


def test_each_is_shorter_than_the_shell() -> None:
    assert PROGRAMS.keys() == SHELL.keys() == {"kdump", "fleet", "places"}
    for name, text in PROGRAMS.items():
        assert lines_of(text) < lines_of(SHELL[name]), name
    assert "by a third of its lines" in TEXT
    assert 2.5 * lines_of(PROGRAMS["kdump"]) < lines_of(SHELL["kdump"])


@pytest.mark.parametrize("name", ["fleet", "places"])
def test_the_shell_can_be_parsed(name: str) -> None:
    subprocess.run(["sh", "-n"], input=SHELL[name], text=True, check=True)


def test_they_pass_strict_types(tmp_path: Path) -> None:
    for name, text in PROGRAMS.items():
        (tmp_path / f"{name}.py").write_text(text)
    (tmp_path / "wrong.py").write_text("import pykexec\npykexec.load_kernel(1)\npykexec.nonsense\n")
    words = ["--strict", "--config-file=", "--cache-dir", str(PROJECT / ".mypy_cache/programs")]
    done = subprocess.run(
        [sys.executable, "-m", "mypy", *words, "--no-error-summary", "."],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=False,
    )
    found = done.stdout.splitlines()
    assert [line.partition(":")[0] for line in found] == ["wrong.py", "wrong.py"], found
    assert "[arg-type]" in found[0]
    assert "[attr-defined]" in found[1]


def loads(libc: FakeLibc) -> int:
    """Count the loads of a crash kernel."""
    return sum(call[0] == KEXEC_FILE_LOAD and call[-1] & 2 == 2 for call in libc.calls)


@pytest.fixture
def libc(monkeypatch: pytest.MonkeyPatch, here: MachineDirectory) -> FakeLibc:
    fake = FakeLibc()
    monkeypatch.setattr(syscalls, "_libc", fake)
    return fake


def test_kdump_keeps_the_right_crash_kernel(
    libc: FakeLibc,
    here: MachineDirectory,
    kernel: str,
    initrd: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    kdump = program("kdump")
    kdump.CONF = tmp_path / "kdump.conf"
    kdump.CONF.write_text(
        f"# of tests\nKDUMP_KERNEL={kernel}\nKDUMP_INITRD='{initrd}'\n"
        'KDUMP_APPEND="nr_cpus=1 reset_devices"\nKDUMP_OPTIONS="--reuse-cmdline"\n'
    )
    assert kdump.main("load") == 0
    assert loads(libc) == 1
    assert capsys.readouterr().out == f"kdump: loaded {kernel} by kexec_file_load\n"
    record = json.loads((here.path / "run/pykexec/crash.json").read_text())
    assert record["initrd"]["path"] == str(initrd)
    assert record["cmdline"].endswith("ro nr_cpus=1 reset_devices")

    assert kdump.main("event") == 0
    assert loads(libc) == 1
    here.write_iomem(iomem_of((*RAM, Range(0x300000000, 0x310000000)), [REGION, CODE]))
    assert kdump.main("event") == 0
    assert loads(libc) == 2
    assert kdump.main("event") == 0
    assert loads(libc) == 2

    assert kdump.main("unload") == 0
    here.write_kernel_state(replace(STATE, crash_loaded=False))
    count = len(libc.calls)
    here.write_iomem(iomem_of(RAM, [REGION, CODE]))
    assert kdump.main("event") == 0
    assert len(libc.calls) == count


def test_kdump_says_what_is_loaded_when_it_fails(
    libc: FakeLibc,
    here: MachineDirectory,
    kernel: str,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    kdump = program("kdump")
    kdump.CONF = tmp_path / "kdump.conf"
    kdump.CONF.write_text(f"KDUMP_KERNEL={kernel}.gone\nKDUMP_INITRD=none\n")
    assert kdump.main("load") == 255
    said = capsys.readouterr().err.splitlines()
    assert said[0].startswith(f"kdump: cannot open kernel '{kernel}.gone'")
    assert said[1].startswith("the crash kernel loaded before stays loaded")
    assert libc.calls == []
    assert here.path.is_dir()


def test_a_fleet_is_asked(
    libc: FakeLibc,
    kernel: str,
    initrd: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    fleet = program("fleet")
    assert fleet.main(kernel, str(initrd)) == 1
    report = json.loads(capsys.readouterr().out)
    assert report["problems"] == [f"crash kernel: {report['crash']['reason']}"]
    assert report["status"]["schema"] == "pykexec.status/1"
    assert report["plan"]["syscall"] == "kexec_file_load"
    assert program("kdump").pykexec.load_crash_kernel(kernel, initrd=initrd).record
    assert fleet.main(kernel, str(initrd)) == 0
    assert json.loads(capsys.readouterr().out)["problems"] == []
    assert fleet.main(f"{kernel}.gone", str(initrd)) == 1
    report = json.loads(capsys.readouterr().out)
    assert report["plan"] is None
    assert report["problems"][0].startswith("next kernel: cannot open kernel")
    assert all(call[0] != KEXEC_LOAD for call in libc.calls)


def test_places_on_recorded_machines(
    kernel: str,
    capsys: pytest.CaptureFixture[str],
) -> None:
    records = [str(MACHINES / name) for name in ("x86_64-6.12-bios-8G", "x86_64-7.2-ovmf-1G")]
    places = program("places")
    assert places.main(kernel, *records) == 0
    lines = capsys.readouterr().out.splitlines()
    pattern = r"0x[0-9a-f]+, [0-9]+ segments, [0-9]+ bytes"
    assert [line.partition(": ")[0] for line in lines] == records
    assert all(re.fullmatch(pattern, line.partition(": ")[2]) for line in lines)
    assert places.main(kernel, str(MACHINES / "none"), records[0]) == 1
    lines = capsys.readouterr().out.splitlines()
    assert len(lines) == 3
    assert lines[1].startswith("    hint: ")
