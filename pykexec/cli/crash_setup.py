"""``pykexec crash setup``: from nothing to a machine that saves its dumps."""

from __future__ import annotations

import platform
import socket
from typing import TYPE_CHECKING

import click

from pykexec.cli.terminal import say, say_line
from pykexec.cli.verb_options import warn
from pykexec.crash_setup.settings import ACTIONS, CONTINUE
from pykexec.values.data_classes import dataclass, replace
from pykexec.values.errors import PykexecError, UsageError

if TYPE_CHECKING:
    from pykexec.crash_setup.dump_tool import DumpTool
    from pykexec.crash_setup.place import Place
    from pykexec.crash_setup.settings import Settings
    from pykexec.crash_setup.steps import Manifest, SetupPlan, Step
    from pykexec.crash_setup.system import System
    from pykexec.values.facts import MachineFacts

KDUMP_APPEND = "irqpoll nr_cpus=1 reset_devices acpi_no_memhotplug panic=10"
"""As contrib/kdump/kdump.conf has it."""


@click.command("setup")
@click.option("--yes", is_flag=True, help="Do it. Without, what would be done is shown.")
@click.option("--dry-run", is_flag=True, help="Show every file and command; do nothing.")
@click.option(
    "--check", is_flag=True, help="Say whether a crash would be dumped, or what is missing."
)
@click.option("--undo", is_flag=True, help="Take away what a setup has left, and nothing else.")
@click.option("--build", metavar="RELEASE", help="Build the capture initramfs of a kernel only.")
@click.option(
    "--target",
    metavar="TARGET",
    help="DIR, /dev/DEVICE, nfs://HOST/EXPORT or ssh://USER@HOST/DIR (default: what kdump.conf or "
    "kdump-tools are told here, or /var/crash).",
)
@click.option("--ssh-key", metavar="FILE", help="Private key without a passphrase; it is packed.")
@click.option(
    "--final",
    metavar="ACTION",
    type=click.Choice((*ACTIONS, CONTINUE)),
    help="What follows the dump: reboot, halt, poweroff, or, where firmware takes it, continue to "
    "release its memory and go on booting (default: what kdump.conf says, or reboot).",
)
@click.pass_context
def setup(
    context: click.Context,
    yes: bool,
    dry_run: bool,
    check: bool,
    undo: bool,
    build: str | None,
    target: str | None,
    ssh_key: str | None,
    final: str | None,
) -> None:
    """Set this machine up so that a crash leaves a dump.

    Builds a capture initramfs, reserves memory in the boot loader's configuration, enables the
    service. Where firmware takes the dump (fadump), it packs what saves it into the ordinary
    initramfs. Exit status: 0 done or ready, 1 not done or not ready, 3 a reboot is needed, 4
    refused and nothing changed.
    """
    given = [name for name, flag in (("--yes", yes), ("--dry-run", dry_run), ("--check", check),
                                     ("--undo", undo), ("--build", build)) if flag]  # fmt: skip
    if len(given) > 1 and set(given) != {"--undo", "--yes"}:
        raise UsageError(f"{given[0]} and {given[1]} exclude each other")
    if check:
        from pykexec.cli.setup_check import check_setup

        context.exit(check_setup())
    if undo:
        context.exit(_undo())
    if build is not None:
        context.exit(_build(build))
    wanted = {"target": target or "", "ssh_key": ssh_key or "", "final": final or ""}
    context.exit(_set_up(wanted, really=yes, dry_run=dry_run))


@dataclass(frozen=True, slots=True)
class _Image:
    """The capture initramfs as it is to be."""

    place: Place
    tool: DumpTool
    settings: Settings
    steps: tuple[Step, ...]


def _facts() -> MachineFacts:
    from pykexec.machine import read_machine

    return read_machine("/")


def _set_up(options: dict[str, str], *, really: bool, dry_run: bool) -> int:
    from pykexec.cli import setup_facts
    from pykexec.crash_setup.planner import NOT_ROOT, refusals
    from pykexec.crash_setup.steps import EXIT_REBOOT, SetupRefusedError

    facts = _facts()
    release = facts.kernel.release or platform.release()
    known = setup_facts.read_manifest()
    system = setup_facts.read_system(facts, release, known)
    found = refusals(system)
    if dry_run:
        # Everybody may look.
        found = tuple(item for item in found if item[0] != NOT_ROOT)
    if found:
        _refuse(found)
    if known is not None:
        # As it was told before, but for what is said now.
        told = ("target", "ssh_key") if options["target"] else ()
        kept = {name: value for name, value in known.options.items() if name not in told}
        options = {**options, **kept, **{name: text for name, text in options.items() if text}}
    image = _plan_image(system, release, options)
    for note in _notes(system, image):
        say_line(f"note: {note}")
    if not really:
        _show(system, image)
        if not dry_run:
            say("nothing was done: --yes does it")
        return 0 if dry_run else 1
    from pykexec.cli.setup_run import build_image, keep_manifest, run_steps

    keep_manifest(known or _manifest(system, image, options, None))
    build_image(image.steps)
    plan = _plan_boot(system, release)
    if plan.refusals:
        raise SetupRefusedError(plan.refusals[0][0], hint=plan.refusals[0][1])
    keep_manifest(_merged(known, _manifest(system, image, options, plan)))
    run_steps(plan.steps)
    return EXIT_REBOOT if _tell_result(system, plan) else 0


def _refuse(found: tuple[tuple[str, str], ...]) -> None:
    from pykexec.crash_setup.steps import SetupRefusedError

    *before, (text, hint) = found
    for reason, advice in before:
        warn(reason)
        say_line(f"hint: {advice}", err=True)
    raise SetupRefusedError(text, hint=hint)


def _plan_image(system: System, release: str, options: dict[str, str]) -> _Image:
    """Plan the capture initramfs; raises :class:`SetupRefusedError` for a target out of reach."""
    from pykexec import capture_files
    from pykexec.cli import setup_facts
    from pykexec.crash_setup.dump_tool import choose
    from pykexec.crash_setup.image import image_steps
    from pykexec.crash_setup.place import host_of, resolve, saver_config
    from pykexec.crash_setup.steps import SetupRefusedError
    from pykexec.machine.boot_tree import BootTree
    from pykexec.machine.mounts import read_mounts

    settings = setup_facts.read_settings(options["target"] or None, options["ssh_key"] or None)
    settings = _with_final(settings, options.get("final", ""), system)
    host = host_of(settings.target)
    link = setup_facts.find_link(host) if host else None
    place = resolve(settings.target, read_mounts(BootTree("/")), link)
    if isinstance(place, str):
        raise SetupRefusedError(place, hint="name where dumps are to go by --target")
    if place.target == "device":
        _look_at_device(place.device)
    tool = choose(setup_facts.makedumpfile_version(), release)
    arguments = tool.arguments if settings.makedumpfile is None else settings.makedumpfile
    config = saver_config(place, settings, arguments, socket.gethostname())
    packed = setup_facts.find_packed(place, arguments)
    assert system.generator is not None
    if system.by_firmware:
        from pykexec.crash_setup.ordinary import saver_steps

        setup_facts.require_packer(system.generator)
        steps = saver_steps(system.generator, place, config, packed, capture_files.read)
    else:
        steps = image_steps(system.generator, release, place, config, packed, capture_files.read)
    return _Image(place, tool, settings, steps)


def _with_final(settings: Settings, final: str, system: System) -> Settings:
    """Return the settings with what is to follow the dump."""
    from pykexec.crash_setup.steps import SetupRefusedError

    if final != CONTINUE:
        return replace(settings, final=final) if final else settings
    if not system.by_firmware:
        raise SetupRefusedError(
            "--final continue: a crash kernel has too little memory to go on booting",
            hint="only where firmware takes the dump (fadump) the boot can go on; leave it out",
        )
    # A reboot would destroy what was not saved.
    return replace(settings, final=CONTINUE, failure=CONTINUE)


def _look_at_device(device: str) -> None:
    """Refuse a device with something on it, which a dump would overwrite."""
    import os
    import stat

    from pykexec.cli.setup_facts import output_of
    from pykexec.crash_setup.steps import SetupRefusedError

    try:
        is_block = stat.S_ISBLK(os.stat(device).st_mode)
    except OSError as error:
        raise SetupRefusedError(f"{device}: {error.strerror}") from error
    if not is_block:
        raise SetupRefusedError(f"{device} is no block device")
    said = output_of("blkid", "-p", device)
    if said.strip():
        raise SetupRefusedError(
            f"a dump would overwrite what is on {said.strip()}",
            hint="name a device with nothing on it; 'wipefs DEVICE' shows what there is",
        )


def _plan_boot(system: System, release: str) -> SetupPlan:
    from pykexec.crash_setup.image import image_path
    from pykexec.crash_setup.planner import boot_plan, too_small

    if system.by_firmware:
        from pykexec.cli.setup_facts import advisable_size
        from pykexec.crash_setup.ordinary import firmware_plan

        return firmware_plan(system, advisable_size())
    image = image_path(release)
    needed = _needed(system.kernel, image)
    small = too_small(system, needed)
    if small:
        from pykexec.crash_setup.steps import SetupPlan

        return SetupPlan(refusals=((small, "give the machine more memory"),))
    return boot_plan(system, needed, image)


def _needed(kernel: str, image: str) -> int:
    """Return the bytes that the estimate proposes; 0 where it cannot be made."""
    import os
    import re

    from pykexec.loading.estimate import make_estimate
    from pykexec.loading.options import LoadOptions

    if not os.path.exists(image):
        return 0
    options = LoadOptions(kernel, crash=True, initrd=image, append=KDUMP_APPEND, reuse_cmdline=True)
    try:
        proposal = make_estimate("/", options).proposal
    except PykexecError as error:
        warn(f"no estimate: {error.message}")
        return 0
    return sum(int(size) << 20 for size in re.findall(r"=(\d+)M", proposal))


def _notes(system: System, image: _Image) -> list[str]:
    found = [f"dumps go to {image.settings.target}"]
    if image.settings.source:
        found.append(f"as {image.settings.source} says")
    found += [f"{image.settings.source}: {text}" for text in image.settings.untaken]
    found.append(image.tool.reason)
    if image.place.link is not None:
        link = image.place.link
        found.append(f"by the interface {link.interface} ({link.mac}), as {link.address}")
    if image.place.key:
        found.append(f"the private key {image.place.key} is packed, readable by root only")
    if system.family in ("fedora", "arch"):
        found.append("the boot loader's configuration is not touched here; see below")
    if image.settings.final == CONTINUE:
        from pykexec.cli.setup_facts import why_not_going_on

        found += filter(None, [why_not_going_on()])
    return found


def _show(system: System, image: _Image) -> None:
    from pykexec.crash_setup.steps import describe

    plan = _plan_boot(system, system.release)
    say(describe((*image.steps, *plan.steps)))
    for reason, _ in plan.refusals:
        say_line(f"refused then: {reason}")
    if plan.word:
        say_line(f"reserved by: {plan.word} (by the estimate, when the image is built)")
    _tell_result(system, plan)


def _tell_result(system: System, plan: SetupPlan) -> bool:
    """Say what is left to do; tells whether that is a reboot."""
    for note in plan.notes:
        say_line(f"note: {note}")
    if plan.by_hand:
        say("to be done by hand:")
        for line in plan.by_hand:
            say_line(f"    {line}")
    if plan.needs_reboot:
        say_line(f"a reboot is needed, to reserve memory by {plan.word};")
        say("then: pykexec crash setup --check, and pykexec crash test")
    return plan.needs_reboot


def _manifest(
    system: System, image: _Image, options: dict[str, str], plan: SetupPlan | None
) -> Manifest:
    from pykexec.crash_setup.loaders import KERNEL_CMDLINE
    from pykexec.crash_setup.ordinary import REBUILD
    from pykexec.crash_setup.planner import UNIT, loader_command
    from pykexec.crash_setup.steps import Manifest, Run, WriteFile

    written = [s for s in (*image.steps, *(plan.steps if plan else ())) if isinstance(s, WriteFile)]
    files = tuple((s.path, s.digest) for s in written if s.path != KERNEL_CMDLINE)
    word = plan.word if plan else ""
    runs = [step.words for step in (plan.steps if plan else ()) if isinstance(step, Run)]
    command = loader_command(system.loader, system.release, system.kernel)
    anew = command if word and command in runs else ()
    if system.by_firmware and system.generator is not None:
        anew = REBUILD[system.generator]
    return Manifest(
        files=files,
        units=(UNIT,) if ("systemctl", "enable", UNIT) in runs else (),
        loader=anew,
        word=word,
        cmdline_word=any(s.path == KERNEL_CMDLINE for s in written),
        directory=image.settings.target.directory if image.place.target == "local" else "",
        target=str(image.settings.target),
        options=options,
    )


def _merged(old: Manifest | None, new: Manifest) -> Manifest:
    """Keep what an earlier setup has done and this one found done."""
    if old is None:
        return new
    kept = tuple(item for item in old.files if item[0] not in {path for path, _ in new.files})
    return replace(
        new,
        files=(*new.files, *kept),
        units=new.units or old.units,
        loader=new.loader or old.loader,
        word=new.word or old.word,
        cmdline_word=new.cmdline_word or old.cmdline_word,
    )


def _build(release: str) -> int:
    """Build the image of another kernel, as the setup was told; what a kernel's hook calls."""
    from pykexec.cli import setup_facts
    from pykexec.cli.setup_run import build_image
    from pykexec.crash_setup.steps import SetupRefusedError

    known = setup_facts.read_manifest()
    if known is None:
        raise SetupRefusedError(
            "this machine is not set up for crash dumps", hint="pykexec crash setup does it"
        )
    facts = _facts()
    system = setup_facts.read_system(facts, release, known)
    if system.confined or system.generator is None or not system.root:
        raise SetupRefusedError(
            system.confined or "no capture initramfs can be built: not root, or no generator"
        )
    if system.by_firmware:
        raise SetupRefusedError(
            system.by_firmware, hint="the ordinary initramfs has what saves the dump"
        )
    build_image(_plan_image(system, release, dict(known.options)).steps)
    return 0


def _undo() -> int:
    from pykexec.cli import setup_facts
    from pykexec.cli.setup_run import undo

    known = setup_facts.read_manifest()
    if known is None:
        say("there is nothing to undo: no setup has left anything here")
        return 0
    undo(known)
    if known.word:
        say_line(f"{known.word} reserves memory until the next reboot")
    return 0
