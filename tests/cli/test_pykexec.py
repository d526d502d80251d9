"""``pykexec``: what its verbs print, write and refuse, on recorded machines."""

from __future__ import annotations

import io
import json
import os
import subprocess
import sys
from contextlib import redirect_stderr, redirect_stdout
from hashlib import sha256
from pathlib import Path

import pytest

from pykexec.calls import syscalls
from pykexec.cli import main as front
from pykexec.errors import MissingLibraryError
from pykexec.formats.compression import Codec
from pykexec.values.kernel_state import KernelState
from pykexec.values.memory import IomemEntry
from pykexec.values.ranges import Range
from pykexec.values.units import MIB
from tests.builders.bzimage import KernelSpec, build_bzimage
from tests.builders.compressed import compress
from tests.builders.images import build_image, build_uki
from tests.builders.machines import build_machine
from tests.cli.stand_in import KEXEC_FILE_LOAD, KEXEC_LOAD, FakeLibc, stand_in
from tests.json_schemas import checked

MACHINES = Path(__file__).parents[1] / "data" / "machines"
KERNEL = build_bzimage(KernelSpec(payload_size=64 * 1024))


@pytest.fixture
def kernel(tmp_path: Path) -> str:
    path = tmp_path / "vmlinuz"
    path.write_bytes(KERNEL)
    return str(path)


@pytest.fixture
def machine(tmp_path: Path) -> str:
    return str(build_machine(tmp_path / "machine", firmware_map=True))


def run(monkeypatch: pytest.MonkeyPatch, *words: str) -> tuple[int, str, str]:
    """Run the front door with these words; returns exit code, stdout and stderr."""
    monkeypatch.setattr("sys.argv", ["pykexec", *words])
    # Not click's own streams: which of them there are is not the same in all its versions.
    out, err = io.BytesIO(), io.BytesIO()
    with (
        redirect_stdout(io.TextIOWrapper(out, "utf-8", write_through=True)),
        redirect_stderr(io.TextIOWrapper(err, "utf-8", write_through=True)),
    ):
        code = front.main()
        return code, out.getvalue().decode(), err.getvalue().decode()


def test_a_plan_fits_80_columns(monkeypatch: pytest.MonkeyPatch, kernel: str, machine: str) -> None:
    long = "root=UUID=" + "0123456789abcdef" * 8 + " " + "word " * 40
    words = ["plan", kernel, "--call", "segments", "--machine", machine, "--append", long]
    code, out, err = run(monkeypatch, *words)
    assert (code, err) == (0, "")
    assert max(map(len, out.splitlines())) <= 80
    assert "purgatory" in out
    assert "System RAM" in out


def test_a_full_disk_behind_stdout(kernel: str, machine: str) -> None:
    words = ["-m", "pykexec.cli.main", "plan", kernel, "--machine", machine]
    with open("/dev/full", "wb") as full:
        done = subprocess.run(
            [sys.executable, *words], stdout=full, stderr=subprocess.PIPE, check=False
        )
    message = b"pykexec: cannot write the output: No space left on device\n"
    assert (done.returncode, done.stderr) == (255, message)


def test_json_and_dump_say_the_same(
    monkeypatch: pytest.MonkeyPatch, kernel: str, machine: str, tmp_path: Path
) -> None:
    initrd = tmp_path / "initrd"
    initrd.write_bytes(b"initrd" * 1000)
    dump = tmp_path / "dump"
    words = ["--machine", machine, "--initrd", str(initrd), "--json", "--dump", str(dump)]
    code, out, _ = run(monkeypatch, "plan", kernel, "--call", "segments", *words)
    assert code == 0
    value = checked(out)
    assert json.loads((dump / "plan.json").read_text()) == value
    assert (value["schema"], value["syscall"], value["target"]) == (
        "pykexec.plan/1",
        "kexec_load",
        "normal",
    )
    for index, segment in enumerate(value["segments"]):
        data = (dump / f"seg{index:02d}.bin").read_bytes()
        assert len(data) == segment["bufsz"] <= segment["memsz"]
        assert sha256(data).hexdigest() == segment["sha256"]
    places = [int(segment["mem"], 16) for segment in value["segments"]]
    assert places == sorted(places)
    assert set(value["checks"].values()) == {"ok"}


def test_reuse_cmdline_takes_the_recorded_machines(
    monkeypatch: pytest.MonkeyPatch, kernel: str, tmp_path: Path
) -> None:
    machine = build_machine(tmp_path / "m", cmdline=b"BOOT_IMAGE=/v root=/dev/vda1")
    words = ["--machine", str(machine), "--reuse-cmdline", "--append", "quiet", "--json"]
    _, out, _ = run(monkeypatch, "plan", kernel, *words)
    value = checked(out)
    assert value["cmdline"] == "root=/dev/vda1 quiet"
    assert "not reused of it: BOOT_IMAGE=/v" in value["notes"]


def test_inspect(monkeypatch: pytest.MonkeyPatch, kernel: str) -> None:
    code, out, _ = run(monkeypatch, "inspect", kernel, "--json")
    assert code == 0
    value = checked(out)
    assert (value["format"], value["protocol"], value["init_size"]) == ("bzImage", "2.15", 32 * MIB)
    assert run(monkeypatch, "inspect", kernel)[1].startswith("format:            bzImage")


def test_inspect_shows_what_a_kernel_for_any_machine_is_wrapped_in(
    monkeypatch: pytest.MonkeyPatch, kernel: str
) -> None:
    Path(kernel).write_bytes(compress(Codec.GZIP, build_uki(build_image(), (".cmdline", b"ro"))))
    value = checked(run(monkeypatch, "inspect", kernel, "--json")[1])
    assert [wrapping["name"] for wrapping in value["wrappings"]] == ["gzip", "UKI"]
    assert (value["arch"], value["uki"]["cmdline"]) == ("aarch64", "ro")
    text = run(monkeypatch, "inspect", kernel)[1]
    assert text.startswith("wrapped in:        gzip\nwrapped in:        UKI\nformat:            Im")


def test_a_plan_says_what_of_a_uki_is_used(
    monkeypatch: pytest.MonkeyPatch, kernel: str, machine: str
) -> None:
    Path(kernel).write_bytes(build_uki(KERNEL, (".cmdline", b"ro"), (".initrd", b"initrd")))
    code, out, _ = run(monkeypatch, "plan", kernel, "--machine", machine, "--json")
    value = checked(out)
    assert (code, value["cmdline"]) == (0, "ro")
    assert value["notes"][-3:] == [
        "the kernel is taken out of UKI",
        "the initrd is the UKI's",
        "the command line is the UKI's",
    ]


def test_a_missing_library_is_told_with_the_kernels_name(
    monkeypatch: pytest.MonkeyPatch, kernel: str
) -> None:
    def missing(name: str) -> None:
        raise MissingLibraryError(f"{name} is missing", hint="install it")

    monkeypatch.setattr("pykexec.formats.codec_libraries.library", missing)
    Path(kernel).write_bytes(compress(Codec.ZSTD, KERNEL))
    err = refuse(monkeypatch, "inspect", kernel)
    assert err == f"pykexec: kernel {kernel!r}: libzstd.so.1 is missing\nhint: install it\n"


def test_a_kernel_that_is_none_is_named(monkeypatch: pytest.MonkeyPatch, kernel: str) -> None:
    Path(kernel).write_bytes(KERNEL[:1000])
    err = refuse(monkeypatch, "inspect", kernel)
    assert err.startswith(f"pykexec: kernel '{kernel}': truncated in the setup sectors")


def test_crash_dmesg_is_vmcore_dmesg(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    asked: list[tuple[str, tuple[str, ...], dict[str, bool]]] = []
    monkeypatch.setattr(
        "pykexec.cli.vmcore_dmesg.print_log",
        lambda program, paths, **how: asked.append((program, tuple(paths), how)),
    )
    assert run(monkeypatch, "crash", "dmesg", "core", "-l", "--utf8")[0] == 0
    assert run(monkeypatch, "crash", "dmesg", "1", "2")[0] == 0
    assert run(monkeypatch, "crash", "dmesg")[0] == 0
    neither = {"level": False, "caller": False, "utf8": False}
    assert asked == [
        ("pykexec", ("core",), {"level": True, "caller": False, "utf8": True}),
        ("pykexec", ("1", "2"), neither),
        ("pykexec", ("/proc/vmcore",), neither),
    ]


def test_status_names_shut_gates(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    state = KernelState("6.12", loaded=True, crash_loaded=False, lockdown="integrity")
    machine = build_machine(tmp_path / "m", kernel=state)
    code, out, _ = run(monkeypatch, "status", "--machine", str(machine), "--json")
    value = checked(out)
    assert code == 0
    assert (value["loaded"], value["crash_loaded"]) == (True, False)
    assert "locked down" in value["shut_gates"][0]
    text = run(monkeypatch, "status", "--machine", str(machine))[1]
    assert "normal image:    loaded" in text


def refuse(monkeypatch: pytest.MonkeyPatch, *words: str) -> str:
    code, out, err = run(monkeypatch, *words)
    assert code == 255
    assert out == ""
    assert err.startswith("pykexec: ")
    return err


@pytest.mark.parametrize("what", ["kernel", "initrd"])
def test_files_that_cannot_be_used(
    monkeypatch: pytest.MonkeyPatch, kernel: str, machine: str, tmp_path: Path, what: str
) -> None:
    empty = tmp_path / "empty"
    empty.touch()
    for path, words in (
        (str(tmp_path / "missing"), f"cannot open {what} '{tmp_path}/missing': No such file"),
        (str(empty), f"{what} '{empty}' is empty (0 bytes)"),
        (str(tmp_path), f"{what} '{tmp_path}' is a directory"),
        ("/dev/null", f"{what} '/dev/null': no regular file, but a character device"),
    ):
        given = [path] if what == "kernel" else [kernel, "--initrd", path]
        assert words in refuse(monkeypatch, "plan", *given, "--machine", machine)


def test_a_file_without_read_permission(
    monkeypatch: pytest.MonkeyPatch, kernel: str, machine: str
) -> None:
    Path(kernel).chmod(0)
    own = os.geteuid()
    if own == 0:  # root may read everything
        os.seteuid(65534)
    try:
        err = refuse(monkeypatch, "inspect", kernel)
    finally:
        os.seteuid(own)
    assert f"cannot read kernel '{kernel}': Permission denied" in err
    assert "hint: run as root" in err


def test_no_room_names_the_segment_and_the_ranges(
    monkeypatch: pytest.MonkeyPatch, kernel: str, tmp_path: Path
) -> None:
    machine = build_machine(tmp_path / "m", ram=[Range(MIB, 64 * MIB)])
    big = tmp_path / "big"
    with big.open("wb") as stream:
        stream.truncate(256 * MIB)
    words = ["--call", "segments", "--initrd", str(big), "--machine", str(machine)]
    err = refuse(monkeypatch, "plan", kernel, *words)
    assert "cannot place initrd: need 256 MiB" in err
    assert "largest free range there is" in err
    assert "hint: " in err


def test_a_map_of_zeros_names_the_privilege(
    monkeypatch: pytest.MonkeyPatch, kernel: str, tmp_path: Path
) -> None:
    zeros = "00000000-00000000 : Reserved\n00000000-00000000 : System RAM\n"
    machine = build_machine(tmp_path / "m", iomem=zeros)
    words = ("--machine", str(machine), "--call", "segments", "--json")
    code, out, err = run(monkeypatch, "plan", kernel, *words)
    assert (code, checked(out)["error"]) == (255, "HiddenMemoryError")
    assert "CAP_SYS_ADMIN" in err


def test_a_map_malformed_in_the_middle_names_the_line(
    monkeypatch: pytest.MonkeyPatch, kernel: str, tmp_path: Path
) -> None:
    text = "00001000-0009fbff : System RAM\nnonsense\n00100000-3fffffff : System RAM\n"
    machine = build_machine(tmp_path / "m", iomem=text)
    err = refuse(monkeypatch, "plan", kernel, "--machine", str(machine))
    assert "line 2" in err
    assert "nonsense" in err


def test_a_crash_region_is_left_alone(
    monkeypatch: pytest.MonkeyPatch, kernel: str, tmp_path: Path
) -> None:
    crash = IomemEntry(Range(0x180000000, 0x200000000), "Crash kernel")
    machine = build_machine(tmp_path / "m", children=[crash])
    words = ["--call", "segments", "--machine", str(machine), "--json"]
    _, out, _ = run(monkeypatch, "plan", kernel, *words)
    assert checked(out)["segments"]
    for segment in checked(out)["segments"]:
        place = Range.sized(int(segment["mem"], 16), segment["memsz"])
        assert not place.overlaps(crash.range)


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--mem-min", "1G"], "--mem-min: '1G' is not an address"),
        (["--mem-max=-1"], "--mem-max: '-1' is not an address"),
        (["--mem-max", "0x10000000000000000"], "is not an address"),
    ],
)
def test_bad_addresses_are_wrong_usage(
    monkeypatch: pytest.MonkeyPatch, kernel: str, machine: str, words: list[str], message: str
) -> None:
    code, _, err = run(monkeypatch, "plan", kernel, "--machine", machine, *words)
    assert code == 1
    assert message in err


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--serial", "ttyS9"], "--serial: 'ttyS9' is no serial port"),
        (["--serial", "0x10000"], "is no serial port"),
        (["--serial-baud", "0"], "--serial-baud: '0' is no speed"),
        (["--serial-baud", "14401"], "is no speed"),
    ],
)
def test_bad_serial_options(
    monkeypatch: pytest.MonkeyPatch, kernel: str, machine: str, words: list[str], message: str
) -> None:
    assert message in refuse(monkeypatch, "plan", kernel, "--machine", machine, *words)


def test_a_dump_that_cannot_be_written(
    monkeypatch: pytest.MonkeyPatch, kernel: str, machine: str
) -> None:
    words = ["plan", kernel, "--machine", machine, "--dump", kernel]
    assert "cannot write the dump" in refuse(monkeypatch, *words)


def test_the_verbs_that_load_and_unload(
    monkeypatch: pytest.MonkeyPatch, kernel: str, machine: str
) -> None:
    libc = FakeLibc()
    monkeypatch.setattr(syscalls, "_libc", libc)
    stand_in(monkeypatch, Path(machine))
    for words, number, flags, says in (
        (["load", kernel], KEXEC_FILE_LOAD, 0x4, "by kexec_file_load; the next orderly reboot"),
        (["load", kernel, "--call", "segments"], KEXEC_LOAD, 0x3E0000, "by kexec_load: 4 segments"),
        (["crash", "load", kernel, "--no-cma"], KEXEC_FILE_LOAD, 0x16, "a panic jumps into it"),
        (["unload"], KEXEC_LOAD, 0x3E0000, ""),
        (["unload", "--crash"], KEXEC_LOAD, 0x3E0001, ""),
    ):
        libc.calls.clear()
        code, out, err = run(monkeypatch, *words)
        assert (code, err) == (0, "")
        assert says in out
        assert [(call[0], call[-1]) for call in libc.calls] == [(number, flags)]


def test_a_plan_for_the_file_call(
    monkeypatch: pytest.MonkeyPatch, kernel: str, machine: str, tmp_path: Path
) -> None:
    dump = tmp_path / "dump"
    words = ["plan", kernel, "--machine", machine, "--crash", "--json", "--dump", str(dump)]
    code, out, _ = run(monkeypatch, *words)
    assert code == 0
    value = checked(out)
    assert (value["syscall"], value["target"], value["flags"]) == (
        "kexec_file_load",
        "crash",
        "0x6",
    )
    assert [path.name for path in dump.iterdir()] == ["plan.json"]


def test_version_and_help(monkeypatch: pytest.MonkeyPatch) -> None:
    from pykexec import __version__

    assert __version__ in run(monkeypatch, "--version")[1]
    code, out, _ = run(monkeypatch, "plan", "--help")
    assert code == 0
    assert "--mem-min ADDR" in out
    assert run(monkeypatch, "plan")[0] == 1


@pytest.mark.parametrize("arch", ["x86_64", "aarch64"])
def test_a_seed_makes_plans_the_same(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, arch: str
) -> None:
    if arch == "x86_64":
        machine, image = build_machine(tmp_path / "machine"), KERNEL
    else:
        machine, image = MACHINES / "aarch64-6.12-tree-1G", build_image()
    file = tmp_path / "kernel"
    file.write_bytes(image)
    words = ["plan", str(file), "--call", "segments", "--machine", str(machine), "--json"]

    def digests(*more: str) -> list[str]:
        code, out, err = run(monkeypatch, *words, *more)
        assert (code, err) == (0, "")
        return [segment["sha256"] for segment in checked(out)["segments"]]

    assert digests("--seed", "1") == digests("--seed", "1")
    assert digests("--seed", "1") != digests("--seed", "2")
    assert digests() != digests()


def test_no_load_takes_a_known_seed(monkeypatch: pytest.MonkeyPatch, kernel: str) -> None:
    for verb in (["load"], ["crash", "load"]):
        code, _, err = run(monkeypatch, *verb, kernel, "--seed", "1")
        assert code == 1
        assert "No such option" in err
