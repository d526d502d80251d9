"""What the doctor makes of what was read, check by check."""

from __future__ import annotations

from dataclasses import replace

import pytest

from pykexec.crash.estimate import Check, Estimate
from pykexec.doctor import Asked, Finding, Level, Mount, Surroundings, checks
from pykexec.doctor.checks import GATES
from pykexec.formats.device_tree import DeviceTree, Node, build_device_tree
from pykexec.formats.ikconfig import KernelConfig
from pykexec.render.doctor import doctor_text, doctor_value
from pykexec.values.calls import Call, Target
from pykexec.values.facts import MachineFacts
from pykexec.values.kernel_state import KernelState
from pykexec.values.memory import IomemEntry
from pykexec.values.ranges import Range
from pykexec.values.units import MIB

NORMAL, CRASH = Asked(Target.NORMAL), Asked(Target.CRASH)
BY_FILE = replace(NORMAL, call=Call.KEXEC_FILE_LOAD)
BY_SEGMENTS = replace(NORMAL, call=Call.KEXEC_LOAD)
FACTS = MachineFacts("x86_64", 4096, (IomemEntry(Range(0, 1 << 30), "System RAM"),))
AROUND = Surroundings()


def config(*options: str) -> Surroundings:
    text = "".join(f"{option}=y\n" for option in options)
    return Surroundings(config=KernelConfig(text.encode()), config_source="/proc/config.gz")


def only(found: list[Finding], check: str) -> Finding:
    (finding,) = (finding for finding in found if finding.check == check)
    return finding


@pytest.mark.parametrize(
    ("state", "asked", "check", "level", "words", "source"),
    [
        (
            KernelState(effective_capabilities=0),
            NORMAL,
            "capability",
            Level.BLOCKS,
            "CAP_SYS_BOOT",
            "/proc/self/status",
        ),
        (
            KernelState(kexec_load_disabled=True),
            NORMAL,
            "kexec_load_disabled",
            Level.BLOCKS,
            "is 1",
            "/proc/sys/kernel/kexec_load_disabled",
        ),
        (
            KernelState(load_limit_reboot=0),
            NORMAL,
            "load_limit",
            Level.BLOCKS,
            "kexec_load_limit_reboot is 0",
            "/proc/sys/kernel/kexec_load_limit_reboot",
        ),
        (KernelState(load_limit_reboot=0), CRASH, "load_limit", Level.FINE, "open", ""),
        (
            KernelState(load_limit_panic=0),
            CRASH,
            "load_limit",
            Level.BLOCKS,
            "kexec_load_limit_panic is 0",
            "/proc/sys/kernel/kexec_load_limit_panic",
        ),
        (
            KernelState(lockdown="integrity"),
            NORMAL,
            "lockdown",
            Level.RISK,
            "kexec_load is refused, and kexec_file_load takes only a kernel signed",
            "/sys/kernel/security/lockdown",
        ),
        (
            KernelState(lockdown="integrity"),
            replace(BY_FILE, signed=True),
            "lockdown",
            Level.RISK,
            "signed with a key that this one trusts",
            "/sys/kernel/security/lockdown",
        ),
        (
            KernelState(lockdown="integrity"),
            replace(BY_FILE, signed=False),
            "lockdown",
            Level.BLOCKS,
            "no signature that it trusts",
            "/sys/kernel/security/lockdown",
        ),
        (
            KernelState(lockdown="confidentiality"),
            replace(BY_SEGMENTS, signed=True),
            "lockdown",
            Level.BLOCKS,
            "kexec_load is not allowed",
            "/sys/kernel/security/lockdown",
        ),
        (KernelState(lockdown="none"), NORMAL, "lockdown", Level.FINE, "open", ""),
        (
            KernelState(loadpin_enforced=True),
            BY_FILE,
            "loadpin",
            Level.RISK,
            "LoadPin is enforced",
            "/proc/sys/kernel/loadpin/enforce",
        ),
        (
            KernelState(loadpin_enforced=True),
            BY_SEGMENTS,
            "loadpin",
            Level.BLOCKS,
            "LoadPin is enforced",
            "/proc/sys/kernel/loadpin/enforce",
        ),
    ],
)
def test_gates(
    state: KernelState, asked: Asked, check: str, level: Level, words: str, source: str
) -> None:
    found = list(checks.check_gates(state, asked))
    assert tuple(finding.check for finding in found) == GATES
    finding = only(found, check)
    assert (finding.level, finding.source) == (level, source)
    assert words in finding.text
    assert bool(finding.advice) is (level is not Level.FINE)
    others = {finding.level for finding in found if finding.check != check}
    assert others == {Level.FINE}


@pytest.mark.parametrize(
    ("state", "around", "expected"),
    [
        (KernelState(), AROUND, {"kexec": Level.BLOCKS}),
        (KernelState(), Surroundings(shows_kernel=False), {"kexec": Level.NOTE}),
        (
            KernelState(loaded=False),
            AROUND,
            {"loaded": Level.FINE, "kernel_config": Level.NOTE},
        ),
        (
            KernelState(loaded=True),
            config("CONFIG_KEXEC", "CONFIG_KEXEC_FILE"),
            {"loaded": Level.NOTE, "kernel_config": Level.FINE},
        ),
        (
            KernelState(loaded=False),
            config("CONFIG_KEXEC"),
            {"loaded": Level.FINE, "kernel_config": Level.NOTE},
        ),
    ],
)
def test_the_kernel(state: KernelState, around: Surroundings, expected: dict[str, Level]) -> None:
    found = list(checks.check_kernel(state, around, NORMAL))
    assert {finding.check: finding.level for finding in found} == expected


def test_a_call_that_is_not_built_in_is_named() -> None:
    found = list(checks.check_kernel(KernelState(loaded=False), config("CONFIG_KEXEC"), NORMAL))
    assert "kexec_file_load (CONFIG_KEXEC_FILE)" in only(found, "kernel_config").text
    assert only(found, "kernel_config").source == "/proc/config.gz"


@pytest.mark.parametrize(
    ("secure_boot", "around", "asked", "expected"),
    [
        (None, AROUND, NORMAL, {"secure_boot": Level.FINE}),
        (True, AROUND, NORMAL, {"secure_boot": Level.NOTE}),
        (
            False,
            AROUND,
            replace(BY_FILE, signed=False),
            {"secure_boot": Level.FINE, "signature": Level.FINE},
        ),
        (
            False,
            config("CONFIG_KEXEC_SIG_FORCE"),
            replace(BY_FILE, signed=False),
            {"secure_boot": Level.FINE, "signature": Level.BLOCKS},
        ),
        (
            False,
            config("CONFIG_KEXEC_SIG_FORCE"),
            NORMAL,
            {"secure_boot": Level.FINE, "signature": Level.RISK},
        ),
        (
            False,
            config("CONFIG_KEXEC_SIG_FORCE"),
            replace(BY_SEGMENTS, signed=False),
            {"secure_boot": Level.FINE, "signature": Level.FINE},
        ),
    ],
)
def test_signatures(
    secure_boot: bool | None, around: Surroundings, asked: Asked, expected: dict[str, Level]
) -> None:
    found = checks.check_signatures(KernelState(secure_boot=secure_boot), around, asked)
    assert {finding.check: finding.level for finding in found} == expected


@pytest.mark.parametrize(
    ("asked", "level", "words"),
    [
        (NORMAL, Level.RISK, "kexec_file_load takes no unsigned kernel"),
        (replace(BY_FILE, signed=True), Level.RISK, "kexec_file_load takes no unsigned kernel"),
        (replace(BY_FILE, signed=False), Level.BLOCKS, "and this one has no signature"),
        (replace(BY_SEGMENTS, signed=False), Level.RISK, "IMA refuses kexec_load"),
    ],
)
def test_a_secure_ipl(asked: Asked, level: Level, words: str) -> None:
    found = only(
        list(checks.check_signatures(KernelState(secure_ipl=True), AROUND, asked)), "secure_ipl"
    )
    assert (found.level, found.source) == (level, "/sys/firmware/ipl/secure")
    assert words in found.text
    assert found.advice
    for other in (None, False):
        state = KernelState(secure_ipl=other)
        made = checks.check_signatures(state, AROUND, asked)
        assert all(finding.check != "secure_ipl" for finding in made)


RULES = ("appraise func=KEXEC_KERNEL_CHECK appraise_type=imasig",)


@pytest.mark.parametrize(
    ("rules", "cmdline", "asked", "level", "source"),
    [
        (None, b"", NORMAL, Level.FINE, ""),
        ((), b"", NORMAL, Level.FINE, "/sys/kernel/security/ima/policy"),
        (
            ("measure func=KEXEC_KERNEL_CHECK", "appraise func=KEXEC_INITRAMFS_CHECK"),
            b"",
            NORMAL,
            Level.FINE,
            "/sys/kernel/security/ima/policy",
        ),
        (RULES, b"", BY_FILE, Level.RISK, "/sys/kernel/security/ima/policy"),
        (RULES, b"", BY_SEGMENTS, Level.BLOCKS, "/sys/kernel/security/ima/policy"),
        (RULES, b"ima_appraise=log", BY_SEGMENTS, Level.NOTE, "/proc/cmdline"),
        (None, b"ima_policy=tcb|secure_boot", NORMAL, Level.RISK, "/proc/cmdline"),
        (None, b"ima_policy=tcb", NORMAL, Level.FINE, ""),
    ],
)
def test_ima(
    rules: tuple[str, ...] | None, cmdline: bytes, asked: Asked, level: Level, source: str
) -> None:
    facts = replace(FACTS, cmdline=cmdline)
    finding = checks.check_ima(facts, Surroundings(ima_rules=rules), asked)
    assert (finding.level, finding.source) == (level, source)


def tree(*methods: str) -> bytes:
    nodes = [
        Node(f"cpu@{at}", (("enable-method", f"{method}\0".encode()),))
        for at, method in enumerate(methods)
    ]
    return build_device_tree(DeviceTree(Node("", children=(Node("cpus", children=tuple(nodes)),))))


@pytest.mark.parametrize(
    ("methods", "cpus", "asked", "level"),
    [
        (None, 4, NORMAL, Level.FINE),
        ((), 4, NORMAL, Level.FINE),
        (("psci", "psci"), 2, NORMAL, Level.FINE),
        (("spin-table", "spin-table"), 2, NORMAL, Level.BLOCKS),
        (("spin-table", "spin-table"), None, NORMAL, Level.BLOCKS),
        (("spin-table", "spin-table"), 2, CRASH, Level.NOTE),
        (("spin-table",), 1, NORMAL, Level.FINE),
    ],
)
def test_processors(
    methods: tuple[str, ...] | None, cpus: int | None, asked: Asked, level: Level
) -> None:
    blob = None if methods is None else tree(*methods)
    facts = replace(FACTS, arch="aarch64", device_tree=blob, cpus=cpus)
    assert checks.check_processors(facts, asked).level is level


def test_a_tree_that_cannot_be_read_says_nothing() -> None:
    facts = replace(FACTS, device_tree=b"no tree", cpus=4)
    assert checks.check_processors(facts, NORMAL).level is Level.FINE


@pytest.mark.parametrize(
    ("region", "size", "cmdline", "asked", "level", "words"),
    [
        (True, None, b"", CRASH, Level.FINE, "256 MiB are reserved"),
        (False, None, b"", CRASH, Level.BLOCKS, "none can be loaded"),
        (False, None, b"", NORMAL, Level.NOTE, "a panic leaves no core"),
        (True, 0, b"", CRASH, Level.BLOCKS, "none can be loaded"),
        (False, 0, b"crashkernel=9T", CRASH, Level.BLOCKS, "crashkernel=9T asks for 9 TiB, more"),
    ],
)
def test_crash_memory(
    region: bool, size: int | None, cmdline: bytes, asked: Asked, level: Level, words: str
) -> None:
    inside = IomemEntry(Range.sized(256 * MIB, 256 * MIB), "Crash kernel")
    ram = IomemEntry(Range(0, 1 << 30), "System RAM", (inside,) if region else ())
    state = KernelState(crash_size=size)
    facts = replace(FACTS, iomem=(ram,), cmdline=cmdline, kernel=state)
    finding = checks.check_crash_memory(facts, asked)
    assert (finding.level, finding.source) == (level, "/proc/iomem")
    assert words in finding.text


def handover(facts: MachineFacts, around: Surroundings, asked: Asked) -> dict[str, Level]:
    found = checks.check_handover(facts, around, asked)
    return {finding.check: finding.level for finding in found}


def test_handover() -> None:
    calm = {"kho": Level.FINE, "framebuffer": Level.FINE, "mounts": Level.FINE}
    assert handover(FACTS, AROUND, NORMAL) == calm
    assert handover(FACTS, AROUND, CRASH) == {"kho": Level.FINE}
    assert "framebuffer" not in handover(replace(FACTS, arch="aarch64"), AROUND, NORMAL)
    driven = replace(FACTS, framebuffer_driver="i915drmfb")
    assert handover(driven, AROUND, NORMAL)["framebuffer"] is Level.NOTE
    assert handover(FACTS, Surroundings(kho=True), BY_FILE)["kho"] is Level.NOTE
    assert handover(FACTS, Surroundings(kho=True), BY_SEGMENTS)["kho"] is Level.RISK
    asked_for = replace(FACTS, cmdline=b"kho=on")
    assert handover(asked_for, AROUND, NORMAL)["kho"] is Level.NOTE


def test_mounts_are_named() -> None:
    points = ("/", "/boot", "/home", "/srv", "/var", "/opt")
    around = Surroundings(mounts=tuple(Mount(point, "ext4") for point in points))
    finding = only(list(checks.check_handover(FACTS, around, NORMAL)), "mounts")
    assert finding.level is Level.NOTE
    assert finding.text.startswith("mounted read-write: /, /boot, /home, /srv and 2 more;")


def test_the_rest() -> None:
    assert checks.check_xen(KernelState(xen=True)).level is Level.RISK
    assert checks.check_xen(KernelState()).level is Level.FINE
    assert checks.check_hotplug(True, True).level is Level.FINE
    assert checks.check_hotplug(True, None).level is Level.NOTE
    assert checks.check_available(KernelState(), 1).level is Level.NOTE
    state = KernelState(memory_available=64 * MIB)
    assert checks.check_available(state, 64 * MIB).level is Level.FINE
    scarce = checks.check_available(state, 65 * MIB)
    assert (scarce.level, scarce.source) == (Level.RISK, "/proc/meminfo")
    assert scarce.text.startswith("65 MiB are kept until the jump, 64 MiB are available")
    assert checks.layout(5, 3 * MIB).text == (
        "there is room for the 5 segments of kexec_load, 3 MiB"
    )


def test_the_estimate() -> None:
    small = Check("unpacking", 100 * MIB, 64 * MIB, "")
    good = Check("DMA", 1, 2, "")
    estimate = Estimate((), (good,), 256 * MIB, "crashkernel=128M", ())
    assert checks.check_estimate(estimate).level is Level.FINE
    short = checks.check_estimate(replace(estimate, checks=(small, good)))
    assert short.level is Level.BLOCKS
    assert short.text.endswith("is too small: unpacking needs 100 MiB of 64 MiB")
    assert short.advice.startswith("crashkernel=128M would do;")


FOUND = [
    Finding("a", Level.FINE, "good"),
    Finding("b", Level.NOTE, "worth " * 20, "/proc/b"),
    Finding("c", Level.RISK, "perhaps", links=("https://example.org/" + "x" * 80,)),
    Finding("d", Level.BLOCKS, "no\x1b[31m", "/proc/d", "do this"),
]


def test_what_is_printed() -> None:
    text = doctor_text(FOUND, Target.NORMAL)
    lines = text.splitlines()
    assert [line.split()[0] for line in lines if line[:1].isupper()] == ["BLOCKS", "RISK", "NOTE"]
    assert lines[-2:] == ["fine: a", "verdict: a normal load is blocked: d"]
    assert all(len(line) <= 80 or "https://" in line for line in lines)
    assert "\x1b" not in text
    assert "from /proc/d" in text
    assert "do:  do this" in text
    assert doctor_text(FOUND[:3], Target.CRASH).endswith(
        "verdict: nothing is known to block a crash load, but there are risks: c\n"
    )
    assert doctor_text(FOUND[:1], Target.CRASH) == (
        "fine: a\nverdict: nothing is known to block a crash load\n"
    )


def test_what_is_printed_for_programs() -> None:
    value = doctor_value(FOUND, Target.NORMAL)
    assert (value["schema"], value["target"], value["blocked"]) == (
        "pykexec.doctor/1",
        "normal",
        True,
    )
    assert value["findings"][3] == {
        "check": "d",
        "level": "blocks",
        "text": "no\x1b[31m",
        "source": "/proc/d",
        "advice": "do this",
        "links": [],
    }
    assert not doctor_value(FOUND[:3], Target.NORMAL)["blocked"]
