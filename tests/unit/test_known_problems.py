"""The list of what is known to go wrong: it is well-formed, and each row finds its machine."""

from __future__ import annotations

import re
from dataclasses import replace

import pytest

from pykexec import known_problems
from pykexec.doctor import Level, Surroundings
from pykexec.doctor.known import Problem
from pykexec.doctor.known import known_problems as find
from pykexec.entries.versions import version_key
from pykexec.errors import MachineError
from pykexec.formats.device_tree import DeviceTree, Node, build_device_tree
from pykexec.formats.ikconfig import KernelConfig
from pykexec.values.calls import Target
from pykexec.values.facts import MachineFacts
from pykexec.values.kernel_state import KernelState

PROBLEMS = known_problems.load()


def machine(arch: str = "x86_64", release: str = "6.12.1", *compatible: str) -> MachineFacts:
    value = b"".join(name.encode() + b"\0" for name in compatible)
    blob = build_device_tree(DeviceTree(Node("", (("compatible", value),))))
    return MachineFacts(
        arch, 4096, (), device_tree=blob if compatible else None, kernel=KernelState(release)
    )


def found(facts: MachineFacts, around: Surroundings, target: Target = Target.NORMAL) -> set[str]:
    return {finding.check for finding in find(PROBLEMS, facts, around, target)}


@pytest.mark.parametrize("problem", PROBLEMS, ids=lambda problem: problem.id)
def test_a_row_is_complete(problem: Problem) -> None:
    assert re.fullmatch(r"[a-z0-9.-]+", problem.id)
    assert problem.links
    assert all(re.fullmatch(r"https://\S+", link) for link in problem.links)
    assert problem.level is not Level.FINE
    conditions = ("arch", "dmi", "compatible", "modules", "buses", "releases")
    assert any(getattr(problem, name) for name in conditions)
    versions = [version_key(version) for pair in problem.releases for version in pair]
    assert versions == sorted(versions)
    assert len(set(versions)) == len(versions)
    assert problem.dmi.keys() <= {"sys_vendor", "product_name", "board_name"}
    assert not {"x86-64", "arm64", "armhf"}.intersection(problem.arch)


def test_ids_are_unique() -> None:
    assert len({problem.id for problem in PROBLEMS}) == len(PROBLEMS)


HYPERV = Surroundings(buses=frozenset({"vmbus"}), modules=frozenset({"hyperv_fb"}))
LPAE_PAN = Surroundings(
    config=KernelConfig(b"CONFIG_ARM_LPAE=y\nCONFIG_CPU_TTBR0_PAN=y\nCONFIG_KEXEC=y\n")
)
LPAE = Surroundings(config=KernelConfig(b"CONFIG_ARM_LPAE=y\n# CONFIG_CPU_TTBR0_PAN is not set\n"))
CANARY = Surroundings(config=KernelConfig(b"CONFIG_STACKPROTECTOR=y\nCONFIG_KEXEC=y\n"))
QEMU = Surroundings(dmi={"sys_vendor": "QEMU"})


@pytest.mark.parametrize(
    ("facts", "around", "target", "expected"),
    [
        (machine(), Surroundings(), Target.NORMAL, set()),
        (machine(), HYPERV, Target.NORMAL, {"known:hyperv-fb", "known:hyperv-cpus"}),
        (machine(), HYPERV, Target.CRASH, {"known:hyperv-kdump"}),
        (
            machine(),
            replace(HYPERV, modules=frozenset()),
            Target.NORMAL,
            {"known:hyperv-cpus"},
        ),
        (
            machine("aarch64", "6.12", "raspberrypi,4-model-b", "brcm,bcm2711"),
            Surroundings(),
            Target.NORMAL,
            {"known:raspberry-pi-4"},
        ),
        (
            machine("aarch64", "6.12", "raspberrypi,5-model-b"),
            Surroundings(),
            Target.NORMAL,
            {"known:raspberry-pi-5"},
        ),
        (
            machine("aarch64", "6.12.57+deb13-arm64"),
            QEMU,
            Target.NORMAL,
            {"known:arm64-vm-6.12.53"},
        ),
        (
            machine("aarch64", "6.12.53"),
            QEMU,
            Target.NORMAL,
            {"known:arm64-vm-6.12.53"},
        ),
        *(
            (machine("arm", "6.12.117+deb13-armmp-lpae"), LPAE_PAN, target, {"known:arm-lpae-pan"})
            for target in Target
        ),
        (machine("arm", "6.1.176"), LPAE_PAN, Target.NORMAL, set()),
        (machine("arm", "7.2.13"), LPAE_PAN, Target.NORMAL, set()),
        (machine("arm", "7.1.2"), LPAE_PAN, Target.NORMAL, {"known:arm-lpae-pan-later"}),
        *(
            (machine("s390x", "6.19.3"), CANARY, target, {"known:s390x-stack-protector"})
            for target in Target
        ),
        (machine("s390x", "6.19.3"), LPAE, Target.NORMAL, set()),
        (machine("s390x", "7.0.1"), CANARY, Target.CRASH, set()),
        (machine("x86_64", "6.19.3"), CANARY, Target.CRASH, set()),
        (machine("arm", "6.12.117"), LPAE, Target.NORMAL, set()),
        (machine("arm", "6.12.117"), Surroundings(), Target.NORMAL, set()),
        (machine("aarch64", "6.12.52"), QEMU, Target.NORMAL, set()),
        (machine("aarch64", "6.12.58"), QEMU, Target.NORMAL, set()),
        (machine("x86_64", "6.12.53"), QEMU, Target.NORMAL, set()),
        (machine("aarch64", "6.12.53"), Surroundings(), Target.NORMAL, set()),
        (
            machine("aarch64"),
            Surroundings(dmi={"sys_vendor": "Amazon EC2"}),
            Target.CRASH,
            {"known:ec2-arm64-kdump"},
        ),
        (
            machine("aarch64", "6.12", "amlogic,p212"),
            Surroundings(),
            Target.CRASH,
            {"known:amlogic-elfcorehdr"},
        ),
        (
            machine(),
            Surroundings(modules=frozenset({"nvidia"})),
            Target.NORMAL,
            {"known:nvidia-display"},
        ),
    ],
)
def test_machines(
    facts: MachineFacts, around: Surroundings, target: Target, expected: set[str]
) -> None:
    assert found(facts, around, target) == expected


KVM = Surroundings(modules=frozenset({"kvm_hv"}))
HOST, ONE_CPU = "known:powernv-kvm", "known:powernv-nosmp"
BASE, STRUCT_PAGE = "known:pseries-crash-base", "known:ppc64le-makedumpfile-6.9"


@pytest.mark.parametrize(
    ("release", "compatible", "around", "normal", "crash"),
    [
        ("5.14.0-503.el9", "ibm,powernv", KVM, {ONE_CPU}, {HOST}),
        ("6.12.95+deb12-powerpc64le", "ibm,powernv", Surroundings(), {ONE_CPU}, set()),
        ("6.12.95+deb12-powerpc64le", "qemu,pseries", KVM, set(), set()),
        ("5.16.12-200.fc35", "qemu,pseries", Surroundings(), set(), {BASE}),
        ("6.0.5-300.fc37", "qemu,pseries", Surroundings(), set(), {BASE}),
        ("6.0.5-300.fc37", "IBM,9105-42A", Surroundings(), set(), set()),
        ("6.1.176", "qemu,pseries", Surroundings(), set(), set()),
        ("6.9.4-200.fc40", "IBM,9105-42A", Surroundings(), set(), {STRUCT_PAGE}),
        ("6.10", "qemu,pseries", Surroundings(), set(), set()),
    ],
)
def test_power(
    release: str, compatible: str, around: Surroundings, normal: set[str], crash: set[str]
) -> None:
    facts = machine("ppc64le", release, compatible)
    assert found(facts, around, Target.NORMAL) == normal
    assert found(facts, around, Target.CRASH) == crash


HART, ENTRY = "known:riscv64-hart-id", "known:riscv64-kdump-entry"
PAGE, HIDDEN = "known:riscv64-control-page", "known:riscv64-crash-region-6.6"
LOCKED = "known:riscv64-kdump-in-interrupt"


@pytest.mark.parametrize(
    ("release", "normal", "crash"),
    [
        # The vendor's kernel of a board whose hart 0 runs no Linux.
        ("5.15.0", {HART}, {HART, ENTRY}),
        ("5.15.17", set(), set()),
        ("5.15.82", set(), {LOCKED}),
        ("5.15.163", set(), set()),
        ("5.16.2", {HART}, {HART, ENTRY}),
        ("5.16.3", set(), set()),
        ("6.1.97", set(), {LOCKED}),
        ("6.1.98", set(), set()),
        ("6.5.0-5-riscv64", {PAGE}, {LOCKED}),
        ("6.6", {PAGE}, {HIDDEN, LOCKED}),
        ("6.6.29", {PAGE}, {HIDDEN, LOCKED}),
        ("6.6.30", {PAGE}, {LOCKED}),
        ("6.6.36", set(), {LOCKED}),
        ("6.6.63", set(), set()),
        ("6.7.12", {PAGE}, {LOCKED}),
        ("6.8.0-31-generic", set(), {LOCKED}),
        ("6.10", set(), set()),
        ("6.12.107+deb13-riscv64", set(), set()),
        ("7.2.13", set(), set()),
    ],
)
def test_what_was_mended_in_several_branches(
    release: str, normal: set[str], crash: set[str]
) -> None:
    facts = machine("riscv64", release)
    assert found(facts, Surroundings(), Target.NORMAL) == normal
    assert found(facts, Surroundings(), Target.CRASH) == crash
    assert found(machine("aarch64", release), Surroundings(), Target.CRASH) == set()


MAP, PLACE, LLD = (f"known:loongarch64-{name}" for name in ("efi-memory-map", "crash-place", "lld"))
BY_LLD = Surroundings(config=KernelConfig(b"CONFIG_LD_IS_LLD=y\nCONFIG_RELOCATABLE=y\n"))
BY_GNU_LD = Surroundings(config=KernelConfig(b"CONFIG_LD_IS_BFD=y\nCONFIG_RELOCATABLE=y\n"))


@pytest.mark.parametrize(
    ("release", "around", "crash"),
    [
        ("6.1.140", BY_GNU_LD, {MAP, PLACE}),
        ("6.3", BY_GNU_LD, {MAP}),
        ("6.6.50", BY_LLD, {MAP, LLD}),
        ("6.7", BY_LLD, {MAP}),
        ("6.17", BY_LLD, set()),
        ("7.2.13+deb14-loong64", BY_GNU_LD, set()),
    ],
)
def test_loongarch(release: str, around: Surroundings, crash: set[str]) -> None:
    facts = machine("loongarch64", release)
    assert found(facts, around, Target.CRASH) == crash
    assert found(facts, around, Target.NORMAL) == crash & {MAP}


def test_a_finding_has_what_the_row_says() -> None:
    (finding,) = (f for f in find(PROBLEMS, machine(), HYPERV, Target.CRASH))
    assert finding.level is Level.RISK
    assert finding.links == ("https://github.com/coreos/fedora-coreos-tracker/issues/1308",)
    assert "crash test" in finding.advice


def test_a_tree_that_cannot_be_read_is_compatible_with_nothing() -> None:
    facts = replace(machine("aarch64"), device_tree=b"no tree")
    assert found(facts, Surroundings()) == set()


ROW = '[[problem]]\nid = "x"\nsummary = "s"\nadvice = "a"\nlinks = ["l"]\nlevel = "risk"\n'


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("x", "f is no list of problems: "),
        ("problem = [1]", "f is no list of problems: "),
        ("problem = 1", "f is no list of problems: "),
        (ROW + "colour = 1", "f, problem 'x': unknown ['colour']"),
        (ROW.replace('links = ["l"]\n', ""), "f, problem 'x': without ['links']"),
        (ROW.replace("risk", "bad"), "f, problem 'x': 'bad' is not a valid Level"),
        (ROW + 'releases = ["6.1"]', "f, problem 'x': releases are pairs of versions"),
        (ROW + 'releases = [["6.1"]]', "f, problem 'x': releases are pairs of versions"),
        (ROW + 'target = "all"', "f, problem 'x': 'all' is not a valid Target"),
    ],
)
def test_a_damaged_list(text: str, message: str) -> None:
    with pytest.raises(MachineError) as caught:
        known_problems.parse_problems(text, "f")
    assert message in caught.value.message


def test_a_missing_list(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(known_problems, "FILE", known_problems.FILE.with_name("nothing"))
    known_problems.load.cache_clear()
    with pytest.raises(MachineError, match=r"cannot read .*nothing: No such file") as caught:
        known_problems.load()
    assert caught.value.hint == "pykexec is damaged; install it again"
    known_problems.load.cache_clear()
