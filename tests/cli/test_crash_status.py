"""``pykexec crash status``, after crash loads by both front doors and both calls."""

from __future__ import annotations

import errno
import json
import os
from dataclasses import replace
from pathlib import Path

import pytest

from pykexec.calls import syscalls
from pykexec.cli import kexec_compat
from pykexec.loading import run_files
from pykexec.machine.crash_state import RECORD
from pykexec.values.ranges import Range
from tests.builders.machines import RAM, MachineDirectory, iomem_of
from tests.cli.crash_machine import CODE, REGION, STATE
from tests.cli.stand_in import FakeLibc
from tests.cli.test_pykexec import run
from tests.json_schemas import checked


def status(monkeypatch: pytest.MonkeyPatch) -> tuple[int, str]:
    code, out, err = run(monkeypatch, "crash", "status")
    assert err == ""
    assert max(map(len, out.splitlines())) <= 80
    return code, out


@pytest.mark.parametrize(("option", "call"), [("-c", "kexec_load"), ("-s", "kexec_file_load")])
def test_from_a_load_to_an_unload(
    monkeypatch: pytest.MonkeyPatch,
    here: MachineDirectory,
    kernel: str,
    initrd: Path,
    option: str,
    call: str,
) -> None:
    words = [option, "-p", kernel, f"--initrd={initrd}", "--append=irqpoll nr_cpus=1"]
    assert kexec_compat.main(words) == 0
    code, out = status(monkeypatch)
    assert (code, out.splitlines()[-1]) == (
        0,
        "verdict:          fresh: what was loaded is what a load would take now",
    )
    assert f"by {call}" in out
    assert "reserved:         256 MiB from 0x20000000" in out
    assert "command line:     irqpoll nr_cpus=1" in out

    initrd.write_bytes(b"other")
    code, out = status(monkeypatch)
    assert (code, out.splitlines()[-1]) == (
        1,
        "verdict:          stale: initrd: changed since the load",
    )
    initrd.unlink()
    assert "No such file" in " ".join(status(monkeypatch)[1].split())
    initrd.write_bytes(b"other")
    assert kexec_compat.main(words) == 0
    assert status(monkeypatch)[0] == 0

    assert kexec_compat.main(["-p", "-u"]) == 0
    assert not (here.path / RECORD).exists()
    code, out = status(monkeypatch)
    assert (code, "loaded by another program" in out) == (2, True)


def test_the_verb_of_its_own_leaves_the_same_record(
    monkeypatch: pytest.MonkeyPatch, here: MachineDirectory, kernel: str
) -> None:
    assert run(monkeypatch, "crash", "load", kernel, "--call", "segments")[0] == 0
    record = json.loads((here.path / RECORD).read_text())
    assert (record["schema"], record["call"]) == ("pykexec.crash-load/1", "kexec_load")
    assert (record["kernel"]["path"], record["initrd"]) == (kernel, None)
    code, out, _ = run(monkeypatch, "crash", "status", "--json")
    value = checked(out)
    assert (code, value["schema"], value["verdict"]) == (0, "pykexec.crash-status/1", "fresh")
    assert value["record"]["kernel"] == record["kernel"]
    assert run(monkeypatch, "unload", "--crash")[0] == 0
    assert not (here.path / RECORD).exists()


def test_a_normal_load_leaves_no_record_of_a_crash_load(
    here: MachineDirectory, kernel: str
) -> None:
    assert kexec_compat.main(["-l", kernel]) == 0
    assert not (here.path / RECORD).exists()


def test_a_load_that_fails_leaves_no_record(
    monkeypatch: pytest.MonkeyPatch, here: MachineDirectory, kernel: str
) -> None:
    monkeypatch.setattr(syscalls, "_libc", FakeLibc([errno.EBUSY]))
    assert kexec_compat.main(["-c", "-p", kernel]) == 255
    assert [path.name for path in (here.path / "run/pykexec").iterdir()] == ["lock"]


def test_more_memory_makes_it_stale(
    monkeypatch: pytest.MonkeyPatch, here: MachineDirectory, kernel: str
) -> None:
    assert kexec_compat.main(["-p", kernel]) == 0
    here.write_iomem(iomem_of((*RAM, Range(0x300000000, 0x310000000)), [REGION, CODE]))
    code, out = status(monkeypatch)
    assert code == 1
    assert "of RAM in 4 ranges then, " in out
    here.write("sys/devices/system/memory/crash_hotplug", "1\n")
    code, out = status(monkeypatch)
    assert code == 0
    assert "memory changes:   the kernel updates the core header by itself" in out


def test_not_loaded_and_a_shut_gate(
    monkeypatch: pytest.MonkeyPatch, here: MachineDirectory
) -> None:
    here.write_kernel_state(replace(STATE, crash_loaded=False, load_limit_panic=0))
    code, out = status(monkeypatch)
    assert code == 1
    assert "shut:             kernel.kexec_load_limit_panic is 0" in out
    assert "verdict:          not loaded: a panic would leave no dump" in out


def test_a_recorded_machine_has_no_files(
    monkeypatch: pytest.MonkeyPatch, here: MachineDirectory, kernel: str
) -> None:
    assert kexec_compat.main(["-p", kernel]) == 0
    words = ["crash", "status", "--machine", str(here.path), "--json"]
    code, out, _ = run(monkeypatch, *words)
    finding = checked(out)["findings"][0]
    assert (code, finding["verdict"]) == (2, "cannot tell")
    assert finding["detail"] == f"{kernel}: not part of the recorded machine"
    here.write(kernel.lstrip("/"), Path(kernel).read_bytes())
    assert run(monkeypatch, *words)[0] == 0


def test_a_record_that_cannot_be_written_is_no_failed_load(
    monkeypatch: pytest.MonkeyPatch,
    here: MachineDirectory,
    kernel: str,
    capsys: pytest.CaptureFixture[str],
) -> None:
    here.write("run", "no directory")
    assert kexec_compat.main(["-p", kernel]) == 0
    err = capsys.readouterr().err
    assert err.startswith("kexec: the crash kernel is loaded, but ")
    assert "cannot be written: " in err
    assert kexec_compat.main(["-p", "-u"]) == 0
    assert capsys.readouterr().err == ""


def test_an_old_record_goes_when_the_new_one_cannot_be_written(
    monkeypatch: pytest.MonkeyPatch, here: MachineDirectory, kernel: str
) -> None:
    assert kexec_compat.main(["-p", kernel]) == 0

    def full(source: str, target: str, **where: int) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(os, "replace", full)
    assert kexec_compat.main(["-p", kernel]) == 0
    assert [path.name for path in (here.path / "run/pykexec").iterdir()] == ["lock"]
    code, out = status(monkeypatch)
    assert (code, "cannot tell: loaded by another program, or" in out) == (2, True)


def test_a_record_that_cannot_be_removed(
    monkeypatch: pytest.MonkeyPatch,
    here: MachineDirectory,
    capsys: pytest.CaptureFixture[str],
) -> None:
    (here.path / RECORD).mkdir(parents=True)
    assert kexec_compat.main(["-p", "-u"]) == 0
    assert "is out of date and cannot be removed: " in capsys.readouterr().err


def test_all_may_read_the_record(here: MachineDirectory, kernel: str) -> None:
    assert kexec_compat.main(["-p", kernel]) == 0
    place = here.path / RECORD
    assert place.stat().st_mode & 0o777 == 0o644
    assert {file.name for file in place.parent.iterdir()} == {"crash.json", "lock"}
    assert Path(run_files.ROOT) == here.path


@pytest.mark.parametrize(("when", "backup"), [("auto", True), ("always", True), ("never", False)])
def test_backup_of_low_memory_by_both_front_doors(
    monkeypatch: pytest.MonkeyPatch,
    here: MachineDirectory,
    kernel: str,
    capsys: pytest.CaptureFixture[str],
    when: str,
    backup: bool,
) -> None:
    """The machine does not tell whether its kernel uses low memory: auto makes a copy."""
    assert kexec_compat.main(["-c", "-p", kernel, f"--backup={when}", "--dry-run=json"]) == 0
    by_kexec = checked(capsys.readouterr().out)
    words = ["plan", kernel, "--crash", "--call", "segments", "--backup", when, "--json"]
    by_verb = checked(run(monkeypatch, *words, "--machine", str(here.path))[1])
    for value in (by_kexec, by_verb):
        assert ("backup" in {item["role"] for item in value["segments"]}) is backup


def test_backup_chooses_the_call_that_honours_it(
    here: MachineDirectory, kernel: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert kexec_compat.main(["-p", kernel, "--backup=never", "--dry-run=json"]) == 0
    assert checked(capsys.readouterr().out)["syscall"] == "kexec_load"
    assert kexec_compat.main(["-s", "-p", kernel, "--backup=never"]) == 0
    assert "--backup" in capsys.readouterr().err
    assert kexec_compat.main(["-p", kernel, "--backup=maybe"]) == 1
    captured = capsys.readouterr()
    assert captured.err.startswith("kexec: --backup: 'maybe' is not known\nhint: give one of auto")
