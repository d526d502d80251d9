"""Options of kexec(8) that are about x86 images and entry points."""

from __future__ import annotations

import gzip
from dataclasses import astuple, replace
from pathlib import Path

import pytest

from pykexec.architectures import ARCHITECTURES
from pykexec.calls import syscalls
from pykexec.cli.kexec_compat import _load_options, main, parse
from pykexec.errors import ImageError, PykexecError, UsageError
from pykexec.formats import identify
from pykexec.loading.image_types import check_type, format_of
from pykexec.loading.planning import make_plan
from pykexec.planning.plans import BootProtocol, FileLoadPlan, SegmentPlan
from pykexec.values.roles import Role
from tests.builders.bzimage import KernelSpec, build_bzimage
from tests.builders.elf import ElfSpec, build_elf, build_x86_vmlinux
from tests.builders.machines import build_machine
from tests.builders.multiboot import MultibootSpec, build_multiboot, header_1, header_2
from tests.cli.stand_in import run_as
from tests.cli.test_pykexec import run
from tests.json_schemas import checked

BOTH = build_multiboot(MultibootSpec(header_1(3).ljust(16, b"\0") + header_2()))
FILES = {
    "bzImage": build_bzimage(KernelSpec(payload_size=64 * 1024)),
    "vmlinux": build_x86_vmlinux(),
    "elf": build_elf(),
    "elf32": build_elf(ElfSpec(bits=32, machine=3)),
    "both": BOTH,
}


@pytest.fixture
def files(tmp_path: Path) -> Path:
    for name, data in FILES.items():
        (tmp_path / name).write_bytes(data)
    return tmp_path


@pytest.fixture
def machine(tmp_path: Path) -> Path:
    return build_machine(tmp_path / "machine", firmware_map=True)


def planned(machine: Path, *words: str) -> SegmentPlan:
    made = make_plan(machine, _load_options(parse(["-l", *words])))
    assert isinstance(made, SegmentPlan)
    return made


CHOICES = pytest.mark.parametrize(
    ("words", "protocol", "role"),
    [
        (["vmlinux"], BootProtocol.LINUX, Role.PARAMETERS),
        (["vmlinux", "--args-elf"], BootProtocol.ELF, Role.BOOT_NOTES),
        (["elf"], BootProtocol.ELF, Role.BOOT_NOTES),
        (["elf", "--args-elf", "--args-linux"], BootProtocol.LINUX, Role.PARAMETERS),
        (["elf32", "--args-none"], BootProtocol.ELF, Role.KERNEL),
        (["bzImage", "--entry-32bit"], BootProtocol.LINUX, Role.PARAMETERS),
        (["bzImage", "--real-mode"], BootProtocol.REAL_MODE, Role.SETUP),
        (["both"], BootProtocol.MULTIBOOT2, Role.MULTIBOOT_INFO),
        (["both", "-t", "multiboot-x86"], BootProtocol.MULTIBOOT, Role.MULTIBOOT_INFO),
        (["both", "-t", "multiboot2-x86"], BootProtocol.MULTIBOOT2, Role.MULTIBOOT_INFO),
        (["both", "-t", "elf-x86"], BootProtocol.ELF, Role.BOOT_NOTES),
    ],
)


@CHOICES
def test_they_choose_the_protocol(
    files: Path, machine: Path, words: list[str], protocol: BootProtocol, role: Role
) -> None:
    made = planned(machine, str(files / words[0]), *words[1:])
    assert made.protocol is protocol
    assert made.segment(role) is not None


@CHOICES
def test_the_verbs_have_them_too(
    monkeypatch: pytest.MonkeyPatch,
    files: Path,
    machine: Path,
    words: list[str],
    protocol: BootProtocol,
    role: Role,
) -> None:
    fixed = ["plan", "--json", "--call", "segments", "--machine", str(machine)]
    code, out, err = run(monkeypatch, *fixed, str(files / words[0]), *words[1:])
    assert (code, err) == (0, "")
    made = checked(out)
    assert made["protocol"] == protocol
    assert role in [segment["role"] for segment in made["segments"]]


def test_a_verb_takes_several_modules(
    monkeypatch: pytest.MonkeyPatch, files: Path, machine: Path
) -> None:
    for name in ("first", "second"):
        (files / name).write_bytes(name.encode())
    fixed = ["plan", "--machine", str(machine), str(files / "both"), "--call", "segments"]
    modules = [f"--module={files / 'first'} and words", f"--module={files / 'second'}"]
    dump = files / "dump"
    code, _, err = run(monkeypatch, *fixed, *modules, "--dump", str(dump))
    assert (code, err) == (0, "")
    data = b"".join(path.read_bytes() for path in dump.glob("seg*.bin"))
    for text in (b"first\0", b"second", f"{files / 'first'} and words\0".encode()):
        assert text in data


def test_modules_come_with_their_words_and_unpacked(files: Path, machine: Path) -> None:
    (files / "first").write_bytes(b"one")
    (files / "second").write_bytes(gzip.compress(b"two"))
    first, second = f"{files / 'first'} with words", str(files / "second")
    made = planned(
        machine, str(files / "both"), "--module", first, f"--module={second}", "--append=a b"
    )
    modules, info = made.segment(Role.MODULES), made.segment(Role.MULTIBOOT_INFO)
    assert modules is not None
    assert info is not None
    data = bytes(modules.data)
    assert (data[:4], data[4096:4100]) == (b"one\0", b"two\0")
    assert made.cmdline == f"{files / 'both'} a b".encode()
    for text in (first, second):
        assert text.encode() + b"\0" in bytes(info.data)


def test_a_module_of_several_archives_comes_as_it_is(files: Path, machine: Path) -> None:
    archives = gzip.compress(b"one") + b"070701 another"
    (files / "initrd").write_bytes(archives)
    made = planned(machine, str(files / "both"), f"--module={files / 'initrd'} words")
    modules = made.segment(Role.MODULES)
    assert modules is not None
    assert bytes(modules.data[: len(archives)]) == archives


@pytest.mark.parametrize("text", ["", "no-such-file words"])
def test_a_module_that_is_not_there(files: Path, machine: Path, text: str) -> None:
    with pytest.raises(PykexecError, match="module"):
        planned(machine, str(files / "both"), f"--module={text}")


@pytest.mark.parametrize("call", ["-s", "-c", "-a"])
def test_a_type_is_insisted_on_with_either_call(files: Path, machine: Path, call: str) -> None:
    wrong = _load_options(parse(["-l", call, "-t", "multiboot-x86", str(files / "bzImage")]))
    with pytest.raises(ImageError, match="multiboot-x86 is wanted, and the file is of") as caught:
        make_plan(machine, wrong)
    assert caught.value.hint == "leave out -t (--type): the type is found out"
    right = _load_options(parse(["-l", call, "-t", "bzImage64", str(files / "bzImage")]))
    made = make_plan(machine, right)
    assert isinstance(made, SegmentPlan if call == "-c" else FileLoadPlan)


@pytest.mark.parametrize(
    ("file", "types"),
    [
        ("bzImage", {"bzImage", "bzImage64"}),
        ("vmlinux", {"elf-x86_64"}),
        ("elf32", {"elf-x86"}),
        ("both", {"multiboot-x86", "multiboot2-x86", "elf-x86"}),
    ],
)
def test_every_type_is_right_or_wrong(file: str, types: set[str]) -> None:
    right = set()
    for name in ARCHITECTURES["x86_64"].options.image_types:
        found = identify(FILES[file], "x86_64", format_of(name, "x86_64"))
        try:
            check_type(name, found, "x86_64")
        except ImageError:
            continue
        right.add(name)
    assert right == types


def test_real_mode_goes_before() -> None:
    options = _load_options(parse(["-l", "--entry-32bit", "--real-mode", "k"]))
    assert (options.entry_32bit, options.real_mode) == (True, True)


@pytest.mark.parametrize(
    ("words", "bits"),
    [
        ([], None),
        (["--elf32-core-headers"], 32),
        (["--elf32-core-headers", "--elf64-core-headers"], 64),
        (["--elf6", "--elf3"], 32),
    ],
)
def test_of_the_classes_of_a_core_header_the_last_one_counts(
    words: list[str], bits: int | None
) -> None:
    assert _load_options(parse(["-p", *words, "k"])).core_bits == bits


def test_they_are_for_kexec_load_only(files: Path, machine: Path) -> None:
    for words in (["--entry-32bit"], ["--real-mode"], ["--args-elf"], ["--module=x"]):
        options = _load_options(parse(["-l", "-s", str(files / "bzImage"), *words]))
        if words == ["--module=x"]:
            (files / "x").write_bytes(b"x")
            options = replace(options, modules=(str(files / "x"),))
        with pytest.raises(UsageError, match=f"{words[0].partition('=')[0]} cannot be honoured"):
            make_plan(machine, options)


@pytest.mark.parametrize(
    ("machine_name", "pointer_size", "numbers"),
    [
        ("x86_64", 8, (246, 320, 169)),
        ("x86_64", 4, (283, -1, 88)),
        ("i686", 4, (283, -1, 88)),
        # The personality linux32.
        ("i686", 8, (246, 320, 169)),
        ("i386", 4, (283, -1, 88)),
        ("aarch64", 8, (104, 294, 142)),
    ],
)
def test_the_numbers_are_the_programs(
    machine_name: str,
    pointer_size: int,
    numbers: tuple[int, int, int],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """A 32-bit program has its own, whatever the kernel is."""
    run_as(monkeypatch, machine_name)
    monkeypatch.setattr(syscalls, "_POINTER_SIZE", pointer_size)
    assert astuple(syscalls._numbers()) == numbers


@pytest.mark.parametrize(
    "word", ["--module=x", "--entry-32bit", "--real-mode", "--args-elf", "--args-none"]
)
def test_they_are_of_no_use_without_a_kernel(word: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["-u", word]) == 1
    name = word.partition("=")[0]
    assert f"{name} is of no use without a kernel to load" in capsys.readouterr().err
