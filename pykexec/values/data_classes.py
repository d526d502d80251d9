"""Data classes, as the standard library's ``dataclasses`` makes them, for a fraction of its price.

A load defines some ninety of them. ``dataclasses`` imports Python's parser, disassembler and
regular expressions, and compiles half a dozen methods for each class at each start: that was more
than half of what a start cost. Here only the constructor is compiled, of classes that have more
than a few objects; the others are closures.

To a type checker this *is* ``dataclasses``, and so it is to those who use the classes: its own
``replace``, ``fields``, ``asdict`` and ``is_dataclass`` take them. What pykexec does without is
not here: classes without slots, ``kw_only``, ``InitVar``, fields that are no arguments.
``tests/unit/test_data_classes.py`` compares each class with what ``dataclasses`` would make of it.
"""

from __future__ import annotations

from _operator import attrgetter

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence
    from dataclasses import MISSING, asdict, dataclass, field, fields, is_dataclass, replace
    from typing import Any

__all__ = ("MISSING", "asdict", "dataclass", "field", "fields", "is_dataclass", "replace")


class _Missing:
    """The default of what has none; as an argument, to be made by the field's factory."""

    def __repr__(self) -> str:
        return "<factory>"


_MISSING = _Missing()
_FEW = 24
"""Objects of a class that cost less, made without a compiled constructor, than compiling it."""


class _Field:
    """A field, with what a class says of it."""

    __slots__ = ("compare", "default", "default_factory", "name", "repr", "type")

    def __init__(
        self,
        *,
        default: object = _MISSING,
        default_factory: object = _MISSING,
        repr: bool = True,
        compare: bool = True,
    ) -> None:
        self.name, self.type = "", ""
        self.default, self.default_factory = default, default_factory
        self.repr, self.compare = repr, compare


class _StandardFields:
    """``__dataclass_fields__``, by which ``dataclasses`` knows its classes: made when asked for."""

    def __get__(self, _: object, owner: type) -> Mapping[str, Any]:
        import dataclasses

        given: list[tuple[str, Any, Any]] = []
        for item in _fields(owner):
            options: dict[str, Any] = {"repr": item.repr, "compare": item.compare}
            if item.default is not _MISSING:
                options["default"] = item.default
            if item.default_factory is not _MISSING:
                options["default_factory"] = item.default_factory
            given.append((item.name, item.type, dataclasses.field(**options)))
        like = dataclasses.make_dataclass(owner.__name__, given)
        found: Mapping[str, Any] = like.__dict__["__dataclass_fields__"]
        return found


class _Signature:
    """``__signature__``, by which :mod:`inspect` knows what a class is called with."""

    def __get__(self, _: object, owner: type) -> object:
        if "__signature__" not in owner.__dict__:
            raise AttributeError("a class derived from a data class, which may have another one")
        import inspect

        whole = inspect.signature(_constructor(owner, _fields(owner), frozen=True))
        return whole.replace(parameters=list(whole.parameters.values())[1:])


def _dataclass(
    *, frozen: bool = False, slots: bool = False, order: bool = False
) -> Callable[[type], type]:
    """Make a data class of the class below; its annotations are its fields."""
    if not slots:
        raise TypeError("a data class without slots: take dataclasses")
    return lambda cls: _made(cls, frozen=frozen, order=order)


def _made(cls: type, *, frozen: bool, order: bool) -> type:
    own = _own_fields(cls)
    inherited = {item.name: item for base in cls.__mro__[:0:-1] for item in _fields(base)}
    fields = tuple((inherited | own).values())
    names = [item.name for item in fields]
    members: dict[str, Any] = {
        "__data_class_fields__": fields,
        "__dataclass_fields__": _StandardFields(),
        "__match_args__": tuple(names),
        "__slots__": tuple(name for name in own if name not in inherited),
        "__init__": _first_constructor(cls, lambda: made, fields, frozen=frozen),
        "__signature__": _Signature(),
        "__repr__": _representing([item.name for item in fields if item.repr]),
        "__replace__": _replace,
        "__hash__": None,
    }
    _add_comparisons(members, [item.name for item in fields if item.compare], order=order)
    if frozen:
        _add_frozen(members, names)
    # What the class defines itself stays. Its __dict__ would be one that has no slots.
    left_out = {"__dict__", "__weakref__", *own}
    members.update((name, it) for name, it in cls.__dict__.items() if name not in left_out)
    if members["__hash__"] is None and frozen:
        members["__hash__"] = _hashing([item.name for item in fields if item.compare])
    made: type = type(cls)(cls.__name__, cls.__bases__, members)
    made.__qualname__ = cls.__qualname__
    return made


def _own_fields(cls: type) -> dict[str, _Field]:
    """Return the fields that a class adds to those of its bases, or changes."""
    found = {}
    # Its own: since Python 3.10 a class without annotations does not give those of its base.
    for name, annotation in cls.__annotations__.items():
        if annotation.startswith("ClassVar"):
            continue
        given = cls.__dict__.get(name, _MISSING)
        item = given if isinstance(given, _Field) else _Field(default=given)
        item.name, item.type = name, annotation
        found[name] = item
    return found


def _first_constructor(
    cls: type, made: Callable[[], type], fields: Sequence[_Field], *, frozen: bool
) -> Callable[..., None]:
    """Return an ``__init__`` for a class's first objects, which puts the compiled one in its place.

    That also says what is wrong with arguments that are not the fields'. ``made`` returns what has
    been made of the class ``cls``.
    """
    names = [item.name for item in fields]
    wanted = frozenset(names)
    defaults = {item.name: item.default for item in fields if item.default is not _MISSING}
    factories = {
        item.name: item.default_factory for item in fields if item.default_factory is not _MISSING
    }
    few = _FEW

    def __init__(self: object, *given: object, **named: object) -> None:
        nonlocal few
        few -= 1
        values = {**dict(zip(names, given)), **named}  # noqa: B905  # what is too much is told below
        each_once = len(values) == len(given) + len(named)
        for name, make in factories.items():
            if name not in values:
                values[name] = make()  # type: ignore[operator]  # that is what factories are for
        values = {**defaults, **values}
        if few < 0 or not each_once or values.keys() != wanted:
            compiled = _constructor(cls, fields, frozen=frozen)
            made().__init__ = compiled  # type: ignore[misc]  # and not that of a derived one
            compiled(self, *given, **named)
            return
        for name, value in values.items():
            object.__setattr__(self, name, value)
        if hasattr(self, "__post_init__"):
            self.__post_init__()

    return __init__


def _constructor(cls: type, fields: Sequence[_Field], *, frozen: bool) -> Callable[..., None]:
    """Compile ``__init__``; what a field is given by default is in a closure."""
    around: dict[str, object] = {"_set": object.__setattr__, "_missing": _MISSING}
    parameters, lines = ["self"], []
    for item in fields:
        name = value = item.name
        if item.default is not _MISSING:
            around[f"_default_{name}"] = item.default
            parameters.append(f"{name}=_default_{name}")
        elif item.default_factory is not _MISSING:
            around[f"_make_{name}"] = item.default_factory
            parameters.append(f"{name}=_missing")
            value = f"_make_{name}() if {name} is _missing else {name}"
        else:
            parameters.append(name)
        lines.append(f"_set(self, {name!r}, {value})" if frozen else f"self.{name} = {value}")
    if hasattr(cls, "__post_init__"):
        lines.append("self.__post_init__()")
    body = "".join(f"  {line}\n" for line in lines or ["pass"])
    text = (
        f"def make({', '.join(around)}):\n"
        f" def __init__({', '.join(parameters)}):\n{body}"
        " return __init__\n"
    )
    defined: dict[str, Any] = {}
    exec(text, {"__name__": cls.__module__}, defined)
    made: Callable[..., None] = defined["make"](**around)
    made.__qualname__ = f"{cls.__qualname__}.__init__"
    made.__annotations__ = {item.name: item.type for item in fields} | {"return": None}
    return made


def _representing(names: Sequence[str]) -> Callable[[object], str]:
    def __repr__(self: object) -> str:
        fields = ", ".join(f"{name}={getattr(self, name)!r}" for name in names)
        return f"{type(self).__qualname__}({fields})"

    return __repr__


def _key(names: Sequence[str]) -> Callable[[object], Any]:
    """Return what compares objects by: a tuple of fields, or the only one."""
    return attrgetter(*names) if names else lambda _: ()


def _add_comparisons(members: dict[str, Any], names: Sequence[str], *, order: bool) -> None:
    key = _key(names)

    def __eq__(self: object, other: object) -> bool:
        return bool(key(self) == key(other)) if type(self) is type(other) else NotImplemented

    def __lt__(self: object, other: object) -> bool:
        return bool(key(self) < key(other)) if type(self) is type(other) else NotImplemented

    def __le__(self: object, other: object) -> bool:
        return bool(key(self) <= key(other)) if type(self) is type(other) else NotImplemented

    def __gt__(self: object, other: object) -> bool:
        return bool(key(self) > key(other)) if type(self) is type(other) else NotImplemented

    def __ge__(self: object, other: object) -> bool:
        return bool(key(self) >= key(other)) if type(self) is type(other) else NotImplemented

    members["__eq__"] = __eq__
    if order:
        members |= {"__lt__": __lt__, "__le__": __le__, "__gt__": __gt__, "__ge__": __ge__}


def _hashing(names: Sequence[str]) -> Callable[[object], int]:
    key = _key(names)

    def __hash__(self: object) -> int:
        return hash(key(self))

    return __hash__


def _add_frozen(members: dict[str, Any], names: Sequence[str]) -> None:
    """Let fields not be changed, and copies be made all the same."""

    def __setattr__(_: object, name: str, value: object) -> None:
        from dataclasses import FrozenInstanceError

        raise FrozenInstanceError(f"cannot assign to field {name!r}")

    def __delattr__(_: object, name: str) -> None:
        from dataclasses import FrozenInstanceError

        raise FrozenInstanceError(f"cannot delete field {name!r}")

    def __getstate__(self: object) -> list[object]:
        return [getattr(self, name) for name in names]

    def __setstate__(self: object, state: Sequence[object]) -> None:
        for name, value in zip(names, state, strict=True):
            object.__setattr__(self, name, value)

    members |= {"__setattr__": __setattr__, "__delattr__": __delattr__}
    members |= {"__getstate__": __getstate__, "__setstate__": __setstate__}


def _fields(of: object) -> tuple[_Field, ...]:
    """Return the fields of a data class or of one of its objects; of others none."""
    return getattr(of, "__data_class_fields__", ())


def _is_dataclass(it: object) -> bool:
    return hasattr(it, "__data_class_fields__")


def _replace(it: object, /, **changes: object) -> object:
    """Return an object with other values in some fields."""
    for item in _fields(it):
        if item.name not in changes:
            changes[item.name] = getattr(it, item.name)
    return type(it)(**changes)


def _asdict(it: Any) -> Any:
    """Return an object and those in it as dicts, by their fields' names."""
    if _is_dataclass(it):
        return {item.name: _asdict(getattr(it, item.name)) for item in _fields(it)}
    if isinstance(it, dict):
        return {key: _asdict(value) for key, value in it.items()}
    return type(it)(map(_asdict, it)) if isinstance(it, list | tuple) else it


if not TYPE_CHECKING:
    MISSING, asdict, dataclass, field = _MISSING, _asdict, _dataclass, _Field
    fields, is_dataclass, replace = _fields, _is_dataclass, _replace
