"""The running device tree: where it is read, how it is flattened, what is recorded of it."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from pathlib import Path

import pytest

from pykexec.errors import MachineError
from pykexec.formats.device_tree import Node, parse_device_tree
from pykexec.machine import read_machine
from pykexec.machine.device_tree import read_device_tree
from pykexec.machine.files import MachineFiles
from pykexec.machine.record import record
from tests.builders.device_trees import Spec, board, build_blob, cells, read_blob, value_of
from tests.builders.machines import MachineDirectory, build_machine

BASE = "sys/firmware/devicetree/base"
SEEDED: dict[str, bytes | str] = {
    "kaslr-seed": b"8 bytes!",
    "rng-seed": b"secret",
    "bootargs": "ro",
}
BLANKED = {"kaslr-seed": bytes(8), "rng-seed": bytes(6), "bootargs": b"ro\0"}


def write_tree(machine: MachineDirectory, node: Spec, directory: str = BASE) -> None:
    """Write a node as the kernel shows it: with a ``name`` of its own making."""
    given: Mapping[str, bytes | str | Sequence[int]] = node.properties
    properties = {"name": node.name.split("@")[0], **given}
    for name, value in properties.items():
        machine.write(f"{directory}/{name}", value_of(value))
    for child in node.children:
        write_tree(machine, child, f"{directory}/{child.name}")


def flattened(tmp_path: Path) -> tuple[Node, str]:
    found = read_device_tree(MachineFiles(tmp_path), flatten=True)
    assert found is not None
    tree = parse_device_tree(found[0])
    assert tree.reservations == ()
    return tree.root, found[1]


def test_the_blob_comes_first(tmp_path: Path) -> None:
    machine = MachineDirectory(tmp_path)
    write_tree(machine, board())
    blob = build_blob(board({}))
    machine.write("sys/firmware/fdt", blob)
    for flatten in (True, False):
        found = read_device_tree(MachineFiles(tmp_path), flatten=flatten)
        assert found == (blob, "/sys/firmware/fdt")


@pytest.mark.parametrize("directory", [BASE, "proc/device-tree"])
def test_directories_are_flattened(tmp_path: Path, directory: str) -> None:
    tree = board({"bootargs": "ro"}, Spec("e", {"none": b"", "odd": b"\xff\0"}, (Spec("in"),)))
    write_tree(MachineDirectory(tmp_path), tree, directory)
    root, source = flattened(tmp_path)
    expected = parse_device_tree(build_blob(tree)).root
    assert sorted(root.properties) == sorted(expected.properties)
    assert {node.name for node in root.children} == {node.name for node in expected.children}
    assert root.child("e") == expected.child("e")
    assert source == f"/{directory}, flattened, without firmware's memory reservations"


def test_processors_keep_their_order(tmp_path: Path) -> None:
    names = ("cpu@2", "cpu@10", "cpu@a0", "cpu", "cpu@1,2", "cpu@1,10", "idle-states", "cpu@x")
    cpus = Spec("cpus", {}, tuple(Spec(name) for name in names))
    write_tree(MachineDirectory(tmp_path), Spec("", {}, (cpus,)))
    found = flattened(tmp_path)[0].children[0].children
    assert [node.name for node in found] == [
        *("cpu", "cpu@x", "cpu@1,10", "cpu@1,2", "cpu@2", "cpu@10", "cpu@a0", "idle-states")
    ]


def test_what_the_kernel_made_up_is_undone(tmp_path: Path) -> None:
    machine = MachineDirectory(tmp_path)
    write_tree(machine, Spec("", {"cpus#1": [1], "line#2": [2]}, (Spec("cpus"), Spec("n@1"))))
    machine.write(f"{BASE}/n@1/name", b"other\0")
    root = flattened(tmp_path)[0]
    assert root.properties == (("cpus", cells(1)), ("line#2", cells(2)))
    assert root.child("n@1") == Node("n@1", (("name", b"other\0"),))


def test_links_are_aliases(tmp_path: Path) -> None:
    write_tree(MachineDirectory(tmp_path), Spec("", {}, (Spec("memory@0"),)))
    (tmp_path / BASE / "memory").symlink_to("memory@0")
    assert [node.name for node in flattened(tmp_path)[0].children] == ["memory@0"]


def test_a_recorded_machine_does_not_lead_out(tmp_path: Path) -> None:
    write_tree(MachineDirectory(tmp_path / "elsewhere"), Spec())
    (tmp_path / "machine/proc").mkdir(parents=True)
    (tmp_path / "machine/proc/device-tree").symlink_to(tmp_path / "elsewhere" / BASE)
    assert read_device_tree(MachineFiles(tmp_path / "machine"), flatten=True) is None


def test_a_machine_may_have_none(tmp_path: Path) -> None:
    assert read_device_tree(MachineFiles(tmp_path), flatten=True) is None
    facts = read_machine(build_machine(tmp_path, arch="aarch64"))
    assert (facts.device_tree, facts.device_tree_source) == (None, "")


def test_what_cannot_be_a_tree_is_named(tmp_path: Path) -> None:
    MachineDirectory(tmp_path).write(f"{BASE}/soc/st\u00e4tus", b"okay\0")
    with pytest.raises(MachineError, match=rf"{tmp_path / BASE}: .*'stätus' cannot be the name"):
        read_device_tree(MachineFiles(tmp_path), flatten=True)


def test_a_tree_is_no_deeper_than_kernels_make_it(tmp_path: Path) -> None:
    deepest = tmp_path / BASE / "/".join("n" * 63)
    deepest.mkdir(parents=True)
    flattened(tmp_path)
    (deepest / "n").mkdir()
    with pytest.raises(MachineError, match="/n/n: more than 64 levels of directories"):
        read_device_tree(MachineFiles(tmp_path), flatten=True)


class Unreadable(MachineFiles):
    """Files of which one is denied, as for a user who is not root."""

    denied = ""

    def load(self, name: str) -> bytes:
        if name == self.denied:
            raise PermissionError(13, os.strerror(13))
        return super().load(name)

    def members(self, name: str) -> list[tuple[str, bool]]:
        if name == self.denied:
            raise PermissionError(13, os.strerror(13))
        return super().members(name)


@pytest.mark.parametrize("name", ["sys/firmware/fdt", f"{BASE}/model", f"{BASE}/chosen"])
def test_what_cannot_be_read_is_named(tmp_path: Path, name: str) -> None:
    write_tree(MachineDirectory(tmp_path), board({}))
    files = Unreadable(tmp_path)
    files.denied = name
    with pytest.raises(MachineError, match="needed for the next kernel's device tree") as caught:
        read_device_tree(files, flatten=True)
    assert f"cannot read {tmp_path / name}," in caught.value.message
    assert caught.value.hint is not None


def arm64(path: Path) -> MachineDirectory:
    build_machine(path, arch="aarch64")
    return MachineDirectory(path)


@pytest.mark.parametrize("arch", ["aarch64", "x86_64"])
def test_facts_hold_the_tree(tmp_path: Path, arch: str) -> None:
    machine = MachineDirectory(build_machine(tmp_path / arch, arch=arch))
    machine.write("sys/firmware/fdt", build_blob(board({})))
    facts = read_machine(machine.path)
    assert facts.device_tree == build_blob(board({}))
    assert facts.device_tree_source == "/sys/firmware/fdt"


@pytest.mark.parametrize(("arch", "there"), [("aarch64", True), ("x86_64", False)])
def test_on_x86_directories_are_no_tree(tmp_path: Path, arch: str, there: bool) -> None:
    """Kernels that were booted without a tree may show the root of an empty one."""
    machine = MachineDirectory(build_machine(tmp_path / arch, arch=arch))
    machine.write("sys/firmware/devicetree/base/name", b"\0")
    assert (read_machine(machine.path).device_tree is not None) == there


@pytest.mark.parametrize("node", ["chosen", "chosen@0"])
def test_seeds_are_not_recorded(tmp_path: Path, node: str) -> None:
    machine = arm64(tmp_path / "machine")
    source = build_blob(board(None, Spec(node, SEEDED), Spec("last")), [(1, 2)])
    machine.write("sys/firmware/fdt", source)
    record(machine.path, tmp_path / "record")
    tree = read_blob((tmp_path / "record/sys/firmware/fdt").read_bytes())
    before = read_blob(source)
    assert tree.properties == {**before.properties, f"/{node}": BLANKED}
    assert tree.reservations == before.reservations


def test_a_tree_without_seeds_is_recorded_as_it_is(tmp_path: Path) -> None:
    machine = arm64(tmp_path / "machine")
    source = build_blob(Spec("", {}, (Spec("chosen", {"kaslr-seed": bytes(8)}, nops=3),)))
    machine.write("sys/firmware/fdt", source)
    record(machine.path, tmp_path / "record")
    assert (tmp_path / "record/sys/firmware/fdt").read_bytes() == source


def test_directories_are_recorded_without_their_seeds(tmp_path: Path) -> None:
    machine = arm64(tmp_path / "machine")
    write_tree(machine, board(SEEDED, Spec("thing", {"rng-seed-like": b"kept"}), Spec("empty")))
    record(machine.path, tmp_path / "record")
    before = flattened(machine.path)[0]
    after = flattened(tmp_path / "record")[0]
    chosen = before.child("chosen")
    assert chosen is not None
    for name in ("kaslr-seed", "rng-seed"):
        chosen = chosen.with_property(name, BLANKED[name])
    assert after == before.with_child(chosen)


def test_a_tree_that_nobody_can_read_is_not_recorded(tmp_path: Path) -> None:
    machine = arm64(tmp_path / "machine")
    path = machine.write("sys/firmware/fdt", b"secret")
    with pytest.raises(MachineError, match="it may hold secrets, so it is not recorded") as caught:
        record(machine.path, tmp_path / "record")
    assert caught.value.message.startswith(f"{path}: not a device tree")
