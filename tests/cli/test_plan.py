"""``pykexec plan``: pictures, explanations and differences, at the front door."""

from __future__ import annotations

import io
import os
import subprocess
import sys
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import jsonschema
import pytest

from pykexec.cli import kexec_compat
from pykexec.cli.terminal import showable, style_of
from pykexec.loading.planning import make_plan
from pykexec.values.ranges import Range
from pykexec.values.units import MIB
from tests.builders.bzimage import KernelSpec, build_bzimage
from tests.builders.machines import build_machine
from tests.cli.test_pykexec import run
from tests.json_schemas import checked, validate


@pytest.fixture
def kernel(tmp_path: Path) -> str:
    path = tmp_path / "vmlinuz"
    path.write_bytes(build_bzimage(KernelSpec(payload_size=64 * 1024)))
    return str(path)


@pytest.fixture
def machine(tmp_path: Path) -> str:
    return str(build_machine(tmp_path / "machine", firmware_map=True, cmdline=b"old words"))


def plan(
    monkeypatch: pytest.MonkeyPatch, kernel: str, machine: str, *words: str
) -> tuple[int, str, str]:
    fixed = ["plan", kernel, "--machine", machine, "--call", "segments"]
    return run(monkeypatch, *fixed, *words)


def test_a_plan_has_a_picture_and_a_difference(
    monkeypatch: pytest.MonkeyPatch, kernel: str, machine: str
) -> None:
    code, out, err = plan(monkeypatch, kernel, machine, "--append", "new words")
    assert (code, err) == (0, "")
    assert "\nMemory, a character for each 16 MiB:\n            0x0 .o" in out
    assert "  - command line: old words\n  + command line: new words\n" in out
    assert "\x1b" not in out
    assert out.isascii()


@pytest.mark.parametrize("call", ["segments", "file"])
def test_json_keeps_to_the_schema(
    monkeypatch: pytest.MonkeyPatch, kernel: str, machine: str, call: str
) -> None:
    words = ["--call", call, "--append", "new", "--json"]
    code, out, _ = plan(monkeypatch, kernel, machine, *words)
    value = checked(out)
    assert code == 0
    validate(value)
    assert {"name": "command line", "before": "old words", "after": "new"} in value["told"]
    with pytest.raises(jsonschema.ValidationError):
        validate({**value, "more": 1})


def test_explain_a_place(monkeypatch: pytest.MonkeyPatch, kernel: str, machine: str) -> None:
    code, out, err = plan(monkeypatch, kernel, machine, "--explain", "kernel")
    assert (code, err) == (0, "")
    assert out.startswith("kernel: 32 MiB, highest address first\n")
    assert "header  kernel_alignment" in out
    value = checked(plan(monkeypatch, kernel, machine, "--explain", "kernel", "--json")[1])
    validate(value)


def test_explain_a_refusal(monkeypatch: pytest.MonkeyPatch, kernel: str, machine: str) -> None:
    """What it says to do is done, and the load fits."""
    words = ["--mem-max", "0x2000000"]
    code, out, err = plan(monkeypatch, kernel, machine, *words, "--explain", "kernel")
    assert code == 255
    assert out.startswith("kernel: 32 MiB, highest")
    assert "No place for kernel:" in out
    assert "cannot place kernel: need 32 MiB between 0x1000000 (pref_address)" in err
    assert "hint" not in err
    code, out, _ = plan(monkeypatch, kernel, machine, *words, "--explain", "initrd", "--json")
    assert code == 255
    value = checked(out)
    validate(value)
    assert value["role"] == "kernel"
    (remedy,) = value["remedies"]
    option = remedy["text"].removeprefix("give ").removesuffix(", or more").split()
    assert plan(monkeypatch, kernel, machine, *option)[0] == 0


def test_explain_a_segment_that_it_did_not_come_to(
    monkeypatch: pytest.MonkeyPatch, kernel: str, machine: str
) -> None:
    words = ["--mem-max", "0x2000000", "--explain", "initrd"]
    _, out, _ = plan(monkeypatch, kernel, machine, *words)
    assert out.startswith("There is no plan to explain initrd in: kernel has no place.\n\nkernel: ")


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--explain", "dtb"], "--explain: the plan has no segment 'dtb'"),
        (["--explain", "initrd", "--diff", "x"], "--explain and --diff are two answers"),
        (["--call", "file", "--explain", "dtb"], "--explain: the plan has no segment 'dtb'"),
        (["--diff", "/no/such/file"], "--diff: cannot read /no/such/file: No such file"),
    ],
)
def test_wrong_questions(
    monkeypatch: pytest.MonkeyPatch, kernel: str, machine: str, words: list[str], message: str
) -> None:
    code, out, err = plan(monkeypatch, kernel, machine, *words)
    assert (code, out) == (1, "")
    assert message in err


def test_diff(monkeypatch: pytest.MonkeyPatch, kernel: str, machine: str, tmp_path: Path) -> None:
    other = tmp_path / "other.json"
    other.write_text(plan(monkeypatch, kernel, machine, "--json")[1])
    same = plan(monkeypatch, kernel, machine, "--diff", str(other))
    assert same == (0, f"No difference to {other}.\n", "")
    words = ["--append", "other", "--diff", str(other)]
    code, out, _ = plan(monkeypatch, kernel, machine, *words)
    assert code == 1
    assert "  + cmdline: other\n" in out
    code, out, _ = plan(monkeypatch, kernel, machine, *words, "--json")
    assert code == 1
    validate(checked(out))


def test_diff_with_the_log_of_a_load(kernel: str, machine: str) -> None:
    """A log through a pipe, in the words of another process."""
    program = [sys.executable, "-m", "pykexec.cli.main"]
    words = [*program, "plan", kernel, "--machine", machine, "--call", "segments", "--diff", "-"]
    log = (
        "kexec_load: entry = 0x1000 flags = 0x3e0000\nnr_segments = 1\n"
        "segment[0].buf   = 0x7f00\nsegment[0].bufsz = 0x10000\n"
        "segment[0].mem   = 0x1000000\nsegment[0].memsz = 0x2000000\n"
    )
    done = subprocess.run(words, input=log, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (1, "")
    assert "This plan (+) and stdin (-):\n  - entry: 0x1000\n" in done.stdout
    assert "  - segment kernel mem: 0x1000000\n" in done.stdout


def test_a_log_that_is_too_large_is_refused_and_not_cut(kernel: str, machine: str) -> None:
    words = [sys.executable, "-m", "pykexec.cli.main", "plan", kernel, "--machine", machine]
    log = bytes((16 << 20) + 1)
    done = subprocess.run([*words, "--diff", "-"], input=log, capture_output=True, check=False)
    assert (done.returncode, done.stdout) == (1, b"")
    assert done.stderr.startswith(b"pykexec: --diff: cannot read stdin: larger than 16777216 bytes")


def test_svg(monkeypatch: pytest.MonkeyPatch, kernel: str, machine: str, tmp_path: Path) -> None:
    file = tmp_path / "plan.svg"
    assert plan(monkeypatch, kernel, machine, "--svg", str(file))[0] == 0
    assert "purgatory" in "".join(ElementTree.parse(file).getroot().itertext())
    assert plan(monkeypatch, kernel, machine, "--call", "file", "--svg", str(file))[0] == 0
    ElementTree.parse(file)
    code, _, err = plan(monkeypatch, kernel, machine, "--svg", str(tmp_path))
    assert code == 255
    assert f"cannot write the picture to {tmp_path}: " in err


@pytest.mark.parametrize("words", [["-c"], ["-a"]])
def test_the_dry_run_of_kexec_shows_the_same(
    monkeypatch: pytest.MonkeyPatch,
    kernel: str,
    machine: str,
    capsys: pytest.CaptureFixture[str],
    words: list[str],
) -> None:
    from pykexec.loading import examination, load_request, planning

    def elsewhere(_: str, *more: Any) -> Any:
        return basis(machine, *more)

    def examined(_: str, *more: Any) -> Any:
        return examine(machine, *more)

    basis, examine = planning.read_basis, examination.examine_plan
    monkeypatch.setattr(planning, "read_basis", elsewhere)
    monkeypatch.setattr(examination, "examine_plan", examined)
    monkeypatch.setattr(load_request, "fresh_seed", bytes)
    assert kexec_compat.main([*words, "-l", kernel, "--dry-run"]) == 0
    shown = capsys.readouterr().out
    call = {"-c": "segments", "-a": "auto"}[words[0]]
    assert shown == plan(monkeypatch, kernel, machine, "--call", call)[1]
    assert "Memory, a character for each" in shown
    assert shown.splitlines()[-1].startswith("verdict: ") or "verdict: " in shown[-200:]
    assert kexec_compat.main([*words, "-l", kernel, "--dry-run=json"]) == 0
    value = checked(capsys.readouterr().out)
    validate(value)
    expected = checked(plan(monkeypatch, kernel, machine, "--call", call, "--json")[1])
    assert expected.pop("doctor")["schema"] == "pykexec.doctor/1"
    assert value == expected


def test_colours_only_where_they_can_be_shown() -> None:
    class Terminal(io.StringIO):
        def isatty(self) -> bool:
            return True

    assert style_of(Terminal(), {"TERM": "linux"}).colour
    assert style_of(Terminal(), {"TERM": "linux", "NO_COLOR": ""}).colour
    assert not style_of(Terminal(), {"TERM": "linux", "NO_COLOR": "1"}).colour
    assert not style_of(Terminal(), {"TERM": "dumb"}).colour
    assert not style_of(Terminal(), {}).colour
    assert not style_of(io.StringIO(), {"TERM": "linux"}).colour


def test_a_terminal_gets_colours(kernel: str, machine: str) -> None:
    """Through a pseudoterminal, 80 columns wide."""
    leader, follower = os.openpty()
    words = [sys.executable, "-m", "pykexec.cli.main", "plan", kernel, "--machine", machine]
    environment = {**os.environ, "TERM": "linux", "PYTHONPATH": str(Path(__file__).parents[2])}
    environment.pop("NO_COLOR", None)
    with subprocess.Popen(
        [*words, "--call", "segments"], stdout=follower, env=environment
    ) as process:
        os.close(follower)
        out = b""
        while True:
            try:
                part = os.read(leader, 4096)
            except OSError:  # the other side is closed
                break
            out += part
    os.close(leader)
    assert process.returncode == 0
    assert b"\x1b[32;7mK\x1b[0m=kernel" in out


def test_what_a_locale_cannot_show_is_escaped(kernel: str, machine: str) -> None:
    latin = io.TextIOWrapper(io.BytesIO(), encoding="latin-1")
    assert showable("\u00e4 \u20ac", latin) == "\u00e4 \\u20ac"
    words = [sys.executable, "-m", "pykexec.cli.main", "plan", kernel, "--machine", machine]
    environment = {**os.environ, "PYTHONIOENCODING": "ascii"}
    done = subprocess.run(
        [*words, "--append", "name=\u20ac"], capture_output=True, check=False, env=environment
    )
    assert (done.returncode, done.stderr) == (0, b"")
    assert b"name=\\u20ac" in done.stdout


def test_names_of_memory_cannot_paint_the_terminal(
    monkeypatch: pytest.MonkeyPatch, kernel: str, tmp_path: Path
) -> None:
    text = "00001000-0fffffff : System RAM\n10000000-1fffffff : Crash kernel \x1b[31m"
    machine = build_machine(tmp_path / "m", iomem=text + "x" * 80 + "\n")
    _, out, _ = plan(monkeypatch, kernel, str(machine))
    assert "256 MiB  Crash kernel \\x1b[31mxxxx" in out
    assert max(map(len, out.splitlines())) <= 80


def test_make_plan_is_both_steps(kernel: str, tmp_path: Path) -> None:
    from pykexec.loading.options import LoadOptions
    from pykexec.planning.plans import SegmentPlan

    root = build_machine(tmp_path / "m", ram=[Range(MIB, 256 * MIB)])
    made = make_plan(root, LoadOptions(kernel, call="segments"))
    assert isinstance(made, SegmentPlan)
