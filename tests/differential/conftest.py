"""The sandbox, the two tools, and what they load."""

from __future__ import annotations

import random
from pathlib import Path

import pytest

from tests.builders.bzimage import KernelSpec, build_bzimage
from tests.differential.machines import BUILT, recorded
from tests.differential.sandbox import Sandbox, SandboxError, Tool, c_kexec, own_kexec
from tests.needs import unavailable
from tests.vm.debian import FetchError, kernel

_MIB = 1 << 20
INITRD_SIZES = {"10M": 10 * _MIB, "odd": 5243003}
DEBIAN_KERNELS = ("6.1", "6.12", "7.2")
SYNTHETIC_KERNELS = {
    "ordinary": KernelSpec(),
    "no-efi": KernelSpec(xloadflags=0x6F),
    "short-setup": KernelSpec(setup_sects=0, root_flags=0, loadflags=0x83),
    "demanding": KernelSpec(
        kernel_alignment=0x1000000, pref_address=0x3000000, init_size=0x1234567, setup_sects=60
    ),
    "payload-only": KernelSpec(payload_size=0x123450, init_size=0x1000),
}
"""By what is particular about them."""


@pytest.fixture(scope="session")
def sandbox() -> Sandbox:
    """Return the sandbox, seen to work."""
    try:
        made = Sandbox()
        made.verify()
    except SandboxError as error:
        unavailable(f"no tool can be run: {error}")
    return made


@pytest.fixture(scope="session")
def theirs(sandbox: Sandbox) -> Tool:
    """Return the distribution's kexec."""
    try:
        return c_kexec()
    except (SandboxError, FetchError) as error:
        unavailable(f"no kexec of the distribution: {error}")


@pytest.fixture(scope="session")
def ours(sandbox: Sandbox) -> Tool:
    """Return this working tree's kexec."""
    return own_kexec()


@pytest.fixture(scope="session")
def machines(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """Return every machine directory, built and recorded, by name."""
    root = tmp_path_factory.mktemp("machines")
    return {name: build(root / name) for name, build in BUILT.items()} | recorded()


@pytest.fixture(scope="session")
def initrds(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """Return initrds of random bytes, by what is particular about them."""
    root = tmp_path_factory.mktemp("initrds")
    for name, size in INITRD_SIZES.items():
        (root / name).write_bytes(random.Random(size).randbytes(size))
    return {name: root / name for name in INITRD_SIZES}


class Kernels:
    """Kernel files: synthetic ones by name, Debian's by the name of the series."""

    def __init__(self, root: Path) -> None:
        self._root = root

    def path(self, name: str) -> Path:
        """Return the file; skips or fails when it cannot be had."""
        if name in DEBIAN_KERNELS:
            try:
                return kernel(name).image
            except FetchError as error:
                unavailable(f"no kernel {name}: {error}")
        file = self._root / name
        if not file.exists():
            file.write_bytes(build_bzimage(SYNTHETIC_KERNELS[name]))
        return file


@pytest.fixture(scope="session")
def kernels(tmp_path_factory: pytest.TempPathFactory) -> Kernels:
    """Return the kernels to load."""
    return Kernels(tmp_path_factory.mktemp("kernels"))
