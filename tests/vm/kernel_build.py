"""The kernels that Debian does not have: ``python -m tests.vm.kernel_build [ARCHITECTURE]``.

No arm64 or riscv64 kernel of Debian's has CONFIG_KEXEC_FILE, CONFIG_IMA_KEXEC or
CONFIG_EFI_ZBOOT, no ppc64el kernel CONFIG_KEXEC_FILE, CONFIG_CRASH_HOTPLUG or CONFIG_FA_DUMP, no
s390x kernel since 6.12 any CONFIG_KEXEC at all, and no x86_64 kernel CONFIG_KEXEC_JUMP,
CONFIG_KEXEC_HANDOVER or CONFIG_LIVEUPDATE.
Small ones are built from Debian's own source, once for each version of it and each state of
``ARCHITECTURE-kexec.config``; on two processors that takes some minutes.
"""

from __future__ import annotations

import hashlib
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from tests.vm.debian import KERNEL_SUITES, Package, Suite, cache_dir, locked
from tests.vm.platforms import AARCH64, PLATFORMS, PPC64LE, RISCV64, S390X, X86_64, Platform

BUILT = "built"
"""What scenarios call these kernels, where those of Debian have the name of a series."""

META_PACKAGE = "linux-source"
TOOLCHAIN = {"clang": "clang", "ld.lld": "lld", "llvm-objcopy": "llvm"}
"""The compiler's programs, and the Debian package that each is in."""
LLVM = "-19" if all(shutil.which(f"{name}-19") for name in TOOLCHAIN) else ""
"""What the names of both end in; suites without that version have their own."""

PROGRAMS = {
    "make": "make",
    **{f"{program}{LLVM}": f"{package}{LLVM}" for program, package in TOOLCHAIN.items()},
    "flex": "flex",
    "bison": "bison",
    "bc": "bc",
    "xz": "xz-utils",
}
"""What the build runs, and the Debian package that each is in."""

FILES = ("Image", "Image.gz", "vmlinuz.efi")
VMLINUX = "vmlinux"
BZIMAGE = "bzImage"
BOOTABLE_ELF = "boot-vmlinux"
"""s390x: the ELF file that ``bzImage`` is the flat form of, where VMLINUX is what it unpacks."""
TAIL = 30
"""Lines of the build's log to show when it fails."""


@dataclass(frozen=True, slots=True)
class Recipe:
    """How the kernel of an architecture is built."""

    config: Path
    """The options that are asked for."""
    series: str
    """Of the source."""
    arch: str
    """As the kernel's build calls the architecture."""
    files: tuple[str, ...] = FILES
    by_products: Mapping[str, str] = field(default_factory=dict)
    """By the name they are kept by, files in ``arch/ARCH/boot`` that are made on the way."""


RECIPES: Mapping[str, Recipe] = {
    AARCH64.name: Recipe(Path(__file__).with_name("aarch64-kexec.config"), "6.12", "arm64"),
    # In 6.12 the file call of riscv64 takes ELF files only.
    RISCV64.name: Recipe(
        Path(__file__).with_name("riscv64-kexec.config"), "7.2", "riscv", (*FILES, VMLINUX)
    ),
    PPC64LE.name: Recipe(
        Path(__file__).with_name("ppc64le-kexec.config"), "6.12", "powerpc", (VMLINUX,)
    ),
    S390X.name: Recipe(
        Path(__file__).with_name("s390x-kexec.config"),
        "6.12",
        "s390",
        (BZIMAGE, VMLINUX),
        {BOOTABLE_ELF: VMLINUX},
    ),
    X86_64.name: Recipe(
        Path(__file__).with_name("x86_64-kexec.config"), "7.2", "x86_64", (BZIMAGE,)
    ),
}
"""By :attr:`Platform.name`."""


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
    vmlinux: Path
    """The ELF file, where it is kept."""
    bootable_elf: Path
    """s390x: see :data:`BOOTABLE_ELF`."""
    config: Path


def build_missing() -> str | None:
    """Return what to install when the kernel cannot be built here, else None."""
    packages = {package for program, package in PROGRAMS.items() if not shutil.which(program)}
    if not packages:
        return None
    return f"no kernel can be built here (Debian packages {', '.join(sorted(packages))})"


def built_kernel(platform: Platform = AARCH64) -> BuiltKernel:
    """Return the kernel, built unless the cache has it; raises :class:`KernelBuildError`."""
    if platform.name not in RECIPES:
        raise KernelBuildError(f"no kernel is built for {platform.name}")
    recipe = RECIPES[platform.name]
    source = _source(recipe)
    made_of = recipe.config.read_bytes() + repr((LLVM, recipe.files)).encode()
    made_of += "".join(recipe.by_products).encode()
    name = f"{platform.name}-{source.version}-{hashlib.sha256(made_of).hexdigest()[:16]}"
    place = cache_dir() / "kernels" / name
    # It appears at once and complete: who finds it need not wait for another one's build.
    if not place.is_dir():
        with locked(place.parent / "lock"):
            if not place.is_dir():
                missing = build_missing()
                if missing:
                    raise KernelBuildError(missing)
                _build(recipe, source, place)
    _, gzip, zboot, vmlinux, elf = (place / name for name in (*FILES, VMLINUX, BOOTABLE_ELF))
    release = (place / "release").read_text().strip()
    image = place / recipe.files[0]
    return BuiltKernel(release, image, gzip, zboot, vmlinux, elf, place / "config")


def _source(recipe: Recipe) -> Package:
    """Return the package with the kernel's source; the one asked for only depends on it."""
    suite = Suite(KERNEL_SUITES[recipe.series])
    (name,) = suite.package(META_PACKAGE).depends
    return suite.package(name)


def _build(recipe: Recipe, source: Package, place: Path) -> None:
    """Unpack, configure and compile in a directory that goes; keep only what is wanted."""
    with tempfile.TemporaryDirectory(prefix="build-", dir=place.parent) as work:
        tree, out, kept = (Path(work) / name for name in ("source", "out", "kept"))
        for directory in (tree, out, kept):
            directory.mkdir()
        (archive,) = (source.root / "usr/src").glob("linux-source-*.tar.xz")
        log = place.parent / f"{place.name}.log"
        log.unlink(missing_ok=True)
        _run(log, "tar", "-xf", archive, "-C", tree, "--strip-components=1")
        make = ("make", "-C", tree, f"O={out}", f"ARCH={recipe.arch}", f"LLVM={LLVM or 1}")
        _run(log, *make, f"KCONFIG_ALLCONFIG={recipe.config}", "allnoconfig")
        check_config(recipe.config.read_text(), (out / ".config").read_text(), recipe.config.name)
        _run(log, *make, f"-j{len(os.sched_getaffinity(0))}", *recipe.files)
        for name in recipe.files:
            where = out if name == VMLINUX else out / f"arch/{recipe.arch}/boot"
            shutil.copyfile(where / name, kept / name)
        for name, by_product in recipe.by_products.items():
            shutil.copyfile(out / f"arch/{recipe.arch}/boot" / by_product, kept / name)
        shutil.copyfile(out / ".config", kept / "config")
        shutil.copyfile(out / "include/config/kernel.release", kept / "release")
        kept.rename(place)


def check_config(wanted: str, found: str, name: str = "the configuration") -> None:
    """Insist that each option of the fragment ``name`` came through, dependencies and all."""
    lines = set(found.splitlines())
    options = [line for line in wanted.splitlines() if line.startswith("CONFIG_")]
    lost = [line for line in options if line not in lines]
    if lost:
        raise KernelBuildError(f"{name} asks for what cannot be had: {', '.join(lost)}")


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
    for chosen in sys.argv[1:] or RECIPES:
        print(built_kernel(PLATFORMS[chosen]).image.parent)
