"""The calls that programs make of kexec, in their own words: each gives what it is made for.

The files are named as those programs name them; what they read back is held against the
C tool's.
"""

from __future__ import annotations

import errno
import re
from dataclasses import dataclass
from pathlib import Path

import pytest

from pykexec.values.kernel_state import KernelState
from pykexec.values.ranges import Range
from tests.builders.arm64 import build_tree
from tests.builders.bzimage import KernelSpec, build_bzimage
from tests.builders.machines import MachineDirectory
from tests.differential.machines import bios_512m, every_kind, golden_b
from tests.differential.sandbox import Sandbox, Tool
from tests.differential.telling import told

pytestmark = pytest.mark.differential

# Words with which kdump-utils ends its command lines on x86_64 and aarch64, and kdump-tools.
KDUMP_UTILS = (
    "root=UUID=0b3e ro novmcoredd hugetlb_cma=0 kfence.sample_interval=0 "
    "initramfs_options=size=90% irqpoll nr_cpus=1 reset_devices cgroup_disable=memory mce=off "
    "numa=off udev.children-max=2 panic=10 acpi_no_memhotplug transparent_hugepage=never "
    "nokaslr hest_disable cma=0 pcie_ports=compat"
)
KDUMP_UTILS_ARM64 = "root=UUID=0b3e ro irqpoll nr_cpus=1 swiotlb=noforce cma=0"
KDUMP_TOOLS = (
    "BOOT_IMAGE=/boot/vmlinuz root=/dev/vda1 ro quiet  reset_devices "
    "systemd.unit=kdump-tools-dump.service nr_cpus=1 irqpoll usbcore.nousb"
)
APPEND = "root=/dev/vda1 ro quiet"


@dataclass(frozen=True, slots=True)
class Client:
    """A call, and what it is to come to."""

    name: str
    words: tuple[str, ...]
    """KERNEL, INITRD, DTB stand for files."""
    calls: tuple[str, ...]
    """In the words of :func:`tests.differential.telling.told`."""
    machine: str = "normal"
    says: str = ""
    """A part of what is on stderr; otherwise nothing is."""
    code: int = 0


def _load(words: str, cmdline: str, load: str) -> tuple[tuple[str, ...], str]:
    """Return the words, in which CMDLINE stands for the command line, and the call."""
    given = tuple(cmdline.join(word.split("CMDLINE")) for word in words.split())
    return given, f"{load} {cmdline!r}" + (" initrd" if "INITRD" in words else "")


def crash(name: str, words: str, cmdline: str, load: str = "file 0x2", says: str = "") -> Client:
    """Return a crash load."""
    given, call = _load(words, cmdline, load)
    return Client(name, given, (call,), "crash", says)


def normal(name: str, words: str, load: str = "file", says: str = "") -> Client:
    """Return a normal load with APPEND as the command line."""
    given, call = _load(words, APPEND, load)
    return Client(name, given, (call, "sync"), says=says)


LEFT = ("sync", "reboot")

LOADS = (
    crash("kdump-utils", "-s -p --command-line=CMDLINE --initrd=INITRD KERNEL", KDUMP_UTILS),
    crash("kdump-utils, enforced", "-s -s -p --command-line=CMDLINE --initrd=INITRD KERNEL",
          KDUMP_UTILS),
    crash("kdump-utils without -s", "-p --command-line=CMDLINE --initrd=INITRD KERNEL",
          KDUMP_UTILS),
    crash("kdump-utils, aarch64's words", "-s -p --command-line=CMDLINE --initrd=INITRD KERNEL",
          KDUMP_UTILS_ARM64),
    crash("kdump-utils, ppc64's arguments",
          "--dt-no-old-root -p --command-line=CMDLINE --initrd=INITRD KERNEL", KDUMP_UTILS,
          "file 0x2", "no effect on x86_64: --dt-no-old-root"),
    crash("kdump-utils, i686's arguments",
          "--elf32-core-headers -p --command-line=CMDLINE --initrd=INITRD KERNEL", KDUMP_UTILS),
    crash("kdump-tools", "-p --command-line=CMDLINE --initrd=INITRD KERNEL", KDUMP_TOOLS),
    crash("kdump-tools, secure boot", "-p -s --command-line=CMDLINE --initrd=INITRD KERNEL",
          KDUMP_TOOLS),
    crash("kdump-tools, KDUMP_KEXEC_ARGS",
          "-p -c --elf64-core-headers --command-line=CMDLINE --initrd=INITRD KERNEL", KDUMP_TOOLS,
          "load 0x1"),
    crash("kdump-tools, taken for ELF",
          "-p --args-linux --command-line=CMDLINE --initrd=INITRD KERNEL", KDUMP_TOOLS,
          "file 0x2", "no effect on a bzImage: --args-linux"),
    crash("kdump-tools without initrd", "-p --command-line=CMDLINE KERNEL", KDUMP_TOOLS),
    normal("systemd", "--load KERNEL --append CMDLINE --initrd INITRD"),
    normal("systemd without initrd", "--load KERNEL --append CMDLINE"),
    normal("Debian's kexec-load", "-l KERNEL --initrd=INITRD --append=CMDLINE"),
    normal("Debian's kexec-load without initrd", "-l KERNEL --append=CMDLINE"),
    normal("NixOS", "--load KERNEL --initrd=INITRD --no-checks --command-line CMDLINE",
           "load"),
    normal("NixOS, -s", "--load KERNEL --initrd=INITRD --no-checks -s --command-line CMDLINE",
           "file", "--no-checks has no effect with kexec_file_load"),
    normal("NixOS, auto", "--kexec-syscall-auto --load KERNEL --initrd=INITRD --no-checks "
           "--command-line CMDLINE", "load"),
    normal("ZFSBootMenu", "-a -l KERNEL --initrd=INITRD --command-line=CMDLINE"),
    normal("SONiC", "-l KERNEL -a --initrd=INITRD --append=CMDLINE"),
    normal("SONiC, -s", "-s -l KERNEL --initrd=INITRD --append=CMDLINE"),
    normal("petitboot", "-l --initrd=INITRD --append=CMDLINE KERNEL"),
    normal("petitboot, secure boot", "-s -l --initrd=INITRD --append=CMDLINE KERNEL"),
    normal("petitboot with a device tree", "-l --initrd=INITRD --dtb=DTB --append=CMDLINE KERNEL",
           "load"),
    normal("Heads", "-c -d -l KERNEL --initrd INITRD --append CMDLINE --reuse-video-type",
           "load 0x10", "\nMEMORY RANGES\n"),
    normal("options behind the kernel", "-l -c KERNEL --initrd INITRD --command-line CMDLINE",
           "load"),
)  # fmt: skip
OTHERS = (
    Client("kdump-utils, unload", ("-s", "-p", "-u"), ("file-unload 0x2",), machine="crash"),
    Client("kdump-tools, unload", ("-p", "-u"), ("unload 0x1",), machine="crash"),
    Client("SONiC, unload", ("-u", "-a"), ("unload",)),
    Client("Debian's kexec, systemd-shutdown", ("-e",), LEFT, says="reboot", code=255),
    Client("ZFSBootMenu, jump", ("-e", "-i"), LEFT, says="reboot", code=255),
    Client("kexec-tools' own way", ("-c", "KERNEL"), ("load", "shutdown")),
)


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """Return the files, by what stands for them."""
    root = tmp_path_factory.mktemp("boot")
    made = {
        "KERNEL": build_bzimage(KernelSpec()),
        "INITRD": b"initrd" * 1000,
        "DTB": build_tree((Range(0x100000, 0x20000000),)),
    }
    for name, content in made.items():
        (root / name).write_bytes(content)
    return {name: root / name for name in made}


@pytest.fixture(scope="module")
def places(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """Return the machines: with a kernel loaded, and with one reserved for a crash."""
    root = tmp_path_factory.mktemp("clients")
    made = {"normal": bios_512m(root / "normal"), "crash": golden_b(root / "crash")}
    state = KernelState(loaded=True, crash_loaded=True, crash_size=256 << 20)
    for place in made.values():
        MachineDirectory(place).write_kernel_state(state, old_names=True)
    return made


@pytest.mark.parametrize("client", [*LOADS, *OTHERS], ids=lambda client: client.name)
def test_call(
    sandbox: Sandbox, ours: Tool, places: dict[str, Path], files: dict[str, Path], client: Client
) -> None:
    words = list(client.words)
    for name, path in files.items():
        words = [re.sub(rf"^(--\w+=)?{name}$", rf"\g<1>{path}", word) for word in words]
    refusal = errno.EINVAL if client.code else None
    outcome = sandbox.run(ours, words, places[client.machine], fail_with=refusal)
    assert outcome.exit_code == client.code, outcome.stderr
    assert client.says in outcome.stderr
    assert bool(client.says) == bool(outcome.stderr)
    assert outcome.stdout == ""
    initrd = files["INITRD"].read_bytes()
    assert tuple(told(call, initrd) for call in outcome.calls) == client.calls


SEGMENT = re.compile(r"segment\[\d+\]\.(buf|bufsz|mem|memsz) *= \S+|nr_segments = \d+")
CALL = re.compile(r"kexec_load: entry = 0x[0-9a-f]+ flags = 0x[0-9a-f]+")


def ranges_told(stderr: str) -> list[str]:
    """Return the lines between MEMORY RANGES and what is none."""
    lines = stderr[stderr.index("MEMORY RANGES\n") :].splitlines()[1:]
    return lines[: next(n for n, line in enumerate(lines) if not re.match(r"[0-9a-f]{16}-", line))]


def test_what_is_read_from_the_debug_output(
    sandbox: Sandbox, ours: Tool, theirs: Tool, files: dict[str, Path], tmp_path: Path
) -> None:
    machine = every_kind(tmp_path / "machine")
    words = ["-c", "-d", "-l", str(files["KERNEL"])]
    said = [sandbox.run(tool, words, machine).stderr for tool in (theirs, ours)]
    first, *others = ranges_told(said[0])
    assert first == "0000000000000400-000000000009fbff (0)"
    assert ranges_told(said[1]) == ["0000000000000000-000000000009fbff (0)", *others]
    for text in said:
        assert CALL.search(text)
        assert len(SEGMENT.findall(text)) == 1 + 4 * 4
