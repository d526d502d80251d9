"""A NUL in the command line, from wherever it comes, is refused for both calls."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.builders.bzimage import KernelSpec, build_bzimage
from tests.builders.images import build_uki
from tests.builders.machines import build_machine
from tests.cli.test_pykexec import run

KERNEL = build_bzimage(KernelSpec(payload_size=64 * 1024))
MACHINE_X86_64 = 0x8664
LOST = b"root=/dev/sda ro\0single lockdown=confidentiality"


@pytest.fixture
def machine(tmp_path: Path) -> str:
    return str(build_machine(tmp_path / "machine", firmware_map=True))


@pytest.fixture
def uki(tmp_path: Path) -> str:
    path = tmp_path / "uki.efi"
    path.write_bytes(build_uki(KERNEL, (".cmdline", LOST + b"\0\n"), machine=MACHINE_X86_64))
    return str(path)


@pytest.mark.parametrize(
    ("verb", "call"),
    [("plan", "auto"), ("plan", "file"), ("plan", "segments"), ("simulate", "segments")],
)
def test_a_uki_brings_one(
    monkeypatch: pytest.MonkeyPatch, uki: str, machine: str, verb: str, call: str
) -> None:
    code, out, err = run(monkeypatch, verb, uki, "--machine", machine, "--call", call)
    assert (code, out) == (255, "")
    assert err == (
        "pykexec: the command line of the UKI has a NUL byte at position 16: the kernel would "
        "stop reading there, and lose the last 31 of 48 bytes\n"
        "hint: give the whole command line with --append, without the NUL\n"
    )


def test_another_line_is_given_instead(
    monkeypatch: pytest.MonkeyPatch, uki: str, machine: str
) -> None:
    code, out, _ = run(monkeypatch, "plan", uki, "--machine", machine, "--append", "ro")
    assert code == 0
    assert "Command line, 2 bytes:\n  ro\n" in out


def test_nuls_at_the_ends_are_no_part_of_it(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, machine: str
) -> None:
    path = tmp_path / "uki.efi"
    path.write_bytes(build_uki(KERNEL, (".cmdline", b"ro quiet\0\0"), machine=MACHINE_X86_64))
    code, out, _ = run(monkeypatch, "plan", str(path), "--machine", machine)
    assert code == 0
    assert "Command line, 8 bytes:\n  ro quiet\n" in out


ENTRIES = {
    "loader/entries/one.conf": b"title One\nlinux /vmlinuz\noptions ro\0single\n",
    "extlinux/extlinux.conf": b"label one\n kernel /vmlinuz\n append ro\0single\n",
}


@pytest.mark.parametrize("call", ["auto", "file", "segments"])
@pytest.mark.parametrize("name", ENTRIES)
def test_a_boot_entry_brings_one(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, machine: str, name: str, call: str
) -> None:
    root = tmp_path / "system"
    (root / "boot" / name).parent.mkdir(parents=True)
    (root / "boot/vmlinuz").write_bytes(KERNEL)
    (root / "boot" / name).write_bytes(ENTRIES[name])
    words = ["plan", "--entry", "one", "--root", str(root), "--machine", machine]
    code, out, err = run(monkeypatch, *words, "--call", call)
    assert (code, out) == (255, "")
    assert "the command line has a NUL byte at position 2" in err


def test_the_running_command_line_has_one(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    kernel = tmp_path / "vmlinuz"
    kernel.write_bytes(KERNEL)
    machine = build_machine(tmp_path / "m", cmdline=b"ro\0single")
    words = ["plan", str(kernel), "--machine", str(machine), "--reuse-cmdline"]
    code, out, err = run(monkeypatch, *words)
    assert (code, out) == (255, "")
    assert "the command line has a NUL byte at position 2" in err
