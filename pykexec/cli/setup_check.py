"""``pykexec crash setup --check``: would a crash be dumped, and if not, what is missing."""

from __future__ import annotations

import os
import platform
from typing import TYPE_CHECKING

from pykexec.cli.terminal import say, say_line

if TYPE_CHECKING:
    from pykexec.crash.captured import Dumps
    from pykexec.crash.fadump.state import FadumpState
    from pykexec.crash_setup.readiness import Image, Seen
    from pykexec.crash_setup.steps import Manifest
    from pykexec.doctor import Finding
    from pykexec.values.facts import MachineFacts

_MEMINFO = "/proc/meminfo"


def check_setup() -> int:
    """Say what is ready and what is not; returns the exit code: 0, 1, or 3 before the reboot."""
    from pykexec.cli.setup_facts import read_manifest
    from pykexec.crash_setup.steps import EXIT_REBOOT
    from pykexec.doctor import Level
    from pykexec.machine import read_machine
    from pykexec.render.doctor import doctor_lines

    known = read_manifest()
    if known is None:
        say("not set up: pykexec crash setup --yes does it")
        return 1
    from pykexec.loading.fadump import fadump_status

    facts = read_machine("/")
    firmware = fadump_status()
    state = state_of_firmware(firmware) if firmware.enabled else _state(facts, known)
    found = [*state, *readiness(facts, known)]
    say(doctor_lines(found), end="")
    if any(item.level is Level.BLOCKS for item in found):
        reboot = any(item.check == "reboot" for item in found)
        say("not ready: reboot first" if reboot else "not ready")
        return EXIT_REBOOT if reboot else 1
    say_line(f"ready: a crash is dumped to {known.target}; 'pykexec crash test' proves it")
    return 0


def state_of_firmware(state: FadumpState) -> list[Finding]:
    """Judge the registration and the service, where firmware takes the dump."""
    from pykexec.crash.fadump.state import DIRECTORY, how_it_stands
    from pykexec.doctor import Finding, Level

    stands = how_it_stands(state)
    level = Level.FINE if state.registered else Level.BLOCKS
    level = Level.RISK if state.registered and state.rtas_is_lent else level
    found = Finding("fadump", level, stands.text, DIRECTORY, stands.advice)
    return [found, *_service()]


def _service() -> list[Finding]:
    from pykexec.crash_setup.planner import UNIT
    from pykexec.doctor import Finding, Level
    from pykexec.machine.boot_tree import BootTree
    from pykexec.machine.crash_system import is_enabled

    if is_enabled(BootTree("/"), UNIT):
        return []
    return [Finding("service", Level.RISK, f"{UNIT} is not enabled", "",
                    f"systemctl enable {UNIT}")]  # fmt: skip


def _state(facts: MachineFacts, known: Manifest) -> list[Finding]:
    """Judge the reservation, the service and the loaded image."""
    from pykexec.cli.setup_facts import output_of
    from pykexec.crash.reservation import fault
    from pykexec.crash.status import Freshness
    from pykexec.crash_setup.planner import UNIT
    from pykexec.doctor import Finding, Level
    from pykexec.loading.crash_record import judge_image
    from pykexec.machine.crash_state import read_crash_state
    from pykexec.machine.crash_system import running_word
    from pykexec.values.units import format_size

    word = running_word(facts.cmdline)
    reserved = facts.kernel.crash_size
    if known.word and word != known.word and not reserved:
        text = f"the running kernel was booted without {known.word}"
        return [Finding("reboot", Level.BLOCKS, text, "/proc/cmdline", "reboot")]
    found = []
    if not reserved:
        why = fault(facts)
        found.append(Finding("crash_memory", Level.BLOCKS, why.text, "/proc/iomem", why.advice))
    else:
        text = f"{format_size(reserved)} are reserved, by {word or 'nobody knows what'}"
        found.append(Finding("crash_memory", Level.FINE, text))
        if known.word and word != known.word:
            text = f"the kernel was booted with {word}, and not with the {known.word} of the setup"
            found.append(Finding("crash_word", Level.RISK, text, "/proc/cmdline",
                                 "the last word counts: find who else writes one"))  # fmt: skip
    found += _service()
    state = read_crash_state("/")
    judged = judge_image(state, "/")
    fresh = judged.verdict is Freshness.FRESH
    reason, advice = judged.reason, "" if fresh else f"systemctl restart {UNIT}"
    if not fresh and output_of("systemctl", "is-active", UNIT).strip() == "activating":
        reason, advice = f"{UNIT} is loading it at present", "call this again in a moment"
    level = Level.FINE if fresh else Level.BLOCKS
    found.append(Finding("crash_image", level, reason, "", advice))
    return found


def readiness(facts: MachineFacts, known: Manifest) -> list[Finding]:
    """Judge the capture initramfs, its tool, its drivers and the room for a dump."""
    from pykexec.crash_setup.readiness import judge

    return judge(see(facts, known))


def see(facts: MachineFacts, known: Manifest) -> Seen:
    """Look at what readiness is judged by."""
    from pykexec.cli import setup_facts
    from pykexec.crash.reservation_rules import installed_ram
    from pykexec.crash_setup.readiness import Image, Seen
    from pykexec.machine.boot_tree import BootTree
    from pykexec.machine.device_drivers import drivers_of

    release = facts.kernel.release or platform.release()
    return Seen(
        release=release,
        makedumpfile=setup_facts.makedumpfile_version(),
        image=_image_of(release) if release else Image("", problem="unknown kernel"),
        drivers=drivers_of(BootTree("/"), known.directory) if known.directory else frozenset(),
        target=known.target,
        free=_free(known.directory) if known.directory else None,
        ram=installed_ram(facts).size,
        in_use=_in_use(),
    )


def _image_of(release: str) -> Image:
    from pykexec.crash_setup.image import image_path
    from pykexec.loading.fadump import fadump_status
    from pykexec.machine.boot_tree import BootTree
    from pykexec.machine.crash_system import find_initramfs

    if not fadump_status().enabled:
        return _read_image(image_path(release), "the capture initramfs")
    return _read_image(find_initramfs(BootTree("/"), release), "the initramfs")


def _read_image(path: str, what: str) -> Image:
    from pykexec.crash_setup.readiness import Image
    from pykexec.formats.initramfs import initramfs_names
    from pykexec.values.errors import ImageError

    try:
        with open(path, "rb") as file:
            return Image(path, initramfs_names(file.read()), what=what)
    except OSError as error:
        there = what.removeprefix("the ")
        return Image(path, problem=f"there is no {there}: {error.strerror}", what=what)
    except ImageError as error:
        return Image(path, problem=error.message, what=what)


def _free(directory: str) -> int | None:
    """Return the bytes that are free where a directory is, or will be."""
    while directory != "/" and not os.path.isdir(directory):
        directory = os.path.dirname(directory)
    try:
        found = os.statvfs(directory)
    except OSError:
        return None
    return found.f_bavail * found.f_frsize


def _in_use() -> int:
    """Return the RAM that is neither free, nor cache, nor of programs: what -d 31 leaves."""
    values = {}
    with open(_MEMINFO, encoding="ascii") as file:
        for line in file:
            name, _, value = line.partition(":")
            values[name] = int(value.split()[0]) << 10
    left_out = ("MemFree", "Buffers", "Cached", "AnonPages")
    return max(values["MemTotal"] - sum(values.get(name, 0) for name in left_out), 0)


def say_dumps(dumps: Dumps) -> None:
    """Say below the status what stands in the way of a dump, and how the last one came out."""
    from pykexec.cli.setup_facts import read_manifest
    from pykexec.doctor import Level
    from pykexec.machine import read_machine
    from pykexec.render.crash import labelled
    from pykexec.render.doctor import doctor_lines
    from pykexec.values.errors import PykexecError

    if dumps.target:
        say(labelled("dumps go to", dumps.target))
    last = str(dumps.last) if dumps.last else dumps.problem or "none"
    say(labelled("last dump", last))
    known = read_manifest()
    if known is None:
        return
    try:
        found = readiness(read_machine("/"), known)
    except PykexecError as error:
        say(labelled("readiness", error.message))
        return
    in_the_way = [item for item in found if item.level is not Level.FINE]
    if in_the_way:
        say(doctor_lines(in_the_way), end="")
