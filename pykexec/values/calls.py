"""The system calls that load: which there are, what they are told, for which image. Pure."""

from __future__ import annotations

from enum import Enum, IntFlag, StrEnum


class KexecFlags(IntFlag):
    """Flags of kexec_load(2): Linux include/uapi/linux/kexec.h.

    The upper half, masked by ``KEXEC_ARCH_MASK``, is the ELF machine number.
    """

    KEXEC_ON_CRASH = 0x01
    KEXEC_PRESERVE_CONTEXT = 0x02
    KEXEC_UPDATE_ELFCOREHDR = 0x04
    KEXEC_CRASH_HOTPLUG_SUPPORT = 0x08
    KEXEC_DEBUG = 0x10


class KexecFileFlags(IntFlag):
    """Flags of kexec_file_load(2): Linux include/uapi/linux/kexec.h."""

    KEXEC_FILE_UNLOAD = 0x01
    KEXEC_FILE_ON_CRASH = 0x02
    KEXEC_FILE_NO_INITRAMFS = 0x04
    KEXEC_FILE_DEBUG = 0x08
    KEXEC_FILE_NO_CMA = 0x10
    KEXEC_FILE_FORCE_DTB = 0x20


class Call(StrEnum):
    """The two system calls that load."""

    KEXEC_LOAD = "kexec_load"
    KEXEC_FILE_LOAD = "kexec_file_load"


KEXEC_ARCH_MASK = 0xFFFF0000


class Target(Enum):
    """Which of the kernel's two image slots a plan is for."""

    NORMAL = "normal"
    CRASH = "crash"


class CallWish(StrEnum):
    """What the user wants to be used."""

    AUTO = "auto"
    FILE = "file"
    SEGMENTS = "segments"
