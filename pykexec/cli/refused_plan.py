"""What is told where there is no plan, beside the error."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pykexec.loading.planning import Basis
    from pykexec.values.errors import PykexecError


def tell_unplaceable(basis: Basis, error: PykexecError, *, as_json: bool) -> None:
    """Print what is known without addresses, where ``error`` is that there are none to be had.

    The error itself follows, and a program gets nothing but that.
    """
    if error is not basis.unplaceable or as_json:
        return
    from pykexec.cli.terminal import say
    from pykexec.render.text import request_text

    say(request_text(basis.facts.arch, basis.request, basis.image), end="")
