"""What the doctor says of the boot after firmware's dump, on systems with a boot loader."""

from __future__ import annotations

import gzip
from io import BytesIO
from pathlib import Path

import pytest

from pykexec.cli import setup_check
from pykexec.doctor import Level
from pykexec.formats.initramfs import initramfs_names
from pykexec.loading.fadump import fadump_status
from tests.builders.fadump_machine import GIB, FadumpMachine
from tests.cli.test_pykexec import run
from tests.vm.cpio import CpioWriter

RUNNING = "6.12.117"
OTHER = "6.12.95-test"
SAVER = "usr/lib/pykexec/capture/save"


def archive(*names: str) -> bytes:
    out = BytesIO()
    writer = CpioWriter(out)
    for name in names:
        writer.file(name, b"x" * 70)
    writer.close()
    return gzip.compress(out.getvalue())


def installed(
    path: Path,
    *,
    default: str = RUNNING,
    initrd: bytes | None = None,
    processors: tuple[int, int] = (2048, 2048),
    loader: bool = True,
) -> Path:
    """Build a machine with fadump, and two kernels of which ``default`` is the first entry."""
    FadumpMachine(path, ram=4 * GIB).build()
    boot = path / "boot"
    (boot / "grub").mkdir(parents=True)
    other = OTHER if default == RUNNING else RUNNING
    lines = ["set default=0"]
    for release in (default, other):
        (boot / f"vmlinux-{release}").write_bytes(b"\x7fELF")
        (boot / f"initrd.img-{release}").write_bytes(initrd or archive("init", SAVER))
        lines += [
            f"menuentry 'Linux {release}' {{",
            f"  linux /boot/vmlinux-{release} root=/dev/vda1 fadump=on",
            f"  initrd /boot/initrd.img-{release}",
            "}",
        ]
    for release, number in zip((RUNNING, OTHER), processors, strict=True):
        (boot / f"config-{release}").write_text(f"CONFIG_NR_CPUS={number}\n" if number else "")
    if loader:
        (boot / "grub/grub.cfg").write_text("\n".join(lines) + "\n")
    return path


def doctor(monkeypatch: pytest.MonkeyPatch, machine: Path) -> tuple[int, str]:
    code, out, _ = run(monkeypatch, "doctor", "--machine", str(machine))
    return code, " ".join(out.split())


def test_all_is_well(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    code, said = doctor(monkeypatch, installed(tmp_path / "machine"))
    assert (code, "fadump_entry, fadump_nr_cpus, fadump_initrd" in said) == (0, True), said


def test_rtas_that_a_program_may_get(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    machine = installed(tmp_path / "machine")
    rtas = machine / "sys/firmware/devicetree/base/rtas"
    (rtas / "linux,rtas-base").write_bytes((0x1FFFF000).to_bytes(4, "big"))
    (rtas / "rtas-size").write_bytes((0x1000).to_bytes(4, "big"))
    code, said = doctor(monkeypatch, machine)
    assert (code, "RISK fadump_rtas registered, but RTAS lies at 0x1ffff000" in said) == (0, True)
    assert "do: boot with fadump=nocma" in said


def test_another_kernel_than_the_running_one(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    code, said = doctor(monkeypatch, installed(tmp_path / "machine", default=OTHER))
    assert code == 0
    boots = f"RISK fadump_entry after a crash firmware boots the default entry, 'Linux {OTHER}'"
    assert f"{boots}, with {OTHER}: the running kernel is {RUNNING}" in said


def test_another_number_of_processors_loses_the_dump(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    machine = installed(tmp_path / "machine", default=OTHER, processors=(2048, 8))
    code, said = doctor(monkeypatch, machine)
    assert (code, "RISK fadump_nr_cpus the running kernel is built for 2048" in said) == (0, True)
    assert "the default entry's for 8: that one throws the dump away" in said


def test_a_number_that_nobody_knows(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    machine = installed(tmp_path / "machine", processors=(0, 0))
    assert "NOTE fadump_nr_cpus with how many processors" in doctor(monkeypatch, machine)[1]


@pytest.mark.parametrize(
    ("names", "level"),
    [
        (("init", "usr/bin/busybox"), "RISK fadump_initrd the default entry's initrd has nothing"),
        (("init", "fadumproot/init"), ""),
        (("init", "kdump/save_dump.sh"), ""),
        (("init", "usr/lib/kdump/kdump-save"), ""),
        (("init", "usr/share/doc/kdumpling"), "RISK fadump_initrd"),
    ],
)
def test_what_saves_the_dump(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, names: tuple[str, ...], level: str
) -> None:
    machine = installed(tmp_path / "machine", initrd=archive(*names))
    said = doctor(monkeypatch, machine)[1]
    assert (level in said) if level else ("RISK fadump_initrd" not in said)


def test_an_initrd_that_cannot_be_read(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    machine = installed(tmp_path / "machine", initrd=b"no archive at all")
    assert "NOTE fadump_initrd whether" in doctor(monkeypatch, machine)[1]


def test_no_boot_loader(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    code, said = doctor(monkeypatch, installed(tmp_path / "machine", loader=False))
    assert (code, "NOTE fadump_entry nobody knows what firmware boots after a crash" in said) == (
        0,
        True,
    ), said


def test_names_of_any_compression() -> None:
    plain = gzip.decompress(archive("a", "./usr/b"))
    assert initramfs_names(plain + archive("c")) >= {"a", "usr/b", "c"}


@pytest.mark.parametrize(
    ("registered", "base", "level"),
    [(1, 0x2FFFF000, Level.FINE), (1, 0x1FFFF000, Level.RISK), (0, 0x1FFFF000, Level.BLOCKS)],
)
def test_readiness_of_a_machine_whose_firmware_takes_the_dump(
    tmp_path: Path, registered: int, base: int, level: Level
) -> None:
    machine = FadumpMachine(tmp_path, registered=registered).build()
    rtas = "sys/firmware/devicetree/base/rtas"
    machine.write(f"{rtas}/linux,rtas-base", base.to_bytes(4, "big"))
    machine.write(f"{rtas}/rtas-size", (0x1000).to_bytes(4, "big"))
    found = setup_check.state_of_firmware(fadump_status(str(tmp_path)))
    assert (found[0].check, found[0].level) == ("fadump", level)
