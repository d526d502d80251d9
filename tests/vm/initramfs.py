"""The guests' root file system: BusyBox, Python, pykexec with what it needs, and a scenario.

An initramfs is a sequence of archives. The first one, Python and its libraries, changes
rarely and is cached; pykexec and the scenario follow it, made anew for every run.
"""

from __future__ import annotations

import hashlib
import importlib.metadata
import os
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from io import BytesIO
from pathlib import Path, PurePosixPath

from pykexec import launchers
from tests.vm.cpio import CpioWriter, DirectoryWriter, Writer
from tests.vm.debian import Package, Suite, cache_dir, locked
from tests.vm.guest_python import Python, guest_python
from tests.vm.platforms import LOONGARCH64, PPC64LE, RISCV64, S390X, X86_64, Platform

PROJECT = Path(__file__).resolve().parents[2]
GUEST = Path(__file__).resolve().parent / "guest"

SUITE = X86_64.suite
"""What guests of a PC run besides Python is of this suite."""

PYTHON_LIBRARIES = (
    "libc6",
    "libgcc-s1",
    "zlib1g",
    "libexpat1",
    "libffi8",
    "liblzma5",
    "libbz2-1.0",
)
TLS_PACKAGES = {"bookworm": ("libssl3",)}
LATER_TLS_PACKAGES = ("libssl3t64", "libzstd1")
"""What _hashlib is linked against, by suite and in those behind them."""

C_KEXEC_SUITES = {RISCV64.name: "testing"}
"""Where Debian's kexec is from, for architectures that a platform's own suite has none for."""
C_KEXEC_LIBRARIES = {
    "libxenmisc4.17": "libxenctrl.so.4.17",
    "libxentoollog1": "libxentoollog.so.1",
    "libxencall1": "libxencall.so.1",
    "libxenevtchn1": "libxenevtchn.so.1",
    "libxengnttab1": "libxengnttab.so.1",
    "libxenforeignmemory1": "libxenforeignmemory.so.1",
    "libxendevicemodel1": "libxendevicemodel.so.1",
    "libxentoolcore1": "libxentoolcore.so.1",
}
"""What Debian's kexec is linked against, besides libc, where Debian has Xen."""
WITHOUT_XEN = (RISCV64.name, PPC64LE.name, LOONGARCH64.name, S390X.name)

PURE_DISTRIBUTIONS = ("click", "construct", "pyelftools")
X86_64_DISTRIBUTIONS = ("cffi", "pycparser")
"""cffi's extension is the host's own; for another architecture it comes from Debian."""

CFFI_PACKAGE = "python3-cffi-backend"
"""Enough of cffi: pykexec's module for it is generated and needs no Python half."""

SITE = PurePosixPath("usr/lib/python3/dist-packages")
PRUNED_STDLIB = frozenset(
    (
        "ctypes/test",
        "curses",
        "dbm",
        "distutils",
        "ensurepip",
        "idlelib",
        "lib2to3",
        "multiprocessing",
        "pydoc_data",
        "sqlite3",
        "test",
        "tkinter",
        "turtledemo",
        "venv",
        "wsgiref",
        "xmlrpc",
    )
)
PRUNED_EXTENSIONS = ("_curses", "_sqlite3", "readline", "_dbm", "_gdbm", "nis", "audioop")
PRUNED_LIBRARY_PARTS = frozenset(("gconv", "audit", "engines-3", "ossl-modules"))
SMALL_FILE = 1 << 20
"""Scenario files above this size in bytes stay out of the small initrd."""


@dataclass(frozen=True, slots=True)
class Scenario:
    """What one guest is to do: a shell script a phase, and files."""

    phases: Sequence[str]
    files: Mapping[str, bytes | str | Path]
    """By absolute path in the guest; a host's file keeps its mode."""


def write_initramfs(out: Path, scenario: Scenario, platform: Platform = X86_64) -> None:
    """Write the initramfs of a guest that runs ``scenario``."""
    small = small_initrd(scenario, platform)
    last = BytesIO()
    archive = CpioWriter(last)
    _add_scenario(archive, scenario.phases, scenario.files)
    archive.file("boot/initrd-small", small)
    archive.close()
    parts = (
        base_archive(platform).read_bytes(),
        pykexec_archive(guest_python(platform)),
        last.getvalue(),
    )
    with out.open("wb") as file:
        for part in parts:
            file.write(part)


def small_initrd(scenario: Scenario, platform: Platform = X86_64) -> bytes:
    """Return an initrd for later phases: BusyBox, /init and the scenario's small files."""
    out = BytesIO()
    archive = CpioWriter(out)
    _add_busybox(archive, platform)
    files = {name: data for name, data in scenario.files.items() if _size(data) <= SMALL_FILE}
    _add_scenario(archive, scenario.phases, files)
    archive.close()
    return out.getvalue()


def _size(data: bytes | str | Path) -> int:
    return data.stat().st_size if isinstance(data, Path) else len(data)


def _add_scenario(
    archive: CpioWriter, phases: Sequence[str], files: Mapping[str, bytes | str | Path]
) -> None:
    for number, script in enumerate(phases, start=1):
        archive.file(f"scenario/phase{number}.sh", script)
    for name, data in files.items():
        archive.file(name, data, 0o755 if _is_program(data) else None)


def _is_program(data: bytes | str | Path) -> bool:
    """Tell whether what is no file of the host, and so has no mode, is to be executed."""
    return not isinstance(data, Path) and data[:3] in (b"\x7fEL", "#!/")


def _busybox(platform: Platform) -> Package:
    return Suite(platform.suite, platform.debian).package("busybox-static")


def _add_busybox(archive: Writer, platform: Platform) -> None:
    """Add the merged /usr, the device nodes that the kernel needs, BusyBox and our scripts."""
    for name in ("bin", "sbin", "lib", "lib64"):
        archive.directory(f"usr/{name}")
        archive.symlink(name, f"usr/{name}")
    archive.device("dev/console", 5, 1)
    archive.device("dev/null", 1, 3, mode=0o666)
    archive.file("usr/bin/busybox", _busybox(platform).below_usr("bin/busybox"))
    archive.file("init", GUEST / "init", mode=0o755)
    for script in sorted(GUEST.iterdir()):
        if script.name != "init":
            archive.file(f"usr/bin/{script.name}", script, mode=0o755)


def _runtime(platform: Platform) -> tuple[list[Package], list[importlib.metadata.Distribution]]:
    """Return what Python and pykexec's libraries come from: Debian packages, and the host's."""
    python = guest_python(platform)
    tls = TLS_PACKAGES.get(python.suite, LATER_TLS_PACKAGES)
    packages = [*python.packages, *PYTHON_LIBRARIES, *tls]
    distributions = list(PURE_DISTRIBUTIONS)
    if platform is X86_64:
        distributions += X86_64_DISTRIBUTIONS
    else:
        packages.append(CFFI_PACKAGE)
    suite = Suite(python.suite, platform.debian)
    return (
        [suite.package(name) for name in packages],
        [importlib.metadata.distribution(name) for name in distributions],
    )


def base_archive(platform: Platform = X86_64) -> Path:
    """Return the cached archive with BusyBox, Python and its libraries."""
    built = _base_place(platform).with_suffix(".cpio")
    if not built.exists():
        partial = built.with_suffix(f".{os.getpid()}")
        with partial.open("wb") as file:
            archive = CpioWriter(file)
            _add_base(archive, platform)
            archive.close()
        partial.rename(built)
    return built


def base_directory(platform: Platform) -> Path:
    """Return a cached directory with what is in the base archive, for an emulator."""
    built = _base_place(platform)
    with locked(built.with_suffix(".lock")):
        if not built.is_dir():
            with tempfile.TemporaryDirectory(dir=built.parent) as work:
                tree = Path(work) / "tree"
                _add_base(DirectoryWriter(tree), platform)
                tree.rename(built)
    return built


def _base_place(platform: Platform) -> Path:
    """Return a place in the cache, another for each state of what the base is made of."""
    runtime, distributions = _runtime(platform)
    digest = hashlib.sha256(platform.name.encode())
    for package in (*runtime, _busybox(platform)):
        digest.update(f"{package.name} {package.version}\n".encode())
    for distribution in distributions:
        digest.update(f"{distribution.name} {distribution.version}\n".encode())
    makers = (Path(__file__).with_name(name) for name in ("cpio.py", "guest_python.py"))
    for source in (Path(__file__), *makers, *sorted(GUEST.iterdir())):
        digest.update(source.read_bytes())
    place = cache_dir() / "initramfs" / f"base-{digest.hexdigest()[:16]}"
    place.parent.mkdir(parents=True, exist_ok=True)
    return place


def _add_base(archive: Writer, platform: Platform) -> None:
    runtime, distributions = _runtime(platform)
    python = guest_python(platform)
    _add_busybox(archive, platform)
    for package in runtime:
        _add_package(archive, package, python, platform)
    archive.symlink("usr/bin/python3", f"python{python.version}")
    for distribution in distributions:
        _add_distribution(archive, distribution, python)


def debian_kexec(platform: Platform = X86_64) -> tuple[Path, dict[str, Path]]:
    """Return Debian's own kexec, and by name the libraries that it needs besides libc."""
    suite = Suite(C_KEXEC_SUITES.get(platform.name, platform.suite), platform.debian)
    program = suite.package("kexec-tools").below_usr("sbin/kexec")
    needed = {} if platform.name in WITHOUT_XEN else C_KEXEC_LIBRARIES
    libraries = {
        library: (suite.package(package).root / platform.libraries / library).resolve()
        for package, library in needed.items()
    }
    return program, libraries


def c_kexec_files(platform: Platform = X86_64) -> dict[str, bytes | str | Path]:
    """Return the files that make Debian's own kexec available as ``kexec-c``."""
    program, libraries = debian_kexec(platform)
    files: dict[str, bytes | str | Path] = {"/usr/sbin/kexec-c": program}
    for library, place in libraries.items():
        files[f"/{platform.libraries}/{library}"] = place
    return files


def installed_kexec_files(platform: Platform = X86_64) -> dict[str, bytes | str | Path]:
    """Return the files that make pykexec's kexec /usr/sbin/kexec, as packages do."""
    return {
        "/usr/sbin/kexec": launchers.load(platform.name),
        f"/usr/{launchers.SCRIPT}": launchers.script(),
    }


def _add_package(archive: Writer, package: Package, python: Python, platform: Platform) -> None:
    """Add what of a Debian package Python needs to run: binaries, libraries, byte code."""
    for path in sorted(package.root.rglob("*")):
        relative = PurePosixPath(path.relative_to(package.root))
        if relative.parts[0] in ("lib", "lib64", "bin", "sbin"):
            relative = "usr" / relative
        if path.is_symlink():
            # Debian's Python links one file of its own into the configuration directory.
            if _wanted(relative, python, platform):
                archive.symlink(str(relative), str(path.readlink()))
        elif path.is_file() and _wanted(relative, python, platform):
            if relative.suffix == ".py":
                archive.file(str(relative.with_suffix(".pyc")), python.compiled(path, relative))
            else:
                archive.file(str(relative), path)


def _pruned(inside: PurePosixPath, python: Python) -> bool:
    """Tell whether a path below the standard library's directory is of a part nobody needs."""
    top = inside.parts[0]
    # pdb, which construct imports, needs it from 3.14 on.
    unneeded = PRUNED_STDLIB | ({"asyncio"} if python.version in ("3.11", "3.13") else set())
    return top.startswith("config-") or any(str(parent) in unneeded for parent in inside.parents)


def _wanted(path: PurePosixPath, python: Python, platform: Platform) -> bool:
    if path.is_relative_to(python.library):
        inside = path.relative_to(python.library)
        return not _pruned(inside, python) and not path.name.startswith(PRUNED_EXTENSIONS)
    if path.is_relative_to(SITE):
        return path.name.startswith("_cffi_backend")
    if path.is_relative_to(platform.libraries):
        return ".so" in path.name and PRUNED_LIBRARY_PARTS.isdisjoint(path.parts)
    loader = f"usr/lib/{platform.loader}"
    return str(path) in (f"usr/bin/python{python.version}", loader) or path.is_relative_to(
        "usr/lib64"
    )


def _add_distribution(
    archive: Writer, distribution: importlib.metadata.Distribution, python: Python
) -> None:
    """Add the modules of an installed Python distribution, as byte code where possible."""
    for file in distribution.files or ():
        relative = PurePosixPath(file)
        source = Path(str(distribution.locate_file(file)))
        if ".." in relative.parts or "tests" in relative.parts:
            continue
        if relative.suffix == ".py":
            archive.file(
                str(SITE / relative.with_suffix(".pyc")), python.compiled(source, relative)
            )
        elif ".so" in relative.suffixes:
            archive.file(str(SITE / relative), source)


def pykexec_archive(python: Python) -> bytes:
    """Return an archive with this working tree's pykexec: sources, byte code and data."""
    out = BytesIO()
    archive = CpioWriter(out)
    for path in _pykexec_files():
        relative = PurePosixPath(path.relative_to(PROJECT))
        archive.file(str(SITE / relative), path, mode=0o644)
        if path.suffix == ".py":
            cached = f"__pycache__/{path.stem}.{python.cache_tag}.pyc"
            archive.file(str(SITE / relative.parent / cached), python.compiled(path, relative))
    archive.close()
    return out.getvalue()


def _pykexec_files() -> Iterator[Path]:
    for path in sorted((PROJECT / "pykexec").rglob("*")):
        if path.is_file() and "__pycache__" not in path.parts:
            yield path
