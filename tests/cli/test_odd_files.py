"""Whatever a verb is given in place of a file: one line, at once."""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

from pykexec.cli.main import cli
from pykexec.crash.status import FileDigest, Freshness
from pykexec.errors import PykexecError, UsageError
from pykexec.loading.crash_record import judge_image
from pykexec.machine.crash_state import read_crash_state
from pykexec.render.diff import parse_other
from tests.builders.bzimage import KernelSpec, build_bzimage
from tests.builders.machines import MachineDirectory, build_machine

Words = Callable[[Path, str, str], list[str]]

PLACES: dict[str, Words] = {
    "kernel": lambda odd, _kernel, box: ["plan", str(odd), "--machine", box],
    "initrd": lambda odd, kernel, box: ["plan", kernel, "--machine", box, "--initrd", str(odd)],
    "device tree": lambda odd, kernel, box: ["plan", kernel, "--machine", box, "--dtb", str(odd)],
    "module": lambda odd, kernel, box: ["plan", kernel, "--machine", box, "--module", str(odd)],
    "diff": lambda odd, kernel, box: [
        *("plan", kernel, "--machine", box, "--call", "segments", "--diff", str(odd))
    ],
    "machine": lambda odd, kernel, _: ["plan", kernel, "--machine", str(odd)],
    "inspect": lambda odd, _kernel, _box: ["inspect", str(odd)],
    "estimate": lambda odd, _kernel, box: ["crash", "estimate", "--machine", box, str(odd)],
    "dump": lambda odd, _kernel, _box: ["crash", "dmesg", str(odd)],
}


# A dump may lie on a device: /dev/zero is refused for what is in it.
ODD = [(place, kind) for place in PLACES for kind in ("FIFO", "/dev/zero")]
ODD.remove(("dump", "/dev/zero"))


@pytest.mark.parametrize(("place", "kind"), ODD)
def test_nothing_is_waited_for(place: str, kind: str, tmp_path: Path) -> None:
    kernel = tmp_path / "vmlinuz"
    kernel.write_bytes(build_bzimage(KernelSpec(payload_size=64 << 10)))
    odd = tmp_path / "odd"
    if kind == "FIFO":
        os.mkfifo(odd)
    else:
        odd.symlink_to(kind)
    words = PLACES[place](odd, str(kernel), str(build_machine(tmp_path / "box")))
    with pytest.raises(PykexecError, match=r"no (?:regular file|core), but"):
        CliRunner().invoke(cli, words, catch_exceptions=False)


def test_a_dump_that_is_a_directory(tmp_path: Path) -> None:
    with pytest.raises(PykexecError, match="no core, but a directory") as caught:
        CliRunner().invoke(cli, ["crash", "dmesg", str(tmp_path)], catch_exceptions=False)
    assert str(tmp_path) in caught.value.message
    assert caught.value.hint


@pytest.mark.parametrize("name", ["plan.json", "seg00.bin"])
def test_a_dumped_plan_is_of_files(name: str, tmp_path: Path) -> None:
    kernel, dump = tmp_path / "vmlinuz", tmp_path / "dump"
    kernel.write_bytes(build_bzimage(KernelSpec(payload_size=64 << 10)))
    box = str(build_machine(tmp_path / "box"))
    words = ["plan", str(kernel), "--machine", box, "--call", "segments", "--dump", str(dump)]
    assert CliRunner().invoke(cli, words, catch_exceptions=False).exit_code == 0
    (dump / name).unlink()
    os.mkfifo(dump / name)
    with pytest.raises(PykexecError, match="no regular file, but a FIFO"):
        CliRunner().invoke(cli, ["simulate", str(dump)], catch_exceptions=False)


def test_an_entry_that_is_a_fifo_is_a_problem_told(tmp_path: Path) -> None:
    place = tmp_path / "boot/EFI/Linux"
    place.mkdir(parents=True)
    os.mkfifo(place / "x.efi")
    (tmp_path / "boot/vmlinuz-1").write_bytes(build_bzimage(KernelSpec(payload_size=64 << 10)))
    result = CliRunner().invoke(cli, ["entries", "--root", str(tmp_path)], catch_exceptions=False)
    shown = " ".join(result.output.split())
    assert "cannot read /boot/EFI/Linux/x.efi: no regular file, but a FIFO" in shown


@pytest.mark.parametrize("path", ["/../secret", "/boot/../../secret", "/boot/link"])
def test_what_a_record_names_is_below_it(path: str, tmp_path: Path) -> None:
    (tmp_path / "secret").write_text("secret")
    machine = MachineDirectory(build_machine(tmp_path / "box"))
    machine.write("boot/x", b"")
    (machine.path / "boot/link").symlink_to(tmp_path / "secret")
    digest: dict[str, Any] = {"path": path, "size": 6, "sha256": "0"}
    record = {
        "schema": "pykexec.crash-load/1",
        **dict.fromkeys(("time", "boot_id", "kernel_release", "call", "cmdline", "cpus"), ""),
        "kernel": digest,
        "memory": {"sha256": "", "ram": 0, "ranges": 0},
    }
    machine.write("run/pykexec/crash.json", json.dumps(record).encode())
    machine.write("sys/kernel/kexec_crash_loaded", b"1\n")
    machine.write("proc/sys/kernel/random/boot_id", b"\n")
    found = judge_image(read_crash_state(machine.path), str(machine.path))
    (kernel,) = [item for item in found.findings if item.what == "kernel"]
    assert kernel.freshness is Freshness.UNKNOWN
    assert "no name of a file below it" in kernel.detail or "a symbolic link" in kernel.detail
    assert FileDigest(**digest).path == path


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ('{"schema": "pykexec.plan/1", "notes": 1.5}', "notes is 1.5, a list of texts"),
        ('{"schema": "pykexec.plan/1", "told": [{"name": 1}]}', r"told\[0\].name is 1, a text"),
        ('{"schema": "pykexec.plan/1", "kernel": {"size": true}}', "kernel.size is True"),
        ('{"schema": "pykexec.plan/1", "layout": []}', "layout is"),
        ("[" * 100_000, "nested more than 32 deep"),
        (f"kexec_load: entry = 0x1 flags = 0\nsegment[{'9' * 5000}].mem = 0x1", "of number '9"),
        (f"kexec_load: entry = 0x1 flags = 0\nsegment[0].mem = 0x{'1' * 5000}", "64 bits"),
    ],
)
def test_plans_to_compare_with(text: str, reason: str) -> None:
    with pytest.raises(UsageError, match=reason) as caught:
        parse_other(text, "x")
    assert len(caught.value.message) < 200
