"""Every option, alias, prefix, bundle, action and exit code of kexec(8), as a table.

A row says what both tools do, or what either does and why they differ. ``because`` is a row's
head in docs/compatibility.md. The C tool is Debian 12's 2.0.25.
"""

from __future__ import annotations

import errno
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Result:
    """How a tool ended, in kind."""

    code: int
    calls: str = ""
    """In the words of :func:`tests.differential.telling.told`."""
    out: str = ""
    """``usage``, ``version``, ``text``, or a number as it is."""
    err: bool = False
    """Something is said on stderr."""


@dataclass(frozen=True, slots=True)
class Row:
    """One call of ``kexec``: pykexec's result, and the C tool's where that differs."""

    words: str
    """KERNEL, INITRD … stand for files, see FILES of the test; quotes as in a shell."""
    ours: Result
    theirs: Result | None = None
    """None: the same."""
    because: str = ""
    machine: str = "idle"
    """A key of MACHINES of the test."""
    fail: tuple[int, int] | None = None
    """(errno, the number of the call that gets it, 0 for all)."""
    interface: bool = False
    """A network interface is up."""

    @property
    def title(self) -> str:
        """What tells the row from others."""
        failing = "" if self.fail is None else f" [{errno.errorcode[self.fail[0]]}@{self.fail[1]}]"
        return f"{self.machine}{failing}: {self.words}"


HELP = Result(0, out="usage")
VERSION = Result(0, out="version")
WRONG = Result(1, out="usage", err=True)
NO_KERNEL = Result(255, out="usage", err=True)
"""Only of the C tool, both."""
REFUSED = Result(1, err=True)
FAILED = Result(255, err=True)
LOADED = Result(0, "load; sync")
BY_FILE = Result(0, "file; sync")
BY_FILE_WITH_INITRD = Result(0, "file initrd; sync")
BEOBOOT = Result(0, "load 'root=/dev/vda1 ro' initrd; sync")
CRASH_LOADED = Result(0, "load 0x1")
UNLOADED = Result(0, "unload")

USAGE = "Wrong usage"
LATER = "Options of later versions"
FOREIGN = "Options of other architectures"
OWN = "Options of pykexec's own"
DEFAULT_CALL = "The system call without -c, -s and -a"
STRAY = "An option that needs a kernel to load, without one"
FAILURES = "A load that fails ends with 255"
NO_REGION = "A crash load without reserved memory"
VALUES = "A value that is no address"
CONSOLE_VALUES = "A wrong serial port or speed"
FILE_CALL = "Some options mean nothing to `kexec_file_load`"
TYPE = "`-t` with `kexec_file_load`"
OTHER_TYPE = "An option for another type of image"
DISPLAY = "The display"
MESSAGES = "Messages of loaders"
JUMP_BACK = "Jumping back"
UNLOAD_CALL = "The call that unloads"
DEBUG = "What `-d` does"
ERASED = "An option behind `--append`"
REUSED = "A reused command line loses what was about the old files"
ENTRY = "`--entry`"
UNKNOWN_STATE = "A kernel that does not say what is loaded"

_PARSING = (
    Row("-h", HELP),
    Row("--help", HELP),
    Row("--h", HELP),
    Row("-h -v", HELP),
    Row("-h --bogus", HELP),
    Row("-?", Result(1, out="usage")),
    Row("-v", VERSION),
    Row("--version", VERSION),
    Row("-v -h", VERSION),
    Row("-v --bogus", VERSION),
    Row("-uv", VERSION),
    Row("--bogus", REFUSED, WRONG, USAGE),
    Row("--bogus -v", REFUSED, WRONG, USAGE),
    Row("-Z", REFUSED, WRONG, USAGE),
    Row("-lZ KERNEL", REFUSED, WRONG, USAGE),
    Row("--load=x KERNEL", REFUSED, WRONG, USAGE),
    Row("-l KERNEL --append", REFUSED, WRONG, USAGE),
    Row("-l KERNEL -t", REFUSED, WRONG, USAGE),
    Row("--mem 5", REFUSED, WRONG, USAGE),
    Row("--re", REFUSED, WRONG, USAGE),
    Row("--lo KERNEL", REFUSED, WRONG, USAGE),
    Row("--ex", REFUSED, WRONG, USAGE),
    Row("--kexec-s -l KERNEL", REFUSED, WRONG, USAGE),
    Row("--arg -l KERNEL", REFUSED, WRONG, USAGE),
    Row("--f -c KERNEL", Result(1, "load", err=True)),
    Row("--no-c -c -l KERNEL", LOADED),
    Row("--no-i --no-s -c -l KERNEL", Result(0, "load")),
    Row("--unl", UNLOADED),
    Row("--stat", Result(0)),
    Row("--d -u", UNLOADED),
    Row("--ty bzImage64 -c -l KERNEL", LOADED),
    Row("--mem-mi=1 --mem-ma 0x1fffffff -c -l KERNEL", LOADED),
    Row("--kexec-f -l KERNEL", BY_FILE),
    Row("--kexec-syscall-a -l KERNEL", BY_FILE),
    Row("--i INITRD -s -l KERNEL", BY_FILE_WITH_INITRD),
    Row("--ra INITRD -s -l KERNEL", BY_FILE_WITH_INITRD),
    Row("--com x -s -l KERNEL", Result(0, "file 'x'; sync")),
    Row("-clxyi KERNEL", Result(0, "load")),
    Row("-sl KERNEL", BY_FILE),
    Row("-clt bzImage KERNEL", LOADED),
    Row("-cltbzImage KERNEL", LOADED),
    Row("KERNEL -c -l", LOADED),
    Row("-c -l KERNEL extra", LOADED),
    Row("-c -l -- KERNEL", LOADED),
    Row("-c -l KERNEL -- -u", LOADED),
    Row("--append -l -s KERNEL", Result(1, "file '-l'", err=True)),
)

_IMAGES = (
    Row("-s -l KERNEL --append=a --command-line=b", Result(0, "file 'b'; sync")),
    Row("-s -l KERNEL --command-line=b --append=a", Result(0, "file 'a'; sync")),
    Row("-s -l KERNEL --append 'a  b'", Result(0, "file 'a  b'; sync")),
    Row("-s -l KERNEL --append=", BY_FILE),
    Row("-c -l KERNEL '--append=ro quiet'", Result(0, "load 'ro quiet'; sync")),
    Row("-s -l KERNEL --initrd=JUNK --ramdisk=INITRD", BY_FILE_WITH_INITRD),
    Row("-s -l KERNEL --ramdisk=JUNK --initrd INITRD", BY_FILE_WITH_INITRD),
    Row("-c -l KERNEL --initrd=INITRD", Result(0, "load initrd; sync")),
    Row(
        "-s -l KERNEL --reuse-cmdline --append=x",
        Result(0, "file 'root=/dev/vda1 ro quiet x'; sync"),
        Result(0, "file 'root=/dev/vda1 ro initrd=/boot/initrd.img  quiet x'; sync"),
        REUSED,
    ),
    Row("-c -l KERNEL --type=bzImage", LOADED),
    Row("-c -l KERNEL -t bzImage64", LOADED),
    Row("-c -l KERNEL -tnonsense", FAILED),
    Row("-c -l KERNEL -t elf-x86_64", FAILED),
    Row("-s -l KERNEL -t elf-x86_64", FAILED, BY_FILE, TYPE),
    Row("-c -l XZ", LOADED, FAILED, "Kernels in wrappings"),
    Row("-c -l GZIP", LOADED, FAILED, "Kernels in wrappings"),
    Row("-c -l HALF_GZIP", FAILED),
    Row("-c -l JUNK", FAILED),
    Row("-s -l JUNK", FAILED),
    Row("-a -l JUNK", FAILED),
    Row("-c -l /nonexistent", FAILED, REFUSED, FAILURES),
    Row("-c -l EMPTY", FAILED, REFUSED, FAILURES),
    Row("-c -l -", FAILED, REFUSED, FAILURES),
    Row("-c -l KERNEL --initrd=/nonexistent", FAILED, REFUSED, FAILURES),
    Row("-c -l KERNEL --initrd=", FAILED, REFUSED, FAILURES),
    Row("-c -l KERNEL --mem-max=0x100000", FAILED, REFUSED, FAILURES),
    Row("-c -l KERNEL --mem-min=0x2000000 --mem-max=0x1fffffff", LOADED),
    Row("-c -l KERNEL --mem-max=020000000000", LOADED),
    Row("-c -l KERNEL --mem-max=512M", REFUSED, WRONG, USAGE),
    Row("-c -l KERNEL --mem-min=0x", REFUSED, WRONG, USAGE),
    Row("-c -l KERNEL --mem-min=", REFUSED, LOADED, VALUES),
    Row("-c -l KERNEL --mem-max=-1", REFUSED, LOADED, VALUES),
    Row("-c -l KERNEL --mem-max=0x10000000000000000", REFUSED, LOADED, VALUES),
    Row("-s -l KERNEL --mem-max=junk", REFUSED, WRONG, USAGE),
    Row("-s -l KERNEL --mem-max=0x1fffffff", REFUSED, BY_FILE, FILE_CALL),
    Row("-s -l KERNEL --mem-min=0x2000000", REFUSED, BY_FILE, FILE_CALL),
    Row("-s -l KERNEL -i", Result(0, "file; sync", err=True), BY_FILE, FILE_CALL),
    Row("-c -l KERNEL -i", LOADED),
    Row("-c -l KERNEL --no-checks", LOADED),
    Row("-c -l KERNEL --entry=junk", REFUSED, WRONG, USAGE),
    Row("-c -l KERNEL --entry=0x100000", FAILED, LOADED, ENTRY),
    Row("-s -l KERNEL --entry=0x100000", REFUSED, BY_FILE, FILE_CALL),
    Row("-c -l KERNEL --reuseinitrd", REFUSED),
)

_CALLS = (
    Row("-l KERNEL", BY_FILE, LOADED, DEFAULT_CALL),
    Row("-l KERNEL --kexec-syscall", LOADED),
    Row("-s -c -l KERNEL", LOADED),
    Row("-c --kexec-file-syscall -l KERNEL", BY_FILE),
    Row("-c -a -l KERNEL", BY_FILE),
    Row("-c --kexec-syscall-auto -l KERNEL", BY_FILE),
    Row("-s -s -l KERNEL", BY_FILE),
    Row("-c -l KERNEL", Result(255, "load", err=True), fail=(errno.EPERM, 0)),
    Row("-s -l KERNEL", Result(253, "file", err=True), fail=(errno.ENOSYS, 0)),
    Row("-s -l KERNEL", Result(253, "file", err=True), fail=(errno.EINVAL, 0)),
    Row("-s -l KERNEL", Result(253, "file", err=True), fail=(errno.ENOEXEC, 0)),
    Row("-s -l KERNEL", Result(255, "file", err=True), fail=(errno.EPERM, 0)),
    Row("-a -l KERNEL", Result(0, "file; load; sync"), fail=(errno.ENOSYS, 1)),
    Row("-a -l KERNEL", Result(0, "file; load; sync"), fail=(errno.EINVAL, 1)),
    Row("-a -l KERNEL", Result(0, "file; load; sync"), fail=(errno.ENOEXEC, 1)),
    Row("-a -l KERNEL", Result(0, "file; load; sync"), fail=(errno.ENOTSUP, 1)),
    Row("-a -l KERNEL", Result(255, "file", err=True), fail=(errno.EPERM, 1)),
    Row("-a -l KERNEL", Result(255, "file", err=True), fail=(errno.EBUSY, 1)),
    Row("-a -l KERNEL", Result(255, "file", err=True), fail=(errno.EKEYREJECTED, 1)),
    Row("-s -l KERNEL --no-cma", Result(0, "file 0x10; sync"), WRONG, LATER),
    Row("-s -l KERNEL --force-dtb", Result(0, "file 0x20; sync"), WRONG, LATER),
    Row("-c -l KERNEL --no-cma", LOADED, WRONG, LATER),
    Row("-c -l KERNEL --lose-preserved", LOADED, WRONG, OWN),
    Row("-c -l KERNEL --force-dtb", LOADED, WRONG, LATER),
    Row("-a -l KERNEL --force-dtb", Result(0, "file 0x20; load; sync"), WRONG, LATER,
        fail=(errno.EINVAL, 1)),
    Row("-c -p KERNEL --hotplug", Result(0, "load 0x5"), WRONG, LATER, machine="hotplug"),
    Row("-c -p KERNEL --hotplug", FAILED, WRONG, LATER, machine="crash"),
    Row("-c -d -l KERNEL", Result(0, "load 0x10; sync", err=True),
        Result(0, "load; sync", err=True), DEBUG),
    Row("-s -d -l KERNEL", Result(0, "file 0x8; sync", err=True), BY_FILE, DEBUG),
    Row("-c -d -l KERNEL", Result(0, "load 0x10; load; sync", err=True),
        Result(255, "load", err=True), DEBUG, fail=(errno.EINVAL, 1)),
    Row("-c -l KERNEL --dry-run", Result(0, out="text"), WRONG, OWN),
    Row("-c -l KERNEL --ima=never", LOADED, WRONG, OWN),
    Row("-c -p KERNEL --backup=never", CRASH_LOADED, WRONG, OWN, machine="crash"),
)  # fmt: skip

_ACTIONS = (
    Row("-c KERNEL", Result(0, "load; shutdown"), machine="loaded"),
    Row("-c KERNEL", Result(0, "load; shutdown; shutdown"), machine="loaded",
        fail=(errno.ENOENT, 2)),
    Row("-c KERNEL", Result(1, "load", err=True)),
    Row("-c -x -y KERNEL", Result(0, "load; shutdown"), machine="loaded"),
    Row("-c -l KERNEL", LOADED),
    Row("-c --load KERNEL", LOADED),
    Row("-c -l -y KERNEL", Result(0, "load")),
    Row("-c --no-sync -l KERNEL", Result(0, "load")),
    Row("-c -l -x KERNEL", LOADED, machine="loaded", interface=True),
    Row("-c -p KERNEL", CRASH_LOADED, machine="crash"),
    Row("-c --load-panic KERNEL", CRASH_LOADED, machine="crash"),
    Row("-c -l -p KERNEL", CRASH_LOADED, machine="crash"),
    Row("-c -p -l KERNEL", CRASH_LOADED, machine="crash"),
    Row("-clp KERNEL", CRASH_LOADED, machine="crash"),
    Row("-s -p KERNEL", Result(0, "file 0x2"), machine="crash"),
    Row("-c -p KERNEL", Result(254, err=True), REFUSED, NO_REGION),
    Row("-p", FAILED, REFUSED, NO_REGION),
    Row("-p", FAILED, NO_KERNEL, USAGE, machine="crash"),
    Row("-l", FAILED, NO_KERNEL, USAGE),
    Row("-f", FAILED, NO_KERNEL, USAGE),
    Row("", FAILED, NO_KERNEL, USAGE),
    Row("-c -f KERNEL", Result(255, "load; sync; down; down; reboot", err=True),
        machine="loaded", fail=(errno.EINVAL, 2), interface=True),
    Row("-c --force KERNEL", Result(255, "load; sync; reboot", err=True), machine="loaded"),
    Row("-c -f -x KERNEL", Result(255, "load; sync; reboot", err=True), machine="loaded",
        interface=True),
    Row("-c -x -f KERNEL", Result(255, "load; sync; reboot", err=True), machine="loaded",
        interface=True),
    Row("-c -f -y KERNEL", Result(255, "load; down; down; reboot", err=True), machine="loaded",
        interface=True),
    Row("-c -fxy KERNEL", Result(255, "load; reboot", err=True), machine="loaded",
        interface=True),
    Row("-c -f KERNEL", Result(1, "load", err=True), interface=True),
    Row("-c -f KERNEL", Result(255, "load", err=True), machine="loaded", fail=(errno.EBUSY, 1),
        interface=True),
    Row("-c -l -f KERNEL", Result(255, "load; sync; reboot", err=True), machine="loaded"),
    Row("-c -f -l KERNEL", LOADED, Result(0, "load; sync; down; down"),
        "A load behind a jump on the command line", machine="loaded", interface=True),
    Row("-e", Result(255, "sync; down; down; reboot", err=True), machine="loaded",
        fail=(errno.EINVAL, 0), interface=True),
    Row("--exec", Result(255, "sync; reboot", err=True), machine="loaded"),
    Row("-e -x", Result(255, "sync; reboot", err=True), machine="loaded", interface=True),
    Row("--no-ifdown -e", Result(255, "sync; reboot", err=True), machine="loaded",
        interface=True),
    Row("-y -e", Result(255, "down; down; reboot", err=True), machine="loaded", interface=True),
    Row("-exy", Result(255, "reboot", err=True), machine="loaded", interface=True),
    Row("-e -i", Result(255, "sync; reboot", err=True), machine="loaded"),
    Row("-e KERNEL", Result(255, "sync; reboot", err=True), machine="loaded"),
    Row("-e", REFUSED, interface=True),
    Row("-e", REFUSED, Result(255, "sync; down; down; reboot", err=True), UNKNOWN_STATE,
        machine="silent", interface=True),
    Row("-c -l -e KERNEL", Result(255, "sync; reboot", err=True), machine="loaded"),
    Row("-c -e -l KERNEL", LOADED, Result(0, "load; sync; down; down"),
        "A load behind a jump on the command line", machine="loaded", interface=True),
    Row("-u", UNLOADED),
    Row("--unload", UNLOADED),
    Row("-u KERNEL", UNLOADED),
    Row("-u -u", UNLOADED),
    Row("-u -x -y --debug", UNLOADED),
    Row("-c -u", UNLOADED),
    Row("-s -u", Result(0, "file-unload")),
    Row("-a -u", UNLOADED, Result(0, "file-unload"), UNLOAD_CALL),
    Row("-s -u", Result(0, "file-unload; unload"), Result(253, "file-unload", err=True),
        UNLOAD_CALL, fail=(errno.ENOSYS, 1)),
    Row("-u", Result(255, "unload", err=True), fail=(errno.EINVAL, 0)),
    Row("-u", Result(0, "unload; file-unload"), Result(255, "unload", err=True), UNLOAD_CALL,
        fail=(errno.EPERM, 1)),
    Row("-p -u", Result(0, "unload 0x1"), machine="crash"),
    Row("-s -p -u", Result(0, "file-unload 0x2"), machine="crash"),
    Row("-u -p", Result(0, "unload 0x1"), Result(255, "unload 0x1", "usage", err=True),
        "`-u -p`", machine="crash"),
    Row("-ulp", Result(0, "unload 0x1"), Result(255, "unload 0x1", "usage", err=True),
        "`-u -p`", machine="crash"),
    Row("-u -e", Result(255, "unload; sync; reboot", err=True), machine="loaded"),
    Row("-e -u", Result(255, "unload; down; down; reboot", err=True), machine="loaded",
        interface=True),
    Row("-e -u", Result(1, "unload", err=True)),
    Row("-c -u -l KERNEL", Result(0, "unload; load")),
    Row("-c -l -u KERNEL", UNLOADED),
)  # fmt: skip

_STATUS = (
    Row("-S", Result(0), machine="loaded"),
    Row("-S", Result(1), machine="crash"),
    Row("--status", Result(1), machine="crash"),
    Row("-S -l", Result(1), machine="loaded"),
    Row("-l -S", Result(0), machine="crash"),
    Row("-S -p", Result(1), machine="crash"),
    Row("-Slp", Result(1), machine="crash"),
    Row("-Spl", Result(1), machine="crash"),
    Row("-S -d", Result(1), machine="crash"),
    Row("-dS", Result(0), machine="loaded"),
    Row("-S -u", Result(0), machine="loaded"),
    Row("-S -e", Result(0), machine="loaded", interface=True),
    Row("-S KERNEL", Result(0), machine="loaded"),
    Row("-S -l KERNEL", Result(1), machine="loaded"),
    Row("-S", FAILED, Result(255), UNKNOWN_STATE, machine="silent"),
    Row("-S -l", FAILED, Result(255), UNKNOWN_STATE, machine="silent"),
    Row("-S --mem-max=junk", REFUSED, WRONG, USAGE, machine="loaded"),
    Row("--print-ckr-size", Result(0, out="268435456"), machine="crash"),
    Row("--print-ckr-size --bogus", Result(0, out="0")),
    Row("-c -l KERNEL --print-ckr-size", Result(0, out="0"), machine="silent"),
)

_X86 = (
    *(
        Row(f"-u {word}", REFUSED, Result(1, out="usage"), STRAY)
        for word in (
            *("--append=x", "--command-line=x", "--initrd=x", "--ramdisk=x", "--reuse-cmdline"),
            *("--noefi", "--pass-memmap-cmdline", "--reuse-video-type", "--entry-32bit"),
            *("--args-elf", "--args-linux", "--args-none", "--module=x", "--real-mode"),
        )
    ),
    Row("-e --append=x", REFUSED, Result(1, out="usage"), STRAY, machine="loaded"),
    Row("-S --append=x", REFUSED, Result(1, out="usage"), STRAY, machine="loaded"),
    Row("-u --dtb=x", REFUSED, WRONG, USAGE),
    Row("-u --devicetreeblob=x", REFUSED, WRONG, USAGE),
    *(
        Row(f"-u {word}", UNLOADED)
        for word in (
            *("--serial=ttyS0", "--serial-baud=9600", "--console-vga", "--console-serial"),
            *("--elf32-core-headers", "--elf64-core-headers", "--mem-min=1", "--mem-max=1"),
            *("--entry=1", "-t bzImage", "-i", "--reset-vga"),
        )
    ),
    Row("-u --serial=junk", UNLOADED, Result(0, "unload", "usage", err=True), CONSOLE_VALUES),
    Row("-c -l KERNEL --serial=ttyS0", LOADED),
    Row("-c -l KERNEL --serial=ttyS1 --serial-baud=9600 --console-serial", LOADED),
    Row("-c -l KERNEL --serial 0x3e8 --serial-baud 115200", LOADED),
    Row("-c -l KERNEL --console-vga", LOADED),
    Row("-c -l KERNEL --serial=1016", FAILED, NO_KERNEL, USAGE),
    Row("-c -l KERNEL --serial=ttyS2", FAILED, NO_KERNEL, USAGE),
    Row("-c -l KERNEL --serial=junk", FAILED, NO_KERNEL, USAGE),
    Row("-c -l KERNEL --serial-baud=7", FAILED, NO_KERNEL, USAGE),
    Row("-c -l KERNEL --serial-baud=20000", FAILED, NO_KERNEL, USAGE),
    Row("-c -l KERNEL --serial-baud=14400", LOADED),
    Row("-c -l KERNEL --serial-baud=0", FAILED, Result(-8), CONSOLE_VALUES),
    Row("-c -l KERNEL --elf32-core-headers", LOADED),
    Row("-c -p KERNEL --elf64-core-headers", CRASH_LOADED, machine="crash"),
    Row("-c -l KERNEL --reuse-video-type", LOADED),
    Row("-c -l KERNEL --noefi", LOADED),
    Row("-c -l KERNEL --pass-memmap-cmdline", LOADED),
    *(
        Row(f"-c -l KERNEL {word}", REFUSED, Result(0, "load; sync", err=True), OTHER_TYPE)
        for word in ("--args-elf", "--args-none", "--module=INITRD")
    ),
    Row("-c -l BEOBOOT", BEOBOOT),
    Row("-c -l BEOBOOT -t beoboot-x86", BEOBOOT),
    Row("-c -l KERNEL -t beoboot-x86", FAILED),
    Row(
        "-c -l BEOBOOT --append=x --initrd=JUNK",
        Result(0, "load 'x'; sync"),
        Result(0, "load 'root=/dev/vda1 ro' initrd; sync", err=True),
        OTHER_TYPE,
    ),
    Row("-c -l KERNEL --args-linux", Result(0, "load; sync", err=True)),
    Row("-c -l KERNEL --reset-vga", Result(0, "load; sync", err=True), LOADED, DISPLAY),
    Row("-c -l KERNEL --entry-32bit", LOADED),
    Row("-c -l KERNEL --real-mode", LOADED, Result(0, "load; sync", "text"), MESSAGES),
    Row("-c -l KERNEL --dtb=JUNK", FAILED, WRONG, LATER),
    Row("-s -l KERNEL --append=x --noefi", REFUSED, BY_FILE, ERASED),
    Row("-s -l KERNEL --append=x --pass-memmap-cmdline",
        Result(0, "file 'x'; sync", err=True), BY_FILE, ERASED),
    Row("-s -l KERNEL --append=x --reuse-video-type", Result(0, "file 'x'; sync"), BY_FILE,
        ERASED),
    Row("-c -l KERNEL --append=x --noefi", Result(0, "load 'x'; sync"), LOADED, ERASED),
    Row("-c -l KERNEL --dt-no-old-root", Result(0, "load; sync", err=True), WRONG,
        FOREIGN),
    Row("-c -l KERNEL --atags --image-size=1", Result(0, "load; sync", err=True), WRONG,
        FOREIGN),
    Row("-c --load-preserve-context KERNEL", REFUSED, machine="crash"),
    Row("-s --load-preserve-context KERNEL", REFUSED, machine="crash"),
    *(
        Row(f"{call}--load-preserve-context --mem-max=0x2fffffff KERNEL",
            Result(0, "load 0x2 'kexec_jump_back_entry=0x0000000000000000'; sync"),
            Result(0, "load 0x2; sync"), JUMP_BACK, machine="crash")
        for call in ("-c ", "")
    ),
    Row("-p --load-preserve-context --mem-max=0x2fffffff KERNEL", REFUSED,
        Result(0, "load 0x2; sync"), JUMP_BACK, machine="crash"),
    Row("--load-jump-back-helper", REFUSED, Result(255, "sync; down; down", err=True), JUMP_BACK,
        machine="loaded", interface=True),
    Row("-c --load-jump-back-helper --entry=0x100000", REFUSED, Result(0, "sync; load 0x2"),
        JUMP_BACK),
    Row("-c --load-jump-back-helper --entry=0x4000000000", Result(0, "load 0x2; sync"),
        Result(0, "sync; load 0x2"), JUMP_BACK),
    Row("--load-live-update KERNEL", REFUSED),
    Row("--exec-live-update", REFUSED, machine="loaded"),
)  # fmt: skip

_ARM64 = (
    *(
        Row(f"-u {word}", UNLOADED)
        for word in ("--append=x", "--ramdisk=x", "--reuse-cmdline", "--dtb=x", "--serial=x")
    ),
    Row("-S --append=x", Result(0)),
    Row("-u --reset-vga", UNLOADED, WRONG, FOREIGN),
    Row("-c -l KERNEL --reset-vga", Result(0, "load; sync", err=True), WRONG, FOREIGN),
    Row("-c -l KERNEL --append=x --ramdisk=INITRD", Result(0, "load initrd; sync")),
    Row("-s -l KERNEL --append=x --command-line=y", Result(0, "file 'y'; sync")),
    Row("-c -l KERNEL -t Image", LOADED),
    Row("-c -l KERNEL -t vmlinux", FAILED),
    Row("-c -l KERNEL --serial=nonsense", Result(0, "load; sync", err=True)),
    Row("-c -l KERNEL --reuseinitrd", REFUSED),
    Row("-c -l KERNEL --mem-min=0x50000000", LOADED),
)  # fmt: skip
"""The same for what is different on arm64; no command line is read out of device trees here."""

TABLES = {
    "parsing": _PARSING,
    "images": _IMAGES,
    "calls": _CALLS,
    "actions": _ACTIONS,
    "status": _STATUS,
    "x86": _X86,
    "arm64": _ARM64,
}
