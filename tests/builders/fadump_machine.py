"""Machines whose firmware saves dumps, and a kernel that answers writes as Linux was seen to.

The answers are those of Linux 6.1 and 6.12 under QEMU 11.1, file by file and errno by errno.
"""

from __future__ import annotations

import errno
import json
import os
from dataclasses import dataclass, field
from pathlib import Path

from tests.builders import fadump

GIB = 1 << 30
DIRECTORY = "sys/kernel/fadump"
CMDLINE = "console=hvc0 fadump=on"
RELEASE_MEM = f"{DIRECTORY}/release_mem"


@dataclass
class FadumpMachine:
    """A machine directory: pseries with 1 GiB and Linux 6.12, registered, unless said otherwise."""

    path: Path
    cmdline: str = CMDLINE
    ram: int = GIB
    enabled: int = 1
    registered: int = 1
    reserved: int = 335_548_848
    append: str | None = ""
    hotplug_ready: bool = True
    firmware: str = "pseries"
    """``pseries``, ``powernv`` or ``none``."""
    kernel: bool = True
    """Built with CONFIG_FA_DUMP."""
    old_names: bool = False
    """Before Linux 5.6: in /sys/kernel itself."""
    told: bool = False
    vmcore: bool = False
    refuses_twice: bool = False
    """Before Linux 6.1: 1 is refused where it is registered."""
    silent: bool = False
    """Firmware refuses without an errno."""
    answers: list[int] = field(default_factory=list)
    """Errnos of the next writes of 1 to ``registered``; 0: it is taken."""
    written: list[tuple[str, bytes]] = field(default_factory=list)
    """What was written: name of the file, data."""

    def build(self) -> FadumpMachine:
        """Write the files."""
        description = {
            "arch": "ppc64le", "page_size": 4096, "kernel_release": "6.12.117", "cpus": 2,
        }  # fmt: skip
        self.write("machine.json", json.dumps({"schema": "pykexec.machine/1", **description}))
        self.write("proc/cmdline", f"{self.cmdline}\n")
        self.write("proc/iomem", f"00000000-{self.ram - 1:08x} : System RAM\n")
        self.write("proc/meminfo", f"MemTotal:       {self.ram // 1024 - 4000} kB\n")
        self.write("sys/kernel/kexec_loaded", "0\n")
        self.write("sys/kernel/kexec_crash_loaded", "0\n")
        self.write("sys/kernel/kexec_crash_size", "0\n")
        tree = "sys/firmware/devicetree/base"
        if self.firmware == "pseries":
            self.write(f"{tree}/rtas/ibm,configure-kernel-dump", b"\0\0\0\x2d")
            self.write(f"{tree}/rtas/ibm,extended-os-term", b"")
            if self.told:
                self.write(f"{tree}/rtas/ibm,kernel-dump", fadump.kernel_dump())
        if self.firmware == "powernv":
            self.write(f"{tree}/ibm,opal/dump/compatible", b"ibm,opal-dump\0")
            if self.told:
                self.write(f"{tree}/ibm,opal/dump/mpipl-boot", b"")
        if self.vmcore:
            self.write("proc/vmcore", b"\x7fELF" + bytes(60))
        if self.kernel and self.firmware != "none":
            self.write_state()
        return self

    def name(self, attribute: str) -> str:
        """Return where an attribute is."""
        return f"sys/kernel/fadump_{attribute}" if self.old_names else f"{DIRECTORY}/{attribute}"

    def write_state(self) -> None:
        """Write the attributes as they are now."""
        self.write(self.name("enabled"), f"{self.enabled}\n")
        self.write(self.name("registered"), f"{self.registered if self.enabled else 0}\n")
        if self.told:
            self.write(self.name("release_mem"), "")
        if self.old_names:
            return
        self.write(f"{DIRECTORY}/mem_reserved", f"{self.reserved if self.enabled else 0}\n")
        if self.hotplug_ready:
            self.write(f"{DIRECTORY}/hotplug_ready", "1\n")
        if self.append is not None:
            self.write(f"{DIRECTORY}/bootargs_append", f"{self.append}\n")

    def write(self, name: str, data: str | bytes) -> None:
        """Write a file."""
        place = self.path / name
        place.parent.mkdir(parents=True, exist_ok=True)
        place.write_bytes(data.encode() if isinstance(data, str) else data)

    def take(self, path: str, data: bytes) -> None:
        """Answer a write(2), as :func:`pykexec.loading.fadump.write_attribute` makes it."""
        name = os.path.basename(path).removeprefix("fadump_")
        if not os.path.exists(path):
            raise OSError(errno.ENOENT, "")
        number = {"registered": self._register, "bootargs_append": self._append,
                  "release_mem": self._release}[name](data)  # fmt: skip
        if number:
            raise OSError(number, os.strerror(number))
        self.written.append((name, data))
        self.write_state()

    def _register(self, data: bytes) -> int:
        if not self.enabled or self.vmcore:
            return errno.EPERM
        if data not in (b"0", b"1"):
            return errno.EINVAL
        if data == b"1":
            answer = self.answers.pop(0) if self.answers else 0
            if answer or (self.refuses_twice and self.registered):
                return answer or errno.EEXIST
        if not self.silent:
            self.registered = int(data)
        return 0

    def _append(self, data: bytes) -> int:
        if not self.enabled or self.vmcore:
            return errno.EPERM
        if len(data) >= 2048:
            return errno.EINVAL
        if len(self.cmdline) + len(data) >= 2048:
            return errno.ENOSPC
        self.append = data.removesuffix(b"\n").decode()
        return 0

    def _release(self, data: bytes) -> int:
        if not self.vmcore:
            return errno.EPERM
        if data != b"1":
            return errno.EINVAL
        if not self.silent:
            (self.path / "proc/vmcore").unlink()
            self.vmcore = False
        return 0
