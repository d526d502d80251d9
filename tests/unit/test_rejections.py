"""No errno is shown bare: each comes with its likely cause and what to do."""

from __future__ import annotations

import errno

import pytest

from pykexec.calls.rejections import explain, shut_gates
from pykexec.values.calls import Target
from pykexec.values.kernel_state import KernelState

ROOT = (1 << 41) - 1


@pytest.mark.parametrize(
    ("state", "words"),
    [
        (KernelState(effective_capabilities=0), "CAP_SYS_BOOT"),
        (KernelState(kexec_load_disabled=True), "kernel.kexec_load_disabled is 1"),
        (KernelState(load_limit_reboot=0), "kernel.kexec_load_limit_reboot is 0"),
        (KernelState(lockdown="integrity"), "locked down ([integrity]"),
        (KernelState(loadpin_enforced=True), "LoadPin is enforced"),
    ],
)
def test_eperm_names_the_gate_that_is_shut(state: KernelState, words: str) -> None:
    error = explain("kexec_load", errno.EPERM, state)
    assert words in error.message
    assert "Operation not permitted (EPERM)" in error.message
    assert error.hint
    assert error.exit_code == 255
    assert (error.call, error.errno) == ("kexec_load", errno.EPERM)


def test_open_gates_are_not_blamed() -> None:
    state = KernelState(
        effective_capabilities=ROOT,
        kexec_load_disabled=False,
        load_limit_reboot=-1,
        load_limit_panic=0,
        lockdown="none",
        loadpin_enforced=False,
    )
    assert shut_gates(state) == []
    assert [gate.reason for gate in shut_gates(state, Target.CRASH)] == [
        "kernel.kexec_load_limit_panic is 0: no load is left"
    ]
    assert "no gate that can be seen" in explain("kexec_load", errno.EPERM, state).message


def test_several_shut_gates_are_all_named() -> None:
    state = KernelState(effective_capabilities=0, lockdown="confidentiality")
    message = explain("kexec_load", errno.EPERM, state).message
    assert "CAP_SYS_BOOT" in message
    assert "confidentiality" in message


@pytest.mark.parametrize(
    ("error", "words"),
    [
        (errno.ENOSYS, "built without it"),
        (errno.EBUSY, "another load is in progress"),
        (errno.EINVAL, "rejects the arguments"),
        (errno.EADDRNOTAVAIL, "not memory that the kernel can reach"),
        (errno.ENOMEM, "in memory until the jump, 64 MiB are available"),
        (errno.EIO, "not a reason that this call is documented to have"),
    ],
)
def test_each_errno_has_its_words(error: int, words: str) -> None:
    raised = explain("kexec_load", error, KernelState(memory_available=64 << 20))
    assert words in raised.message
    assert errno.errorcode[error] in raised.message
    assert raised.hint


def test_enosys_names_the_kernel_option() -> None:
    state = KernelState()
    assert explain("kexec_file_load", errno.ENOSYS, state).hint == "it needs CONFIG_KEXEC_FILE=y"
    assert explain("kexec_load", errno.ENOSYS, state).hint == "it needs CONFIG_KEXEC=y"


def test_a_jump_without_a_loaded_kernel() -> None:
    assert "no kernel is loaded" in explain("reboot", errno.EINVAL, KernelState()).message
