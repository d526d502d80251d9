"""``kexec -e``: the launcher and the program in Python say and do the same, in the same order."""

from __future__ import annotations

import errno
import platform
import shutil
import sys
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from pykexec.errors import EXIT_NO_PYTHON
from pykexec.values.kernel_state import KernelState
from tests.builders.machines import MachineDirectory
from tests.launcher.installed import Installed
from tests.launcher.notified import Answers, Ended, run_notified
from tests.needs import need_root, unavailable

pytestmark = pytest.mark.differential

PYTHON = (sys.executable, "-m", "pykexec.cli.kexec_compat")
ALL_CAPABILITIES = (1 << 41) - 1
READY = KernelState(loaded=True, effective_capabilities=ALL_CAPABILITIES)
CARD = "card"

PROBE = """
import ctypes, sys
status = open(sys.argv[1] + "/self/status").read()
assert not int(status.partition("CapEff:")[2].split()[0], 16) >> 22 & 1, "CAP_SYS_BOOT is there"
libc = ctypes.CDLL(None, use_errno=True)
libc.sync()
libc.syscall(ctypes.c_long(169), ctypes.c_long(0xFEE1DEAD), 672274793, ctypes.c_long(0x45584543), 0)
print(ctypes.get_errno())
"""


@dataclass(frozen=True)
class Case:
    """A machine, the arguments, and what its kernel answers."""

    state: KernelState = READY
    words: str = "-e"
    files: Mapping[str, str] = field(default_factory=dict)
    reboot: int = errno.EPERM
    interfaces: Mapping[str, int] = field(default_factory=dict)
    old_names: bool = False
    before: str = ""


def shut(**gates: int | bool) -> KernelState:
    # The names in **gates have values of different types.
    return KernelState(loaded=True, effective_capabilities=ALL_CAPABILITIES, **gates)  # type: ignore[arg-type]


XEN_FEATURES = "sys/hypervisor/properties/features"
XEN_CAPABILITIES = "proc/xen/capabilities"
UPDATE_DEVICE = "sys/devices/virtual/misc/liveupdate/dev"
NEW, OLD = "sys/kernel/kexec/loaded", "sys/kernel/kexec_loaded"
NO_STATE = KernelState(effective_capabilities=ALL_CAPABILITIES)

REFUSED = {
    "not loaded": Case(KernelState(loaded=False, effective_capabilities=ALL_CAPABILITIES)),
    "not loaded, by the old name": Case(
        KernelState(loaded=False, effective_capabilities=ALL_CAPABILITIES), old_names=True
    ),
    "nobody tells": Case(NO_STATE),
    "no number anywhere": Case(NO_STATE, files={NEW: "", OLD: "yes\n"}),
    "the first number counts": Case(NO_STATE, files={NEW: "0x1\n", OLD: " 0 \n"}),
    "not permitted": Case(KernelState(loaded=True, effective_capabilities=0x1F << 23)),
}
LEAVES = {
    "refused without a gate": Case(),
    "refused, loads are disabled": Case(shut(kexec_load_disabled=True)),
    "refused, no load is left": Case(shut(load_limit_reboot=0), words="--exec"),
    "refused, all gates": Case(
        shut(kexec_load_disabled=True, load_limit_reboot=0, loadpin_enforced=True)
    ),
    "gates that are open": Case(shut(load_limit_reboot=-1, kexec_load_disabled=False)),
    "busy": Case(reboot=errno.EBUSY, words="-i -e"),
    "nothing loaded after all": Case(reboot=errno.EINVAL, old_names=True),
    "not built in": Case(reboot=errno.ENOSYS),
    "an errno of loads": Case(reboot=errno.ENOMEM),
    "an errno that nobody knows": Case(reboot=200),
    "gates are for EPERM": Case(shut(kexec_load_disabled=True), reboot=errno.EACCES),
    "no file of the process": Case(KernelState(loaded=True)),
    "an odd file of the process": Case(
        KernelState(loaded=True), files={"proc/self/status": "Name:\tx\nCapEff:\tnone\n"}
    ),
    "a Xen guest": Case(files={XEN_FEATURES: "00002705", XEN_CAPABILITIES: "control_d"}),
    "another Xen host's word": Case(files={XEN_CAPABILITIES: "control_do xcontrol_d\n"}),
    "a negative number": Case(NO_STATE, files={NEW: "-1\n"}),
    "without sync": Case(words="-e -y"),
    "interfaces stay": Case(words="-x -e"),
    "neither": Case(words="-yex"),
    "neither, in words": Case(words="--no-sync --exec --no-ifdown"),
    "an interface stays up": Case(interfaces={CARD: errno.EBUSY, f"{CARD}-peer": errno.EPERM}),
    "another kernel has returned": Case(reboot=0),
    "nobody listens": Case(before="exec 2>&-"),
    "nobody reads": Case(before="exec 2>/dev/full"),
    "a stranger's name": Case(
        interfaces={"\\x1b[31m": errno.EBUSY}, before="ip link set card name $(printf '\\033[31m')"
    ),
}


def run(case: Case, program: tuple[str, ...], root: Path) -> Ended:
    machine = MachineDirectory(root / "machine")
    machine.write_description()
    machine.write_kernel_state(case.state, old_names=case.old_names)
    for name, text in case.files.items():
        machine.write(name, text)
    interfaces = {name.replace("\\x1b", "\x1b"): error for name, error in case.interfaces.items()}
    return run_notified(
        [*program, *case.words.split()],
        machine.path,
        root / "scratch",
        Answers(case.reboot, interfaces),
        interface=CARD,
        before=case.before,
    )


@pytest.fixture(scope="session")
def proved(tmp_path_factory: pytest.TempPathFactory) -> None:
    """See a jump answered here, before any is tried."""
    need_root("a private mount namespace")
    if platform.machine() != "x86_64":
        unavailable("the numbers of the calls are those of x86_64")
    if shutil.which("ip") is None:
        unavailable("there is no ip on this host (package iproute2)")
    root = tmp_path_factory.mktemp("probe")
    probe = (sys.executable, "-I", "-c", PROBE, str(root / "scratch/real-proc"))
    ended = run(Case(words="", reboot=errno.EXDEV), probe, root)
    assert (ended.code, ended.stdout, ended.stderr) == (0, f"{errno.EXDEV}\n", "")
    assert ended.calls == ("sync", "reboot")


OFTEN = {
    *("not loaded", "nobody tells", "the first number counts", "not permitted"),
    *("refused without a gate", "refused, all gates", "busy", "an errno that nobody knows"),
    *("neither", "an interface stays up", "nobody listens", "a stranger's name"),
}
CASES = [
    pytest.param(name, marks=[] if name in OFTEN else pytest.mark.full)
    for name in (*REFUSED, *LEAVES)
]


@pytest.mark.parametrize("name", CASES)
def test_both_do_the_same(proved: None, installed: Installed, tmp_path: Path, name: str) -> None:
    case = {**REFUSED, **LEAVES}[name]
    python = run(case, PYTHON, tmp_path / "python")
    launcher = run(case, (str(installed.program),), tmp_path / "launcher")
    assert launcher == python
    if name in REFUSED:
        assert launcher.calls == ()
    else:
        assert launcher.calls[-1] == "reboot"


def test_a_jump_that_is_come_back_from_is_left_to_python(
    proved: None, installed: Installed, tmp_path: Path
) -> None:
    """Which has more to do behind it. There is none here, and nothing is touched."""
    record = '{\\n  "schema": "pykexec.load/1",\\n  "preserve_context": true\\n}'
    write = (
        "mount -t tmpfs tmpfs /run && mkdir /run/pykexec && printf '{}' >/run/pykexec/normal.json"
    )
    case = Case(reboot=0, before=write.format(record))
    ended = run(case, (str(installed.program),), tmp_path / "kept")
    assert (ended.code, ended.calls) == (EXIT_NO_PYTHON, ())
    case = Case(reboot=0, before=write.format(record.replace("true", "false")))
    ended = run(case, (str(installed.program),), tmp_path / "left")
    assert (ended.code, ended.calls[-1]) == (0, "reboot")


@pytest.mark.parametrize(
    ("call", "device", "asked"),
    [
        ("kexec_load", "10:120\n", True),
        ("kexec_load", None, False),
        ("kexec_file_load", "10:120\n", False),
    ],
)
def test_a_jump_that_may_lose_sessions_asks_python_first(
    proved: None, installed: Installed, tmp_path: Path, call: str, device: str | None, asked: bool
) -> None:
    """There is none here, and so the jump is made."""
    record = f'{{"schema": "pykexec.load/1", "call": "{call}"}}'
    files = {} if device is None else {UPDATE_DEVICE: device}
    case = Case(
        reboot=0,
        files=files,
        before="mount -t tmpfs tmpfs /run && mkdir /run/pykexec && "
        f"printf '%s' '{record}' >/run/pykexec/normal.json",
    )
    ended = run(case, (str(installed.program),), tmp_path / "asked")
    assert (ended.code, ended.calls[-1]) == (0, "reboot")
    assert ("without Python" in ended.stderr) is asked


XEN_HOSTS = {
    "features": Case(files={XEN_FEATURES: "00002f05\n"}, words="-e -d"),
    "capabilities": Case(files={XEN_CAPABILITIES: "x control_d\n"}),
    "nothing before the host": Case(
        KernelState(loaded=False, effective_capabilities=0), files={XEN_FEATURES: "800"}
    ),
}


@pytest.mark.parametrize("name", XEN_HOSTS)
def test_a_jump_by_a_hypervisor_is_left_to_python(
    proved: None, installed: Installed, tmp_path: Path, name: str
) -> None:
    """Linux, which knows of no kernel that is loaded, is not asked; there is no Python here."""
    ended = run(XEN_HOSTS[name], (str(installed.program),), tmp_path / "launcher")
    assert (ended.code, ended.calls) == (EXIT_NO_PYTHON, ())


def test_what_the_calls_are(proved: None, installed: Installed, tmp_path: Path) -> None:
    ended = run(Case(), (str(installed.program),), tmp_path)
    assert ended.calls == ("sync", f"down {CARD}-peer", f"down {CARD}", "reboot")
    assert ended.code == 255
    assert ended.stderr.startswith("kexec: reboot failed: Operation not permitted (EPERM): no gate")
