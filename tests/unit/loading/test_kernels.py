"""Loads, unloads, plans and questions from Python: what they give, raise, and leave behind."""

from __future__ import annotations

import errno
import json
import os
from dataclasses import fields, replace
from hashlib import sha256
from pathlib import Path
from typing import Any

import pytest

import pykexec
from pykexec.calls import syscalls
from pykexec.cli import kexec_compat
from pykexec.crash.status import CrashLoadRecord, FileDigest, parse_record
from pykexec.errors import (
    CommandLineError,
    DeniedError,
    ImageError,
    KernelRejectedError,
    NoCrashRegionError,
    NoKernelError,
    UsageError,
)
from pykexec.loading import crash_record, load_request
from pykexec.loading.load_record import parse_load_record
from pykexec.loading.options import LoadOptions, MoreOptions, options_of
from pykexec.loading.results import LoadRecord
from pykexec.machine.files import MachineFiles
from pykexec.machine.left_records import NORMAL, build_mark
from pykexec.planning import check_time
from pykexec.values.facts import CAP_SYS_BOOT
from tests.builders.machines import MachineDirectory
from tests.cli.crash_machine import STATE
from tests.cli.stand_in import KEXEC_FILE_LOAD, KEXEC_LOAD, FakeLibc
from tests.cli.test_pykexec import run
from tests.json_schemas import checked, validate


@pytest.fixture(autouse=True)
def libc(monkeypatch: pytest.MonkeyPatch, here: MachineDirectory) -> FakeLibc:
    fake = FakeLibc()
    monkeypatch.setattr(syscalls, "_libc", fake)
    monkeypatch.setenv("NO_COLOR", "1")
    return fake


@pytest.fixture
def place(here: MachineDirectory) -> Path:
    """Where records are."""
    return here.path / "run/pykexec"


def test_a_load_gives_what_was_done(
    libc: FakeLibc,
    place: Path,
    kernel: str,
    initrd: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    loaded = pykexec.load_kernel(Path(kernel), initrd=initrd, cmdline="ro", append="quiet")
    assert [call[0] for call in libc.calls] == [KEXEC_FILE_LOAD]
    assert (loaded.call, loaded.warnings) == (pykexec.Call.KEXEC_FILE_LOAD, ())
    assert loaded.reason.startswith("nothing asked for needs kexec_load")
    assert loaded.plan.cmdline == b"ro quiet"
    assert isinstance(loaded.record, LoadRecord)
    assert (loaded.record.kernel, loaded.record.initrd) == (kernel, str(initrd))
    assert loaded.record == parse_load_record((place / "normal.json").read_bytes(), "it")
    assert "\n" not in repr(loaded)
    assert capsys.readouterr() == ("", "")


def test_the_programs_leave_the_same_record(
    monkeypatch: pytest.MonkeyPatch,
    place: Path,
    kernel: str,
) -> None:
    monkeypatch.setattr("time.strftime", lambda *_: "2026-01-31T12:00:00Z")
    monkeypatch.setattr("os.sync", lambda: None)
    for words, name, load in (
        (["-l"], "normal.json", pykexec.load_kernel),
        (["-p"], "crash.json", pykexec.load_crash_kernel),
    ):
        assert kexec_compat.main([*words, kernel, "--append=ro"]) == 0
        before = (place / name).read_bytes()
        (place / name).unlink()
        load(kernel, cmdline=b"ro")
        assert (place / name).read_bytes() == before


def test_a_crash_load_is_recorded_with_its_digests(
    libc: FakeLibc,
    place: Path,
    kernel: str,
) -> None:
    loaded = pykexec.load_crash_kernel(kernel, call="segments")
    assert libc.calls[0][0] == KEXEC_LOAD
    assert (loaded.plan.target, loaded.reason) == (pykexec.Target.CRASH, "it was asked for")
    assert isinstance(loaded.record, CrashLoadRecord)
    assert loaded.record == parse_record((place / "crash.json").read_bytes(), "it")
    assert pykexec.crash_status().is_fresh
    Path(kernel).write_bytes(Path(kernel).read_bytes() + b"x")
    judgement = pykexec.crash_status().judgement
    assert judgement.reason == "kernel: changed since the load"


def test_an_early_load_is_recorded_by_what_was_packed(
    place: Path, kernel: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its files lie in an image that is gone when the root is there."""
    there = tmp_path / "the kernel"
    there.write_bytes(Path(kernel).read_bytes())
    packed = tmp_path / "packed"
    size, sum_ = len(there.read_bytes()), sha256(there.read_bytes()).hexdigest()
    packed.write_text(f"kernel {size} {sum_} {there}\n")
    monkeypatch.setenv(crash_record.PACKED, str(packed))
    pykexec.load_crash_kernel(kernel, call="segments")
    record = parse_record((place / "crash.json").read_bytes(), "it")
    assert record.kernel == FileDigest(str(there), size, sum_)
    Path(kernel).write_bytes(b"gone with the image")
    assert pykexec.crash_status().is_fresh


@pytest.mark.parametrize(
    "line",
    [
        "kernel {other} {sum} /boot/vmlinuz",
        "kernel {size} {sum}",
        "kernel {size} abc /boot/vmlinuz",
        "kernel {size} {sum} boot/vmlinuz",
        "kernel x {sum} /boot/vmlinuz",
        "",
    ],
)
def test_what_packed_files_do_not_tell_is_read(
    place: Path, kernel: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, line: str
) -> None:
    size = Path(kernel).stat().st_size
    packed = tmp_path / "packed"
    packed.write_text(line.format(size=size, other=size + 1, sum="0" * 64) + "\n")
    monkeypatch.setenv(crash_record.PACKED, str(packed))
    pykexec.load_crash_kernel(kernel, call="segments")
    record = parse_record((place / "crash.json").read_bytes(), "it")
    assert record.kernel.path == kernel
    assert record.kernel.sha256 == sha256(Path(kernel).read_bytes()).hexdigest()


def test_seeds_are_fresh(monkeypatch: pytest.MonkeyPatch, kernel: str) -> None:
    asked: list[int] = []

    def seed(size: int) -> bytes:
        asked.append(size)
        return bytes([len(asked)]) * size

    monkeypatch.setattr(load_request, "fresh_seed", seed)
    first, second = (pykexec.load_kernel(kernel, call="segments").plan for _ in range(2))
    assert asked == [32, 8, 32, 8]
    assert first != second


def test_the_second_call_follows_the_first(libc: FakeLibc, kernel: str) -> None:
    libc.answers = [errno.ENOEXEC]
    shown: list[Any] = []
    loaded = pykexec.load_kernel(kernel, on_plan=shown.append)
    assert [call[0] for call in libc.calls] == [KEXEC_FILE_LOAD, KEXEC_LOAD]
    assert [type(plan) for plan in shown] == [pykexec.FileLoadPlan, pykexec.SegmentPlan]
    assert loaded.plan == shown[1]
    assert loaded.call is pykexec.Call.KEXEC_LOAD
    assert "kexec_file_load" in loaded.reason
    assert loaded.plan.notes[0] == f"kexec_load: {loaded.reason}"


def test_warnings_are_in_the_result_and_told_as_they_come(
    kernel: str,
) -> None:
    said: list[str] = []
    loaded = pykexec.load_kernel(
        kernel,
        call="file",
        no_checks=True,
        on_warning=said.append,
        on_plan=lambda plan: said.append("plan"),
    )
    assert said == [*loaded.warnings, "plan"]
    assert loaded.warnings[0].startswith("--no-checks has no effect with kexec_file_load")


def test_a_long_check_is_warned_of(
    monkeypatch: pytest.MonkeyPatch, here: MachineDirectory, kernel: str
) -> None:
    here.write("proc/cpuinfo", "flags\t\t: fpu lm\n")
    assert not pykexec.load_kernel(kernel, call="segments").warnings
    monkeypatch.setattr(check_time, "LONG", 0)
    loaded = pykexec.load_kernel(kernel, call="segments")
    assert [text.partition(" before")[0][:13] for text in loaded.warnings] == ["the check of "]
    assert "--no-checks leaves it out" in loaded.warnings[0]
    assert not pykexec.load_kernel(kernel, call="segments", no_checks=True).warnings


def test_what_the_kernel_took_is_in_the_plan(
    libc: FakeLibc,
    here: MachineDirectory,
    kernel: str,
) -> None:
    here.write_kernel_state(replace(STATE, crash_elfcorehdr_size=4096))
    libc.answers = [errno.EINVAL]
    loaded = pykexec.load_crash_kernel(kernel, call="segments", hotplug=True)
    assert loaded.warnings[0].startswith("--hotplug: the kernel refused")
    assert isinstance(loaded.plan, pykexec.SegmentPlan)
    assert libc.calls[-1][-1] == loaded.plan.flags


def test_a_failure_says_what_is_loaded_now(
    libc: FakeLibc,
    here: MachineDirectory,
    kernel: str,
) -> None:
    pykexec.load_kernel(kernel)
    here.write_kernel_state(replace(STATE, loaded=True))
    libc.answers = [errno.EBUSY]
    with pytest.raises(KernelRejectedError) as caught:
        pykexec.load_kernel(kernel, call="file", no_checks=True)
    assert caught.value.errno == errno.EBUSY
    assert caught.value.aftermath.startswith(f"the kernel loaded before stays loaded: {kernel}, by")
    assert [text.partition(" ")[0] for text in caught.value.warnings] == ["--no-checks"]


def test_a_record_that_cannot_be_written(
    place: Path,
    kernel: str,
) -> None:
    place.parent.mkdir(exist_ok=True)
    place.write_bytes(b"no directory")
    loaded = pykexec.load_kernel(kernel)
    assert loaded.record is None
    assert "the kernel is loaded, but" in loaded.warnings[-1]


def test_unloading(
    libc: FakeLibc,
    place: Path,
    kernel: str,
) -> None:
    pykexec.load_kernel(kernel)
    pykexec.load_crash_kernel(kernel)
    assert pykexec.unload() == pykexec.Unloaded(pykexec.Target.NORMAL, ())
    assert sorted(path.name for path in place.glob("*.json")) == ["crash.json"]
    assert pykexec.unload(pykexec.Target.CRASH, call="file").target is pykexec.Target.CRASH
    assert libc.calls[-1][0] == KEXEC_FILE_LOAD
    assert list(place.glob("*.json")) == []
    with pytest.raises(UsageError, match="target: 'both' is not known"):
        pykexec.unload("both")  # type: ignore[arg-type]  # that is what is tried


def test_status_says_what_the_records_say(
    here: MachineDirectory,
    place: Path,
    kernel: str,
) -> None:
    assert pykexec.status().normal == pykexec.ImageStatus(None, None, "")
    here.write_kernel_state(replace(STATE, loaded=True))
    normal, crash = pykexec.load_kernel(kernel).record, pykexec.load_crash_kernel(kernel).record
    assert crash is not None
    now = pykexec.status()
    assert now.normal == pykexec.ImageStatus(True, normal, "")
    assert now.crash == pykexec.ImageStatus(True, crash, "")
    assert now.crash_size == STATE.crash_size
    mark = build_mark(MachineFiles(here.path), "a load of /x")
    (here.path / NORMAL.mark).write_bytes(mark)
    assert pykexec.status().normal.unfinished == "a load of /x"
    said = checked(pykexec.to_json(pykexec.status()))
    assert said["normal"]["unfinished"] == "a load of /x"
    assert said["normal"]["record"]["kernel"] == kernel
    assert said["crash"]["record"] == {
        "time": crash.time,
        "kernel": kernel,
        "initrd": None,
        "cmdline": "",
    }
    here.write("proc/sys/kernel/random/boot_id", "another boot\n")
    assert pykexec.status().normal == pykexec.ImageStatus(True, None, "")
    assert (place / "normal.json").exists()


def test_status_of_a_recorded_machine(here: MachineDirectory) -> None:
    recorded = pykexec.status(here.path)
    assert (recorded.normal.record, recorded.crash.loaded) == (None, True)


def test_json_is_what_the_programs_print(
    monkeypatch: pytest.MonkeyPatch,
    kernel: str,
) -> None:
    pykexec.load_crash_kernel(kernel)
    for words, value in (
        (["status"], pykexec.status()),
        (["crash", "status"], pykexec.crash_status()),
    ):
        assert run(monkeypatch, *words, "--json")[1] == pykexec.to_json(value) + "\n"
    planned = pykexec.plan_kernel(kernel, crash=True, seed="s", call="segments")
    words = ["plan", kernel, "--crash", "--seed", "s", "--call", "segments", "--json"]
    printed = json.loads(run(monkeypatch, *words)[1])
    del printed["doctor"]
    assert pykexec.json_value(planned) == printed
    validate(printed)
    assert pykexec.json_value(planned.plan) == {k: v for k, v in printed.items() if k != "told"}
    code, out, _ = run(monkeypatch, "plan", f"{kernel}.gone", "--json")
    with pytest.raises(ImageError) as caught:
        pykexec.plan_kernel(f"{kernel}.gone")
    assert (code, out) == (255, pykexec.to_json(caught.value) + "\n")
    with pytest.raises(TypeError, match="str has no JSON form"):
        pykexec.to_json("x")  # type: ignore[arg-type]  # that is what is tried


def test_a_plan_loads_nothing(
    libc: FakeLibc,
    place: Path,
    kernel: str,
) -> None:
    planned = pykexec.plan_kernel(kernel, reuse_cmdline=True, append="more")
    assert (planned.call, planned.plan.cmdline.split()[-1]) == (
        pykexec.Call.KEXEC_FILE_LOAD,
        b"more",
    )
    assert isinstance(planned.plan, pykexec.FileLoadPlan)
    assert planned.plan.layout is not None
    assert libc.calls == []
    assert not place.exists()


def test_a_boot_entry_names_it_all(
    kernel: str,
    tmp_path: Path,
) -> None:
    root = tmp_path / "system"
    (root / "boot/loader/entries").mkdir(parents=True)
    (root / "boot/vmlinuz").write_bytes(Path(kernel).read_bytes())
    (root / "boot/loader/entries/one.conf").write_text(
        "title One\nlinux /vmlinuz\noptions ro a=b\n"
    )
    more: dict[str, Any] = {"boot_entry": "one", "boot_root": root, "append": "c"}
    planned = pykexec.plan_kernel(**more)
    assert planned.plan.cmdline == b"ro a=b c"
    loaded = pykexec.load_kernel(**more)
    assert isinstance(loaded.record, LoadRecord)
    assert loaded.record.kernel == str(root / "boot/vmlinuz")
    assert any("boot entry 'one" in note for note in loaded.plan.notes), loaded.plan.notes
    with pytest.raises(UsageError, match="excludes a kernel"):
        pykexec.load_kernel(kernel, **more)


def test_refusals_come_before_the_system_call(
    libc: FakeLibc,
    here: MachineDirectory,
    kernel: str,
) -> None:
    here.write_kernel_state(replace(STATE, effective_capabilities=~(1 << CAP_SYS_BOOT)))
    with pytest.raises(DeniedError, match="CAP_SYS_BOOT"):
        pykexec.load_kernel(kernel)
    here.write_kernel_state(replace(STATE, crash_size=0))
    with pytest.raises(NoCrashRegionError):
        pykexec.load_crash_kernel(kernel)
    assert libc.calls == []


@pytest.mark.parametrize(
    ("given", "error", "said"),
    [
        ({"kernel": b"contents"}, TypeError, "kernel: a path is wanted, .* and not bytes; what is"),
        ({"initrd": bytearray(3)}, TypeError, "initrd: .* goes into a pykexec.LoadRequest"),
        ({"dtb": 3}, TypeError, "dtb: a path is wanted, .* not int"),
        ({"cmdline": ["ro"]}, TypeError, "a command line is a str or bytes, and not list"),
        ({"quiet": True}, TypeError, "unexpected keyword argument 'quiet'"),
        ({"foreign": ("x",)}, TypeError, "unexpected keyword argument 'foreign'"),
        ({"kernel": None}, NoKernelError, "no kernel is named"),
        ({"kernel": ""}, ImageError, "kernel: '' is no path"),
        ({"kernel": "a\0b"}, ImageError, "kernel: 'a.x00b' is no path"),
        ({"call": "best"}, UsageError, "call: 'best' is not known"),
        ({"elf_args": "all"}, UsageError, "elf_args: 'all' is not known"),
        ({"cmdline": "", "reuse_cmdline": True}, UsageError, "cmdline and reuse_cmdline exclude"),
        ({"boot_entry": "y"}, UsageError, "boot_entry excludes a kernel, and '/boot/vmlinuz' is"),
        (
            {"kernel": None, "cmdline": "x", "boot_entry": "y"},
            UsageError,
            "cmdline and boot_entry exclude",
        ),
        ({"cmdline": "\ud800"}, CommandLineError, "for which UTF-8 has no bytes"),
    ],
)
def test_what_cannot_be_meant(given: dict[str, Any], error: type[Exception], said: str) -> None:
    for function in (pykexec.load_kernel, pykexec.load_crash_kernel, pykexec.plan_kernel):
        with pytest.raises(error, match=said):
            function(**{"kernel": "/boot/vmlinuz", **given})


def test_a_command_line_keeps_its_bytes() -> None:
    for text in ("ro ü", b"ro \xc3\xbc", b"ro \xff", "ro \udcff"):
        options = options_of("k", cmdline=text, more={})
        wanted = text if isinstance(text, bytes) else text.encode("utf-8", "surrogateescape")
        assert os.fsencode(options.append or "") == wanted


def test_the_keywords_are_fields() -> None:
    own = {"kernel", "call", "crash", "initrd", "append", "reuse_cmdline", "dtb", "boot_entry"}
    inner = {"more_initrds", "kernel_name", "entry_modules", "notes", "seed", "foreign", "old_root"}
    names = {field.name for field in fields(LoadOptions)}
    assert set(MoreOptions.__annotations__) == names - own - inner
