"""The list of what is known to go wrong: it is well-formed, and each row finds its machine."""

from __future__ import annotations

import re
from dataclasses import replace

import pytest

from pykexec import known_problems
from pykexec.doctor import Level, Surroundings
from pykexec.doctor.known import Problem
from pykexec.doctor.known import known_problems as find
from pykexec.errors import MachineError
from pykexec.formats.device_tree import DeviceTree, Node, build_device_tree
from pykexec.planning.plans import Target
from pykexec.values.facts import KernelState, MachineFacts

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
    conditions = ("arch", "dmi", "compatible", "modules", "buses", "release_from")
    assert any(getattr(problem, name) for name in conditions)
    assert problem.dmi.keys() <= {"sys_vendor", "product_name", "board_name"}
    assert not {"x86-64", "arm64", "arm"}.intersection(problem.arch)


def test_ids_are_unique() -> None:
    assert len({problem.id for problem in PROBLEMS}) == len(PROBLEMS)


HYPERV = Surroundings(buses=frozenset({"vmbus"}), modules=frozenset({"hyperv_fb"}))
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
