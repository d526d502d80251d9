"""``pykexec simulate`` up to the emulator, and an emulator that goes wrong."""

from __future__ import annotations

import stat
import sys
from pathlib import Path

import pytest

from pykexec.cli import emulator, simulate
from tests.builders.bzimage import KernelSpec, build_bzimage
from tests.builders.machines import build_machine
from tests.cli.test_pykexec import run
from tests.json_schemas import checked

APPEND = ("--append", "console=ttyS0")


@pytest.fixture
def kernel(tmp_path: Path) -> str:
    path = tmp_path / "vmlinuz"
    path.write_bytes(build_bzimage(KernelSpec(payload_size=64 * 1024)))
    return str(path)


@pytest.fixture
def machine(tmp_path: Path) -> str:
    return str(build_machine(tmp_path / "machine", firmware_map=True))


@pytest.fixture
def dump(tmp_path: Path, kernel: str, machine: str, monkeypatch: pytest.MonkeyPatch) -> Path:
    directory = tmp_path / "dump"
    words = ("plan", kernel, "--machine", machine, "--call", "segments", *APPEND)
    assert run(monkeypatch, *words, "--dump", str(directory))[0] == 0
    return directory


@pytest.fixture
def no_programs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A directory for programs, and no other."""
    directory = tmp_path / "bin"
    directory.mkdir()
    monkeypatch.setenv("PATH", str(directory))
    return directory


def write_program(directory: Path, script: str) -> None:
    path = directory / "qemu-system-x86_64"
    path.write_text(script)
    path.chmod(path.stat().st_mode | stat.S_IXUSR)


def test_without_qemu_the_package_is_named(
    kernel: str, machine: str, no_programs: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    code, out, err = run(monkeypatch, "simulate", kernel, "--machine", machine, *APPEND)
    assert code == 255
    assert out.startswith("machine:  QEMU's pc with its BIOS, ")
    assert err == (
        "pykexec: cannot simulate: there is no qemu-system-x86_64 here\n"
        "hint: install the Debian package qemu-system-x86\n"
    )


@pytest.mark.parametrize(
    ("script", "message"),
    [
        ("sys.exit('that is no machine')", "ended with status 1: that is no machine"),
        ("sys.exit(0)", "ended with status 0: it says nothing"),
        ("time.sleep(9)", "QEMU does not answer qmp_capabilities within 0"),
        ('os.write(m, b\'{"QMP": 1}\\n{"event": "RESET"}\\n\'); time.sleep(9)', "does not answer"),
        (
            'os.write(m, b\'{"error": {"desc": "no"}}\\n\'); time.sleep(9)',
            "QEMU refuses qmp_capabilities: no",
        ),
        ("os.close(m); time.sleep(9)", "ended with status unknown: it says nothing"),
    ],
)
def test_an_emulator_that_does_not_work(
    script: str,
    message: str,
    dump: Path,
    no_programs: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(emulator, "_ANSWER", 0.4)
    finding = r"m = int(re.search(r'id=qmp,fd=(\d+)', ' '.join(sys.argv))[1])"
    write_program(
        no_programs, f"#!{sys.executable}\nimport os, re, sys, time\n{finding}\n{script}\n"
    )
    code, _, err = run(monkeypatch, "simulate", str(dump))
    assert code == 255
    assert message in err


def test_a_call_that_chooses_the_addresses_itself_has_no_layout(
    kernel: str, machine: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    words = ("simulate", kernel, "--machine", machine, "--call", "file")
    code, _, err = run(monkeypatch, *words)
    assert code == 1
    assert err == (
        "pykexec: --call file: the running kernel would choose the addresses, there is no layout "
        "to simulate\nhint: leave --call away\n"
    )


@pytest.mark.parametrize("name", ["", "plan.json"])
def test_a_plan_takes_no_options_of_a_load(
    name: str, dump: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    code, _, err = run(monkeypatch, "simulate", str(dump / name), *APPEND)
    assert code == 1
    assert f"{dump / name} is a plan already: options of a load do not change it" in err


def test_a_plan_is_judged_where_the_machine_is_known(
    dump: Path, tmp_path: Path, no_programs: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    smaller = build_machine(tmp_path / "other")
    (smaller / "proc/iomem").write_text("00100000-00ffffff : System RAM\n")
    code, _, err = run(monkeypatch, "simulate", str(dump), "--machine", str(smaller))
    assert code == 255
    assert "the plan is refused: memory-is-free: " in err
    code, _, err = run(monkeypatch, "simulate", str(dump))
    assert "there is no qemu-system-x86_64" in err


def test_a_plan_that_lacks_a_segment(
    dump: Path, no_programs: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (dump / "seg00.bin").unlink()
    code, _, err = run(monkeypatch, "simulate", str(dump))
    assert code == 255
    assert err.startswith(f"pykexec: cannot open segment '{dump}/seg00.bin': No such file")


def test_a_plan_that_was_changed(
    dump: Path, no_programs: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (dump / "seg00.bin").write_bytes(b"x")
    code, _, err = run(monkeypatch, "simulate", str(dump))
    assert code == 255
    assert "is not what plan.json describes: 1 byte, " in err


def test_an_expectation_that_is_no_expression(
    kernel: str, machine: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    words = ("simulate", kernel, "--machine", machine, "--expect", "(")
    code, _, err = run(monkeypatch, *words)
    assert code == 1
    assert "--expect: '(' is no regular expression: " in err


def test_this_machine_must_be_large_enough(
    dump: Path, no_programs: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(simulate, "_memory_available", lambda: 1 << 20)
    code, _, err = run(monkeypatch, "simulate", str(dump))
    assert code == 255
    assert "1 MiB are available" in err


def changes(out: str) -> list[str]:
    return [line.removeprefix("changed:  ") for line in out.splitlines() if "changed:" in line]


def test_what_the_trial_needs_is_supplied_and_told(
    kernel: str, machine: str, no_programs: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    words = ("simulate", kernel, "--machine", machine, "--append", "root=/dev/sda quiet")
    code, out, err = run(monkeypatch, *words)
    assert code == 255
    assert "there is no qemu-system-x86_64" in err
    assert max(map(len, out.splitlines())) <= 80
    assert changes(out) == [
        "quiet is taken off: the new kernel would not say that it runs its init",
        "console=ttyS0 is added, which is where the new kernel is listened to",
    ]
    out = run(monkeypatch, *words, "--expect", "login:")[1]
    assert changes(out) == ["console=ttyS0 is added, which is where the new kernel is listened to"]
    given = ("simulate", kernel, "--machine", machine, *APPEND)
    assert changes(run(monkeypatch, *given)[1]) == []
    # Of JSON it is a part; here it only comes to the lines on the way to it.
    code, out, err = run(monkeypatch, "simulate", kernel, "--machine", machine, "--json")
    assert (code, checked(out)["error"]) == (255, "MissingProgramError")
    assert changes(err) == ["console=ttyS0 is added, which is where the new kernel is listened to"]


def test_nothing_is_changed_as_it_is(
    kernel: str, machine: str, no_programs: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    words = ("simulate", kernel, "--machine", machine, "--as-is")
    code, _, err = run(monkeypatch, *words)
    assert code == 255
    assert "the plan's command line has no serial console" in err
    mute = (*words, "--append", "console=ttyS0 quiet")
    code, _, err = run(monkeypatch, *mute)
    assert code == 1
    assert "the command line has quiet: the new kernel would not say that it runs its init" in err
    assert "there is no qemu-system-x86_64" in run(monkeypatch, *mute, "--expect", "login:")[2]


def test_a_plan_stays_as_it_is(
    dump: Path, kernel: str, machine: str, no_programs: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert changes(run(monkeypatch, "simulate", str(dump))[1]) == []
    words = ("plan", kernel, "--machine", machine, "--append", "quiet", "--dump", str(dump))
    assert run(monkeypatch, *words)[0] == 0
    code, _, err = run(monkeypatch, "simulate", str(dump))
    assert code == 1
    assert "the command line has quiet" in err


def test_a_command_line_that_only_grows_too_long(
    kernel: str, machine: str, no_programs: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    line = "x" * 2040
    code, _, err = run(monkeypatch, "simulate", kernel, "--machine", machine, "--append", line)
    assert code == 255
    assert "the command line is 2054 bytes long" in err
    assert "hint: the simulation changes it (console=ttyS0 is added" in err
    assert "--as-is" in err


def test_the_layout_beneath_a_plan_is_simulated(
    dump: Path, kernel: str, machine: str, no_programs: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One by kexec_file_load has no other."""
    entered = run(monkeypatch, "simulate", str(dump))[1]
    by_file = dump.with_name("by-file")
    words = ("plan", kernel, "--machine", machine, *APPEND, "--dump", str(by_file))
    assert "by kexec_file_load" in run(monkeypatch, *words)[1]
    code, out, err = run(monkeypatch, "simulate", str(by_file))
    assert code == 255
    assert "there is no qemu-system-x86_64" in err
    assert out == entered


def test_help_names_the_exit_status(monkeypatch: pytest.MonkeyPatch) -> None:
    code, out, _ = run(monkeypatch, "simulate", "--help")
    assert code == 0
    assert "0 it boots, 255 it does not" in out
