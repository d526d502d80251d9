"""``kexec``, the drop-in: what it calls, prints and returns, without a kernel behind it."""

from __future__ import annotations

import errno
import os
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from pykexec import machine as machine_package
from pykexec.calls import syscalls
from pykexec.cli import jump, kexec_compat
from pykexec.values.facts import CAP_SYS_BOOT
from pykexec.values.kernel_state import KernelState
from tests.builders.bzimage import KernelSpec, build_bzimage
from tests.builders.machines import MachineDirectory, build_machine
from tests.cli.stand_in import KEXEC_FILE_LOAD, KEXEC_LOAD, REBOOT, FakeLibc, stand_in
from tests.json_schemas import checked

KERNEL = build_bzimage(KernelSpec(payload_size=64 * 1024))
STATE = KernelState(
    release="6.12", loaded=False, crash_loaded=False, effective_capabilities=1 << CAP_SYS_BOOT
)


@pytest.fixture
def libc(monkeypatch: pytest.MonkeyPatch) -> FakeLibc:
    fake = FakeLibc()
    monkeypatch.setattr(syscalls, "_libc", fake)
    return fake


@pytest.fixture
def here(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> MachineDirectory:
    """Let this machine be a built one, with nothing loaded."""
    path = build_machine(tmp_path / "machine", firmware_map=True, kernel=STATE)
    stand_in(monkeypatch, path)
    return MachineDirectory(path)


@pytest.fixture
def kernel(tmp_path: Path) -> str:
    path = tmp_path / "vmlinuz"
    path.write_bytes(KERNEL)
    return str(path)


@pytest.fixture
def steps(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Record what else would touch the machine."""
    done: list[str] = []
    monkeypatch.setattr("os.sync", lambda: done.append("sync"))

    def ifdown() -> list[str]:
        done.append("ifdown")
        return ["cannot take interface eth9 down: Device or resource busy"]

    monkeypatch.setattr(jump, "take_interfaces_down", ifdown)
    monkeypatch.setattr(jump, "run_shutdown", lambda: done.append("shutdown"))
    return done


def test_load_passes_the_plans_segments(
    here: MachineDirectory, libc: FakeLibc, steps: list[str], kernel: str, tmp_path: Path
) -> None:
    initrd = tmp_path / "initrd"
    initrd.write_bytes(b"initrd")
    words = ["-c", "-l", kernel, f"--initrd={initrd}", "--append=ro quiet"]
    assert kexec_compat.main(words) == 0
    [(number, entry, count, _, flags)] = libc.calls
    assert (number, count, flags) == (KEXEC_LOAD, 5, 0x3E0000)
    data = {mem: content for content, mem, _ in libc.segments}
    assert b"initrd" in data.values()
    assert entry in data
    assert any(b"ro quiet\0" in content for content in data.values())
    assert steps == ["sync"]


def test_a_dry_run_calls_nothing(
    here: MachineDirectory, libc: FakeLibc, kernel: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert kexec_compat.main(["-c", "-l", kernel, "--dry-run"]) == 0
    out = capsys.readouterr().out
    assert "purgatory" in out
    assert max(map(len, out.splitlines())) <= 80
    assert kexec_compat.main(["--dry-run=json", kernel]) == 0
    assert checked(capsys.readouterr().out)["schema"] == "pykexec.plan/1"
    assert libc.calls == []


def test_force_loads_and_jumps(
    here: MachineDirectory,
    libc: FakeLibc,
    steps: list[str],
    kernel: str,
    capsys: pytest.CaptureFixture[str],
) -> None:
    here.write_kernel_state(replace(STATE, loaded=True))
    libc.answers = [0, errno.EBUSY]
    assert kexec_compat.main(["-c", "-f", kernel]) == 255
    assert [call[0] for call in libc.calls] == [KEXEC_LOAD, REBOOT]
    assert libc.calls[1] == (REBOOT, 0xFEE1DEAD, 672274793, 0x45584543, None)
    assert steps == ["sync", "ifdown"]
    err = capsys.readouterr().err
    assert "kexec: cannot take interface eth9 down" in err
    assert "reboot failed: Device or resource busy (EBUSY)" in err


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        (["-e"], ["sync", "ifdown"]),
        (["-e", "-x"], ["sync"]),
        (["-y", "-e"], ["ifdown"]),
        (["-exy"], []),
    ],
)
def test_exec_steps(
    here: MachineDirectory, libc: FakeLibc, steps: list[str], words: list[str], expected: list[str]
) -> None:
    here.write_kernel_state(replace(STATE, loaded=True))
    libc.answers = [errno.EIO]
    assert kexec_compat.main(words) == 255
    assert steps == expected
    assert [call[0] for call in libc.calls] == [REBOOT]


@pytest.mark.parametrize("loaded", [False, None])
def test_exec_touches_nothing_unless_a_kernel_is_known_to_be_loaded(
    here: MachineDirectory,
    libc: FakeLibc,
    steps: list[str],
    loaded: bool | None,
    capsys: pytest.CaptureFixture[str],
) -> None:
    here.write_kernel_state(replace(STATE, loaded=loaded))
    if loaded is None:
        (here.path / "sys/kernel/kexec/loaded").unlink()
    assert kexec_compat.main(["-e"]) == 1
    assert (steps, libc.calls) == ([], [])
    err = capsys.readouterr().err
    assert ("no kernel is loaded" if loaded is False else "cannot tell whether") in err
    assert "hint: " in err


def test_without_an_action_shutdown_follows_the_load(
    here: MachineDirectory, libc: FakeLibc, steps: list[str], kernel: str
) -> None:
    (here.path / "sys/kernel/kexec/loaded").unlink()  # the load itself says that it is there
    assert kexec_compat.main(["-c", kernel]) == 0
    assert [call[0] for call in libc.calls] == [KEXEC_LOAD]
    assert steps == ["shutdown"]


def test_nothing_is_shut_down_for_a_kernel_that_is_not_there(
    here: MachineDirectory, libc: FakeLibc, steps: list[str], kernel: str
) -> None:
    here.write_kernel_state(replace(STATE, loaded=False))
    for words in (["-c", kernel], ["-c", "-f", kernel]):
        assert kexec_compat.main(words) == 1
    assert steps == []


def test_unload(here: MachineDirectory, libc: FakeLibc) -> None:
    assert kexec_compat.main(["-u"]) == 0
    assert libc.calls == [(KEXEC_LOAD, 0, 0, None, 0x3E0000)]


def test_unload_where_uname_may_not_tell_the_kernel(
    here: MachineDirectory, libc: FakeLibc, monkeypatch: pytest.MonkeyPatch
) -> None:
    """In the personality linux32; no architecture in the flags is right for every kernel."""
    words = ("Linux", "host", "6.12", "#1", "i686")
    monkeypatch.setattr(os, "uname", lambda: os.uname_result(words))
    assert kexec_compat.main(["-u"]) == 0
    assert libc.calls == [(KEXEC_LOAD, 0, 0, None, 0)]


@pytest.mark.parametrize(
    ("words", "state", "code"),
    [
        (["-S", "-l"], {"loaded": True}, 1),
        (["-l", "-S"], {"loaded": False, "crash_loaded": True}, 0),
        (["-S"], {"loaded": False, "crash_loaded": True}, 1),
        (["-S", "-d"], {"loaded": True, "crash_loaded": False}, 0),
        (["-S", "-p"], {"loaded": True, "crash_loaded": False}, 0),
        (["-S", "-l", "-p"], {"loaded": False, "crash_loaded": True}, 1),
    ],
)
def test_status(here: MachineDirectory, words: list[str], state: dict[str, Any], code: int) -> None:
    here.write_kernel_state(replace(STATE, **state))
    assert kexec_compat.main(words) == code


def test_status_unknown(here: MachineDirectory, capsys: pytest.CaptureFixture[str]) -> None:
    (here.path / "sys/kernel/kexec/crash_loaded").unlink()
    assert kexec_compat.main(["-S"]) == 255
    assert "cannot tell" in capsys.readouterr().err


def test_debug_prints_the_call_and_retries_without_the_flag(
    here: MachineDirectory, libc: FakeLibc, kernel: str, capsys: pytest.CaptureFixture[str]
) -> None:
    libc.answers = [errno.EINVAL]
    assert kexec_compat.main(["-c", "-d", "-l", kernel]) == 0
    assert [call[4] for call in libc.calls] == [0x3E0010, 0x3E0000]
    captured = capsys.readouterr()
    assert captured.out == ""
    assert "nr_segments = 4" in captured.err
    assert "segment[0].mem   = 0x" in captured.err


@pytest.mark.parametrize("call", ["-c", "-s"])
def test_debug_tells_what_became_of_the_running_command_line(
    here: MachineDirectory,
    libc: FakeLibc,
    kernel: str,
    call: str,
    capsys: pytest.CaptureFixture[str],
) -> None:
    here.write("proc/cmdline", 'BOOT_IMAGE=/v dyndbg="a b" quiet\n')
    assert kexec_compat.main([call, "-d", "-l", kernel, "--reuse-cmdline", "--append=quiet x"]) == 0
    told = " ".join(capsys.readouterr().err.split())
    assert 'reused of the running command line: dyndbg="a b" ' in told
    assert "not reused of it: BOOT_IMAGE=/v quiet " in told
    assert "added to it: quiet x" in told


def test_debug_does_not_retry_what_was_refused_for_good(
    here: MachineDirectory, libc: FakeLibc, kernel: str
) -> None:
    libc.answers = [errno.EPERM]
    assert kexec_compat.main(["-c", "-d", "-l", kernel]) == 255
    assert len(libc.calls) == 1


@pytest.mark.parametrize("error", [errno.EPERM, errno.EBUSY, errno.EINVAL, errno.EADDRNOTAVAIL,
                                   errno.ENOMEM, errno.ENOSYS])  # fmt: skip
def test_a_refused_load_is_explained(
    here: MachineDirectory,
    libc: FakeLibc,
    steps: list[str],
    kernel: str,
    error: int,
    capsys: pytest.CaptureFixture[str],
) -> None:
    libc.answers = [error]
    assert kexec_compat.main(["-c", "-f", kernel]) == 255
    assert len(libc.calls) == 1
    assert steps == []
    err = capsys.readouterr().err
    assert f"({errno.errorcode[error]}): " in err
    assert "hint: " in err


def test_without_the_privilege_the_kernel_is_not_asked(
    here: MachineDirectory, libc: FakeLibc, kernel: str, capsys: pytest.CaptureFixture[str]
) -> None:
    here.write_kernel_state(replace(STATE, effective_capabilities=0))
    assert kexec_compat.main(["-l", kernel]) == 255
    assert libc.calls == []
    assert "needs CAP_SYS_BOOT" in capsys.readouterr().err


def test_memory_that_vanishes_while_planning_is_noticed(
    monkeypatch: pytest.MonkeyPatch,
    here: MachineDirectory,
    libc: FakeLibc,
    kernel: str,
    capsys: pytest.CaptureFixture[str],
) -> None:
    facts = machine_package.read_machine()
    reads = [facts, replace(facts, iomem=facts.iomem[:-1])]
    monkeypatch.setattr(machine_package, "read_machine", lambda **more: reads.pop(0))
    assert kexec_compat.main(["-c", "-l", kernel]) == 255
    assert libc.calls == []
    assert "memory-is-free" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("words", "code", "message"),
    [
        (["-l"], 255, "No kernel specified"),
        (["--bogus"], 1, "unrecognized option '--bogus'"),
        (["--dry-run=yaml", "K"], 1, "--dry-run: 'yaml' is no format"),
        (["-e", "--append=x"], 1, "--append is of no use without a kernel"),
        (["-l", "--mem-max=x", "K"], 1, "--mem-max: 'x' is not an address"),
    ],
)
def test_wrong_usage(
    libc: FakeLibc, words: list[str], code: int, message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert kexec_compat.main(words) == code
    captured = capsys.readouterr()
    assert message in captured.err
    assert captured.out == ""
    assert "\nhint: " in captured.err
    assert libc.calls == []


@pytest.mark.parametrize(
    ("words", "code", "start"),
    [
        (["-h", "-v"], 0, "Usage: kexec"),
        (["-v", "--bogus"], 0, "kexec (pykexec) "),
        (["-?"], 1, "Usage: kexec"),
    ],
)
def test_help_and_version_act_when_met(
    words: list[str], code: int, start: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert kexec_compat.main(words) == code
    captured = capsys.readouterr()
    assert captured.out.startswith(start)
    assert captured.err == ""


def test_the_file_call_comes_first_and_the_last_choice_counts(
    here: MachineDirectory, libc: FakeLibc, steps: list[str], kernel: str
) -> None:
    for words, calls in (
        (["-l", kernel], [KEXEC_FILE_LOAD]),
        (["-c", "-s", "-l", kernel], [KEXEC_FILE_LOAD]),
        (["-s", "-c", "-l", kernel], [KEXEC_LOAD]),
        (["-c", "-a", "-l", kernel], [KEXEC_FILE_LOAD]),
        (["-l", kernel, "-i"], [KEXEC_LOAD]),
        (["-s", "-l", kernel, "-i"], [KEXEC_FILE_LOAD]),
    ):
        libc.calls.clear()
        assert kexec_compat.main(words) == 0
        assert [call[0] for call in libc.calls] == calls


def test_a_warning_and_a_refusal_for_options_without_effect(
    here: MachineDirectory, libc: FakeLibc, kernel: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert kexec_compat.main(["-s", "-l", kernel, "--no-checks"]) == 0
    assert "kexec: --no-checks has no effect with kexec_file_load" in capsys.readouterr().err
    libc.calls.clear()
    assert kexec_compat.main(["-s", "-l", kernel, "--mem-min=0x1000000"]) == 1
    assert "--mem-min cannot be honoured" in capsys.readouterr().err
    assert libc.calls == []


def test_a_dry_run_names_the_call_and_its_reason(
    here: MachineDirectory, libc: FakeLibc, kernel: str, capsys: pytest.CaptureFixture[str]
) -> None:
    for words, call, reason in (
        ([], "kexec_file_load", "nothing asked for needs kexec_load"),
        (["-s"], "kexec_file_load", "it was asked for"),
        (["-i"], "kexec_load", "only this call honours --no-checks"),
    ):
        assert kexec_compat.main([*words, "-l", kernel, "--dry-run=json"]) == 0
        value = checked(capsys.readouterr().out)
        assert value["syscall"] == call
        assert any(note.startswith(f"{call}: {reason}") for note in value["notes"])
    assert libc.calls == []


def test_a_crash_load_does_not_sync_whatever_the_order(
    here: MachineDirectory, libc: FakeLibc, steps: list[str], kernel: str
) -> None:
    for words in (["-p", kernel], ["-l", "-p", kernel], ["-p", "-l", kernel], ["-lp", kernel]):
        libc.calls.clear()
        assert kexec_compat.main(words) == 0
        [(number, _, initrd_fd, length, _, flags)] = libc.calls
        assert (number, initrd_fd, length, flags) == (KEXEC_FILE_LOAD, -1, 1, 0x6)
    assert steps == []


def test_a_crash_load_without_reserved_memory(
    here: MachineDirectory, libc: FakeLibc, kernel: str, capsys: pytest.CaptureFixture[str]
) -> None:
    here.write_kernel_state(replace(STATE, crash_size=0))
    assert kexec_compat.main(["-p", kernel]) == 254
    assert "no memory is reserved for a crash kernel" in capsys.readouterr().err
    assert libc.calls == []


@pytest.mark.parametrize("guest", [False, True])
def test_a_crash_kernel_does_not_inherit_what_takes_its_memory(
    here: MachineDirectory,
    libc: FakeLibc,
    kernel: str,
    capsys: pytest.CaptureFixture[str],
    guest: bool,
) -> None:
    """Each word is told; in a guest with encrypted memory swiotlb= stays."""
    here.write("proc/cmdline", "root=/dev/vda1 hugepagesz=1G hugepages=64 swiotlb=65536 quiet\n")
    if guest:
        here.write("sys/class/misc/sev-guest/dev", "10:125\n")
    words = ["-s", "-p", kernel, "--reuse-cmdline", "--append=nr_cpus=1"]
    kept, left = (" swiotlb=65536", "") if guest else ("", " swiotlb=65536")
    said = f"no memory for it: hugepagesz=1G hugepages=64{left}"
    assert kexec_compat.main(words) == 0
    assert capsys.readouterr().err.endswith(f"{said}\n")
    assert kexec_compat.main([*words, "--dry-run=json"]) == 0
    value = checked(capsys.readouterr().out)
    assert value["cmdline"] == f"root=/dev/vda1{kept} quiet nr_cpus=1"
    assert any(note.endswith(said) for note in value["notes"])
    # A normal load keeps them, and has nothing to say.
    words = ["-s", "-l", kernel, "--reuse-cmdline"]
    assert kexec_compat.main(words) == 0
    assert capsys.readouterr().err == ""
    assert kexec_compat.main([*words, "--dry-run=json"]) == 0
    assert "hugepages=64 swiotlb=65536" in checked(capsys.readouterr().out)["cmdline"]
    assert len(libc.calls) == 2


@pytest.mark.parametrize("words", [["-p", "-u"], ["-u", "-p"], ["-up"]])
def test_the_crash_kernel_is_unloaded_in_either_order(
    here: MachineDirectory, libc: FakeLibc, words: list[str]
) -> None:
    assert kexec_compat.main(words) == 0
    assert libc.calls == [(KEXEC_LOAD, 0, 0, None, 0x3E0001)]
    libc.calls.clear()
    assert kexec_compat.main(["-s", *words]) == 0
    assert libc.calls == [(KEXEC_FILE_LOAD, -1, -1, 0, None, 0x3)]


def test_unload_under_lockdown_uses_the_file_call(here: MachineDirectory, libc: FakeLibc) -> None:
    here.write_kernel_state(replace(STATE, lockdown="integrity"))
    assert kexec_compat.main(["-u"]) == 0
    assert libc.calls == [(KEXEC_FILE_LOAD, -1, -1, 0, None, 0x1)]


def test_unload_tells_the_refusal_that_matters(
    here: MachineDirectory, libc: FakeLibc, capsys: pytest.CaptureFixture[str]
) -> None:
    libc.answers = [errno.ENOSYS, errno.EPERM]
    assert kexec_compat.main(["-u"]) == 255
    assert "kexec_file_load failed: Operation not permitted" in capsys.readouterr().err
    libc.answers = [errno.EBUSY]
    assert kexec_compat.main(["-u"]) == 255
    assert [call[0] for call in libc.calls] == [KEXEC_LOAD, KEXEC_FILE_LOAD, KEXEC_LOAD]
