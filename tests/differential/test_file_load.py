"""kexec_file_load beside the C tool: descriptors, flags, refusals, and the way back."""

from __future__ import annotations

import errno
import os
from pathlib import Path

import pytest

from pykexec.values.kernel_state import KernelState
from tests.builders.bzimage import KernelSpec, build_bzimage
from tests.builders.machines import MachineDirectory
from tests.differential.conftest import Kernels
from tests.differential.machines import bios_512m
from tests.differential.sandbox import CapturedCall, Outcome, Sandbox, Tool

pytestmark = pytest.mark.differential

UNLOAD, ON_CRASH, NO_INITRAMFS, DEBUG = 0x1, 0x2, 0x4, 0x8
X86_64 = 62 << 16
FALLS_BACK = (errno.ENOSYS, errno.EINVAL, errno.ENOEXEC, errno.ENOTSUP)
FINAL = {
    errno.EPERM: "no gate that can be seen",
    errno.EACCES: "IMA appraisal",
    errno.ENOKEY: "none of the running kernel's keyrings",
    errno.EKEYREJECTED: "signature check is enforced",
    errno.ENODATA: "found no signature",
    errno.EBADMSG: "signature is damaged",
    errno.ELIBBAD: "PE headers",
    errno.EMSGSIZE: "signature is larger",
    errno.EADDRNOTAVAIL: "found no free memory",
    errno.EBUSY: "another load is in progress",
    errno.ENOMEM: "in memory until the jump",
    errno.EFBIG: "larger than the kernel reads",
}
"""Refusals that end the load, with words of the explanation."""


@pytest.fixture
def kernel(kernels: Kernels) -> Path:
    return kernels.path("ordinary")


@pytest.fixture
def machine(tmp_path: Path) -> Path:
    return bios_512m(tmp_path / "machine")


def identity(path: Path) -> tuple[int, int]:
    """Return what tells the file from all others."""
    status = path.stat()
    return status.st_dev, status.st_ino


def loads(outcome: Outcome) -> list[CapturedCall]:
    """Return the calls without sync."""
    return [call for call in outcome.calls if call.call != "sync"]


@pytest.mark.parametrize("options", [["-s", "-l"], ["-l"], ["-c", "-a", "-l"], ["-d", "-s", "-l"]])
def test_the_files_themselves_are_passed(
    sandbox: Sandbox,
    ours: Tool,
    theirs: Tool,
    machine: Path,
    kernel: Path,
    initrds: dict[str, Path],
    options: list[str],
) -> None:
    words = [*options, str(kernel), f"--initrd={initrds['odd']}", "--append=ro quiet"]
    # Debian's 2.0.25 uses kexec_load unless told otherwise.
    outcomes = [
        sandbox.run(theirs, ["-s", *words] if "-c" not in words else [*words, "-s"], machine),
        sandbox.run(ours, words, machine),
    ]
    for outcome in outcomes:
        assert outcome.exit_code == 0, outcome.stderr
        [call] = loads(outcome)
        assert call.call == "kexec_file_load"
        assert call.flags == (DEBUG if "-d" in options and outcome is outcomes[1] else 0)
        assert call.cmdline == b"ro quiet\0"
        assert call.kernel is not None
        assert call.initrd is not None
        assert call.kernel.identity == identity(kernel)
        assert call.initrd.identity == identity(initrds["odd"])


def test_flags_of_a_crash_load_without_initrd(
    sandbox: Sandbox, ours: Tool, machine: Path, kernel: Path
) -> None:
    words = ["-s", "-p", str(kernel), "--no-cma", "--force-dtb"]
    outcome = sandbox.run(ours, words, machine)
    assert outcome.exit_code == 0, outcome.stderr
    assert len(outcome.calls) == 1, "a crash load writes nothing back"
    [call] = loads(outcome)
    assert call.flags == ON_CRASH | NO_INITRAMFS | 0x10 | 0x20
    assert call.cmdline == b"\0"
    assert call.initrd is None


def test_debug_flag_is_left_out_when_the_kernel_does_not_know_it(
    sandbox: Sandbox, ours: Tool, machine: Path, kernel: Path
) -> None:
    words = ["-d", "-s", "-l", str(kernel), "--no-cma"]
    outcome = sandbox.run(ours, words, machine, fail_with=errno.EINVAL, fail_call=1)
    assert outcome.exit_code == 0, outcome.stderr
    assert [call.flags for call in loads(outcome)] == [0x1C, 0x14]


@pytest.mark.parametrize("number", FALLS_BACK, ids=lambda number: errno.errorcode[number])
def test_auto_falls_back(
    sandbox: Sandbox, ours: Tool, machine: Path, kernel: Path, number: int
) -> None:
    words = ["-l", str(kernel), "--append=ro"]
    outcome = sandbox.run(ours, words, machine, fail_with=number, fail_call=1)
    assert outcome.exit_code == 0, outcome.stderr
    assert outcome.stderr == ""
    assert [call.call for call in loads(outcome)] == ["kexec_file_load", "kexec_load"]


def test_debug_shows_both_plans_and_why(
    sandbox: Sandbox, ours: Tool, machine: Path, kernel: Path
) -> None:
    words = ["-d", "-l", str(kernel)]
    outcome = sandbox.run(ours, words, machine, fail_with=errno.ENOEXEC, fail_call=1)
    said = " ".join(outcome.stderr.split())
    assert "Plan: normal load by kexec_file_load" in said
    assert "Plan: normal load by kexec_load" in said
    assert "kexec_load: kexec_file_load failed: Exec format error (ENOEXEC)" in said


def test_a_failing_way_back_tells_both_refusals(
    sandbox: Sandbox, ours: Tool, machine: Path, kernel: Path
) -> None:
    outcome = sandbox.run(ours, ["-l", str(kernel)], machine, fail_with=errno.ENOSYS)
    assert outcome.exit_code == 255
    assert "kexec_load failed: Function not implemented (ENOSYS)" in outcome.stderr
    assert "tried before: kexec_file_load failed" in outcome.stderr


@pytest.mark.parametrize("number", FALLS_BACK, ids=lambda number: errno.errorcode[number])
def test_file_call_alone_has_its_exit_code(
    sandbox: Sandbox, ours: Tool, theirs: Tool, machine: Path, kernel: Path, number: int
) -> None:
    words = ["-s", "-l", str(kernel)]
    said = [sandbox.run(tool, words, machine, fail_with=number) for tool in (theirs, ours)]
    assert said[1].exit_code == 253
    if number == errno.ENOSYS:
        assert said[0].exit_code == 253
        assert "syscall kexec_file_load not available" in said[1].stderr
    assert [call.call for call in loads(said[1])] == ["kexec_file_load"]


@pytest.mark.parametrize("number", FINAL, ids=lambda number: errno.errorcode[number])
@pytest.mark.parametrize("options", [["-s"], ["-a"]])
def test_refusals_end_the_load_and_name_the_gate(
    sandbox: Sandbox, ours: Tool, machine: Path, kernel: Path, number: int, options: list[str]
) -> None:
    outcome = sandbox.run(ours, [*options, "-l", str(kernel)], machine, fail_with=number)
    assert outcome.exit_code == 255
    assert [call.call for call in loads(outcome)] == ["kexec_file_load"]
    message, hint = outcome.stderr.splitlines()
    name = errno.errorcode[number]
    assert message.startswith(f"kexec: kexec_file_load failed: {os.strerror(number)} ({name}): ")
    assert FINAL[number] in message
    assert hint.startswith("hint: ")


def test_lockdown_is_named_and_allows_the_file_call_only(
    sandbox: Sandbox, ours: Tool, machine: Path, kernel: Path
) -> None:
    MachineDirectory(machine).write_kernel_state(KernelState(lockdown="integrity"))
    outcome = sandbox.run(ours, ["-l", str(kernel)], machine, fail_with=errno.EPERM)
    assert outcome.exit_code == 255
    assert "locked down ([integrity]" in outcome.stderr
    assert "no signature that it trusts" in outcome.stderr
    outcome = sandbox.run(ours, ["-l", str(kernel)], machine, fail_with=errno.ENOEXEC)
    assert [call.call for call in loads(outcome)] == ["kexec_file_load"]


def test_an_image_that_only_kexec_load_takes(
    sandbox: Sandbox, ours: Tool, machine: Path, tmp_path: Path
) -> None:
    kernel = tmp_path / "low"
    kernel.write_bytes(build_bzimage(KernelSpec(xloadflags=0x1)))
    outcome = sandbox.run(ours, ["-l", str(kernel)], machine)
    assert outcome.exit_code == 0, outcome.stderr
    assert [call.call for call in loads(outcome)] == ["kexec_load"]
    outcome = sandbox.run(ours, ["-s", "-l", str(kernel)], machine)
    assert outcome.exit_code == 255
    assert "XLF_CAN_BE_LOADED_ABOVE_4G" in outcome.stderr
    assert outcome.calls == ()


@pytest.mark.parametrize("words", [["-u", "-p"], ["-p", "-u"]])
def test_unload_of_the_crash_kernel_in_either_order(
    sandbox: Sandbox, ours: Tool, machine: Path, words: list[str]
) -> None:
    outcome = sandbox.run(ours, words, machine)
    assert outcome.exit_code == 0, outcome.stderr
    assert [(call.call, call.flags) for call in outcome.calls] == [("kexec_load", X86_64 | 1)]


def test_unload_by_the_call_that_is_permitted(
    sandbox: Sandbox, ours: Tool, theirs: Tool, machine: Path
) -> None:
    said = [sandbox.run(tool, ["-s", "-u"], machine) for tool in (theirs, ours)]
    assert loads(said[0]) == loads(said[1])
    by_file = [("kexec_file_load", UNLOAD)]
    assert [(call.call, call.flags) for call in loads(said[1])] == by_file
    for number in (errno.ENOSYS, errno.EPERM):
        outcome = sandbox.run(ours, ["-u"], machine, fail_with=number, fail_call=1)
        assert outcome.exit_code == 0, outcome.stderr
        assert [call.call for call in loads(outcome)] == ["kexec_load", "kexec_file_load"]
    MachineDirectory(machine).write_kernel_state(KernelState(lockdown="integrity"))
    outcome = sandbox.run(ours, ["-u"], machine)
    assert [(call.call, call.flags) for call in loads(outcome)] == by_file
