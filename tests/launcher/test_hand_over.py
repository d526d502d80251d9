"""What the launcher leaves to Python, and what it says where there is none."""

from __future__ import annotations

import os
import platform
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path

import pytest

from pykexec import launchers
from pykexec.errors import EXIT_NO_PYTHON
from tests.launcher.installed import Installed
from tests.needs import unavailable

EMULATORS = {
    "aarch64": "qemu-aarch64",
    "arm": "qemu-arm",
    "i386": "qemu-i386",
    "loongarch64": "qemu-loongarch64",
    "ppc64le": "qemu-ppc64le",
    "riscv64": "qemu-riscv64",
    "s390x": "qemu-s390x",
    "x86_64": "qemu-x86_64",
}

TELLS = f"""#!{sys.executable} -IB
import os, signal, sys
print(sys.argv[1:], sorted(map(int, signal.pthread_sigmask(0, []))))
print({{name: value for name, value in os.environb.items() if name[:3] in (b"OUR", b"PYK")}})
print(os.getpid(), *map(int, (signal.getsignal(1) == signal.SIG_IGN, os.isatty(0))))
sys.exit(23)
"""

STARTS = f"""#!{sys.executable} -IB
import os, signal, sys
from time import sleep
sys.path.insert(0, {str(Path(__file__).resolve().parents[2])!r})
os.write(1, b"begins\\n")
sleep(SECONDS)
from pykexec.cli import front_door
if not PASSED:
    front_door.kexec()
real = front_door._run
def run(program, module):
    os.write(1, b"passed\\n")
    os.execv("/bin/sh", ["sh", "-c", "echo ${{PYKEXEC_SIGINT_BLOCKED-gone}}; exec sleep 20"])
front_door._run = run
front_door.kexec()
"""
"""Is interrupted before the front door, or behind it; a child that it executes says its mark."""


@pytest.fixture(params=EMULATORS)
def command(request: pytest.FixtureRequest, tmp_path: Path) -> tuple[Installed, list[str]]:
    """Return a launcher of each architecture, and how this machine runs it."""
    arch = request.param
    installed = Installed(tmp_path / "prefix", launchers.load(arch))
    if platform.machine() == arch:
        return installed, [str(installed.program)]
    emulator = shutil.which(EMULATORS[arch])
    if emulator is None:
        unavailable(f"there is no {EMULATORS[arch]} on this host (package qemu-user)", "TOOLS")
    return installed, [emulator, str(installed.program)]


def masked(mask: Sequence[int]) -> None:
    """Block ``mask`` and nothing else, and have SIGINT end it, in a child."""
    signal.signal(signal.SIGINT, signal.SIG_DFL)
    signal.pthread_sigmask(signal.SIG_SETMASK, mask)


def run(
    command: Sequence[str], *words: str, mask: Sequence[int] = (), **more: str
) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [*command, *words],
        env={"PATH": "/usr/bin:/bin", **more},
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        check=False,
        preexec_fn=lambda: masked(mask),
    )


def test_everything_is_passed_on(command: tuple[Installed, list[str]]) -> None:
    installed, words = command
    installed.write_script(TELLS)
    mask = [int(signal.SIGINT), int(signal.SIGUSR1)]
    odd = ["-l", "", "a b", "--append=\udcff'\"$x\n", "-e"]
    result = run(words, *odd, OUR_WORD="1 2", PYKEXEC_SIGINT_BLOCKED="7")
    shown, variables, rest = result.stdout.splitlines()
    pid = rest.split()[0]
    assert shown == f"{odd} [{int(signal.SIGINT)}]"
    assert variables in (
        f"{{b'PYKEXEC_SIGINT_BLOCKED': b'{pid}', b'OUR_WORD': b'1 2'}}",
        f"{{b'OUR_WORD': b'1 2', b'PYKEXEC_SIGINT_BLOCKED': b'{pid}'}}",
    )
    assert (result.returncode, result.stderr) == (23, "")
    blocked = run(words, "-l", mask=mask, OUR_WORD="")
    assert blocked.stdout.splitlines()[:2] == [f"['-l'] {mask}", "{b'OUR_WORD': b''}"]


@pytest.mark.parametrize(
    "words",
    ["", "-l x", "-e x", "-ex=1", "-", "--", "-e --", "-el", "--exe", "-x", "-f -e", "-e -u", "-S"],
)
def test_all_but_a_jump_is_handed_over(installed: Installed, words: str) -> None:
    installed.write_script(TELLS)
    result = run([str(installed.program)], *words.split())
    assert result.returncode == 23, result.stderr
    assert result.stdout.startswith(f"{words.split()} ")


def test_it_says_that_there_is_no_python(command: tuple[Installed, list[str]]) -> None:
    installed, words = command
    script = str(installed.script)
    installed.write_script("#!/nonexistent/python3 -IB\n")
    no_python = run(words, "-l", "kernel")
    assert no_python.stderr == (
        f"kexec: the Python that {script} names is missing: only 'kexec -e' works\n"
    )
    installed.script.chmod(0o644)
    not_executable = run(words, "-S")
    assert not_executable.stderr == f"kexec: cannot run {script}: Permission denied\n"
    for result in (no_python, not_executable):
        assert (result.returncode, result.stdout) == (EXIT_NO_PYTHON, "")


@pytest.mark.parametrize("place", ["sbin", "bin", "tmp"])
def test_where_it_looks_for_its_script(installed: Installed, tmp_path: Path, place: str) -> None:
    """Next to it, through any link; a copy in another directory takes that of packages."""
    installed.write_script(TELLS)
    program = installed.prefix / place / "kexec"
    program.parent.mkdir(exist_ok=True)
    if not program.exists():
        shutil.copy(installed.program, program)
    link = tmp_path / "kexec"
    link.symlink_to(program)
    packaged = Path("/usr") / launchers.SCRIPT
    if place != "tmp":
        assert run([str(link)]).returncode == 23
    elif not packaged.exists():
        result = run([str(link)])
        assert result.returncode == EXIT_NO_PYTHON
        assert result.stderr == (
            f"kexec: {packaged} is missing: without Python only 'kexec -e' works\n"
        )


def start(
    installed: Installed, *, passed: bool, mask: Sequence[int] = ()
) -> subprocess.Popen[bytes]:
    seconds = "0" if passed else "0.3"
    installed.write_script(STARTS.replace("SECONDS", seconds).replace("PASSED", str(passed)))
    return subprocess.Popen(
        [installed.program, "--version"],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        preexec_fn=lambda: masked(mask),  # noqa: PLW1509
    )


@pytest.mark.parametrize("passed", [False, True])
def test_an_interrupt_ends_it(installed: Installed, passed: bool) -> None:
    process = start(installed, passed=passed)
    assert process.stdout
    assert process.stdout.readline() == b"begins\n"
    if passed:
        assert process.stdout.readline() == b"passed\n"
        assert process.stdout.readline() == b"gone\n"
    process.send_signal(signal.SIGINT)
    assert process.communicate() == (b"", b"")
    assert process.returncode == -signal.SIGINT


def test_a_caller_that_has_blocked_it_is_not_interrupted(installed: Installed) -> None:
    process = start(installed, passed=False, mask=[signal.SIGINT])
    assert process.stdout
    assert process.stdout.readline() == b"begins\n"
    process.send_signal(signal.SIGINT)
    out, err = process.communicate()
    assert (process.returncode, err) == (0, b"")
    assert out.startswith(b"kexec (pykexec) ")


@pytest.mark.parametrize("count", [12, pytest.param(300, marks=pytest.mark.full)])
def test_an_interrupt_at_any_moment(installed: Installed, count: int) -> None:
    """From the first instruction to the last: no word of Python's, and the shell sees a signal."""
    installed.write_script()
    began = time.monotonic()
    run([str(installed.program)], "--version")
    lasted = time.monotonic() - began
    ends = set()
    for number in range(count):
        process = subprocess.Popen(
            [installed.program, "--help"],
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            preexec_fn=lambda: masked(()),  # noqa: PLW1509
        )
        time.sleep(lasted * number / count)
        process.send_signal(signal.SIGINT)
        _, err = process.communicate()
        assert err == b""
        ends.add(process.returncode)
    assert ends <= {0, -signal.SIGINT}
    assert -signal.SIGINT in ends


def test_the_mark_of_another_process_means_nothing() -> None:
    """A program that pip has installed is not let out of its caller's mask by it."""
    script = "from pykexec.cli.front_door import kexec; kexec()"
    result = subprocess.run(
        [sys.executable, "-c", script, "-S"],
        env={**os.environ, "PYKEXEC_SIGINT_BLOCKED": str(os.getpid())},
        capture_output=True,
        check=False,
    )
    assert result.returncode in (0, 1, 255)
