"""What the files of a POWER machine say: its page tables, its live tree, its crash region."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from pykexec.formats.device_tree import parse_device_tree
from pykexec.machine import read_machine
from pykexec.values.memory import crash_regions, dumped_ram, walk
from pykexec.values.ranges import Range
from tests.builders.device_trees import wide
from tests.builders.ppc64le import build_tree

TREE = "sys/firmware/devicetree/base"
REGION = Range(0x20000000, 0x30000000)


def machine(place: Path, tables: str, **properties: bytes) -> Path:
    files = {
        "machine.json": json.dumps({"arch": "ppc64le", "page_size": 65536}).encode(),
        "proc/iomem": b"00000000-7fffffff : System RAM\n",
        "proc/cpuinfo": f"processor\t: 0\n{tables}".encode(),
        f"{TREE}/model": b"live\0",
        f"{TREE}/name": b"\0",
        "sys/firmware/fdt": build_tree(reservations=[(0x3000, 0x1000)]),
        **{f"{TREE}/chosen/{name}": data for name, data in properties.items()},
    }
    for name, data in files.items():
        (place / name).parent.mkdir(parents=True, exist_ok=True)
        (place / name).write_bytes(data)
    return place


@pytest.mark.parametrize(
    ("tables", "hashed"), [("MMU\t\t: Hash\n", True), ("MMU\t\t: Radix\n", False), ("", None)]
)
def test_page_tables(tmp_path: Path, tables: str, hashed: bool | None) -> None:
    assert read_machine(machine(tmp_path, tables)).hashed_page_tables is hashed


EMULATED = "machine\t\t: CHRP IBM pSeries (emulated by qemu)\n"


@pytest.mark.parametrize(
    ("cpuinfo", "hypervisor", "hashing"),
    [
        ("cpu\t\t: POWER8NVL (raw), altivec supported\n", b"", "power8"),
        ("cpu\t\t: POWER9 (architected)\n" + EMULATED, b"linux,kvm\0", "power8"),
        ("cpu\t\t: Power10 (architected)\nmachine\t\t: CHRP IBM,9105-22A\n", b"", "power8"),
        ("cpu\t\t: POWER9 (architected)\n" + EMULATED, b"", ""),
        ("cpu\t\t: POWER9 (raw)\ncpu\t\t: POWER7 (raw)\n", b"", ""),
        ("cpu\t\t: PPC970MP, altivec supported\n", b"", ""),
        ("", b"", ""),
    ],
)
def test_how_fast_it_hashes(tmp_path: Path, cpuinfo: str, hypervisor: bytes, hashing: str) -> None:
    place = machine(tmp_path, cpuinfo)
    if hypervisor:
        (place / TREE / "hypervisor").mkdir()
        (place / TREE / "hypervisor/compatible").write_bytes(hypervisor)
    assert read_machine(place).hashing == hashing


@pytest.mark.parametrize(
    ("text", "order"), [("26\n", 26), ("", None), ("17\n", None), ("999999999\n", None)]
)
def test_size_of_the_hashed_page_table(tmp_path: Path, text: str, order: int | None) -> None:
    place = machine(tmp_path, "MMU\t\t: Hash\n")
    (place / "sys/kernel/debug/powerpc").mkdir(parents=True)
    (place / "sys/kernel/debug/powerpc/hpt_order").write_text(text)
    assert read_machine(place).hash_table_order == order


def test_the_live_tree_with_the_reservations_of_the_boot(tmp_path: Path) -> None:
    facts = read_machine(machine(tmp_path, ""))
    assert facts.device_tree is not None
    tree = parse_device_tree(facts.device_tree)
    assert tree.root.get("model") == b"live\0"
    assert tree.reservations == (Range(0x3000, 0x4000),)
    assert "with the memory reservations of /sys/firmware/fdt" in facts.device_tree_source
    assert facts.boot_tree is not None
    assert parse_device_tree(facts.boot_tree).root.get("model") is None


@pytest.mark.parametrize("size", [REGION.size, 0])
def test_the_region_of_a_crash_kernel_is_in_the_tree(tmp_path: Path, size: int) -> None:
    told = {"linux,crashkernel-base": wide(REGION.start), "linux,crashkernel-size": wide(size)}
    facts = read_machine(machine(tmp_path, "", **told))
    assert crash_regions(facts.iomem) == ((REGION,) if size else ())
    assert facts.iomem[0].range == Range(0, 0x80000000)


def test_a_region_that_is_shown_counts(tmp_path: Path) -> None:
    told = {"linux,crashkernel-base": wide(0), "linux,crashkernel-size": wide(4096)}
    place = machine(tmp_path, "", **told)
    lines = "00000000-7fffffff : System RAM\n  20000000-2fffffff : Crash kernel\n"
    (place / "proc/iomem").write_text(lines)
    assert crash_regions(read_machine(place).iomem) == (REGION,)


@pytest.mark.parametrize(
    ("node", "names", "called"),
    [
        ("rtas", ("linux,rtas-base", "rtas-size"), "RTAS"),
        ("ibm,opal", ("opal-base-address", "opal-runtime-size"), "OPAL"),
    ],
)
def test_what_firmware_keeps_in_the_region_is_dumped(
    tmp_path: Path, node: str, names: tuple[str, str], called: str
) -> None:
    told = {"linux,crashkernel-base": wide(REGION.start), "linux,crashkernel-size": wide(2 << 20)}
    place = machine(tmp_path, "", **told)
    kept = Range(REGION.start + 0x1000, REGION.start + 0x183C)
    directory = place / "sys/firmware/devicetree/base" / node
    directory.mkdir()
    for name, value in zip(names, (kept.start, kept.size), strict=True):
        (directory / name).write_bytes(wide(value))
    iomem = read_machine(place).iomem
    assert [item.range for item in walk(iomem) if item.name == called] == [kept]
    (region,) = crash_regions(iomem)
    assert list(dumped_ram(iomem).intersect([region])) == [kept]
