"""``pykexec inspect`` of ELF kernels and device trees, and ``pykexec crash match``."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path
from shutil import which

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pykexec.errors import ImageError
from pykexec.formats.compression import Codec
from pykexec.formats.device_tree import (
    DeviceTree,
    Node,
    build_device_tree,
    parse_device_tree,
)
from pykexec.formats.device_tree_source import SOURCE_MAX, device_tree_source
from pykexec.values.ranges import Range
from tests.builders.compressed import compress
from tests.builders.images import build_image, build_vmlinux
from tests.builders.linked_elf import BUILD_ID, Linked, build_linked
from tests.builders.vmcore import Record
from tests.cli.test_pykexec import MACHINES, run
from tests.json_schemas import checked
from tests.needs import unavailable
from tests.property.test_device_trees import VALUES
from tests.unit.crash.test_vmlinux import LINE, core

WILD = b".text\x1b]0;title\x07" + b"x" * 100


@pytest.fixture
def vmlinux(tmp_path: Path) -> Path:
    path = tmp_path / "vmlinux"
    path.write_bytes(build_linked())
    return path


@pytest.fixture
def dump(tmp_path: Path) -> Path:
    path = tmp_path / "core"
    records = [Record(LINE)]
    path.write_bytes(core(records, OSRELEASE="6.12.0-synthetic", BUILD_ID=BUILD_ID.hex()))
    return path


@pytest.mark.parametrize("codec", [None, Codec.XZ])
def test_an_elf_kernel(monkeypatch: pytest.MonkeyPatch, vmlinux: Path, codec: Codec | None) -> None:
    data = build_linked(Linked(sections=((WILD, 0x1000), (b".orc_unwind", 0x2000))))
    vmlinux.write_bytes(data if codec is None else compress(codec, data))
    code, out, err = run(monkeypatch, "inspect", str(vmlinux))
    assert (code, err) == (0, "")
    assert max(map(len, out.splitlines())) <= 80
    assert f"build ID:          {BUILD_ID.hex()}\n" in out
    assert "  0xffffffff81000000  0x1000000" in out
    assert re.search(r"^  0x2000 +0x10 +\.orc_unwind$", out, re.MULTILINE)
    assert "\\x1b]0;title" in out
    assert "\x1b" not in out
    assert "  Xen    guest OS    6      linux\n" in out
    code, out, _ = run(monkeypatch, "inspect", str(vmlinux), "--json")
    elf = checked(out)["elf"]
    assert (code, elf["build_id"], elf["machine"]) == (0, BUILD_ID.hex(), "X86_64")
    assert elf["sections"][3]["name"] == WILD.decode()


def test_an_arm64_vmlinux_is_told_of_before_it_is_made_an_image(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    path = tmp_path / "vmlinux"
    path.write_bytes(build_vmlinux(build_image()))
    value = checked(run(monkeypatch, "inspect", str(path), "--json")[1])
    assert (value["arch"], value["elf"]["machine"]) == ("aarch64", "AARCH64")


def test_a_damaged_table_names_the_file(monkeypatch: pytest.MonkeyPatch, vmlinux: Path) -> None:
    data = build_linked()
    vmlinux.write_bytes(data[:62] + b"\x00\xff" + data[64:])
    code, out, err = run(monkeypatch, "inspect", str(vmlinux))
    assert (code, out) == (255, "")
    assert f"kernel '{vmlinux}': the ELF file is malformed: " in err


def test_the_vmlinux_of_a_dump(monkeypatch: pytest.MonkeyPatch, vmlinux: Path, dump: Path) -> None:
    words = ["crash", "match", str(vmlinux), str(dump)]
    code, out, err = run(monkeypatch, *words)
    assert (code, err) == (0, "")
    assert out.startswith(f"build ID:         {BUILD_ID.hex()}\nbanner:           Linux version 6.")
    assert out.endswith("verdict:          match: both have the same build ID\n")
    assert checked(run(monkeypatch, *words, "--json")[1])["verdict"] == "match"
    vmlinux.write_bytes(compress(Codec.GZIP, vmlinux.read_bytes()))
    assert run(monkeypatch, *words)[0] == 0


def test_another_vmlinux(monkeypatch: pytest.MonkeyPatch, vmlinux: Path, dump: Path) -> None:
    words = ["crash", "match", str(vmlinux), str(dump)]
    vmlinux.write_bytes(build_linked(Linked(build_id=b"\xab" * 20)))
    code, out, _ = run(monkeypatch, *words)
    assert code == 1
    assert max(map(len, out.splitlines())) <= 80
    assert f"build ID:         core: {BUILD_ID.hex()}\n" in out
    assert f"                  vmlinux: {'ab' * 20}\n" in out
    assert "verdict:          mismatch: the build ID of the core is another" in out
    assert checked(run(monkeypatch, *words, "--json")[1])["compared"][0]["same"] is False


def test_nobody_can_tell(monkeypatch: pytest.MonkeyPatch, vmlinux: Path, dump: Path) -> None:
    words = ["crash", "match", str(vmlinux), str(dump)]
    vmlinux.write_bytes(build_linked(Linked(build_id=None, banner=b"")))
    code, out, _ = run(monkeypatch, *words)
    assert code == 2
    assert "cannot tell: there is nothing that both say" in out
    assert checked(run(monkeypatch, *words, "--json")[1])["verdict"] == "cannot tell"


def test_what_cannot_be_compared_is_no_verdict(
    monkeypatch: pytest.MonkeyPatch, vmlinux: Path, dump: Path, tmp_path: Path
) -> None:
    code, out, err = run(monkeypatch, "crash", "match", str(vmlinux), str(tmp_path / "no"))
    assert (code, out) == (255, "")
    assert "cannot open" in err
    code, out, err = run(monkeypatch, "crash", "match", str(dump), str(vmlinux))
    assert (code, out) == (255, "")
    assert f"'{dump}': an ELF core, which is the memory of a kernel" in err
    assert "takes the kernel first" in err
    other = tmp_path / "text"
    other.write_text("no ELF file")
    code, out, err = run(monkeypatch, "crash", "match", str(other), str(dump), "--json")
    assert (code, checked(out)["error"]) == (255, "ImageError")
    assert f"vmlinux '{other}' is no ELF file" in err


def compiled(text: str) -> DeviceTree:
    """Compile with dtc, which has never seen our reader or the package."""
    if which("dtc") is None:
        unavailable("there is no dtc here (Debian package device-tree-compiler)")
    command = ["dtc", "-q", "-f", "-I", "dts", "-O", "dtb"]
    done = subprocess.run(command, input=text.encode(), stdout=subprocess.PIPE, check=True)
    return parse_device_tree(done.stdout)


BLOBS = sorted(MACHINES.glob("*/sys/firmware/fdt"))


@pytest.mark.parametrize("blob", BLOBS, ids=lambda path: path.parts[-4])
def test_a_machines_tree_as_its_source(monkeypatch: pytest.MonkeyPatch, blob: Path) -> None:
    code, out, err = run(monkeypatch, "inspect", str(blob), "--dts")
    assert (code, err) == (0, "")
    assert out.startswith("/dts-v1/;\n")
    tree = parse_device_tree(blob.read_bytes())
    assert compiled(out).root == tree.root
    assert compiled(out).reservations == tree.reservations


# dtc keeps one property of a name, and no two of these are the same.
PROPERTIES = st.dictionaries(st.sampled_from(["a", "b,c", "#d", "e_with_references"]), VALUES)
STRINGS = st.text(st.characters(min_codepoint=0x20, max_codepoint=0x7E), min_size=1)


@settings(max_examples=25)
@given(PROPERTIES, st.lists(STRINGS, max_size=3))
def test_any_value_is_the_same_by_its_source(values: dict[str, bytes], texts: list[str]) -> None:
    strings = "".join(text + "\0" for text in texts).encode()
    inner = Node("n@1,f", (*values.items(), ("texts", strings)))
    tree = DeviceTree(Node("", (), (inner,)), (Range(0x1000, 0x3000),))
    assert compiled(device_tree_source(tree)).root == tree.root


def test_a_name_that_no_source_has(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    path = tmp_path / "x.dtb"
    for root in (Node("", (("a b", b""),)), Node("", (), (Node("{};"),))):
        path.write_bytes(build_device_tree(DeviceTree(root)))
        code, out, err = run(monkeypatch, "inspect", str(path), "--dts")
        assert (code, out) == (255, "")
        assert f"device tree '{path}': the device tree has the " in err
        assert "which no source can name" in err


def test_what_is_no_tree_has_no_source(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    path = tmp_path / "x.dtb"
    path.write_bytes(b"/dts-v1/;")
    code, _, err = run(monkeypatch, "inspect", str(path), "--dts")
    assert code == 255
    assert "not a device tree: magic" in err
    path.write_bytes(bytes(SOURCE_MAX + 1))
    assert f"{SOURCE_MAX + 1} bytes; " in run(monkeypatch, "inspect", str(path), "--dts")[2]
    code, _, err = run(monkeypatch, "inspect", str(BLOBS[0]))
    assert code == 255
    assert "'pykexec inspect --dts' shows it" in err
    assert run(monkeypatch, "inspect", str(path), "--dts", "--json")[0] == 1


def test_without_the_package(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "fdt", None)
    code, out, err = run(monkeypatch, "inspect", str(BLOBS[0]), "--dts")
    assert (code, out) == (255, "")
    assert err == "pykexec: a tree's source needs the Python package fdt: pip install fdt\n"


@pytest.mark.parametrize("more", [[], ["--crash"]])
def test_a_load_needs_no_such_package(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, more: list[str]
) -> None:
    """Also where the tree is made anew, as for every load on arm64."""
    monkeypatch.setitem(sys.modules, "fdt", None)
    kernel = tmp_path / "Image"
    kernel.write_bytes(build_image())
    words = ["--machine", str(MACHINES / "aarch64-6.12-tree-4cpus-crash"), "--call", "segments"]
    code, out, err = run(monkeypatch, "plan", str(kernel), *words, *more)
    assert (code, err) == (0, "")
    assert " dtb " in out


def test_a_large_tree_is_printed_soon() -> None:
    import time

    nodes = tuple(Node(f"n{at}", (("reg", bytes(64)),)) for at in range(20_000))
    started = time.process_time()
    assert device_tree_source(DeviceTree(Node("", (), nodes))).count("\n") > 60_000
    assert time.process_time() - started < 2


def test_names_are_judged_before_the_package_sees_them() -> None:
    with pytest.raises(ImageError, match="no source can name"):
        device_tree_source(DeviceTree(Node("", (('a"b', b""),))))
