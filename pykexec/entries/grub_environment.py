"""GRUB's variables: contexts, exports, and the words of functions and entries. Pure.

A submenu and ``configfile`` open a context of their own, which has of the outer one's variables
those that are exported (GNU GRUB Manual, "export", "submenu").
"""

from __future__ import annotations

from pykexec.values.data_classes import dataclass, field

_TOTAL_MAX = 2_000_000


class TooMuch(Exception):
    """A script wants more than any generated one does; the message says of what."""


@dataclass(slots=True)
class _Context:
    values: dict[str, str] = field(default_factory=dict)
    exported: set[str] = field(default_factory=set)


@dataclass(slots=True)
class Environment:
    """All that a script can set."""

    _contexts: list[_Context] = field(default_factory=lambda: [_Context()])
    _scopes: list[list[str]] = field(default_factory=list)
    _characters: int = 0
    """Of all values together, never counted down: what is copied costs time too."""

    def value(self, name: str) -> str:
        """Return a variable's value, "" when it is not set."""
        return self._contexts[-1].values.get(name, "")

    def is_set(self, name: str) -> bool:
        """Tell whether there is such a variable, be it empty."""
        return name in self._contexts[-1].values

    def set(self, name: str, value: str) -> None:
        """Set a variable of this context; raises :class:`TooMuch`.

        As GRUB has it, ``root`` is kept without the parentheses of a device's name.
        """
        if name == "root" and value.startswith("(") and value.endswith(")"):
            value = value[1:-1]
        self._characters += len(name) + len(value)
        if self._characters > _TOTAL_MAX:
            raise TooMuch(f"more than {_TOTAL_MAX} characters in variables")
        self._contexts[-1].values[name] = value

    def unset(self, name: str) -> None:
        """Take a variable of this context away."""
        self._contexts[-1].values.pop(name, None)
        self._contexts[-1].exported.discard(name)

    def export(self, *names: str) -> None:
        """Let contexts that are opened from now on have these variables."""
        for name in names:
            self._contexts[-1].values.setdefault(name, "")
            self._contexts[-1].exported.add(name)

    def open_context(self, *, everything: bool = False) -> None:
        """Open a context with the exported variables, or with all."""
        outer = self._contexts[-1]
        names = outer.values.keys() if everything else outer.exported
        values = {name: outer.values[name] for name in names if name in outer.values}
        self._characters += sum(map(len, values.values()))
        self._contexts.append(_Context(values, set(values)))

    def close_context(self) -> None:
        """Go back to the outer context."""
        self._contexts.pop()

    def copy(self) -> Environment:
        """Return the same variables, to be changed apart; only this context goes along."""
        last = self._contexts[-1]
        self._characters += sum(map(len, last.values.values())) // 8
        if self._characters > _TOTAL_MAX:
            raise TooMuch(f"more than {_TOTAL_MAX} characters in variables")
        context = _Context(dict(last.values), set(last.exported))
        return Environment([context], [list(scope) for scope in self._scopes], self._characters)

    # The words of functions and entries

    def arguments(self) -> list[str] | None:
        """Return ``$1`` and so on, None outside of functions and entries."""
        return self._scopes[-1] if self._scopes else None

    def open_scope(self, words: list[str]) -> None:
        """Begin a function or an entry."""
        self._scopes.append(list(words))

    def close_scope(self) -> None:
        """End it."""
        self._scopes.pop()

    def set_arguments(self, words: list[str]) -> bool:
        """Put other words in the place of ``$1`` and so on; tells whether there is such a place."""
        if not self._scopes:
            return False
        self._scopes[-1] = list(words)
        return True
