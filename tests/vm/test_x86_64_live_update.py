"""Memory that goes over from one kernel to the next, by kexec handover."""

from __future__ import annotations

import textwrap

import pytest

from tests.vm.conftest import Vm
from tests.vm.kernel_build import BUILT
from tests.vm.loads import printed
from tests.vm.qemu import Machine
from tests.vm.scenario import boot_path

pytestmark = pytest.mark.full

KERNEL = boot_path(BUILT)
SIZE = 64 << 20
ON = "kho=on liveupdate=on kho_scratch=8M,160M,0"
SCRIPT = "/scenario/update.py"
RUN = f"/usr/bin/python3 -s {SCRIPT} "
UPDATE = textwrap.dedent(
    f"""
    import hashlib, os, random, subprocess, sys
    from pathlib import Path
    from pykexec.calls import live_update
    from pykexec.errors import KernelRejectedError
    from pykexec.formats import handover

    KHO = Path("/sys/kernel/debug/kho")

    def digest(file):
        os.lseek(file, 0, os.SEEK_SET)
        found = hashlib.sha256()
        while piece := os.read(file, 1 << 20):
            found.update(piece)
        return found.hexdigest()

    def refused(call, *arguments):
        try:
            call(*arguments)
        except KernelRejectedError as error:
            print("refused", error.message.partition(": ")[2])
        else:
            print("not refused")

    def tell():
        out = KHO / "out"
        areas = [(out / f"scratch_{{name}}").read_text() for name in ("phys", "len")]
        print("scratch", sum(area.size for area in handover.parse_scratch(*areas)) >> 20)
        blob = (out / "sub_fdts" / handover.ORCHESTRATOR).read_bytes()
        print("orchestrator", handover.parse_orchestrator(blob))

    def preserve(name, file):
        session = live_update.create_session(device, name)
        live_update.preserve(session, file, 7)
        print("preserved", live_update.session_name(session), digest(file))
        return session

    def load():
        # The sessions are held by this program until the jump.
        line = sys.argv[2]
        command = ["kexec", "-l", "{KERNEL}", "--initrd=/tmp/initrd", "--append=" + line]
        subprocess.run([*command, "--mem-min=0x1000000"], check=False)
        subprocess.run(command, check=True)
        print("loaded", Path("/sys/kernel/kexec_loaded").read_text().strip(), flush=True)
        subprocess.run(["kexec", "-e"], check=True)

    device = live_update.open_device()
    tell()
    if sys.argv[1] == "first":
        file = os.memfd_create("memory")
        os.write(file, random.randbytes({SIZE}))
        held = preserve("a virtual machine", file)
        refused(live_update.preserve, held, file, 8)
        refused(live_update.finish, held)
        os.pwrite(file, b"changed after it was preserved", 4096)
        print("left", digest(file))
        orphan = os.memfd_create("orphan")
        os.write(orphan, bytes(4096))
        nobody = preserve("nobody asks", orphan)
        os.close(preserve("closed", os.memfd_create("closed")))
        load()
    tree = handover.parse_handover_tree((KHO / "in" / "fdt").read_bytes())
    before = (KHO / "in" / "sub_fdts" / handover.METADATA).read_bytes()
    print("handed over", tree.compatible, *sorted(item.name for item in tree.registered))
    print("before", handover.parse_metadata(before))
    refused(live_update.retrieve_session, device, "closed")
    session = live_update.retrieve_session(device, "a virtual machine")
    file = live_update.retrieve(session, 7)
    print("arrived", os.fstat(file).st_size, digest(file))
    refused(live_update.preserve, session, file, 9)
    live_update.finish(session)
    os.close(session)
    if sys.argv[1] == "second":
        held = preserve("a virtual machine", file)
        load()
    refused(live_update.retrieve_session, device, "nobody asks")
    for words in (["--append=quiet"], ["-c", "--append=quiet", "--lose-preserved"]):
        command = ["kexec", "-l", "{KERNEL}", "--initrd=/boot/initrd-small", *words]
        subprocess.run(command, check=True)
    """
)


def jump(phase: int, word: str) -> str:
    """Return the script of a phase, which jumps by the call that hands over."""
    line = f"console=ttyS0 panic=-1 no_timer_check {ON} vmtest.phase={phase}"
    return (
        "mkdir -p /sys/kernel/debug\nmount -t debugfs none /sys/kernel/debug 2>/dev/null || true\n"
        f"repack-initrd -k -p {phase} /tmp/initrd\n{RUN}{word} '{line}' 2>&1\n"
    )


def test_memory_goes_over_twice(vm: Vm) -> None:
    """64 MiB by the calls of LUO, as they were at the jump, and again from there.

    A session that was closed before does not go over; one that nobody asks for ends with the
    second jump. The call that would lose them is refused, or warned of where it is insisted on.
    """
    result = vm(
        [jump(2, "first"), jump(3, "second"), jump(0, "third")],
        kernel=BUILT,
        machine=Machine(memory="2G", cpus=2),
        append=ON,
        files={SCRIPT: UPDATE},
        timeout=300,
    )

    left = printed(result, 1, "left")
    for phase in (1, 2, 3):
        assert printed(result, phase, "scratch") == "168"
        said = printed(result, phase, "orchestrator")
        assert said == f"Orchestrator(compatible='luo-v5', updates={phase})"
    release = result.phases[1].release
    for phase in (2, 3):
        assert printed(result, phase, "arrived") == f"{SIZE} {left}"
        assert printed(result, phase, "handed over") == "kho-v4 LUO kexec-metadata"
        before = f"Predecessor(release='{release}', jumps={phase - 1})"
        assert printed(result, phase, "before") == before
    for phase in (1, 2):
        text = " ".join(result.phases[phase].lines)
        assert "--mem-min cannot be honoured by kexec_file_load, and kexec handover is on" in text
        assert printed(result, phase, "loaded") == "1"
    lines = {phase: "\n".join(result.phases[phase].lines) for phase in (1, 2, 3)}
    assert "(EBUSY): the file is preserved already" in lines[1]
    assert "(EINVAL): the session was created in this kernel" in lines[1]
    for phase in (2, 3):
        assert "(ENOENT): the kernel before handed no session of that name over" in lines[phase]
        assert "(EINVAL): the session came from the kernel before" in lines[phase]
    assert lines[3].count("handed no session of that name over") == 2
    assert "kho=on is not on the next kernel's command line" in lines[3]
    assert "kexec_load loses what is preserved for the next kernel" in lines[3]
    assert not [text for text in lines.values() if "not refused" in text]
