"""What the next kernel is told otherwise than the running one was."""

from __future__ import annotations

from dataclasses import replace

from pykexec.boot.x86.boot_params import BootParamsInput, EfiInfo, build_boot_params
from pykexec.boot.x86.e820 import E820Entry, E820Type
from pykexec.formats.device_tree import DeviceTree, Node, build_device_tree, parse_device_tree
from pykexec.planning.plans import FileLoadPlan
from pykexec.planning.told import Told
from pykexec.render.style import PLAIN
from pykexec.render.text import told_lines
from pykexec.render.told import told_changes
from pykexec.values.calls import KexecFileFlags, Target
from pykexec.values.facts import MachineFacts
from pykexec.values.memory import IomemEntry
from pykexec.values.ranges import Range
from pykexec.values.roles import Role
from pykexec.values.units import GIB, MIB
from tests.builders import arm64
from tests.builders.bzimage import KernelSpec, build_bzimage
from tests.builders.machines import EFI
from tests.builders.plans import RAM, build_facts, build_plan
from tests.unit.test_x86_crash_plan import CRASH

RAW_HEADER = build_bzimage(KernelSpec(version=0x020C))[0x1F1:0x26C]
SCREEN = bytearray(64)
SCREEN[0x0F] = 0x70  # an EFI framebuffer, 1024x768x32 at 3 GiB
SCREEN[0x12:0x18] = (1024).to_bytes(2, "little") + (768).to_bytes(2, "little") + b"\x20\0"
SCREEN[0x18:0x1C] = (3 * GIB).to_bytes(4, "little")


BOOTED = BootParamsInput(
    raw_header=RAW_HEADER,
    e820=tuple(E820Entry(item, E820Type.E820_TYPE_RAM) for item in RAM),
    cmdline=0x20000,
    initrd=Range(0x30000000, 0x30001000),
    setup_data=0x7000,
    screen_info=bytes(SCREEN),
    efi=EfiInfo(b"EL64", 0x7F000018, 48, 1, 0x7E000000, 4800),
    secure_boot=3,
)
"""With an initrd, through EFI, with a framebuffer."""


def machine(given: BootParamsInput = BOOTED) -> MachineFacts:
    return build_facts(cmdline=b"old words", boot_params=build_boot_params(given), efi=EFI)


def test_boot_params() -> None:
    facts = machine()
    plan = build_plan(facts)
    initrd, setup_data = plan.segment(Role.INITRD), plan.segment(Role.SETUP_DATA)
    assert initrd is not None
    assert setup_data is not None
    # A node of 96 bytes and one of 32, each behind a header of 16.
    memmap = setup_data.dest.start + 16 + 96 + 16 + 32
    assert told_changes(plan, facts) == (
        Told("command line", "old words", "ro quiet"),
        Told("boot protocol", "2.12", "2.15"),
        Told(
            "initrd",
            "0x30000000-0x30000fff, 4 KiB",
            f"{initrd.dest.start:#x}-{initrd.dest.start + 10242:#x}, 10.0 KiB",
        ),
        Told("acpi_rsdp_addr", None, "0x7fb7e014"),
        Told("efi memory map", "4800 bytes at 0x7e000000", f"80 bytes at {memmap:#x}"),
        Told("setup_data", "a list at 0x7000", "SETUP_EFI (96 bytes), SETUP_RNG_SEED (32 bytes)"),
    )


def test_a_framebuffer_that_is_not_handed_over() -> None:
    facts = replace(machine(), framebuffer_driver="i915drmfb")
    found = {item.name: item for item in told_changes(build_plan(facts), facts)}
    assert found["display"] == Told("display", "type 0x70, 1024x768x32 at 0xc0000000", None)


def test_a_text_screen() -> None:
    screen = bytearray(64)
    screen[0x07], screen[0x0F] = 80, 1
    facts = machine(replace(BOOTED, screen_info=bytes(screen)))
    facts = replace(facts, framebuffer_driver="i915drmfb")
    found = {item.name: item for item in told_changes(build_plan(facts), facts)}
    assert found["display"] == Told("display", "type 0x1, 80 columns", None)


def test_memory_that_a_capture_kernel_is_not_told_of() -> None:
    region = IomemEntry(Range(GIB, GIB + 128 * MIB), "Crash kernel")
    facts = build_facts(children=[region], crash=CRASH, boot_params=machine().boot_params)
    plan = build_plan(facts, target=Target.CRASH)
    hidden = plan.segment(Role.ELFCOREHDR)
    assert hidden is not None
    assert [item for item in told_changes(plan, facts) if item.name == "e820"] == [
        Told("e820", "0x100000-0xbfffffff RAM", None),
        Told("e820", None, f"0x40000000-{hidden.dest.start - 1:#x} RAM"),
        Told("e820", "0x100000000-0x17fffffff RAM", None),
    ]


def test_without_boot_params_the_maps_are_compared() -> None:
    facts = build_facts()
    names = {item.name for item in told_changes(build_plan(facts), facts)}
    assert names == {"command line", "boot protocol", "type_of_loader", "initrd", "setup_data"}


def test_more_entries_than_the_zero_page_holds() -> None:
    ram = [Range(0x1000, 0x9F000), *(Range.sized(i * 64 * MIB, 63 * MIB) for i in range(1, 200))]
    plan_facts = build_facts(ram)
    facts = replace(plan_facts, boot_params=build_boot_params(replace(BOOTED, e820=())))
    e820 = [item for item in told_changes(build_plan(facts), facts) if item.name == "e820"]
    assert len(e820) == 200
    lines = told_lines(build_plan(facts), facts, PLAIN)
    assert len(lines) <= 1 + 2 * 40 + 1
    assert lines[-1].endswith("changes more, see --json")


def test_a_device_tree() -> None:
    facts = arm64.build_facts()
    found = {item.name: item for item in told_changes(arm64.build_plan(facts), facts)}
    assert found["/chosen bootargs"].after == '"ro quiet"'
    assert found["/chosen linux,initrd-start"].after is not None
    assert all(name.startswith("/chosen ") for name in found)


def test_a_seed_is_never_shown() -> None:
    facts = arm64.build_facts()
    text = repr(told_changes(arm64.build_plan(facts), facts))
    assert "rng-seed" in text
    assert b"rrrr".hex() not in text
    assert "rrrr" not in text
    assert b"kaslr-8b".hex(" ") not in text


def test_values_of_properties() -> None:
    source = arm64.build_facts().device_tree
    assert source is not None
    tree = parse_device_tree(source)
    node = Node(
        "device@1",
        (
            ("flag", b""),
            ("flag", b"the first counts"),
            ("words", b"one\0two\0"),
            ("cells", bytes(range(12))),
            ("bytes", b"\x01\x02\x03"),
            ("long", bytes(64)),
            ("odd", bytes(65)),
        ),
        (Node("child", (("x", b"\0\0\0\x07"),)),),
    )
    given = build_device_tree(
        DeviceTree(tree.root.with_child(node), (*tree.reservations, Range(GIB, GIB + MIB)))
    )
    facts = arm64.build_facts()
    found = {item.name: item for item in told_changes(arm64.build_plan(facts, dtb=given), facts)}
    path = "/device@1"
    assert [found[f"{path} {name}"].after for name in dict(node.properties)] == [
        "(empty)",
        '"one", "two"',
        "<0x10203 0x4050607 0x8090a0b>",
        "[01 02 03]",
        "<0x0 0x0 0x0 0x0 0x0 0x0 0x0 0x0 ...>",
        f"[{' '.join(['00'] * 32)} ...]",
    ]
    assert found["/device@1/child x"] == Told("/device@1/child x", None, "<0x7>")
    assert found["memory reservation"].after == "0x40000000-0x400fffff, 1 MiB"


def test_nothing_is_told_otherwise() -> None:
    plan = FileLoadPlan("x86_64", Target.NORMAL, b"", None, b"same", KexecFileFlags(0))
    facts = build_facts(cmdline=b"same")
    assert told_lines(plan, facts, PLAIN) == ["The new kernel is told what this boot was told."]
    facts = build_facts(cmdline=b"other")
    assert told_changes(plan, facts) == (Told("command line", "other", "same"),)
