"""A request for a kernel in wrappings becomes one for the kernel itself. Pure.

What a container brings takes the place of what the user has not given. Everything that changes is
said in the request's notes.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from pykexec.values.data_classes import replace

if TYPE_CHECKING:
    from collections.abc import Iterator

    from pykexec.formats import Identified
    from pykexec.formats.layers import Brought
    from pykexec.planning.plans import LoadRequest


def unwrap(request: LoadRequest, found: Identified) -> LoadRequest:
    """Return ``request`` with what ``found`` has inside; itself where there is no wrapping.

    An empty command line counts as none given, as it does for the EFI stub of a UKI.
    """
    if not found.wrappings:
        return request
    notes = [
        "the kernel is taken out of " + ", in ".join(w.name for w in reversed(found.wrappings))
    ]
    if found.signature_lost:
        notes.append(
            "the signature is lost: it is that of the wrapping, and the kernel inside has none; "
            "a running kernel that enforces signatures will refuse this one"
        )
    initrd, cmdline = request.initrd, request.cmdline
    brought = found.brought
    if brought is not None:
        notes += _notes_on(request, brought)
        initrd = brought.initrd if initrd is None else initrd
        cmdline = cmdline or brought.cmdline or b""
    return replace(
        request,
        kernel=found.file,
        initrd=initrd,
        cmdline=cmdline,
        brought=brought,
        configuration=None,
        notes=(*request.notes, *notes),
    )


def _notes_on(request: LoadRequest, brought: Brought) -> Iterator[str]:
    """Yield what of a container is used, and what is not."""
    owner = brought.container
    yield from brought.remarks
    if brought.initrd is not None:
        yield (
            f"the initrd is {owner}'s"
            if request.initrd is None
            else f"the initrd is the one given; {owner}'s is not used"
        )
    if brought.cmdline:
        yield (
            f"the command line is the one given; {owner}'s is not used"
            if request.cmdline
            else f"the command line is {owner}'s"
        )
