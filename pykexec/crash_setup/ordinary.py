"""The saver in the ordinary initramfs, where firmware takes the dump (fadump). Pure.

After a crash firmware boots what the boot loader boots always: no capture initramfs is loaded
beforehand, and none is built. The saver does nothing there in any other boot.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from pykexec.crash_setup.image import CAPTURE, HOOKS, TREE, lists, passwd, saver_tree
from pykexec.crash_setup.planner import unit_steps
from pykexec.crash_setup.steps import Run, SetupPlan, WriteFile
from pykexec.crash_setup.system import Generator

if TYPE_CHECKING:
    from collections.abc import Callable

    from pykexec.crash_setup.image import Packed
    from pykexec.crash_setup.place import Place
    from pykexec.crash_setup.steps import Step
    from pykexec.crash_setup.system import System

_INITRAMFS_TOOLS = "/etc/initramfs-tools"
_DRACUT_CONF = "/etc/dracut.conf.d/pykexec-capture.conf"
DRACUT_MODULE = "/usr/lib/dracut/modules.d/50pykexec-capture"
"""Where the packages have the module that packs it."""
REBUILD = {
    Generator.INITRAMFS_TOOLS: ("update-initramfs", "-u", "-k", "all"),
    Generator.DRACUT: ("dracut", "--force", "--regenerate-all"),
}
"""What makes the initramfs of each kernel anew: any of them may be the boot loader's default."""


def saver_steps(
    generator: Generator,
    place: Place,
    config: bytes,
    packed: Packed,
    read: Callable[[str], bytes],
) -> tuple[Step, ...]:
    """Return what packs the saver; ``read`` gives the files of :mod:`pykexec.capture_files`."""
    own = _dracut if generator is Generator.DRACUT else _initramfs_tools
    return (
        *saver_tree(place, config, packed, read),
        *lists(place, packed),
        *own(place, read),
        Run(REBUILD[generator], "pack it into the initramfs of each kernel"),
    )


def _initramfs_tools(place: Place, read: Callable[[str], bytes]) -> list[Step]:
    hook = f"{_INITRAMFS_TOOLS}/hooks/pykexec-capture"
    script = f"{_INITRAMFS_TOOLS}/scripts/init-premount/pykexec-capture"
    return [
        WriteFile(hook, read("initramfs-hook"), "packs what saves a dump by firmware", 0o755),
        WriteFile(script, read("initramfs-script"), "runs it where there is one", 0o755),
        *passwd(place),
    ]


def _dracut(place: Place, read: Callable[[str], bytes]) -> list[Step]:
    drivers = [*place.modules, *(("=drivers/net",) if place.link is not None else ())]
    lines = [
        "# Written by pykexec crash setup: packs what saves a dump by firmware.",
        'add_dracutmodules+=" pykexec-capture "',
    ]
    if drivers:
        lines.append(f'add_drivers+=" {" ".join(drivers)} "')
    if place.device:
        lines.append(f'add_device+=" {place.device_file} "')
    return [
        *(
            WriteFile(f"{CAPTURE}/pykexec-capture-{hook}.sh", read(f"dracut-{hook}"), why, 0o755)
            for hook, why in zip(HOOKS, ("when it is run", "until when"), strict=True)
        ),
        WriteFile(f"{TREE}/usr/lib/dracut/need-initqueue", b"", "dracut's main loop is needed"),
        WriteFile(_DRACUT_CONF, "".join(f"{line}\n" for line in lines).encode(), "asks for it"),
    ]


def firmware_plan(system: System, size: str) -> SetupPlan:
    """Plan all that follows the initramfs; ``size`` says how much boot memory is advisable."""
    notes = ["firmware takes the dump here (fadump): no crash kernel is loaded", size]
    return SetupPlan(
        steps=tuple(unit_steps(system, "register it now")), notes=tuple(filter(None, notes))
    )
