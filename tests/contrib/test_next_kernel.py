"""contrib/kexec/next-kernel: what it loads, and when a shutdown makes it load.

It runs on a root of its own, with programs in place of kexec and systemctl.
"""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

import pytest

CONTRIB = Path(__file__).resolve().parents[2] / "contrib"
SCRIPT = CONTRIB / "kexec/next-kernel"
RELEASE = os.uname().release
PROGRAM = '#!/bin/sh\necho "${0##*/} $*" >>"$PYKEXEC_ROOT/calls"\n'


class Machine:
    """A root directory on which the script runs."""

    def __init__(self, root: Path) -> None:
        """Make a machine with two programs and no kernel."""
        self.root = root
        self.write("bin/kexec", PROGRAM, executable=True)
        self.write("bin/systemctl", PROGRAM + 'cat "$PYKEXEC_ROOT/jobs"\n', executable=True)
        self.write("jobs", "")

    def write(self, name: str, text: str = "", *, executable: bool = False) -> None:
        """Write a file below the root."""
        path = self.root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
        if executable:
            path.chmod(0o755)

    def run(self, verb: str) -> subprocess.CompletedProcess[str]:
        """Run the script."""
        path = f"{self.root}/bin:{os.environ['PATH']}"
        given = {**os.environ, "PATH": path, "PYKEXEC_ROOT": str(self.root)}
        return subprocess.run(
            ["/bin/sh", SCRIPT, verb], env=given, capture_output=True, text=True, check=False
        )

    @property
    def loads(self) -> list[str]:
        """The words of each call of kexec, the root left out of their paths."""
        calls = self.root / "calls"
        text = calls.read_text() if calls.exists() else ""
        lines = text.replace(f"{self.root}/", "/").splitlines()
        return [line.removeprefix("kexec ") for line in lines if line.startswith("kexec ")]


@pytest.fixture
def machine(tmp_path: Path) -> Machine:
    return Machine(tmp_path)


@pytest.mark.parametrize(
    ("there", "kernel", "initrd"),
    [
        (["vmlinuz", "initrd.img", "boot/vmlinuz", "boot/initrd"], "/vmlinuz", "/initrd.img"),
        (["vmlinuz", "boot/vmlinuz", "boot/initrd.img"], "/boot/vmlinuz", "/boot/initrd.img"),
        (["boot/vmlinuz", "boot/initrd"], "/boot/vmlinuz", "/boot/initrd"),
        (
            ["boot/vmlinuz", f"boot/vmlinuz-{RELEASE}", f"boot/initrd.img-{RELEASE}"],
            f"/boot/vmlinuz-{RELEASE}",
            f"/boot/initrd.img-{RELEASE}",
        ),
        (
            [f"boot/vmlinuz-{RELEASE}", f"boot/initramfs-{RELEASE}.img"],
            f"/boot/vmlinuz-{RELEASE}",
            f"/boot/initramfs-{RELEASE}.img",
        ),
    ],
)
def test_a_kernel_with_its_initrd_is_found(
    machine: Machine, there: list[str], kernel: str, initrd: str
) -> None:
    for name in there:
        machine.write(name)
    done = machine.run("load")
    assert (done.returncode, done.stderr) == (0, "")
    assert machine.loads == [f"-l --initrd={initrd} --reuse-cmdline {kernel}"]


def test_a_kernel_without_an_initrd_is_not_guessed(machine: Machine) -> None:
    machine.write("boot/vmlinuz")
    done = machine.run("load")
    assert done.returncode == 1
    assert "no kernel with an initrd in / or /boot: name one by KEXEC_KERNEL" in done.stderr
    assert machine.loads == []


def test_the_configuration_counts(machine: Machine) -> None:
    machine.write("vmlinuz")
    machine.write("initrd.img")
    lines = ("KEXEC_KERNEL=/mine", 'KEXEC_APPEND="a b"', 'KEXEC_OPTIONS="-c --noefi"')
    machine.write("etc/pykexec/kexec.conf", "\n".join(lines))
    assert machine.run("load").returncode == 0
    assert machine.loads == ["-l --append=a b -c --noefi /mine"]


def test_the_kexec_of_pykexec_comes_before_that_in_path(machine: Machine) -> None:
    machine.write("vmlinuz")
    machine.write("initrd.img")
    machine.write("bin/kexec", "#!/bin/sh\nexit 9\n", executable=True)
    machine.write("usr/lib/pykexec/kexec", PROGRAM, executable=True)
    done = machine.run("load")
    assert (done.returncode, done.stderr) == (0, "")
    assert machine.loads == ["-l --initrd=/initrd.img --reuse-cmdline /vmlinuz"]


def test_the_shipped_configuration_changes_nothing(machine: Machine) -> None:
    machine.write("vmlinuz")
    machine.write("initrd.img")
    assert machine.run("load").returncode == 0
    machine.write("etc/pykexec/kexec.conf", (CONTRIB / "kexec/kexec.conf").read_text())
    assert machine.run("load").returncode == 0
    first, second = machine.loads
    assert first == second


@pytest.mark.parametrize("name", ["kexec/loaded", "kexec_loaded"])
def test_what_is_loaded_already_is_left_alone(machine: Machine, name: str) -> None:
    machine.write("vmlinuz")
    machine.write("initrd.img")
    assert machine.run("loaded").returncode == 1
    machine.write(f"sys/kernel/{name}", "1\n")
    assert machine.run("loaded").returncode == 0
    done = machine.run("load")
    assert done.returncode == 0
    assert "loaded already" in done.stderr
    assert machine.loads == []


@pytest.mark.parametrize(("jobs", "count"), [("", 0), ("7 kexec.target start waiting\n", 1)])
def test_a_shutdown_loads_only_where_it_ends_in_a_jump(
    machine: Machine, jobs: str, count: int
) -> None:
    machine.write("vmlinuz")
    machine.write("initrd.img")
    machine.write("jobs", jobs)
    assert machine.run("shutdown").returncode == 0
    assert len(machine.loads) == count
    asked = (machine.root / "calls").read_text().splitlines()[0].split()
    assert asked[:2] == ["systemctl", "list-jobs"]
    assert asked[-2:] == ["kexec.target", "pykexec-exec.service"]


def test_a_failing_load_is_a_failure(machine: Machine) -> None:
    machine.write("vmlinuz")
    machine.write("initrd.img")
    machine.write("bin/kexec", "#!/bin/sh\nexit 255\n", executable=True)
    assert machine.run("load").returncode == 255


@pytest.mark.parametrize("verb", ["", "stop"])
def test_usage(machine: Machine, verb: str) -> None:
    done = machine.run(verb)
    assert done.returncode == 2
    assert done.stderr == "usage: next-kernel load|shutdown|loaded\n"
