"""FIT images: what a configuration brings, and each reason to refuse one."""

from __future__ import annotations

from dataclasses import replace

import pytest

from pykexec.errors import ImageError
from pykexec.formats import Identified, identify
from pykexec.formats.compression import Codec
from pykexec.formats.device_tree import DeviceTree, Node, build_device_tree
from pykexec.formats.fit import Fit
from pykexec.planning.planner import plan, plan_file_load
from pykexec.planning.plans import LoadRequest
from pykexec.render.image import image_text, image_value
from pykexec.values.roles import Role
from tests.builders.arm64 import build_facts
from tests.builders.compressed import compress
from tests.builders.fit import HASHES, Unit, build_fit, cell, configuration, hash_node, text
from tests.builders.images import build_image

KERNEL = build_image()
RAMDISK = b"070701" + bytes(500)
KERNEL_UNIT = Unit("kernel-1", KERNEL)
RAMDISK_UNIT = Unit("ramdisk-1", RAMDISK, "ramdisk")


def tree_for(*compatible: str) -> bytes:
    """Build the device tree of a board."""
    value = b"".join(map(text, compatible))
    cells = (("#address-cells", cell(2)), ("#size-cells", cell(2)))
    return build_device_tree(DeviceTree(Node("", (*cells, ("compatible", value)))))


BOARDS = {name: tree_for(f"vendor,{name}") for name in ("one", "two", "three")}
TREE_UNITS = [
    Unit(f"fdt-{number}", tree, "flat_dt") for number, tree in enumerate(BOARDS.values(), 1)
]
CONFIGURATIONS = [
    configuration(f"conf-{number}", kernel="kernel-1", ramdisk="ramdisk-1", fdt=f"fdt-{number}")
    for number in (1, 2, 3)
]
WHOLE = build_fit([KERNEL_UNIT, RAMDISK_UNIT, *TREE_UNITS], CONFIGURATIONS)


def fit_of(found: Identified) -> Fit:
    assert isinstance(found.brought, Fit)
    return found.brought


def refusal(data: bytes, name: str | None = None) -> ImageError:
    with pytest.raises(ImageError) as caught:
        identify(data, configuration=name)
    return caught.value


def test_the_default_configuration() -> None:
    found = identify(WHOLE, "aarch64")
    fit = fit_of(found)
    assert bytes(found.file) == KERNEL
    assert fit.initrd is not None
    assert bytes(fit.initrd) == RAMDISK
    assert fit.device_tree == BOARDS["one"]
    assert fit.device_trees == (BOARDS["two"], BOARDS["three"])
    assert fit.configuration == "conf-1"
    assert fit.configurations == ("conf-1", "conf-2", "conf-3")
    assert fit.checked[:2] == ("kernel-1: crc32", "kernel-1: sha256")
    assert fit.remarks == ()
    assert [item.name for item in found.wrappings] == ["FIT image, configuration 'conf-1'"]


def test_a_named_configuration_has_its_own_tree_alone() -> None:
    fit = fit_of(identify(WHOLE, configuration="conf-3"))
    assert fit.configuration == "conf-3"
    assert fit.device_tree == BOARDS["three"]
    assert fit.device_trees == ()


def test_without_a_default_the_only_one_is_taken_and_of_several_none() -> None:
    units = [KERNEL_UNIT, RAMDISK_UNIT, *TREE_UNITS]
    one = fit_of(identify(build_fit(units, CONFIGURATIONS[1:2], None)))
    assert one.configuration == "conf-2"
    error = refusal(build_fit(units, CONFIGURATIONS, None))
    assert error.message == "the FIT image names none of its 3 configurations as the default"
    assert error.hint is not None
    assert error.hint.endswith("there are conf-1, conf-2, conf-3")


@pytest.mark.parametrize(
    ("data", "name", "message"),
    [
        (WHOLE, "conf-9", "the FIT image has no configuration 'conf-9'"),
        (
            build_fit([KERNEL_UNIT], [configuration("c", kernel="kernel-1")], "d"),
            None,
            "the FIT image has no configuration 'd', which is its default",
        ),
        (
            build_fit([KERNEL_UNIT], [], None),
            None,
            "the FIT image has no configuration, which would say what is started together",
        ),
        (
            build_fit([KERNEL_UNIT], [configuration("conf-1", fdt="x")]),
            None,
            "the FIT image's configuration 'conf-1' has no kernel",
        ),
        (
            build_fit([KERNEL_UNIT], [configuration("conf-1", kernel="kernel-2")]),
            None,
            "the FIT image has no image 'kernel-2'; there are kernel-1",
        ),
        (
            build_fit(
                [replace(KERNEL_UNIT, type="firmware", os="u-boot")],
                [configuration("conf-1", kernel="kernel-1")],
            ),
            None,
            "the FIT image's 'kernel-1' is of type 'firmware' for system 'u-boot'; needed is a "
            "kernel for linux",
        ),
        (
            build_fit(
                [replace(KERNEL_UNIT, compression="rot13")],
                [configuration("conf-1", kernel="kernel-1")],
            ),
            None,
            "the FIT image's 'kernel-1' is packed with 'rot13'; known are gzip, bzip2, lzma, lzo, "
            "lz4, zstd",
        ),
        (
            build_fit(
                [replace(KERNEL_UNIT, extra=(Node("cipher", (("algo", text("aes256")),)),))],
                [configuration("conf-1", kernel="kernel-1")],
            ),
            None,
            "the FIT image's 'kernel-1' is encrypted, and only the boot loader has the key",
        ),
        (
            build_fit(
                [replace(KERNEL_UNIT, data=b"")], [configuration("conf-1", kernel="kernel-1")]
            ),
            None,
            "the FIT image's 'kernel-1' is empty (0 bytes)",
        ),
    ],
)
def test_what_cannot_be_started(data: bytes, name: str | None, message: str) -> None:
    assert refusal(data, name).message == message


def test_a_configuration_of_what_is_no_fit_image() -> None:
    assert refusal(KERNEL, "conf-1").message == (
        "there is no FIT image to take the configuration 'conf-1' of"
    )


@pytest.mark.parametrize("algorithm", HASHES)
@pytest.mark.parametrize("unit", ["kernel-1", "ramdisk-1", "fdt-1"])
def test_a_wrong_hash_is_refused_with_both(algorithm: str, unit: str) -> None:
    units = [
        replace(item, hashes=(algorithm,)) for item in (KERNEL_UNIT, RAMDISK_UNIT, *TREE_UNITS)
    ]
    right = build_fit(units, CONFIGURATIONS)
    assert f"{unit}: {algorithm}" in fit_of(identify(right)).checked
    wrong = [
        replace(item, hashes=(), extra=(hash_node(1, algorithm, b"another"),))
        if item.name == unit
        else item
        for item in units
    ]
    error = refusal(build_fit(wrong, CONFIGURATIONS))
    assert error.message.startswith(f"the FIT image is damaged: the {algorithm} of its '{unit}' is")
    assert ", announced is " in error.message


def test_a_hash_of_an_unknown_kind_and_none_at_all_are_told() -> None:
    units = [replace(KERNEL_UNIT, hashes=("crc99",)), replace(RAMDISK_UNIT, hashes=())]
    data = build_fit(units, [configuration("conf-1", kernel="kernel-1", ramdisk="ramdisk-1")])
    assert fit_of(identify(data)).remarks == (
        "the FIT image's 'kernel-1' is not checked: its 'hash-1' is of kind 'crc99'",
        "the FIT image's 'ramdisk-1' has no hash to check",
    )


def test_signatures_and_what_is_for_the_boot_loader_are_told() -> None:
    signature = Node("signature-1", (("algo", text("sha256,rsa2048")), ("value", bytes(256))))
    units = [replace(KERNEL_UNIT, extra=(signature,)), Unit("atf", b"x" * 64, "firmware", "tee")]
    conf = configuration("conf-1", signature, kernel="kernel-1", loadables=["atf", "other"])
    assert fit_of(identify(build_fit(units, [conf]))).remarks == (
        "of the FIT image, loadables (atf, other) is not used",
        "the FIT image's signatures are not checked",
    )


def test_overlays_keep_the_tree_from_being_used() -> None:
    conf = configuration("conf-1", kernel="kernel-1", fdt=["fdt-1", "fdt-2", "fdt-3"])
    fit = fit_of(identify(build_fit([KERNEL_UNIT, *TREE_UNITS], [conf])))
    assert fit.device_tree is None
    assert fit.remarks == (
        "the FIT image's device tree is not used, since its 2 overlays would be missing in it",
    )


@pytest.mark.parametrize("codec", ["gzip", "bzip2", "lzma", "lzo", "lz4", "zstd"])
def test_what_is_packed_is_expanded_but_for_the_ramdisk(codec: str) -> None:
    kind = Codec(codec)
    units = [
        replace(KERNEL_UNIT, data=compress(kind, KERNEL), compression=codec),
        replace(RAMDISK_UNIT, data=compress(kind, RAMDISK), compression=codec),
        replace(TREE_UNITS[0], data=compress(kind, BOARDS["one"]), compression=codec),
    ]
    found = identify(build_fit(units, CONFIGURATIONS[:1]))
    fit = fit_of(found)
    assert bytes(found.file) == KERNEL
    assert fit.initrd == compress(kind, RAMDISK)
    assert fit.device_tree == BOARDS["one"]
    assert found.wrappings[0].name == f"FIT image, configuration 'conf-1' ({codec})"


def test_a_packed_image_with_compression_none_is_a_wrapping_of_its_own() -> None:
    units = [replace(KERNEL_UNIT, data=compress(Codec.GZIP, KERNEL))]
    found = identify(build_fit(units, [configuration("conf-1", kernel="kernel-1")]))
    assert [item.name for item in found.wrappings] == ["FIT image, configuration 'conf-1'", "gzip"]


@pytest.mark.parametrize("by_position", [None, 0x2000])
def test_external_data(by_position: int | None) -> None:
    units = [replace(item, external=True) for item in (RAMDISK_UNIT, KERNEL_UNIT, *TREE_UNITS)]
    data = build_fit(units, CONFIGURATIONS, by_position=by_position)
    found = identify(memoryview(data))
    assert bytes(found.file) == KERNEL
    assert fit_of(found).device_tree == BOARDS["one"]
    cut = refusal(data[: len(data) - len(KERNEL)])
    assert cut.message.startswith("the FIT image is truncated: ")


def test_names_with_unit_addresses_are_found_without_them() -> None:
    units = [replace(KERNEL_UNIT, name="kernel@1")]
    data = build_fit(units, [configuration("conf@1", kernel="kernel")], "conf@1")
    assert bytes(identify(data).file) == KERNEL
    assert bytes(identify(data, configuration="conf").file) == KERNEL


def test_both_calls_get_what_is_inside() -> None:
    facts = build_facts()
    made = plan(facts, LoadRequest(kernel=WHOLE, configuration="conf-2", cmdline=b"ro"))
    kernel, initrd = made.segment(Role.KERNEL), made.segment(Role.INITRD)
    assert kernel is not None
    assert initrd is not None
    assert bytes(initrd.data) == RAMDISK
    assert "the initrd is the FIT image's" in made.notes
    assert "the device tree is the FIT image's" in made.notes
    by_file = plan_file_load(facts, LoadRequest(kernel=WHOLE, cmdline=b"ro"))
    assert bytes(by_file.kernel) == KERNEL
    assert by_file.initrd is not None
    assert bytes(by_file.initrd) == RAMDISK


def test_what_inspect_shows() -> None:
    found = identify(WHOLE)
    lines = image_text(found).splitlines()
    assert max(map(len, lines)) <= 80
    for line in (
        "wrapped in:        FIT image, configuration 'conf-1'",
        "FIT image:         A test",
        "  conf-1 (used), conf-2, conf-3",
        "FIT's other dtbs:  2",
    ):
        assert line in lines
    value = image_value(found)["fit"]
    assert value["configuration"] == "conf-1"
    assert value["initrd_size"] == len(RAMDISK)
