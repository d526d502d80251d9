"""The arm64 kernel that Debian does not have: ``python -m tests.vm.kernel_build``.

No arm64 kernel of Debian's has CONFIG_KEXEC_FILE, CONFIG_IMA_KEXEC or CONFIG_EFI_ZBOOT. A
small one is built from Debian's own source, once for each version of it and each state of
``aarch64-kexec.config``; on two processors that takes some minutes.
"""

from __future__ import annotations

import hashlib
import os
import shutil
import subprocess
import tempfile
from dataclasses import dataclass
from pathlib import Path

from tests.vm.debian import Package, Suite, cache_dir, locked

BUILT = "built"
"""What scenarios call this kernel, where those of Debian have the name of a series."""

CONFIG = Path(__file__).with_name("aarch64-kexec.config")
SUITE = "trixie"
META_PACKAGE = "linux-source"
LLVM = "-19" if shutil.which("clang-19") else ""
"""What the names of the compiler's programs end in; suites without that one have their own."""

PROGRAMS = {
    "make": "make",
    f"clang{LLVM}": f"clang{LLVM}",
    f"ld.lld{LLVM}": f"lld{LLVM}",
    f"llvm-objcopy{LLVM}": f"llvm{LLVM}",
    "flex": "flex",
    "bison": "bison",
    "bc": "bc",
    "xz": "xz-utils",
}
"""What the build runs, and the Debian package that each is in."""

FILES = ("Image", "Image.gz", "vmlinuz.efi")
TAIL = 30
"""Lines of the build's log to show when it fails."""


class KernelBuildError(Exception):
    """The kernel cannot be built; the message says why."""


@dataclass(frozen=True, slots=True)
class BuiltKernel:
    """The files of one build."""

    release: str
    """What ``uname -r`` says when it runs."""
    image: Path
    """As the kernel's build makes it, uncompressed."""
    gzip: Path
    zboot: Path
    """An EFI program that unpacks the kernel."""
    config: Path


def build_missing() -> str | None:
    """Return what to install when the kernel cannot be built here, else None."""
    packages = {package for program, package in PROGRAMS.items() if not shutil.which(program)}
    if not packages:
        return None
    return f"no kernel can be built here (Debian packages {', '.join(sorted(packages))})"


def built_kernel() -> BuiltKernel:
    """Return the kernel, built unless the cache has it; raises :class:`KernelBuildError`."""
    source = _source()
    recipe = hashlib.sha256(CONFIG.read_bytes() + repr((LLVM, FILES)).encode()).hexdigest()
    place = cache_dir() / "kernels" / f"aarch64-{source.version}-{recipe[:16]}"
    with locked(place.parent / "lock"):
        if not place.is_dir():
            missing = build_missing()
            if missing:
                raise KernelBuildError(missing)
            _build(source, place)
    image, gzip, zboot = (place / name for name in FILES)
    release = (place / "release").read_text().strip()
    return BuiltKernel(release, image, gzip, zboot, place / "config")


def _source() -> Package:
    """Return the package with the kernel's source; the one asked for only depends on it."""
    suite = Suite(SUITE)
    (name,) = suite.package(META_PACKAGE).depends
    return suite.package(name)


def _build(source: Package, place: Path) -> None:
    """Unpack, configure and compile in a directory that goes; keep only what is wanted."""
    with tempfile.TemporaryDirectory(prefix="build-", dir=place.parent) as work:
        tree, out, kept = (Path(work) / name for name in ("source", "out", "kept"))
        for directory in (tree, out, kept):
            directory.mkdir()
        (archive,) = (source.root / "usr/src").glob("linux-source-*.tar.xz")
        log = place.parent / f"{place.name}.log"
        log.unlink(missing_ok=True)
        _run(log, "tar", "-xf", archive, "-C", tree, "--strip-components=1")
        make = ("make", "-C", tree, f"O={out}", "ARCH=arm64", f"LLVM={LLVM or 1}")
        _run(log, *make, f"KCONFIG_ALLCONFIG={CONFIG}", "allnoconfig")
        check_config(CONFIG.read_text(), (out / ".config").read_text())
        _run(log, *make, f"-j{os.cpu_count()}", *FILES)
        for name in FILES:
            shutil.copyfile(out / "arch/arm64/boot" / name, kept / name)
        shutil.copyfile(out / ".config", kept / "config")
        shutil.copyfile(out / "include/config/kernel.release", kept / "release")
        kept.rename(place)


def check_config(wanted: str, found: str) -> None:
    """Insist that each option of the fragment came through, dependencies and all."""
    lines = set(found.splitlines())
    options = [line for line in wanted.splitlines() if line.startswith("CONFIG_")]
    lost = [line for line in options if line not in lines]
    if lost:
        raise KernelBuildError(f"{CONFIG.name} asks for what cannot be had: {', '.join(lost)}")


def _run(log: Path, *command: str | Path) -> None:
    stamps = {
        "KBUILD_BUILD_USER": "pykexec",
        "KBUILD_BUILD_HOST": "test",
        "KBUILD_BUILD_TIMESTAMP": "Thu Jan  1 00:00:00 UTC 1970",
    }
    with log.open("ab") as out:
        done = subprocess.run(
            ["nice", *command],
            stdin=subprocess.DEVNULL,
            stdout=out,
            stderr=out,
            env={**os.environ, **stamps},
            check=False,
        )
    if done.returncode != 0:
        end = "\n".join(log.read_text(errors="replace").splitlines()[-TAIL:])
        raise KernelBuildError(f"{command[0]} failed (log: {log}):\n{end}")


if __name__ == "__main__":
    print(built_kernel().image.parent)
