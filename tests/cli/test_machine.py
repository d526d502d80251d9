"""``pykexec machine``: records that are shown, masked and planned for."""

from __future__ import annotations

from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from pykexec.cli.main import cli
from pykexec.errors import MachineError, UsageError
from pykexec.values.kernel_state import KernelState
from pykexec.values.memory import IomemEntry
from pykexec.values.ranges import Range
from tests.builders.bzimage import KernelSpec, build_bzimage
from tests.builders.machines import MachineDirectory, build_machine
from tests.json_schemas import checked

MACHINES = Path(__file__).parents[1] / "data" / "machines"
IMA = "sys/kernel/security/ima/binary_runtime_measurements"


def run(*words: str | Path) -> Result:
    return CliRunner().invoke(cli, [str(word) for word in words], catch_exceptions=False)


@pytest.mark.parametrize("path", sorted(MACHINES.iterdir()), ids=lambda path: path.name)
def test_a_guest_is_shown(path: Path) -> None:
    result = run("machine", "show", path, "--files")
    assert result.exit_code == 0
    lines = result.output.splitlines()
    assert max(map(len, lines)) <= 80
    assert lines[0].split()[1] == path.name.partition("-")[0] + ","
    assert any(line.endswith("  machine.json") for line in lines)
    assert any(line.startswith("crash memory:") for line in lines) == ("crash" in path.name)
    assert any("EFI" in line for line in lines) == ("ovmf" in path.name or "efi" in path.name)


def test_a_kernel_without_a_mapping_of_its_own() -> None:
    (power,) = MACHINES.glob("ppc64le-*-crash")
    shown = run("machine", "show", power).output
    assert "core header:      notes of 2 processors, kernel text mapped with all memory" in shown


def test_an_ipl_is_shown() -> None:
    shown = run("machine", "show", MACHINES / "s390x-6.12-2cpus-3G-crash").output
    assert "firmware:         no secure IPL\n" in shown
    assert "core header:      made by the capture kernel\n" in shown


def test_what_is_shown(tmp_path: Path) -> None:
    region = IomemEntry(Range(0x20000000, 0x30000000), "Crash kernel")
    machine = MachineDirectory(
        build_machine(
            tmp_path / "machine",
            children=[region],
            cmdline=b"quiet root=UUID=0A1B-2C3D",
            efi=True,
            framebuffer_driver="EFI VGA",
            kernel=KernelState(release="6.12.1", loaded=True, lockdown="integrity"),
        )
    )
    machine.write(IMA, b"list")
    assert run("machine", "show", machine.path).output.splitlines()[:8] == [
        "machine:          x86_64, Linux 6.12.1",
        "processors:       2",
        "pages:            4 KiB",
        "firmware:         64-bit EFI, secure boot unknown",
        "memory:           7.0 GiB of System RAM in 3 ranges",
        "memory map:       3 ranges, from /proc/iomem",
        "crash memory:     256 MiB from 0x20000000",
        "core header:      no notes of processors, kernel text unknown",
    ]
    result = run("machine", "record", tmp_path / "r.tar", "--redact", "--machine", machine.path)
    assert "IMA's measurement list is left out" in result.output
    text = run("machine", "show", tmp_path / "r.tar").output
    assert "root=UUID=xxxx-xxxx" in text
    for line in (
        "normal image:     loaded",
        "crash image:      unknown",
        "display:          EFI VGA",
        "left out:         IMA's measurement list",
        "left out:         serial numbers",
    ):
        assert line in text.splitlines()
    assert "shut:             the kernel is locked down ([integrity]" in text
    value = checked(run("machine", "show", tmp_path / "r.tar", "--json").output)
    assert value["schema"] == "pykexec.machine-show/1"
    assert value["crash_regions"] == [{"start": "0x20000000", "end": "0x30000000"}]
    assert value["left_out"] == ["IMA's measurement list", "serial numbers"]
    assert value["files"]["proc/cmdline"] == 26
    assert value["memory"][0] == {"start": "0x1000", "end": "0x9fc00", "name": "System RAM"}
    assert (value["crash_obstacle"], value["loaded"]) == (None, True)


def test_show_says_what_a_32_bit_kernel_has_mapped() -> None:
    text = run("machine", "show", MACHINES / "i386-6.1-bios-crash").output
    assert "core header:      notes of 1 processor, memory is mapped up to 0x36bfe000\n" in text


def test_a_list_that_is_taken_along(tmp_path: Path) -> None:
    machine = MachineDirectory(build_machine(tmp_path / "machine"))
    machine.write(IMA, b"list")
    result = run("machine", "record", tmp_path / "r", "--ima", "--machine", machine.path)
    assert (result.exit_code, result.output) == (0, "")
    assert "IMA's list:       4 bytes" in run("machine", "show", tmp_path / "r").output


def test_what_a_core_header_lacks(tmp_path: Path) -> None:
    machine = MachineDirectory(build_machine(tmp_path / "machine"))
    machine.write("sys/kernel/vmcoreinfo", "one")
    assert "core header:" in run("machine", "show", machine.path).output
    value = checked(run("machine", "show", machine.path, "--json").output)
    assert value["crash_obstacle"].endswith("vmcoreinfo: address and size are needed: 'one'")


def test_nothing_to_show(tmp_path: Path) -> None:
    with pytest.raises(MachineError, match="no machine directory"):
        run("machine", "show", tmp_path / "nowhere")


def test_a_plan_for_a_tar_is_that_for_its_directory(tmp_path: Path) -> None:
    machine = MACHINES / "x86_64-6.12-ovmf-q35-4cpus-crash"
    (tmp_path / "vmlinuz").write_bytes(build_bzimage(KernelSpec(payload_size=64 * 1024)))
    run("machine", "record", tmp_path / "box.tar", "--machine", machine)
    words: list[str | Path] = [
        "plan",
        tmp_path / "vmlinuz",
        "--call",
        "segments",
        "--seed",
        "1",
        "--json",
    ]
    for more in ((), ("--crash",)):
        there = run(*words, *more, "--machine", machine)
        assert there.exit_code == 0
        assert run(*words, *more, "--machine", tmp_path / "box.tar").output == there.output


@pytest.mark.parametrize("name", ["x.tar.gz", "x.tgz", "x.TAR", "x.tar.zst.gpg", "x.zip"])
def test_a_name_of_another_archive_is_refused(tmp_path: Path, name: str) -> None:
    """A directory of that name would be nobody's wish."""
    machine = build_machine(tmp_path / "machine")
    with pytest.raises(UsageError, match="this name says something else"):
        run("machine", "record", tmp_path / name, "--machine", machine)
    assert not (tmp_path / name).exists()
