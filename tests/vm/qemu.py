"""One guest under QEMU's emulation: started, listened to, and always ended.

No KVM and no root. Both serial ports go to files, which are read as they grow.
"""

from __future__ import annotations

import fcntl
import json
import os
import re
import shutil
import socket
import subprocess
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any, TextIO

from tests.vm.debian import Suite, cache_dir
from tests.vm.platforms import (
    I386,
    LOONGARCH64,
    PLATFORMS,
    PPC64LE,
    RISCV64,
    S390X,
    X86_64,
    Platform,
)

# QEMU 7.2 miscompiles cmpxchg16b: kernels from 6.12 on die of it at random.
X86_64_CPU = "max,-cx16"
# With 52-bit physical addresses Linux 6.12 dies inside kexec_load; the architected pointer
# authentication is slow to emulate.
AARCH64_CPU = "max,lpa2=off,pauth-impdef=on"
# A running kernel's LPI tables are live and, without EFI, reserved nowhere: the GIC would
# write into the next kernel. So there is no ITS where there is no EFI.
AARCH64_BOARD = "virt,gic-version=3,its=off"
AARCH64_EFI_BOARD = "virt,gic-version=3"
RISCV64_CPU = "rv64"
RISCV64_BOARD = "virt"
LOONGARCH64_CPU = "la464"
LOONGARCH64_BOARD = "virt"
LOONGARCH64_QEMU = 10
"""The first whole version of QEMU that starts the firmware and kernels of today."""
LOONGARCH64_FIRMWARE_SUITE = "sid"
PPC64LE_CPU = "power9"
# Emulation has none of the mitigations that the board offers by itself; without SLOF, which is an
# Open Firmware in Forth, a guest starts in half the time.
PPC64LE_SLOF_BOARD = "pseries,cap-cfpc=broken,cap-sbbc=broken,cap-ibs=broken,cap-ccf-assist=off"
PPC64LE_BOARD = f"{PPC64LE_SLOF_BOARD},x-vof=on"
POWERNV_BOARD = "powernv9"
"""Without a hypervisor, on OPAL (skiboot)."""
ARM_CPU = "cortex-a15"
# Kernels without LPAE reach nothing above 4 GiB, where the board has its PCI registers otherwise.
ARM_BOARD = "virt,highmem=off"
S390X_BOARD = "s390-ccw-virtio"
FIRMWARE_SUITE = "bookworm"
EDK2_SUITE = "trixie"
"""The first one that has it for riscv64."""
EDK2_QEMU = 9
"""The first whole version of QEMU that starts it from flash, behind OpenSBI."""
SHA_QEMU = 10
"""The first whole version of QEMU of which an x86 processor has SHA instructions."""
LATER_QEMU_SUITE = "bookworm-backports"
"""Has a later QEMU, which runs with the libraries and the data files of Debian 12's."""
LATER_PACKAGES = {RISCV64: "qemu-system-riscv", LOONGARCH64: "qemu-system-misc"}
"""Where that has another package than :attr:`Platform.qemu_package`."""
OPENSBI = "usr/lib/riscv64-linux-gnu/opensbi/generic/fw_dynamic.bin"


@contextmanager
def turn() -> Iterator[None]:
    """Wait until fewer guests run on this host than it has processors; then take one's place."""
    cache_dir().mkdir(parents=True, exist_ok=True)
    while True:
        for place in range(os.cpu_count() or 1):
            with (cache_dir() / f"guest-{place}.lock").open("a") as file:
                try:
                    fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
                except BlockingIOError:
                    continue
                yield
                return
        time.sleep(0.2)


@dataclass(frozen=True, slots=True)
class Machine:
    """The machine that a guest is given; see :func:`aarch64_machine` for one of that kind."""

    memory: str = "1G"
    cpus: int = 1
    cpus_max: int | None = None
    """With those that can be plugged in."""
    firmware: str = "bios"
    """``bios`` or ``ovmf`` for x86_64, ``none`` (a device tree) or ``aavmf`` for aarch64, ``none``
    or ``edk2`` for riscv64."""
    board: str = "pc"
    """``pc`` or ``q35`` for x86_64, ``pseries`` for ppc64le, ``s390-ccw-virtio`` for s390x, else
    ``virt``; with options."""
    extra: tuple[str, ...] = ()
    """Further words for QEMU's command line."""
    arch: str = X86_64.name
    """The name of a platform; ``i386`` for a user space of 32 bits."""
    cpu: str = X86_64_CPU
    """QEMU's name of the processor, with options."""
    program: tuple[str, ...] = ()
    """QEMU's program and options in front, where it is not to be the host's own."""

    @property
    def platform(self) -> Platform:
        """What goes with the architecture."""
        return PLATFORMS[self.arch]

    @property
    def bare(self) -> bool:
        """It is a POWER machine without a hypervisor."""
        return self.board.startswith("powernv")

    @property
    def most_cpus(self) -> int:
        """How many processors there may be in it."""
        return self.cpus_max or self.cpus


def aarch64_machine(
    *,
    memory: str = "1G",
    cpus: int = 1,
    efi: bool = False,
    board: str | None = None,
    cpu: str = AARCH64_CPU,
    extra: tuple[str, ...] = (),
) -> Machine:
    """Return an aarch64 machine: with a device tree, or with EFI and ACPI.

    ``board`` is ``virt`` with options, where the usual ones will not do.
    """
    usual = AARCH64_EFI_BOARD if efi else AARCH64_BOARD
    return Machine(
        memory=memory,
        cpus=cpus,
        firmware="aavmf" if efi else "none",
        board=board or usual,
        extra=extra,
        arch="aarch64",
        cpu=cpu,
    )


def direct_boot(kernel: Path, initrd: Path, cmdline: str) -> tuple[str, ...]:
    """Return the options for a kernel that QEMU starts, and that ends it by a reset."""
    words = ("-kernel", str(kernel), "-initrd", str(initrd), "-append", cmdline)
    return (*words, "-no-reboot")


def xen_boot(xen: Path, words: str, kernel: Path, initrd: Path, cmdline: str) -> tuple[str, ...]:
    """Return the options for Xen with a kernel as dom0; QEMU takes it for a multiboot kernel."""
    # A comma ends a module.
    modules = ",".join(part.replace(",", ",,") for part in (f"{kernel} {cmdline}", str(initrd)))
    return ("-kernel", str(xen), "-append", words, "-initrd", modules, "-no-reboot")


def disk_boot(*disks: Path) -> tuple[str, ...]:
    """Return the options for disks, of which the firmware starts the first, again after a reset."""
    return tuple(
        word
        for disk in disks
        for word in ("-drive", f"file={disk},if=virtio,format=raw,cache=unsafe")
    )


def riscv64_machine(
    *,
    memory: str = "1G",
    cpus: int = 1,
    efi: bool = False,
    board: str = RISCV64_BOARD,
    cpu: str = RISCV64_CPU,
    extra: tuple[str, ...] = (),
) -> Machine:
    """Return a riscv64 machine, which OpenSBI starts: with a device tree, or with EFI and ACPI."""
    return Machine(
        memory=memory,
        cpus=cpus,
        firmware="edk2" if efi else "none",
        board=board,
        extra=extra,
        arch="riscv64",
        cpu=cpu,
    )


def ppc64le_machine(
    *,
    memory: str = "1G",
    cpus: int = 1,
    cpus_max: int | None = None,
    board: str = PPC64LE_BOARD,
    cpu: str = PPC64LE_CPU,
    extra: tuple[str, ...] = (),
) -> Machine:
    """Return a ppc64le machine: a guest of a hypervisor that QEMU itself is, or a bare one."""
    return Machine(
        memory=memory,
        cpus=cpus,
        cpus_max=cpus_max,
        firmware="none",
        board=board,
        extra=extra,
        arch="ppc64le",
        cpu=cpu,
    )


def arm_machine(
    *,
    memory: str = "1G",
    cpus: int = 1,
    board: str = ARM_BOARD,
    cpu: str = ARM_CPU,
    extra: tuple[str, ...] = (),
) -> Machine:
    """Return a machine of 32-bit ARM with a device tree."""
    return Machine(
        memory=memory,
        cpus=cpus,
        firmware="none",
        board=board,
        extra=extra,
        arch="arm",
        cpu=cpu,
    )


def s390x_machine(
    *,
    memory: str = "1G",
    cpus: int = 1,
    board: str = S390X_BOARD,
    cpu: str = "max",
    extra: tuple[str, ...] = (),
) -> Machine:
    """Return an s390x machine, whose console is SCLP's."""
    return Machine(
        memory=memory,
        cpus=cpus,
        firmware="none",
        board=board,
        extra=extra,
        arch="s390x",
        cpu=cpu,
    )


def loongarch64_machine(
    *,
    memory: str = "1G",
    cpus: int = 1,
    cpu: str = LOONGARCH64_CPU,
    extra: tuple[str, ...] = (),
) -> Machine:
    """Return a loongarch64 machine, which EFI starts: nothing else tells a next kernel of it."""
    return Machine(
        memory=memory,
        cpus=cpus,
        firmware="loongarch",
        board=LOONGARCH64_BOARD,
        extra=extra,
        arch="loongarch64",
        cpu=cpu,
    )


class QemuError(Exception):
    """QEMU is missing or does not start."""


def qemu_missing(platform: Platform = X86_64) -> str | None:
    """Return what to install when there is no QEMU for ``platform`` on this host, else None."""
    if shutil.which(platform.qemu):
        return None
    return f"there is no {platform.qemu} here (Debian package {platform.qemu_package})"


class Guest:
    """A running guest. Use it as a context manager: QEMU ends with the block."""

    def __init__(self, machine: Machine, boot: Sequence[str], logs: Path) -> None:
        """Prepare a guest that boots by ``boot``, :func:`direct_boot` or :func:`disk_boot`.

        Its logs go to the directory ``logs``, which is emptied.
        """
        if logs.exists():
            shutil.rmtree(logs)
        logs.mkdir(parents=True)
        self.console_log = logs / "console.log"
        self.channel_log = logs / "channel.log"
        self._qemu_log = logs / "qemu.log"
        self._command = [
            # util-linux: QEMU ends with us, even when we are killed.
            *("setpriv", "--pdeathsig", "KILL"),
            *(*_program(machine), "-accel", "tcg", "-cpu", machine.cpu),
            *("-machine", machine.board),
            *("-m", machine.memory, "-smp", f"{machine.cpus},maxcpus={machine.most_cpus}"),
            *("-display", "none", "-monitor", "none", "-nic", "none"),
            *_ports(machine, self.console_log, self.channel_log),
            *boot,
            *_firmware(machine.firmware, logs),
            *machine.extra,
        ]
        self._process: subprocess.Popen[bytes] | None = None
        self._heard = 0

    def __enter__(self) -> Guest:
        """Start QEMU."""
        with self._qemu_log.open("wb") as log:
            log.write((" ".join(self._command) + "\n").encode())
            log.flush()
            self._process = subprocess.Popen(
                self._command, stdin=subprocess.DEVNULL, stdout=log, stderr=log
            )
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """End QEMU, whatever state the guest is in."""
        if self._process is not None:
            self._process.kill()
            self._process.wait()

    @property
    def running(self) -> bool:
        """QEMU has not ended by itself."""
        return self._process is not None and self._process.poll() is None

    @property
    def cpu_seconds(self) -> float:
        """What QEMU has taken of the host's processors, to a hundredth: also on a busy host."""
        if self._process is None:
            return 0
        fields = Path(f"/proc/{self._process.pid}/stat").read_text().rpartition(")")[2].split()
        return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")

    def hear(self) -> bytes:
        """Return what has arrived on the second serial port since the last call."""
        if not self.channel_log.exists():
            return b""
        with self.channel_log.open("rb") as file:
            file.seek(self._heard)
            data = file.read()
        self._heard += len(data)
        return data

    @property
    def console(self) -> str:
        """Everything that the kernels and the purgatory have printed, without escapes."""
        if not self.console_log.exists():
            return ""
        text = self.console_log.read_bytes().decode(errors="replace").replace("\r", "")
        return re.sub(r"\x1b(\[[0-9;?=]*[A-Za-z]|c)", "", text)

    @property
    def complaint(self) -> str:
        """What QEMU itself printed."""
        return self._qemu_log.read_text(errors="replace").partition("\n")[2].strip()


def _program(machine: Machine) -> tuple[str, ...]:
    """Return QEMU's program, and the options without which it is not what is needed."""
    if machine.program:
        return machine.program
    if machine.firmware == "loongarch":
        return (qemu_since(LOONGARCH64_QEMU, machine.platform),)
    if machine.firmware != "edk2":
        return (machine.platform.qemu,)
    program = qemu_since(EDK2_QEMU, machine.platform)
    if program == machine.platform.qemu:
        return (program,)
    return (program, "-bios", str(Suite(LATER_QEMU_SUITE).package("opensbi").root / OPENSBI))


def qemu_since(wanted: int, platform: Platform) -> str:
    """Return QEMU's program for a platform's machines, as :func:`program_since` does."""
    package = LATER_PACKAGES.get(platform, platform.qemu_package)
    return program_since(wanted, platform.qemu, package)


def program_since(wanted: int, program: str, package: str) -> str:
    """Return one of QEMU's, this host's or a later one, whose version is ``wanted`` at least.

    ``package`` has the later one. Raises :class:`~tests.vm.debian.FetchError` where that cannot be
    had.
    """
    if shutil.which(program):
        words = [program, "--version"]
        said = subprocess.run(words, capture_output=True, text=True, check=True).stdout
        version = re.search(r"version (\d+)\.", said)
        if version and int(version[1]) >= wanted:
            return program
    return str(Suite(LATER_QEMU_SUITE).package(package).root / "usr/bin" / program)


def _ports(machine: Machine, console: Path, channel: Path) -> tuple[str, ...]:
    """Return the options for both serial ports."""
    if machine.platform is S390X:
        # SCLP's second console is one of lines, which the kernel breaks at 80 columns.
        return ("-serial", f"file:{channel}", "-serial", f"file:{console}")
    return ("-serial", f"file:{console}", *_channel(machine, channel))


def _channel(machine: Machine, log: Path) -> tuple[str, ...]:
    """Return the options for the second serial port; not all boards have one of their own."""
    if machine.bare:
        # The first of these buses is for others, whose device is to be the first one then.
        port = f"file,id=channel,path={log}"
        bus = ("-device", "virtio-serial-pci,id=second,bus=pcie.1", "-chardev", port)
        return (*bus, "-device", "virtserialport,bus=second.0,chardev=channel,name=channel")
    if machine.platform in (X86_64, I386, PPC64LE, LOONGARCH64):
        return ("-serial", f"file:{log}")
    port = f"file,id=channel,path={log}"
    return ("-chardev", port, "-device", "pci-serial,chardev=channel")


def _firmware(name: str, logs: Path) -> list[str]:
    """Return the options for a firmware; UEFI variables are a fresh copy each time."""
    if name in ("bios", "none"):
        return []
    if name == "aavmf":
        aavmf = Suite(FIRMWARE_SUITE).package("qemu-efi-aarch64").root / "usr/share/AAVMF"
        # 64 MiB of variables: QEMU keeps what changes, and forgets it.
        return _flash(aavmf / "AAVMF_CODE.fd", f"{aavmf / 'AAVMF_VARS.fd'},snapshot=on")
    if name == "edk2":
        edk2 = Suite(EDK2_SUITE).package("qemu-efi-riscv64").root / "usr/share/qemu-efi-riscv64"
        flash = f"{edk2 / 'RISCV_VIRT_VARS.fd'},snapshot=on"
        return _flash(edk2 / "RISCV_VIRT_CODE.fd", flash)
    if name == "loongarch":
        package = Suite(LOONGARCH64_FIRMWARE_SUITE).package("qemu-efi-loongarch64")
        edk2 = package.root / "usr/share/qemu-efi-loongarch64"
        return _flash(edk2 / "QEMU_EFI.fd", f"{edk2 / 'QEMU_VARS.fd'},snapshot=on")
    if name != "ovmf":
        raise QemuError(f"firmware is bios, ovmf, none, aavmf or edk2, not {name!r}")
    ovmf = Suite(FIRMWARE_SUITE).package("ovmf").root / "usr/share/OVMF"
    variables = logs / "OVMF_VARS.fd"
    shutil.copyfile(ovmf / "OVMF_VARS_4M.fd", variables)
    return _flash(ovmf / "OVMF_CODE_4M.fd", str(variables))


def _flash(code: Path, variables: str) -> list[str]:
    return [
        *("-drive", f"if=pflash,format=raw,unit=0,readonly=on,file={code}"),
        *("-drive", f"if=pflash,format=raw,unit=1,file={variables}"),
    ]


class PhysicalMemory:
    """Writes into a running guest's memory, by QEMU's debugger port.

    The guest stands still while it happens. What was written shows in a kernel's own
    view of its memory, whatever the kernel allows its programs to write.
    """

    CHUNK = 1024
    """Bytes for one packet, which QEMU limits to 4096 characters."""

    def __init__(self, port: Path) -> None:
        """``port`` is the socket to make, of at most 107 characters."""
        self._port = port

    @property
    def options(self) -> tuple[str, ...]:
        """What the guest's QEMU needs to be told."""
        return ("-gdb", f"unix:{self._port},server=on,wait=off")

    def write(self, address: int, data: bytes) -> None:
        """Write ``data`` at a physical address; raises :class:`QemuError` when refused."""
        with socket.socket(socket.AF_UNIX) as debugger:
            debugger.settimeout(10)  # seconds
            debugger.connect(str(self._port))
            self._ask(debugger, "Qqemu.PhyMemMode:1")
            for start in range(0, len(data), self.CHUNK):
                part = data[start : start + self.CHUNK]
                self._ask(debugger, f"M{address + start:x},{len(part):x}:{part.hex()}")
            self._ask(debugger, "D")  # detach: the guest runs on

    @staticmethod
    def _ask(debugger: socket.socket, packet: str) -> None:
        """Send a packet of GDB's remote protocol, and insist on ``OK``."""
        debugger.sendall(f"${packet}#{sum(packet.encode()) & 0xFF:02x}".encode())
        reply = b""
        # T..: that the guest has stopped, which nobody asked.
        while not (match := re.fullmatch(rb"[+]*\$(?!T)([^#]*)#..", reply)):
            if re.search(rb"\$T[^#]*#..$", reply):
                reply = b""
            byte = debugger.recv(1)
            if not byte:
                raise QemuError(f"the debugger port closed after {reply!r}")
            reply += byte
        debugger.sendall(b"+")
        if match[1] != b"OK":
            raise QemuError(f"the debugger port answered {match[1]!r} to {packet[:40]}")


class Monitor:
    """QEMU's machine protocol, one command at a time."""

    def __init__(self, port: Path) -> None:
        """``port`` is the socket to make, of at most 107 characters."""
        self._port = port

    @property
    def options(self) -> tuple[str, ...]:
        """What the guest's QEMU needs to be told."""
        return ("-qmp", f"unix:{self._port},server=on,wait=off")

    def ask(self, command: str, arguments: Mapping[str, object]) -> Any:
        """Return what a command answers; raises :class:`QemuError` when QEMU refuses it."""
        with socket.socket(socket.AF_UNIX) as monitor:
            monitor.settimeout(10)  # seconds
            monitor.connect(str(self._port))
            with monitor.makefile("rw") as stream:
                self._say(stream, "qmp_capabilities", {})
                return self._say(stream, command, arguments)

    @staticmethod
    def _say(stream: TextIO, name: str, arguments: Mapping[str, object]) -> Any:
        """Ask, and read up to the answer, past the greeting and events."""
        stream.write(json.dumps({"execute": name, "arguments": arguments}) + "\n")
        stream.flush()
        for line in stream:
            answer = json.loads(line)
            if "error" in answer:
                raise QemuError(f"{name}: {answer['error']['desc']}")
            if "return" in answer:
                return answer["return"]
        raise QemuError(f"{name}: the monitor closed")
