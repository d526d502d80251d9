"""What the guests of one architecture have that those of another have not."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace


@dataclass(frozen=True, slots=True)
class Platform:
    """An architecture, as Debian, QEMU and the kernel know it."""

    name: str
    """What ``uname -m`` says."""
    debian: str
    """Debian's name of the architecture."""
    qemu: str
    """QEMU's program for a whole machine."""
    qemu_package: str
    """The Debian package that it is in."""
    loader: str
    """File name of the C library's dynamic loader."""
    suite: str
    """The Debian suite that guests have their programs from: the oldest that has the architecture
    and that the tests run on."""
    console: str
    """Words for the command line of every kernel that is to be heard on the console."""
    triplet: str = ""
    """GNU's name of the architecture, where that is another one."""
    abi: str = "gnu"
    """What ends GNU's name of the system."""

    @property
    def gnu(self) -> str:
        """GNU's name of the system."""
        return f"{self.triplet or self.name}-linux-{self.abi}"

    @property
    def libraries(self) -> str:
        """Where Debian keeps this architecture's libraries, relative to the root."""
        return f"usr/lib/{self.gnu}"


X86_64 = Platform(
    name="x86_64",
    debian="amd64",
    qemu="qemu-system-x86_64",
    qemu_package="qemu-system-x86",
    loader="ld-linux-x86-64.so.2",
    suite="bookworm",
    # On a busy host the emulated timer does not tick often enough for Linux, which looks at it
    # for a moment at each boot and panics.
    console="console=ttyS0 panic=-1 no_timer_check",
)
AARCH64 = Platform(
    name="aarch64",
    debian="arm64",
    qemu="qemu-system-aarch64",
    qemu_package="qemu-system-arm",
    loader="ld-linux-aarch64.so.1",
    suite="bookworm",
    # Without the early console a kernel that dies young says nothing; the address is that
    # of the UART of QEMU's virt board.
    console="console=ttyAMA0 earlycon=pl011,0x9000000 panic=-1",
)
RISCV64 = Platform(
    name="riscv64",
    debian="riscv64",
    qemu="qemu-system-riscv64",
    qemu_package="qemu-system-riscv; of Debian 12 qemu-system-misc",
    loader="ld-linux-riscv64-lp64d.so.1",
    suite="trixie",
    # As above; without a number behind the address the speed is left as it is.
    console="console=ttyS0 earlycon=uart8250,mmio,0x10000000 panic=-1",
)
PPC64LE = Platform(
    name="ppc64le",
    debian="ppc64el",
    qemu="qemu-system-ppc64",
    qemu_package="qemu-system-ppc",
    loader="ld64.so.2",
    suite="bookworm",
    console="console=hvc0 panic=-1",
    triplet="powerpc64le",
)
ARM = Platform(
    name="arm",
    debian="armhf",
    qemu="qemu-system-arm",
    qemu_package="qemu-system-arm",
    loader="ld-linux-armhf.so.3",
    suite="bookworm",
    console="console=ttyAMA0 earlycon=pl011,0x9000000 panic=-1",
    abi="gnueabihf",
)
S390X = Platform(
    name="s390x",
    debian="s390x",
    qemu="qemu-system-s390x",
    qemu_package="qemu-system-misc; of Debian 14 qemu-system-s390x",
    loader="ld64.so.1",
    suite="bookworm",
    # That of lines: the other one is clean, and the tests' own channel.
    console="conmode=sclp console=ttyS0 panic=-1",
)
LOONGARCH64 = Platform(
    name="loongarch64",
    debian="loong64",
    qemu="qemu-system-loongarch64",
    qemu_package="qemu-system-misc",
    loader="ld-linux-loongarch-lp64d.so.1",
    suite="sid",
    console="console=ttyS0,115200 earlycon=uart8250,mmio,0x1fe001e0 panic=-1",
)
I386 = replace(X86_64, name="i386", debian="i386", loader="ld-linux.so.2")
"""A user space of 32 bits, on kernels of 64 bits and of 32."""
PLATFORMS: Mapping[str, Platform] = {
    platform.name: platform
    for platform in (X86_64, AARCH64, RISCV64, PPC64LE, ARM, S390X, LOONGARCH64, I386)
}
