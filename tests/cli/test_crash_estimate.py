"""``pykexec crash estimate``: what it prints, its verdict, what it refuses."""

from __future__ import annotations

import json
from io import BytesIO
from pathlib import Path

import pytest

from pykexec.facts import KernelState
from pykexec.formats.compression import Codec
from pykexec.memory import IomemEntry
from pykexec.ranges import Range
from pykexec.units import MIB
from tests.builders.bzimage import KernelSpec, build_bzimage
from tests.builders.compressed import compress
from tests.builders.machines import build_machine
from tests.cli.test_pykexec import run
from tests.vm.cpio import CpioWriter


@pytest.fixture
def kernel(tmp_path: Path) -> str:
    path = tmp_path / "vmlinuz"
    path.write_bytes(build_bzimage(KernelSpec(payload_size=64 * 1024)))
    return str(path)


@pytest.fixture
def initrd(tmp_path: Path) -> str:
    out = BytesIO()
    writer = CpioWriter(out)
    writer.file("init", bytes(20 * MIB))
    writer.close()
    path = tmp_path / "initrd"
    path.write_bytes(compress(Codec.GZIP, out.getvalue()))
    return str(path)


def machine(path: Path, size: int) -> str:
    """Build a machine with a reservation of ``size`` bytes, or without one."""
    children = [IomemEntry(Range.sized(512 * MIB, size), "Crash kernel")] if size else []
    state = KernelState("6.12", crash_elfcorehdr_size=900 * 1024)
    return str(build_machine(path, children=children, cpus=4, kernel=state))


def test_it_fits(monkeypatch: pytest.MonkeyPatch, kernel: str, initrd: str, tmp_path: Path) -> None:
    words = [kernel, "--initrd", initrd, "--machine", machine(tmp_path / "m", 512 * MIB)]
    code, out, err = run(monkeypatch, "crash", "estimate", *words)
    assert (code, err) == (0, "")
    assert max(map(len, out.splitlines())) <= 80
    lines = [" ".join(line.split()) for line in out.splitlines()]
    assert "kernel 32 MiB measured init_size of the kernel" in lines
    assert "core header 900 KiB measured RAM and processors of this machine" in lines
    assert any(line.startswith("initramfs, unpacked 20.0 MiB measured 2 entries") for line in lines)
    assert any(line.startswith("processors 5 MiB rule all 4; nr_cpus=1") for line in lines)
    assert "verdict: fits" in lines


def test_it_does_not_fit(
    monkeypatch: pytest.MonkeyPatch, kernel: str, initrd: str, tmp_path: Path
) -> None:
    words = [kernel, "--initrd", initrd, "--machine", machine(tmp_path / "m", 128 * MIB)]
    code, out, _ = run(monkeypatch, "crash", "estimate", *words)
    assert code == 1
    assert "verdict:          does not fit: dumping" in out
    assert "hint:             crashkernel=176M would do" in out
    code, out, _ = run(monkeypatch, "crash", "estimate", *words, "--json")
    value = json.loads(out)
    assert (code, value["schema"], value["fits"]) == (1, "pykexec.crash-estimate/1", False)
    assert value["proposal"] == "crashkernel=176M"
    assert {check["name"]: check["holds"] for check in value["checks"]} == {
        "unpacking": True,
        "dumping": False,
        "root file system": True,
        "segments": True,
    }


def test_nothing_is_reserved(monkeypatch: pytest.MonkeyPatch, kernel: str, tmp_path: Path) -> None:
    words = [kernel, "--machine", machine(tmp_path / "m", 0)]
    code, out, _ = run(monkeypatch, "crash", "estimate", *words)
    assert code == 1
    assert "verdict:          does not fit: no memory is reserved for a crash kernel" in out
    assert "What is there" not in out


def test_the_command_line_counts(
    monkeypatch: pytest.MonkeyPatch, kernel: str, tmp_path: Path
) -> None:
    words = [kernel, "--machine", machine(tmp_path / "m", 512 * MIB), "--json"]
    for more, source in (
        (["--append", "nr_cpus=2"], "2, by nr_cpus=2"),
        (["--reuse-cmdline"], "all 4; nr_cpus=1 would spare the others"),
    ):
        value = json.loads(run(monkeypatch, "crash", "estimate", *words, *more)[1])
        assert source in {term["source"] for term in value["terms"]}
    assert value["notes"] == ["root file system: no limit, with root= it is a ramfs"]


def test_an_initrd_that_is_none_is_named(
    monkeypatch: pytest.MonkeyPatch, kernel: str, tmp_path: Path
) -> None:
    words = [kernel, "--initrd", kernel, "--machine", machine(tmp_path / "m", 512 * MIB)]
    code, out, err = run(monkeypatch, "crash", "estimate", *words)
    assert (code, out) == (255, "")
    assert err.startswith(f"pykexec: {kernel!r}: the initrd is no initramfs: at offset 0x")


def test_a_kernel_that_does_not_say_what_it_needs(
    monkeypatch: pytest.MonkeyPatch, kernel: str, tmp_path: Path
) -> None:
    Path(kernel).write_bytes(build_bzimage(KernelSpec(payload_size=MIB, version=0x209)))
    words = [kernel, "--machine", machine(tmp_path / "m", 512 * MIB), "--json"]
    term = json.loads(run(monkeypatch, "crash", "estimate", *words)[1])["terms"][0]
    assert term["size"] >= 4 * MIB
    assert term["source"] == "four times the file: it says nothing"
