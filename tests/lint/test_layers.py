"""The architecture's one direction, held by the imports and the I/O of each module."""

from __future__ import annotations

import ast
import re
from pathlib import Path

import pytest

from tools.structure import PACKAGE, module_name

LAYERS = {
    "pure": {
        "architectures", "boot", "calls", "crash", "crash_setup", "doctor", "entries", "errors",
        "formats", "initramfs", "planning", "purgatory_objects.digest_table",
        "purgatory_objects.parameters", "render", "simulation", "values",
    },
    "data": {
        "built_files", "capture_files", "known_problems", "launchers", "purgatory_objects",
        "schemas",
    },
    "read": {"machine"},
    "ask": {"calls._kexec_abi", "calls.hypercalls"},
    "call": {"calls.live_update", "calls.syscalls", "calls.xen"},
    # What zstd and lz4 are called by: computes, as the libraries behind it do.
    "codec": {"formats._codec_abi"},
    "load": {"live_update", "loading"},
    "front": {"cli"},
}  # fmt: skip
"""By the longest name that a module's begins with."""
MAY_IMPORT = {
    "pure": {"pure", "data", "codec"},
    "data": {"pure", "data"},
    "read": {"pure", "read", "ask"},
    "ask": {"pure", "ask"},
    "call": {"pure", "ask", "call"},
    "load": {"pure", "data", "read", "ask", "call", "load"},
    "front": {"pure", "data", "read", "ask", "call", "load", "front"},
}
GENERATED = {"calls._kexec_abi", "formats._codec_abi"}
# A shared library is opened by name in these places and nowhere else.
# Hypercalls only take the address of a buffer from there.
OPENS_LIBRARIES = {"calls/hypercalls.py", "calls/syscalls.py", "formats/codec_libraries.py"}
# A renderer draws what the core computes; the core knows of no renderer.
RENDERERS = {"render"}
IO_MODULES = {
    "os", "pathlib", "mmap", "socket", "fcntl", "subprocess", "shutil", "tempfile", "io",
    "ctypes", "sys",
}  # fmt: skip
# How many threads compute changes nothing of what they find.
PURE_OS_NAMES = {"strerror", "fsencode", "fsdecode", "environ", "sched_getaffinity"}


def modules() -> list[Path]:
    return sorted(path for path in PACKAGE.rglob("*.py") if module_name(path) not in GENERATED)


def top_of(path: Path) -> str:
    return path.relative_to(PACKAGE).parts[0].removesuffix(".py")


def layer_of(module: str) -> str:
    """Return the layer of a module, or of a name in one."""
    places = {name: layer for layer, names in LAYERS.items() for name in names}
    parts = module.split(".")
    beginnings = (".".join(parts[:end]) for end in range(len(parts), 0, -1))
    return next(places[name] for name in beginnings if name in places)


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
    for path in modules():
        assert not module_name(path) or layer_of(module_name(path))
    known = {module_name(path) for path in PACKAGE.rglob("*.py")}
    assert set().union(*LAYERS.values()) <= known


@pytest.mark.parametrize("path", modules(), ids=lambda p: str(p.relative_to(PACKAGE)))
def test_imports_point_one_way(path: Path) -> None:
    module = module_name(path)
    if not module:
        return
    layer, top = layer_of(module), top_of(path)
    allowed = MAY_IMPORT[layer]
    for name in runtime_imports(path):
        parts = name.split(".")
        if parts[0] != "pykexec" or len(parts) == 1 or parts[1].startswith("__"):
            continue
        if not (PACKAGE / parts[1]).is_dir() and not (PACKAGE / f"{parts[1]}.py").is_file():
            continue
        assert layer_of(name.removeprefix("pykexec.")) in allowed, f"{path.name} imports {name}"
        if layer == "pure" and top not in RENDERERS:
            assert parts[1] not in RENDERERS, f"{path.name} imports {name}"


@pytest.mark.parametrize(
    "path",
    [p for p in modules() if module_name(p) and layer_of(module_name(p)) == "pure"],
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


def test_data_classes_are_made_by_the_module_that_costs_little() -> None:
    """Where the interpreter is a foreign one, its own is taken."""
    taken = {
        str(path.relative_to(PACKAGE))
        for path in modules()
        if re.search("^ *(from|import) dataclasses", path.read_text("utf-8"), re.MULTILINE)
    }
    assert taken == {"cli/initramfs_closure.py", "values/data_classes.py"}


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
