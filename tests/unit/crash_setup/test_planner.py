"""What a setup refuses, writes and runs, from what is known of a system."""

from __future__ import annotations

from dataclasses import replace

import pytest

from pykexec.crash_setup.loaders import with_word
from pykexec.crash_setup.planner import UNIT, boot_plan, refusals, reservation, too_small
from pykexec.crash_setup.steps import (
    Manifest,
    Run,
    SetupPlan,
    WriteFile,
    build_manifest,
    describe,
    parse_manifest,
)
from pykexec.crash_setup.system import Generator, Loader, Reserving, System
from pykexec.errors import MachineError
from pykexec.values.units import GIB, MIB

SYSTEM = System(
    arch="x86_64",
    release="6.12.1",
    ram=8 * GIB,
    cmdline=b"root=/dev/vda1 ro",
    family="debian",
    root=True,
    confined="",
    generator=Generator.INITRAMFS_TOOLS,
    loader=Loader.GRUB,
    others=(),
    reserving=(),
    own_word="",
    reserved=0,
    gates=(),
    by_firmware="",
    has_units=True,
    enabled=False,
    kernel="/boot/vmlinuz-6.12.1",
)
LEFT_BEHIND = Reserving("/etc/default/grub.d/kdump-tools.cfg", "crashkernel=384M-:128M")
IMAGE = "/var/lib/pykexec/capture-6.12.1.img"
WORD = "crashkernel=512M-2G:192M,2G-64G:256M,64G-:512M"


def planned(**changes: object) -> SetupPlan:
    # Here and below: what replace() gets has values of different types.
    return boot_plan(replace(SYSTEM, **changes), 170 * MIB, IMAGE)  # type: ignore[arg-type]


def written(plan: SetupPlan) -> dict[str, str]:
    return {step.path: step.data.decode() for step in plan.steps if isinstance(step, WriteFile)}


def commands(plan: SetupPlan) -> list[str]:
    return [str(step) for step in plan.steps if isinstance(step, Run)]


@pytest.mark.parametrize("generator", Generator)
def test_a_good_system_is_not_refused(generator: Generator) -> None:
    assert refusals(replace(SYSTEM, generator=generator)) == ()


@pytest.mark.parametrize(
    ("changes", "reason", "advice"),
    [
        ({"confined": "a chroot"}, "this is a chroot", "run it there"),
        ({"root": False}, "only root", "run as root"),
        (
            {"others": ("kdump-tools.service",)},
            "kdump-tools.service is enabled here",
            "systemctl disable --now kdump-tools.service",
        ),
        ({"gates": ("kexec_load_disabled is 1",)}, "kexec_load_disabled is 1", "doctor --crash"),
        ({"generator": None}, "neither mkinitramfs nor dracut", "install"),
        ({"kernel": ""}, "no kernel in /boot", "install"),
        ({"has_units": False}, f"{UNIT} is not installed", "install"),
        (
            {
                "reserving": (
                    Reserving("/etc/default/grub.d/kdump-tools.cfg", "crashkernel=384M-:128M"),
                )
            },
            "/etc/default/grub.d/kdump-tools.cfg has 'crashkernel=384M-:128M' already",
            "apt purge kdump-tools",
        ),
    ],
)
def test_refusals(changes: dict[str, object], reason: str, advice: str) -> None:
    ((text, hint),) = refusals(replace(SYSTEM, **changes))  # type: ignore[arg-type]
    assert reason in text
    assert advice in hint


def test_another_word_that_reserves_is_kept() -> None:
    other = (Reserving("/etc/default/grub", "crashkernel=256M"),)
    assert refusals(replace(SYSTEM, reserving=other, reserved=256 * MIB)) == ()
    plan = planned(reserving=other, reserved=256 * MIB)
    assert (plan.word, plan.needs_reboot, plan.by_hand) == ("", False, ())
    assert plan.notes == ("256 MiB are reserved by another's crashkernel=: kept",)
    assert commands(plan) == [f"systemctl enable {UNIT}", f"systemctl restart {UNIT}"]
    assert not any("grub" in path for path in written(plan))


def test_one_that_is_too_small_is_kept_and_told() -> None:
    plan = planned(reserved=128 * MIB)
    assert any("less than the 170 MiB" in note for note in plan.notes)
    assert plan.word == ""


def test_grub() -> None:
    plan = planned()
    name = "GRUB_CMDLINE_LINUX_DEFAULT"
    text = written(plan)["/etc/default/grub.d/50-pykexec.cfg"]
    assert text.splitlines()[0].startswith("# Written by pykexec crash setup")
    assert text.splitlines()[1] == f'{name}="${name} {WORD}"'
    assert commands(plan) == ["update-grub", f"systemctl enable {UNIT}"]
    assert (plan.word, plan.needs_reboot) == (WORD, True)


def test_extlinux_keeps_its_own_default() -> None:
    plan = planned(loader=Loader.EXTLINUX)
    text = written(plan)["/etc/u-boot-menu/conf.d/50-pykexec.conf"]
    assert f'U_BOOT_PARAMETERS="${{U_BOOT_PARAMETERS:-ro quiet}} {WORD}"' in text
    assert "u-boot-update" in commands(plan)


def test_systemd_boot_adds_a_word_and_keeps_the_others() -> None:
    plan = planned(loader=Loader.SYSTEMD_BOOT, kernel_cmdline=b"root=UUID=1 ro\n")
    assert written(plan)["/etc/kernel/cmdline"] == f"root=UUID=1 ro {WORD}\n"
    assert "kernel-install add 6.12.1 /boot/vmlinuz-6.12.1" in commands(plan)


@pytest.mark.parametrize(
    ("loader", "said"),
    [
        (Loader.SYSTEMD_BOOT, "/etc/kernel/cmdline"),
        (Loader.GRUBBY, "grubby --update-kernel=ALL"),
        (Loader.RASPBERRY_PI, "/boot/firmware/cmdline.txt"),
        (Loader.ZIPL, "/etc/zipl.conf"),
        (Loader.UNKNOWN, "boot loader's configuration"),
    ],
)
def test_where_no_file_is_ours_the_user_is_told(loader: Loader, said: str) -> None:
    plan = planned(loader=loader)
    assert said in plan.by_hand[0]
    assert WORD in plan.by_hand[0]
    assert plan.needs_reboot


def test_a_second_setup_changes_nothing() -> None:
    """After the reboot: the word stays, even if the estimate is a little less or more by now."""
    own = {"own_word": WORD, "reserved": 256 * MIB, "cmdline": WORD.encode(), "enabled": True}
    for needed in (100, 170, 250):
        plan = boot_plan(replace(SYSTEM, **own), needed * MIB, IMAGE)  # type: ignore[arg-type]
        assert (plan.word, plan.needs_reboot) == (WORD, False)
        assert commands(plan) == ["update-grub", f"systemctl restart {UNIT}"]
        (grub,) = (s for s in plan.steps if isinstance(s, Run) and s.words == ("update-grub",))
        assert grub.after == ("/etc/default/grub.d/50-pykexec.cfg",)


def test_what_became_too_small_is_made_larger() -> None:
    own = {"own_word": WORD, "reserved": 256 * MIB, "cmdline": WORD.encode()}
    plan = boot_plan(replace(SYSTEM, **own), 300 * MIB, IMAGE)  # type: ignore[arg-type]
    assert plan.word == "crashkernel=512M-2G:320M,2G-64G:320M,64G-:512M"
    assert plan.needs_reboot


@pytest.mark.parametrize(
    ("arch", "ram", "needed", "expected"),
    [
        ("x86_64", 8 * GIB, 170 * MIB, WORD),
        ("x86_64", GIB - MIB, 100 * MIB, "crashkernel=256M-2G:128M,2G-64G:256M,64G-:512M"),
        ("x86_64", GIB, 600 * MIB, "crashkernel=512M-2G:608M,2G-64G:608M,64G-:608M"),
        ("x86_64", GIB, 0, "crashkernel=512M-2G:256M,2G-64G:256M,64G-:512M"),
        ("aarch64", GIB, 1, "crashkernel=512M-2G:32M,2G-64G:320M,64G-:576M"),
    ],
)
def test_reservations_by_ranges(arch: str, ram: int, needed: int, expected: str) -> None:
    assert reservation(arch, ram, needed) == expected


def test_the_kernel_reads_what_is_written() -> None:
    from pykexec.crash.crashkernel import Dialect, Wanted, wanted

    dialect = Dialect(high=True, cma=True, high_on_failure=False)
    for ram, size in ((600 * MIB, 192), (8 * GIB, 256), (100 * GIB, 512)):
        found = wanted(WORD.encode(), ram, dialect)
        assert isinstance(found, Wanted)
        assert found.size == size * MIB


def test_too_little_memory() -> None:
    assert "more than half of the" in too_small(replace(SYSTEM, ram=300 * MIB), 170 * MIB)
    assert too_small(SYSTEM, 170 * MIB) == ""


def test_a_word_goes_as_it_came() -> None:
    line = with_word(b"root=/dev/sda ro\n", WORD, "")
    assert with_word(line, "", WORD) == b"root=/dev/sda ro\n"
    assert with_word(line, "crashkernel=1G", WORD) == b"root=/dev/sda ro crashkernel=1G\n"


def test_the_manifest_is_read_back() -> None:
    manifest = Manifest((("/a", "00"),), (UNIT,), ("update-grub",), WORD, False, "/var/crash",
                        "/var/crash", {"target": ""})  # fmt: skip
    assert parse_manifest(build_manifest(manifest)) == manifest
    with pytest.raises(MachineError):
        parse_manifest(b"{}")


def test_what_is_shown_has_every_file_and_command() -> None:
    text = describe(planned().steps)
    assert "> /etc/default/grub.d/50-pykexec.cfg (644)" in text
    assert f"{WORD}" in text
    assert f"$ systemctl enable {UNIT}" in text
