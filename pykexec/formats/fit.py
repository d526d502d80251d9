"""U-Boot's FIT images: a device tree whose nodes hold kernels, trees and ramdisks. Pure.

U-Boot doc/usage/fit/source_file_format.rst, "Root-node properties", "'/images' node", "Hash
nodes", "'/configurations' node" and "External data". Addresses to load to are U-Boot's, and not
used. Hashes are checked, as U-Boot does; signatures are not, since only the boot loader has the
keys.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, ClassVar

from pykexec.formats.budget import Budget
from pykexec.formats.compression import Codec, choose, decompress
from pykexec.formats.device_tree import FDT_MAGIC, Node, parse_device_tree
from pykexec.formats.layers import KERNEL_LIMIT, Brought, Layer
from pykexec.values.data_classes import dataclass
from pykexec.values.errors import ImageError
from pykexec.values.large_values import reduce_to_copies, short_repr
from pykexec.values.units import MIB, align_up, counted, format_size

if TYPE_CHECKING:
    from collections.abc import Iterator

    from pykexec.values.buffers import Buffer

NAME = "FIT image"
_IMAGES_NODE = re.compile(rb"\0\0\0\x01images\0")
"""FDT_BEGIN_NODE, and the name that stands behind it."""
_KERNELS = ("kernel", "kernel_noload")
_CODECS: dict[str, tuple[Codec, ...]] = {
    "gzip": (Codec.GZIP,),
    "bzip2": (Codec.BZIP2,),
    "lzma": (Codec.LZMA,),
    "lzo": (Codec.LZO,),
    "lz4": (Codec.LZ4, Codec.LZ4_LEGACY),
    "zstd": (Codec.ZSTD,),
}
_TREE_LIMIT = 64 * MIB
"""Bytes that a packed device tree may expand to; kernels take 2 MiB."""
_HASHED_TIMES = 8
"""How often the whole file may be hashed; each image has a hash or two."""
_HASHES = ("md5", "sha1", "sha256", "sha384", "sha512")
_STORE_ALIGNMENT = 4
"""Where the store of external data begins, behind the tree."""


@dataclass(frozen=True, slots=True)
class Fit(Brought):
    """What a configuration of a FIT image brings beside its kernel.

    ``device_trees`` are those of the other configurations that start the same: U-Boot takes the
    one that is for its board (CONFIG_FIT_BEST_MATCH), as other boot loaders do.
    """

    container: ClassVar[str] = "the FIT image"

    description: str
    configuration: str
    """The name of the one that is used."""
    configurations: tuple[str, ...]
    """The names of all, in the file's order."""
    checked: tuple[str, ...]
    """Images whose hash is right, each with the kind of the hash."""
    asides: tuple[str, ...]
    """What is not used or not checked."""

    __repr__ = short_repr
    __reduce__ = reduce_to_copies

    @property
    def remarks(self) -> tuple[str, ...]:
        """What to say of the container when it is used."""
        return self.asides


def probe(data: Buffer) -> str | None:
    """Return None if this is a flattened tree with a node ``images``, else why it is not."""
    magic = int.from_bytes(data[:4], "big")
    if magic != FDT_MAGIC:
        return f"the magic is {magic:#x}, not {FDT_MAGIC:#x}"
    # A plain device tree is not parsed for it: the name is enough to try.
    found = _IMAGES_NODE.search(data)
    return None if found is not None else "a device tree without /images"


def unwrap(data: Buffer, configuration: str | None = None, budget: Budget | None = None) -> Layer:
    """Take the kernel of a configuration out, and what goes with it.

    ``configuration`` names one; None takes the default, or the only one. Raises
    :class:`ImageError` for a file that is cut or malformed, a hash that is wrong, and a
    configuration that cannot be started.
    """
    return _Reader(data, budget or Budget(KERNEL_LIMIT)).layer(configuration)


class _Reader:
    """One FIT image while it is taken apart."""

    def __init__(self, data: Buffer, budget: Budget) -> None:
        self._data = memoryview(data)
        self._budget = budget
        root = parse_device_tree(data).root
        self._root = root
        self._images = root.child("images") or Node("images")
        self._units = _units(self._images)
        self._configurations = root.child("configurations") or Node("configurations")
        self._store = align_up(int.from_bytes(data[4:8], "big"), _STORE_ALIGNMENT)
        self._to_hash = _HASHED_TIMES * len(data)
        # Dictionaries for their keys, in order.
        self._checked: dict[str, None] = {}
        self._asides: dict[str, None] = {}
        self._trees: dict[str, Buffer] = {}

    def layer(self, wanted: str | None) -> Layer:
        chosen = self._choose(wanted)
        kernel_name = _text(chosen, "kernel")
        if not kernel_name:
            raise ImageError(
                f"the FIT image's configuration {chosen.name!r} has no kernel",
                field="kernel",
                hint=self._others(),
            )
        self._note_what_is_left(chosen)
        image = self._image(kernel_name)
        kernel, codec = self._kernel(image)
        brought = Fit(
            initrd=self._ramdisk(chosen),
            cmdline=None,
            device_tree=self._tree(chosen),
            device_trees=tuple(self._trees_of_others(chosen)) if wanted is None else (),
            description=_text(self._root, "description"),
            configuration=chosen.name,
            configurations=tuple(node.name for node in self._configurations.children),
            checked=tuple(self._checked),
            asides=tuple(self._asides),
        )
        how = f" ({codec})" if codec is not None else ""
        return Layer(f"{NAME}, configuration {chosen.name!r}{how}", kernel, brought=brought)

    def _choose(self, wanted: str | None) -> Node:
        children = self._configurations.children
        if not children:
            raise ImageError(
                "the FIT image has no configuration, which would say what is started together",
                field="/configurations",
                hint="take the kernel out with dumpimage (u-boot-tools)",
            )
        name = wanted or _text(self._configurations, "default")
        if not name and len(children) == 1:
            return children[0]
        if not name:
            raise ImageError(
                f"the FIT image names none of its {len(children)} configurations as the default",
                field="default",
                hint=self._others(),
            )
        found = _units(self._configurations).get(name)
        if found is None:
            whose = "" if wanted else ", which is its default"
            raise ImageError(
                f"the FIT image has no configuration {name!r}{whose}",
                field="/configurations",
                hint=self._others(),
            )
        return found

    def _others(self) -> str:
        names = ", ".join(node.name for node in self._configurations.children)
        return f"name one behind the file, as FILE#CONFIGURATION; there are {names}"

    def _note_what_is_left(self, chosen: Node) -> None:
        """Tell what of the configuration only a boot loader has a use for."""
        for name in ("firmware", "loadables", "fpga", "script", "standalone"):
            if units := _texts(chosen, name):
                self._tell(f"of the FIT image, {name} ({', '.join(units)}) is not used")
        if any(child.name.startswith("signature") for child in chosen.children):
            self._tell("the FIT image's signatures are not checked")

    def _image(self, name: str) -> Node:
        found = self._units.get(name)
        if found is None:
            names = ", ".join(node.name for node in self._images.children) or "none"
            raise ImageError(
                f"the FIT image has no image {name!r}; there are {names}", field="/images"
            )
        if found.child("cipher") is not None:
            raise ImageError(
                f"the FIT image's {name!r} is encrypted, and only the boot loader has the key",
                field="cipher",
                hint="give the plain kernel",
            )
        return found

    def _kernel(self, image: Node) -> tuple[Buffer, Codec | None]:
        kind, system = _text(image, "type"), _text(image, "os")
        if kind not in _KERNELS or system not in ("linux", ""):
            raise ImageError(
                f"the FIT image's {image.name!r} is of type {kind!r} for system {system!r}; needed "
                "is a kernel for linux",
                field="type",
                hint=self._others(),
            )
        return self._expanded(image)

    def _ramdisk(self, chosen: Node) -> Buffer | None:
        """Return the ramdisk as it is: what packs it, the kernel unpacks."""
        name = _text(chosen, "ramdisk")
        return self._contents(self._image(name)) if name else None

    def _tree(self, chosen: Node) -> Buffer | None:
        names = _texts(chosen, "fdt")
        if len(names) > 1:
            self._tell(
                f"the FIT image's device tree is not used, since its {len(names) - 1} overlays "
                "would be missing in it"
            )
            return None
        return self._tree_named(names[0]) if names else None

    def _tree_named(self, name: str) -> Buffer:
        """Return a tree, which several configurations may name."""
        if name not in self._trees:
            tree, _ = self._expanded(self._image(name))
            if len(tree) > _TREE_LIMIT:
                raise ImageError(
                    f"the FIT image's {name!r} has {format_size(len(tree))}; a device tree of "
                    f"{format_size(_TREE_LIMIT)} at most is taken"
                )
            self._trees[name] = tree
        return self._trees[name]

    def _trees_of_others(self, chosen: Node) -> Iterator[Buffer]:
        """Yield the trees of the configurations that differ from the chosen one in it alone."""
        for node in self._configurations.children:
            same = all(node.get(name) == chosen.get(name) for name in ("kernel", "ramdisk"))
            names = _texts(node, "fdt")
            if node is not chosen and same and len(names) == 1:
                yield self._tree_named(names[0])

    def _expanded(self, image: Node) -> tuple[Buffer, Codec | None]:
        packed = self._contents(image)
        method = _text(image, "compression")
        if method in ("none", ""):
            return packed, None
        if method not in _CODECS:
            raise ImageError(
                f"the FIT image's {image.name!r} is packed with {method!r}; known are "
                f"{', '.join(_CODECS)}",
                field="compression",
            )
        codec = choose(packed, _CODECS[method])
        what = f"{image.name!r} in the FIT image"
        return decompress(packed, self._budget, what, codec), codec

    def _contents(self, image: Node) -> Buffer:
        """Return an image's bytes, which its hashes are right for."""
        data = image.get("data")
        contents: Buffer = data if data is not None else self._external(image)
        if not len(contents):
            raise ImageError(f"the FIT image's {image.name!r} is empty (0 bytes)", field="data")
        hashes = [child for child in image.children if child.name.startswith("hash")]
        for node in hashes:
            self._check(image.name, node, contents)
        if not hashes:
            self._tell(f"the FIT image's {image.name!r} has no hash to check")
        if any(child.name.startswith("signature") for child in image.children):
            self._tell("the FIT image's signatures are not checked")
        return contents

    def _tell(self, aside: str) -> None:
        self._asides[aside] = None

    def _external(self, image: Node) -> memoryview:
        position, offset = _number(image, "data-position"), _number(image, "data-offset")
        size = _number(image, "data-size")
        if size is None or (position is None and offset is None):
            raise ImageError(
                f"the FIT image's {image.name!r} has no data, nor data-size with data-offset or "
                "data-position",
                field="data",
            )
        start = position if position is not None else self._store + (offset or 0)
        if start + size > len(self._data):
            raise ImageError(
                f"the FIT image is truncated: {image.name!r} takes the bytes from {start:#x} to "
                f"{start + size:#x}, there are {len(self._data):#x}",
                offset=len(self._data),
                field="data-size",
                hint="copy the file again, whole: with its data behind the tree",
            )
        return self._data[start : start + size]

    def _check(self, name: str, node: Node, contents: Buffer) -> None:
        algorithm, announced = _text(node, "algo"), node.get("value")
        if node.get("uboot-ignore") is not None:
            return
        self._to_hash -= len(contents)
        if self._to_hash < 0:
            raise ImageError(
                f"the FIT image's hashes are of more than {_HASHED_TIMES} times its "
                f"{counted(len(self._data), 'byte')}",
                field="hash",
                hint="a file like this is no kernel, or is meant to do harm",
            )
        found = _digest(algorithm, contents)
        if found is None or announced is None:
            what = f"is of kind {algorithm!r}" if announced is not None else "has no value"
            self._tell(f"the FIT image's {name!r} is not checked: its {node.name!r} {what}")
            return
        if found != announced:
            raise ImageError(
                f"the FIT image is damaged: the {algorithm} of its {name!r} is {found.hex()}, "
                f"announced is {announced.hex()}",
                field="value",
                hint="copy the file again",
            )
        entry = f"{name}: {algorithm}"
        self._checked[entry] = None


def _digest(algorithm: str, contents: Buffer) -> bytes | None:
    """Return a hash as the file has it, None for a kind that is not known."""
    if algorithm == "crc32":
        import zlib

        return zlib.crc32(contents).to_bytes(4, "big")
    if algorithm not in _HASHES:
        return None
    import hashlib

    # Against accidents, as all of them here: a machine that forbids MD5 forbids it as a signature.
    return hashlib.new(algorithm, contents, usedforsecurity=False).digest()


def _units(parent: Node) -> dict[str, Node]:
    """Return the children by their names, and as libfdt finds them by those without address."""
    found: dict[str, Node] = {}
    for node in parent.children:
        found.setdefault(node.name, node)
    for node in parent.children:
        found.setdefault(node.name.split("@")[0], node)
    return found


def _texts(node: Node, name: str) -> list[str]:
    """Return the strings of a property, none where it is missing."""
    value = node.get(name)
    return [part.decode("utf-8", "replace") for part in (value or b"").split(b"\0") if part]


def _text(node: Node, name: str) -> str:
    return next(iter(_texts(node, name)), "")


def _number(node: Node, name: str) -> int | None:
    """Return a property of one cell, None where it is missing."""
    value = node.get(name)
    if value is None:
        return None
    if len(value) != 4:
        raise ImageError(
            f"the FIT image is malformed: {name} of {node.name!r} has "
            f"{counted(len(value), 'byte')}, not 4",
            field=name,
        )
    return int.from_bytes(value, "big")
