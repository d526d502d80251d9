"""The layout beneath a plan for kexec_file_load, in every form that it is shown in."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import pytest

from pykexec.machine.files import MachineFiles
from pykexec.values.units import MIB
from tests.builders.bzimage import KernelSpec, build_bzimage
from tests.builders.images import build_image
from tests.builders.machines import build_machine
from tests.cli.test_doctor import OPEN, region
from tests.cli.test_pykexec import MACHINES, run
from tests.json_schemas import checked, validate
from tests.unit.test_initramfs import archive

APPEND = ("--append", "root=/dev/vda1")
SEED = ("--seed", "x")


@pytest.fixture
def kernel(tmp_path: Path) -> str:
    path = tmp_path / "vmlinuz"
    path.write_bytes(build_bzimage(KernelSpec(payload_size=64 * 1024)))
    return str(path)


@pytest.fixture
def initrd(tmp_path: Path) -> str:
    path = tmp_path / "initrd.img"
    path.write_bytes(archive(5000, 3))
    return str(path)


@pytest.fixture
def machine(tmp_path: Path) -> str:
    return str(build_machine(tmp_path / "machine", firmware_map=True, kernel=OPEN))


def as_json(monkeypatch: pytest.MonkeyPatch, *words: str) -> dict[str, Any]:
    code, out, err = run(monkeypatch, *words, "--json")
    assert (code, err) == (0, "")
    value: dict[str, Any] = checked(out)
    validate(value)
    return value


def joined(text: str) -> str:
    """Return the text with its lines put together again."""
    return " ".join(text.split())


def test_it_is_what_the_other_call_would_do(
    monkeypatch: pytest.MonkeyPatch, kernel: str, initrd: str, machine: str
) -> None:
    """To the digest of each segment."""
    words = ["plan", kernel, "--initrd", initrd, *APPEND, *SEED, "--machine", machine]
    value = as_json(monkeypatch, *words)
    other = as_json(monkeypatch, *words, "--call", "segments")
    assert value["syscall"] == "kexec_file_load"
    assert (value["segments"], value["entry"], value["no_layout"]) == ([], None, None)
    assert value["image"] == "bzImage 6.99.0-synthetic"
    layout = value["layout"]
    assert other.pop("notes")[0].startswith("kexec_load: it was asked for")
    assert layout.pop("notes") == []
    assert value.pop("doctor")["verdict"] == other.pop("doctor")["verdict"]
    assert layout == other


def test_the_text(monkeypatch: pytest.MonkeyPatch, kernel: str, initrd: str, machine: str) -> None:
    words = ["plan", kernel, "--initrd", initrd, *APPEND, *SEED, "--machine", machine]
    code, out, err = run(monkeypatch, *words)
    assert (code, err) == (0, "")
    assert out.isascii()
    assert max(map(len, out.splitlines())) <= 80
    above, below = out.split("For comparison, the layout that kexec_load")
    assert "Plan: normal load by kexec_file_load, x86_64\n" in above
    assert "Kernel:   bzImage 6.99.0-synthetic, 78 KiB\n" in above
    assert "  kernel: the highest that is left, not below 0x1000000 (pref_address), a" in above
    assert "the highest System RAM" in joined(above)  # Linux 6.12
    assert "It is not what this load does" in joined(below)
    other = run(monkeypatch, *words, "--call", "segments")[1]
    start, end = other.index("Segments: "), other.index("Checked: ")
    assert other[start:end] in below
    assert out.endswith("verdict: nothing is known to block a normal load\n")


def test_older_kernels_begin_at_the_other_end(
    monkeypatch: pytest.MonkeyPatch, kernel: str, tmp_path: Path
) -> None:
    for release, words in (
        ("6.7.9-amd64", "each goes to the lowest System RAM"),
        ("", "from Linux 6.8 on each goes to the highest System RAM"),
        ("6.17.0", "a CMA area with room for a segment comes first"),
    ):
        machine = build_machine(tmp_path / f"m{release}", kernel=replace(OPEN, release=release))
        out = run(monkeypatch, "plan", kernel, "--machine", str(machine))[1]
        assert words in joined(out)
        out = run(monkeypatch, "plan", kernel, "--machine", str(machine), "--no-cma")[1]
        assert "CMA area" not in out


def test_explain(monkeypatch: pytest.MonkeyPatch, kernel: str, initrd: str, machine: str) -> None:
    words = ["plan", kernel, "--initrd", initrd, *SEED, "--machine", machine]
    code, out, err = run(monkeypatch, *words, "--explain", "initrd")
    assert (code, err) == (0, "")
    assert max(map(len, out.splitlines())) <= 80
    head, _, rest = out.partition("\n\n")
    assert head.startswith("This load goes by kexec_file_load, where the running kernel chooses")
    assert "initrd to the highest that is left, not below 16 MiB." in joined(head)
    assert rest == run(monkeypatch, *words, "--call", "segments", "--explain", "initrd")[1]
    value = as_json(monkeypatch, *words, "--explain", "initrd")
    other = as_json(monkeypatch, *words, "--explain", "initrd", "--call", "segments")
    assert (value["syscall"], other["syscall"]) == ("kexec_file_load", "kexec_load")
    assert value["kernel_rule"] == "the highest that is left, not below 16 MiB"
    differing = {key for key in value if value[key] != other[key]}
    assert differing == {"syscall", "kernel_rule"}


def test_the_picture(
    monkeypatch: pytest.MonkeyPatch, kernel: str, initrd: str, machine: str, tmp_path: Path
) -> None:
    words = ["plan", kernel, "--initrd", initrd, *SEED, "--machine", machine]
    drawn = []
    for call in ("file", "segments"):
        file = tmp_path / f"{call}.svg"
        assert run(monkeypatch, *words, "--call", call, "--svg", str(file))[0] == 0
        drawn.append(["".join(item.itertext()) for item in ElementTree.parse(file).iter()])
    by_file, by_segments = drawn
    assert by_file[2] == "normal load by kexec_file_load, x86_64"
    assert any("Drawn is what kexec_load would do" in item for item in by_file)
    assert by_segments[3:] == by_file[5:]


def test_dump_and_diff(
    monkeypatch: pytest.MonkeyPatch, kernel: str, initrd: str, machine: str, tmp_path: Path
) -> None:
    words = ["plan", kernel, *APPEND, "--machine", machine]
    full = [*words, "--initrd", initrd]
    assert run(monkeypatch, *full, *SEED, "--dump", str(tmp_path / "file"))[0] == 0
    call = ("--call", "segments")
    assert run(monkeypatch, *full, *SEED, *call, "--dump", str(tmp_path / "segments"))[0] == 0
    for index in range(5):
        name = f"seg{index:02d}.bin"
        assert (tmp_path / "file" / name).read_bytes() == (
            tmp_path / "segments" / name
        ).read_bytes()
    other = str(tmp_path / "file/plan.json")
    assert run(monkeypatch, *full, "--diff", other)[:2] == (0, f"No difference to {other}.\n")
    code, out, _ = run(monkeypatch, *words, "--diff", other)
    assert code == 1
    assert "  - initrd: " in out
    assert "  - layout: segment initrd: at 0x" in out
    assert "layout: segment kernel" not in out


def test_without_a_layout_there_is_a_plan(
    monkeypatch: pytest.MonkeyPatch, kernel: str, tmp_path: Path
) -> None:
    """Where only the running kernel may find room, for it asks another list."""
    machine = str(build_machine(tmp_path / "m", iomem="00001000-01ffffff : System RAM\n"))
    words = ["plan", kernel, "--machine", machine]
    code, out, err = run(monkeypatch, *words)
    assert (code, err) == (0, "")
    assert max(map(len, out.splitlines())) <= 80
    line = "No layout of kexec_load to show: cannot place kernel: need 32 MiB"
    assert line in out
    assert joined(out).count("cannot place kernel") == 2  # and the doctor calls it a risk
    value = as_json(monkeypatch, *words)
    assert value["layout"] is None
    assert value["no_layout"]["message"].startswith("cannot place kernel: need 32 MiB")
    assert value["no_layout"]["hint"]
    code, out, err = run(monkeypatch, *words, "--explain", "kernel")
    assert code == 255
    assert "No place for kernel:" in out
    assert "--explain: there is no layout of kexec_load: cannot place kernel" in err
    code, out, err = run(monkeypatch, *words, "--explain", "kernel", "--json")
    assert code == 255
    validate(checked(out))


def test_a_crash_load(monkeypatch: pytest.MonkeyPatch, kernel: str, initrd: str) -> None:
    name = "x86_64-6.12-bios-crashkernel"
    words = ["plan", kernel, "--crash", "--initrd", initrd, *APPEND, *SEED]
    words += ["--machine", str(MACHINES / name)]
    value = as_json(monkeypatch, *words)
    other = as_json(monkeypatch, *words, "--call", "segments")
    assert value["syscall"] == "kexec_file_load"
    assert value["layout"]["segments"] == other["segments"]
    assert "elfcorehdr" in [rule["role"] for rule in value["placement"]]
    assert value["placement"][0]["rule"].startswith("everything lies inside the crash region")


def test_a_crash_load_of_which_too_little_is_known(
    monkeypatch: pytest.MonkeyPatch, kernel: str, tmp_path: Path
) -> None:
    """Its core header is the running kernel's to make; for a layout of ours the notes lack."""
    machine = build_machine(tmp_path / "m", kernel=OPEN, children=[region(256 * MIB)])
    value = as_json(monkeypatch, "plan", kernel, "--crash", "--machine", str(machine))
    assert value["layout"] is None
    assert value["no_layout"]["message"]


def test_arm64(monkeypatch: pytest.MonkeyPatch, initrd: str, tmp_path: Path) -> None:
    kernel = tmp_path / "Image"
    kernel.write_bytes(build_image())
    words = ["plan", str(kernel), "--initrd", initrd, *APPEND, *SEED]
    words += ["--machine", str(MACHINES / "aarch64-6.12-tree-1G")]
    value = as_json(monkeypatch, *words)
    other = as_json(monkeypatch, *words, "--call", "segments")
    assert value["syscall"] == "kexec_file_load"
    assert value["layout"]["segments"] == other["segments"]
    assert [rule["role"] for rule in value["placement"]] == [None, "kernel", "initrd", "dtb"]
    out = run(monkeypatch, *words)[1]
    assert "in memory that nothing was reserved in" in joined(out)


@pytest.fixture
def hidden(tmp_path: Path) -> str:
    """What a user without privileges is shown."""
    state = replace(OPEN, effective_capabilities=0)
    machine = build_machine(tmp_path / "h", iomem="0-0 : System RAM\n", kernel=state, efi=True)
    return str(machine)


HINT = "hint: run as root, or plan for a recorded machine with --machine DIR\n"


def test_what_needs_no_addresses_needs_no_privileges(
    monkeypatch: pytest.MonkeyPatch, kernel: str, initrd: str, hidden: str
) -> None:
    words = ["plan", kernel, "--initrd", initrd, *APPEND, "--machine", hidden]
    code, out, err = run(monkeypatch, *words)
    assert (code, err) == (0, "")
    assert max(map(len, out.splitlines())) <= 80
    assert "Kernel:   bzImage 6.99.0-synthetic, 78 KiB\n" in out
    assert "  kexec_file_load: nothing asked for needs kexec_load" in out
    assert "No layout of kexec_load to show: " in joined(out)
    assert joined(out).count("shows only zeros as addresses") == 1
    assert HINT in out
    assert out.endswith("verdict: a normal load is blocked: capability\n")
    value = as_json(monkeypatch, *words)
    assert value["no_layout"]["hint"] == HINT[6:-1]
    assert as_json(monkeypatch, *words, "--crash")["placement"][0]["role"] is None


@pytest.mark.parametrize(
    "words", [["--explain", "kernel"], ["--svg", "x.svg"], ["--call", "segments", "--json"]]
)
def test_what_needs_addresses_says_so(
    monkeypatch: pytest.MonkeyPatch, kernel: str, hidden: str, tmp_path: Path, words: list[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    code, out, err = run(monkeypatch, "plan", kernel, "--machine", hidden, *words)
    assert code == 255
    if "--json" in words:
        assert checked(out)["error"] == "HiddenMemoryError"
    else:
        assert out == ""
    assert f"{hidden}/proc/iomem shows only zeros as addresses" in err
    assert err.endswith(HINT)
    assert not (tmp_path / "x.svg").exists()


def test_a_load_that_needs_addresses_is_told_of_as_far_as_it_goes(
    monkeypatch: pytest.MonkeyPatch, kernel: str, hidden: str
) -> None:
    words = ["plan", kernel, *APPEND, "--machine", hidden, "--mem-max", "0x7fffffff"]
    code, out, err = run(monkeypatch, *words)
    assert code == 255
    assert out == (
        "Plan: normal load by kexec_load, x86_64, without addresses\n\n"
        "Kernel:   bzImage 6.99.0-synthetic, 78 KiB\nInitrd:   none\n"
        "Command line, 14 bytes:\n  root=/dev/vda1\n\n"
        "Notes:\n  kexec_load: only this call honours --mem-max\n"
    )
    assert err.endswith(HINT)


def test_a_map_that_may_not_be_read_is_hidden_too(
    monkeypatch: pytest.MonkeyPatch, kernel: str, hidden: str
) -> None:
    def denied(files: MachineFiles, name: str) -> bytes:
        if name == "proc/iomem":
            raise PermissionError(13, "Permission denied")
        return load(files, name)

    load = MachineFiles.load
    monkeypatch.setattr(MachineFiles, "load", denied)
    value = as_json(monkeypatch, "plan", kernel, "--machine", hidden)
    assert (
        "iomem, needed for the layout of physical memory: Permission"
        in (value["no_layout"]["message"])
    )
