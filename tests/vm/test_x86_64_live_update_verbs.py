"""``pykexec live-update`` and the Python API, from one kernel to the next and the one after."""

from __future__ import annotations

import re
import textwrap

import pytest

from tests.json_schemas import checked
from tests.vm.conftest import Vm
from tests.vm.kernel_build import BUILT
from tests.vm.loads import printed
from tests.vm.qemu import Machine
from tests.vm.scenario import Result, boot_path

pytestmark = pytest.mark.full

KERNEL = boot_path(BUILT)
SIZE = 64 << 20
ON = "kho=on liveupdate=on kho_scratch=8M,160M,0"
PROGRAM = "/scenario/program.py"
PYTHON = f"/usr/bin/python3 -s {PROGRAM} "
API = textwrap.dedent(
    f"""
    import hashlib, os, random, subprocess, sys
    from pykexec import live_update

    def digest(file):
        return hashlib.sha256(os.pread(file, os.fstat(file).st_size, 0)).hexdigest()

    def leave():
        subprocess.run(["kexec", "-e"], check=True)

    if sys.argv[1] == "retrieve":
        try:
            with live_update.Session.retrieve("program") as session:
                file = session.retrieve_fd(7)
                raise OSError("what a program may meet")
        except OSError:
            print("still open", not session.closed)
        with session:
            print("arrived by api", os.fstat(file).st_size, digest(session.retrieve_fd(7)))
        print("after the end", os.fstat(file).st_size)
        try:
            live_update.Session.retrieve("program")
        except live_update.KernelRejectedError as error:
            print("refused", error.message)
    else:
        file = os.memfd_create("memory")
        os.truncate(file, {SIZE})
        os.pwrite(file, random.randbytes({SIZE}), 0)
    with live_update.Session.create("program") as session:
        session.preserve_fd(file, 7)
        print("left by api", digest(file), flush=True)
        leave()
    """
)
REFUSED = """
refused() {
    if "$@" >/tmp/said 2>&1; then echo "not refused: $*"; fi
    sed 's/^pykexec:/refused:/' /tmp/said
}
"""
VERB = "pykexec live-update"
NOBODY = "nobody asks/../for it"


def load(phase: int) -> str:
    """Return what loads the next kernel of the chain, with all of this file system."""
    line = f"console=ttyS0 panic=-1 no_timer_check {ON} vmtest.phase={phase}"
    return f"""
repack-initrd -k -p {phase} /tmp/initrd
kexec -s -l {KERNEL} --initrd=/tmp/initrd --append='{line}'
rm /tmp/initrd
"""


FIRST = f"""
{REFUSED}
{VERB} status
{load(2)}
head -c {SIZE} /dev/urandom >/tmp/content
echo "sent $(sha256sum </tmp/content)"
{VERB} session create vm
refused {VERB} session create vm
{VERB} preserve vm /tmp/content /etc/hostname
refused {VERB} preserve vm /tmp/content
refused {VERB} preserve vm /tmp
mkfifo /tmp/pipe
refused {VERB} preserve vm /tmp/pipe
refused {VERB} preserve nobody /tmp/content
{VERB} session create '{NOBODY}'
{VERB} preserve '{NOBODY}' /etc/hostname
{VERB} status
{VERB} status --json >/tmp/json && send-file json /tmp/json
refused kexec -c -l {KERNEL} --append=quiet
kexec -c --lose-preserved -l {KERNEL} --append=quiet
refused kexec -e
umount /sys/kernel/debug
{VERB} status | sed 's/^/hidden /'
mount -t debugfs debugfs /sys/kernel/debug
{load(2)}
{VERB} session create dropped
{VERB} session drop dropped
pid=$({VERB} session create killed | sed 's/.*process \\([0-9]*\\) .*/\\1/')
{VERB} preserve killed /etc/hostname
kill -9 "$pid"
refused {VERB} preserve killed /etc/hostname
ls /run/pykexec/live-update
{PYTHON} create
"""
SECOND = f"""
{REFUSED}
{load(3)}
refused {VERB} retrieve killed /tmp/out
refused {VERB} retrieve dropped /tmp/out
mkdir /tmp/small
mount -t tmpfs -o size=1m tmpfs /tmp/small
refused {VERB} retrieve vm /tmp/small
echo "small has $(ls /tmp/small)"
refused {VERB} finish vm
{VERB} retrieve vm /tmp/out
echo "sum $(sha256sum </tmp/out/content)"
cmp /etc/hostname /tmp/out/hostname
refused {VERB} retrieve vm /tmp/out
{VERB} retrieve vm /tmp/again
cmp /tmp/out/content /tmp/again/content
rm -r /tmp/again
{VERB} status
{VERB} finish vm
refused {VERB} retrieve vm /tmp/again
{VERB} session create vm
{VERB} preserve vm /tmp/out/content
{PYTHON} retrieve
"""
THIRD = f"""
{REFUSED}
{VERB} status
{VERB} retrieve vm /tmp/out
echo "sum $(sha256sum </tmp/out/content)"
{VERB} finish vm
refused {VERB} retrieve '{NOBODY}' /tmp/out
refused {VERB} retrieve program /tmp/program
{VERB} retrieve program /tmp/program --token 7
echo "arrived by token $(sha256sum </tmp/program/7)"
refused {VERB} finish nobody
{VERB} finish program
"""


def lines_of(result: Result, phase: int) -> str:
    return "\n".join(result.phases[phase].lines)


def status_lines(text: str) -> list[str]:
    labels = "running kernel|kexec handover|live update|scratch|registered|layouts|came from"
    return re.findall(rf"^(?:(?:{labels}|sessions?|hands over):| {{16}}\S).*$", text, re.MULTILINE)


def test_files_and_memory_go_over_twice(vm: Vm) -> None:
    """64 MiB of a file by the command, 64 MiB of a memfd by the API, through three kernels.

    With what is refused on the way, and what comes of sessions that are given up, killed or asked
    for by nobody.
    """
    result = vm(
        [FIRST, SECOND, THIRD],
        kernel=BUILT,
        machine=Machine(memory="2G", cpus=2),
        append=ON,
        files={PROGRAM: API, "/etc/hostname": "guest\n"},
        timeout=400,
    )

    sent = printed(result, 1, "sent")
    for phase in (2, 3):
        assert printed(result, phase, "sum") == sent
    first, second, third = (lines_of(result, phase) for phase in (1, 2, 3))
    by_api = printed(result, 1, "left by api")
    assert printed(result, 2, "arrived by api") == f"{SIZE} {by_api}"
    assert printed(result, 2, "left by api") == by_api
    assert printed(result, 3, "arrived by token").split()[0] == by_api
    assert "not refused" not in first + second + third
    for text in (
        "holds the outgoing session 'vm' already",
        "the session 'vm' has a file 'content' already",
        "'/tmp' is a directory, which cannot be preserved",
        "'/tmp/pipe' is a pipe, which cannot be preserved",
        "there is no outgoing session 'nobody' that pykexec holds",
        "the session 'killed' is lost: the process that held it has ended",
    ):
        assert text in first
    none = "(ENOENT): the kernel before handed no session of that name over"
    # Killed, dropped, and finished; and asked for by nobody, until another jump.
    assert [second.count(none), third.count(none)] == [4, 2]
    assert "refused: cannot write '/tmp/small/content': No space left on device" in second
    assert printed(result, 2, "small has") == ""
    assert "the session 'vm' has what was not retrieved: 'content', 'hostname'" in second
    assert "refused: '/tmp/out/content' is there already" in second
    assert printed(result, 2, "still open") == "True"
    assert printed(result, 2, "after the end") == str(SIZE)
    assert "the session 'program' has no index that says which files it has" in third
    release = result.phases[1].release
    for text in (
        f"running kernel: {release}",
        "kexec handover: on: /sys/kernel/debug/kho is there",
        "live update:    on: /dev/liveupdate is there",
        "layouts:        kho-v4, luo-v5",
        "sessions:       no process has one",
        "hands over:     no: no kernel is loaded",
        "hands over:     yes: the kernel was loaded by kexec_file_load",
        "session:        'vm', outgoing, 2 files, held by process",
        "                1: 'content', 64 MiB",
        f"session:        '{NOBODY}', outgoing, 1 file, held by process",
        "kexec: kexec_load was asked for, and kexec handover is on, and kexec_load loses what is",
        "  session 'vm', held by process",
        "kexec: the jump would lose sessions for the next kernel: the one that is loaded was",
        "hidden kexec handover: on: /dev/liveupdate is there",
        "hidden scratch:        not to be seen (/sys/kernel/debug, root's)",
        "hidden hands over:     no: the kernel was loaded by kexec_load, which hands",
    ):
        assert text in first
    assert first.count("scratch:        0x") == 4
    assert f"came from:      {release}, jump 1 since firmware" in second
    assert "session:        'vm', incoming, 2 files, held by process" in second
    assert "1: 'content', 64 MiB, retrieved" in second
    assert f"came from:      {release}, jump 2 since firmware" in third
    value = checked(result.files["json"].decode())
    assert (value["handover"]["on"], value["hands_over"]["on"], value["update"]) == (True, True, 1)
    assert {held["name"] for held in value["sessions"]} == {"vm", NOBODY}
    assert max(len(line) for text in (first, second, third) for line in status_lines(text)) <= 80
