"""What firmware-assisted dump means for loads, and what the doctor says of it."""

from __future__ import annotations

import gzip
import re
from io import BytesIO
from pathlib import Path
from typing import Any

import pytest

from pykexec.cli import kexec_compat
from tests.builders import fadump
from tests.builders.fadump_machine import GIB, FadumpMachine
from tests.builders.machines import MachineDirectory
from tests.builders.ppc64le import build_kernel
from tests.cli.test_pykexec import run
from tests.vm.cpio import CpioWriter


def give_fadump(machine: MachineDirectory, *, registered: bool = True, dump: str = "") -> None:
    """Let a machine have fadump; ``dump`` is ``active`` or ``stale``."""
    tree = "sys/firmware/devicetree/base/rtas"
    machine.write(f"{tree}/ibm,configure-kernel-dump", b"\0\0\0\x2d")
    machine.write("sys/kernel/fadump/enabled", "1\n")
    machine.write("sys/kernel/fadump/registered", f"{int(registered)}\n")
    if dump:
        machine.write(f"{tree}/ibm,kernel-dump", fadump.kernel_dump())
    if dump == "active":
        machine.write("proc/vmcore", b"\x7fELF")


def load(capsys: pytest.CaptureFixture[str], *arguments: str) -> tuple[int, str]:
    code = kexec_compat.main(list(arguments))
    return code, " ".join(capsys.readouterr().err.split())


def test_no_crash_kernel_beside_it(
    here: MachineDirectory, kernel: str, capsys: pytest.CaptureFixture[str]
) -> None:
    give_fadump(here)
    code, err = load(capsys, "-p", kernel)
    assert (code, "firmware takes the dump on this machine (fadump is enabled" in err) == (
        254,
        True,
    )
    assert "boot with fadump=off" in err


def test_a_jump_ends_the_registration(
    here: MachineDirectory, kernel: str, capsys: pytest.CaptureFixture[str]
) -> None:
    give_fadump(here)
    code, err = load(capsys, "-l", kernel)
    assert (code, "fadump is registered, and a jump ends that" in err) == (0, True)
    give_fadump(here, registered=False)
    assert load(capsys, "-l", kernel) == (0, "")


@pytest.mark.parametrize("call", ["-s", "-c"])
def test_no_jump_over_a_dump(
    here: MachineDirectory, kernel: str, capsys: pytest.CaptureFixture[str], call: str
) -> None:
    give_fadump(here, registered=False, dump="active")
    code, err = load(capsys, call, "-l", kernel)
    assert (code, "a dump is active: a jump destroys what is in /proc/vmcore" in err) == (255, True)


@pytest.mark.parametrize(
    ("arguments", "changed", "code", "said"),
    [
        (("--crash",), {}, 1, "BLOCKS fadump firmware takes the dump on this machine"),
        ((), {}, 0, "NOTE fadump fadump is registered, and a jump ends that"),
        ((), {"registered": 0, "told": True}, 0, "NOTE fadump the device tree still has"),
        (
            (),
            {"enabled": 0, "cmdline": "fadump=on crashkernel=256M"},
            0,
            "RISK fadump boot memory of 256 MiB (crashkernel=256M) is less",
        ),
        ((), {"enabled": 0, "cmdline": "quiet"}, 0, "fine:"),
    ],
)
def test_doctor(
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
    arguments: tuple[str, ...],
    changed: dict[str, Any],
    code: int,
    said: str,
) -> None:
    machine = FadumpMachine(tmp_path / "machine", **{"ram": 2 * GIB, **changed}).build()
    found, out, _ = run(monkeypatch, "doctor", *arguments, "--machine", str(machine.path))
    assert (found, said in " ".join(out.split())) == (code, True), out


def test_crash_status(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    machine = FadumpMachine(tmp_path / "machine").build()
    code, out, _ = run(monkeypatch, "crash", "status", "--machine", str(machine.path))
    assert code == 1
    assert "firmware takes the dump here; 'pykexec fadump status' says" in " ".join(out.split())


def estimate(
    monkeypatch: pytest.MonkeyPatch, path: Path, size: int, **changed: Any
) -> tuple[int, str]:
    """Ask for an initramfs with so many bytes in a file."""
    out = BytesIO()
    writer = CpioWriter(out)
    writer.file("big", bytes(size))
    writer.close()
    (path / "initrd").write_bytes(gzip.compress(out.getvalue(), 1))
    (path / "vmlinux").write_bytes(build_kernel())
    machine = FadumpMachine(path / "machine", **{"ram": 4 * GIB, **changed}).build()
    files = (str(path / "vmlinux"), "--initrd", str(path / "initrd"))
    where = ("--machine", str(machine.path))
    code, text, _ = run(monkeypatch, "crash", "estimate", *files, *where)
    return code, " ".join(text.split())


def test_estimate_by_the_boot_memory(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    code, out = estimate(monkeypatch, tmp_path, 1000)
    assert (code, "reserved: 320 MiB" in out, "verdict: fits" in out) == (0, True, True), out
    assert "firmware takes the dump (fadump), and the kernel has boot memory: a 20th of RAM" in out


def test_estimate_and_size_agree(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    code, out = estimate(monkeypatch, tmp_path, 240 << 20)
    match = re.search(r"fadump=nocma crashkernel=(\d+)M would do", out)
    assert (code, match is not None) == (1, True), out
    assert match is not None
    machine = ("--machine", str(tmp_path / "machine"))
    found, said, _ = run(monkeypatch, "fadump", "size", "--need", f"{match[1]}M", *machine)
    line = f"command line: fadump=nocma crashkernel={match[1]}M"
    assert (found, line in " ".join(said.split())) == (0, True)


def test_estimate_beyond_a_quarter_of_ram(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    code, out = estimate(monkeypatch, tmp_path, 240 << 20, ram=1300 << 20)
    assert (code, "no reservation would do: a quarter of RAM, which is the most" in out) == (
        1,
        True,
    ), out
