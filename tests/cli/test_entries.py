"""``pykexec entries``, and ``--entry`` of plan and load."""

from __future__ import annotations

import gzip
from hashlib import sha256
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from pykexec.calls import syscalls
from pykexec.cli import kexec_compat, verb_options
from pykexec.cli.main import cli
from pykexec.errors import MachineError, UsageError
from pykexec.machine import boot_entries
from tests.builders.boot_configs import (
    CMDLINE,
    UUID,
    VERSIONS,
    debian_grub,
    debian_system,
    write_system,
)
from tests.builders.bzimage import KernelSpec, build_bzimage
from tests.builders.machines import build_machine
from tests.builders.multiboot import MultibootSpec, build_multiboot, header_1, header_2, tag
from tests.cli.stand_in import KEXEC_FILE_LOAD, KEXEC_LOAD, FakeLibc, run_as, stand_in
from tests.json_schemas import checked

KERNEL = build_bzimage(KernelSpec(payload_size=64 * 1024))
OLD = f"gnulinux-{VERSIONS[1]}-advanced-{UUID}"


@pytest.fixture
def system(tmp_path: Path) -> Path:
    root = debian_system(tmp_path / "system", default=f"gnulinux-advanced-{UUID}>{OLD}")
    return write_system(root, {f"/boot/vmlinuz-{version}": KERNEL for version in VERSIONS})


@pytest.fixture
def machine(tmp_path: Path) -> str:
    return str(build_machine(tmp_path / "machine", cmdline=b"root=/dev/running"))


def run(*words: str | Path) -> Result:
    return CliRunner().invoke(cli, [str(word) for word in words], catch_exceptions=False)


def plan(*words: str | Path) -> dict[str, object]:
    result = run("plan", "--json", *words)
    assert result.exit_code == 0, result.output
    value = checked(result.output)
    assert isinstance(value, dict)
    return value


def test_entries_are_listed(system: Path) -> None:
    result = run("entries", "--root", system)
    lines = result.output.splitlines()
    assert result.exit_code == 0
    # What can be copied is whole, however long.
    assert f"* entry:          gnulinux-advanced-{UUID}>{OLD}" in lines
    assert sum(line.startswith("  entry:") for line in lines) == 4


def test_entries_as_json(system: Path) -> None:
    value = checked(run("entries", "--root", system, "--json").output)
    assert value["schema"] == "pykexec.entries/1"
    assert value["default"] == f"gnulinux-advanced-{UUID}>{OLD}"
    (chosen,) = (entry for entry in value["entries"] if entry["default"])
    assert chosen["id"] == value["default"]
    assert chosen["cmdline"] == f"{CMDLINE} vt.handoff=7"
    assert chosen["kernel"] == str(system / f"boot/vmlinuz-{VERSIONS[1]}")
    assert len(chosen["initrds"]) == 2
    assert value["problems"] == []


def test_problems_are_told(system: Path) -> None:
    write_system(system, {"/boot/loader/entries/x.conf": "title x"})
    result = run("entries", "--root", system)
    assert "pykexec: /boot/loader/entries/x.conf, line 1: the entry ends" in result.output
    (system / f"boot/initrd.img-{VERSIONS[0]}").unlink()
    assert "missing:" in run("entries", "--root", system).output


def test_an_entry_for_32_bits_is_one_for_this_machine(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    entry = "title Old\nversion 6.1\narchitecture ia32\nlinux /old/linux\n"
    write_system(tmp_path, {"/boot/loader/entries/old.conf": entry, "/boot/old/linux": KERNEL})
    run_as(monkeypatch, "i686")
    assert "old" in run("entries", "--root", tmp_path).output
    run_as(monkeypatch, "x86_64")
    with pytest.raises(MachineError, match="there is no boot entry"):
        run("entries", "--root", tmp_path)


def test_nothing_to_list(tmp_path: Path) -> None:
    with pytest.raises(MachineError, match="there is no boot entry below"):
        run("entries", "--root", tmp_path)
    with pytest.raises(UsageError, match="--root: there is no directory"):
        run("entries", "--root", tmp_path / "nowhere")


def test_a_menu_that_starts_nothing_here(tmp_path: Path) -> None:
    root = write_system(
        tmp_path, {"/boot/grub/grub.cfg": "a | b\nmenuentry Windows { chainloader +1 }\n"}
    )
    with pytest.raises(MachineError) as caught:
        run("entries", "--root", root)
    assert "'Windows', which chainloads +1 and is no Linux kernel" in caught.value.message
    assert "/boot/grub/grub.cfg, line 1: '|' is not what" in caught.value.message


@pytest.mark.parametrize(
    ("name", "version"),
    [("default", VERSIONS[1]), (f"gnulinux-simple-{UUID}", VERSIONS[0]), (OLD, VERSIONS[1])],
)
def test_a_plan_for_an_entry(system: Path, machine: str, name: str, version: str) -> None:
    value = plan("--entry", name, "--root", system, "--machine", machine, "--append", "more")
    assert value["cmdline"] == f"{CMDLINE} vt.handoff=7 more"
    # The archives in a row, each at a multiple of four.
    initrd = b"early\0\0\0" + f"initrd {version}".encode()
    initrd += bytes(-len(initrd) % 4)
    assert value["initrd"] == {"size": len(initrd), "sha256": sha256(initrd).hexdigest()}
    notes = value["notes"]
    assert isinstance(notes, list)
    assert any(note.startswith("boot entry ") and "grub.cfg, line" in note for note in notes)


def test_an_initrd_given_goes_before_the_entrys(system: Path, machine: str, tmp_path: Path) -> None:
    own = tmp_path / "own"
    own.write_bytes(b"own")
    (system / "boot/early.cpio").unlink()
    (system / f"boot/initrd.img-{VERSIONS[1]}").unlink()
    words = ["--entry", "default", "--root", str(system), "--machine", machine]
    value = plan(*words, "--initrd", own)
    assert value["initrd"] == {"size": 3, "sha256": sha256(b"own").hexdigest()}
    with pytest.raises(MachineError, match=r"lacks /boot/early\.cpio: there is no such file, and "):
        plan(*words)


def test_an_entry_without_command_line(tmp_path: Path, machine: str) -> None:
    """Where a configuration says so, that is what is loaded."""
    files: dict[str, str | bytes] = {
        "/boot/grub/grub.cfg": "menuentry a { linux /boot/k }",
        "/boot/k": KERNEL,
    }
    root = write_system(tmp_path / "root", files)
    words = ["--entry", "a", "--root", str(root), "--machine", machine]
    value = plan(*words)
    assert value["cmdline"] == ""
    assert "the boot entry has no command line: --reuse-cmdline takes the running one" in str(value)
    assert plan(*words, "--reuse-cmdline")["cmdline"] == "root=/dev/running"


def test_bare_files_need_words(tmp_path: Path, machine: str) -> None:
    root = write_system(tmp_path / "root", {"/boot/vmlinuz-6.12": KERNEL})
    words = ["--entry", "6.12", "--root", str(root), "--machine", machine]
    with pytest.raises(MachineError, match=r"'vmlinuz-6\.12' is a bare file: no configuration"):
        plan(*words)
    assert plan(*words, "--reuse-cmdline")["cmdline"] == "root=/dev/running"
    assert plan(*words, "--append", "ro")["cmdline"] == "ro"
    assert plan(*words, "--append", "")["cmdline"] == ""
    # kernel-install(8) writes it for these very kernels.
    write_system(root, {"/etc/kernel/cmdline": "root=/dev/vda\n"})
    assert plan(*words)["cmdline"] == "root=/dev/vda"
    words[1] = "default"
    with pytest.raises(MachineError, match="no boot loader's configuration names one; there are"):
        plan(*words)


@pytest.mark.parametrize("word", ["root=$rootdev", "a=${b}"])
def test_a_default_with_a_variable_in_it(tmp_path: Path, machine: str, word: str) -> None:
    """GRUB does hand that over, quoted as it is; by default nobody wants it."""
    files: dict[str, str | bytes] = {
        "/boot/grub/grub.cfg": f"menuentry a {{ linux /boot/k '{word}' }}",
        "/boot/k": KERNEL,
    }
    words = ["--root", str(write_system(tmp_path / "root", files)), "--machine", machine]
    with pytest.raises(MachineError, match=r"has \$.* in its command line, which its boot loader"):
        plan("--entry", "default", *words)
    assert plan("--entry", "a", *words)["cmdline"] == word
    write_system(
        tmp_path / "root",
        {"/boot/grub/grub.cfg": "menuentry a { linux /boot/k 'rootpw=$6$ab$cd/$e a=5$' }"},
    )
    assert plan("--entry", "default", *words)["cmdline"] == '"rootpw=$6$ab$cd/$e a=5$"'


@pytest.mark.parametrize("verb", [["load"], ["crash", "load"], ["plan"], ["simulate"]])
def test_every_verb_tells_the_problems(
    monkeypatch: pytest.MonkeyPatch, system: Path, machine: str, verb: list[str]
) -> None:
    """Also where the entry is refused then."""
    stand_in(monkeypatch, Path(machine))
    said: list[str] = []
    monkeypatch.setattr(verb_options, "warn", said.append)
    write_system(system, {"/boot/grub/custom.cfg": "a | b\n"})
    with pytest.raises(MachineError, match="there is no boot entry 'nothing'"):
        run(*verb, "--entry", "nothing", "--root", system)
    assert said[0].startswith("/boot/grub/custom.cfg, line 1: '|' is not what")


@pytest.fixture
def below(monkeypatch: pytest.MonkeyPatch, system: Path, machine: str) -> Path:
    """The system of ``/``, for the drop-in."""
    stand_in(monkeypatch, Path(machine))
    read = boot_entries.read_boot_entries
    monkeypatch.setattr(boot_entries, "read_boot_entries", lambda root, arch: read(system, arch))
    return system


def test_the_drop_in_loads_an_entry(
    monkeypatch: pytest.MonkeyPatch, below: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    write_system(below, {"/boot/grub/custom.cfg": "a | b\n"})
    libc = FakeLibc()
    monkeypatch.setattr(syscalls, "_libc", libc)
    assert kexec_compat.main(["-l", "-y", "--entry=default"]) == 0
    assert [call[0] for call in libc.calls] == [KEXEC_FILE_LOAD]
    assert "kexec: /boot/grub/custom.cfg, line 1: '|' is not" in capsys.readouterr().err
    assert kexec_compat.main(["-l", "--dry-run=json", "--entry", OLD, "--append=more"]) == 0
    assert checked(capsys.readouterr().out)["cmdline"] == f"{CMDLINE} vt.handoff=7 more"


@pytest.mark.parametrize(
    ("words", "code", "said"),
    [
        (["-l", "--entry=nothing"], 255, "there is no boot entry 'nothing'"),
        # As for kexec(8): a kernel goes before, and a number is an address.
        (["-l", "--entry=0x100000"], 255, "No kernel specified"),
        (["-l", "--entry=default", "/vmlinuz"], 1, "--entry: 'default' is not an address"),
        (["-e", "--entry=default"], 1, "--entry: 'default' is not an address"),
    ],
)
def test_what_entry_means_to_the_drop_in(
    below: Path, capsys: pytest.CaptureFixture[str], words: list[str], code: int, said: str
) -> None:
    assert kexec_compat.main(words) == code
    assert said in capsys.readouterr().err


def test_a_device_tree_of_an_entry_is_told(tmp_path: Path, machine: str) -> None:
    files: dict[str, str | bytes] = {
        "/boot/extlinux/extlinux.conf": "label a\nlinux /boot/k\nfdt /boot/x.dtb\nappend ro",
        "/boot/k": KERNEL,
        "/boot/x.dtb": b"tree",
    }
    root = write_system(tmp_path / "root", files)
    value = plan("--entry", "a", "--root", root, "--machine", machine)
    assert f"names a device tree, {root}/boot/x.dtb: the running kernel's is handed" in str(value)
    # Since it is not taken, it need not be there.
    (root / "boot/x.dtb").unlink()
    assert "names a device tree, /boot/x.dtb:" in str(
        plan("--entry", "a", "--root", root, "--machine", machine)
    )


def test_what_excludes_each_other(system: Path, machine: str) -> None:
    words = ["--entry", "default", "--root", str(system), "--machine", machine]
    with pytest.raises(UsageError, match="--entry excludes a kernel, and '/vmlinuz' is one"):
        run("plan", "/vmlinuz", *words)
    with pytest.raises(UsageError, match="--reuse-cmdline and --entry exclude each other"):
        run("plan", "--reuse-cmdline", *words)


def test_a_default_that_cannot_be_loaded(tmp_path: Path, machine: str) -> None:
    text = "menuentry Windows { chainloader +1 }\n" + debian_grub()
    root = write_system(tmp_path / "root", {"/boot/grub/grub.cfg": text})
    with pytest.raises(MachineError, match=r"'Windows', which chainloads \+1 and is no"):
        run("plan", "--entry", "default", "--root", root, "--machine", machine)


@pytest.mark.parametrize("verb", [["plan"], ["load"], ["crash", "load"]])
def test_a_kernel_or_an_entry_is_needed(verb: list[str]) -> None:
    result = run(*verb)
    assert result.exit_code != 0
    assert "Missing argument 'KERNEL'" in result.output


def test_an_entry_is_loaded(monkeypatch: pytest.MonkeyPatch, system: Path, machine: str) -> None:
    stand_in(monkeypatch, Path(machine))
    libc = FakeLibc()
    monkeypatch.setattr(syscalls, "_libc", libc)
    result = run("load", "--entry", "default", "--root", system)
    assert result.output.startswith(
        f"loaded {system}/boot/vmlinuz-{VERSIONS[1]} by kexec_file_load"
    )
    assert [call[0] for call in libc.calls] == [KEXEC_FILE_LOAD]


XEN = """menuentry 'Debian, with Xen' --id xen {{
\t{loader} /boot/xen.gz placeholder dom0_mem=1G
\t{module} /boot/vmlinuz-6.1 placeholder root=/dev/sda1 ro
\t{module} --nounzip /boot/initrd.img-6.1
}}
"""


@pytest.mark.parametrize(
    ("loader", "module", "header"),
    [
        ("multiboot", "module", header_1(1)),
        ("multiboot2", "module2", header_2(tag(6))),
    ],
)
def test_xen_is_loaded_as_multiboot(
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
    machine: str,
    loader: str,
    module: str,
    header: bytes,
) -> None:
    """With its kernel and its initrd as modules, and the words that GRUB hands each of them."""
    packed = gzip.compress(b"initrd of the first domain")
    files: dict[str, str | bytes] = {
        "/boot/grub/grub.cfg": XEN.format(loader=loader, module=module),
        "/boot/xen.gz": gzip.compress(build_multiboot(MultibootSpec(header))),
        "/boot/vmlinuz-6.1": KERNEL,
        "/boot/initrd.img-6.1": packed,
    }
    root = write_system(tmp_path / "root", files)
    listed = run("entries", "--root", root).output.splitlines()
    assert f"  module:         {root}/boot/initrd.img-6.1" in listed
    assert "    with:         placeholder root=/dev/sda1 ro" in listed
    options = ["--entry", "default", "--root", str(root)]
    dump = tmp_path / "dump"
    value = plan(*options, "--machine", machine, "--dump", dump)
    assert value["cmdline"] == "placeholder dom0_mem=1G"
    data = {path.read_bytes() for path in dump.glob("seg*.bin")}
    (modules,) = (item for item in data if item.startswith(KERNEL[:512]))
    # As GRUB does with --nounzip, the initrd is handed over as it is.
    assert modules[len(KERNEL) + -len(KERNEL) % 4096 :].startswith(packed)
    (info,) = (item for item in data if b"placeholder dom0_mem=1G\0" in item)
    assert b"placeholder root=/dev/sda1 ro\0" in info
    assert b"/boot/" not in info
    stand_in(monkeypatch, Path(machine))
    libc = FakeLibc()
    monkeypatch.setattr(syscalls, "_libc", libc)
    result = run("load", *options, "--no-checks")
    assert result.exit_code == 0, result.output
    assert [call[0] for call in libc.calls] == [KEXEC_LOAD]


def test_problems_are_told_with_an_entry(system: Path, machine: str) -> None:
    write_system(system, {"/boot/grub/custom.cfg": "a | b\n"})
    result = run("plan", "--entry", "default", "--root", system, "--machine", machine)
    assert "pykexec: /boot/grub/custom.cfg, line 1: '|' is not what GRUB's grammar" in result.output
    assert result.exit_code == 0


def test_an_entry_that_cannot_be_loaded(tmp_path: Path, machine: str) -> None:
    text = "read name\nmenuentry a { linux /boot/k who=$name }\n"
    root = write_system(tmp_path / "root", {"/boot/grub/grub.cfg": text, "/boot/k": KERNEL})
    assert "not loadable:" in run("entries", "--root", root).output
    with pytest.raises(MachineError, match="cannot be loaded: only GRUB knows a part of the"):
        run("plan", "--entry", "a", "--root", root, "--machine", machine)
