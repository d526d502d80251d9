"""Data classes are what the standard library's would be."""

from __future__ import annotations

import copy
import dataclasses
import json
import pickle
import subprocess
import sys
from collections.abc import Callable
from typing import Any, ClassVar

import pytest

from pykexec.values import data_classes

DESCRIBE = """\
import dataclasses, importlib, inspect, json, pkgutil, re, sys
if sys.argv[1] == "standard":
    sys.modules["pykexec.values.data_classes"] = dataclasses
import pykexec

def without_places(it):
    return re.sub("at 0x[0-9a-f]+>", ">", f"{it!r} {it}")

def described(cls):
    own = cls.__dict__
    return {
        "signature": without_places(inspect.signature(cls)),
        "fields": [
            [f.name, f.type, without_places(f.default), f.repr, f.compare, f.init]
            for f in dataclasses.fields(cls)
        ],
        "factories": [
            f.default_factory is not dataclasses.MISSING for f in dataclasses.fields(cls)
        ],
        "slots": list(own["__slots__"]),
        "match": list(own["__match_args__"]),
        "hashable": own["__hash__"] is not None,
        # dataclasses writes one for a class without.
        "doc": None if (cls.__doc__ or "").startswith(cls.__name__ + "(") else cls.__doc__,
        "qualname": cls.__qualname__,
        "members": sorted(
            name for name, it in own.items()
            if inspect.isfunction(it) and name != "__replace__"
        ),
        "own": sorted(
            name for name, it in own.items()
            if inspect.isfunction(it) and it.__code__.co_filename == inspect.getfile(cls)
        ),
    }

found = {}
for item in pkgutil.walk_packages(pykexec.__path__, "pykexec."):
    module = importlib.import_module(item.name)
    for it in vars(module).values():
        # What initramfs_closure has runs in foreign interpreters, without the package.
        of_it = isinstance(it, type) and it.__module__ == item.name
        if of_it and dataclasses.is_dataclass(it) and "closure" not in item.name:
            found[f"{it.__module__}.{it.__name__}"] = described(it)
json.dump(found, sys.stdout)
"""


def test_every_class_of_the_package_is_what_dataclasses_would_make() -> None:
    ours, theirs = (
        json.loads(
            subprocess.run(
                [sys.executable, "-c", DESCRIBE, which], capture_output=True, check=True
            ).stdout
        )
        for which in ("ours", "standard")
    )
    assert len(ours) > 200
    assert ours.keys() == theirs.keys()
    for name, it in ours.items():
        assert it == theirs[name], name


def classes(of: Any) -> tuple[Any, Any, Any]:
    """Define the same three classes with either module."""

    @of.dataclass(frozen=True, slots=True, order=True)
    class Point:
        """Comparable."""

        kind: ClassVar[str] = "point"
        x: int
        y: int = 2
        label: str = of.field(default="", repr=False, compare=False)

        def __post_init__(self) -> None:
            if self.x < 0:
                raise ValueError("x is negative")

        @property
        def sum(self) -> int:
            """Of both."""
            return self.x + self.y

    @of.dataclass(frozen=True, slots=True)
    class Named(Point):
        """Inherited, with another default."""

        y: int = 7
        names: tuple[str, ...] = ()

    @of.dataclass(slots=True)
    class Box:
        """Changeable."""

        items: list[int] = of.field(default_factory=list)
        point: Any = None

        def __repr__(self) -> str:
            return "a box"

    for made in (Point, Named, Box):
        made.__module__, made.__qualname__ = __name__, made.__name__
    return Point, Named, Box


BOTH = [classes(data_classes), classes(dataclasses)]


def outcome(act: Callable[[tuple[Any, Any, Any]], object], made: tuple[Any, Any, Any]) -> object:
    try:
        return act(made)
    except Exception as error:  # both kinds of classes are to fail alike, whatever it is
        return type(error), str(error)


@pytest.mark.parametrize(
    "act",
    [
        lambda m: repr(m[0](1, label="a")),
        lambda m: repr(m[1](1, names=("a",))),
        lambda m: repr(m[2]()),
        lambda m: m[0](1) == m[0](1, 2, "other"),
        lambda m: m[0](1) != m[0](2),
        lambda m: m[0](1) == (1, 2),
        lambda m: m[0](1) == m[1](1, 2),
        lambda m: hash(m[0](1)) == hash(m[0](1, 2, "other")),
        lambda m: sorted([m[0](2), m[0](1, 3), m[0](1)]) == [m[0](1), m[0](1, 3), m[0](2)],
        lambda m: [m[0](1) < m[0](1), m[0](1) <= m[0](1), m[0](2) > m[0](1), m[0](1) >= m[0](2)],
        lambda m: m[0](1) < 3,
        lambda m: m[0](1).sum,
        lambda m: m[0](-1),
        lambda m: m[0](),
        lambda m: m[0](1, 2, "", 4),
        lambda m: m[0](1, z=3),
        lambda m: setattr(m[0](1), "x", 2),
        lambda m: delattr(m[0](1), "x"),
        lambda m: setattr(m[2](), "new", 2),
        lambda m: hash(m[2]()),
        lambda m: m[2]().items is m[2]().items,
        lambda m: m[2]([1]) == m[2]([1]),
        lambda m: m[0].kind,
        lambda m: m[0].__match_args__,
        lambda m: hasattr(m[0](1), "__dict__"),
        lambda m: copy.deepcopy(m[0](1, 5, "label")).label,
        lambda m: repr(dataclasses.replace(m[0](1), x=4)),
        lambda m: dataclasses.replace(m[0](1), z=4),
        lambda m: dataclasses.asdict(m[2]([1], m[1](1, names=("a",)))),
        lambda m: [(f.name, f.default) for f in dataclasses.fields(m[1])],
        lambda m: [*map(dataclasses.is_dataclass, (m[0], m[0](1)))],
    ],
)  # fmt: skip
@pytest.mark.parametrize("objects", [0, 30])
def test_objects_behave_alike(act: Callable[[tuple[Any, Any, Any]], object], objects: int) -> None:
    """The first ones, and those for which a constructor has been compiled."""
    ours, theirs = classes(data_classes), classes(dataclasses)
    for _ in range(objects):
        ours[0](1), ours[1](1), ours[2]()
    assert outcome(act, ours) == outcome(act, theirs)


def test_the_functions_do_the_same() -> None:
    point, named, box = BOTH[0]
    whole = box([1], named(1, names=("a", "b")))
    assert data_classes.asdict(whole) == dataclasses.asdict(whole)
    nested = box([1], {"k": [whole.point]})
    assert data_classes.asdict(nested) == dataclasses.asdict(nested)
    assert data_classes.replace(point(1), x=4) == point(4)
    assert [it.name for it in data_classes.fields(named)] == ["x", "y", "label", "names"]
    assert data_classes.is_dataclass(point)
    assert not data_classes.is_dataclass(3)


def test_objects_survive_pickling() -> None:
    from pykexec.values.ranges import Range

    assert pickle.loads(pickle.dumps(Range(1, 5))) == Range(1, 5)


def test_what_is_not_there_is_refused() -> None:
    with pytest.raises(TypeError, match="without slots"):
        data_classes.dataclass()(int)
