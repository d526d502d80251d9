"""The ends and edges of the programs: streams that are full, closed, of another encoding."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from pykexec.cli import front_door, verb_options
from pykexec.cli.kexec_options import OPTIONS
from pykexec.errors import OutputError
from tests.builders.bzimage import KernelSpec, build_bzimage
from tests.builders.machines import build_machine

MODULES = {"kexec": "kexec_compat", "pykexec": "main", "vmcore-dmesg": "vmcore_dmesg"}
PRINTING = [
    *("kexec --help", "kexec -v", "pykexec -v", "pykexec --help", "pykexec plan --help"),
    *("vmcore-dmesg --help", "pykexec machine show MACHINE"),
    "pykexec plan KERNEL --machine MACHINE",
    "pykexec plan KERNEL --machine MACHINE --json",
]


@pytest.fixture
def words(tmp_path: Path) -> dict[str, str]:
    """Return a kernel and a machine, by their names in the command lines here."""
    kernel = tmp_path / "vmlinuz"
    kernel.write_bytes(build_bzimage(KernelSpec(payload_size=64 * 1024)))
    machine = build_machine(tmp_path / "machine", firmware_map=True)
    return {"KERNEL": str(kernel), "MACHINE": str(machine)}


def call(text: str, words: dict[str, str] | None = None) -> list[str]:
    """Return the command for ``python -m``, in which a test need not know what is installed."""
    program, *rest = text.split()
    given = [(words or {}).get(word, word) for word in rest]
    return [sys.executable, "-m", f"pykexec.cli.{MODULES[program]}", *given]


def run(command: list[str], redirection: str, **environment: str) -> tuple[int, str, str]:
    """Run a command under a shell that redirects its streams; returns code, stdout, stderr."""
    done = subprocess.run(
        ["sh", "-c", f'"$@" {redirection}', "sh", *command],
        capture_output=True,
        check=False,
        env={**os.environ, **environment},
    )
    return done.returncode, done.stdout.decode(), done.stderr.decode()


@pytest.mark.parametrize("text", PRINTING)
@pytest.mark.parametrize(
    ("redirection", "why"),
    [(">/dev/full", "No space left on device"), (">&-", "Bad file descriptor")],
)
def test_stdout_that_takes_nothing(
    text: str, redirection: str, why: str, words: dict[str, str]
) -> None:
    code, _, err = run(call(text, words), redirection)
    program = text.split(maxsplit=1)[0]
    assert (code, err) == (255, f"{program}: cannot write the output: {why}\n")


@pytest.mark.parametrize("redirection", ["2>/dev/full", "2>&-", "<&- >&- 2>&-"])
@pytest.mark.parametrize(
    ("text", "code"), [("kexec --bogus", 1), ("pykexec plan", 1), ("vmcore-dmesg /", 65)]
)
def test_stderr_that_takes_nothing(text: str, code: int, redirection: str) -> None:
    assert run(call(text), redirection) == (code, "", "")


def test_a_pipe_that_nobody_reads_ends_quietly(words: dict[str, str]) -> None:
    for text in PRINTING:
        reader, writer = os.pipe()
        os.close(reader)
        command = call(text, words)
        done = subprocess.run(command, stdout=writer, stderr=subprocess.PIPE, check=False)
        os.close(writer)
        assert (done.returncode, done.stderr) == (-signal.SIGPIPE, b""), text


def test_a_closed_descriptor_is_not_that_of_a_file(words: dict[str, str], tmp_path: Path) -> None:
    """Else what is said on stderr would go into the first file that is opened."""
    svg = tmp_path / "memory.svg"
    command = call(f"pykexec plan KERNEL --machine MACHINE --svg {svg}", words)
    assert run(command, ">/dev/null 2>&-")[0] == 0
    assert svg.read_text().startswith("<svg")
    code, _, err = run([*command, "--diff", "-"], "<&-")
    assert (code, err.splitlines()[0]) == (
        1,
        "pykexec: --diff: cannot read stdin: Bad file descriptor",
    )


@pytest.mark.parametrize("encoding", ["utf-8:strict", "ascii:strict", "ascii"])
def test_names_that_the_locale_cannot_show(encoding: str, words: dict[str, str]) -> None:
    strange = os.fsdecode(os.fsencode(words["KERNEL"]) + b"\xff\xc3\xa9")
    Path(words["KERNEL"]).rename(strange)
    words["KERNEL"] = strange
    for text in ("pykexec plan KERNEL --machine MACHINE", "pykexec inspect KERNEL"):
        code, out, err = run(call(text, words), "", PYTHONIOENCODING=encoding)
        assert (code, err) == (0, ""), text
        assert out
    code, _, err = run(call("pykexec inspect KERNEL/", words), "", PYTHONIOENCODING=encoding)
    assert (code, err.count("\n")) == (255, 1)


@pytest.mark.parametrize("columns", ["40", "1", "0", "-3", "junk"])
def test_a_narrow_terminal(columns: str, words: dict[str, str]) -> None:
    for text in PRINTING:
        code, out, err = run(call(text, words), "", COLUMNS=columns)
        assert (code, err) == (0, ""), text
        assert out


@pytest.mark.parametrize(
    ("text", "nearest"),
    [
        ("kexec --initd=x", "--initrd"),
        ("kexec --mem_max 5 -l K", "--mem-max"),
        ("kexec -initrd=x K", "--initrd"),
        ("kexec --reuse-cmdlin=", "--reuse-cmdline"),
        ("vmcore-dmesg --lvel x", "--level"),
        ("pykexec plan --initd x K", "--initrd"),
    ],
)
def test_a_mistyped_option_names_the_nearest(text: str, nearest: str) -> None:
    code, out, err = run(call(text), "")
    assert (code, out) == (1, "")
    assert nearest in err
    assert len(err.splitlines()) <= 2
    assert max(map(len, err.splitlines())) <= 80


def test_every_option_is_found_with_a_letter_too_much() -> None:
    names = [long for option in OPTIONS for long in option.long if len(long) > 3]
    for name in names:
        hint = front_door_hint(f"--{name}q")
        assert f"--{name}" in hint


def front_door_hint(word: str) -> str:
    from pykexec.cli.getopt_long import scan
    from pykexec.errors import UsageError

    with pytest.raises(UsageError) as caught:
        list(scan([word], OPTIONS))
    return caught.value.hint or ""


def test_a_load_that_cannot_be_told_has_succeeded(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def refuse(text: str, **more: object) -> None:
        raise OutputError(28)

    monkeypatch.setattr(verb_options, "warn", print)
    monkeypatch.setattr(verb_options, "say_line", refuse)
    verb_options.say_after_load("loaded K")
    said = capsys.readouterr().out
    assert said == "the kernel is loaded; cannot write the output: No space left on device\n"


def test_a_bug_is_two_lines(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def fail() -> int:
        raise ValueError("a\nb")

    monkeypatch.setattr("pykexec.cli.kexec_compat.main", fail)
    monkeypatch.setattr("pykexec.cli.streams.open_standard_streams", lambda: None)
    assert front_door._run("kexec", "pykexec.cli.kexec_compat") == 255
    first, second = capsys.readouterr().err.splitlines()
    assert first.startswith("kexec: a bug in pykexec at ")
    assert first.endswith(": ValueError: a b")
    assert second.startswith("hint: please report it")


def test_sigint_ends_by_sigint_in_the_imports(tmp_path: Path) -> None:
    """Not by a traceback: here it comes while the module of the program is imported."""
    code = (
        "import builtins, os, signal, sys\n"
        # A test run in the background has it ignored, and then so have the programs.
        "signal.signal(signal.SIGINT, signal.SIG_DFL)\n"
        "real = builtins.__import__\n"
        "def slow(name, *more, **named):\n"
        "    if name.startswith('pykexec.machine'): os.kill(os.getpid(), 2)\n"
        "    return real(name, *more, **named)\n"
        "from pykexec.cli import front_door\n"
        "builtins.__import__ = slow\n"
        "sys.argv = ['kexec', '-S']\n"
        "front_door.kexec()\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, check=False)
    assert (done.returncode, done.stdout, done.stderr) == (-signal.SIGINT, b"", b"")


def test_sigint_that_is_ignored_stays_ignored() -> None:
    """As in a script's background job."""
    command = call("kexec -v")
    code = "import os, sys; os.kill(os.getpid(), 2); os.execv(sys.argv[1], sys.argv[1:])"
    done = subprocess.run(
        ["sh", "-c", f"trap '' INT; exec {sys.executable} -c '{code}' \"$@\"", "sh", *command],
        capture_output=True,
        check=False,
    )
    assert done.returncode == 0
    assert done.stdout.startswith(b"kexec (pykexec)")


def test_the_door_opens_before_anything_is_imported() -> None:
    """What is imported before the handler is set costs no time in which a signal may come."""
    code = "import sys; before = set(sys.modules); import pykexec.cli.front_door; "
    code += "print(*sorted(set(sys.modules) - before))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert set(done.stdout.split()) <= {
        "__future__",
        "gc",  # part of the interpreter, no file
        "pykexec",
        "pykexec.cli",
        "pykexec.cli.front_door",
    }
