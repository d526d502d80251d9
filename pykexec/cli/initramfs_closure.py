"""Finds what modules a Python program comes to, and makes byte code of them.

This file is given on standard input to the interpreter whose modules are to be packed: that one
may lie in another root directory and be of another version, and what it reads is what it will
run. So nothing is imported to find them but the standard library. The argument is JSON: ``roots``
(modules to begin with), ``left_out`` (modules that are not followed, with all below them),
``not_followed`` (what is not followed from within functions of some modules), ``stand_ins``
(sources to be taken for some), ``added`` (sources to be put behind those of some), ``rooms`` (what
architectures' modules are called in each wing), ``digests`` (the module that is packed all the same
where this interpreter has no SHA-256 of its own), ``path`` (where to look, null for where this
interpreter does), and ``also`` (where else). The answer is a line of JSON and, behind it, the byte
code of all modules in the order of the list.

A closure over imports, those within functions included, and not a trace of a run: a run that was
refused early has imported neither what makes the system call nor what expands a kernel.

The constructor of a data class is written as text and compiled when it is defined, at each start.
So modules that have such classes are imported in the end, and what is compiled then goes into their
byte code, beside its text, where the ``data_classes`` that is packed finds it
(:data:`pykexec.initramfs.selection.ADDED`). One that is not found is compiled as ever.
"""

from __future__ import annotations

import ast
import builtins
import importlib
import importlib.machinery
import importlib.util
import json
import marshal
import sys
import warnings
from collections import deque
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from types import CodeType
from typing import Any

_BY_NAME = ("import_module", "__import__", "importlib.import_module")
_ROOM_OF = "room_of"
"""Of :mod:`pykexec.architectures`: the module of an architecture in a wing, which it is given."""
_OWN_SHA256 = ("_sha2", "_sha256")
"""Python's own, from 3.12 on and before. Fedora's Python is built without."""
_FOR_TYPES = ("TYPE_CHECKING", "typing.TYPE_CHECKING")
_MAKER = "pykexec.values.data_classes"
_METHODS = "__data_class_methods__"
"""In a module that is packed: byte code by the text that it was compiled from."""
_TEXTS, _CODES = f"{_METHODS} texts", f"{_METHODS} codes"
"""What stands for them while the module is compiled."""


@dataclass
class Found:
    """A module that is to be packed."""

    name: str
    kind: str
    """``source``, ``extension`` or ``namespace``."""
    file: str
    search: list[str] | None
    """Where its submodules are, None when it is no package."""
    source: bytes = b""
    tree: ast.Module | None = None


class Closure:
    """Every module that import statements lead to."""

    def __init__(
        self,
        path: Sequence[str],
        left_out: Sequence[str] = (),
        stand_ins: Mapping[str, str] | None = None,
        not_followed: Mapping[str, Sequence[str]] | None = None,
        added: Mapping[str, str] | None = None,
        rooms: Sequence[str] = (),
    ) -> None:
        """Look along ``path``."""
        self._rooms = rooms
        self._not_followed = not_followed or {}
        self._added = added or {}
        self._stand_ins = stand_ins or {}
        self.found: dict[str, Found] = {}
        self.missing: set[str] = set()
        self._path = list(path)
        self._left_out = frozenset(left_out)
        self._waiting: deque[Found] = deque()

    def follow(self, name: str) -> bool:
        """Add a module with the packages above it; tell whether there is one of that name."""
        parts = name.split(".")
        return all(self._add(".".join(parts[:end])) for end in range(1, len(parts) + 1))

    def has(self, name: str) -> bool:
        """Tell whether the interpreter will have a module."""
        return name in self.found or name in sys.builtin_module_names

    def insist(self, name: str) -> None:
        """Add a module that was left out."""
        self._left_out -= {name}
        self.follow(name)

    def finish(self) -> None:
        """Follow what the modules so far import, and what those do."""
        while self._waiting:
            module = self._waiting.popleft()
            if module.kind == "source":
                self._read(module)

    def _add(self, name: str) -> bool:
        if name in self.found:
            return True
        if name in sys.builtin_module_names or name in self.missing:
            return name not in self.missing
        if name in self._left_out:
            return False
        if name in self._stand_ins:
            self._enter(Found(name, "source", "", None))
            return True
        parent = name.rpartition(".")[0]
        search = self.found[parent].search if parent in self.found else None
        if parent and search is None:
            return False
        spec = importlib.machinery.PathFinder.find_spec(name, search if parent else self._path)
        if spec is None:
            self.missing.add(name)
            return False
        locations = spec.submodule_search_locations
        kind = "namespace"
        if isinstance(spec.loader, importlib.machinery.SourceFileLoader):
            kind = "source"
        elif isinstance(spec.loader, importlib.machinery.ExtensionFileLoader):
            kind = "extension"
        elif spec.origin is not None:
            self.missing.add(name)  # Byte code without its source, or in an archive.
            return False
        package = None if locations is None else list(locations)
        self._enter(Found(name, kind, spec.origin or "", package))
        return True

    def _enter(self, module: Found) -> None:
        self.found[module.name] = module
        self._waiting.append(module)

    def _read(self, module: Found) -> None:
        if module.name in self._stand_ins:
            source = self._stand_ins[module.name].encode()
        else:
            with open(module.file, "rb") as file:
                source = file.read()
        source += self._added.get(module.name, "").encode()
        tree = ast.parse(source, module.file)
        _drop_docstrings(tree)
        module.source, module.tree = source, tree
        package = module.name if module.search is not None else module.name.rpartition(".")[0]
        not_called = self._not_followed.get(module.name, ())
        for node, in_function in _statements(tree):
            self._imported(node, package, not_called if in_function else ())

    def _imported(self, node: ast.AST, package: str, skipped: Sequence[str]) -> None:
        if isinstance(node, ast.Import):
            for alias in node.names:
                if alias.name not in skipped:
                    self.follow(alias.name)
        elif isinstance(node, ast.ImportFrom):
            base = node.module or ""
            if node.level:
                parts = package.split(".")
                above = ".".join(parts[: len(parts) - node.level + 1])
                base = f"{above}.{base}" if base else above
            if base in skipped or not self.follow(base) or base not in self.found:
                return
            if self.found[base].search is not None:
                for alias in node.names:
                    self.follow(f"{base}.{alias.name}")
        elif isinstance(node, ast.Call):
            self._called(node)

    def _called(self, node: ast.Call) -> None:
        """Follow what is imported by a name in a call."""
        name = node.args[0] if node.args else None
        if not isinstance(name, ast.Constant) or not isinstance(name.value, str):
            return
        called = ast.unparse(node.func)
        if called in _BY_NAME:
            self.follow(name.value)
        elif called == _ROOM_OF:
            for room in self._rooms:
                self.follow(f"pykexec.{name.value}.{room}")


def _statements(tree: ast.AST) -> Iterator[tuple[ast.AST, bool]]:
    """Yield the imports and calls of a module, and whether they are within a function.

    Not what is there for type checkers.
    """
    waiting: deque[tuple[ast.AST, bool]] = deque(((tree, False),))
    while waiting:
        node, in_function = waiting.popleft()
        if isinstance(node, ast.Import | ast.ImportFrom):
            yield node, in_function
            continue
        inside: Iterable[ast.AST] = ast.iter_child_nodes(node)
        if isinstance(node, ast.If) and _is_for_types(node.test):
            inside = node.orelse
        elif isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            in_function = True
        elif isinstance(node, ast.Call) and isinstance(node.func, ast.Name | ast.Attribute):
            last = node.func.id if isinstance(node.func, ast.Name) else node.func.attr
            if last in ("import_module", "__import__", _ROOM_OF):
                yield node, in_function
        waiting.extend((child, in_function) for child in inside)


def _drop_docstrings(tree: ast.AST) -> None:
    """Take out what describes modules, classes and functions, as ``python -OO`` does.

    What is decorated keeps it: click prints those of verbs, and a data class without one makes one
    of its signature, at each start.
    """
    for node in ast.walk(tree):
        if not isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef):
            continue
        if getattr(node, "decorator_list", ()) or ast.get_docstring(node, clean=False) is None:
            continue
        if len(node.body) == 1:
            # Something has to be there, and it has to be where it was.
            node.body.append(ast.copy_location(ast.Pass(), node.body[0]))
        del node.body[0]


class Methods:
    """What :data:`_MAKER` compiles while modules are imported, by module and by text."""

    def __init__(self) -> None:
        """Record nothing so far."""
        self.of: dict[str, dict[str, CodeType]] = {}

    def record(self, names: Iterable[str], path: Sequence[str]) -> None:
        """Import modules found along ``path``; what cannot be imported has none.

        That is told when all modules are imported out of what was picked.
        """
        sys.path[:] = path
        try:
            maker = vars(importlib.import_module(_MAKER))
        except ImportError:
            return  # Nothing that is packed has such classes.
        stdout, sys.stdout = sys.stdout, sys.stderr  # The answer is alone on the one.
        maker["exec"] = self._execute
        try:
            for name in names:
                try:
                    importlib.import_module(name)
                except Exception:  # whatever it ends with: it is imported again, and told, later
                    continue
        finally:
            del maker["exec"]
            sys.stdout = stdout

    def _execute(self, text: str, module: dict[str, Any], made: dict[str, Any]) -> None:
        """Do what ``exec`` does for a data class."""
        code: CodeType = compile(text, "<string>", "exec", dont_inherit=True, optimize=0)
        self.of.setdefault(module["__name__"], {})[text] = code
        builtins.exec(code, module, made)


def byte_code(module: Found, methods: Mapping[str, CodeType]) -> bytes:
    """Compile a module, and put the methods of its data classes into it."""
    assert module.tree is not None
    if methods:
        _insert(module.tree, f"{_METHODS} = dict(zip({_TEXTS!r}, {_CODES!r}))")
    shown = module.name.replace(".", "/") + ("" if module.search is None else "/__init__")
    code = compile(module.tree, f"{shown}.py", "exec", dont_inherit=True, optimize=0)
    if methods:
        # No syntax has a code object for a constant, but a module's code may.
        put = {_TEXTS: tuple(methods), _CODES: tuple(methods.values())}
        code = code.replace(co_consts=tuple(_put_in(put, item) for item in code.co_consts))
    # PEP 552: told by its hash, and the hash is not looked at.
    return b"".join(
        (
            importlib.util.MAGIC_NUMBER,
            (1).to_bytes(4, "little"),
            importlib.util.source_hash(module.source),
            marshal.dumps(code),
        )
    )


def _insert(tree: ast.Module, statement: str) -> None:
    """Put a statement before all others, but for those that must be the first."""
    at = 0
    while at < len(tree.body):
        node = tree.body[at]
        if not (isinstance(node, ast.ImportFrom) and node.module == "__future__"):
            break
        at += 1
    tree.body[at:at] = ast.parse(statement).body


def _put_in(put: Mapping[str, object], item: object) -> object:
    return put.get(item, item) if isinstance(item, str) else item


def _is_for_types(test: ast.expr) -> bool:
    return isinstance(test, ast.Name | ast.Attribute) and ast.unparse(test) in _FOR_TYPES


def main() -> None:
    """Answer the question in the argument."""
    warnings.simplefilter("ignore")  # The libraries' own style is not ours to judge.
    question = json.loads(sys.argv[1])
    path = question["path"]
    if path is None:
        path = [place for place in sys.path if place]
    closure = Closure(
        [*path, *question["also"]],
        question["left_out"],
        question["stand_ins"],
        question["not_followed"],
        question["added"],
        question["rooms"],
    )
    absent = [root for root in question["roots"] if not closure.follow(root)]
    closure.finish()
    if not any(map(closure.has, _OWN_SHA256)):
        closure.insist(question["digests"])
        closure.finish()
    modules = [closure.found[name] for name in sorted(closure.found)]
    methods = Methods()
    with_data_classes = [module.name for module in modules if b"dataclass" in module.source]
    methods.record(with_data_classes, [*path, *question["also"]])
    codes = [
        b"" if module.tree is None else byte_code(module, methods.of.get(module.name, {}))
        for module in modules
    ]
    answer = {
        "version": list(sys.version_info[:2]),
        "executable": sys.executable,
        "library": sys.platlibdir,
        "absent": absent,
        "modules": [
            {
                "name": module.name,
                "kind": module.kind,
                "file": module.file,
                "package": module.search is not None,
                "size": len(code),
            }
            for module, code in zip(modules, codes, strict=True)
        ],
    }
    with open(1, "wb", closefd=False) as out:
        out.write(json.dumps(answer).encode() + b"\n")
        for code in codes:
            out.write(code)


if __name__ == "__main__":
    main()
