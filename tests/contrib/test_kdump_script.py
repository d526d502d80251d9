"""contrib/kdump/kdump: what it loads, and that a burst of events gives one reload, none being lost.

The script runs on a root of its own, with a program in place of kexec that writes down its words
and how the machine looks at that moment.
"""

from __future__ import annotations

import contextlib
import os
import random
import signal
import subprocess
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path

import pytest

CONTRIB = Path(__file__).resolve().parents[2] / "contrib"
SCRIPT = CONTRIB / "kdump/kdump"
PATIENCE = 60.0
"""Seconds."""

KEXEC = """#!/bin/sh
looks=$(cat "$PYKEXEC_ROOT/machine")
: >"$PYKEXEC_ROOT/reading"
sleep "$(cat "$PYKEXEC_ROOT/slowness")"
echo "$looks|$*" >>"$PYKEXEC_ROOT/calls"
[ ! -s "$PYKEXEC_ROOT/refusals" ] || { sed -i 1d "$PYKEXEC_ROOT/refusals"; exit 1; }
"""


class Machine:
    """A root directory on which the script runs."""

    def __init__(self, root: Path) -> None:
        """Make a machine that has a kernel and a configuration."""
        self.root = root
        self.state = root / "run/pykexec-kdump"
        for name in ("boot", "etc/pykexec", "sys/kernel/kexec", "run"):
            (root / name).mkdir(parents=True)
        self.write("boot/crash", "")
        self.write("kexec", KEXEC)
        (root / "kexec").chmod(0o755)
        self.write("slowness", "0")
        self.write("refusals", "")
        self.change("0")
        self.configure()

    def write(self, name: str, text: str) -> None:
        """Write a file below the root."""
        (self.root / name).write_text(text)

    def configure(self, *lines: str) -> None:
        """Write the configuration; an empty line stands for a default."""
        settings = [
            f"KDUMP_KERNEL={self.root}/boot/crash",
            f"KDUMP_KEXEC={self.root}/kexec",
            "KDUMP_SETTLE=0",
            *lines,
        ]
        self.write("etc/pykexec/kdump.conf", "".join(f"{line}\n" for line in settings))

    def change(self, looks: str) -> None:
        """Let the machine look different."""
        self.write("machine", looks)

    def run(self, verb: str, **environment: str) -> subprocess.CompletedProcess[str]:
        """Run the script and wait for it, not for what it leaves behind."""
        given = {**os.environ, "PYKEXEC_ROOT": str(self.root), **environment}
        return subprocess.run(
            ["/bin/sh", SCRIPT, verb], env=given, capture_output=True, text=True, check=False
        )

    def event(self, looks: str) -> None:
        """Change the machine and tell the script."""
        self.change(looks)
        done = self.run("event", ACTION="add", DEVPATH=f"/devices/system/memory/memory{looks}")
        assert (done.returncode, done.stderr) == (0, "")

    @property
    def calls(self) -> list[tuple[str, str]]:
        """Each call of kexec: how the machine looked, and the words."""
        path = self.root / "calls"
        lines = path.read_text().splitlines() if path.exists() else []
        return [(line.split("|")[0], line.split("|")[1]) for line in lines]

    @property
    def looks(self) -> list[str]:
        """How the machine looked at each load."""
        return [looks for looks, _ in self.calls]

    def was_last(self, looks: str) -> bool:
        """Whether the last load was for a machine that looked so."""
        return self.looks[-1] == looks

    def until(self, holds: Callable[[], bool]) -> None:
        """Wait until something holds."""
        deadline = time.monotonic() + PATIENCE
        while not holds():
            assert time.monotonic() < deadline, self.calls
            time.sleep(0.002)

    def until_calls(self, count: int) -> None:
        """Wait until kexec has been called so many times."""
        self.until(lambda: len(self.calls) >= count)

    def come_to_rest(self) -> None:
        """Wait until no event is left and nobody works."""
        self.until(lambda: not self.left)
        subprocess.run(["flock", str(self.state / "watch.lock"), "true"], check=True)
        assert not self.left

    @property
    def left(self) -> list[str]:
        """Which files of events are there."""
        names = ("events", "events.taken")
        return [name for name in names if (self.state / name).exists()]

    def start_watch(self) -> subprocess.Popen[str]:
        """Start to watch, as the path unit does, in a process group of its own."""
        given = {**os.environ, "PYKEXEC_ROOT": str(self.root)}
        return subprocess.Popen(
            ["/bin/sh", SCRIPT, "watch"],
            env=given,
            stderr=subprocess.PIPE,
            text=True,
            start_new_session=True,
        )


@pytest.fixture
def machine(tmp_path: Path) -> Machine:
    return Machine(tmp_path / "root")


def test_load_gives_what_the_configuration_says(machine: Machine) -> None:
    machine.configure("KDUMP_INITRD=/initrd", 'KDUMP_OPTIONS="-c --noefi"', 'KDUMP_APPEND="a b"')
    done = machine.run("load")
    assert done.returncode == 0, done.stderr
    wanted = f"-p --initrd=/initrd -c --noefi --append=a b {machine.root}/boot/crash"
    assert machine.calls == [("0", wanted)]
    assert (machine.state / "armed").exists()


def test_the_kexec_of_pykexec_comes_before_that_in_path(machine: Machine) -> None:
    machine.configure("KDUMP_KEXEC=")
    own = machine.root / "usr/lib/pykexec/kexec"
    own.parent.mkdir(parents=True)
    own.write_text(KEXEC)
    own.chmod(0o755)
    for verb in ("load", "unload"):
        done = machine.run(verb, PATH=os.environ["PATH"])
        assert done.returncode == 0, done.stderr
    assert machine.calls == [("0", f"-p --append= {machine.root}/boot/crash"), ("0", "-p -u")]


def test_without_a_configuration_the_running_kernel_is_loaded(machine: Machine) -> None:
    (machine.root / "etc/pykexec/kdump.conf").unlink()
    release = os.uname().release
    machine.write(f"boot/vmlinuz-{release}", "")
    path = f"{machine.root}:{os.environ['PATH']}"
    done = machine.run("load", PATH=path)
    assert done.returncode == 0, done.stderr
    assert machine.calls == [("0", f"-p --append= {machine.root}/boot/vmlinuz-{release}")]


@pytest.mark.parametrize(
    ("there", "setting", "given"),
    [
        ([], "", None),
        (["boot/initrd.img-RELEASE"], "none", None),
        (["boot/initrd.img-RELEASE"], "", "boot/initrd.img-RELEASE"),
        (
            ["boot/initramfs-RELEASE.img", "boot/initramfs-RELEASEkdump.img"],
            "",
            "boot/initramfs-RELEASEkdump.img",
        ),
        (
            ["boot/initrd.img-RELEASE", "var/lib/kdump/initrd.img-RELEASE"],
            "",
            "var/lib/kdump/initrd.img-RELEASE",
        ),
    ],
)
def test_the_initrd_that_is_found(
    machine: Machine, there: list[str], setting: str, given: str | None
) -> None:
    (machine.root / "var/lib/kdump").mkdir(parents=True)
    for name in there:
        machine.write(name.replace("RELEASE", os.uname().release), "")
    machine.configure(f"KDUMP_INITRD={setting}")
    assert machine.run("load").returncode == 0
    option = f"--initrd={machine.root}/{given}".replace("RELEASE", os.uname().release)
    words = machine.calls[0][1].split()
    assert [word for word in words if word.startswith("--initrd")] == ([option] if given else [])


def test_no_kernel_to_be_found(machine: Machine) -> None:
    machine.configure("KDUMP_KERNEL=")
    done = machine.run("load")
    assert done.returncode == 1
    assert "no kernel in /boot or /lib/modules" in done.stderr
    assert "KDUMP_KERNEL" in done.stderr
    assert machine.calls == []


def test_the_shipped_configuration_is_read(machine: Machine) -> None:
    shipped = (CONTRIB / "kdump/kdump.conf").read_text()
    machine.write("etc/pykexec/kdump.conf", shipped)
    machine.write(f"boot/vmlinuz-{os.uname().release}", "")
    done = machine.run("load", PATH=f"{machine.root}:{os.environ['PATH']}")
    assert done.returncode == 0, done.stderr
    assert "-p --reuse-cmdline --append=irqpoll nr_cpus=1" in machine.calls[0][1]
    assert "acpi_no_memhotplug" in machine.calls[0][1]


@pytest.mark.parametrize(
    ("name", "size", "setting", "given"),
    [
        (None, "", "auto", False),
        ("kexec/crash_elfcorehdr_size", "110592", "auto", True),
        ("crash_elfcorehdr_size", "110592", "auto", True),
        ("crash_elfcorehdr_size", "0", "auto", False),
        ("crash_elfcorehdr_size", "110592", "off", False),
    ],
)
def test_hotplug_is_asked_for_where_the_kernel_can_do_it(
    machine: Machine, name: str | None, size: str, setting: str, given: bool
) -> None:
    machine.configure(f"KDUMP_HOTPLUG={setting}")
    if name is not None:
        machine.write(f"sys/kernel/{name}", f"{size}\n")
    assert machine.run("load").returncode == 0
    assert ("--hotplug" in machine.calls[0][1].split()) is given


@pytest.mark.parametrize(("tables", "given"), [("Radix", True), ("Hash", False)])
def test_hotplug_is_not_asked_for_with_hashed_page_tables(
    machine: Machine, tables: str, given: bool
) -> None:
    machine.configure("KDUMP_HOTPLUG=auto")
    machine.write("sys/kernel/crash_elfcorehdr_size", "458984\n")
    (machine.root / "proc").mkdir()
    machine.write("proc/cpuinfo", f"MMU\t\t: {tables}\n")
    assert machine.run("load").returncode == 0
    assert ("--hotplug" in machine.calls[0][1].split()) is given


def test_a_failing_load_says_so_and_stays_armed(machine: Machine) -> None:
    machine.write("refusals", "one\n")
    assert machine.run("load").returncode == 1
    machine.event("1")
    machine.until_calls(2)
    assert machine.looks == ["0", "1"]


def test_unload_ends_the_watch(machine: Machine) -> None:
    assert machine.run("load").returncode == 0
    assert machine.run("unload").returncode == 0
    assert machine.calls[1] == ("0", "-p -u")
    machine.event("1")
    machine.come_to_rest()
    assert len(machine.calls) == 2


def test_a_burst_gives_one_reload(machine: Machine) -> None:
    machine.configure("KDUMP_SETTLE=2")
    assert machine.run("load").returncode == 0
    for number in range(1, 201):
        machine.event(str(number))
    machine.come_to_rest()
    assert machine.looks == ["0", "200"]


def test_a_thousand_events_at_once_give_one_reload(machine: Machine) -> None:
    """As udev's workers do it: many processes at a time."""
    machine.configure("KDUMP_SETTLE=2")
    assert machine.run("load").returncode == 0
    machine.change("1000")
    burst = f'for n in $(seq 1000); do ACTION=add DEVPATH=/memory$n "{SCRIPT}" event & done; wait'
    given = {**os.environ, "PYKEXEC_ROOT": str(machine.root)}
    subprocess.run(["/bin/sh", "-c", burst], env=given, check=True)
    machine.come_to_rest()
    assert machine.looks == ["0", "1000"]
    assert len((machine.state / "events.seen").read_text().splitlines()) == 1000


def test_a_burst_without_end_is_not_waited_for(machine: Machine) -> None:
    machine.configure("KDUMP_SETTLE=1", "KDUMP_SETTLE_MAX=2")
    assert machine.run("load").returncode == 0
    number = 0
    deadline = time.monotonic() + PATIENCE
    while len(machine.calls) < 2:
        number += 1
        machine.event(str(number))
        assert time.monotonic() < deadline
    machine.come_to_rest()
    assert machine.looks[-1] == str(number)


def test_an_event_during_a_reload_gives_another(machine: Machine) -> None:
    assert machine.run("load").returncode == 0
    reading = machine.root / "reading"
    reading.unlink()
    machine.write("slowness", "1.5")
    machine.event("1")
    machine.until(reading.exists)  # the machine has been read, which is loaded later
    machine.event("2")
    machine.come_to_rest()
    assert machine.looks == ["0", "1", "2"]


def test_no_event_is_lost_at_any_moment(machine: Machine) -> None:
    """Events at moments all over what a reload goes through, its end above all."""
    assert machine.run("load").returncode == 0
    machine.write("slowness", "0.05")
    for moment in range(0, 120, 3):
        machine.event(f"{moment} first")
        time.sleep(moment / 1000)
        machine.event(f"{moment} last")
        machine.come_to_rest()
        assert machine.looks[-1] == f"{moment} last"


@pytest.mark.parametrize("whole", [True, False], ids=["with its children", "alone"])
def test_a_watch_that_is_killed_while_it_loads_leaves_its_events(
    machine: Machine, whole: bool
) -> None:
    """The next one reloads, at once: nobody keeps the lock, also not a child that goes on."""
    (machine.root / "run/systemd/system").mkdir(parents=True)
    assert machine.run("load").returncode == 0
    machine.event("1")
    machine.event("2")
    machine.write("slowness", "1")
    (machine.root / "reading").unlink()
    watch = machine.start_watch()
    machine.until((machine.root / "reading").exists)
    kill(watch, whole)
    assert machine.left == ["events.taken"]
    machine.write("slowness", "0")
    subprocess.run(["flock", "-n", machine.state / "watch.lock", "true"], check=True)
    done = machine.run("watch")
    assert done.returncode == 0
    assert "2 events, the last one add /devices/system/memory/memory2: reload" in done.stderr
    assert machine.left == []
    assert machine.looks == (["0", "2"] if whole else ["0", "2", "2"])


def test_what_a_killed_watch_has_left_goes_with_the_next_event(machine: Machine) -> None:
    """Without systemd nobody looks before."""
    assert machine.run("load").returncode == 0
    machine.change("1")
    (machine.state / "events.taken").write_text("add /1\n")
    machine.event("2")
    machine.come_to_rest()
    assert machine.looks == ["0", "2"]


def test_a_killed_sleep_of_a_burst_keeps_nobody_out(machine: Machine) -> None:
    machine.configure("KDUMP_SETTLE=30", "KDUMP_SETTLE_MAX=30")
    (machine.root / "run/systemd/system").mkdir(parents=True)
    assert machine.run("load").returncode == 0
    machine.event("1")
    watch = machine.start_watch()
    machine.until(lambda: "sleep" in children_of(watch.pid))
    kill(watch, whole=False)
    assert machine.left == ["events"]
    machine.configure()
    assert machine.run("watch").returncode == 0
    assert machine.looks == ["0", "1"]
    os.killpg(watch.pid, signal.SIGKILL)


def kill(watch: subprocess.Popen[str], whole: bool) -> None:
    """Kill the watch as nothing can be caught, with or without what it has started."""
    if watch.poll() is None:
        (os.killpg if whole else os.kill)(watch.pid, signal.SIGKILL)
    watch.wait()
    assert watch.stderr is not None
    watch.stderr.close()


def children_of(pid: int) -> list[str]:
    """Return the names of a process's children."""
    path = Path(f"/proc/{pid}/task/{pid}/children")
    names = []
    for child in path.read_text().split() if path.exists() else ():
        with contextlib.suppress(OSError):
            names.append(Path(f"/proc/{child}/comm").read_text().strip())
    return names


@pytest.mark.parametrize("kills", [25, pytest.param(300, marks=pytest.mark.full)])
def test_no_event_is_lost_by_a_kill_at_any_moment(machine: Machine, kills: int) -> None:
    """What was loaded last is the machine as it is, once a watch was let to its end."""
    (machine.root / "run/systemd/system").mkdir(parents=True)
    assert machine.run("load").returncode == 0
    machine.write("slowness", "0.02")
    machine.event("whole")
    start = time.monotonic()
    assert machine.run("watch").returncode == 0
    whole = time.monotonic() - start
    moments = random.Random(kills)
    stopped = 0
    for number in range(1, kills + 1):
        machine.event(str(number))
        watch = machine.start_watch()
        time.sleep(moments.uniform(0, whole))
        stopped += watch.poll() is None
        kill(watch, whole=bool(number % 2))
        # The path unit starts it again for as long as it sees a file.
        while machine.left:
            assert machine.run("watch").returncode == 0
        machine.until(partial(machine.was_last, str(number)))
    assert stopped > kills // 4


def test_a_reload_that_fails_is_tried_again(machine: Machine) -> None:
    assert machine.run("load").returncode == 0
    machine.write("refusals", "one\ntwo\n")
    machine.event("1")
    machine.come_to_rest()
    assert machine.looks == ["0", "1", "1", "1"]


def test_a_reload_that_keeps_failing_is_given_up_until_the_next_event(machine: Machine) -> None:
    assert machine.run("load").returncode == 0
    machine.write("refusals", "no\n" * 3)
    (machine.root / "run/systemd/system").mkdir(parents=True)
    machine.event("1")
    done = machine.run("watch")
    assert done.returncode == 1
    assert "1 events, the last one add /devices/system/memory/memory1: reload" in done.stderr
    assert "could not be loaded in 3 attempts" in done.stderr
    machine.event("2")
    assert machine.run("watch").returncode == 0
    assert machine.looks == ["0", "1", "1", "1", "2"]


def test_an_unload_between_two_attempts_ends_them(machine: Machine) -> None:
    machine.run("load")
    machine.configure("KDUMP_SETTLE=1")
    machine.write("refusals", "1\n")
    machine.event("1")
    machine.until_calls(2)
    assert machine.run("unload").returncode == 0
    machine.come_to_rest()
    assert [words for _, words in machine.calls[2:]] == ["-p -u"]
    assert not (machine.state / "armed").exists()


def test_unload_needs_no_kernel(machine: Machine) -> None:
    machine.run("load")
    machine.configure("KDUMP_KERNEL=")
    assert machine.run("unload").returncode == 0
    assert machine.calls[-1][1] == "-p -u"


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("KDUMP_SETTLE=0.5", "need whole seconds, not '0.5' and '30'"),
        ("KDUMP_SETTLE=", "need whole seconds, not '' and '30'"),
        ("KDUMP_SETTLE_MAX=08", "need whole seconds, not '0' and '08'"),
        ("KDUMP_APPEND='", ""),
        ("no-such-command", "no-such-command"),
    ],
)
def test_a_bad_configuration_is_not_tried_for_ever(
    machine: Machine, line: str, message: str
) -> None:
    """A path unit starts the watch again for as long as there is a file of events."""
    machine.run("load")
    (machine.root / "run/systemd/system").mkdir(parents=True)
    machine.event("1")
    (machine.state / "events.taken").write_text("add /0\n")
    machine.configure(line)
    done = machine.run("watch")
    assert done.returncode != 0
    assert message in done.stderr
    assert machine.left == []
    assert machine.looks == ["0"]


def test_under_systemd_an_event_is_left_to_the_path_unit(machine: Machine) -> None:
    assert machine.run("load").returncode == 0
    (machine.root / "run/systemd/system").mkdir(parents=True)
    machine.event("1")
    unit = (CONTRIB / "systemd/pykexec-kdump-reload.path").read_text()
    for name in ("events", "events.taken"):
        path = (machine.state / name).relative_to(machine.root)
        assert f"PathExists=/{path}\n" in unit
    assert not (machine.state / "watch.lock").exists()
    assert machine.looks == ["0"]


def test_the_rule_looks_for_the_file_of_the_script(machine: Machine) -> None:
    assert machine.run("load").returncode == 0
    armed = f'TEST!="/{(machine.state / "armed").relative_to(machine.root)}"'
    assert armed in (CONTRIB / "udev/98-pykexec-kdump.rules").read_text()


@pytest.mark.parametrize("verb", ["", "reload"])
def test_usage(machine: Machine, verb: str) -> None:
    done = machine.run(verb)
    assert done.returncode == 2
    assert done.stderr == "usage: kdump load|unload|event|watch\n"


PYKEXEC = """#!/bin/sh
echo "$(cat "$PYKEXEC_ROOT/machine")|$*" >>"$PYKEXEC_ROOT/calls"
"""


class TestFirmwareTakesTheDump:
    """With fadump the same script registers, and loads nothing."""

    @pytest.fixture(params=["sys/kernel/fadump/enabled", "sys/kernel/fadump_enabled"])
    def firmware(self, tmp_path: Path, request: pytest.FixtureRequest) -> Machine:
        machine = Machine(tmp_path)
        machine.write("pykexec", PYKEXEC)
        (tmp_path / "pykexec").chmod(0o755)
        machine.configure(f"KDUMP_PYKEXEC={tmp_path}/pykexec", "FADUMP_APPEND='nr_cpus=16 cma=0'")
        (tmp_path / "sys/kernel/fadump").mkdir()
        machine.write(request.param, "1\n")
        return machine

    def test_load_and_unload(self, firmware: Machine) -> None:
        assert firmware.run("load").returncode == 0
        assert firmware.run("unload").returncode == 0
        assert [words for _, words in firmware.calls] == ["fadump register", "fadump unregister"]

    def test_words_for_the_capture_kernel(self, firmware: Machine) -> None:
        firmware.write("sys/kernel/fadump/bootargs_append", "")
        firmware.run("load")
        assert [words for _, words in firmware.calls] == [
            "fadump append -- nr_cpus=16 cma=0",
            "fadump register",
        ]

    def test_a_burst_registers_once(self, firmware: Machine) -> None:
        firmware.configure(f"KDUMP_PYKEXEC={firmware.root}/pykexec", "KDUMP_SETTLE=1")
        firmware.run("load")
        for number in range(10):
            firmware.run("event", SUBSYSTEM="memory", ACTION="online", DEVPATH=f"/m{number}")
        firmware.until_calls(2)
        firmware.come_to_rest()
        assert [words for _, words in firmware.calls][1:] == [
            "fadump event --subsystem=memory --action=online --settle=0"
        ]

    def test_processors_change_nothing(self, firmware: Machine) -> None:
        firmware.run("load")
        firmware.run("event", SUBSYSTEM="cpu", ACTION="add", DEVPATH="/cpu1")
        assert not firmware.left

    def test_a_kernel_that_finds_the_memory_by_itself(self, firmware: Machine) -> None:
        firmware.write("sys/kernel/fadump/hotplug_ready", "1\n")
        firmware.run("load")
        firmware.run("event", SUBSYSTEM="memory", ACTION="online", DEVPATH="/m1")
        assert not firmware.left
        assert len(firmware.calls) == 1

    def test_with_fadump_off_crash_kernels_follow(self, firmware: Machine) -> None:
        """Linux 6.10 shows hotplug_ready there, too."""
        for name in ("fadump/enabled", "fadump_enabled"):
            firmware.write(f"sys/kernel/{name}", "0\n")
        firmware.write("sys/kernel/fadump/hotplug_ready", "1\n")
        firmware.run("load")
        firmware.event("1")
        firmware.until_calls(2)
        firmware.come_to_rest()
        assert firmware.calls[-1][1].startswith("-p ")
