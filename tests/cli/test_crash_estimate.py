"""``pykexec crash estimate``: what it prints, its verdict, what it refuses."""

from __future__ import annotations

from io import BytesIO
from pathlib import Path

import pytest

from pykexec.formats.compression import Codec
from pykexec.values.kernel_state import KernelState
from pykexec.values.memory import IomemEntry
from pykexec.values.ranges import Range
from pykexec.values.units import MIB
from tests.builders.bzimage import KernelSpec, build_bzimage
from tests.builders.compressed import compress
from tests.builders.images import build_uki
from tests.builders.machines import build_machine
from tests.builders.pe_files import MACHINE_X86_64
from tests.cli.test_machine import MACHINES
from tests.cli.test_pykexec import run
from tests.json_schemas import checked
from tests.vm.cpio import CpioWriter

BOTH_REGIONS = "x86_64-6.12-bios-8G-crash-high"
"""512 MiB high, 128 MiB low."""


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
    value = checked(out)
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
        value = checked(run(monkeypatch, "crash", "estimate", *words, *more)[1])
        assert source in {term["source"] for term in value["terms"]}
    assert value["notes"] == ["root file system: no limit, with root= it is a ramfs"]


@pytest.mark.parametrize(
    ("words", "name", "line"),
    [
        (
            "hugepagesz=2M hugepages=400",
            "huge pages",
            "800 MiB measured 400 of 2 MiB, by hugepages=",
        ),
        ("hugepages=0:200,1:200", "huge pages", "800 MiB measured 400 of 2 MiB, by hugepages="),
        ("log_buf_len=256M", "kernel log", "1.1 GiB measured 256 MiB by log_buf_len=, 896 MiB of"),
        ("default_hugepagesz=1G hugepages=1", "huge pages", "1 GiB measured 1 of 1 GiB, by huge"),
        ("cma=600M", "CMA", "600 MiB measured lent to movable pages only, by cma="),
    ],
)
def test_what_the_command_line_takes(
    monkeypatch: pytest.MonkeyPatch, kernel: str, initrd: str, words: str, name: str, line: str
) -> None:
    """On a machine with 640 MiB for its crash kernel nothing of that fits."""
    args = [kernel, "--initrd", initrd, "--machine", str(MACHINES / BOTH_REGIONS), "--append"]
    assert run(monkeypatch, "crash", "estimate", *args, "nr_cpus=1")[0] == 0
    code, out, _ = run(monkeypatch, "crash", "estimate", *args, f"nr_cpus=1 {words}")
    assert code == 1
    assert max(map(len, out.splitlines())) <= 80
    said = " ".join(out.split())
    assert "verdict: does not fit: unpacking, dumping" in said
    assert f"hint: or spare it what its command line asks for: {name}" in said
    assert f"{name} {line}" in said


def test_a_reused_command_line_is_reckoned_without_what_a_load_leaves_out(
    monkeypatch: pytest.MonkeyPatch, kernel: str, tmp_path: Path
) -> None:
    place = Path(machine(tmp_path / "m", 256 * MIB))
    (place / "proc/cmdline").write_text("root=/dev/vda1 hugepagesz=1G hugepages=64\n")
    words = [kernel, "--machine", str(place), "--reuse-cmdline", "--append", "nr_cpus=1"]
    code, out, _ = run(monkeypatch, "crash", "estimate", *words)
    assert code == 0
    assert "has no memory for it: hugepagesz=1G hugepages=64" in " ".join(out.split())
    code, out, _ = run(monkeypatch, "crash", "estimate", *words[:-1], "nr_cpus=1 hugepages=400")
    assert code == 1
    assert "400 of 2 MiB" in out


def test_the_command_line_of_a_uki_is_reckoned_where_no_other_is_given(
    monkeypatch: pytest.MonkeyPatch, kernel: str
) -> None:
    own = (".cmdline", b"nr_cpus=1 hugepages=400")
    uki = build_uki(Path(kernel).read_bytes(), own, machine=MACHINE_X86_64)
    Path(kernel).write_bytes(uki)
    words = [kernel, "--machine", str(MACHINES / BOTH_REGIONS)]
    code, out, _ = run(monkeypatch, "crash", "estimate", *words)
    assert code == 1
    assert "400 of 2 MiB, by hugepages=" in out
    assert run(monkeypatch, "crash", "estimate", *words, "--append", "nr_cpus=1")[0] == 0


def test_no_reservation_would_do(
    monkeypatch: pytest.MonkeyPatch, kernel: str, tmp_path: Path
) -> None:
    """The machine is smaller than what the capture kernel is told to take."""
    ram = [Range(0x1000, 0x9FC00), Range(MIB, 512 * MIB)]
    place = build_machine(tmp_path / "m", ram=ram, cmdline=b"crashkernel=2G-:256M")
    words = [kernel, "--machine", str(place), "--append", "nr_cpus=1 hugepages=400"]
    code, out, _ = run(monkeypatch, "crash", "estimate", *words)
    assert code == 1
    said = " ".join(out.split())
    assert "is reserved for a crash kernel: none of crashkernel='s ranges covers this" in said
    assert "hint: no reservation would do: crashkernel=" in said
    assert "MiB, more than the RAM of this machine, 511.6 MiB" in said
    assert "hint: spare it what its command line asks for: huge pages" in said
    value = checked(run(monkeypatch, "crash", "estimate", *words, "--json")[1])
    assert "more than the RAM" in value["proposal_impossible"]
    assert "none of crashkernel='s ranges" in value["unreserved"]


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
    term = checked(run(monkeypatch, "crash", "estimate", *words)[1])["terms"][0]
    assert term["size"] >= 4 * MIB
    assert term["source"] == "four times the file: it says nothing"
