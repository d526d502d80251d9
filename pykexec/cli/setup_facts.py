"""What a setup has to know of the running system: files, and what programs say."""

from __future__ import annotations

import glob
import json
import os
import re
import shutil
import socket
import subprocess
from typing import TYPE_CHECKING

from pykexec.crash_setup.steps import MANIFEST, Manifest, SetupRefusedError, parse_manifest

if TYPE_CHECKING:
    from pykexec.crash_setup.image import Packed
    from pykexec.crash_setup.place import Link, Place
    from pykexec.crash_setup.settings import Settings
    from pykexec.crash_setup.system import Generator, System
    from pykexec.values.facts import MachineFacts

PATH = "/usr/sbin:/usr/bin:/sbin:/bin"
"""Where the programs that are packed are looked for: not where a user may have put others."""
DRACUT_MODULES = "/usr/lib/dracut/modules.d"


def read_system(facts: MachineFacts, release: str, manifest: Manifest | None) -> System:
    """Read the running system."""
    from pykexec.crash.reservation_rules import installed_ram
    from pykexec.crash_setup.planner import UNIT
    from pykexec.crash_setup.system import System
    from pykexec.machine import crash_system as read
    from pykexec.machine.boot_tree import BootTree

    tree = BootTree("/")
    own = manifest.word if manifest is not None else ""
    return System(
        arch=facts.arch,
        release=release,
        ram=installed_ram(facts).size,
        cmdline=facts.cmdline,
        family=read.read_family(tree),
        root=os.geteuid() == 0,
        confined=read.read_confined(tree),
        generator=read.read_generator(tree),
        loader=read.read_loader(tree),
        others=read.read_others(tree),
        reserving=read.read_reserving(tree, own),
        own_word=own,
        reserved=facts.kernel.crash_size,
        gates=_gates(facts),
        by_firmware=_by_firmware(),
        has_units=read.has_unit(tree, UNIT),
        enabled=read.is_enabled(tree, UNIT),
        kernel=read.find_kernel(tree, release),
        kernel_cmdline=tree.data("/etc/kernel/cmdline"),
    )


def _by_firmware() -> str:
    from pykexec.crash.fadump.state import why_no_crash_kernel
    from pykexec.loading.fadump import fadump_status

    reason = why_no_crash_kernel(fadump_status())
    return "" if reason is None else reason.text


def advisable_size() -> str:
    """Say how much boot memory a dump by firmware should have, where it has less; "" else."""
    from pykexec.crash.fadump.size import recommend
    from pykexec.crash.fadump.state import boot_memory_of
    from pykexec.loading.fadump import fadump_status
    from pykexec.values.units import format_size

    state = fadump_status()
    has = boot_memory_of(state)
    if state.ram is None or state.platform is None or has is None:
        return ""
    found = recommend(state.ram, state.platform)
    if found.size is None or found.size <= has[0]:
        return ""
    return (
        f"its boot memory is {format_size(has[0])} ({has[1]}); better boot with {found.words} "
        f"({found.reason})"
    )


def why_not_going_on() -> str:
    """Say why the saver will reboot instead of releasing memory; "" where it need not."""
    from pykexec.loading.fadump import fadump_status

    state = fadump_status()
    if state.rtas is None or state.rtas.start < (state.mem_reserved or 0):
        return ""
    return (
        f"RTAS lies at {state.rtas}, behind the boot memory, and would be lost with what is "
        "released: the saver reboots instead of going on; with crashkernel=768M or more it goes on"
    )


def _gates(facts: MachineFacts) -> tuple[str, ...]:
    """Return what refuses every load; a signed kernel may pass the others."""
    from pykexec.calls.rejections import shut_gates
    from pykexec.values.calls import Call, Target

    if facts.kernel.xen_host:
        return (
            "this is a Xen host, where memory is reserved by words for the hypervisor, which this "
            "does not set (GRUB_CMDLINE_XEN_DEFAULT): load a crash kernel by kexec -p",
        )
    if facts.kernel.crash_loaded is None:
        return ("the running kernel shows no kexec: built without it, or /sys is not mounted",)
    shut = shut_gates(facts.kernel, Target.CRASH, Call.KEXEC_FILE_LOAD)
    return tuple(g.reason for g in shut if g.name in ("kexec_load_disabled", "load_limit"))


def read_manifest() -> Manifest | None:
    """Return what a setup has left, None where there was none."""
    from pykexec.machine.opening import load_regular
    from pykexec.values.json_fields import JSON_MAX

    try:
        return parse_manifest(load_regular(MANIFEST, JSON_MAX))
    except FileNotFoundError:
        return None
    except OSError as error:
        raise SetupRefusedError(f"cannot read {MANIFEST}: {error.strerror}") from error


def read_settings(target: str | None, key: str | None) -> Settings:
    """Return what the user says, or another kdump's configuration, or the defaults."""
    from pykexec.crash_setup import settings as read
    from pykexec.machine.boot_tree import BootTree
    from pykexec.values.data_classes import replace

    tree = BootTree("/")
    found = read.Settings()
    for path, parse in (
        ("/etc/kdump.conf", read.parse_kdump_conf),
        ("/etc/default/kdump-tools", read.parse_kdump_tools),
    ):
        text = tree.text(path)
        if text is not None:
            found = parse(text, path)
            break
    if target is None:
        return found
    return replace(found, target=read.parse_target(target, key or ""))


def makedumpfile_version() -> str:
    """Return the release of the installed makedumpfile, "" for none."""
    from pykexec.crash_setup.dump_tool import parse_version

    program = shutil.which("makedumpfile", path=PATH)
    if program is None:
        return ""
    return parse_version(output_of(program, "-v"))


def output_of(*words: str) -> str:
    """Return all that a program prints, "" where it cannot be run."""
    try:
        done = subprocess.run(words, capture_output=True, text=True, check=False, timeout=60)
    except (OSError, subprocess.TimeoutExpired):
        return ""
    return done.stdout + done.stderr


def find_link(host: str) -> Link | None:
    """Return the interface by which a host is reached now."""
    from pykexec.crash_setup.place import Link
    from pykexec.machine.boot_tree import BootTree
    from pykexec.machine.device_drivers import interface_drivers

    try:
        peer = str(socket.getaddrinfo(host, None, type=socket.SOCK_STREAM)[0][4][0])
        route = json.loads(output_of("ip", "-j", "route", "get", peer))[0]
        (device,) = json.loads(output_of("ip", "-j", "address", "show", "dev", route["dev"]))
        own = next(a for a in device["addr_info"] if a["local"] == route["prefsrc"])
        address = f"{own['local']}/{own['prefixlen']}"
        found = interface_drivers(BootTree("/"), route["dev"])
        drivers = None if found is None else tuple(sorted(found))
        gateway = route.get("gateway", "")
        return Link(route["dev"], device["address"], peer, address, gateway, drivers)
    except (OSError, ValueError, KeyError, IndexError, StopIteration, TypeError):
        return None


def find_packed(place: Place, makedumpfile: str) -> Packed:
    """Find what is packed; raises :class:`SetupRefusedError` naming what is missing."""
    from pykexec.crash_setup.image import MAIN_LOOP, PACKAGES, Packed, wanted_programs

    found, missing = {}, []
    for name in wanted_programs(place, makedumpfile):
        path = shutil.which(name, path=PATH)
        if path is None:
            package = PACKAGES.get(name, "")
            missing.append(f"{name} (package {package})" if package else name)
        else:
            found[name] = path if name.startswith("mount.") else os.path.realpath(path)
    if missing:
        raise SetupRefusedError(
            f"what the capture initramfs is to have is not installed: {', '.join(missing)}",
            hint="install it, and call this again",
        )
    files: list[tuple[str, str]] = []
    hosts = b""
    if place.target == "ssh":
        if not place.key or not os.path.isfile(place.key):
            raise SetupRefusedError(
                f"the private key for {place.host} is not to be found: {place.key or 'none given'}",
                hint="name one without a passphrase by --ssh-key FILE; it is packed as it is",
            )
        files.append((place.key, "/etc/pykexec-capture/key"))
        hosts = known_host(place.alias)
    main_loop = bool(glob.glob(f"{DRACUT_MODULES}/[0-9][0-9]{MAIN_LOOP}"))
    return Packed(found, tuple(files), hosts, main_loop)


def require_packer(generator: Generator) -> None:
    """Insist on what packs the saver into an ordinary initramfs; of initramfs-tools it is ours."""
    from pykexec.crash_setup.ordinary import DRACUT_MODULE
    from pykexec.crash_setup.system import Generator

    if generator is Generator.DRACUT and not os.path.isdir(DRACUT_MODULE):
        raise SetupRefusedError(
            f"there is no {DRACUT_MODULE}, by which dracut packs what saves the dump",
            hint="install pykexec's package for dracut",
        )


def known_host(name: str) -> bytes:
    """Return the lines of known_hosts for a host; raises :class:`SetupRefusedError` for none."""
    home = os.path.expanduser("~root")
    for path in (f"{home}/.ssh/known_hosts", "/etc/ssh/ssh_known_hosts"):
        said = output_of("ssh-keygen", "-F", name, "-f", path) if os.path.exists(path) else ""
        lines = [line for line in said.splitlines() if line and not line.startswith("#")]
        lines = [line for line in lines if re.search(r" (ssh|ecdsa|sk)-", line)]
        if lines:
            return "".join(f"{line}\n" for line in lines).encode()
    raise SetupRefusedError(
        f"the key of the host {name} is not known here",
        hint=f"compare it, and take it: ssh-keyscan {name} >>/root/.ssh/known_hosts",
    )
