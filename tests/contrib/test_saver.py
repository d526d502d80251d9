"""The script that saves a dump in the capture initramfs: on a root of files, with stand-ins.

The shell, coreutils and the pipes are real; what would touch the machine is not: mount, reboot, and
the file by which the kernel is told to end.
"""

from __future__ import annotations

import hashlib
import os
import shutil
import signal
import subprocess
import time
from pathlib import Path

import pytest

from pykexec import capture_files
from pykexec.crash.captured import Captured, State, parse_status
from tests.needs import need_root

SAVE = Path(capture_files.__file__).with_name("save")
CORE = bytes(range(256)) * 1024
UUID = "0a1b"
LOG = b"[ 1.0] Kernel panic - not syncing: sysrq triggered crash\n"
DUMPER = """
case $1 in
--dump-dmesg) printf '%s' "$LOG" >"$3" ;;
-F) shift; echo flat; cat "$3" ;;
*) cat "$3" >"$4" ;;
esac
"""
"""makedumpfile, called as ``-d 31 CORE FILE``."""
MOUNT = 'for point; do :; done; rmdir "$point"; ln -s "$TARGET" "$point"'
UMOUNT = 'rm "$1"'
ENDS = 'echo "${0##*/} $*" >>"$PYKEXEC_ROOT/ended"; kill -9 $PPID'


class Capture:
    """A capture kernel's initramfs, and the file system that the dump goes to."""

    def __init__(self, place: Path) -> None:
        self.root = place / "root"
        self.target = place / "target"
        self._bin = place / "bin"
        for directory in (self.target, self._bin, *(self.root / name for name in (
            "proc", "run", "dev/disk/by-uuid", "etc"))):  # fmt: skip
            directory.mkdir(parents=True)
        (self.root / "proc/vmcore").write_bytes(CORE)
        (self.root / "proc/uptime").symlink_to("/proc/uptime")
        (self.root / "proc/diskstats").write_text("8 0 sda 1 0 8 0 1 0 8 0 0 0 0\n")
        for name in ("proc/sysrq-trigger", "dev/kmsg", f"dev/disk/by-uuid/{UUID}"):
            (self.root / name).touch()
        self.program("mount", MOUNT)
        self.program("umount", UMOUNT)
        self.program("makedumpfile", DUMPER)
        for name in ("reboot", "halt", "poweroff"):
            self.program(name, ENDS)
        self.settings = {
            "TARGET": "local",
            "DEVICE": f"UUID={UUID}",
            "FSTYPE": "ext4",
            "PATH": "/var/crash",
            "MAKEDUMPFILE": "-d 31",
            "WAIT": "1",
        }

    def program(self, name: str, text: str) -> None:
        """Put a stand-in on the path of the script."""
        path = self._bin / name
        path.write_text(f"#!/bin/sh\n{text}\n")
        path.chmod(0o755)

    def start(self, *before: str) -> subprocess.Popen[bytes]:
        lines = [f"CAPTURE_{name}='{value}'\n" for name, value in self.settings.items()]
        (self.root / "etc/pykexec-capture.conf").write_text("".join(lines))
        return subprocess.Popen(
            [*before, "sh", str(SAVE)],
            env={
                "PATH": f"{self._bin}:/usr/sbin:/usr/bin:/sbin:/bin",
                "PYKEXEC_ROOT": str(self.root),
                "TARGET": str(self.target),
                "LOG": LOG.decode(),
            },
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )

    def run(self, *before: str) -> str:
        """Run it to its end, which is that of the machine; returns how that was."""
        process = self.start(*before)
        said, _ = process.communicate(timeout=60)
        ended = self.root / "ended"
        assert ended.exists(), said.decode() + (self.root / "dev/kmsg").read_text()
        return ended.read_text().strip()

    @property
    def said(self) -> str:
        return (self.root / "run/pykexec-capture/log").read_text()

    def dump(self, path: str = "var/crash") -> Path:
        (found,) = (self.target / path).iterdir()
        return found

    def status(self) -> Captured:
        found = parse_status((self.dump() / "status").read_bytes())
        assert found is not None
        return found


@pytest.fixture
def capture(tmp_path: Path) -> Capture:
    return Capture(tmp_path)


def files_of(directory: Path) -> set[str]:
    return {path.name for path in directory.iterdir()}


def test_the_log_the_memory_the_checksum(capture: Capture) -> None:
    assert capture.run() == "reboot -f"
    dump = capture.dump()
    assert dump.name.startswith("127.0.0.1-20")
    assert files_of(dump) == {"vmcore", "vmcore-dmesg.txt", "SHA256SUMS", "status", "capture.log"}
    assert (dump / "vmcore").read_bytes() == CORE
    assert (dump / "vmcore-dmesg.txt").read_bytes() == LOG
    digest = hashlib.sha256(CORE).hexdigest()
    assert (dump / "SHA256SUMS").read_text() == f"{digest}  vmcore\n"
    release = os.uname().release
    expected = Captured(State.COMPLETE, release, "vmcore-dmesg.txt", "vmcore", "makedumpfile -d 31")
    assert capture.status() == expected
    assert all(path.stat().st_mode & 0o077 == 0 for path in dump.iterdir())
    # Unmounted, before the machine ends.
    assert not (capture.root / "run/pykexec-capture/target").is_symlink()


def test_no_crash_no_dump(capture: Capture) -> None:
    (capture.root / "proc/vmcore").write_bytes(b"")
    process = capture.start()
    said, _ = process.communicate(timeout=30)
    assert (process.returncode, said, list(capture.target.iterdir())) == (0, b"", [])


def test_the_action_is_the_configured_one(capture: Capture) -> None:
    capture.settings |= {"FINAL": "poweroff", "FAILURE": "halt"}
    assert capture.run() == "poweroff -f"


class TestGoingOn:
    """Where firmware has taken the dump, the boot may go on behind it."""

    @pytest.fixture(params=["fadump/release_mem", "fadump_release_mem"])
    def release(self, capture: Capture, request: pytest.FixtureRequest) -> Path:
        capture.settings |= {"FINAL": "continue", "FAILURE": "continue"}
        file: Path = capture.root / "sys/kernel" / request.param
        file.parent.mkdir(parents=True)
        os.mkfifo(file)
        return file

    def goes_on(self, process: subprocess.Popen[bytes], capture: Capture) -> None:
        said, _ = process.communicate(timeout=60)
        assert (process.returncode, (capture.root / "ended").exists()) == (0, False), said

    def until_saved(self, capture: Capture) -> None:
        deadline = time.monotonic() + 60
        while time.monotonic() < deadline:
            for status in capture.target.glob("var/crash/*/status"):
                found = parse_status(status.read_bytes())
                if found is not None and found.state is State.COMPLETE:
                    return
            time.sleep(0.02)
        pytest.fail("nothing was saved")

    def test_the_memory_of_a_saved_dump_is_released(self, capture: Capture, release: Path) -> None:
        process = capture.start()
        self.until_saved(capture)
        # As the kernel does it before the write comes back.
        (capture.root / "proc/vmcore").unlink()
        assert release.read_bytes() == b"1\n"
        self.goes_on(process, capture)
        assert (capture.dump() / "vmcore").read_bytes() == CORE
        assert "the memory is released, and the boot goes on" in capture.said
        assert not (capture.root / "run/pykexec-capture/target").is_symlink()

    def rtas(self, capture: Capture, base: int, reserved: str) -> None:
        """Say where RTAS lies, and how much memory is reserved for a dump."""
        tree = capture.root / "proc/device-tree/rtas"
        tree.mkdir(parents=True)
        (tree / "linux,rtas-base").write_bytes(base.to_bytes(4, "big"))
        (capture.root / "sys/kernel/fadump").mkdir(parents=True, exist_ok=True)
        (capture.root / "sys/kernel/fadump/mem_reserved").write_text(reserved)

    @pytest.mark.parametrize(("base", "reserved"), [(0x2FFFF000, "335548848\n"), (0x2FFFF000, "")])
    def test_the_memory_of_rtas_is_not_released(
        self, capture: Capture, release: Path, base: int, reserved: str
    ) -> None:
        """Nobody reads here what is written into the pipe, and nothing is."""
        self.rtas(capture, base, reserved)
        capture.start().communicate(timeout=60)
        assert (capture.root / "ended").read_text() == "reboot -f\n"
        assert "RTAS lies in the memory that would be released" in capture.said
        assert "the boot cannot go on from here: reboot" in capture.said

    def test_rtas_in_the_boot_memory(self, capture: Capture, release: Path) -> None:
        self.rtas(capture, 0x2FFFF000, f"{0x300011B0}\n")
        process = capture.start()
        self.until_saved(capture)
        (capture.root / "proc/vmcore").unlink()
        assert release.read_bytes() == b"1\n"
        self.goes_on(process, capture)

    def test_one_that_was_not_saved_stays(self, capture: Capture, release: Path) -> None:
        """Nobody reads here what is written into the pipe, and nothing is."""
        capture.program("mount", "exit 32")
        self.goes_on(capture.start(), capture)
        assert "the dump is in /proc/vmcore until its release" in capture.said

    def test_memory_that_is_not_released(self, capture: Capture, release: Path) -> None:
        process = capture.start()
        self.until_saved(capture)
        assert release.read_bytes() == b"1\n"
        process.communicate(timeout=60)
        assert (capture.root / "ended").read_text() == "reboot -f\n"
        assert "the boot cannot go on from here: reboot" in capture.said


def test_a_crash_kernel_does_not_go_on(capture: Capture) -> None:
    capture.settings |= {"FINAL": "continue"}
    assert capture.run() == "reboot -f"
    assert "the boot cannot go on from here: reboot" in capture.said


def test_a_dumper_that_fails_makes_way_for_a_copy(capture: Capture) -> None:
    capture.program("makedumpfile", 'echo "cannot" >&2; exit 1')
    assert capture.run() == "reboot -f"
    assert (capture.dump() / "vmcore").read_bytes() == CORE
    assert capture.status().method == "copy"
    assert capture.status().log == "none"
    assert "the log could not be read" in capture.said


def test_a_copy_leaves_holes_where_zeros_are(capture: Capture) -> None:
    capture.settings["MAKEDUMPFILE"] = ""
    (capture.root / "proc/vmcore").write_bytes(CORE + bytes(1 << 20))
    assert capture.run() == "reboot -f"
    core = capture.dump() / "vmcore"
    assert core.read_bytes() == CORE + bytes(1 << 20)
    assert core.stat().st_blocks * 512 < 1 << 20


def test_two_crashes_in_one_second(capture: Capture) -> None:
    capture.program("date", "echo 2026-01-31-12:00:00")
    for expected in (1, 2):
        capture.run()
        assert len(list((capture.target / "var/crash").iterdir())) == expected
    names = sorted(files_of(capture.target / "var/crash"))
    assert names == ["127.0.0.1-2026-01-31-12:00:00", "127.0.0.1-2026-01-31-12:00:00.1"]


def test_a_device_that_does_not_come(capture: Capture) -> None:
    capture.settings |= {"DEVICE": "UUID=none", "FAILURE": "poweroff"}
    assert capture.run() == "poweroff -f"
    assert "UUID=none has not appeared in 1 seconds" in capture.said


def test_a_file_system_that_cannot_be_mounted(capture: Capture) -> None:
    capture.program("mount", "exit 32")
    assert capture.run() == "reboot -f"
    assert "cannot be mounted as ext4" in capture.said


@pytest.mark.parametrize(
    ("number", "action"), [(signal.SIGTERM, "reboot -f"), (signal.SIGKILL, "")]
)
def test_cut_in_the_middle_it_says_so(capture: Capture, number: int, action: str) -> None:
    """After a signal it ends the machine by itself; power that goes does not wait for that."""
    capture.program(
        "makedumpfile",
        f'{DUMPER.replace("cat", "head -c 1000", 3)}\n[ "$1" = --dump-dmesg ] || sleep 60',
    )
    process = capture.start()
    deadline = time.monotonic() + 30
    while not list(capture.target.glob("var/crash/*/vmcore-incomplete")):
        assert time.monotonic() < deadline
        time.sleep(0.02)
    # With all that it has started: a shell waits for that.
    os.killpg(process.pid, number)
    process.communicate(timeout=30)
    assert files_of(capture.dump()) >= {"vmcore-incomplete", "vmcore-dmesg.txt", "status"}
    if action:
        assert (capture.root / "ended").read_text().strip() == action
    else:
        assert capture.status().state is State.SAVING
        assert str(capture.status()) == (
            "broken off while the memory was being saved; the log is in vmcore-dmesg.txt, "
            "vmcore-incomplete is not whole"
        )


def test_what_does_not_move_is_ended(capture: Capture) -> None:
    capture.settings |= {"STALL": "1", "TICK": "0.2"}
    capture.program("makedumpfile", "sleep 30")
    process = capture.start()
    trigger = capture.root / "proc/sysrq-trigger"
    deadline = time.monotonic() + 20
    while not trigger.read_text():
        assert time.monotonic() < deadline
        time.sleep(0.1)
    os.killpg(process.pid, signal.SIGKILL)
    process.communicate()
    assert trigger.read_text() == "b\n"
    assert "nothing has moved for 1 seconds" in capture.said


def test_what_is_slow_is_waited_for(capture: Capture) -> None:
    capture.settings |= {"STALL": "3", "TICK": "0.1"}
    stats = capture.root / "proc/diskstats"
    step = f"echo 8 0 sda 1 0 8 0 1 0 $((n * 1000)) 0 >{stats}.new; mv {stats}.new {stats}"
    moving = f"for n in 1 2 3 4 5 6 7 8; do {step}; sleep 0.5; done"
    capture.program("makedumpfile", f'[ "$1" = --dump-dmesg ] || {{ {moving}; }}\n{DUMPER}')
    assert capture.run() == "reboot -f"
    assert capture.status().state is State.COMPLETE
    assert (capture.root / "proc/sysrq-trigger").read_text() == ""


IN_A_SMALL_ONE = 'mount -t tmpfs -o "$OPTIONS" tmpfs "$TARGET" && "$@"; cp -a "$TARGET/." "$OUT"'


def small(capture: Capture, tmp_path: Path, options: str) -> Path:
    """Run it with a target that is a small file system; returns a copy of that."""
    need_root("mounting a small file system")
    out = tmp_path / "out"
    out.mkdir()
    done = capture.run("unshare", "--mount", "env", f"OPTIONS={options}", f"OUT={out}",
                       "/bin/sh", "-c", REAL_MOUNT, "sh")  # fmt: skip
    assert done == "reboot -f"
    shutil.rmtree(capture.target)
    capture.target = out
    return out


# Not the stand-in that is ahead on the path.
REAL_MOUNT = IN_A_SMALL_ONE.replace("mount -t", "/usr/bin/mount -t")


@pytest.mark.parametrize("dumper", ["-d 31", ""])
def test_a_full_disk_keeps_the_log_and_what_fits(
    capture: Capture, tmp_path: Path, dumper: str
) -> None:
    capture.settings["MAKEDUMPFILE"] = dumper
    (capture.root / "proc/vmcore").write_bytes(CORE * 8)
    small(capture, tmp_path, "size=1m")
    dump = capture.dump()
    assert (dump / "vmcore-dmesg.txt").read_bytes() == LOG
    assert not (dump / "vmcore").exists()
    assert 500_000 < (dump / "vmcore-incomplete").stat().st_size < 1 << 20
    assert "the target is full: vmcore-incomplete has what fits" in capture.said
    assert capture.status().state in (State.FAILED, State.SAVING)


def test_a_read_only_target_is_told(capture: Capture, tmp_path: Path) -> None:
    out = small(capture, tmp_path, "ro")
    assert list(out.iterdir()) == []
    assert "no directory can be made in /var/crash: read-only" in capture.said


SSH = """
while [ $# -gt 0 ]; do
    case $1 in
    -o | -i) shift 2 ;;
    *) break ;;
    esac
done
[ "$1" = "me@host" ] && cd "$TARGET" && exec sh -c "$(echo "$2" | sed "s#'/#'$TARGET/#g")"
"""


def test_ssh(capture: Capture) -> None:
    capture.settings |= {"TARGET": "ssh", "HOST": "me@host", "ALIAS": "host", "HOST_NAME": "me"}
    capture.program("ssh", SSH)
    assert capture.run() == "reboot -f"
    dump = capture.dump()
    assert dump.name.startswith("me-20")
    assert (dump / "vmcore.flat").read_bytes() == b"flat\n" + CORE
    assert (dump / "vmcore-dmesg.txt").read_bytes() == LOG
    assert capture.status().state is State.COMPLETE


@pytest.mark.parametrize(
    ("says", "reason", "wait"),
    [
        ("Host key verification failed.", "the key of me@host is not the one that was known", 600),
        ("me@host: Permission denied (publickey).", "me@host does not take the key", 600),
        ("ssh: No route to host", "no way to me@host in 1 seconds: ssh: No route to host", 1),
    ],
)
def test_ssh_to_a_host_that_lets_nobody_in(
    capture: Capture, says: str, reason: str, wait: int
) -> None:
    """It is waited only for what waiting may change; and one sentence says why."""
    capture.settings |= {"TARGET": "ssh", "HOST": "me@host", "ALIAS": "host", "WAIT": str(wait)}
    capture.program("ssh", f'echo "{says}" >&2; exit 255')
    capture.program("sleep", "exec /usr/bin/sleep 0.2")
    assert capture.run() == "reboot -f"
    (told,) = (line for line in capture.said.splitlines() if "not saved" in line)
    assert told.startswith(f"pykexec-capture: not saved: {reason}")
    assert says in capture.said


def test_a_pipe_whose_first_end_fails_is_no_dump(capture: Capture) -> None:
    capture.settings |= {"TARGET": "ssh", "HOST": "me@host", "ALIAS": "host"}
    capture.program("ssh", SSH)
    capture.program("makedumpfile", "echo half; exit 1")
    (capture.root / "proc/vmcore").unlink()
    (capture.root / "proc/vmcore").mkdir()  # cannot be read either
    assert capture.run() == "reboot -f"
    assert capture.status().state is State.FAILED
    assert files_of(capture.dump()) == {"status", "vmcore-incomplete"}


def test_a_device_alone(capture: Capture) -> None:
    disk = capture.root / "dev/vdz"
    disk.write_bytes(b"old" * 100_000)
    capture.settings |= {"TARGET": "device", "DEVICE": "/dev/vdz", "MAKEDUMPFILE": ""}
    assert capture.run() == "reboot -f"
    assert disk.read_bytes()[: len(CORE)] == CORE
    assert "saved: /dev/vdz" in capture.said
