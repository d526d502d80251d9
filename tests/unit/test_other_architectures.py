"""What is said of architectures that there are no plans for."""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace

import pytest

from pykexec.architectures import ARCHITECTURES, KNOWN, name_of, why_no_plan, why_not_loaded
from pykexec.architectures.others import OTHERS
from pykexec.calls import syscalls
from pykexec.cli import kexec_compat
from pykexec.errors import OptionError
from pykexec.values.calls import Target
from pykexec.values.facts import MachineFacts
from pykexec.values.kernel_state import KernelState
from tests.cli.test_pykexec import run

MACHINES = sorted(machine for item in OTHERS for machine in item.machines)
REASONS = {
    "mips64": "cannot plan for a machine of architecture 'mips': which segment the running kernel "
    "takes for the command line, for the device tree or for neither is fixed where it is built",
    "ppc": "cannot plan for a machine of architecture 'powerpc': the running kernel tells the next "
    "one of no device tree",
    "sh4": "cannot plan for a machine of architecture 'sh': a kernel reads its parameters at a "
    "place that was chosen where it was built",
    "alpha": "cannot plan for a machine of architecture 'alpha': no Linux kernel for it has kexec",
    "ia64": "cannot plan for a machine of architecture 'ia64': there are no plans for its boot "
    "protocol, and Linux has dropped it in 6.7",
    "vax": "cannot plan for a machine of architecture 'vax'",
}


@pytest.fixture(params=sorted({*MACHINES, *REASONS}))
def machine(request: pytest.FixtureRequest) -> str:
    """Return what ``uname -m`` says there."""
    told: str = request.param
    return told


@pytest.fixture
def record(machine: str, tmp_path: Path) -> Path:
    """Write a machine directory that has its architecture and memory."""
    (tmp_path / "proc").mkdir()
    (tmp_path / "proc/iomem").write_text("00000000-0fffffff : System RAM\n")
    (tmp_path / "machine.json").write_text(json.dumps({"arch": machine}))
    return tmp_path


def test_each_says_what_is_missing() -> None:
    assert all(item.missing and not item.room for item in OTHERS)
    assert not any(item.missing for item in ARCHITECTURES.values())
    assert all(why_no_plan(name) is None for name in ARCHITECTURES)
    names = [machine for item in KNOWN for machine in item.machines]
    assert len(names) == len({*names})


def test_a_plan_is_refused_whatever_the_kernel(
    machine: str, record: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The file is none: of what cannot be planned for nothing is opened."""
    words = ("plan", "--machine", str(record), str(record / "vmlinux"))
    code, out, err = run(monkeypatch, *words)
    assert (code, out) == (1, "")
    assert err.startswith(f"pykexec: {REASONS.get(machine, why_no_plan(name_of(machine)))}")
    assert "hint: this version knows x86_64, aarch64" in err


def test_the_doctor_says_so(record: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for kernel in ([], [str(record / "vmlinux")]):
        _, out, _ = run(monkeypatch, "doctor", "--json", "--machine", str(record), *kernel)
        value = json.loads(out)
        finding = next(item for item in value["findings"] if item["check"] == "architecture")
        assert (finding["level"], value["blocked"]) == ("blocks", True)
        assert finding["text"].startswith("cannot plan for a machine of architecture")


@pytest.mark.parametrize(
    "call",
    [lambda: syscalls.unload(Target.NORMAL), syscalls.reboot_kexec],
    ids=["unload", "reboot"],
)
def test_nothing_is_called(
    call: Callable[[], object], machine: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*arguments: object) -> int:
        pytest.fail(f"called {arguments}")

    monkeypatch.setattr(os, "uname", lambda: SimpleNamespace(machine=machine))
    monkeypatch.setattr(syscalls, "_syscall", refuse)
    with pytest.raises(OptionError) as caught:
        call()
    assert caught.value.message == why_no_plan(name_of(machine))


@pytest.mark.parametrize("program", ["load", "kexec"])
@pytest.mark.parametrize("arch", ["m68k", "mips", "sh", "vax"])
def test_a_load_is_refused_before_anything_is_opened(
    arch: str,
    program: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capfd: pytest.CaptureFixture[str],
) -> None:
    """On the machine itself: the file that is named is not there."""
    facts = MachineFacts(arch=arch, page_size=4096, iomem=())
    state = KernelState(effective_capabilities=1 << 22)
    monkeypatch.setattr("pykexec.machine.read_machine", lambda *_, **__: facts)
    monkeypatch.setattr("pykexec.loading.live.read_state", lambda: state)
    monkeypatch.setattr("pykexec.loading.fadump_gates.check_fadump", lambda **_: None)
    monkeypatch.setattr(syscalls, "_syscall", lambda *words: pytest.fail(f"called {words}"))
    kernel = str(tmp_path / "vmlinux")
    if program == "load":
        code, out, err = run(monkeypatch, "load", kernel)
    else:
        code = kexec_compat.main(["-l", kernel])
        out, err = capfd.readouterr()
    assert code in (1, 255)
    assert out == ""
    assert (why_not_loaded(arch) or "nothing") in " ".join(err.split())
