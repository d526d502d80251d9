"""``pykexec crash setup``: doing a plan and undoing it, below a directory, with stand-ins."""

from __future__ import annotations

import os
from dataclasses import replace
from functools import partial
from pathlib import Path

import pytest

from pykexec.cli import crash_setup, setup_facts, setup_run
from pykexec.crash_setup import ordinary, steps
from pykexec.crash_setup.image import Packed
from pykexec.crash_setup.place import Link
from pykexec.crash_setup.steps import Manifest, Run, WriteFile
from pykexec.crash_setup.system import Generator
from pykexec.errors import PykexecError
from pykexec.loading import fadump
from tests.builders.fadump_machine import FadumpMachine
from tests.cli.test_pykexec import run
from tests.json_schemas import checked
from tests.unit.crash_setup.test_planner import SYSTEM


@pytest.fixture
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Return a directory for all that is written; commands are found in its bin."""
    state = tmp_path / "lib"
    for module, name, path in (
        (setup_run, "STATE", state),
        (setup_run, "CAPTURE", state / "capture"),
        (setup_run, "MANIFEST", state / "setup.json"),
        (setup_facts, "MANIFEST", state / "setup.json"),
        (steps, "MANIFEST", state / "setup.json"),
    ):
        monkeypatch.setattr(module, name, str(path))
    (tmp_path / "bin").mkdir()
    monkeypatch.setenv("PATH", f"{tmp_path}/bin:{os.environ['PATH']}")
    return tmp_path


def program(place: Path, name: str, text: str) -> None:
    path = place / "bin" / name
    path.write_text(f"#!/bin/sh\n{text}\n")
    path.chmod(0o755)


def test_files_commands_and_the_way_back(place: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """A command that follows a file runs when that has changed, and not else."""
    program(place, "menu", f"echo menu >>{place}/called")
    program(place, "systemctl", f'echo "systemctl $*" >>{place}/called')
    file = WriteFile(f"{place}/etc/own.cfg", b"# pykexec\n", "a file", 0o640)
    menu = f"{place}/bin/menu"
    todo = (file, Run((menu,), "a menu", (file.path,)))
    setup_run.run_steps(todo)
    setup_run.run_steps(todo)
    assert (place / "called").read_text() == "menu\n"
    assert (place / "etc/own.cfg").stat().st_mode & 0o777 == 0o640
    assert os.listdir(place / "etc") == ["own.cfg"]

    known = Manifest(((file.path, file.digest),), ("x.service",), (menu,), "crashkernel=1M")
    setup_run.keep_manifest(known)
    assert setup_facts.read_manifest() == known
    setup_run.undo(known)
    assert os.listdir(place / "etc") == []
    assert (place / "called").read_text() == "menu\nsystemctl disable --now x.service\nmenu\n"
    assert setup_facts.read_manifest() is None
    assert "removed" in capsys.readouterr().out


def test_what_was_changed_since_stays(place: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = place / "own.cfg"
    path.write_text("mine now\n")
    setup_run.undo(Manifest(((str(path), "00" * 32),)))
    assert path.exists()
    assert "was changed since, and stays" in capsys.readouterr().err


def test_an_image_is_there_whole_or_not_at_all(place: Path) -> None:
    image = place / "capture.img"
    image.write_text("old")
    program(place, "build", 'echo "half" >"$2"; echo "E: no space" >&2; exit 1')
    step = Run((f"{place}/bin/build", "-o", str(image)), "build it", makes=str(image))
    with pytest.raises(PykexecError, match="/build ended with 1, and was to build it") as caught:
        setup_run.run_steps([step])
    assert "E: no space" in caught.value.message
    assert (image.read_text(), sorted(os.listdir(place))) == ("old", ["bin", "capture.img"])

    program(place, "build", 'echo whole >"$2"')
    setup_run.run_steps([step])
    assert image.read_text() == "whole\n"
    assert image.stat().st_mode & 0o077 == 0


def test_nothing_of_an_earlier_image_is_packed(place: Path) -> None:
    old = place / "lib/capture/network"
    old.parent.mkdir(parents=True)
    old.touch()
    setup_run.build_image([WriteFile(f"{place}/lib/capture/modules", b"ext4\n", "x")])
    assert os.listdir(old.parent) == ["modules"]


def test_a_program_that_is_missing_is_named(place: Path) -> None:
    with pytest.raises(PykexecError, match="cannot run /no/such/program: No such file"):
        setup_run.run_steps([Run(("/no/such/program",), "x")])


def test_refused_with_every_reason(place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    bad = replace(SYSTEM, confined="a chroot", others=("kdump.service",))
    monkeypatch.setattr(setup_facts, "read_system", lambda *_: bad)
    for words in (("--yes",), ("--dry-run",), ()):
        code, _, err = run(monkeypatch, "crash", "setup", *words)
        assert code == 4
        assert "this is a chroot" in err
        assert "systemctl disable --now kdump.service" in err
    assert not (place / "lib").exists()


class TestWhereFirmwareTakesTheDump:
    """The saver goes into the ordinary initramfs, and no memory is reserved."""

    TARGET = ("--target", "ssh://root@nas/dumps")

    @pytest.fixture(autouse=True)
    def machine(self, place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        power = replace(SYSTEM, arch="ppc64le", by_firmware="firmware takes the dump")
        link = Link("eth0", "02:00", "192.0.2.1", "192.0.2.7/24", drivers=())
        monkeypatch.setattr(setup_facts, "read_system", lambda *_: power)
        monkeypatch.setattr(setup_facts, "find_link", lambda _: link)
        monkeypatch.setattr(setup_facts, "find_packed", lambda *_: Packed({"sh": "/bin/sh"}))

    def test_what_would_be_done(self, monkeypatch: pytest.MonkeyPatch) -> None:
        code, out, err = run(monkeypatch, "crash", "setup", "--dry-run", *self.TARGET)
        assert (code, err) == (0, "")
        assert "$ update-initramfs -u -k all\n" in out
        assert "/etc/initramfs-tools/hooks/pykexec-capture" in out
        assert "note: firmware takes the dump here (fadump): no crash kernel is loaded" in out
        assert "crashkernel=" not in out
        assert "CAPTURE_FINAL=reboot\n" in out

    def test_going_on(self, monkeypatch: pytest.MonkeyPatch) -> None:
        words = ("--dry-run", *self.TARGET, "--final", "continue")
        _, out, _ = run(monkeypatch, "crash", "setup", *words)
        assert "CAPTURE_FINAL=continue\n    CAPTURE_FAILURE=continue\n" in out
        _, out, _ = run(monkeypatch, "crash", "setup", *words[:-1], "halt")
        assert "CAPTURE_FINAL=halt\n    CAPTURE_FAILURE=reboot\n" in out

    def test_going_on_where_rtas_would_be_lost(
        self, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
    ) -> None:
        here = FadumpMachine(tmp_path / "here").build()
        rtas = "sys/firmware/devicetree/base/rtas"
        here.write(f"{rtas}/linux,rtas-base", (0x2FFFF000).to_bytes(4, "big"))
        here.write(f"{rtas}/rtas-size", (0x1000).to_bytes(4, "big"))
        monkeypatch.setattr(fadump, "fadump_status", partial(fadump.fadump_status, str(here.path)))
        words = ("--dry-run", *self.TARGET, "--final", "continue")
        note = "note: RTAS lies at 0x2ffff000-0x2fffffff, behind the boot memory"
        _, out, _ = run(monkeypatch, "crash", "setup", *words)
        assert note in " ".join(out.split())
        _, out, _ = run(monkeypatch, "crash", "setup", *words[:-1], "reboot")
        assert note not in " ".join(out.split())
        here.reserved = 0x300011B0
        here.write_state()
        _, out, _ = run(monkeypatch, "crash", "setup", *words)
        assert note not in " ".join(out.split())

    def test_dracut_without_the_module(self, monkeypatch: pytest.MonkeyPatch) -> None:
        power = replace(SYSTEM, by_firmware="x", generator=Generator.DRACUT)
        monkeypatch.setattr(setup_facts, "read_system", lambda *_: power)
        monkeypatch.setattr(ordinary, "DRACUT_MODULE", "/no/such/module")
        code, _, err = run(monkeypatch, "crash", "setup", "--dry-run", *self.TARGET)
        assert (code, "there is no /no/such/module" in err) == (4, True)

    def test_no_image_of_its_own(self, monkeypatch: pytest.MonkeyPatch) -> None:
        setup_run.keep_manifest(Manifest(target="there"))
        code, _, err = run(monkeypatch, "crash", "setup", "--build", "6.12")
        assert (code, "the ordinary initramfs has what saves the dump" in err) == (4, True)


def test_a_crash_kernel_does_not_go_on(place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(setup_facts, "read_system", lambda *_: SYSTEM)
    code, _, err = run(monkeypatch, "crash", "setup", "--dry-run", "--final", "continue")
    assert code == 4
    assert "--final continue: a crash kernel has too little memory to go on booting" in err


KNOWN = "# Host nas found: line 3\n|1|salt|hash ssh-ed25519 AAAA\nnas ecdsa-sha2-nistp256 BBBB\n"


def test_the_key_of_a_host(place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Packed as it is known here; an unknown one is refused, and never asked for."""
    monkeypatch.setattr(os.path, "expanduser", lambda _: str(place))
    with pytest.raises(PykexecError) as refused:
        setup_facts.known_host("nas")
    assert str(refused.value) == "the key of the host nas is not known here"
    assert refused.value.hint is not None
    assert "ssh-keyscan nas >>/root/.ssh/known_hosts" in refused.value.hint
    assert refused.value.exit_code == steps.EXIT_REFUSED
    (place / ".ssh").mkdir()
    (place / ".ssh/known_hosts").touch()
    program(place, "ssh-keygen", f'[ "$1 $2" = "-F nas" ] && printf %s "{KNOWN}"')
    assert setup_facts.known_host("nas").decode() == KNOWN.partition("\n")[2]


@pytest.mark.parametrize("words", [("--yes", "--check"), ("--undo", "--dry-run")])
def test_one_thing_at_a_time(monkeypatch: pytest.MonkeyPatch, words: tuple[str, ...]) -> None:
    code, _, err = run(monkeypatch, "crash", "setup", *words)
    assert code == 1
    assert "exclude each other" in err


def test_nothing_to_check_undo_or_build(place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert run(monkeypatch, "crash", "setup", "--check")[0] == 1
    assert run(monkeypatch, "crash", "setup", "--undo")[0] == 0
    assert run(monkeypatch, "crash", "setup", "--build", "6.12")[0] == 4


def test_a_check_on_this_machine(place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whatever machine the tests run on: it has no capture initramfs there."""
    setup_run.keep_manifest(Manifest(directory="/var/crash", target="/var/crash"))
    code, out, _ = run(monkeypatch, "crash", "setup", "--check")
    assert code == 1
    assert "capture_image" in out
    assert out.endswith("not ready\n")
    program(place, "systemctl", "echo activating")
    out = " ".join(run(monkeypatch, "crash", "setup", "--check")[1].split())
    assert "pykexec-kdump.service is loading it at present do: call this again in a moment" in out


def test_the_words_for_the_capture_kernel_are_those_of_the_service() -> None:
    conf = Path(__file__).resolve().parents[2] / "contrib/kdump/kdump.conf"
    assert f'KDUMP_APPEND="{crash_setup.KDUMP_APPEND}"' in conf.read_text()


PANIC = "Kernel panic - not syncing: Fatal exception"


@pytest.fixture
def dumped(place: Path) -> Path:
    """Return the directory of a dump that a cut has ended, on a machine that is set up."""
    dump = place / "crash/127.0.0.1-2026-01-31-12:00:00"
    dump.mkdir(parents=True)
    (dump / "status").write_text("state=saving\nlog=vmcore-dmesg.txt\ncore=vmcore-incomplete\n")
    (dump / "vmcore-dmesg.txt").write_text(f"[1] {PANIC}\n")
    (dump / "vmcore-incomplete").write_bytes(bytes(4096))
    # Another's, and an older one.
    (place / "crash/202601311200").mkdir()
    older = place / "crash/127.0.0.1-2026-01-30-12:00:00"
    older.mkdir()
    (older / "status").write_text("state=complete\ncore=vmcore\n")
    os.utime(older, (0, 0))
    setup_run.keep_manifest(Manifest(directory=str(place / "crash"), target="there"))
    return dump


def test_the_last_dump_by_its_own_word(dumped: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    _, out, _ = run(monkeypatch, "crash", "status")
    said = " ".join(out.split())
    assert "dumps go to: there last dump: " in said
    assert "broken off while the memory was being saved; the log is in vmcore-dmesg.txt" in said
    assert f"vmcore-incomplete is not whole, 4 KiB; {PANIC}" in said


def test_the_last_dump_for_programs(dumped: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    value = checked(run(monkeypatch, "crash", "status", "--json")[1])["dumps"]
    assert (value["target"], value["directory"], value["problem"]) == (
        "there",
        str(dumped.parent),
        "",
    )
    last = value["last"]
    assert (last["path"], last["state"], last["core"]) == (
        str(dumped),
        "saving",
        "vmcore-incomplete",
    )
    assert (last["core_size"], last["panic"]) == (4096, PANIC)


def test_what_did_not_come_to_the_disk(dumped: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The saver writes down what it is about to write: a cut may come in between."""
    (dumped / "vmcore-incomplete").unlink()
    last = checked(run(monkeypatch, "crash", "status", "--json")[1])["dumps"]["last"]
    assert (last["core"], last["core_size"]) == ("none", None)
    assert last["summary"].endswith("the log is in vmcore-dmesg.txt, there is no core")


def test_no_dump_yet(place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert checked(run(monkeypatch, "crash", "status", "--json")[1])["dumps"] is None
    setup_run.keep_manifest(Manifest(directory=str(place / "crash"), target="there"))
    value = checked(run(monkeypatch, "crash", "status", "--json")[1])["dumps"]
    assert (value["last"], value["problem"]) == (None, "")
    assert "last dump:        none" in run(monkeypatch, "crash", "status")[1]


def test_of_dumps_elsewhere_nobody_can_tell(place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    setup_run.keep_manifest(Manifest(target="nfs host:/export"))
    value = checked(run(monkeypatch, "crash", "status", "--json")[1])["dumps"]
    assert (value["last"], value["directory"]) == (None, None)
    assert value["problem"] == "dumps are not kept on this machine"
    (place / "lib/setup.json").write_text("{")
    value = checked(run(monkeypatch, "crash", "status", "--json")[1])["dumps"]
    assert value["last"] is None
    assert "setup.json" in value["problem"]
