"""A dump by firmware, from its registration to the kernel that is started after its release."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from pykexec.crash.fadump.dump import dump_of_sections
from pykexec.crash.fadump.sections import Kind
from tests.vm import kdump
from tests.vm.conftest import Vm
from tests.vm.crashes import (
    Crash,
    assert_debugger_reads,
    assert_log_ends_in_the_panic,
    assert_pages,
    crash,
    hold_pages,
)
from tests.vm.debian import Suite
from tests.vm.fadump import (
    BOOT_MEMORY,
    GENERAL_REGISTERS,
    JUMP,
    processors_of,
    pseries_with_fadump,
    words_of,
)
from tests.vm.initramfs import PROJECT, SUITE
from tests.vm.kernel_build import BUILT
from tests.vm.loads import printed
from tests.vm.platforms import PPC64LE
from tests.vm.scenario import Files, boot_path
from tests.vm.systemd import UDEV_LIBRARIES, libraries
from tests.vm.tried import Tried

pytestmark = pytest.mark.full

CONTRIB = PROJECT / "contrib"
MIB = 1 << 20
DIMM_START = 1 << 30
"""Physical address of what is plugged into the machine below."""
IN_DIMM = "40000000-4fffffff"
"""For hold-pages."""
WORDS = "vmtest.phase=2 test.words=appended"
LINE_MAX = 2047
REGISTERED = "/sys/kernel/fadump/registered"
APPEND = "/sys/kernel/fadump/bootargs_append"

# udev's daemon needs more of a kernel than this one has. So BusyBox receives the kernel's events,
# udev's own code says what the rule makes of each, and that is done.
AS_UDEV = r"""#!/usr/bin/busybox sh
echo "$ACTION $DEVPATH" >>/run/uevents
udevadm test --action="$ACTION" "/sys$DEVPATH" >/run/decision 2>&1
if grep -q "run: '/usr/lib/pykexec/kdump event'" /run/decision; then
    /usr/lib/pykexec/kdump event
fi
"""
UNPRIVILEGED = """#!/usr/bin/python3 -s
import os, sys
os.setuid(12345)
os.execvp(sys.argv[1], sys.argv[1:])
"""

REFUSALS = f"""
try status pykexec fadump status
try release pykexec fadump release
try too-long pykexec fadump append "$(head -c {LINE_MAX} /dev/zero | tr '\\0' x)"
try unprivileged /scenario/unprivileged pykexec fadump unregister
try crash-kernel kexec -p {JUMP}'
try jump kexec -l {JUMP}'
kexec -u
try raw-garbage sh -c 'echo 7 >{REGISTERED}'
try raw-long sh -c "head -c 2048 /dev/zero | tr '\\0' x | dd of={APPEND} bs=4096"
try raw-no-room sh -c "head -c {LINE_MAX} /dev/zero | tr '\\0' x | dd of={APPEND} bs=4096"
"""
REGISTER = """
pykexec fadump unregister
[ "$(cat /sys/kernel/fadump/registered)" = 0 ]
kdump=/usr/lib/pykexec/kdump
$kdump load
[ "$(cat /sys/kernel/fadump/registered)" = 1 ]
pykexec fadump status --json >/run/before
send-file before.json /run/before
"""
# A burst of events of which the kernel's own attribute decides what they mean, once as it is and
# once as it is in kernels that lack it.
EVENTS = """
registrations() {
    dmesg | grep -c 'fadump: Registration is successful'
}
burst() {
    rm -f /run/uevents
    for turn in 0 1 2 3 4; do
        echo offline >/sys/devices/system/memory/memory4/state
        echo online_movable >/sys/devices/system/memory/memory4/state
    done
    until [ "$(grep -c memory4 /run/uevents)" = 10 ]; do sleep 0.2; done
    # The last one is being answered.
    sleep 3
}
uevent /scenario/as-udev &
echo plug
until [ "$(cat /sys/devices/system/memory/memory4/state)" = online ]; do sleep 0.2; done 2>/dev/null
try event pykexec fadump event
try event-cpu pykexec fadump event --subsystem=cpu --action=add
before=$(registrations)
burst
[ ! -e /run/pykexec-kdump/events ]
echo "ready $(($(registrations) - before))"

echo 0 >/run/0
mount --bind /run/0 /sys/kernel/fadump/hotplug_ready
burst
until [ ! -e /run/pykexec-kdump/events ] && [ ! -e /run/pykexec-kdump/events.taken ]; do
    sleep 0.2
done
echo "not ready $(($(registrations) - before)) of $(wc -l </run/pykexec-kdump/events.seen)"
echo 0 >/sys/devices/system/cpu/cpu1/online
echo 1 >/sys/devices/system/cpu/cpu1/online
SUBSYSTEM=cpu ACTION=add DEVPATH=/devices/system/cpu/cpu1 $kdump event
sleep 3
[ ! -e /run/pykexec-kdump/events ]
echo "processors $(($(registrations) - before))"
umount /sys/kernel/fadump/hotplug_ready
"""
CAPTURED = f"""
pykexec fadump status --json >/run/status || echo "status $?"
send-file status.json /run/status
pykexec fadump inspect --json >/run/inspect
send-file inspect.json /run/inspect
send-file kernel-dump /proc/device-tree/rtas/ibm,kernel-dump
try status pykexec fadump status
try inspect pykexec fadump inspect
try register pykexec fadump register
try unregister pykexec fadump unregister
try append pykexec fadump append more
try jump-over kexec -c -l {JUMP}'
try release pykexec fadump release
try raw-register sh -c 'echo 1 >{REGISTERED}'
echo "vmcore $(stat -c %s /proc/vmcore)"
cat /proc/vmcore >{kdump.PORT}
try forced pykexec fadump release --force
[ ! -e /proc/vmcore ]
"""
AFTER = f"""
try released pykexec fadump status
try again pykexec fadump release
pykexec fadump register
try by-file kexec -s -l {JUMP}'
try by-any kexec -d -l {JUMP} vmtest.phase=3'
kexec -e
"""
# What is registered in the kernel that was started by a jump, firmware's next boot tells.
SECOND = f"""
[ ! -e /proc/vmcore ]
[ ! -e /proc/device-tree/rtas/ibm,kernel-dump ]
[ "$(cat {REGISTERED})" = 1 ]
echo "memory $(grep MemTotal /proc/meminfo | tr -dc 0-9)"
echo -n vmtest.phase=4 >{APPEND}
echo c >/proc/sysrq-trigger
"""
THIRD = """
[ -e /proc/device-tree/rtas/ibm,kernel-dump ]
head -c 4 /proc/vmcore | od -An -tx1
"""


def contrib_files() -> Files:
    """Return udev, what contrib/ has for it, and what is beside them here."""
    suite = Suite(SUITE, PPC64LE.debian)
    return {
        "/usr/bin/udevadm": suite.package("udev").root / "bin/udevadm",
        "/usr/bin/flock": suite.package("util-linux").root / "usr/bin/flock",
        "/usr/lib/pykexec/kdump": CONTRIB / "kdump/kdump",
        "/usr/lib/udev/rules.d/98-pykexec-kdump.rules": CONTRIB / "udev/98-pykexec-kdump.rules",
        "/etc/pykexec/kdump.conf": f"FADUMP_APPEND='{WORDS}'\nKDUMP_SETTLE=10\n",
        "/scenario/as-udev": AS_UDEV,
        "/scenario/unprivileged": UNPRIVILEGED,
        **libraries(UDEV_LIBRARIES, platform=PPC64LE),
    }


def test_from_the_registration_to_the_next_jump(vm: Vm, work: Path) -> None:
    found = crash(
        vm,
        work,
        REFUSALS + REGISTER + EVENTS + hold_pages(BOOT_MEMORY, IN_DIMM),
        series=BUILT,
        flavour="elf",
        machine=pseries_with_fadump("1G,slots=2,maxmem=4G", cpus=2),
        # Without "disable_ddw" a PCI device's window for DMA ends where memory did at the boot, and
        # the kernel puts none online behind it.
        append="fadump=on memhp_default_state=online disable_ddw",
        take=CAPTURED + AFTER,
        then=(SECOND, THIRD),
        files=contrib_files(),
        capture=WORDS,
        timeout=400,
    )
    check_refusals(Tried(found.result.phases[1].lines))
    check_events(found)
    check_states(found)
    assert_pages(found.core, found)
    assert any(page >= DIMM_START for page in found.pages)
    assert_log_ends_in_the_panic(found.core)
    assert_debugger_reads(found.core, found, "PPC64")
    check_header(found, cpus=2)
    check_jump(found)


def check_refusals(tried: Tried) -> None:
    """What a kernel that has registered by itself refuses, or we do before it is asked."""
    assert tried.outcome("status") == (0, "00")
    assert "verdict: registered: firmware saves a dump" in words_of(tried, "status")
    for name, code, said in (
        ("release", 255, "no dump is active"),
        ("too-long", 255, f"{LINE_MAX} bytes do not fit behind the running command line"),
        ("unprivileged", 255, "cannot write"),
        ("crash-kernel", 254, "firmware takes the dump on this machine (fadump is enabled, and it"),
        ("raw-garbage", 1, "Invalid argument"),
        ("raw-long", 1, "Invalid argument"),
        ("raw-no-room", 1, "No space left on device"),
    ):
        assert tried.outcome(name) == (code, "00"), name
        assert said in words_of(tried, name)
    assert tried.outcome("jump") == (0, "10")
    assert "fadump is registered, and a jump ends that" in words_of(tried, "jump")


def check_events(found: Crash) -> None:
    """A burst makes one registration, and that only where the kernel wants it."""
    tried = Tried(found.result.phases[1].lines)
    finds = "nothing to do: the capture kernel finds memory by itself (hotplug_ready is 1)"
    assert tried.said("event") == finds
    assert tried.said("event-cpu") == "nothing to do: processors that come or go change nothing"
    assert found.said(1, "ready ") == ["0"]
    assert found.said(1, "not ready ") == ["1 of 10"]
    assert found.said(1, "processors ") == ["1"]


def check_states(found: Crash) -> None:
    """The words for the capture kernel arrive, and it does nothing before its dump is released."""
    assert found.result.phases[2].cmdline.endswith(f" {WORDS}")
    files = found.result.files
    before, status = (json.loads(files[f"{name}.json"]) for name in ("before", "status"))
    assert (before["platform"], before["enabled"], before["registered"]) == ("pseries", True, True)
    assert (before["hotplug_ready"], before["bootargs_append"]) == (True, WORDS)
    assert before["dump"] == {"told": False, "vmcore": False, "active": False, "vmcore_size": None}
    assert status["dump"]["active"]
    assert found.said(2, "status ")[0] == "3"
    assert [str(status["dump"]["vmcore_size"])] == found.said(2, "vmcore ")
    tried = Tried(found.result.phases[2].lines)
    for name, said in (
        ("register", "a dump is active: until its memory is released nothing can be registered"),
        ("unregister", "a dump is active: until its memory is released nothing can be registered"),
        ("append", "a dump is active, and its kernel takes no words for the next one"),
        ("jump-over", "a dump is active: a jump destroys what is in /proc/vmcore"),
        ("release", "the dump in /proc/vmcore has not been saved, by all that is known here"),
        ("again", "no dump is active; it was released already, or the kernel has refused it"),
    ):
        assert tried.outcome(name) == (255, "00"), name
        assert said in words_of(tried, name)
    assert tried.outcome("raw-register") == (1, "00")
    assert "Operation not permitted" in tried.said("raw-register")
    assert tried.outcome("forced") == (0, "00")
    assert tried.outcome("released") == (1, "00")
    assert "nothing is registered since the dump was released" in words_of(tried, "released")


def check_jump(found: Crash) -> None:
    """After the release a jump leaves the dump behind, by the call that can; all begins anew."""
    tried = Tried(found.result.phases[2].lines)
    assert tried.outcome("by-file") == (255, "00")
    assert "has the ibm,kernel-dump of a dump that was released" in words_of(tried, "by-file")
    assert tried.outcome("by-any") == (0, "10")
    (memory,) = found.said(3, "memory ")
    assert int(memory) > 1000 * MIB // 1024
    assert found.result.phases[4].lines == [" 7f 45 4c 46"]


def check_header(found: Crash, cpus: int) -> None:
    """What our reader finds in memory is what the capture kernel has made notes of."""
    (dump,) = json.loads(found.result.files["inspect.json"])["dumps"]
    assert dump["problems"] == []
    header, processors = dump["header"], processors_of(found.core)
    assert (header["magic"], header["version"], header["byte_order"]) == ("FADMPSIG", 1, "little")
    assert header["cpus"] == [*range(cpus)]
    assert header["crashing_cpu"] in range(cpus)
    assert len(processors) == cpus
    assert registers_of(header["registers"]) in processors
    for saved in dump["saved_cpus"]:
        if saved["active"] and saved["cpu"] != header["crashing_cpu"]:
            assert registers_of(saved["registers"]) in processors
    check_sections(found, dump)


def registers_of(values: dict[str, str]) -> tuple[int, ...]:
    """Return the registers that a core has."""
    return tuple(int(values[name], 16) for name in GENERAL_REGISTERS)


def check_sections(found: Crash, dump: dict[str, Any]) -> None:
    """Firmware has saved all that was registered."""
    read = dump_of_sections(None, found.result.files["kernel-dump"]).kernel_dump
    assert read is not None
    assert len(read.sections) == len(dump["sections"])
    boot_memory = read.of(Kind.BOOT_MEMORY)
    assert boot_memory
    assert all(section.bytes_dumped == section.source.size for section in boot_memory)


# What keeps firmware from being asked, in a first kernel and in one that it jumps to.
NOT_ENABLED = f"""
try status pykexec fadump status
try register pykexec fadump register
try unregister pykexec fadump unregister
try append pykexec fadump append more
try event pykexec fadump event
try size pykexec fadump size
try raw sh -c 'echo 1 >{REGISTERED}'
"""
JUMP_OFF = f"""
repack-initrd /tmp/initrd
kexec -l {boot_path(BUILT, "elf")} --initrd=/tmp/initrd \
    --append='{PPC64LE.console} fadump=off vmtest.phase=2'
kexec -e
"""


def test_where_it_is_not_enabled(vm: Vm) -> None:
    result = vm(
        [NOT_ENABLED + JUMP_OFF, NOT_ENABLED],
        kernel=BUILT,
        flavour="elf",
        machine=pseries_with_fadump(),
        append="fadump=on crashkernel=256M",
    )
    for number, why in (
        (1, "boot memory of 256 MiB (crashkernel=256M) is less than the 320 MiB that it needs"),
        (2, "the running kernel's command line has fadump=off"),
    ):
        tried = Tried(result.phases[number].lines)
        assert [tried.outcome(name)[0] for name in ("status", "register", "append", "raw")] == [
            1, 255, 255, 1,
        ]  # fmt: skip
        assert f"verdict: {why}" in words_of(tried, "status")
        assert f"pykexec: fadump is not enabled: {why}" in words_of(tried, "register")
        assert f"pykexec: words cannot be appended: {why}" in words_of(tried, "append")
        assert tried.said("event") == "nothing to do: fadump is not enabled"
        assert "Operation not permitted" in tried.said("raw")
        assert tried.outcome("unregister") == (0, "00")
        # With less than 1280 MiB a crashkernel= would be cut to too little.
        assert tried.outcome("size")[0] == 0
        assert "command line: fadump=on" in words_of(tried, "size")


LENT = """
try status pykexec fadump status
try size pykexec fadump size --need 384M
python3 - <<'END'
import mmap
def rtas():
    with open("/proc/device-tree/rtas/linux,rtas-base", "rb") as file:
        base = int.from_bytes(file.read(), "big")
    with open("/dev/mem", "rb", buffering=0) as memory:
        memory.seek(base)
        return memory.read(20).hex()
print("before", rtas(), flush=True)
with open("/proc/meminfo") as meminfo:
    free = next(int(line.split()[1]) for line in meminfo if line.startswith("MemFree"))
taken = mmap.mmap(-1, (free - (24 << 10)) << 10)
for at in range(0, len(taken), mmap.PAGESIZE):
    taken[at : at + 4] = b"mine"
print("after", rtas(), flush=True)
END
"""
"""Whoever wants all memory gets that of RTAS as well."""


def test_where_rtas_is_lent_to_programs(vm: Vm) -> None:
    """With 384 MiB of boot memory RTAS's page is CMA's, and ``status`` says so."""
    result = vm(
        [LENT],
        kernel=BUILT,
        flavour="elf",
        machine=pseries_with_fadump("1536M"),
        append="fadump=on crashkernel=384M",
    )
    tried = Tried(result.phases[1].lines)
    assert tried.outcome("status") == (0, "00")
    assert "registered, but RTAS lies at 0x2ffff000" in words_of(tried, "status")
    assert "command line: fadump=nocma crashkernel=384M" in words_of(tried, "size")
    assert printed(result, 1, "before") != printed(result, 1, "after")
    assert printed(result, 1, "after").startswith(b"mine".hex())
