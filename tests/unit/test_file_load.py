"""Plans for kexec_file_load: made, drawn, carried out; each refusal explained."""

from __future__ import annotations

import errno
import json
import os
from collections.abc import Callable
from typing import Any

import pytest

from pykexec.calls import file_rejections, syscalls
from pykexec.calls._kexec_abi import ffi
from pykexec.calls.rejections import explain
from pykexec.errors import EXIT_NO_FILE_CALL, ImageError, KernelRejectedError, UsageError
from pykexec.planning.planner import plan_file_load
from pykexec.planning.plans import FileLoadPlan
from pykexec.render.json import plan_json
from pykexec.render.text import call_text, plan_text
from pykexec.values.calls import KexecFileFlags, Target
from pykexec.values.kernel_state import KernelState
from tests.builders.plans import INITRD, KERNEL, build_facts, build_request

FACTS = build_facts()


def build(**more: Any) -> FileLoadPlan:
    return plan_file_load(FACTS, build_request(**more))


@pytest.mark.parametrize(
    ("request_", "flags"),
    [
        ({}, 0),
        ({"initrd": None}, KexecFileFlags.KEXEC_FILE_NO_INITRAMFS),
        ({"target": Target.CRASH}, KexecFileFlags.KEXEC_FILE_ON_CRASH),
        ({"no_cma": True}, KexecFileFlags.KEXEC_FILE_NO_CMA),
        ({"force_dtb": True}, KexecFileFlags.KEXEC_FILE_FORCE_DTB),
    ],
)
def test_flags(request_: dict[str, Any], flags: int) -> None:
    assert build(**request_).flags == flags


def test_refusals_of_the_planner() -> None:
    with pytest.raises(ImageError, match="not a kernel image"):
        build(kernel=bytes(2048))
    with pytest.raises(ImageError, match="initrd file is empty"):
        build(initrd=b"")
    other = build_facts()
    object.__setattr__(other, "arch", "mips")
    with pytest.raises(UsageError, match="'mips'"):
        plan_file_load(other, build_request())


def test_text_invents_no_address() -> None:
    text = plan_text(build(cmdline=b"ro \x1b[31m", notes=("a note",)))
    assert "normal load by kexec_file_load" in text
    assert "none is known before" in " ".join(text.split())
    limits = ("Flags:    0x0", "0x1000000 (pref_address)", "0x200000 (kernel_alignment)")
    for limit in limits:
        assert limit in text
        text = text.replace(limit, "")
    assert "0x" not in text
    assert "\x1b" not in text
    assert "a note" in text
    assert max(map(len, text.splitlines())) <= 80
    without = plan_text(build(initrd=None, cmdline=b""))
    assert "Flags:    0x4 KEXEC_FILE_NO_INITRAMFS" in without
    assert "(empty)" in without
    assert "A layout is there with kexec_load (-c, --call segments).\n" in without
    assert call_text(build(initrd=None)) == "kexec_file_load: flags = 0x4\n"


def test_json_has_no_segments() -> None:
    value = json.loads(plan_json(build(notes=("a note",))))
    assert (value["schema"], value["syscall"]) == ("pykexec.plan/1", "kexec_file_load")
    assert (value["segments"], value["entry"], value["checks"]) == ([], None, {})
    assert (value["kernel"]["size"], value["initrd"]["size"]) == (len(KERNEL), len(INITRD))
    assert "none is known before" in value["notes"][0]
    assert value["notes"][1:] == ["a note"]
    assert (value["layout"], value["no_layout"]) == (None, None)
    assert json.loads(plan_json(build(initrd=None)))["initrd"] is None


class FileLibc:
    """Keeps what each descriptor held at the call; answers as told, then with success."""

    def __init__(self, *answers: int) -> None:
        self.answers = list(answers)
        self.calls: list[tuple[bytes | None, bytes | None, bytes, int]] = []
        self.descriptors: list[tuple[int, int]] = []

    def syscall(self, number: int, *words: Any) -> int:
        """Stand in for libc's."""
        kernel_fd, initrd_fd, length, flags = (int(words[at]) for at in (0, 1, 2, 4))
        kernel, initrd = (
            os.pread(fd, 1 << 24, 0) if fd >= 0 else None for fd in (kernel_fd, initrd_fd)
        )
        self.calls.append((kernel, initrd, bytes(ffi.buffer(words[3], length)), flags))
        self.descriptors.append((kernel_fd, initrd_fd))
        ffi.errno = self.answers.pop(0) if self.answers else 0
        return -1 if ffi.errno else 0


@pytest.fixture
def answer(monkeypatch: pytest.MonkeyPatch) -> Callable[..., FileLibc]:
    def install(*answers: int) -> FileLibc:
        libc = FileLibc(*answers)
        monkeypatch.setattr(syscalls, "_libc", libc)
        return libc

    return install


def test_what_is_no_file_goes_through_memory(answer: Callable[..., FileLibc]) -> None:
    libc = answer()
    syscalls.load(build())
    assert libc.calls == [(KERNEL, INITRD, b"ro quiet\0", 0)]
    for descriptor in libc.descriptors[0]:
        with pytest.raises(OSError, match="Bad file descriptor"):
            os.fstat(descriptor)


def test_a_short_write_is_carried_on(monkeypatch: pytest.MonkeyPatch) -> None:
    write = os.write
    with monkeypatch.context() as patch:
        patch.setattr(os, "write", lambda descriptor, data: write(descriptor, data[:3]))
        descriptor = syscalls._memory_file("kernel", b"0123456789")
    assert os.pread(descriptor, 20, 0) == b"0123456789"
    os.close(descriptor)


def test_descriptors_of_files_are_passed_and_left_open(
    answer: Callable[..., FileLibc], tmp_path: Any
) -> None:
    libc = answer()
    path = tmp_path / "kernel"
    path.write_bytes(KERNEL)
    with path.open("rb") as file:
        syscalls.load_files(build(initrd=None), kernel_fd=file.fileno(), initrd_fd=file.fileno())
        assert libc.descriptors == [(file.fileno(), -1)]
        os.fstat(file.fileno())


@pytest.mark.parametrize(
    ("no_cma", "debug", "answers", "flags"),
    [
        (False, True, [errno.EINVAL], [0x8, 0]),
        (True, True, [errno.EINVAL] * 2, [0x18, 0x10, 0]),
        (True, False, [errno.EINVAL], [0x10, 0]),
        (True, True, [], [0x18]),
    ],
)
def test_flags_that_the_kernel_need_not_know_are_given_up(
    answer: Callable[..., FileLibc],
    no_cma: bool,
    debug: bool,
    answers: list[int],
    flags: list[int],
) -> None:
    libc = answer(*answers)
    syscalls.load_files(build(no_cma=no_cma), debug=debug)
    assert [call[3] for call in libc.calls] == flags


def test_other_refusals_are_not_retried(answer: Callable[..., FileLibc]) -> None:
    libc = answer(errno.ENOKEY)
    with pytest.raises(KernelRejectedError, match=r"key not available \(ENOKEY\)") as caught:
        syscalls.load_files(build(no_cma=True), debug=True)
    assert len(libc.calls) == 1
    assert caught.value.exit_code == 255


@pytest.mark.parametrize("error", [errno.ENOSYS, errno.EINVAL, errno.ENOEXEC, errno.ENOTSUP])
def test_an_unusable_file_call_has_its_exit_code(error: int) -> None:
    assert explain("kexec_file_load", error, KernelState()).exit_code == EXIT_NO_FILE_CALL
    assert explain("kexec_load", error, KernelState()).exit_code == 255


@pytest.mark.parametrize(
    ("error", "words"),
    [
        (errno.EKEYREJECTED, "does not pass it"),
        (errno.ENOKEY, "none of the running kernel's keyrings"),
        (errno.ENODATA, "no signature in the kernel file"),
        (errno.EBADMSG, "damaged"),
        (errno.ELIBBAD, "PE headers"),
        (errno.EMSGSIZE, "larger than the kernel reads"),
        (errno.ENOPKG, "built without"),
        (errno.EKEYEXPIRED, "expired"),
        (errno.EKEYREVOKED, "revoked"),
    ],
)
def test_signature_refusals_say_what_may_be_done(error: int, words: str) -> None:
    raised = explain("kexec_file_load", error, KernelState(lockdown="none", secure_boot=False))
    assert words in raised.message
    assert "kexec_load (-c), which checks no signature" in (raised.hint or "")
    for state, hint in (
        (KernelState(lockdown="integrity"), "locked down ([integrity])"),
        (KernelState(secure_boot=True), "secure boot is on"),
        (KernelState(secure_ipl=True), "the IPL was secure: sign the kernel"),
    ):
        raised = explain("kexec_file_load", error, state)
        assert hint in (raised.hint or "")
        assert "-c" not in (raised.hint or "")


@pytest.mark.parametrize(
    ("error", "words"),
    [
        (errno.ENOEXEC, "none of the formats"),
        (errno.EINVAL, "does not know one of the flags"),
        (errno.ENOTSUP, "does not do this"),
        (errno.EACCES, "IMA appraisal"),
        (errno.EFBIG, "4 GiB"),
        (errno.EBUSY, "another load is in progress"),
        (errno.ETXTBSY, "open for writing"),
        (errno.EIO, "could not be read whole"),
        (errno.ENOMEM, "64 MiB are available"),
        (errno.EADDRNOTAVAIL, "found no free memory"),
        (errno.EDOM, "not a reason that this call is documented to have"),
    ],
)
def test_each_errno_has_its_words(error: int, words: str) -> None:
    raised = explain("kexec_file_load", error, KernelState(memory_available=64 << 20))
    assert words in raised.message
    assert raised.hint


def test_no_address_names_the_crash_region_and_xen() -> None:
    state = KernelState(crash_size=64 << 20, xen=True)
    reason, hint = file_rejections.cause(errno.EADDRNOTAVAIL, state, Target.CRASH)
    assert "crash kernel region of 64 MiB" in reason
    assert "Xen" in reason
    assert "crashkernel=" in hint


def test_no_address_names_the_scratch_areas_of_a_handover() -> None:
    state = KernelState(handover=True)
    reason, hint = file_rejections.cause(errno.EADDRNOTAVAIL, state, Target.NORMAL)
    assert "do not fit into the scratch areas" in reason
    assert "kho_scratch=" in hint
    assert "-c" not in hint
    reason, _ = file_rejections.cause(errno.EADDRNOTAVAIL, state, Target.CRASH)
    assert "scratch" not in reason


def test_lockdown_is_not_told_as_if_kexec_load_had_been_called() -> None:
    state = KernelState(lockdown="integrity", effective_capabilities=(1 << 41) - 1)
    message = explain("kexec_file_load", errno.EPERM, state).message
    assert "no signature that it trusts" in message
    assert "kexec_load is not allowed" not in message
    assert "no signature" not in explain("kexec_load", errno.EPERM, state).message
    assert "locked down" not in explain("reboot", errno.EPERM, state).message
