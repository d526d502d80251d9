"""Runs kexec tools on a recorded machine, with their system calls recorded instead of made.

A tool runs in private mount and network namespaces, with the machine directory's ``proc``
and ``sys`` over the real ones, without CAP_SYS_BOOT, and with ``capture.c`` preloaded.
Either of the last two keeps it from loading or jumping; nothing is run before both have
been seen to work. What a tool wants to execute, as ``shutdown``, is recorded too and never run.
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from elftools.elf.elffile import ELFFile
from elftools.elf.sections import SymbolTableSection

from pykexec.machine.description import KcoreLoad
from tests.builders.machines import build_kcore
from tests.toolchain import MISSING, find_toolchain
from tests.vm.debian import Suite, cache_dir, locked
from tests.vm.initramfs import base_directory, debian_kexec
from tests.vm.platforms import (
    AARCH64,
    ARM,
    LOONGARCH64,
    PPC64LE,
    RISCV64,
    S390X,
    X86_64,
    Platform,
)
from tests.vm.qemu import LOONGARCH64_QEMU, program_since

PROJECT = Path(__file__).resolve().parents[2]
CAPTURE_SOURCE = Path(__file__).resolve().parent / "capture.c"
HEADER_PACKAGES = ("libc6-dev", "linux-libc-dev")
EMULATORS = {
    AARCH64.name: "qemu-aarch64",
    RISCV64.name: "qemu-riscv64",
    PPC64LE.name: "qemu-ppc64le",
    ARM.name: "qemu-arm",
    LOONGARCH64.name: "qemu-loongarch64",
    S390X.name: "qemu-s390x",
}
EMULATORS_SINCE = {LOONGARCH64.name: LOONGARCH64_QEMU}
"""Where Debian's programs need one of that version: an earlier one has no LSX."""
LIVE_TREE = "firmware/devicetree/base"
"""Below /sys; /proc/device-tree leads there."""
EMULATED_LIBRARIES: Mapping[str, Mapping[str, Sequence[str]]] = {
    AARCH64.name: {"libc6": ("libc.so.6", AARCH64.loader), "zlib1g": ("libz.so.1",)},
    RISCV64.name: {"libc6": ("libc.so.6", RISCV64.loader)},
    PPC64LE.name: {"libc6": ("libc.so.6", PPC64LE.loader)},
    ARM.name: {"libc6": ("libc.so.6", ARM.loader), "zlib1g": ("libz.so.1",)},
    LOONGARCH64.name: {"libc6": ("libc.so.6", LOONGARCH64.loader)},
    S390X.name: {"libc6": ("libc.so.6", S390X.loader), "zlib1g": ("libz.so.1",)},
}
"""What an emulated kexec needs besides what is its own, by package."""

# The real /proc stays visible below $1, for the capturing library and for the probe. The
# order matters: mount(8) itself may want /proc, so that goes last. A crash load leaves a
# record in /run, which is not to be this machine's. That no shutdown is run is seen to by the
# capturing library; here it is made impossible besides.
_ENTER = """\
set -e
mount -t tmpfs tmpfs /run
[ ! -e /sbin/shutdown ] || mount --bind /dev/null /sbin/shutdown
mount --bind /proc "$1"
mount --bind "$2" /sys
mount --bind "$3" /proc
if [ -n "$4" ]; then
    ip link add "$4" type veth peer name "$4-peer"
    ip link set "$4" up
fi
shift 4
exec setpriv --bounding-set=-sys_boot --inh-caps=-sys_boot -- "$@"
"""

_PROBE = """\
import ctypes, os, pathlib, sys
CAP_SYS_BOOT = 22
lines = (pathlib.Path(sys.argv[1]) / "self/status").read_text().splitlines()
capabilities = int(next(line for line in lines if line.startswith("CapEff")).split()[1], 16)
libc = ctypes.CDLL(None)
in_front = getattr(libc, "pykexec_capture_is_in_front", None)
if capabilities >> CAP_SYS_BOOT & 1:
    sys.exit("CAP_SYS_BOOT could not be dropped")
if in_front is None or in_front() != 1:
    sys.exit("the capturing library is not in front of libc")
libc.syscall(246, ctypes.c_long(0x1234), 0, None, ctypes.c_long(0x3E0000))
os.execv("/nonexistent/shutdown", ["shutdown", "-r"])
"""


class SandboxError(Exception):
    """Tools cannot be run safely here; the message says why."""


@dataclass(frozen=True, slots=True)
class CapturedSegment:
    """One segment of a recorded kexec_load(2)."""

    mem: int
    """Physical address."""
    memsz: int
    bufsz: int
    data: bytes
    """``bufsz`` bytes; empty when only sizes were recorded."""


@dataclass(frozen=True, slots=True)
class CapturedFile:
    """A file whose descriptor was passed to kexec_file_load(2)."""

    identity: tuple[int, int]
    """(st_dev, st_ino)."""
    links: int
    """0 for one that exists in memory only."""
    data: bytes


@dataclass(frozen=True, slots=True)
class CapturedCall:
    """One recorded call."""

    call: str
    """``kexec_load``, ``kexec_file_load``, ``reboot``, ``sync``, ``execv`` or ``ifflags``."""
    entry: int = 0
    flags: int = 0
    segments: tuple[CapturedSegment, ...] = ()
    cmdline: bytes = b""
    """Of kexec_file_load, with its NUL."""
    kernel: CapturedFile | None = None
    initrd: CapturedFile | None = None
    """Of kexec_file_load; None where the descriptor was -1."""
    command: int = 0
    """Of reboot."""
    words: tuple[str, ...] = ()
    """Of execv: the path, then the arguments; of ifflags: the interface, ``up`` or ``down``."""
    anonymous: int | None = None
    """Bytes of anonymous memory that the tool had at the call, where asked for."""
    peak_resident: int | None = None
    """Bytes that were resident at most up to the call, files and shared memory included."""


@dataclass(frozen=True, slots=True)
class Outcome:
    """How a tool ended."""

    exit_code: int
    stdout: str
    stderr: str
    calls: tuple[CapturedCall, ...]

    @property
    def load(self) -> CapturedCall:
        """The one kexec_load(2) of a successful load."""
        loads = [call for call in self.calls if call.call == "kexec_load"]
        assert self.exit_code == 0, f"exit {self.exit_code}: {self.stderr}"
        assert len(loads) == 1, f"{len(loads)} calls: {self.stderr}"
        return loads[0]


@dataclass(frozen=True, slots=True)
class Tool:
    """A program that takes kexec's options."""

    name: str
    command: tuple[str, ...]
    environment: Mapping[str, str]
    platform: Platform = X86_64
    """Of another than X86_64 the first word of the command is the emulator."""


def read_records(directory: Path) -> tuple[CapturedCall, ...]:
    """Return the recorded calls in the order in which they were made."""
    return tuple(_read_record(path) for path in sorted(directory.glob("*.json")))


def _read_record(path: Path) -> CapturedCall:
    record = json.loads(path.read_text())
    segments = []
    for index, item in enumerate(record.get("segments", ())):
        data = path.with_suffix(f".seg{index:02d}")
        content = data.read_bytes() if data.exists() else b""
        segments.append(CapturedSegment(item["mem"], item["memsz"], item["bufsz"], content))
    return CapturedCall(
        call=record["call"],
        entry=record.get("entry", 0),
        flags=record.get("flags", 0),
        segments=tuple(segments),
        cmdline=record.get("cmdline", "").encode("latin-1"),
        kernel=_read_file(path, record, "kernel"),
        initrd=_read_file(path, record, "initrd"),
        command=record.get("command", 0),
        words=_read_words(record),
        anonymous=record.get("anonymous"),
        peak_resident=record.get("peak_resident"),
    )


def _read_words(record: dict[str, Any]) -> tuple[str, ...]:
    if "interface" in record:
        return record["interface"], "up" if record["up"] else "down"
    count = sum(key.startswith("word") for key in record)
    return tuple(record[key] for key in ("path", *(f"word{n}" for n in range(count))) if count)


def _read_file(path: Path, record: dict[str, Any], name: str) -> CapturedFile | None:
    if name not in record:
        return None
    item = record[name]
    data = path.with_suffix(f".{name}")
    content = data.read_bytes() if data.exists() else b""
    return CapturedFile((item["dev"], item["ino"]), item["links"], content)


def build_capture_library(platform: Platform = X86_64) -> Path:
    """Compile ``capture.c`` into the cache, once for each state of the source."""
    source = CAPTURE_SOURCE.read_bytes()
    name = f"{platform.name}-{hashlib.sha256(source).hexdigest()[:16]}.so"
    built = cache_dir() / "capture" / name
    with locked(built.parent / "lock"):
        if not built.exists():
            partial = built.with_suffix(".new")
            flags = ("-O2", "-Wall", "-Wextra", "-Werror", "-shared", "-fPIC")
            command = [*_compiler(platform), *flags, "-o", str(partial), str(CAPTURE_SOURCE)]
            subprocess.run(command, check=True)
            partial.rename(built)
    return built


def _compiler(platform: Platform) -> list[str]:
    """Return the command that compiles for ``platform`` and links a library."""
    toolchain = find_toolchain()
    if toolchain is None:
        raise SandboxError(MISSING)
    compiler, linker = toolchain
    if platform is X86_64:
        return [compiler, "-ldl"]
    # Nothing to link with: what the library lacks, the tool has loaded before.
    triplet = platform.gnu
    words = [compiler, f"--target={triplet}", "-nostdlib"]
    suite = Suite(platform.suite, platform.debian)
    for package in HEADER_PACKAGES:
        include = suite.package(package).root / "usr/include"
        words += ["-isystem", str(include / triplet)]
        words += ["-isystem", str(include)]
    return [*words, f"-fuse-ld={linker.removeprefix('ld.')}"]


def check_dynamic(program: Path) -> None:
    """Refuse a program that the capturing library could not stand in front of."""
    with program.open("rb") as file:
        elf = ELFFile(file)
        table = elf.get_section_by_name(".dynsym")
        symbols = table.iter_symbols() if isinstance(table, SymbolTableSection) else ()
        imported = {symbol.name for symbol in symbols if symbol["st_shndx"] == "SHN_UNDEF"}
    missing = {"syscall", "reboot", "execv"} - imported
    if missing:
        raise SandboxError(f"{program} does not take {', '.join(sorted(missing))} from libc")


def c_kexec() -> Tool:
    """Return the distribution's kexec, from its package, with the libraries it needs."""
    program, libraries = _c_kexec_parts(X86_64)
    return Tool("kexec-tools", (str(program),), {"LD_LIBRARY_PATH": str(libraries)})


def emulated_c_kexec(platform: Platform = AARCH64) -> Tool:
    """Return the distribution's kexec for another architecture, which an emulator runs here.

    The emulator knows neither kexec_load(2) nor kexec_file_load(2): were a call of the
    tool's not recorded, it would be refused before it reached the kernel.
    """
    emulator = EMULATORS[platform.name]
    if platform.name in EMULATORS_SINCE:
        emulator = program_since(EMULATORS_SINCE[platform.name], emulator, "qemu-user")
    if shutil.which(emulator) is None:
        raise SandboxError(f"there is no {emulator} on this host (package qemu-user)")
    program, libraries = _c_kexec_parts(platform)
    suite = Suite(platform.suite, platform.debian)
    place = platform.libraries.removeprefix("usr/")
    for package, names in EMULATED_LIBRARIES[platform.name].items():
        for name in names:
            _link(libraries / name, suite.package(package).below_usr(f"{place}/{name}"))
    # The program names its loader as /lib/… or /lib64/…, which the emulator looks for below its
    # prefix.
    _link(libraries.parent / "lib64", libraries)
    command = (emulator, "-L", str(libraries.parent), str(program))
    return Tool("kexec-tools", command, {"LD_LIBRARY_PATH": str(libraries)}, platform)


def _c_kexec_parts(platform: Platform) -> tuple[Path, Path]:
    """Return the distribution's kexec and a directory of links to its own libraries."""
    program, needed = debian_kexec(platform)
    check_dynamic(program)
    libraries = cache_dir() / "capture" / platform.name / "lib"
    libraries.mkdir(parents=True, exist_ok=True)
    for library, place in needed.items():
        _link(libraries / library, place)
    return program, libraries


def _link(link: Path, target: Path) -> None:
    """Make ``link`` lead to what ``target`` is in the end, whatever it led to before."""
    target = target.resolve()
    if not link.is_symlink() or link.readlink() != target:
        link.unlink(missing_ok=True)
        link.symlink_to(target)


def own_kexec() -> Tool:
    """Return pykexec's drop-in, of this working tree."""
    command = (sys.executable, "-m", "pykexec.cli.kexec_compat")
    return Tool("pykexec", command, {"PYTHONPATH": str(PROJECT)})


def emulated_own_kexec() -> Tool:
    """Return pykexec's drop-in, run by arm64's Python under the emulator."""
    root = base_directory(AARCH64)
    program = root / "usr/bin/python3"
    command = (
        EMULATORS[AARCH64.name],
        "-L",
        str(root),
        str(program),
        "-s",
        "-m",
        "pykexec.cli.kexec_compat",
    )
    return Tool("pykexec", command, {"PYTHONPATH": str(PROJECT)}, AARCH64)


class Sandbox:
    """Where tools are run; :meth:`verify` has to come first."""

    def __init__(self) -> None:
        """Build what is needed; raises :class:`SandboxError` when it cannot work here."""
        if os.geteuid() != 0:
            raise SandboxError("private mount namespaces need root: run the tests as root")
        programs = dict.fromkeys(("unshare", "setpriv", "mount"), "util-linux")
        for program, package in {**programs, "ip": "iproute2"}.items():
            if shutil.which(program) is None:
                raise SandboxError(f"there is no {program} on this host (package {package})")
        build_capture_library()
        self._verified = False

    def verify(self) -> None:
        """Prove that a call would be recorded and could not be made; idempotent.

        Raises :class:`SandboxError`; :meth:`run` then refuses.
        """
        if self._verified:
            return
        with tempfile.TemporaryDirectory(prefix="pykexec-probe-") as scratch:
            machine = Path(scratch) / "machine"
            for name in ("proc", "sys"):
                (machine / name).mkdir(parents=True)
            real_proc = Path(scratch) / "real-proc"
            probe = Tool("probe", (sys.executable, "-I", "-c", _PROBE, str(real_proc)), {})
            outcome = self._run(probe, (), machine, {}, Path(scratch))
        if outcome.exit_code != 0:
            raise SandboxError(f"the probe failed: {outcome.stderr.strip()}")
        found = [(call.call, call.entry, call.words) for call in outcome.calls]
        made = [
            ("kexec_load", 0x1234, ()),
            ("execv", 0, ("/nonexistent/shutdown", "shutdown", "-r")),
        ]
        if found != made:
            raise SandboxError(f"the probe's calls were not recorded: {outcome.calls}")
        self._verified = True

    def run(
        self,
        tool: Tool,
        arguments: Sequence[str],
        machine: Path,
        *,
        fail_with: int | None = None,
        fail_call: int | None = None,
        interface: str = "",
    ) -> Outcome:
        """Run ``tool`` on ``machine`` and return how it ended and what it called.

        ``fail_with`` is an errno to be answered, to each call or to call ``fail_call``,
        counted from 1, only. ``interface`` is the name of a network interface to be up then.
        """
        if not self._verified:
            raise SandboxError("Sandbox.verify has not succeeded")
        extra = {}
        if fail_with is not None:
            extra["PYKEXEC_CAPTURE_ERRNO"] = str(fail_with)
        if fail_call is not None:
            extra["PYKEXEC_CAPTURE_FAIL"] = str(fail_call)
        with tempfile.TemporaryDirectory(prefix="pykexec-capture-") as scratch:
            return self._run(tool, arguments, machine, extra, Path(scratch), interface)

    def _run(
        self,
        tool: Tool,
        arguments: Sequence[str],
        machine: Path,
        extra: Mapping[str, str],
        scratch: Path,
        interface: str = "",
    ) -> Outcome:
        records = scratch / "records"
        records.mkdir()
        environment = {**self.environment(tool, records), **extra}
        prefix = enter(machine, scratch, interface)
        command = [*prefix, *_start(tool, environment), *arguments]
        done = subprocess.run(
            command, cwd=scratch, capture_output=True, text=True, check=False, timeout=120
        )
        return Outcome(done.returncode, done.stdout, done.stderr, read_records(records))

    def environment(self, tool: Tool, records: Path) -> dict[str, str]:
        """Return what has to be in the tool's environment for its calls to be recorded."""
        library = build_capture_library(tool.platform)
        return {
            **tool.environment,
            "LD_PRELOAD": str(library),
            "PYKEXEC_CAPTURE_DIR": str(records),
        }


def _start(tool: Tool, environment: Mapping[str, str]) -> list[str]:
    """Set variables for the tool alone: mount and setpriv are not to be captured.

    Nor is an emulator, which is not of the architecture of the libraries that it loads.
    """
    words = [f"{name}={value}" for name, value in environment.items()]
    if tool.platform is X86_64:
        return ["env", *words, *tool.command]
    emulator, *rest = tool.command
    return [emulator, *(part for word in words for part in ("-E", word)), *rest]


def _recorded_kcore(machine: Path) -> bytes | None:
    """Build /proc/kcore of what machine.json says about it."""
    file = machine / "machine.json"
    kcore = json.loads(file.read_text()).get("kcore", {}) if file.exists() else {}
    if "loads" not in kcore:
        return None
    loads = [KcoreLoad(int(load["vaddr"], 16), load["memsz"]) for load in kcore["loads"]]
    starts = [int(load.get("paddr", "0"), 16) for load in kcore["loads"]]
    lines = (f"{name}={value}\n" for name, value in kcore.get("vmcoreinfo", {}).items())
    return build_kcore(loads, starts, "".join(lines))


def enter(machine: Path, scratch: Path, interface: str = "") -> list[str]:
    """Return the command prefix that enters ``machine``; the real /proc is ``real-proc`` there.

    A part that the machine directory does not have is empty there, and never the host's.
    The C tool looks in /proc/mounts for where sysfs is, so that is added; of /proc/kcore
    machine directories have the program headers only. The C library counts the CPUs of
    /proc/stat.
    """
    places = [scratch / name for name in ("real-proc", "empty", "proc")]
    for place in places:
        place.mkdir(exist_ok=True)
    real_proc, sys_part, proc_part = places
    if (machine / "proc").is_dir():
        shutil.copytree(machine / "proc", proc_part, dirs_exist_ok=True)
    if (machine / "sys").is_dir():
        sys_part = machine / "sys"
    with (proc_part / "mounts").open("a") as mounts:
        mounts.write("sysfs /sys sysfs rw 0 0\n")
    if (sys_part / LIVE_TREE).is_dir():
        (proc_part / "device-tree").symlink_to(f"/sys/{LIVE_TREE}")
    kcore = _recorded_kcore(machine)
    if kcore is not None:
        (proc_part / "kcore").write_bytes(kcore)
    cpus = [path.name for path in (sys_part / "devices/system/cpu").glob("cpu[0-9]*")]
    (proc_part / "stat").write_text("".join(f"{cpu} 0 0 0 0\n" for cpu in sorted(cpus)))
    return [
        *("unshare", "--mount", "--net", "--propagation", "private"),
        *("sh", "-c", _ENTER, "sandbox", str(real_proc), str(sys_part), str(proc_part), interface),
    ]
