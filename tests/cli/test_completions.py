"""contrib/completions: what bash, zsh and fish themselves offer, asked as a user asks them.

bash has to be there. zsh and fish are those of this host, or Debian's packages, unpacked.
"""

from __future__ import annotations

import contextlib
import os
import pty
import select
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.needs import unavailable
from tests.vm.debian import FetchError, Suite
from tools import generate_completions
from tools.front_doors import doors

COMPLETIONS = generate_completions.COMPLETIONS
SUITE = "bookworm"
DOORS = doors()
TIMEOUT = 60
"""Seconds."""

ZSHRC = """
module_path=({modules} $module_path)
fpath=({completions} {functions} $fpath)
PROMPT=
LISTMAX=10000
autoload -Uz compinit
compinit -u -D
bindkey '^I' complete-word
finish() {{ exit }}
comppostfuncs=(finish)
compadd() {{
    # Calls that only fill arrays offer nothing.
    if [[ ${{@[1,(i)(-|--)]}} == *-(O|A|D)\\ * ]]; then
        builtin compadd "$@"
        return
    fi
    local -a hits
    builtin compadd -A hits "$@"
    print -rl -- $hits >>{out}
    builtin compadd "$@"
}}
"""

Shell = Callable[[str], set[str]]
"""Takes a line, and gives what is offered at its end."""


def package(name: str) -> Path:
    """Return Debian's package of a shell, unpacked, or skip."""
    try:
        return Suite(SUITE).package(name).root
    except FetchError as error:
        unavailable(str(error), "TOOLS")


def bash(line: str) -> set[str]:
    """Ask bash."""
    words = line.split(" ")
    script = (
        'source "$1"; program=$2; shift; COMP_WORDS=("$@"); COMP_CWORD=$(($# - 1)); '
        'COMPREPLY=(); "_${program//-/_}"; printf "%s\\n" "${COMPREPLY[@]}"'
    )
    file = COMPLETIONS / "bash" / words[0]
    # As readline breaks a word at =.
    broken = [part for word in words for part in word.replace("=", " = ").split(" ")]
    command = ["bash", "--norc", "-c", script, "bash", str(file), *broken]
    done = subprocess.run(command, capture_output=True, text=True, check=True, timeout=TIMEOUT)
    assert done.stderr == ""
    return set(done.stdout.split())


@pytest.fixture
def fish() -> Shell:
    """Return what asks fish."""
    program, environment = shutil.which("fish"), dict(os.environ)
    if program is None:
        program = str(package("fish") / "usr/bin/fish")
        libraries = package("libpcre2-32-0") / "usr/lib/x86_64-linux-gnu"
        environment["LD_LIBRARY_PATH"] = str(libraries)

    def ask(line: str) -> set[str]:
        file = COMPLETIONS / "fish" / f"{line.split(maxsplit=1)[0]}.fish"
        script = f"source {file}; complete -C '{line}'"
        command = [program, "--no-config", "-c", script]
        done = subprocess.run(
            command, env=environment, capture_output=True, text=True, check=True, timeout=TIMEOUT
        )
        assert done.stderr == ""
        return {offer.split("\t")[0].rstrip("=") for offer in done.stdout.splitlines()}

    return ask


@pytest.fixture
def zsh(tmp_path: Path) -> Shell:
    """Return what asks zsh: at a terminal, since it completes nowhere else."""
    program = shutil.which("zsh")
    modules = functions = ""
    if program is None:
        root = package("zsh")
        program = str(root / "bin/zsh")
        modules = str(next(root.glob("usr/lib/*/zsh/*")))
        functions = f"{package('zsh-common')}/usr/share/zsh/functions/**/*(/)"
    out = tmp_path / "offered"
    rc = ZSHRC.format(
        modules=modules, functions=functions, completions=COMPLETIONS / "zsh", out=out
    )
    (tmp_path / ".zshrc").write_text(rc)

    def ask(line: str) -> set[str]:
        out.write_text("")
        terminal, end = pty.openpty()
        environment = {**os.environ, "ZDOTDIR": str(tmp_path), "TERM": "dumb"}
        command = [program, "-d", "-i"]
        with subprocess.Popen(
            command, stdin=end, stdout=end, stderr=end, env=environment
        ) as process:
            os.close(end)
            os.write(terminal, line.encode() + b"\t")
            shown = b""
            # It waits for somebody who reads what it shows; reading fails when it has ended.
            with contextlib.suppress(OSError):
                while select.select([terminal], [], [], TIMEOUT)[0]:
                    shown += os.read(terminal, 4096)
            os.close(terminal)  # which ends what still runs
            process.wait(TIMEOUT)
        assert process.returncode == 0, shown.decode(errors="replace")
        return {offer.rstrip("=") for offer in out.read_text().split()}

    return ask


@pytest.fixture(params=["bash", "zsh", "fish"])
def shell(request: pytest.FixtureRequest) -> Shell:
    """Return what asks one of the shells."""
    asks: Shell = bash if request.param == "bash" else request.getfixturevalue(request.param)
    return asks


def test_files_are_of_the_options_that_there_are() -> None:
    for path, text in generate_completions.completions().items():
        assert path.read_text() == text, f"{path}: run python -m tools.generate_completions"
    there = {path for path in COMPLETIONS.rglob("*") if path.is_file()}
    assert there == set(generate_completions.completions())


def test_every_option_of_every_verb(shell: Shell) -> None:
    for door in DOORS:
        wanted = {name for name in door.names if name.startswith("--")}
        assert shell(f"{' '.join(door.words)} --") == wanted


@pytest.mark.parametrize(
    ("line", "offered"),
    [
        ("pykexec cr", {"crash"}),
        ("pykexec crash ", {"load", "dmesg", "match", "status", "estimate", "test", "setup"}),
        ("pykexec crash e", {"estimate"}),
        ("kexec --backup ", {"auto", "always", "never"}),
        ("kexec -t uk", {"uki"}),
        ("kexec -l --seria", {"--serial", "--serial-baud"}),
        ("pykexec plan --machine /tmp --ca", {"--call"}),
    ],
)
def test_verbs_and_arguments(shell: Shell, line: str, offered: set[str]) -> None:
    assert shell(line) == offered


def test_argument_behind_an_equals_sign() -> None:
    assert bash("kexec --dry-run=") == {"text", "json"}
    assert bash("kexec --ima=a") == {"auto", "always"}


def test_files_are_left_to_the_shell() -> None:
    for line in ("kexec -l /bo", "kexec --initrd /bo", "kexec --initrd=/bo", "pykexec plan /bo"):
        assert bash(line) == set()
