"""Every program that tests, tools, contrib/ and the Makefile run by name, and what brings it.

tests/lint/test_programs.py holds this to the code and to the Makefile's lists of packages, and
tests/conftest.py to what tests run.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from enum import Enum

SUITES = frozenset(("bookworm", "trixie", "testing"))
"""Those of tools/pristine.py."""


class From(Enum):
    """How a package comes to a host."""

    BASE = "in every Debian: essential, required, or apt itself"
    USER = "README.md asks for it"
    BUILD = "BUILD_PACKAGES"
    TEST = "TEST_PACKAGES"
    FULL = "FULL_PACKAGES"
    PRISTINE = "PRISTINE_PACKAGES"
    FETCHED = "unpacked into the cache by tests/vm/debian.py, where the host has none"
    USED = "on machines that contrib/ is used on, and a stand-in in tests"


@dataclass(frozen=True, slots=True)
class Program:
    """Where a program comes from."""

    package: str
    """Of Debian, the same in every suite that has it."""
    source: From
    suites: frozenset[str] = SUITES
    """Those that have it; the Makefile names another package for the rest."""
    elsewhere: str = ""
    """The package that has the same program in the other suites."""

    @property
    def packages(self) -> Mapping[str, frozenset[str]]:
        """The packages that bring it, and the suites in which they do."""
        found = {self.package: self.suites}
        return {**found, self.elsewhere: SUITES - self.suites} if self.elsewhere else found


_SINCE_TRIXIE = frozenset(("trixie", "testing"))
_NUMBERED = frozenset(("bookworm", "trixie"))
"""Suites with the compiler whose bytes are checked in; others have a later one, by no number."""

COREUTILS = (
    *("base64", "cat", "chmod", "chown", "chroot", "cp", "dirname", "env", "id", "ln", "mkdir"),
    *(
        "mv",
        "nice",
        "rm",
        "sha256sum",
        "sleep",
        "sync",
        "tail",
        "touch",
        "tr",
        "true",
        "uname",
        "wc",
    ),
)

PROGRAMS: Mapping[str, Program] = {
    **{name: Program("coreutils", From.BASE) for name in COREUTILS},
    **{name: Program("apt", From.BASE) for name in ("apt-cache", "apt-config", "apt-get")},
    **{
        name: Program("dpkg", From.BASE)
        for name in ("dpkg", "dpkg-deb", "dpkg-divert", "dpkg-query")
    },
    **{
        name: Program("util-linux", From.BASE) for name in ("flock", "setpriv", "setsid", "unshare")
    },
    "bash": Program("bash", From.BASE),
    "grep": Program("grep", From.BASE),
    "ldd": Program("libc-bin", From.BASE),
    "mount": Program("mount", From.BASE),
    "sed": Program("sed", From.BASE),
    "sh": Program("dash", From.BASE),
    "tar": Program("tar", From.BASE),
    "git": Program("git", From.USER),
    "make": Program("make", From.USER),
    "python3": Program("python3-venv", From.BUILD),
    "clang-19": Program("clang-19", From.BUILD, _NUMBERED),
    "ld.lld-19": Program("lld-19", From.BUILD, _NUMBERED),
    "clang": Program("clang", From.BUILD),
    "ld.lld": Program("lld", From.BUILD),
    "dtc": Program("device-tree-compiler", From.TEST),
    "groff": Program("groff-base", From.TEST),
    "ip": Program("iproute2", From.TEST),
    "qemu-aarch64": Program("qemu-user", From.TEST),
    "qemu-arm": Program("qemu-user", From.TEST),
    "qemu-loongarch64": Program("qemu-user", From.TEST),
    "qemu-ppc64le": Program("qemu-user", From.TEST),
    "qemu-riscv64": Program("qemu-user", From.TEST),
    "qemu-s390x": Program("qemu-user", From.TEST),
    "qemu-system-aarch64": Program("qemu-system-arm", From.TEST),
    "qemu-system-arm": Program("qemu-system-arm", From.TEST),
    "qemu-system-ppc64": Program("qemu-system-ppc", From.TEST),
    "qemu-system-riscv64": Program(
        "qemu-system-riscv", From.TEST, _SINCE_TRIXIE, elsewhere="qemu-system-misc"
    ),
    "qemu-system-x86_64": Program("qemu-system-x86", From.TEST),
    "readelf": Program("binutils", From.TEST),
    "x86_64-linux-gnu-objcopy": Program("binutils", From.TEST),
    "bc": Program("bc", From.FULL),
    "bison": Program("bison", From.FULL),
    "debugfs": Program("e2fsprogs", From.FULL),
    "flex": Program("flex", From.FULL),
    "llvm-objcopy": Program("llvm", From.FULL),
    "llvm-objcopy-19": Program("llvm-19", From.FULL, _NUMBERED),
    "mkfs.ext4": Program("e2fsprogs", From.FULL),
    "qemu-system-loongarch64": Program("qemu-system-misc", From.FULL),
    "qemu-system-s390x": Program("qemu-system-misc", From.FULL),
    "xz": Program("xz-utils", From.FULL),
    "debootstrap": Program("debootstrap", From.PRISTINE),
    "dracut": Program("dracut-core", From.FETCHED),
    "fish": Program("fish", From.FETCHED),
    "mkinitramfs": Program("initramfs-tools-core", From.FETCHED),
    "zsh": Program("zsh", From.FETCHED),
    "ssh-keygen": Program("openssh-client", From.USED),
    "systemctl": Program("systemd", From.USED),
    # Functions that a generator of initramfs images gives to modules.
    **{
        name: Program("dracut", From.USED)
        for name in ("derror", "inst", "inst_hook", "inst_simple")
    },
    **{
        name: Program("mkinitcpio", From.USED)
        for name in ("add_runscript", "add_symlink", "add_systemd_unit")
    },
    "declare": Program("bash", From.BASE),
}
"""By name."""

LIBRARIES: Mapping[str, str] = {
    "libc6-dev": "the kernel's build makes programs for itself",
    "libelf-dev": "one of these, on x86_64, is linked to it",
    "opensbi": "QEMU's riscv64 machines begin with it",
}
"""What the Makefile installs without running anything of it, and why."""
