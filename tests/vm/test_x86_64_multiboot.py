"""Multiboot kernels: one of our own that says what it was told, and Xen, which is neither."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from pykexec import __version__
from tests.builders.multiboot_kernel import build_kernel, tools_missing
from tests.needs import unavailable
from tests.vm.conftest import Vm
from tests.vm.debian import Suite
from tests.vm.scenario import XEN_PACKAGE, Result
from tests.vm.test_x86_64_boot import DESCRIBE, described


@pytest.fixture(scope="module", params=[1, 2], ids=["multiboot", "multiboot2"])
def kernel(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a kernel of the version that says what it is told."""
    missing = tools_missing()
    if missing:
        unavailable(missing)
    return build_kernel(request.param, tmp_path_factory.mktemp("multiboot"))


def said(result: Result) -> list[str]:
    """Return what the kernel of our own said."""
    return re.findall(r"^mb (.*)$", result.serial, re.MULTILINE)


def test_it_is_told_of_modules_and_memory(vm: Vm, kernel: Path) -> None:
    version_2 = kernel.name == "multiboot2"
    load = (
        "kexec -l /boot/mb --append='two words' --console-serial "
        # Away from where it is linked to run.
        f"{'--mem-min=0x4000000 ' if version_2 else ''}"
        "--module='/tmp/first with words' --module=/tmp/second.gz\nkexec -e\n"
    )
    result = vm(
        [DESCRIBE + "echo FIRST >/tmp/first\necho SECOND | gzip >/tmp/second.gz\n" + load],
        files={"/boot/mb": kernel},
        stop_on="mb done",
    )

    lines = said(result)
    assert lines[0] == f"magic {'0x36d76289' if version_2 else '0x2badb002'}"
    assert "cmdline </boot/mb two words>" in lines
    assert "loader <pykexec>" in lines
    assert [line for line in lines if line.startswith("module")] == [
        "module 0x6 </tmp/first with words> <FIRST>",
        "module 0x7 </tmp/second.gz> <SECOND>",
    ]
    memory = [line.split()[1:] for line in lines if line.startswith("memory ")]
    told = [(int(start, 16), int(start, 16) + int(size, 16) - 1) for start, size, _ in memory]
    firmware = [line.split()[:2] for line in described(result, 1, "memmap")]
    assert told == [(int(start, 16), int(end, 16)) for start, end in firmware]
    if version_2:
        assert "base 0x4000000" in lines


@pytest.mark.full
@pytest.mark.parametrize(
    ("options", "expected"),
    [
        (
            "--args-elf --append='two words'",
            [
                "magic 0xe1fb007",
                "note 0x2 <pykexec>",
                f"note 0x3 <{__version__}>",
                "note 0x4 <two words>",
                "done",
            ],
        ),
        ("--args-none", ["magic 0x0", "done"]),
    ],
    ids=["boot notes", "nothing"],
)
def test_as_a_plain_program(vm: Vm, tmp_path: Path, options: str, expected: list[str]) -> None:
    """The same ELF file, by force not as a multiboot kernel."""
    missing = tools_missing()
    if missing:
        unavailable(missing)
    result = vm(
        [f"kexec -l -t elf-x86 /boot/program {options} --console-serial\nkexec -e\n"],
        files={"/boot/program": build_kernel(1, tmp_path)},
        stop_on="mb done",
    )
    assert said(result) == expected
    assert "SHA-256 is right" in result.serial


@pytest.mark.full
@pytest.mark.parametrize(
    ("wanted", "way"), [("multiboot2-x86", "multiboot2"), ("multiboot-x86", "multiboot")]
)
def test_xen(vm: Vm, wanted: str, way: str) -> None:
    """A hypervisor with both headers; it ends by itself, since its dom0 is no kernel."""
    boot = Suite("bookworm").package(XEN_PACKAGE).root / "boot"
    (hypervisor,) = boot.glob("xen-*.gz")
    load = (
        f"kexec -l -t {wanted} -d /boot/xen.gz --append='console=com1 com1=115200,8n1 noreboot' "
        "--module='/tmp/dom0 dom0-words' 2>/tmp/said\nsed 's/^/said /' /tmp/said\nkexec -e\n"
    )
    result = vm(
        ["echo no kernel at all >/tmp/dom0\n" + load],
        files={"/boot/xen.gz": hypervisor},
        stop_on=r"Panic on CPU 0",
        linger=1,
    )

    words = [line.removeprefix("said").strip() for line in result.phases[1].lines]
    assert f"a kernel by the rules of {way}" in words
    assert re.search(r"Xen version 4\.17", result.serial)
    assert "Command line: console=com1 com1=115200,8n1 noreboot" in result.serial
    assert re.search(r"Bootloader: pykexec", result.serial)
    assert re.search(r"Xen-e820 RAM map:|EFI RAM map:", result.serial)
