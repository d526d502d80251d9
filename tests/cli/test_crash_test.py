"""``pykexec crash test``: what it refuses, what it leaves, what it reports."""

from __future__ import annotations

import json
import os
from dataclasses import replace
from pathlib import Path

import pytest

from pykexec.calls import syscalls
from pykexec.cli import kexec_compat, trial
from pykexec.errors import PykexecError
from tests.builders.machines import MachineDirectory
from tests.builders.vmcore import Record, elf_core, flatten, kdump, lockless
from tests.cli.crash_machine import STATE
from tests.cli.test_fadump_loads import give_fadump
from tests.cli.test_pykexec import run

PANIC = lockless(
    [
        Record(b"Linux version 6.12"),
        Record(b"sysrq: Trigger a crash"),
        Record(b"Kernel panic - not syncing: sysrq triggered crash"),
    ]
)
QUIET = lockless([Record(b"Linux version 6.12")])


class CrashedError(BaseException):
    """The kernel is gone."""


@pytest.fixture
def steps(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> list[str]:
    """Record what would touch the machine, in a place where that is possible."""
    done: list[str] = []
    trigger = tmp_path / "sysrq-trigger"
    trigger.touch()
    monkeypatch.setattr(syscalls, "SYSRQ_TRIGGER", str(trigger))
    monkeypatch.setattr(trial, "TOKEN", str(tmp_path / "lib/crash-test.json"))
    # A log that cannot be written to; of this machine's own nothing is wanted.
    monkeypatch.setattr(trial, "KERNEL_LOG", str(tmp_path / "missing/kmsg"))
    monkeypatch.setattr("os.sync", lambda: done.append("sync"))

    def crash() -> None:
        assert Path(trial.TOKEN).exists()
        done.append("crash")
        raise CrashedError

    monkeypatch.setattr(syscalls, "trigger_panic", crash)
    return done


@pytest.fixture
def dumps(tmp_path: Path) -> Path:
    path = tmp_path / "crash"
    path.mkdir()
    return path


def crash_it(monkeypatch: pytest.MonkeyPatch, dumps: Path, *more: str) -> None:
    with pytest.raises(CrashedError):
        run(monkeypatch, "crash", "test", "--yes", "--dump-dir", str(dumps), *more)


def reboot(here: MachineDirectory) -> None:
    here.write("proc/sys/kernel/random/boot_id", "another\n")


def report(monkeypatch: pytest.MonkeyPatch) -> tuple[int, str]:
    code, out, err = run(monkeypatch, "crash", "test", "--report")
    assert err == ""
    assert not Path(trial.TOKEN).exists()
    return code, out


def test_without_yes_it_only_talks(
    monkeypatch: pytest.MonkeyPatch, here: MachineDirectory, kernel: str, steps: list[str]
) -> None:
    assert kexec_compat.main(["-p", kernel]) == 0
    code, out, _ = run(monkeypatch, "crash", "test")
    assert code == 1
    assert "not done:         to crash this machine now, add --yes" in out
    assert "below /var/crash" in out
    assert max(map(len, out.splitlines())) <= 80
    here.write_kernel_state(replace(STATE, crash_loaded=False))
    out = run(monkeypatch, "crash", "test")[1]
    assert "not possible:     no crash kernel is known to be loaded" in out
    assert steps == []
    assert not Path(trial.TOKEN).exists()


def test_from_the_crash_to_the_report(
    monkeypatch: pytest.MonkeyPatch,
    here: MachineDirectory,
    kernel: str,
    steps: list[str],
    dumps: Path,
) -> None:
    (dumps / "vmcore").write_bytes(elf_core(PANIC))
    assert kexec_compat.main(["-p", kernel]) == 0
    crash_it(monkeypatch, dumps)
    assert steps == ["sync", "crash"]
    token = json.loads(Path(trial.TOKEN).read_text())
    assert token["known"] == {str(dumps / "vmcore"): (dumps / "vmcore").stat().st_mtime_ns}

    code, _, err = run(monkeypatch, "crash", "test", "--yes")
    assert (code, "was not reported" in err) == (1, True)

    reboot(here)
    (dumps / "today").mkdir()
    (dumps / "today/vmcore.flat").write_bytes(flatten(kdump(PANIC)))
    (dumps / "today/dmesg.txt").write_bytes(b"sysrq triggered crash")
    code, out = report(monkeypatch)
    assert code == 0
    said = "".join(out.split())  # a long path is broken
    assert f"verdict:caught:{dumps}/today/vmcore.flat," in said
    assert f"log:{dumps}/today/dmesg.txt,21bytes,endsinthecrash" in said
    assert f":{dumps}/vmcore," not in said

    code, _, err = run(monkeypatch, "crash", "test", "--report")
    assert code == 1
    assert err.startswith("pykexec: no test is under way: ")


@pytest.mark.parametrize(
    ("name", "content", "verdict"),
    [
        ("vmcore", elf_core(QUIET), "is there, but its log does not end in the crash"),
        ("vmcore", b"\x7fELF", "is there, but its log cannot be read: not a core: only 4 bytes"),
        ("vmcore-incomplete", b"", "not caught: the core is incomplete"),
        ("notes.txt", b"", "not caught: nothing new below"),
    ],
)
def test_what_proves_nothing(
    monkeypatch: pytest.MonkeyPatch,
    here: MachineDirectory,
    kernel: str,
    steps: list[str],
    dumps: Path,
    name: str,
    content: bytes,
    verdict: str,
) -> None:
    assert kexec_compat.main(["-p", kernel]) == 0
    crash_it(monkeypatch, dumps)
    reboot(here)
    (dumps / name).write_bytes(content)
    code, out = report(monkeypatch)
    assert code == 1
    assert "".join(verdict.split()) in "".join(out.split())  # a long path is broken


def test_a_core_written_over_the_old_one_is_new(
    monkeypatch: pytest.MonkeyPatch,
    here: MachineDirectory,
    kernel: str,
    steps: list[str],
    dumps: Path,
) -> None:
    """The capture kernel's clock may be behind: any other time counts."""
    core = dumps / "vmcore"
    core.write_bytes(elf_core(PANIC))
    assert kexec_compat.main(["-p", kernel]) == 0
    crash_it(monkeypatch, dumps)
    reboot(here)
    os.utime(core, (1, 1))
    assert report(monkeypatch)[0] == 0


def test_no_boot_in_between(
    monkeypatch: pytest.MonkeyPatch,
    here: MachineDirectory,
    kernel: str,
    steps: list[str],
    dumps: Path,
) -> None:
    assert kexec_compat.main(["-p", kernel]) == 0
    crash_it(monkeypatch, dumps)
    code, out = report(monkeypatch)
    assert (code, "not crashed: the machine has not booted since" in out) == (1, True)


def test_a_stale_image_needs_force_and_a_missing_one_cannot_be_forced(
    monkeypatch: pytest.MonkeyPatch,
    here: MachineDirectory,
    kernel: str,
    steps: list[str],
    dumps: Path,
) -> None:
    code, _, err = run(monkeypatch, "crash", "test", "--yes")
    assert code == 1
    assert "the crash kernel is not known to be the right one: loaded by another program" in err
    assert "hint: load it again, or give --force" in err
    crash_it(monkeypatch, dumps, "--force")
    assert steps == ["sync", "crash"]
    Path(trial.TOKEN).unlink()
    here.write_kernel_state(replace(STATE, crash_loaded=False))
    code, _, err = run(monkeypatch, "crash", "test", "--yes", "--force")
    assert (code, "no crash kernel is known to be loaded" in err) == (1, True)
    (here.path / "sys/kernel/kexec/crash_loaded").unlink()
    code, _, err = run(monkeypatch, "crash", "test", "--yes", "--force")
    assert (code, "no crash kernel is known to be loaded" in err) == (1, True)
    assert steps == ["sync", "crash"]


def test_where_firmware_takes_the_dump(
    monkeypatch: pytest.MonkeyPatch, here: MachineDirectory, steps: list[str], dumps: Path
) -> None:
    give_fadump(here, registered=False)
    code, out, _ = run(monkeypatch, "crash", "test")
    said = " ".join(out.split())
    assert (code, "not possible: a crash would leave no dump: memory is reserved" in said) == (
        1,
        True,
    ), out
    code, _, err = run(monkeypatch, "crash", "test", "--yes", "--force")
    assert (code, "hint: pykexec fadump register" in err, steps) == (1, True, [])
    give_fadump(here)
    out = run(monkeypatch, "crash", "test")[1]
    assert "fadump: registered: firmware saves a dump" in " ".join(out.split())
    assert "not done:" in out
    assert max(map(len, out.splitlines())) <= 80
    crash_it(monkeypatch, dumps)
    assert steps == ["sync", "crash"]


def test_without_a_trigger_nothing_is_done(
    monkeypatch: pytest.MonkeyPatch, here: MachineDirectory, kernel: str, steps: list[str]
) -> None:
    assert kexec_compat.main(["-p", kernel]) == 0
    Path(syscalls.SYSRQ_TRIGGER).unlink()
    code, _, err = run(monkeypatch, "crash", "test", "--yes")
    assert code == 255
    assert "sysrq-trigger is missing, or may not be written" in err
    assert steps == []


def test_a_token_that_cannot_be_written_stops_it(
    monkeypatch: pytest.MonkeyPatch, here: MachineDirectory, kernel: str, steps: list[str]
) -> None:
    assert kexec_compat.main(["-p", kernel]) == 0
    monkeypatch.setattr(trial, "TOKEN", f"{kernel}/crash-test.json")
    code, _, err = run(monkeypatch, "crash", "test", "--yes")
    assert (code, "cannot write " in err) == (255, True)
    assert steps == []


@pytest.mark.parametrize(
    ("is_there", "message"),
    [(False, "cannot crash the kernel: "), (True, "the kernel has not crashed: 'c' in ")],
)
def test_a_trigger_without_effect_leaves_no_token(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, is_there: bool, message: str
) -> None:
    token, trigger = tmp_path / "token.json", tmp_path / "trigger"
    token.touch()
    if is_there:
        trigger.touch()
    else:
        trigger.mkdir()
    monkeypatch.setattr(trial, "TOKEN", str(token))
    monkeypatch.setattr(syscalls, "SYSRQ_TRIGGER", str(trigger))
    monkeypatch.setattr("os.sync", lambda: None)
    with pytest.raises(PykexecError) as caught:
        trial.crash()
    assert caught.value.message.startswith(message)
    assert not token.exists()


def test_yes_and_report_exclude_each_other(monkeypatch: pytest.MonkeyPatch) -> None:
    code, _, err = run(monkeypatch, "crash", "test", "--yes", "--report")
    assert (code, "exclude each other" in err) == (1, True)


def test_a_token_that_cannot_be_read(
    monkeypatch: pytest.MonkeyPatch, here: MachineDirectory, steps: list[str]
) -> None:
    Path(trial.TOKEN).mkdir(parents=True)
    code, _, err = run(monkeypatch, "crash", "test", "--report")
    assert (code, f"cannot read {trial.TOKEN}: " in err) == (255, True)
