"""What is loaded after a load that failed, and the record by which it is named."""

from __future__ import annotations

import errno
import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from pykexec.calls import syscalls
from pykexec.cli import kexec_compat, main
from pykexec.loading.load_record import RECORD
from pykexec.machine.crash_state import RECORD as CRASH_RECORD
from pykexec.machine.left_records import BOOT_ID
from pykexec.values.facts import CAP_SYS_BOOT
from pykexec.values.kernel_state import KernelState
from tests.builders.bzimage import KernelSpec, build_bzimage
from tests.builders.machines import MachineDirectory, build_machine
from tests.cli.stand_in import FakeLibc, stand_in
from tests.cli.test_pykexec import run

STATE = KernelState(
    loaded=False,
    crash_loaded=False,
    crash_size=256 << 20,
    effective_capabilities=1 << CAP_SYS_BOOT,
)
UNKNOWN = "the kernel loaded before stays loaded; no record says which one it is"


@pytest.fixture
def libc(monkeypatch: pytest.MonkeyPatch) -> FakeLibc:
    fake = FakeLibc()
    monkeypatch.setattr(syscalls, "_libc", fake)
    monkeypatch.setattr("os.sync", lambda: None)
    return fake


@pytest.fixture
def here(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> MachineDirectory:
    """Let this machine be a built one, with nothing loaded."""
    directory = MachineDirectory(build_machine(tmp_path / "machine", kernel=STATE))
    directory.write(BOOT_ID, "this boot\n")
    stand_in(monkeypatch, directory.path)
    return directory


@pytest.fixture
def kernel(tmp_path: Path) -> str:
    path = tmp_path / "vmlinuz"
    path.write_bytes(build_bzimage(KernelSpec(payload_size=64 * 1024)))
    return str(path)


@pytest.fixture
def fail(
    here: MachineDirectory,
    libc: FakeLibc,
    kernel: str,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> Callable[..., list[str]]:
    """Return a function that lets a load be refused, and gives the lines on stderr.

    ``after`` is what the kernel then says of its images.
    """

    def run(*words: str, **after: Any) -> list[str]:
        def refuse(number: int, *arguments: Any) -> int:
            here.write_kernel_state(replace(STATE, **after))
            libc.answers = [errno.EBUSY]
            return FakeLibc.syscall(libc, number, *arguments)

        monkeypatch.setattr(libc, "syscall", refuse)
        assert kexec_compat.main([*words, kernel]) == 255
        return capsys.readouterr().err.splitlines()

    return run


def test_a_load_leaves_a_record_and_an_unload_takes_it(
    here: MachineDirectory, libc: FakeLibc, kernel: str
) -> None:
    assert kexec_compat.main(["-l", kernel, "--initrd", kernel, "--append=ro"]) == 0
    record = json.loads((here.path / RECORD).read_text())
    assert record.pop("time").endswith("Z")
    assert record == {
        "schema": "pykexec.load/1",
        "boot_id": "this boot",
        "preserve_context": False,
        "returns_to": None,
        "kernel": kernel,
        "initrd": kernel,
        "cmdline": "ro",
        "call": "kexec_file_load",
    }
    assert kexec_compat.main(["-p", "-u"]) == 0
    assert (here.path / RECORD).exists()
    assert kexec_compat.main(["-u"]) == 0
    assert [path.name for path in (here.path / "run/pykexec").iterdir()] == ["lock"]


def test_the_kernel_that_stays_loaded_is_named(
    here: MachineDirectory, libc: FakeLibc, kernel: str, fail: Callable[..., list[str]]
) -> None:
    assert kexec_compat.main(["-l", kernel]) == 0
    time = json.loads((here.path / RECORD).read_text())["time"]
    message, armed, hint = fail("-l", loaded=True)
    assert "kexec_file_load failed: Device or resource busy" in message
    assert armed == (
        f"kexec: the kernel loaded before stays loaded: {kernel}, by pykexec's record of {time}"
    )
    assert hint.startswith("hint: ")
    assert (here.path / RECORD).exists()


def test_status_says_which_kernel_is_loaded(
    here: MachineDirectory, libc: FakeLibc, kernel: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert kexec_compat.main(["-l", kernel]) == 0
    time = json.loads((here.path / RECORD).read_text())["time"]

    def lines() -> list[str]:
        return [line for line in run(monkeypatch, "status")[1].splitlines() if "image:" in line]

    assert lines() == ["normal image:    not loaded", "crash image:     not loaded"]
    here.write_kernel_state(replace(STATE, loaded=True, crash_loaded=True))
    loaded = f"normal image:    loaded: {kernel}, by pykexec's record of {time}"
    assert lines() == [loaded, "crash image:     loaded"]


@pytest.mark.parametrize("content", [None, "{", '{"schema": "pykexec.load/1"}'])
def test_without_a_record_nobody_can_tell(
    here: MachineDirectory, content: str | None, fail: Callable[..., list[str]]
) -> None:
    if content is not None:
        here.write(RECORD, content)
    assert fail("-l", loaded=True)[1].endswith(UNKNOWN)


def test_a_record_of_another_boot_is_none(
    here: MachineDirectory, libc: FakeLibc, kernel: str, fail: Callable[..., list[str]]
) -> None:
    assert kexec_compat.main(["-l", kernel]) == 0
    here.write(BOOT_ID, "the next boot\n")
    assert fail("-l", loaded=True)[1].endswith(UNKNOWN)


def test_nothing_is_loaded(fail: Callable[..., list[str]]) -> None:
    assert fail("-l")[1] == "kexec: no kernel is loaded"
    assert fail("-p")[1] == "kexec: no crash kernel is loaded"


def test_a_kernel_that_does_not_say(
    here: MachineDirectory, libc: FakeLibc, kernel: str, capsys: pytest.CaptureFixture[str]
) -> None:
    (here.path / "sys/kernel/kexec/loaded").unlink()
    libc.answers = [errno.EBUSY]
    assert kexec_compat.main(["-l", kernel]) == 255
    message, hint = capsys.readouterr().err.splitlines()
    assert (message[:6], hint[:6]) == ("kexec:", "hint: ")


def test_a_crash_kernel_that_is_gone(
    here: MachineDirectory, libc: FakeLibc, kernel: str, fail: Callable[..., list[str]]
) -> None:
    assert kexec_compat.main(["-p", kernel]) == 0
    here.write_kernel_state(replace(STATE, crash_loaded=True))
    assert (here.path / CRASH_RECORD).exists()
    assert "no crash kernel is loaded any more" in fail("-p", crash_loaded=False)[1]
    assert not (here.path / CRASH_RECORD).exists()


def test_a_crash_kernel_that_stays(
    here: MachineDirectory, libc: FakeLibc, kernel: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert kexec_compat.main(["-p", kernel]) == 0
    here.write_kernel_state(replace(STATE, crash_loaded=True))
    assert kexec_compat.main(["-p", "/nonexistent"]) == 255
    said = capsys.readouterr().err
    assert f"kexec: the crash kernel loaded before stays loaded: {kernel}, by pykexec's" in said


def test_pykexec_says_it_too(
    here: MachineDirectory,
    libc: FakeLibc,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setattr("sys.argv", ["pykexec", "load", "/nonexistent"])
    assert main.main() == 255
    assert "pykexec: no kernel is loaded\n" in capsys.readouterr().err


def test_a_record_that_cannot_be_written_is_a_warning(
    here: MachineDirectory, libc: FakeLibc, kernel: str, capsys: pytest.CaptureFixture[str]
) -> None:
    here.write("run/pykexec", "a file")
    assert kexec_compat.main(["-l", kernel]) == 0
    said = capsys.readouterr().err
    assert f"kexec: the kernel is loaded, but {here.path / RECORD} cannot be written: " in said
