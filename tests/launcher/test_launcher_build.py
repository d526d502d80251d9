"""launcher/build_launchers.py: the launchers are what the sources give, and what they are."""

from __future__ import annotations

import io
import os
import platform
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from elftools.elf.dynamic import DynamicSegment
from elftools.elf.elffile import ELFFile

from pykexec import launchers
from pykexec.errors import MachineError, OptionError
from tests.needs import unavailable
from tests.toolchain import but_for_the_compiler

ROOT = Path(__file__).resolve().parents[2]
MACHINES = {
    "aarch64": "EM_AARCH64",
    "arm": "EM_ARM",
    "i386": "EM_386",
    "loongarch64": "EM_LOONGARCH",
    "ppc64le": "EM_PPC64",
    "riscv64": "EM_RISCV",
    "s390x": "EM_S390",
    "x86_64": "EM_X86_64",
}


def build(tree: Path, *arguments: str, **env: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, str(tree / "launcher/build_launchers.py"), *arguments],
        env=os.environ | env,
        capture_output=True,
        text=True,
        check=False,
    )


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    """A copy of the sources, at a path of its own."""
    for name in ("launcher", "purgatory", "pykexec"):
        ignore = shutil.ignore_patterns("__pycache__")
        shutil.copytree(ROOT / name, tmp_path / name, ignore=ignore)
    return tmp_path


@pytest.mark.usefixtures("clang")
def test_launchers_are_current() -> None:
    result = build(ROOT, "--check")
    assert result.returncode == 0, result.stderr


def words(preparation: str) -> str:
    """The words that are built in, as a Python says them after ``preparation``."""
    program = f"{preparation}; import texts; print(texts.header())"
    path = os.pathsep.join([str(ROOT / "launcher"), str(ROOT)])
    result = subprocess.run(
        [sys.executable, "-c", program],
        env=os.environ | {"PYTHONPATH": path},
        capture_output=True,
        text=True,
        check=True,
    )
    return result.stdout


def test_words_do_not_depend_on_what_errors_python_knows() -> None:
    """3.14 has the name EHWPOISON, which Pythons before it lack."""
    fewer = "import errno; errno.errorcode.pop(133, None)"
    more = "import errno; errno.errorcode[133] = 'EHWPOISON'"
    assert words(fewer) == words(more)


@pytest.mark.usefixtures("own_clang")
def test_directory_and_environment_make_no_difference(tree: Path, tmp_path: Path) -> None:
    (tmp_path / "stdint.h").write_text("#error taken from the environment\n")
    out = tmp_path / "out"
    result = build(tree, "--out", str(out), CFLAGS="-O0", CPATH=str(tmp_path), LC_ALL="C")
    assert result.returncode == 0, result.stderr
    names = {path.name for path in out.iterdir()}
    assert names == {*(f"{name}.elf" for name in MACHINES), "MANIFEST.json"}
    for name in names:
        made, checked_in = ((place / name).read_bytes() for place in (out, launchers.DIRECTORY))
        assert but_for_the_compiler(made) == but_for_the_compiler(checked_in)


@pytest.mark.usefixtures("own_clang")
@pytest.mark.parametrize(
    ("path", "old", "new", "named"),
    [
        pytest.param(
            *("launcher/common/jump.c", "0x45584543", "0x1234567", "x86_64.elf differs"),
            marks=pytest.mark.full,
        ),
        pytest.param(
            *("launcher/arch/generic/calls.h", "CALL_SYNC 81", "CALL_SYNC 82"),
            "aarch64.elf differs",
            marks=pytest.mark.full,
        ),
        ("pykexec/cli/jump.py", "no kernel is loaded", "nothing is loaded", "i386.elf differs"),
        ("launcher/include/jump.h", "Leaves for", "Goes to", "MANIFEST.json differs"),
    ],
)
def test_check_notices_a_changed_source(
    tree: Path, path: str, old: str, new: str, named: str
) -> None:
    """What Python says is a source of the launcher's."""
    text = (tree / path).read_text()
    assert old in text
    (tree / path).write_text(text.replace(old, new))
    result = build(tree, "--check")
    assert result.returncode == 1
    assert named in result.stderr
    assert result.stderr.endswith("run python launcher/build_launchers.py\n")


@pytest.mark.usefixtures("clang")
def test_what_nobody_would_relocate_is_refused(tree: Path) -> None:
    source = tree / "launcher/common/launcher.c"
    source.write_text(source.read_text() + "__attribute__((used, retain)) void *there = &there;\n")
    result = build(tree, "--out", str(tree / "out"))
    assert result.returncode == 1
    assert "relocations are left: 1 in .rela.dyn" in result.stderr


@pytest.mark.parametrize("arch", MACHINES)
def test_it_needs_nothing(arch: str) -> None:
    image = launchers.load(arch)
    assert len(image) < 16 << 10
    elf = ELFFile(io.BytesIO(image))
    assert (elf["e_machine"], elf["e_type"]) == (MACHINES[arch], "ET_DYN")
    segments = {segment["p_type"]: segment for segment in elf.iter_segments()}
    assert "PT_INTERP" not in segments
    assert not segments["PT_GNU_STACK"]["p_flags"] & 1
    writable = [s for s in elf.iter_segments() if s["p_type"] == "PT_LOAD" and s["p_flags"] & 2]
    assert not any(segment["p_flags"] & 1 for segment in writable)
    dynamic = segments["PT_DYNAMIC"]
    assert isinstance(dynamic, DynamicSegment)
    assert not any(tag.entry.d_tag == "DT_NEEDED" for tag in dynamic.iter_tags())


def test_an_architecture_without_one() -> None:
    with pytest.raises(OptionError, match="no launcher for 'sparc64'"):
        launchers.load("sparc64")


def test_a_damaged_launcher(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    copy = tmp_path / "launchers"
    shutil.copytree(launchers.DIRECTORY, copy)
    (copy / "x86_64.elf").write_bytes(b"\x7fELF")
    monkeypatch.setattr(launchers, "DIRECTORY", copy)
    with pytest.raises(MachineError, match=r"cannot use the launcher .*x86_64\.elf: 4 bytes, not"):
        launchers.load.__wrapped__("x86_64")


@pytest.mark.parametrize("path", [None, "/opt/it's here"])
def test_the_script_enters_pykexec(path: str | None) -> None:
    text = launchers.script(door="vmcore_dmesg", path=path)
    first, *rest = text.splitlines()
    assert first == "#!/usr/bin/python3 -IB"
    assert rest[-1] == "vmcore_dmesg()"
    compile(text, "script", "exec")
    assert (path is None) is ("sys" not in text)


def test_those_who_copy_programs_see_that_it_is_static(tmp_path: Path) -> None:
    """As dracut's and mkinitcpio's ways to find the libraries of a program do."""
    if platform.machine() != "x86_64":
        unavailable("the dynamic linker of another architecture knows nothing of it")
    program = tmp_path / "kexec"
    program.write_bytes(launchers.load("x86_64"))
    program.chmod(0o755)
    result = subprocess.run(["/usr/bin/ldd", program], capture_output=True, text=True, check=False)
    assert "statically linked" in result.stdout + result.stderr
