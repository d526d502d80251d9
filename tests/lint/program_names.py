"""Finds the programs that code runs by name: in Python, in shell scripts and in the Makefile.

What is put together at run time is not seen here; tests/conftest.py watches that.
"""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator

RUNNERS = frozenset(("run", "Popen", "call", "check_call", "check_output"))
NAME = re.compile(r"[a-z][a-z0-9_+.-]*")

KEYWORDS = frozenset(
    (
        *("if", "then", "else", "elif", "fi", "for", "while", "until", "do", "done", "case"),
        *("esac", "in", "!", "{", "}"),
    )
)
BUILTINS = frozenset(
    (
        *(".", ":", "[", "break", "cd", "continue", "echo", "eval", "exec", "exit", "export"),
        *("local", "printf", "read", "return", "set", "shift", "test", "trap", "true", "false"),
        *("unset", "command"),
    )
)
PREFIXES = frozenset(("exec", "nice", "env"))
"""Words behind which another command follows."""


def in_python(text: str) -> set[str]:
    """Return the programs that a module runs or looks for."""
    return set(_Module(ast.parse(text)).programs())


class _Scope:
    """The names of a function, or of a module outside of them, with what they are bound to."""

    def __init__(self, outer: _Scope | None = None) -> None:
        self._outer = outer
        self._values: dict[str, list[ast.expr]] = {}
        self.nodes: list[ast.AST] = []

    def values(self, name: str) -> list[ast.expr]:
        """Return what a name may stand for."""
        own = self._values.get(name)
        return own or (self._outer.values(name) if self._outer else [])

    def bind(self, node: ast.AST) -> None:
        """Take note of an assignment, or of a loop over things that are written down."""
        if isinstance(node, ast.Assign):
            for target in node.targets:
                self._bind(target, node.value)
        elif isinstance(node, ast.AnnAssign) and node.value is not None:
            self._bind(node.target, node.value)
        elif isinstance(node, ast.For | ast.comprehension):
            # Of pairs the first: the programs are the keys of tables.
            target = node.target.elts[0] if isinstance(node.target, ast.Tuple) else node.target
            for value in self._elements(node.iter):
                self._bind(target, value)

    def _bind(self, target: ast.expr, value: ast.expr) -> None:
        if isinstance(target, ast.Name):
            self._values.setdefault(target.id, []).append(value)

    def _elements(self, value: ast.expr) -> list[ast.expr]:
        if isinstance(value, ast.Name):
            return [part for own in self.values(value.id) for part in self._elements(own)]
        if isinstance(value, ast.Dict):
            keys = [key for key in value.keys if key is not None]
            spread = [own for key, own in zip(value.keys, value.values, strict=True) if key is None]
            return keys + [part for own in spread for part in self._elements(own)]
        if isinstance(value, ast.Call) and isinstance(value.func, ast.Attribute):
            wanted = ("items", "fromkeys")
            inner = value.args[0] if value.args else value.func.value
            return self._elements(inner) if value.func.attr in wanted else []
        return list(value.elts) if isinstance(value, ast.Tuple | ast.List) else []


class _Module:
    """Follows the first word of each command through a module's names."""

    def __init__(self, tree: ast.Module) -> None:
        self._functions: dict[str, ast.FunctionDef] = {}
        self._scopes: list[_Scope] = []
        self._enter(tree, _Scope())

    def _enter(self, node: ast.AST, scope: _Scope) -> None:
        if isinstance(node, ast.FunctionDef):
            self._functions[node.name] = node
            scope = _Scope(scope)
        if not scope.nodes:
            self._scopes.append(scope)
        scope.nodes.append(node)
        scope.bind(node)
        for child in ast.iter_child_nodes(node):
            self._enter(child, scope)

    def programs(self) -> Iterator[str]:
        """Yield the names, some more than once."""
        for scope in self._scopes:
            for node in scope.nodes:
                if isinstance(node, ast.Constant) and str(node.value).startswith("set -e"):
                    yield from in_shell(str(node.value))
                if isinstance(node, ast.Call) and node.args:
                    yield from self._called(node, scope)

    def _called(self, call: ast.Call, scope: _Scope) -> Iterator[str]:
        name = ast.unparse(call.func)
        runs = name.startswith("subprocess.") and name.partition(".")[2] in RUNNERS
        if runs or name == "shutil.which":
            yield from self._heads(call.args[0], scope, frozenset())
        elif name == "map" and ast.unparse(call.args[0]) == "shutil.which":
            yield from _constants(call.args[1], scope)
        else:
            yield from self._handed_on(call, name.removeprefix("self."), scope)

    def _handed_on(self, call: ast.Call, name: str, scope: _Scope) -> Iterator[str]:
        """Yield the first word that is given to a function of ours which runs ``*command``."""
        function = self._functions.get(name)
        if function is None or function.args.vararg is None:
            return
        if function.args.vararg.arg != "command":
            return
        own = [argument for argument in function.args.args if argument.arg != "self"]
        if len(call.args) > len(own):
            yield from self._heads(call.args[len(own)], scope, frozenset())

    def _heads(self, value: ast.expr, scope: _Scope, seen: frozenset[str]) -> Iterator[str]:
        """Yield what the first word of a command may be, as far as it is written down."""
        if isinstance(value, ast.Constant) and isinstance(value.value, str):
            word = value.value.rpartition("/")[2]
            if NAME.fullmatch(word) and not word.startswith("pykexec."):
                yield word
        elif isinstance(value, ast.List | ast.Tuple) and value.elts:
            yield from self._heads(value.elts[0], scope, seen)
        elif isinstance(value, ast.Starred):
            yield from self._heads(value.value, scope, seen)
        elif isinstance(value, ast.BinOp):
            yield from self._heads(value.left, scope, seen)
        elif isinstance(value, ast.IfExp):
            yield from self._heads(value.body, scope, seen)
            yield from self._heads(value.orelse, scope, seen)
        elif isinstance(value, ast.Name) and value.id not in seen:
            for own in scope.values(value.id):
                yield from self._heads(own, scope, seen | {value.id})


def _constants(value: ast.expr, scope: _Scope) -> Iterator[str]:
    values = scope.values(value.id) if isinstance(value, ast.Name) else [value]
    for node in (node for own in values for node in ast.walk(own)):
        if isinstance(node, ast.Constant) and isinstance(node.value, str):
            yield node.value


def in_shell(text: str) -> set[str]:
    """Return the programs that a shell script runs, its own functions left out."""
    functions = set(re.findall(r"^\s*(\w+)\(\)", text, re.MULTILINE))
    found = set()
    for command in _commands(text):
        words = [word for word in command.split() if not re.match(r"\w+\+?=|\d*[<>]", word)]
        while words and (words[0] in KEYWORDS or words[0] in PREFIXES):
            if words[0] in PREFIXES - BUILTINS:
                found.add(words[0])
            if words[0] in ("for", "case"):
                words = []
            words = words[1:]
        if words and NAME.fullmatch(words[0]) and words[0] not in BUILTINS | functions:
            found.add(words[0])
    return found


def _commands(text: str) -> Iterator[str]:
    """Yield the commands of a script, roughly: at the ends of lines, ;, |, &, (, and in $(...)."""
    text = re.sub(r"\\\n", " ", text)
    text = re.sub(r"^\s*#.*$|(?<=\s)#\s.*$", "", text, flags=re.MULTILINE)
    # What is in quotes is an argument, but a $(...) in it is a command all the same.
    text = re.sub(r"'[^'\n]*'", "''", text)
    substituted = re.findall(r"\$\(([^()]*)\)", text)
    text = re.sub(r'"(?:\\.|[^"\\])*"', '""', re.sub(r"\$\([^()]*\)", "", text))
    # The pattern of a case, and the arithmetic of $((...)).
    text = re.sub(
        r"^\s*[^\s()]*(\s\|\s[^\s()]+)*\)", "", re.sub(r"\$?\(\(.*?\)\)", "", text), flags=re.M
    )
    for part in (text, *substituted):
        yield from (piece.strip() for piece in re.split(r"[\n;|&()]+", part) if piece.strip())


def in_makefile(text: str) -> set[str]:
    """Return the programs that the recipes of a Makefile run, those of its variables left out."""
    recipes = [line.lstrip("\t@-") for line in text.splitlines() if line.startswith("\t")]
    return in_shell(re.sub(r"\$\(\w+\)", "$variable", "\n".join(recipes)))


def package_lists(text: str) -> dict[str, list[str]]:
    """Return the lists of packages of a Makefile by name, each list in a list as what it has."""
    joined = re.sub(r"\\\n", " ", text)
    lists: dict[str, list[str]] = {}
    for name, value in re.findall(r"^(\w+_PACKAGES)\s*:=(.*)$", joined, re.MULTILINE):
        words = value.replace("'", "").split()
        lists[name] = [part for word in words for part in lists.get(word.strip("$()"), [word])]
    return lists
