"""Whatever the bytes are: an image or an ImageError, and nothing else."""

from __future__ import annotations

import contextlib
from dataclasses import replace
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from pykexec.errors import CommandLineError, ImageError, NoRoomError
from pykexec.formats import identify
from pykexec.formats.bzimage import parse_bzimage
from pykexec.planning.invariants import verify
from pykexec.planning.planner import plan
from tests.builders.bzimage import KernelSpec, build_bzimage
from tests.builders.plans import build_facts, build_request

SPEC = KernelSpec(payload_size=2048, setup_sects=2)
IMAGE = build_bzimage(SPEC)


@given(st.binary(max_size=2048))
def test_random_bytes(data: bytes) -> None:
    with contextlib.suppress(ImageError):
        identify(data)


@settings(max_examples=400)
@given(
    st.lists(st.tuples(st.integers(0x1F0, 0x270), st.integers(0, 255)), min_size=1, max_size=8),
    st.integers(0, len(IMAGE)),
)
def test_a_mutated_kernel_is_refused_or_gives_a_plan_that_holds(
    changes: list[tuple[int, int]], cut: int
) -> None:
    data = bytearray(IMAGE)
    for offset, value in changes:
        data[offset] = value
    facts = build_facts()
    for candidate in (bytes(data), bytes(data[:cut])):
        with contextlib.suppress(ImageError, NoRoomError, CommandLineError):
            assert verify(plan(facts, build_request(kernel=candidate)), facts) == []


@given(
    setup_sects=st.integers(1, 64),
    payload_size=st.integers(16, 4096),
    kernel_alignment=st.sampled_from([0x1000, 0x200000, 0x1000000]),
    pref_address=st.integers(0, (1 << 52) - 1),
    init_size=st.integers(0, (1 << 32) - 1),
    cmdline_size=st.integers(0, 1 << 16),
    xloadflags=st.integers(0, 0x7F),
)
def test_parse_is_the_inverse_of_build(**fields: Any) -> None:
    spec = replace(SPEC, payload_offset=0, **fields)
    image = parse_bzimage(build_bzimage(spec))
    for name, value in fields.items():
        if name != "payload_size":
            assert getattr(image.header, name) == value
    assert bytes(image.payload) == spec.payload
