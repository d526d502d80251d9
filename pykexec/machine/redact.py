"""Masking what names one machine or opens it: serial numbers, addresses, hosts, passwords.

For records that are to be shown to others. Masked text keeps its length and its shape, so that
a plan for the record has the layout of the machine's own.
"""

from __future__ import annotations

import posixpath
import re
from collections import Counter
from typing import TYPE_CHECKING, Any

from pykexec.architectures import ARCHITECTURES
from pykexec.machine import device_tree
from pykexec.machine.crash_state import RECORD
from pykexec.machine.fadump import APPEND as CAPTURE_WORDS
from pykexec.machine.left_records import BOOT_ID, CRASH
from pykexec.machine.rooms import machine_room
from pykexec.machine.surroundings import IMA_POLICY, MOUNTS
from pykexec.machine.word_masks import Kind, mask_words, words_left
from pykexec.values.data_classes import dataclass, field, replace
from pykexec.values.errors import ImageError, MachineError

if TYPE_CHECKING:
    from pykexec.formats.device_tree import Node

_CMDLINE = "proc/cmdline"
_TEXTS = frozenset({_CMDLINE, CAPTURE_WORDS, MOUNTS, BOOT_ID, CRASH.mark, IMA_POLICY})

_NAMES = re.compile(
    rb"(?ai)"
    # UUIDs, and what filesystems without one have instead: root=UUID=0A1B-2C3D,
    # rd.md.uuid=3386ff85:f5012621:4a435f06:1eb47236, and the names that udev makes of them.
    rb"\b[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}\b"
    rb"|(?<=UUID=)(?:luks-)?[0-9a-f:-]+"
    rb"|(?<=/by-uuid/)[0-9a-f-]+|(?<=/by-partuuid/)[0-9a-f-]+"
    # MAC addresses; BOOTIF=01-… of PXE loaders.
    rb"|\b(?:[0-9a-f]{2}[:-]){5,6}[0-9a-f]{2}\b"
    # machine-id(5), and the like.
    rb"|\b[0-9a-f]{32}\b"
    # Names that udev makes of a disk's serial number.
    rb"|(?<=/by-id/)[^\s\"]+"
)
"""What names one machine wherever it stands in a text."""

_SERIAL_PROPERTY = re.compile(
    r"(?:.*[,_-])?(?:serial|serial-?n(?:umber|o|r)|sn|uuid|asset-tag|system-id|chassis-id"
    r"|(?:local-|wifi-)?mac-address|(?:local-)?bd-address)"
)
"""Devicetree Specification, 2.3 and 4 ("serial-number", "local-mac-address" …), and vendors'."""
_LABEL_NODES = frozenset({"aliases", "__symbols__"})
"""Their properties are named after nodes: a ``serial`` there is a UART."""


@dataclass(slots=True)
class Redactions:
    """What was masked in a record, and what was left as it is."""

    masked: dict[str, Counter[Kind]] = field(default_factory=dict)
    """By file; of what is no text only that something was."""
    left: dict[str, tuple[str, ...]] = field(default_factory=dict)
    """By file: the words of a command line that were left as they are, each by its key."""
    untouched: set[str] = field(default_factory=set)
    """The files in which nothing was masked."""

    def take(self, name: str, before: bytes, after: bytes) -> None:
        """Note what has become of file ``name``."""
        if name in _TEXTS:
            found: Counter[Kind] = Counter()
            mask_text(before, found)
        else:
            found = Counter({Kind.SERIAL: 1})
        if before != after:
            self.masked[name] = found
        else:
            self.untouched.add(name)
        if name == _CMDLINE:
            self.left[name] = words_left(before, after)


def redact(name: str, data: bytes) -> bytes:
    """Return ``data`` of file ``name`` of a machine directory, masked; of the same length.

    Raises :class:`MachineError` for a device tree that cannot be read: nobody knows what is
    in it.
    """
    if name in _TEXTS:
        return mask_text(data)
    if name == RECORD:
        return _redact_json(data)
    if name == device_tree.BLOB:
        return _redact_blob(data)
    if name.startswith(device_tree.DIRECTORIES):
        parent, base = posixpath.split(name)
        return _redact_property(posixpath.basename(parent), base, data)
    masked = (machine_room(arch) for arch in ARCHITECTURES)
    return next((found for room in masked if room and (found := room.masked(name, data))), data)


def mask_text(text: bytes, found: Counter[Kind] | None = None) -> bytes:
    """Mask a command line or another text: letters and digits become ``x``.

    ``found`` counts what was masked.
    """

    def masked(name: re.Match[bytes]) -> bytes:
        if found is not None:
            found[Kind.SERIAL] += 1
        return _crossed_out(name[0])

    # Line by line: a quote in one mount is not closed in another.
    lines = (mask_words(line, found) for line in text.split(b"\n"))
    return _NAMES.sub(masked, b"\n".join(lines))


def _crossed_out(text: bytes) -> bytes:
    return re.sub(rb"[^\W_]", b"x", text)


def _redact_json(data: bytes) -> bytes:
    """Mask each string of a JSON text; what is none is masked as it is."""
    import json

    from pykexec.values.json_fields import parse_json

    try:
        value = parse_json(data, RECORD)
    except MachineError:
        return mask_text(data)
    return json.dumps(_masked_strings(value), indent=2).encode() + b"\n"


def _masked_strings(value: Any) -> Any:
    if isinstance(value, str):
        return mask_text(value.encode("utf-8", "surrogatepass")).decode("utf-8", "surrogatepass")
    if isinstance(value, list):
        return [_masked_strings(item) for item in value]
    if isinstance(value, dict):
        return {key: _masked_strings(item) for key, item in value.items()}
    return value


def _redact_property(node: str, name: str, value: bytes) -> bytes:
    if node == "chosen" and name == "bootargs":
        return mask_text(value)
    if node in _LABEL_NODES or _SERIAL_PROPERTY.fullmatch(name) is None:
        return value
    is_text = value.endswith(b"\0") and value.rstrip(b"\0").isascii() and len(value) > 1
    return _crossed_out(value) if is_text else bytes(len(value))


def _redact_blob(blob: bytes) -> bytes:
    from pykexec.formats.device_tree import build_device_tree, parse_device_tree

    try:
        tree = parse_device_tree(blob)
        root = _redact_node(tree.root)
        if root == tree.root:
            return blob
        return build_device_tree(replace(tree, root=root))
    except ImageError as error:
        raise MachineError(
            f"the device tree cannot be masked: {error.message}",
            hint="leave out --redact, and look at the record before it is given away",
        ) from error


def _redact_node(node: Node) -> Node:
    return replace(
        node,
        properties=tuple(
            (name, _redact_property(node.name, name, value)) for name, value in node.properties
        ),
        children=tuple(_redact_node(child) for child in node.children),
    )
