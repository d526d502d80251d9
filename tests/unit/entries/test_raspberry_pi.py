"""The Raspberry Pi's config.txt and cmdline.txt."""

from __future__ import annotations

import pytest

from pykexec.entries.raspberry_pi import model_filters, parse_raspberry_pi
from tests.builders.plain_configs import CONFIG_TXT, around

PI4 = "Raspberry Pi 4 Model B Rev 1.4"
PI5 = "Raspberry Pi 5 Model B Rev 1.0"
CMDLINE = {"cmdline.txt": "console=serial0,115200 root=PARTUUID=6a8c-02 rootwait\nignored\n"}
NAMES = ("initramfs8", "initramfs_2712", "kernel8.img", "kernel_2712.img")


@pytest.mark.parametrize(
    ("model", "kernel", "initrd"),
    [(PI4, "kernel8.img", "initramfs8"), (PI5, "kernel_2712.img", "initramfs_2712")],
)
def test_raspberry_pi_oss(model: str, kernel: str, initrd: str) -> None:
    found = parse_raspberry_pi(CONFIG_TXT, "config.txt", around(CMDLINE, NAMES, model))
    (entry,) = found.entries
    assert (entry.kernel, entry.initrds, entry.obstacle) == (kernel, (initrd,), "")
    assert entry.cmdline == "console=serial0,115200 root=PARTUUID=6a8c-02 rootwait"
    assert (found.default, found.problems) == ("raspberry-pi", ())


@pytest.mark.parametrize(
    ("model", "text", "kernel"),
    [
        (PI4, "arm_64bit=0", "kernel7l.img"),
        (PI4, "", "kernel8.img"),
        ("Raspberry Pi 3 Model B Plus Rev 1.3", "", "kernel7.img"),
        ("Raspberry Pi 3 Model B Plus Rev 1.3", "arm_64bit=1", "kernel8.img"),
        ("Raspberry Pi Zero W Rev 1.1", "arm_64bit=1", "kernel.img"),
        ("Raspberry Pi Model B Plus Rev 1.2", "", "kernel.img"),
    ],
)
def test_kernels_by_model(model: str, text: str, kernel: str) -> None:
    (entry,) = parse_raspberry_pi(text, "config.txt", around(CMDLINE, (), model)).entries
    assert entry.kernel == kernel


@pytest.mark.parametrize(
    ("model", "expected"),
    [
        (PI4, {"pi4"}),
        ("Raspberry Pi 400 Rev 1.0", {"pi4", "pi400"}),
        ("Raspberry Pi 500 Rev 1.0", {"pi5", "pi500"}),
        ("Raspberry Pi Compute Module 4S Rev 1.0", {"pi4", "cm4s"}),
        ("Raspberry Pi Compute Module 5 Rev 1.0", {"pi5", "cm5"}),
        ("Raspberry Pi 3 Model B Plus Rev 1.3", {"pi3", "pi3+"}),
        ("Raspberry Pi Zero 2 W Rev 1.0", {"pi0", "pi0w", "pi02"}),
        ("linux,dummy-virt", set()),
    ],
)
def test_models(model: str, expected: set[str]) -> None:
    assert model_filters(model) == expected


UBUNTU = """[all]
kernel=vmlinuz
cmdline=cmdline.txt
initramfs initrd.img followkernel
[pi4]
max_framebuffers=2
[none]
kernel=other
[tryboot]
os_prefix=new/
[all]
"""


def test_ubuntus() -> None:
    (entry,) = parse_raspberry_pi(UBUNTU, "config.txt", around(CMDLINE)).entries
    assert (entry.kernel, entry.initrds, entry.obstacle) == ("vmlinuz", ("initrd.img",), "")


def test_filters_of_models() -> None:
    text = "[pi4]\nkernel=four\n[pi5]\nkernel=five\n"
    for model, kernel in ((PI4, "four"), (PI5, "five")):
        (entry,) = parse_raspberry_pi(text, "c", around(CMDLINE, (), model)).entries
        assert (entry.kernel, entry.obstacle) == (kernel, "")
    found = parse_raspberry_pi(text, "c", around(CMDLINE))
    assert (found.entries, found.default) == ((), None)
    assert found.reason == (
        "'kernel' (c, line 2) depends on the filter [pi4], which only the firmware can tell"
    )


@pytest.mark.parametrize("name", ["gpio4=1", "EDID=VSC-TD2220", "0x12345678", "board-type=0x14"])
def test_what_only_the_firmware_knows(name: str) -> None:
    text = f"[{name}]\ndtparam=x\nkernel=special\n[all]\nauto_initramfs=0\n"
    (entry,) = parse_raspberry_pi(text, "c", around(CMDLINE, (), PI4)).entries
    assert entry.obstacle.startswith(f"'kernel' (c, line 3) depends on the filter [{name.lower()}]")
    (entry,) = parse_raspberry_pi(f"[{name}]\ndtparam=x\n", "c", around(CMDLINE, (), PI4)).entries
    assert entry.obstacle == ""


def test_a_prefix() -> None:
    text = "os_prefix=6.12/\nkernel=vmlinuz\ninitramfs a.img,/b.img followkernel\n"
    files = {"6.12/cmdline.txt": "root=/dev/mmcblk0p2"}
    (entry,) = parse_raspberry_pi(text, "c", around(files)).entries
    assert (entry.kernel, entry.initrds) == ("6.12/vmlinuz", ("6.12/a.img", "/b.img"))
    assert entry.cmdline == "root=/dev/mmcblk0p2"


def test_what_else_decides() -> None:
    """The firmware may take other files than config.txt alone has."""
    text = "kernel=k\ninitramfs a followkernel\nramfsfile=b\n"
    (entry,) = parse_raspberry_pi(text, "config.txt", around(CMDLINE, (), PI4)).entries
    assert (entry.initrds, entry.obstacle) == (("b",), "")
    (entry,) = parse_raspberry_pi(text, "config.txt", around(CMDLINE, ("autoboot.txt",))).entries
    assert entry.obstacle == (
        "autoboot.txt beside it may have the firmware start from another partition"
    )
    (entry,) = parse_raspberry_pi(f"{text}boot_ramdisk=1", "c", around(CMDLINE)).entries
    assert entry.obstacle == "the firmware takes all files out of boot.img (boot_ramdisk)"
    files = {"upstream/cmdline.txt": "up"}
    (entry,) = parse_raspberry_pi(f"{text}upstream_kernel=1", "c", around(files)).entries
    assert (entry.kernel, entry.cmdline) == ("upstream/k", "up")
    assert entry.notes[1] == (
        "the firmware takes what is behind os_prefix, 'upstream/', only if the board's device tree "
        "is there too"
    )


def test_files_within_files() -> None:
    files = {**CMDLINE, "user.txt": "kernel=mine\n", "loop.txt": "include loop.txt\n" * 9}
    found = parse_raspberry_pi("include user.txt\ninclude gone.txt\n", "c", around(files))
    assert found.entries[0].kernel == "mine"
    assert found.problems == ("c, line 2: cannot read 'gone.txt': there is no such file",)
    assert parse_raspberry_pi("include loop.txt\n", "c", around(files)).problems


def test_what_is_missing() -> None:
    (entry,) = parse_raspberry_pi("kernel=a\n", "c", around()).entries
    assert entry.obstacle == (
        "its command line, cmdline.txt, cannot be read: there is no such file"
    )
    found = parse_raspberry_pi("", "/boot/config.txt", around(CMDLINE))
    assert (found.entries, found.default) == ((), None)
    assert found.reason == (
        "/boot/config.txt names no kernel, and the firmware takes one by the machine's model, "
        "which is not known"
    )
    found = parse_raspberry_pi("kernel=uboot_rpi_4.bin\n", "c", around(CMDLINE))
    assert (found.entries, found.reason) == ((), "c starts U-Boot (uboot_rpi_4.bin)")
