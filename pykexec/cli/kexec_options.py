"""The options of ``kexec``: one table for the parser, the usage and the manual's test. Pure."""

from __future__ import annotations

from pykexec.architectures import ARCHITECTURES
from pykexec.cli.getopt_long import Option
from pykexec.values.data_classes import replace

_NO_LIVE_UPDATE = (
    "this is for replacing a Xen hypervisor below its running guests, which this version does not "
    "do; xen-livepatch patches a running one"
)
UNSUPPORTED = {
    "load-live-update": _NO_LIVE_UPDATE,
    "exec-live-update": _NO_LIVE_UPDATE,
}
"""Actions of kexec(8) that are refused: to ignore them would do something else."""

# What older versions of kexec(8) do not have yields: a prefix means what it has always meant.
_ROWS: tuple[Option, ...] = (
    Option("help", ("help",), "Print this help and exit.", short="h"),
    Option("?", (), "", short="?"),
    Option("version", ("version",), "Print the version and exit.", short="v"),
    Option("debug", ("debug",), "Say on stderr what is done.", short="d"),
    Option("force", ("force",), "Load and jump at once, without shutdown.", short="f"),
    Option("no-checks", ("no-checks",), "Jump without checking the digest.", short="i"),
    Option("no-ifdown", ("no-ifdown",), "Leave network interfaces up.", short="x"),
    Option("no-sync", ("no-sync",), "Do not write file system buffers out.", short="y"),
    Option("load", ("load",), "Load KERNEL for a later jump.", short="l"),
    Option("load-panic", ("load-panic",), "Load KERNEL to be jumped into on a panic.", short="p"),
    Option(
        "load-preserve-context",
        ("load-preserve-context",),
        "Load KERNEL to return from; needs --mem-max.",
    ),
    Option(
        "load-jump-back-helper",
        ("load-jump-back-helper",),
        "Load the way back to the kernel that waits.",
    ),
    Option("unload", ("unload",), "Unload the loaded kernel (-p: crash kernel).", short="u"),
    Option("exec", ("exec",), "Jump into the loaded kernel.", short="e"),
    Option("status", ("status",), "Is a crash kernel (-l: a kernel) loaded?", short="S"),
    Option("kexec-file-syscall", ("kexec-file-syscall",), "Use kexec_file_load(2).", short="s"),
    Option("kexec-syscall", ("kexec-syscall",), "Use kexec_load(2).", short="c"),
    Option("kexec-syscall-auto", ("kexec-syscall-auto",), "Choose the call (default).", short="a"),
    Option("no-cma", ("no-cma",), "kexec_file_load: keep the image out of CMA.", yields=True),
    Option(
        "lose-preserved",
        ("lose-preserved",),
        "Though kexec handover is on: lose what it has.",
        yields=True,
    ),
    Option("force-dtb", ("force-dtb",), "hand the device tree over.", yields=True),
    Option("hotplug", ("hotplug",), "kexec_load -p: let the kernel follow hotplug.", yields=True),
    Option("noefi", ("noefi",), "kexec_load: do not hand EFI over."),
    Option("pass-memmap-cmdline", ("pass-memmap-cmdline",), "kexec_load -p: use memmap= words."),
    Option("elf32-core-headers", ("elf32-core-headers",), "-p: a core header of 32-bit fields."),
    Option("elf64-core-headers", ("elf64-core-headers",), "-p: a core header of 64-bit fields."),
    Option(
        "backup",
        ("backup",),
        "-p: copy low memory: auto, always or never.",
        metavar="WHEN",
        yields=True,
    ),
    Option(
        "ima", ("ima",), "Hand IMA's list on: auto, always or never.", metavar="WHEN", yields=True
    ),
    Option(
        "dry-run",
        ("dry-run",),
        "Print the layout (text or json), load nothing.",
        metavar="FORMAT",
        optional=True,
        yields=True,
    ),
    Option("type", ("type",), "Insist on this type of image.", short="t", metavar="TYPE"),
    Option(
        "entry",
        ("entry",),
        "Jump there; without KERNEL: a boot entry.",
        metavar="ADDR|NAME",
    ),
    Option("print-ckr-size", ("print-ckr-size",), "Print the size of crash memory and exit."),
    Option("entry-32bit", ("entry-32bit",), "enter KERNEL in 32-bit mode."),
    Option("real-mode", ("real-mode",), "enter KERNEL in real mode."),
    Option("module", ("module",), "multiboot: a module, and its words.", metavar="FILE"),
    Option("args-linux", ("args-linux",), "hand an ELF file what Linux takes."),
    Option("args-elf", ("args-elf",), "hand an ELF file ELF boot notes."),
    Option("args-none", ("args-none",), "hand an ELF file nothing."),
    Option("reuseinitrd", ("reuseinitrd",), "keep the old initrd."),
    *(Option(name, (name,), "") for name in UNSUPPORTED),
    Option("mem-min", ("mem-min",), "Lowest address to use.", metavar="ADDR"),
    Option("mem-max", ("mem-max",), "Highest address to use.", metavar="ADDR"),
    Option("append", ("append", "command-line"), "Kernel command line.", metavar="STRING"),
    Option("reuse-cmdline", ("reuse-cmdline",), "Start from the running command line."),
    Option("initrd", ("initrd", "ramdisk"), "Initial ramdisk.", metavar="FILE"),
    Option(
        "dtb", ("dtb", "devicetreeblob"), "Device tree to hand over.", metavar="FILE", yields=True
    ),
    Option("console-vga", ("console-vga",), "purgatory messages on VGA."),
    Option("console-serial", ("console-serial",), "purgatory messages on a port."),
    Option("serial", ("serial",), "ttyS0, 0xPORT or another tty.", metavar="PORT"),
    Option("serial-baud", ("serial-baud",), "its speed, 9600 to 115200.", metavar="RATE"),
)


def _told(row: Option) -> Option:
    """Return an option with a help that says where it has an effect, if not everywhere."""
    having = [item.family for item in ARCHITECTURES.values() if row.name in item.options.own]
    if not having or not row.help:
        return row
    return replace(row, help=f"{', '.join(dict.fromkeys(having))}: {row.help}")


OPTIONS = tuple(map(_told, _ROWS))

_INDENT = 30


def usage() -> str:
    """Return the usage text, at most 80 columns wide."""
    lines = ["Usage: kexec [OPTION]... [KERNEL]", "Boot KERNEL directly from the running one.", ""]
    for option in OPTIONS:
        if not option.help:
            continue
        argument = f"[={option.metavar}]" if option.optional else f"={option.metavar}"
        names = ", ".join(f"--{long}" for long in option.long)
        if option.metavar:
            names += argument
        head = f" -{option.short}, {names}" if option.short else f"     {names}"
        if len(head) >= _INDENT:
            lines.append(head)
            head = ""
        lines.append(f"{head:<{_INDENT}}{option.help}")
    lines += [
        "",
        "Options of other architectures are taken and have no effect.",
        "Without -l, -p, -u, -e, -f or -S: load KERNEL, then run shutdown -r now.",
        "Exit status: 0 success, 1 wrong usage or nothing loaded, 255 failure,",
        "253 only kexec_file_load was allowed and is of no use, 254 no crash region;",
        "with -S: 1 loaded, 0 not loaded, 255 unknown.",
    ]
    return "\n".join(lines) + "\n"
