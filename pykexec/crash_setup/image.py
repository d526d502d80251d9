"""The capture initramfs: what goes into it, and the command that builds it. Pure."""

from __future__ import annotations

from typing import TYPE_CHECKING

from pykexec.crash_setup.steps import Run, WriteFile
from pykexec.crash_setup.system import Generator
from pykexec.values.data_classes import dataclass

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from pykexec.crash_setup.place import Place
    from pykexec.crash_setup.steps import Step

STATE = "/var/lib/pykexec"
CAPTURE = f"{STATE}/capture"
TREE = f"{CAPTURE}/tree"
CONFIG = "/etc/pykexec-capture.conf"
SAVER = "/usr/lib/pykexec/capture/save"
BIN = "/usr/lib/pykexec/capture/bin"
PROGRAMS = (
    *(
        "sh",
        "mount",
        "umount",
        "blkid",
        "cat",
        "cp",
        "date",
        "dd",
        "mkdir",
        "mv",
        "od",
        "rm",
        "sha256sum",
    ),
    *("sleep", "stat", "sync", "uname"),
)
"""What the saver runs, whatever its target is."""
HELPERS = {"nfs": ("ip", "mount.nfs"), "ssh": ("ip", "ssh")}
"""What else, by target."""
PACKAGES = {"mount.nfs": "nfs-common", "ssh": "openssh-client", "ip": "iproute2"}
MAIN_LOOP = "initqueue"
"""A module of dracut's, which is in an image only when another one needs it."""
_HOOK_PLACES = ("/var/lib/dracut/hooks", "/usr/lib/dracut/hooks")
"""Where dracut's shell looks for hooks: from 102 on in the first, before in the second only.

In between one is a link to the other, in the image alone; what has both looks at the first.
"""
HOOKS = ("settled", "finished")
"""Points of dracut's main loop; a file of :mod:`pykexec.capture_files` for each."""


@dataclass(frozen=True, slots=True)
class Packed:
    """Files of the running system that are packed, beside what is written for it."""

    programs: Mapping[str, str]
    """By name, where each is; "" for one that is not there."""
    files: tuple[tuple[str, str], ...] = ()
    """Their paths here and in the initramfs."""
    known_hosts: bytes = b""
    """What ssh is to know of the host that the dump goes to; empty for other targets."""
    main_loop: bool = False
    """dracut has its main loop in a module of its own, :data:`MAIN_LOOP`: 112 has, 106 has not."""


def image_path(release: str) -> str:
    """Return where the capture initramfs of a kernel lies."""
    return f"{STATE}/capture-{release}.img"


def wanted_programs(place: Place, makedumpfile: str) -> tuple[str, ...]:
    """Return the names of what the saver will run."""
    tool = ("makedumpfile",) if makedumpfile else ()
    return (*PROGRAMS, *tool, *HELPERS.get(place.target, ()))


def image_steps(
    generator: Generator,
    release: str,
    place: Place,
    config: bytes,
    packed: Packed,
    read: Callable[[str], bytes],
) -> tuple[Step, ...]:
    """Return what builds the image; ``read`` gives the files of :mod:`pykexec.capture_files`."""
    tree = saver_tree(place, config, packed, read)
    if generator is Generator.DRACUT:
        return (*tree, *_dracut(release, place, packed, read))
    return (*tree, *_initramfs_tools(release, place, packed, read))


def saver_tree(
    place: Place, config: bytes, packed: Packed, read: Callable[[str], bytes]
) -> tuple[WriteFile, ...]:
    """Return the files that are packed as they are."""
    tree = [
        WriteFile(f"{TREE}{SAVER}", read("save"), "what saves the dump", 0o755),
        WriteFile(f"{TREE}{CONFIG}", config, "where it saves it"),
    ]
    if packed.known_hosts:
        why = "the host's key as it is known here"
        tree.append(WriteFile(f"{TREE}/etc/pykexec-capture/known_hosts", packed.known_hosts, why))
    return tuple(tree)


def lists(place: Place, packed: Packed) -> tuple[Step, ...]:
    """Return the files that say what else is packed: of the running system, for this target."""
    # By those that need a place of their own: mount(8) looks for its helpers in /sbin.
    programs = [
        f"{path} {'/sbin/' if name.startswith('mount.') else BIN + '/'}{name}"
        for name, path in packed.programs.items()
    ]
    why = "what is packed"
    network = [WriteFile(f"{CAPTURE}/network", b"", "it needs drivers of networks")]
    return (
        WriteFile(f"{CAPTURE}/programs", _lines(programs), why),
        WriteFile(f"{CAPTURE}/files", _lines([f"{a} {b}" for a, b in packed.files]), why),
        WriteFile(f"{CAPTURE}/modules", _lines(list(place.modules)), why),
        WriteFile(f"{CAPTURE}/mounts", _lines([place.mount] if place.mount else []), why),
        *(network if place.link is not None else []),
    )


def passwd(place: Place) -> tuple[Step, ...]:
    """Return what ssh has to be told of; dracut's images have it.

    Without it ssh does not know as whom it runs, and ends.
    """
    if place.target != "ssh":
        return ()
    return (WriteFile(f"{TREE}/etc/passwd", b"root:x:0:0:root:/root:/bin/sh\n", "who ssh is"),)


def _lines(rows: list[str]) -> bytes:
    return "".join(f"{row}\n" for row in rows).encode()


def _initramfs_tools(
    release: str, place: Place, packed: Packed, read: Callable[[str], bytes]
) -> list[Step]:
    conf = f"{CAPTURE}/initramfs-tools"
    settings = "# Written by pykexec crash setup.\nMODULES=dep\nBUSYBOX=auto\nCOMPRESS=gzip\n"
    settings += "DEVICE=\nNFSROOT=auto\nRUNSIZE=10%\nFSTYPE=auto\nRESUME=none\n"
    hook, script = f"{conf}/hooks/pykexec-capture", f"{conf}/scripts/init-premount/pykexec-capture"
    why = "how initramfs-tools packs it"
    output = image_path(release)
    return [
        WriteFile(f"{conf}/initramfs.conf", settings.encode(), "only what this machine needs"),
        WriteFile(f"{conf}/conf.d/pykexec", b"# none\n", "nothing of the ordinary initramfs"),
        WriteFile(hook, read("initramfs-hook"), why, 0o755),
        WriteFile(script, read("initramfs-script"), "when it is run", 0o755),
        *lists(place, packed),
        *passwd(place),
        Run(
            ("mkinitramfs", "-d", conf, "-o", output, release),
            "build the capture initramfs",
            makes=output,
        ),
    ]


def _dracut(release: str, place: Place, packed: Packed, read: Callable[[str], bytes]) -> list[Step]:
    conf = f"{CAPTURE}/dracut.conf"
    settings = "# Written by pykexec crash setup.\n"
    output = image_path(release)
    words = ["dracut", "--force", "--conf", conf, "--confdir", f"{CAPTURE}/dracut.conf.d"]
    words += ["--hostonly", "--no-hostonly-cmdline", "--no-early-microcode", "--kver", release]
    words += ["--omit", "plymouth resume usrmount", "--gzip"]
    words += ["--include", TREE, "/", "--install", " ".join(packed.programs.values())]
    if packed.main_loop:
        words += ["--add", MAIN_LOOP]
    for source, inside in packed.files:
        words += ["--include", source, inside]
    # File by file: of a directory nothing gets to where the image has a link.
    for hook in HOOKS:
        for hooks in _HOOK_PLACES:
            inside = f"{hooks}/initqueue/{hook}/50-pykexec-capture.sh"
            words += ["--include", f"{CAPTURE}/dracut-{hook}", inside]
    if place.modules:
        words += ["--add-drivers", " ".join(place.modules)]
    if place.link is not None:
        words += ["--add-drivers", "=drivers/net"]
    if place.device:
        words += ["--add-device", place.device_file]
    return [
        WriteFile(conf, settings.encode(), "nothing of the ordinary initramfs"),
        WriteFile(f"{CAPTURE}/dracut.conf.d/pykexec.conf", settings.encode(), "the same"),
        *(
            WriteFile(f"{CAPTURE}/dracut-{hook}", read(f"dracut-{hook}"), why, 0o755)
            for hook, why in zip(HOOKS, ("when it is run", "until when"), strict=True)
        ),
        WriteFile(f"{TREE}/usr/lib/dracut/need-initqueue", b"", "dracut's main loop is needed"),
        Run((*words, output), "build the capture initramfs", makes=output),
    ]
