"""Jumps that are come back from, and the way back, by both front doors."""

from __future__ import annotations

import errno
import json
from collections.abc import Callable

import pytest
from click.testing import CliRunner

from pykexec.calls import syscalls
from pykexec.cli import jump, kexec_compat
from pykexec.cli.main import cli
from pykexec.loading import load_record
from pykexec.values.calls import KexecFlags
from tests.builders.machines import MachineDirectory
from tests.cli.stand_in import KEXEC_LOAD, REBOOT, FakeLibc

WAITS = 0x400_0000_0000
KEPT = KexecFlags.KEXEC_PRESERVE_CONTEXT
Run = Callable[..., tuple[int, str]]


@pytest.fixture
def libc(here: MachineDirectory, monkeypatch: pytest.MonkeyPatch) -> FakeLibc:
    """Return what records the calls; no interface is taken down for real."""
    found = FakeLibc()
    monkeypatch.setattr(syscalls, "_libc", found)

    def take_interfaces_down() -> list[str]:
        found.calls.append(("down",))
        return []

    monkeypatch.setattr(jump, "take_interfaces_down", take_interfaces_down)
    here.write("proc/self/status", f"CapEff:\t{(1 << 41) - 1:016x}\n")
    here.write("sys/kernel/kexec/loaded", "1\n")
    here.write("sys/kernel/kexec_loaded", "1\n")
    return found


def flags(libc: FakeLibc) -> list[int]:
    return [call[-1] & 0xFFFF for call in libc.calls if call[0] == KEXEC_LOAD]


def record(here: MachineDirectory) -> dict[str, object]:
    found = json.loads((here.path / load_record.RECORD).read_text())
    assert isinstance(found, dict)
    return found


def pykexec(*words: str) -> tuple[int, str]:
    result = CliRunner().invoke(cli, words, catch_exceptions=False)
    return result.exit_code, result.output


@pytest.mark.parametrize("verb", [False, True], ids=["kexec", "pykexec"])
def test_a_jump_and_its_return(
    here: MachineDirectory, libc: FakeLibc, kernel: str, verb: bool
) -> None:
    most = "--mem-max=0xfffffff"
    if verb:
        code, said = pykexec("load", "--preserve-context", most, kernel)
        assert (code, "kexec_load" in said) == (0, True)
        assert pykexec("exec")[0] == 0
    else:
        assert kexec_compat.main(["--load-preserve-context", most, kernel]) == 0
        assert kexec_compat.main(["-e"]) == 0
    assert flags(libc) == [KEPT]
    assert (record(here)["preserve_context"], record(here)["returns_to"]) == (True, None)
    # Interfaces stay up, and behind the return nothing is loaded again.
    assert [call[0] for call in libc.calls] == [KEXEC_LOAD, REBOOT]


@pytest.mark.parametrize("verb", [False, True], ids=["kexec", "pykexec"])
def test_the_way_back_is_loaded_anew_behind_each_return(
    here: MachineDirectory, libc: FakeLibc, verb: bool
) -> None:
    here.write("proc/cmdline", f"ro kexec_jump_back_entry={WAITS:#018x}\n")
    if verb:
        code, said = pykexec("way-back")
        assert code == 0
        assert said == f"loaded the way back: returns to the kernel that waits at {WAITS:#x}\n"
        assert pykexec("exec")[0] == 0
    else:
        assert kexec_compat.main(["--load-jump-back-helper"]) == 0
        assert kexec_compat.main(["-e"]) == 0
    assert [call[0] for call in libc.calls] == [KEXEC_LOAD, REBOOT, KEXEC_LOAD]
    assert flags(libc) == [KEPT, KEPT]
    assert record(here)["returns_to"] == WAITS
    assert record(here)["kernel"] == f"the kernel that waits at {WAITS:#x}"


def test_the_address_may_be_given(here: MachineDirectory, libc: FakeLibc) -> None:
    assert kexec_compat.main(["--load-jump-back-helper", f"--entry={WAITS:#x}"]) == 0
    assert record(here)["returns_to"] == WAITS
    assert pykexec("way-back", hex(2 * WAITS))[0] == 0
    assert record(here)["returns_to"] == 2 * WAITS


def test_the_plan_of_the_way_back_can_be_seen(
    here: MachineDirectory, libc: FakeLibc, capsys: pytest.CaptureFixture[str]
) -> None:
    assert kexec_compat.main(["-d", "--load-jump-back-helper", f"--entry={WAITS:#x}"]) == 0
    shown = capsys.readouterr().err
    assert "way_back" in shown
    assert "purgatory" in shown
    assert all(len(line) <= 80 for line in shown.splitlines())


def test_nobody_waits(
    here: MachineDirectory, libc: FakeLibc, capsys: pytest.CaptureFixture[str]
) -> None:
    assert kexec_compat.main(["--load-jump-back-helper"]) == 1
    assert "no kernel waits to be returned to: no kexec_jump_back_" in capsys.readouterr().err
    assert libc.calls == []


def test_a_kernel_that_cannot_be_returned_to(
    here: MachineDirectory,
    libc: FakeLibc,
    kernel: str,
    capsys: pytest.CaptureFixture[str],
) -> None:
    libc.answers = [errno.EINVAL]
    words = ["--load-preserve-context", "--mem-max=0xfffffff", kernel]
    assert kexec_compat.main(words) == 255
    said = capsys.readouterr().err
    assert "cannot be returned to: it is built without CONFIG_KEXEC_JUMP" in said
    assert "hint: load without --load-preserve-context" in said


def test_a_jump_without_a_record_takes_interfaces_down(
    here: MachineDirectory, libc: FakeLibc
) -> None:
    """Another loader's image may be one that is not come back from."""
    assert kexec_compat.main(["-e"]) == 0
    assert [call[0] for call in libc.calls] == ["down", REBOOT]
