"""A FIT image of mkimage's on arm64: it boots, and one whose hash is wrong is refused."""

from __future__ import annotations

import gzip
import os
import shutil
import subprocess
from pathlib import Path

import pytest

from pykexec.errors import ImageError
from pykexec.formats import identify
from pykexec.formats.fit import Fit
from tests.needs import unavailable
from tests.vm import debian
from tests.vm.conftest import Vm
from tests.vm.initramfs import SUITE, Scenario, small_initrd
from tests.vm.loads import LOADED, printed
from tests.vm.platforms import AARCH64
from tests.vm.qemu import Machine, aarch64_machine, qemu_missing
from tests.vm.test_aarch64_boot import ARRIVED, DESCRIBE, NONCE, chosen, next_cmdline

SERIES = "6.12"
SOURCE = """/dts-v1/;
/ {
	description = "Debian for virt";
	#address-cells = <1>;
	images {
		kernel-1 {
			description = "Linux";
			data = /incbin/("Image.gz");
			type = "kernel";
			arch = "arm64";
			os = "linux";
			compression = "gzip";
			load = <0x40200000>;
			entry = <0x40200000>;
			hash-1 { algo = "crc32"; };
			hash-2 { algo = "sha256"; };
		};
		ramdisk-1 {
			description = "initramfs";
			data = /incbin/("initrd");
			type = "ramdisk";
			arch = "arm64";
			os = "linux";
			compression = "none";
			hash-1 { algo = "sha1"; };
		};
		fdt-1 {
			description = "virt";
			data = /incbin/("virt.dtb");
			type = "flat_dt";
			arch = "arm64";
			compression = "none";
			hash-1 { algo = "md5"; };
		};
	};
	configurations {
		default = "conf-bare";
		conf-bare { kernel = "kernel-1"; };
		conf-virt { kernel = "kernel-1"; ramdisk = "ramdisk-1"; fdt = "fdt-1"; };
	};
};
"""


def mkimage(*words: str | Path, where: Path) -> None:
    """Run U-Boot's mkimage, Debian's, in ``where``."""
    try:
        suite = debian.Suite(SUITE)
        program = suite.package("u-boot-tools").root / "usr/bin/mkimage"
        (library,) = suite.package("libssl3").root.rglob("libssl.so.3")
    except debian.FetchError as error:
        unavailable(str(error))
    if shutil.which("dtc") is None:
        unavailable("there is no dtc here (Debian package device-tree-compiler)")
    # Behind the machine's own: a newer libc wants a newer libssl.
    environment = {**os.environ, "LD_LIBRARY_PATH": str(library.parent)}
    ran = subprocess.run(
        [program, *words], cwd=where, env=environment, capture_output=True, text=True, check=False
    )
    assert ran.returncode == 0, ran.stdout + ran.stderr


def tree_of(machine: Machine, place: Path) -> None:
    """Write the device tree that QEMU makes for ``machine``."""
    missing = qemu_missing(machine.platform)
    if missing:
        unavailable(missing)
    subprocess.run(
        [
            *(machine.platform.qemu, "-M", f"{machine.board},dumpdtb={place}"),
            *("-cpu", machine.cpu, "-m", machine.memory, "-smp", str(machine.cpus)),
            *("-display", "none", *machine.extra),
        ],
        check=True,
        capture_output=True,
    )


def build(directory: Path, machine: Machine, initrd: bytes, *options: str) -> Path:
    """Build the FIT image; ``options`` are mkimage's."""
    image = debian.kernel(SERIES, arch="arm64").image.read_bytes()
    (directory / "Image.gz").write_bytes(gzip.compress(image, 1))
    (directory / "initrd").write_bytes(initrd)
    tree_of(machine, directory / "virt.dtb")
    (directory / "fit.its").write_text(SOURCE)
    mkimage(*options, "-f", "fit.its", "fit.itb", where=directory)
    return directory / "fit.itb"


@pytest.mark.parametrize(
    "options",
    [
        pytest.param((), id="within", marks=pytest.mark.full),
        pytest.param(("-E", "-p", "0x4000"), id="behind"),
    ],
)
def test_a_fit_image_boots(vm: Vm, tmp_path: Path, options: tuple[str, ...]) -> None:
    machine = aarch64_machine(cpus=2)
    cmdline = next_cmdline()
    script = (
        f"kexec -d -c -l '/boot/fit.itb#conf-virt' --append='{cmdline}' 2>/tmp/said\n"
        f"sed 's/^/said /' /tmp/said\n{LOADED}kexec -e\n"
    )
    phases = [DESCRIBE + script, ARRIVED]
    nonce = {NONCE: "in the FIT image"}
    initrd = small_initrd(Scenario(phases=tuple(phases), files=nonce), AARCH64)
    file = build(tmp_path, machine, initrd, *options)
    result = vm(phases, kernel=SERIES, machine=machine, files={"/boot/fit.itb": file})

    arrived = result.phases[2]
    assert arrived.release == debian.kernel(SERIES, arch="arm64").release
    assert arrived.cmdline == cmdline
    # The nonce is in the ramdisk of the FIT image alone.
    assert "nonce in the FIT image" in arrived.lines
    assert printed(result, 2, "cpus") == "2"
    assert "linux,booted-from-kexec" in chosen(result, 2)
    said = [line.removeprefix("said").strip() for line in result.phases[1].lines]
    assert "the initrd is the FIT image's" in said
    assert "the device tree is the FIT image's" in said


def test_what_mkimage_writes_and_a_wrong_hash(tmp_path: Path) -> None:
    initrd = b"070701" + bytes(1000)
    whole = build(tmp_path, aarch64_machine(), initrd).read_bytes()
    found = identify(whole, "aarch64", configuration="conf-virt")
    fit = found.brought
    assert isinstance(fit, Fit)
    assert (fit.description, fit.configuration) == ("Debian for virt", "conf-virt")
    assert fit.checked == (
        "kernel-1: crc32",
        "kernel-1: sha256",
        "ramdisk-1: sha1",
        "fdt-1: md5",
    )
    assert bytes(fit.initrd or b"") == initrd
    bare = identify(whole, "aarch64").brought
    assert isinstance(bare, Fit)
    assert (bare.configuration, bare.initrd, bare.device_tree) == ("conf-bare", None, None)
    damaged = bytearray(whole)
    damaged[whole.index(initrd) + 500] ^= 1
    with pytest.raises(ImageError, match=r"damaged: the sha1 of its 'ramdisk-1' is \w+, announced"):
        identify(bytes(damaged), configuration="conf-virt")
    # The ramdisk is no part of the default, which therefore is whole.
    assert identify(bytes(damaged)).image == identify(whole).image
