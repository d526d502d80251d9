"""tools/structure.py: no circle in the package, and the counting itself."""

from __future__ import annotations

import pytest

from tools.structure import circles, floors, import_graph, joined, room_of, wing_of

GRAPH = {"a": {"b"}, "b": {"c"}, "c": {"b", "d"}, "d": set[str]()}


def test_no_circle_not_even_for_types() -> None:
    graph = import_graph()
    assert circles(graph) == []
    for place in (room_of, wing_of):
        assert circles(joined(graph, {name: place(name) for name in graph})) == []


def test_a_circle_is_found() -> None:
    assert circles(GRAPH) == [("b", "c")]


def test_floors_stand_on_what_they_import() -> None:
    assert floors(GRAPH) == {"a": 2, "b": 1, "c": 1, "d": 0}


def test_places_are_joined() -> None:
    place = {"a": "x", "b": "x", "c": "y", "d": "y"}
    assert joined(GRAPH, place) == {"x": {"y"}, "y": {"x"}}


@pytest.mark.parametrize(
    ("module", "room", "wing"),
    [
        ("errors", "errors", "errors"),
        ("boot.x86.linux", "boot.x86", "boot"),
        ("boot.x86", "boot.x86", "boot"),
        ("planning.plans", "planning", "planning"),
    ],
)
def test_a_module_lies_in_a_room_of_a_wing(module: str, room: str, wing: str) -> None:
    assert (room_of(module), wing_of(module)) == (room, wing)
