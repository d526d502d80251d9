"""The architecture's one direction, held by the imports and the I/O of each module."""

from __future__ import annotations

import ast
import re
from pathlib import Path

import pytest

import pykexec

PACKAGE = Path(pykexec.__file__).parent

LAYERS = {
    "pure": {
        "errors", "units", "architectures", "ranges", "memory", "facts", "placement", "plans",
        "wanted", "packing", "arrangement", "plan_builder", "planner",
        "digest", "purgatory", "command_line", "invariants", "call_choice", "rejections",
        "file_rejections", "file_placement", "json_fields", "unwrapping", "explanations",
        "remedies", "formats", "large_values",
        "boot", "crash", "crash_setup",
        "render", "entries", "doctor", "simulation", "elf_headers",
        "initramfs",
    },
    "data": {
        "built_files", "purgatory_objects", "launchers", "known_problems", "schemas",
        "capture_files",
    },
    "read": {"machine"},
    "call": {"syscalls", "_kexec_abi"},
    # What zstd and lz4 are called by: computes, as the libraries behind it do.
    "codec": {"_codec_abi"},
    "load": {"loading"},
    "front": {"cli"},
}  # fmt: skip
MAY_IMPORT = {
    "pure": {"pure", "data", "codec"},
    "data": {"pure", "data"},
    "read": {"pure", "read"},
    "call": {"pure", "call"},
    "load": {"pure", "data", "read", "call", "load"},
    "front": {"pure", "data", "read", "call", "load", "front"},
}
GENERATED = {"_kexec_abi", "_codec_abi"}
# A shared library is opened by name in these places and nowhere else.
OPENS_LIBRARIES = {"syscalls.py", "formats/codec_libraries.py"}
# A renderer draws what the core computes; the core knows of no renderer.
RENDERERS = {"render"}
IO_MODULES = {
    "os", "pathlib", "mmap", "socket", "fcntl", "subprocess", "shutil", "tempfile", "io",
    "ctypes", "sys",
}  # fmt: skip
PURE_OS_NAMES = {"strerror", "fsencode", "fsdecode", "environ"}


def modules() -> list[Path]:
    return sorted(path for path in PACKAGE.rglob("*.py") if path.stem not in GENERATED)


def top_of(path: Path) -> str:
    return path.relative_to(PACKAGE).parts[0].removesuffix(".py")


def layer_of(top: str) -> str:
    return next(layer for layer, names in LAYERS.items() if top in names)


def imported(tree: ast.AST) -> set[str]:
    found = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            found.add(node.module)
            found |= {f"{node.module}.{alias.name}" for alias in node.names}
    return found


def type_checking_only(tree: ast.Module) -> set[ast.AST]:
    """Imports for annotations bind nothing at run time."""
    blocks = (
        node
        for node in ast.walk(tree)
        if isinstance(node, ast.If) and ast.unparse(node.test) == "TYPE_CHECKING"
    )
    return {inner for block in blocks for inner in ast.walk(block)}


def runtime_imports(path: Path) -> set[str]:
    tree = ast.parse(path.read_text(encoding="utf-8"))
    skipped = type_checking_only(tree)
    nodes = [n for n in ast.walk(tree) if isinstance(n, ast.Import | ast.ImportFrom)]
    return imported(ast.Module(body=[n for n in nodes if n not in skipped], type_ignores=[]))


def test_every_module_has_a_layer() -> None:
    tops = {top_of(path) for path in modules()} - {"__init__"}
    assert tops == set().union(*LAYERS.values()) - GENERATED


@pytest.mark.parametrize("path", modules(), ids=lambda p: str(p.relative_to(PACKAGE)))
def test_imports_point_one_way(path: Path) -> None:
    top = top_of(path)
    if top == "__init__":
        return
    allowed = MAY_IMPORT[layer_of(top)]
    for name in runtime_imports(path):
        parts = name.split(".")
        if parts[0] != "pykexec" or len(parts) == 1 or parts[1].startswith("__"):
            continue
        known = set().union(*LAYERS.values())
        if parts[1] not in known:
            continue
        assert layer_of(parts[1]) in allowed, f"{path.name} imports {name}"
        if layer_of(top) == "pure" and top not in RENDERERS:
            assert parts[1] not in RENDERERS, f"{path.name} imports {name}"


@pytest.mark.parametrize(
    "path",
    [p for p in modules() if top_of(p) != "__init__" and layer_of(top_of(p)) == "pure"],
    ids=lambda p: str(p.relative_to(PACKAGE)),
)
def test_the_core_does_no_io(path: Path) -> None:
    tree = ast.parse(path.read_text(encoding="utf-8"))
    modules_used = {name.split(".")[0] for name in runtime_imports(path)} & IO_MODULES
    if "os" in modules_used:
        used = {
            node.attr
            for node in ast.walk(tree)
            if isinstance(node, ast.Attribute)
            and isinstance(node.value, ast.Name)
            and node.value.id == "os"
        }
        assert used <= PURE_OS_NAMES, f"{path.name} uses os.{', os.'.join(used - PURE_OS_NAMES)}"
        modules_used.remove("os")
    assert not modules_used, f"{path.name} imports {modules_used}"
    calls = {
        node.func.id
        for node in ast.walk(tree)
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Name)
    }
    assert not calls & {"open", "print", "exit", "input"}, path.name


@pytest.mark.parametrize(
    "path", [p for p in modules() if top_of(p) == "loading"], ids=lambda p: p.name
)
def test_what_loads_has_no_terminal(path: Path) -> None:
    """A Python program calls it: no words are parsed there, nothing is printed, nothing exits."""
    text = path.read_text(encoding="utf-8")
    assert not {"click", "sys", "argparse"} & runtime_imports(path)
    assert not re.search(r"\b(print|input|exit|_exit)\(", text)


def test_shared_libraries_are_opened_in_two_places() -> None:
    opening = {
        str(path.relative_to(PACKAGE))
        for path in modules()
        if re.search(r"dlopen|_abi import", path.read_text(encoding="utf-8"))
    }
    assert opening == OPENS_LIBRARIES


@pytest.mark.parametrize("path", modules(), ids=lambda p: str(p.relative_to(PACKAGE)))
def test_modules_and_functions_stay_readable(path: Path) -> None:
    text = path.read_text(encoding="utf-8")
    assert text.count("\n") <= 500
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, ast.FunctionDef):
            assert node.end_lineno is not None
            assert node.end_lineno - node.lineno < 60, f"{path.name}: {node.name}"
