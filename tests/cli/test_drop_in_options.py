"""Options of kexec(8) that say how a load is to be done: type, entry, reused initrd."""

from __future__ import annotations

from typing import Any

import pytest

from pykexec.architectures import ARCHITECTURES
from pykexec.boot.tree.chosen import read_chosen
from pykexec.calls.call_choice import choose
from pykexec.cli.kexec_compat import _load_options, main, parse
from pykexec.cli.kexec_options import UNSUPPORTED
from pykexec.errors import ImageError, UsageError
from pykexec.formats import identify
from pykexec.formats.compression import Codec
from pykexec.loading import running_kernel
from pykexec.loading.image_types import check_type
from pykexec.planning.invariants import verify
from pykexec.values.calls import Call, CallWish
from pykexec.values.facts import MachineFacts
from pykexec.values.kernel_state import KernelState
from pykexec.values.ranges import Range
from pykexec.values.roles import Role
from pykexec.values.units import GIB, MIB
from tests.builders import arm, arm64, loongarch, m68k, plans, ppc64le, riscv64, s390x
from tests.builders.bzimage import build_bzimage
from tests.builders.compressed import compress
from tests.builders.device_trees import wide


@pytest.mark.parametrize("name", UNSUPPORTED)
def test_what_would_do_something_else_is_refused(
    name: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main([f"--{name}", "-l", "vmlinuz"]) == 1
    assert f"kexec: --{name}: " in capsys.readouterr().err


@pytest.mark.parametrize(("size", "text"), [(None, "0"), (0, "0"), (1 << 28, "268435456")])
def test_print_ckr_size_is_met_and_done(
    size: int | None,
    text: str,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setattr(running_kernel, "read_state", lambda: KernelState(crash_size=size))
    assert main(["--print-ckr-size", "--bogus"]) == 0
    assert capsys.readouterr().out == f"{text}\n"


def test_kexec_hands_them_on() -> None:
    words = ["-l", "-t", "uki", "--entry=0x200000", "--reuseinitrd", "--ima=never", "k"]
    options = _load_options(parse([*words, "--dtb=d", "--serial", "ttyAMA0"]))
    assert (options.image_type, options.entry, options.reuse_initrd) == ("uki", 0x200000, True)
    assert (options.ima, options.dtb, options.serial) == (False, "d", "ttyAMA0")


# Types.


@pytest.mark.parametrize(
    ("arch", "wanted", "kernel"),
    [
        ("x86_64", None, build_bzimage()),
        ("x86_64", "bzImage", build_bzimage()),
        ("x86_64", "bzImage64", build_bzimage()),
        ("aarch64", "Image", arm64.IMAGE),
        ("aarch64", "Image", compress(Codec.GZIP, arm64.IMAGE)),
        ("riscv64", "Image", riscv64.IMAGE),
        ("ppc64le", "elf-ppc64", ppc64le.KERNEL),
        ("arm", "zImage", arm.IMAGE),
        ("s390x", "image", s390x.IMAGE),
        ("loongarch64", "pei-loongarch", loongarch.KERNEL),
        ("m68k", "elf-m68k", m68k.KERNEL),
    ],
)
def test_the_right_type(arch: str, wanted: str | None, kernel: bytes) -> None:
    check_type(wanted, identify(kernel, arch), arch)


@pytest.mark.parametrize("arch", ARCHITECTURES)
def test_an_image_is_of_one_type(arch: str) -> None:
    others = {
        "aarch64": arm64.IMAGE,
        "riscv64": riscv64.IMAGE,
        "ppc64le": ppc64le.KERNEL,
        "arm": arm.IMAGE,
        "s390x": s390x.IMAGE,
        "loongarch64": loongarch.KERNEL,
        "m68k": m68k.KERNEL,
    }
    found = identify(others.get(arch) or build_bzimage(), arch)
    for name in ARCHITECTURES[arch].options.image_types:
        if name in (
            "bzImage",
            "bzImage64",
            "Image",
            "image",
            "zImage",
            "elf-ppc64",
            "pei-loongarch",
            "elf-m68k",
        ):
            continue
        with pytest.raises(ImageError, match=f"wrong file type: {name} is wanted"):
            check_type(name, found, arch)


def test_an_unknown_type() -> None:
    with pytest.raises(ImageError, match="unsupported kernel type 'zImage'") as caught:
        check_type("zImage", identify(arm64.IMAGE), "aarch64")
    assert caught.value.hint == "known on aarch64: vmlinux, Image, uImage, vmlinuz, uki"


# Entry.


def test_another_entry() -> None:
    facts = plans.build_facts()
    usual = plans.build_plan(facts)
    made = plans.build_plan(facts, entry=usual.kernel_entry)
    assert made.entry == usual.kernel_entry
    assert made.segments == usual.segments
    assert "and not through the purgatory" in made.notes[-1]
    assert not verify(made, facts)


def test_an_entry_in_no_segment() -> None:
    facts = plans.build_facts()
    (found,) = verify(plans.build_plan(facts, entry=0x1000), facts)
    assert found.invariant == "entry-in-segment"


@pytest.mark.parametrize("more", [{"entry": 0x1000}, {"reuse_initrd": True}, {"dtb": b"x"}])
def test_only_kexec_load_honours_them(more: dict[str, object]) -> None:
    request = arm64.build_request(**more)
    image = identify(request.kernel).image
    facts = arm64.build_facts()
    assert choose(CallWish.AUTO, request, image, facts).call is Call.KEXEC_LOAD
    with pytest.raises(UsageError, match="cannot be honoured by kexec_file_load"):
        choose(CallWish.FILE, request, image, facts)


# The first boot's initrd.

OLD_INITRD = Range(0x48000000, 0x4C0D3C00)
TOLD = {
    "linux,initrd-start": wide(OLD_INITRD.start),
    "linux,initrd-end": wide(OLD_INITRD.end),
}


def retaining(
    tree: bytes = arm64.build_tree(chosen=TOLD), cmdline: bytes = b"ro retain_initrd"
) -> MachineFacts:
    return arm64.build_facts(cmdline=cmdline, device_tree=tree)


def test_the_retained_initrd_is_told_of() -> None:
    facts = retaining()
    plan = arm64.build_plan(facts, initrd=None, reuse_initrd=True)
    dtb = plan.segment(Role.DTB)
    assert dtb is not None
    assert read_chosen(bytes(dtb.data)).initrd == OLD_INITRD
    assert plan.segment(Role.INITRD) is None
    assert not verify(plan, facts)
    other = arm64.build_facts(device_tree=arm64.build_tree())
    assert [item.invariant for item in verify(plan, other)] == ["initrd-is-told"]


def test_a_given_initrd_goes_before() -> None:
    plan = arm64.build_plan(retaining(), reuse_initrd=True)
    assert plan.segment(Role.INITRD) is not None


@pytest.mark.parametrize(
    ("facts", "more", "message"),
    [
        (retaining(cmdline=b"ro"), {}, "has not kept its initrd"),
        (retaining(arm64.build_tree()), {}, "the device tree names none"),
        (
            retaining(
                arm64.build_tree(
                    chosen={
                        "linux,initrd-start": wide(64 * GIB),
                        "linux,initrd-end": wide(64 * GIB + MIB),
                    }
                )
            ),
            {},
            "not in one 32 GiB window",
        ),
        (plans.build_facts(), {"kernel": plans.KERNEL}, "x86 kernels do not tell"),
    ],
)
def test_an_initrd_that_cannot_be_reused(
    facts: MachineFacts, more: dict[str, Any], message: str
) -> None:
    with pytest.raises(UsageError, match=message):
        arm64.build_plan(facts, initrd=None, reuse_initrd=True, **more)
