"""A request for a kernel in wrappings becomes one for the kernel itself. Pure.

What a UKI brings takes the place of what the user has not given. Everything that changes is
said in the request's notes.
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator

    from pykexec.formats import Identified
    from pykexec.formats.uki import Uki
    from pykexec.plans import LoadRequest


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
    if found.uki is not None:
        notes += _uki_notes(request, found.uki)
        initrd = found.uki.initrd if initrd is None else initrd
        cmdline = cmdline or found.uki.cmdline or b""
    return replace(
        request,
        kernel=found.file,
        initrd=initrd,
        cmdline=cmdline,
        uki=found.uki,
        notes=(*request.notes, *notes),
    )


def _uki_notes(request: LoadRequest, uki: Uki) -> Iterator[str]:
    """Yield what of the UKI is used, and what is not."""
    if uki.profiles > 1:
        yield f"of the UKI's {uki.profiles} profiles, the first is used"
    if uki.initrd is not None:
        yield (
            "the initrd is the UKI's"
            if request.initrd is None
            else "the initrd is the one given; the UKI's is not used"
        )
    if uki.cmdline:
        yield (
            "the command line is the one given; the UKI's is not used"
            if request.cmdline
            else "the command line is the UKI's"
        )
