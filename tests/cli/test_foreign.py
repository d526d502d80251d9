"""Options of other architectures: taken, told of once, without effect."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

from pykexec.cli import foreign
from pykexec.cli.foreign import FOREIGN, without_foreign
from pykexec.cli.kexec_compat import parse
from pykexec.cli.kexec_options import OPTIONS
from pykexec.cli.loading import LoadOptions
from pykexec.cli.main import cli
from pykexec.errors import UsageError
from pykexec.ranges import Range
from tests.builders.arm64 import IMAGE, build_tree
from tests.builders.bzimage import build_bzimage
from tests.builders.machines import MachineDirectory, build_machine

RAM = (Range(0x40000000, 0x80000000),)


@pytest.fixture
def arm64(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let the running machine be an arm64 one."""
    uname = os.uname()
    words = (uname.sysname, uname.nodename, uname.release, uname.version, "aarch64")
    monkeypatch.setattr(os, "uname", lambda: os.uname_result(words))


@pytest.mark.usefixtures("arm64")
def test_all_of_them_at_once() -> None:
    words = [f"--{option.name}" + ("=x" if option.metavar else "") for option in FOREIGN]
    settings = parse([*words, "-l", "--append=a", "Image"])
    assert settings.foreign == [f"--{option.name}" for option in FOREIGN]
    assert settings.operands == ["Image"]
    assert settings.values == {"append": "a"}
    assert settings.load
    assert not settings.shutdown


def test_not_where_they_may_be_meant() -> None:
    with pytest.raises(UsageError, match="unrecognized option '--atags'"):
        parse(["--atags", "-l", "vmlinuz"])


def test_no_name_is_taken_twice() -> None:
    names = [long for option in (*OPTIONS, *FOREIGN) for long in option.long]
    assert len(names) == len(set(names))


@pytest.mark.parametrize(
    ("arch", "given", "names"),
    [
        ("aarch64", {}, ()),
        ("aarch64", {"console_vga": True, "serial_baud": 9600}, ("--console-vga", "--serial-baud")),
        ("aarch64", {"backup": False, "no_efi": True}, ("--noefi", "--backup")),
        ("aarch64", {"foreign": ("--atags",), "force_dtb": True}, ("--atags", "--force-dtb")),
        ("x86_64", {"dtb": "x.dtb", "console_vga": True}, ("--dtb",)),
    ],
)
def test_they_are_named_and_as_if_not_given(
    arch: str, given: dict[str, Any], names: tuple[str, ...]
) -> None:
    options, warnings = without_foreign(LoadOptions("k", append="a", **given), arch)
    assert warnings == ((f"no effect on {arch}: {', '.join(names)}",) if names else ())
    kept: dict[str, Any] = {"console_vga": True} if arch == "x86_64" else {}
    foreign_words = given.get("foreign", ())
    assert options == LoadOptions("k", append="a", foreign=foreign_words, **kept)
    assert without_foreign(options, arch)[0] == options


def test_every_field_exists() -> None:
    for known in foreign._ONLY_ON.values():
        for field in known.values():
            assert field in LoadOptions.__slots__


def plan(machine: Path, kernel: Path, *words: str) -> str:
    command = ["plan", "--machine", str(machine), "--call", "segments", str(kernel), *words]
    result = CliRunner().invoke(cli, command, catch_exceptions=False)
    assert result.exit_code == 0, result.output
    return result.output


def test_a_plan_for_arm64_names_them(tmp_path: Path) -> None:
    machine = build_machine(tmp_path / "machine", arch="aarch64", ram=RAM)
    MachineDirectory(machine).write("sys/firmware/fdt", build_tree(RAM))
    kernel = tmp_path / "Image"
    kernel.write_bytes(IMAGE)
    text = plan(machine, kernel, "--console-vga", "--noefi")
    assert "no effect on aarch64: --console-vga, --noefi" in text
    assert "device tree from " in text


def test_a_plan_for_arm64_takes_a_tree_and_a_console(tmp_path: Path) -> None:
    machine = build_machine(tmp_path / "machine", arch="aarch64", ram=RAM)
    directory = MachineDirectory(machine)
    for name, value in (("iomem_base", "0x9000000"), ("type", "32"), ("io_type", "3")):
        directory.write(f"sys/class/tty/ttyAMA0/{name}", value + "\n")
    kernel, dtb = tmp_path / "Image", tmp_path / "board.dtb"
    kernel.write_bytes(IMAGE)
    dtb.write_bytes(build_tree(RAM))
    text = plan(machine, kernel, "--dtb", str(dtb), "--serial", "ttyAMA0")
    assert "no effect" not in text
    assert "device tree is not known" not in text


def test_a_plan_for_x86_does_without_a_tree(tmp_path: Path) -> None:
    machine = build_machine(tmp_path / "machine", ram=[Range(0x100000, 0x80000000)])
    kernel = tmp_path / "vmlinuz"
    kernel.write_bytes(build_bzimage())
    assert "no effect on x86_64: --dtb" in plan(machine, kernel, "--dtb", "no such file")
