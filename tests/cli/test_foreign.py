"""Options of other architectures: taken, told of once, without effect."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

from pykexec.architectures import ARCHITECTURES
from pykexec.cli.foreign import foreign_options
from pykexec.cli.kexec_compat import _load_options, parse
from pykexec.cli.kexec_options import OPTIONS
from pykexec.cli.main import cli
from pykexec.errors import OptionError, UsageError
from pykexec.loading import no_effect
from pykexec.loading.load_request import build_cmdline
from pykexec.loading.no_effect import without_foreign
from pykexec.loading.options import LoadOptions
from pykexec.values.facts import MachineFacts
from pykexec.values.ranges import Range
from tests.builders.arm64 import IMAGE, build_tree
from tests.builders.machines import MachineDirectory, build_machine
from tests.cli.stand_in import run_as

RAM = (Range(0x40000000, 0x80000000),)


@pytest.mark.parametrize("arch", ["x86_64", "aarch64"])
def test_all_of_them_at_once(monkeypatch: pytest.MonkeyPatch, arch: str) -> None:
    run_as(monkeypatch, arch)
    taken = foreign_options(arch)
    words = [f"--{option.name}" + ("=x" if option.metavar else "") for option in taken]
    settings = parse([*words, "-l", "--append=a", "Image"])
    silent = ARCHITECTURES[arch].options.silent
    told = [option.name for option in taken if option.name not in silent]
    assert settings.foreign == [f"--{name}" for name in told]
    assert settings.operands == ["Image"]
    assert settings.values == {"append": "a"}
    assert settings.load
    assert not settings.shutdown


@pytest.mark.parametrize("name", sorted(ARCHITECTURES["x86_64"].options.need_kernel))
@pytest.mark.parametrize("action", ["-u", "-e", "-S", "-lS"])
def test_without_a_kernel_to_load(monkeypatch: pytest.MonkeyPatch, action: str, name: str) -> None:
    known = {option.name: option for option in (*OPTIONS, *foreign_options("x86_64"))}
    word = f"--{name}" + ("=x" if known[name].metavar else "")
    run_as(monkeypatch, "x86_64")
    with pytest.raises(UsageError, match=f"--{name} is of no use without a kernel to load"):
        parse([action, word])
    run_as(monkeypatch, "aarch64")
    parse([action, word])


def test_an_x86_of_32_bits_is_x86(monkeypatch: pytest.MonkeyPatch) -> None:
    """``uname -m`` has a name for each generation of them."""
    run_as(monkeypatch, "i686")
    with pytest.raises(UsageError, match="--append is of no use without a kernel to load"):
        parse(["-u", "--append=x"])
    settings = parse(["-l", "--reuse-video-type", "--reset", "--atags", "k"])
    assert settings.foreign == ["--reset-vga", "--atags"]


@pytest.mark.parametrize("arch", ["x86_64", "aarch64"])
def test_no_name_is_taken_twice(arch: str) -> None:
    names = [long for option in (*OPTIONS, *foreign_options(arch)) for long in option.long]
    assert len(names) == len(set(names))


def test_they_make_no_prefix_ambiguous(monkeypatch: pytest.MonkeyPatch) -> None:
    run_as(monkeypatch, "x86_64")
    assert parse(["--i=f", "-l", "k"]).values == {"initrd": "f"}  # --ima, --image-size
    assert parse(["--modul=f", "-l", "k"]).modules == ["f"]
    with pytest.raises(UsageError, match="'--arg' is ambiguous"):
        parse(["--arg"])


@pytest.mark.parametrize(
    ("arch", "given", "names"),
    [
        ("aarch64", {}, ()),
        ("aarch64", {"console_vga": True, "serial_baud": 9600}, ("--console-vga", "--serial-baud")),
        ("aarch64", {"backup": False, "no_efi": True}, ("--noefi", "--backup")),
        ("aarch64", {"core_bits": 32}, ("--elf32-core-headers or --elf64-core-headers",)),
        ("x86_64", {"core_bits": 32}, ()),
        ("aarch64", {"foreign": ("--atags",), "force_dtb": True}, ("--atags", "--force-dtb")),
        ("x86_64", {"dtb": "x.dtb", "console_vga": True}, ()),
    ],
)
def test_they_are_named_and_as_if_not_given(
    arch: str, given: dict[str, Any], names: tuple[str, ...]
) -> None:
    options, warnings = without_foreign(LoadOptions("k", append="a", **given), arch)
    assert warnings == ((f"no effect on {arch}: {', '.join(names)}",) if names else ())
    kept: dict[str, Any] = given if arch == "x86_64" else {}
    foreign_words = given.get("foreign", ())
    assert options == LoadOptions("k", append="a", foreign=foreign_words, **kept)
    assert without_foreign(options, arch)[0] == options


def test_what_cannot_be_left_out_is_refused() -> None:
    with pytest.raises(OptionError, match="--atags on arm: no list of tags is made: the next"):
        without_foreign(LoadOptions("k", foreign=("--page-offset", "--atags")), "arm")


def test_every_field_exists() -> None:
    assert no_effect._FIELDS.keys() <= set(LoadOptions.__slots__)


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


def test_a_console_that_is_not_there_is_no_reason_not_to_load(tmp_path: Path) -> None:
    machine = build_machine(tmp_path / "machine", arch="aarch64", ram=RAM)
    MachineDirectory(machine).write("sys/firmware/fdt", build_tree(RAM))
    kernel = tmp_path / "Image"
    kernel.write_bytes(IMAGE)
    told = " ".join(plan(machine, kernel, "--serial", "ttyAMA0").split())
    assert "--serial: 'ttyAMA0' is no terminal with a UART in memory (this machine shows" in told
    assert "none in /sys/class/tty): the purgatory will be silent" in told


@pytest.mark.parametrize(
    ("arch", "words", "append", "made"),
    [
        ("ppc64le", [], "ro", b"ro root=/dev/b"),
        ("ppc64le", [], "", b"root=/dev/b"),
        ("ppc64le", [], "ro root=/dev/c", b"ro root=/dev/c"),
        ("ppc64le", ["--dt-no-old-root"], "ro", b"ro"),
        ("aarch64", [], "ro", b"ro"),
    ],
)
def test_the_root_of_the_running_kernel(
    monkeypatch: pytest.MonkeyPatch, arch: str, words: list[str], append: str, made: bytes
) -> None:
    run_as(monkeypatch, arch)
    settings = parse(["-l", *words, f"--append={append}", "k"])
    assert settings.foreign == []
    facts = MachineFacts(arch, 4096, (), cmdline=b"quiet root=/dev/a root=/dev/b -- root=/x")
    line = build_cmdline(facts, _load_options(settings))
    assert line.cmdline == made
    told = "root=/dev/b of the running command line is added (--dt-no-old-root keeps it out)"
    assert line.notes == ((told,) if made.endswith(b"root=/dev/b") else ())


def test_nothing_is_added_where_the_running_kernel_has_none() -> None:
    facts = MachineFacts("ppc64le", 4096, (), cmdline=b"quiet rootwait")
    options = LoadOptions(kernel="k", append="ro", old_root="--dt-no-old-root")
    assert build_cmdline(facts, options).cmdline == b"ro"
