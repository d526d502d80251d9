"""Values that hold files: a line for people, pickled whole, compared by what they hold."""

from __future__ import annotations

import mmap
import pickle
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

import pykexec
from pykexec.errors import KernelRejectedError, NoRoomError, PykexecError, VerifyError, Violation
from pykexec.formats import identify
from pykexec.planning.plans import LoadRequest, Module
from pykexec.values.calls import KexecFileFlags
from pykexec.values.large_values import short_repr
from pykexec.values.wishes import Placement
from tests.builders.images import build_uki
from tests.builders.plans import INITRD, KERNEL, build_facts, build_plan, build_request

LONGEST = 500
"""Characters, of which paths and notes may take some."""


def mapped(path: Path, data: bytes) -> memoryview:
    path.write_bytes(data)
    with open(path, "rb") as file:
        return memoryview(mmap.mmap(file.fileno(), 0, prot=mmap.PROT_READ))


def values(tmp_path: Path) -> list[Any]:
    kernel, initrd = mapped(tmp_path / "k", KERNEL), mapped(tmp_path / "i", INITRD * 100)
    facts = build_facts()
    request = build_request(kernel=kernel, initrd=initrd, modules=(Module(initrd, b"m"),))
    plain = replace(request, modules=())
    plan = build_plan(kernel=kernel, initrd=initrd)
    by_file = replace(pykexec.plan_file_load(facts, plain), layout=plan)
    uki = identify(memoryview(build_uki(KERNEL, (".initrd", INITRD), machine=0x8664)), "x86_64")
    return [facts, request, plan, by_file, plan.segments[0], uki, uki.image, uki.brought]


def test_a_line_each(tmp_path: Path) -> None:
    for value in values(tmp_path):
        text = repr(value)
        assert "\n" not in text
        assert len(text) < LONGEST, text
        assert text.startswith(f"{type(value).__name__}(")


def test_they_are_pickled_and_compared(tmp_path: Path) -> None:
    for value in values(tmp_path):
        again = pickle.loads(pickle.dumps(value))
        assert again == value
        assert repr(again) == repr(value)
    plan = build_plan()
    other = plan.with_data(plan.segments[0].role, b"other")
    assert other != plan
    assert build_plan() == plan
    assert hash(pickle.loads(pickle.dumps(plan))) == hash(plan)


def test_what_a_line_shows() -> None:
    request = LoadRequest(KERNEL, cmdline=b"ro", rng_seed=b"secret", kaslr_seed=b"hidden")
    text = repr(request)
    assert f"kernel=<{len(KERNEL)} bytes>" in text
    assert "cmdline=b'ro'" in text
    assert "secret" not in text
    assert "hidden" not in text
    assert "initrd" not in text
    plan = pykexec.plan_file_load(build_facts(), replace(request, force_dtb=True))
    assert f"flags={int(KexecFileFlags.KEXEC_FILE_NO_INITRAMFS | 0x20)}" in short_repr(plan)
    assert "segments=<" in repr(build_plan())
    assert "target=Target.NORMAL" in repr(build_plan())


@pytest.mark.parametrize(
    "error",
    [
        PykexecError("m", hint="h"),
        KernelRejectedError("m", call="kexec_load", errno=22),
        NoRoomError("m", role="kernel", wish=Placement(1), considered=()),
        VerifyError([Violation("inside-ram", "it is not")]),
        pykexec.errors.OutputError(28),
    ],
)
def test_errors_are_pickled(error: PykexecError) -> None:
    error.aftermath = "nothing is loaded"
    again = pickle.loads(pickle.dumps(error))
    assert type(again) is type(error)
    assert str(again) == str(error)
    assert vars(again) == vars(error)


def test_a_request_takes_any_buffer_and_a_text() -> None:
    view = memoryview(KERNEL)
    assert LoadRequest(view).kernel is view
    changing = bytearray(KERNEL)
    # It takes more than it keeps, which a data class cannot say.
    request = LoadRequest(changing, initrd=changing, cmdline="ro ü\udcff")  # type: ignore[arg-type]
    changing[:] = bytes(len(changing))
    assert request == LoadRequest(KERNEL, KERNEL, b"ro \xc3\xbc\xff")


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ({"kernel": "/boot/vmlinuz"}, "kernel is the contents .* not str; .*load_kernel"),
        ({"kernel": None}, "kernel is the contents .* not NoneType"),
        ({"initrd": Path("/boot/initrd")}, "initrd is the contents .* not PosixPath"),
        ({"dtb": 3}, "dtb is the contents of a file"),
        ({"cmdline": None}, "cmdline is bytes or a str, and not NoneType"),
    ],
)
def test_a_request_takes_no_path(given: dict[str, Any], said: str) -> None:
    with pytest.raises(TypeError, match=said):
        LoadRequest(**{"kernel": KERNEL, **given})
