"""A kernel in wrappings gives the plans that it gives alone, and the notes say what was done."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from pykexec.calls.call_choice import choose
from pykexec.errors import ImageError
from pykexec.formats import identify
from pykexec.formats.compression import Codec
from pykexec.formats.uki import Uki
from pykexec.loading.load_request import prepare
from pykexec.loading.options import LoadOptions
from pykexec.planning.planner import plan, plan_file_load
from pykexec.planning.plans import LoadRequest, SegmentPlan
from pykexec.planning.unwrapping import unwrap
from pykexec.values.calls import Call, CallWish
from tests.builders.bzimage import SECTOR
from tests.builders.compressed import CODECS, compress
from tests.builders.images import (
    ImageSpec,
    build_image,
    build_uimage,
    build_uki,
    build_zboot,
)
from tests.builders.pe_files import MACHINE_X86_64, signed
from tests.builders.plans import INITRD, KERNEL, SMALL_KERNEL, build_facts, build_request

FACTS = build_facts()
UKI = build_uki(KERNEL, (".cmdline", b"ro quiet\n"), (".initrd", INITRD), machine=MACHINE_X86_64)
ARM64 = build_image()


def build_uki_for_x86(kernel: bytes) -> bytes:
    return build_uki(kernel, machine=MACHINE_X86_64)


WRAPPED = {
    **{str(codec): compress(codec, KERNEL) for codec in CODECS},
    "uImage": build_uimage(KERNEL, arch=24),
    "UKI": build_uki_for_x86(KERNEL),
    "UKI in gzip": compress(Codec.GZIP, build_uki_for_x86(KERNEL)),
}


def without_notes(made: Any) -> Any:
    return replace(made, notes=())


@pytest.mark.parametrize("name", WRAPPED)
def test_both_calls_get_what_they_get_of_the_bare_kernel(name: str) -> None:
    bare, wrapped = build_request(), build_request(kernel=WRAPPED[name])
    assert without_notes(plan(FACTS, wrapped)) == without_notes(plan(FACTS, bare))
    assert without_notes(plan_file_load(FACTS, wrapped)) == without_notes(
        plan_file_load(FACTS, bare)
    )


def test_a_uki_brings_initrd_and_command_line() -> None:
    alone = LoadRequest(kernel=UKI, rng_seed=bytes(32))
    assert without_notes(plan(FACTS, alone)) == without_notes(plan(FACTS, build_request()))
    file_plan = plan_file_load(FACTS, alone)
    assert (file_plan.kernel, file_plan.initrd) == (KERNEL, INITRD)
    assert file_plan.cmdline == b"ro quiet"
    assert not file_plan.flags


def test_what_the_user_gives_goes_before_the_ukis() -> None:
    made = plan_file_load(FACTS, LoadRequest(kernel=UKI, initrd=b"own", cmdline=b"own"))
    assert (made.initrd, made.cmdline) == (b"own", b"own")
    notes = " / ".join(made.notes)
    assert "the initrd is the one given; the UKI's is not used" in notes
    assert "the command line is the one given; the UKI's is not used" in notes


def test_the_notes_say_what_is_used() -> None:
    made = plan(FACTS, LoadRequest(kernel=compress(Codec.XZ, UKI), notes=("first",)))
    assert isinstance(made, SegmentPlan)
    for note in (
        "first",
        "the kernel is taken out of UKI, in xz",
        "the initrd is the UKI's",
        "the command line is the UKI's",
    ):
        assert note in made.notes


def test_a_choice_among_profiles_is_said() -> None:
    uki = build_uki(KERNEL, machine=MACHINE_X86_64)
    assert not any("profiles" in note for note in plan(FACTS, LoadRequest(kernel=uki)).notes)
    many = identify(uki)
    assert isinstance(many.brought, Uki)
    many = replace(many, brought=replace(many.brought, profiles=3))
    notes = unwrap(LoadRequest(kernel=uki), many).notes
    assert "of the UKI's 3 profiles, the first is used" in notes


def test_the_loss_of_a_signature_is_said() -> None:
    made = plan_file_load(FACTS, LoadRequest(kernel=signed(build_uki_for_x86(KERNEL))))
    assert any(note.startswith("the signature is lost: it is that of") for note in made.notes)
    made = plan_file_load(FACTS, LoadRequest(kernel=WRAPPED["UKI"]))
    assert not any("signature" in note for note in made.notes)


def test_what_is_unwrapped_once_stays_as_it_is() -> None:
    request = unwrap(LoadRequest(kernel=UKI), identify(UKI))
    assert request.brought is not None
    assert unwrap(request, identify(request.kernel)) is request
    bare = build_request()
    assert unwrap(bare, identify(KERNEL)) is bare


@pytest.mark.parametrize("kernel", [ARM64, build_zboot(ARM64, Codec.GZIP), build_uki(ARM64)])
def test_a_kernel_for_another_machine_is_refused_by_both(kernel: bytes) -> None:
    for make in (plan, plan_file_load):
        with pytest.raises(ImageError, match=r"for aarch64 \(Image\) cannot .* x86_64"):
            make(FACTS, LoadRequest(kernel=kernel))


def test_a_file_in_wrappings_is_not_passed_by_its_descriptor(tmp_path: Path) -> None:
    """The kernel would not take it; without wrappings IMA wants to see the very file."""
    path = tmp_path / "kernel"
    for content, same in ((KERNEL, True), (UKI, False), (compress(Codec.ZSTD, KERNEL), False)):
        path.write_bytes(content)
        prepared = prepare(FACTS, LoadOptions(str(path)))
        assert (prepared.request.kernel is prepared.kernel.data) is same
        assert bytes(prepared.request.kernel) == KERNEL
        assert prepared.choice.call is Call.KEXEC_FILE_LOAD


def test_an_error_inside_names_the_file_too(tmp_path: Path) -> None:
    path = tmp_path / "vmlinuz.efi"
    path.write_bytes(build_uki_for_x86(KERNEL[: (SMALL_KERNEL.setup_sects + 2) * SECTOR]))
    with pytest.raises(ImageError) as caught:
        prepare(FACTS, LoadOptions(str(path)))
    assert str(caught.value).startswith(f"kernel {str(path)!r}: in UKI: truncated in the prot")


def test_an_image_without_its_size_is_nothing_for_the_file_call() -> None:
    facts = build_facts()
    object.__setattr__(facts, "arch", "aarch64")
    for spec, call in (
        (ImageSpec(), Call.KEXEC_FILE_LOAD),
        (ImageSpec(image_size=0), Call.KEXEC_LOAD),
    ):
        image = identify(build_image(spec)).image
        chosen = choose(CallWish.AUTO, LoadRequest(kernel=b""), image, facts)
        assert chosen.call is call
    assert "an Image without image_size (before Linux 3.17)" in chosen.reason
