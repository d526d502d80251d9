"""Records guests as machine directories: ``python -m tests.vm.record DIR [NAME...]``.

The directories are what the running kernel says of real firmware's memory maps and tables,
for tests that need a machine and no guest.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass
from io import BytesIO
from pathlib import Path

from elftools.elf.elffile import ELFFile
from elftools.elf.segments import NoteSegment

from tests.vm import xen
from tests.vm.debian import FetchError
from tests.vm.guest_python import BuildError
from tests.vm.kernel_build import BUILT
from tests.vm.platforms import AARCH64, RISCV64
from tests.vm.qemu import (
    Machine,
    QemuError,
    aarch64_machine,
    arm_machine,
    loongarch64_machine,
    ppc64le_machine,
    riscv64_machine,
    s390x_machine,
)
from tests.vm.scenario import Run, VmError, run

TAR = "machine.tar"
SCRIPT = f"pykexec machine record /tmp/{TAR}\nsend-file {TAR} /tmp/{TAR}\n"
KCORE = "kcore"
KCORE_SCRIPT = f"head -c 65536 /proc/kcore >/tmp/{KCORE}\nsend-file {KCORE} /tmp/{KCORE}\n"
"""Sends the program headers, and the notes behind them."""
WITH_MAPPING = (AARCH64, RISCV64)
"""Platforms of which /proc/kcore says where everything is mapped."""


@dataclass(frozen=True, slots=True)
class Guest:
    """A machine worth recording."""

    series: str
    machine: Machine
    append: str = ""
    flavour: str = "cloud"
    xen: str | None = None
    """Words for Xen, whose dom0 this is then."""


GUESTS: Mapping[str, Guest] = {
    "x86_64-6.1-bios-512M": Guest("6.1", Machine(memory="512M")),
    "x86_64-6.12-bios-8G": Guest("6.12", Machine(memory="8G")),
    "x86_64-7.2-ovmf-1G": Guest("7.2", Machine(firmware="ovmf")),
    "x86_64-6.12-ovmf-q35-4cpus": Guest(
        "6.12", Machine(firmware="ovmf", board="q35", cpus=4, memory="2G")
    ),
    "x86_64-6.12-bios-crashkernel": Guest("6.12", Machine(memory="2G"), "crashkernel=256M"),
    "x86_64-6.12-bios-8G-crash-high": Guest(
        "6.12", Machine(memory="8G"), "crashkernel=512M,high crashkernel=128M,low"
    ),
    "x86_64-6.12-ovmf-q35-4cpus-crash": Guest(
        "6.12", Machine(firmware="ovmf", board="q35", cpus=4, memory="2G"), "crashkernel=256M"
    ),
    "x86_64-6.1-bios-crash": Guest("6.1", Machine(memory="2G"), "crashkernel=256M"),
    "i386-6.1-bios-crash": Guest(
        "6.1", Machine(memory="2G", arch="i386"), "crashkernel=256M", "686"
    ),
    "x86_64-6.1-xen-crash": Guest(xen.SERIES, xen.MACHINE, flavour=xen.FLAVOUR, xen=xen.WORDS),
    "aarch64-6.12-tree-1G": Guest("6.12", aarch64_machine()),
    "aarch64-6.12-tree-4cpus-crash": Guest(
        "6.12", aarch64_machine(cpus=4, memory="2G"), "crashkernel=256M"
    ),
    "aarch64-6.12-efi-8G-crash-high": Guest(
        "6.12",
        aarch64_machine(efi=True, memory="8G"),
        "crashkernel=512M,high crashkernel=128M,low",
    ),
    "aarch64-7.2-efi-2cpus-crash": Guest(
        "7.2", aarch64_machine(efi=True, cpus=2, memory="2G"), "crashkernel=256M"
    ),
    "riscv64-6.12-tree-512M": Guest("6.12", riscv64_machine(memory="512M")),
    "riscv64-6.12-tree-4cpus-crash": Guest(
        "6.12", riscv64_machine(cpus=4, memory="2G"), "crashkernel=256M"
    ),
    "riscv64-7.2-efi-8G-crash-high": Guest(
        "7.2",
        riscv64_machine(efi=True, memory="8G"),
        "crashkernel=512M,high crashkernel=128M,low",
    ),
    "ppc64le-6.12-pseries-2cpus-crash": Guest(
        "6.12", ppc64le_machine(memory="2G", cpus=2), "crashkernel=256M"
    ),
    "arm-7.2-tree-2cpus-4G-crash": Guest(
        "7.2", arm_machine(memory="4G", cpus=2, board="virt"), "crashkernel=192M", "lpae"
    ),
    "loongarch64-7.2-efi-1G": Guest("7.2", loongarch64_machine()),
    "loongarch64-7.2-efi-2cpus-crash": Guest(
        "7.2", loongarch64_machine(memory="2G", cpus=2), "crashkernel=512M"
    ),
    "s390x-6.1-1G": Guest("6.1", s390x_machine()),
    "s390x-6.12-2cpus-3G-crash": Guest(
        BUILT, s390x_machine(memory="3G", cpus=2), "crashkernel=192M"
    ),
    "arm-6.1-tree-512M": Guest("6.1", arm_machine(memory="512M"), flavour="generic"),
}


def record(name: str, directory: Path) -> None:
    """Boot the guest ``name`` and write its machine directory, which must not exist yet."""
    guest = GUESTS[name]
    begin = xen.BEGIN if guest.xen is not None else ""
    wanted = Run(
        guest.series,
        [begin + SCRIPT + (KCORE_SCRIPT if guest.machine.platform in WITH_MAPPING else "")],
        flavour=guest.flavour,
        machine=guest.machine,
        append=guest.append,
        files=xen.dom0_files() if guest.xen is not None else {},
        xen=guest.xen,
        name=f"record-{name}",
    )
    result = run(wanted)
    unpack(result.files[TAR], directory)
    if guest.machine.platform in WITH_MAPPING:
        complete_kcore(directory / "machine.json", result.files[KCORE])


def complete_kcore(description: Path, kcore: bytes) -> None:
    """Write down all that /proc/kcore's headers and its VMCOREINFO note say.

    That is where everything is mapped, which pykexec works out from less.
    """
    loads, lines = [], []
    for segment in ELFFile(BytesIO(kcore)).iter_segments():
        if segment["p_type"] == "PT_LOAD":
            load = {f"{kind}addr": hex(segment[f"p_{kind}addr"]) for kind in ("v", "p")}
            loads.append({**load, "memsz": segment["p_memsz"]})
        elif isinstance(segment, NoteSegment):
            notes = {note["n_name"]: note["n_descdata"] for note in segment.iter_notes()}
            lines = notes["VMCOREINFO"].decode().rstrip("\0").splitlines()
    value = json.loads(description.read_text())
    named = dict(line.split("=", maxsplit=1) for line in lines)
    value["kcore"] = {"loads": loads, "vmcoreinfo": named}
    description.write_text(json.dumps(value, indent=2) + "\n")


def unpack(tar: bytes, directory: Path) -> None:
    """Unpack what ``pykexec machine record`` wrote; ``directory`` must not exist yet."""
    directory.mkdir(parents=True)
    with tempfile.NamedTemporaryFile(suffix=".tar") as file:
        file.write(tar)
        file.flush()
        # The archive holds one directory, named after the file.
        command = ["tar", "-xf", file.name, "-C", str(directory), "--strip-components=1"]
        subprocess.run([*command, "--no-same-owner"], check=True)


def main() -> int:
    """Record the guests named on the command line, or all."""
    parser = argparse.ArgumentParser(description="Record guests as machine directories.")
    parser.add_argument("directory", type=Path, help="where to put them, one below it each")
    parser.add_argument("names", nargs="*", metavar="NAME", help=", ".join(GUESTS))
    arguments = parser.parse_args()
    unknown = [name for name in arguments.names if name not in GUESTS]
    if unknown:
        parser.error(f"no such guest: {', '.join(unknown)}")
    for name in arguments.names or GUESTS:
        try:
            record(name, arguments.directory / name)
        except (VmError, FetchError, BuildError, QemuError, FileExistsError) as error:
            print(f"{name}: {error}", file=sys.stderr)
            return 1
        print(f"{arguments.directory / name}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
