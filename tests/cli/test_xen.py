"""The front doors on a Xen host: what the hypervisor is asked, in the place of Linux."""

from __future__ import annotations

import errno
import json
import os
from pathlib import Path

import pytest

from pykexec import machine as machine_package
from pykexec.calls import hypercalls, syscalls
from pykexec.calls.rejections import shut_gates
from pykexec.cli import jump, kexec_compat
from pykexec.cli.main import cli
from pykexec.crash.elfcorehdr import NO_VADDR, parse_elfcorehdr
from pykexec.crash.status import parse_record
from pykexec.crash_setup.steps import SetupRefusedError
from pykexec.doctor import Asked, Level, checks
from pykexec.errors import HiddenMemoryError, MachineError
from pykexec.machine import crash_state, hypervisor, read_machine
from pykexec.machine.files import MachineFiles
from pykexec.values.calls import Target
from pykexec.values.data_classes import replace
from pykexec.values.elf_headers import PT_NOTE
from pykexec.values.facts import CAP_SYS_BOOT
from pykexec.values.kernel_state import KernelState
from pykexec.values.ranges import Range, RangeSet
from pykexec.values.xen import XenProblem
from tests.builders import xen as fake
from tests.builders.bzimage import KernelSpec, build_bzimage
from tests.builders.machines import MachineDirectory, build_machine
from tests.builders.xen import FakeXen
from tests.cli.stand_in import FakeLibc, stand_in

FEATURES = "sys/hypervisor/properties/features"
STATE = KernelState(
    release="6.1.0", loaded=False, crash_loaded=False, effective_capabilities=1 << CAP_SYS_BOOT
)
NORMAL, CRASH = 0, 1


@pytest.fixture
def libc(monkeypatch: pytest.MonkeyPatch) -> FakeLibc:
    made = FakeLibc()
    monkeypatch.setattr(syscalls, "_libc", made)
    return made


@pytest.fixture
def here(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> MachineDirectory:
    """Let this machine be dom0 of a machine with less memory than dom0's own map has."""
    path = build_machine(tmp_path / "machine", firmware_map=True, kernel=STATE)
    machine = MachineDirectory(path)
    machine.write(FEATURES, "000028f0\n")
    machine.write("sys/hypervisor/type", "xen\n")
    machine.write("sys/kernel/vmcoreinfo", "24f30000 1024\n")
    stand_in(monkeypatch, path)
    return machine


@pytest.fixture
def xen(monkeypatch: pytest.MonkeyPatch, here: MachineDirectory) -> FakeXen:
    made = FakeXen()
    monkeypatch.setattr(hypercalls, "open_hypervisor", lambda: made)
    monkeypatch.setattr(hypervisor, "ask", lambda files: hypervisor._ask_live())
    return made


@pytest.fixture
def steps(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    done: list[str] = []
    monkeypatch.setattr("os.sync", lambda: done.append("sync"))

    def ifdown() -> list[str]:
        done.append("ifdown")
        return []

    monkeypatch.setattr(jump, "take_interfaces_down", ifdown)
    return done


@pytest.fixture
def kernel(tmp_path: Path) -> str:
    path = tmp_path / "vmlinuz"
    path.write_bytes(build_bzimage(KernelSpec(payload_size=64 * 1024)))
    return str(path)


def test_a_load_goes_to_the_hypervisor(xen: FakeXen, libc: FakeLibc, kernel: str) -> None:
    """At machine addresses; all of the first MiB is mapped, which the first code uses."""
    assert kexec_compat.main(["-l", kernel, "--append=ro quiet"]) == 0
    assert libc.calls == []
    image = xen.images[NORMAL]
    assert image.machine == 62
    data = [data for data, _ in image.segments if data is not None]
    assert any(b"ro quiet\0" in item for item in data)
    places = RangeSet(place for _, place in image.segments)
    assert all(not place.start % 4096 and not place.end % 4096 for place in places)
    assert places.covering(Range(0, 1 << 20))
    assert places.covering(Range.sized(image.entry, 1))
    assert max(place.end for place in places) <= 0x3FFE0000
    crash_area = xen.ranges[0, 0]
    assert not any(place.overlaps(crash_area) for place in places)


def test_a_crash_load(xen: FakeXen, libc: FakeLibc, kernel: str) -> None:
    """Into Xen's crash area; the core header has the hypervisor's notes, and dom0's VMCOREINFO."""
    assert kexec_compat.main(["-p", kernel, "--append=irqpoll"]) == 0
    assert libc.calls == []
    image = xen.images[CRASH]
    area = xen.ranges[0, 0]
    for data, place in image.segments:
        assert area.contains(place) if data is not None else place.end <= 1 << 20
    (core,) = (data for data, _ in image.segments if data and data.startswith(b"\x7fELF"))
    headers = parse_elfcorehdr(core)
    notes = [Range.sized(item.offset, item.size) for item in headers if item.type == PT_NOTE]
    told = [xen.ranges[key] for key in ((2, 0), (2, 1), (6, 0))]
    assert notes == [*told[:2], Range.sized(0x24F30000, 0x1024), told[2]]
    loads = [item for item in headers if item.type != PT_NOTE]
    assert {item.vaddr for item in loads} == {NO_VADDR}
    ram = RangeSet(Range.sized(start, size) for start, size, kind in xen.e820 if kind == fake.RAM)
    assert RangeSet(Range.sized(item.paddr, item.size) for item in loads) == ram.minus([area])


@pytest.mark.parametrize(("kind", "told"), [("PV", True), ("PVH", False)])
def test_dom0s_vmcoreinfo_is_told_where_its_address_is_the_machines(
    xen: FakeXen, here: MachineDirectory, kind: str, told: bool
) -> None:
    """Only a paravirtualised kernel knows machine addresses."""
    here.write("sys/hypervisor/guest_type", f"{kind}\n")
    crash = machine_package.read_machine("/", crash=True).crash
    assert (crash.vmcoreinfo is not None) is told
    assert crash.xen_vmcoreinfo == xen.ranges[6, 0]


@pytest.mark.parametrize(
    ("text", "complaint"),
    [
        ("{", "xen.json"),
        ('{"schema": "pykexec.xen/9"}', "schema 'pykexec.xen/9' is unknown"),
        ('{"schema": "pykexec.xen/1"}', "memory_map is missing, a list of objects is needed"),
        (
            '{"schema": "pykexec.xen/1", "memory_map": [{"type": "x"}], "cpu_notes": []}',
            "type is 'x', one of System RAM, ",
        ),
        (
            '{"schema": "pykexec.xen/1", "memory_map": [], "cpu_notes": [], '
            '"image": {"start": "0xffffffffffffffff", "size": 2}}',
            "image.size is 2, a size that ends within 64 bits is needed",
        ),
    ],
)
def test_a_malformed_record(here: MachineDirectory, text: str, complaint: str) -> None:
    here.write(hypervisor.RECORD, text)
    with pytest.raises(MachineError) as caught:
        read_machine(here.path)
    assert complaint in str(caught.value)


def test_a_record_without_the_hypervisors_answers(here: MachineDirectory) -> None:
    with pytest.raises(HiddenMemoryError) as caught:
        read_machine(here.path)
    assert "where memory lies only the Xen hypervisor tells: the record has not" in str(
        caught.value
    )


def test_a_program_of_32_bits(here: MachineDirectory, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sys.maxsize", (1 << 31) - 1)
    answer = hypervisor.ask(MachineFiles("/"))
    assert isinstance(answer, XenProblem)
    assert answer.reason == "this is a program of 32 bits, which cannot make hypercalls"


def test_the_status_of_a_crash_kernel_is_by_the_hypervisors_map(
    xen: FakeXen, kernel: str, capsys: pytest.CaptureFixture[str]
) -> None:
    """Not by that of dom0, which ballooning changes."""
    assert kexec_compat.main(["-p", kernel]) == 0
    state = crash_state.read_crash_state("/")
    assert state.regions == (xen.ranges[0, 0],)
    memory = parse_record((state.record or b""), "record").memory
    assert memory == state.memory
    xen.e820 = (*fake.E820, (1 << 32, 1 << 30, fake.RAM))
    assert crash_state.read_crash_state("/").memory != memory


def test_without_a_crash_area(
    xen: FakeXen, kernel: str, capsys: pytest.CaptureFixture[str]
) -> None:
    del xen.ranges[0, 0]
    assert kexec_compat.main(["-p", kernel]) != 0
    said = capsys.readouterr().err
    assert "the hypervisor has no crash area" in said
    assert "among the words for Xen, not dom0" in said
    assert xen.images == {}


def test_what_is_loaded_the_hypervisor_tells(xen: FakeXen, kernel: str, libc: FakeLibc) -> None:
    words = (["-S", "-l"], ["-S"])
    assert [kexec_compat.main(item) for item in words] == [0, 0]
    assert kexec_compat.main(["-l", kernel]) == 0
    assert [kexec_compat.main(item) for item in words] == [1, 0]
    assert kexec_compat.main(["-p", kernel]) == 0
    assert [kexec_compat.main(item) for item in words] == [1, 1]
    assert kexec_compat.main(["-u"]) == 0
    assert [kexec_compat.main(item) for item in words] == [0, 1]
    assert kexec_compat.main(["-u", "-p"]) == 0
    assert kexec_compat.main(["-u"]) == 0
    assert [kexec_compat.main(item) for item in words] == [0, 0]
    assert libc.calls == []


def test_the_doctor(xen: FakeXen, capsys: pytest.CaptureFixture[str]) -> None:
    """What a jump ends is a note; without the hypervisor's answer nothing can be loaded."""
    facts = machine_package.read_machine("/")
    found = checks.check_xen(facts.kernel)
    assert (found.level, found.check) == (Level.NOTE, "xen")
    assert "a jump ends it with all its guests" in found.text
    assert checks.check_crash_memory(facts, Asked(target=Target.CRASH)).level is Level.FINE
    assert not shut_gates(facts.kernel)
    # A number for Linux alone.
    here = replace(facts.kernel, kexec_load_disabled=True, xen_problem=XenProblem("why", "do"))
    (gate,) = shut_gates(here)
    assert gate.reason.endswith("the hypervisor loads and starts kernels, and why")
    found = checks.check_xen(here)
    assert (found.level, found.advice) == (Level.BLOCKS, "do")


def test_a_setup_writes_no_words_for_the_wrong_kernel(
    xen: FakeXen, capsys: pytest.CaptureFixture[str]
) -> None:
    """A word crashkernel= on dom0's command line reserves nothing."""
    with pytest.raises(SetupRefusedError) as caught:
        run_verb("crash", "setup", "--dry-run")
    told = "\n".join((str(caught.value), *caught.value.details, capsys.readouterr().err))
    assert "reserved by words for the hypervisor" in told


def test_a_jump(
    xen: FakeXen,
    libc: FakeLibc,
    steps: list[str],
    kernel: str,
    capsys: pytest.CaptureFixture[str],
) -> None:
    assert kexec_compat.main(["-e"]) == 1
    assert "no kernel is loaded" in capsys.readouterr().err
    assert (steps, xen.calls) == ([], [])
    assert kexec_compat.main(["-l", kernel]) == 0
    xen.answers = {fake.EXEC: errno.EBUSY}
    assert kexec_compat.main(["-e"]) == 255
    assert steps == ["sync", "sync", "ifdown"]
    assert "KEXEC_CMD_kexec failed: Device or resource busy (EBUSY): a jump is under way" in (
        capsys.readouterr().err
    )
    assert libc.calls == []


@pytest.mark.parametrize("words", [["-l", "KERNEL"], ["-p", "KERNEL"], ["-u"], ["-e"]])
def test_without_its_device(
    xen: FakeXen,
    libc: FakeLibc,
    steps: list[str],
    kernel: str,
    words: list[str],
    capsys: pytest.CaptureFixture[str],
) -> None:
    xen.missing = "/dev/xen/privcmd"
    assert kexec_compat.main([kernel if word == "KERNEL" else word for word in words]) == 255
    assert (libc.calls, steps, xen.calls) == ([], [], [])
    said = capsys.readouterr().err
    assert "cannot be done: this is a Xen host (dom0)" in said
    assert "there is no /dev/xen/privcmd" in said
    assert "hint: load the module xen-privcmd" in said


@pytest.mark.parametrize(
    ("words", "text"),
    [
        (["--load-preserve-context"], "its hypervisor cannot be returned to"),
        (["-p", "--hotplug"], "hypervisor does not update a core header"),
        (["--load-jump-back-helper", "--entry=0x1000"], "no kernel that returns"),
    ],
)
def test_what_no_hypervisor_does(
    xen: FakeXen, kernel: str, words: list[str], text: str, capsys: pytest.CaptureFixture[str]
) -> None:
    files = [] if "--load-jump-back-helper" in words else [kernel]
    assert kexec_compat.main([*words, *files]) != 0
    assert text in capsys.readouterr().err
    assert xen.images == {}


def test_the_file_call_has_no_effect(
    xen: FakeXen, libc: FakeLibc, kernel: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert kexec_compat.main(["-s", "-l", kernel]) == 0
    assert "the hypervisor takes segments alone" in capsys.readouterr().err
    assert NORMAL in xen.images
    assert libc.calls == []


@pytest.mark.parametrize(
    ("words", "number", "text"),
    [
        (["-l"], errno.ENOMEM, "the hypervisor has too little free memory"),
        (["-p"], errno.ENOMEM, "the crash area has no room for page tables"),
        (["-l"], errno.EPERM, "this is not the domain that may load kernels"),
        (["-l"], errno.EACCES, "only root may make hypercalls"),
        (["-l"], errno.EFAULT, "the hypervisor could not read what was handed to it"),
        (["-l"], errno.EINVAL, "the hypervisor does not take an argument"),
        (["-p"], errno.EADDRNOTAVAIL, "outside of the memory that crashkernel="),
        (["-l"], errno.ENOENT, "no kernel is loaded"),
        (["-l"], errno.ENOSYS, "this Xen has no kexec interface"),
        (["-l"], errno.EIO, "not a reason that Xen documents"),
    ],
)
def test_each_refusal_names_its_cause(
    xen: FakeXen,
    kernel: str,
    words: list[str],
    number: int,
    text: str,
    capsys: pytest.CaptureFixture[str],
) -> None:
    xen.answers = {fake.LOAD: number}
    assert kexec_compat.main([*words, kernel]) == 255
    said = capsys.readouterr().err
    assert f"KEXEC_CMD_kexec_load failed: {errno_text(number)}" in said
    assert text in said
    assert "hint: " in said


def errno_text(number: int) -> str:
    return f"{os.strerror(number)} ({errno.errorcode[number]})"


@pytest.mark.parametrize(
    ("number", "text"),
    [
        (errno.EPERM, "only root may make hypercalls"),
        (errno.ENOSYS, "this Xen has no kexec interface"),
        (errno.EIO, "the hypervisor's answer is Input/output error"),
    ],
)
def test_a_hypervisor_that_tells_nothing(
    xen: FakeXen, kernel: str, number: int, text: str, capsys: pytest.CaptureFixture[str]
) -> None:
    xen.answers = {fake.GET_RANGE: number}
    assert kexec_compat.main(["-l", kernel]) == 255
    assert text in capsys.readouterr().err
    assert kexec_compat.main(["-S"]) == 255


def test_a_map_with_many_entries(xen: FakeXen) -> None:
    """What has no room in the first question is asked for again."""
    base = 1 << 32
    more = tuple((base + (at << 20), 1 << 19, fake.RESERVED) for at in range(300))
    xen.e820 = (*fake.E820, *more)
    with xen:
        assert xen.memory_map() == list(xen.e820)


def test_verbs_and_a_record_that_plans_the_same(
    xen: FakeXen,
    here: MachineDirectory,
    kernel: str,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """What was recorded of dom0 is enough to plan for the whole machine."""
    answer = hypervisor._ask_live()
    assert answer == fake.facts(xen)
    here.write(hypervisor.RECORD, hypervisor.build(fake.facts(xen)))
    facts = read_machine(here.path, crash=True)
    record = tmp_path / "record"
    capsys.readouterr()
    assert run_verb("machine", "record", str(record), "--machine", str(here.path)) == 0
    assert read_machine(record, crash=True).iomem == facts.iomem
    assert read_machine(record, crash=True).crash == facts.crash
    capsys.readouterr()
    for machine in (here.path, record):
        words = ("plan", kernel, "--crash", "--machine", str(machine), "--json")
        assert run_verb(*words) == 0
        plan = json.loads(capsys.readouterr().out)
        starts = {item["role"]: int(item["mem"], 16) for item in plan["segments"]}
        assert xen.ranges[0, 0].contains(Range.sized(starts["kernel"], 1))


def run_verb(*words: str) -> int:
    code: int | None = cli(list(words), standalone_mode=False)
    return code or 0
