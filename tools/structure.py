"""What imports what in pykexec, counted: ``python -m tools.structure [--imports]``.

A *room* is a folder with modules in it, or a module that lies loose beside the folders of the
package. Rooms are drawn on *floors*: each above all that it imports, the lowest imports none of
them. A *circle* is a set of modules that reach each other by imports. Every import counts, those
inside functions and those for types alone too.
"""

from __future__ import annotations

import ast
import sys
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path

PACKAGE = Path(__file__).resolve().parent.parent / "pykexec"

Graph = Mapping[str, set[str]]


def module_name(path: Path) -> str:
    """Return the name of a module below the package; that of the package itself is ""."""
    parts = path.relative_to(PACKAGE).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


def modules() -> dict[str, Path]:
    """Return all modules by name."""
    return {module_name(path): path for path in sorted(PACKAGE.rglob("*.py"))}


def imports_of(path: Path, known: Iterable[str]) -> set[str]:
    """Return the modules of the package that the one at ``path`` imports, wherever in it."""
    found = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        names = []
        if isinstance(node, ast.Import):
            names = [(alias.name, "") for alias in node.names]
        elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
            names = [(node.module, alias.name) for alias in node.names]
        for module, name in names:
            if module != "pykexec" and not module.startswith("pykexec."):
                continue
            base = module.removeprefix("pykexec").removeprefix(".")
            inner = f"{base}.{name}".strip(".")
            found.add(inner if inner in known else base)
    return found - {module_name(path)}


def import_graph() -> dict[str, set[str]]:
    """Return which module imports which. The package itself, which imports the API, is left out."""
    known = modules()
    graph = {name: imports_of(path, known) - {""} for name, path in known.items() if name}
    assert all(inner in graph for found in graph.values() for inner in found)
    return graph


def room_of(module: str) -> str:
    """Return the room that a module lies in."""
    path = modules()[module]
    return module if path.name == "__init__.py" else module.rpartition(".")[0] or module


def wing_of(module: str) -> str:
    """Return what a module belongs to at the top: a folder with all below it, or itself."""
    return module.partition(".")[0]


def joined(graph: Graph, place: Mapping[str, str]) -> dict[str, set[str]]:
    """Return the graph of places instead of modules."""
    found: dict[str, set[str]] = {place[name]: set() for name in graph}
    for name, inner in graph.items():
        found[place[name]] |= {place[other] for other in inner} - {place[name]}
    return found


def circles(graph: Graph) -> list[tuple[str, ...]]:
    """Return the sets of nodes that reach each other, sorted."""
    return sorted(tuple(sorted(part)) for part in _components(graph) if len(part) > 1)


def floors(graph: Graph) -> dict[str, int]:
    """Return the floor of each node, from 0; what is in a circle shares one."""
    found: dict[str, int] = {}
    for part in _components(graph):  # what is imported comes first
        below = {other for name in part for other in graph[name]} - part
        floor = max((found[name] + 1 for name in below), default=0)
        found |= dict.fromkeys(part, floor)
    return found


def _components(graph: Graph) -> Iterator[set[str]]:
    """Yield the strongly connected components, each after those that it reaches (Tarjan)."""
    index: dict[str, int] = {}
    low: dict[str, int] = {}
    stack: list[str] = []

    def visit(name: str) -> Iterator[set[str]]:
        index[name] = low[name] = len(index)
        stack.append(name)
        for other in sorted(graph[name]):
            if other not in index:
                yield from visit(other)
                low[name] = min(low[name], low[other])
            elif other in stack:
                low[name] = min(low[name], index[other])
        if low[name] == index[name]:
            at = stack.index(name)
            yield set(stack[at:])
            del stack[at:]

    for name in sorted(graph):
        if name not in index:
            yield from visit(name)


def main(arguments: list[str]) -> int:
    """Print the count; with ``--imports`` also the floors and what each wing imports."""
    graph = import_graph()
    wings = joined(graph, {name: wing_of(name) for name in graph})
    rooms = joined(graph, {name: room_of(name) for name in graph})
    loose = [name for name in wings if (PACKAGE / f"{name}.py").is_file()]
    levels = floors(wings)
    print(f"modules             {len(graph)}")
    print(f"loose at the top    {len(loose)}: {' '.join(sorted(loose))}")
    print(f"wings at the top    {len(wings) - len(loose)}")
    print(f"rooms               {len(rooms)}")
    print(f"floors of the top   {max(levels.values()) + 1}")
    print(f"floors of rooms     {max(floors(rooms).values()) + 1}")
    for what, found in (("modules", graph), ("rooms", rooms), ("wings", wings)):
        print(f"circles of {what:9}{len(circles(found))}")
        for circle in circles(found):
            print(f"  {' '.join(circle)}")
    if "--imports" in arguments:
        for level in range(max(levels.values()), -1, -1):
            for name in sorted(item for item in levels if levels[item] == level):
                print(f"{level:3} {name:20} {' '.join(sorted(wings[name]))}")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
