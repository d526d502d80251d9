"""The same kernel, however it is compressed, gives the same segments, byte for byte."""

from __future__ import annotations

from dataclasses import replace

import pytest

from pykexec.formats.compression import Codec
from pykexec.planning.planner import plan
from pykexec.planning.plans import LoadRequest, Module
from tests.builders.bzimage import KernelSpec, build_bzimage
from tests.builders.compressed import compress
from tests.builders.elf import build_elf, build_x86_vmlinux
from tests.builders.images import build_uimage
from tests.builders.multiboot import MultibootSpec, build_multiboot, header_1, header_2
from tests.builders.plans import build_facts

KERNELS = {
    "bzImage": build_bzimage(KernelSpec(payload_size=64 * 1024)),
    "32-bit bzImage": build_bzimage(KernelSpec(payload_size=64 * 1024, xloadflags=0)),
    "vmlinux": build_x86_vmlinux(),
    "32-bit vmlinux": build_x86_vmlinux(bits=32),
    "ELF": build_elf(),
    "multiboot": build_multiboot(MultibootSpec(header_1(3))),
    "multiboot2": build_multiboot(MultibootSpec(header_2())),
}


@pytest.mark.parametrize("codec", Codec)
@pytest.mark.parametrize("name", KERNELS)
def test_segments_are_the_same(name: str, codec: Codec) -> None:
    modules = (Module(b"m", b"/m"),) if name.startswith("multiboot") else ()
    request = LoadRequest(kernel=KERNELS[name], cmdline=b"ro", modules=modules)
    facts = build_facts()
    bare = plan(facts, request)
    packed = plan(facts, replace(request, kernel=compress(codec, KERNELS[name])))
    assert replace(packed, notes=()) == replace(bare, notes=())
    assert f"the kernel is taken out of {codec}" in packed.notes


@pytest.mark.parametrize("name", ["multiboot", "multiboot2"])
def test_a_multiboot_header_inside_of_a_wrapping_is_not_the_wrappings(name: str) -> None:
    """An uImage may hold the kernel as it is, so that the magic is found in the uImage."""
    facts = build_facts()
    bare = plan(facts, LoadRequest(kernel=KERNELS[name]))
    wrapped = plan(facts, LoadRequest(kernel=build_uimage(KERNELS[name], arch=3)))
    assert replace(wrapped, notes=()) == replace(bare, notes=())
    assert "the kernel is taken out of uImage for i386" in wrapped.notes
