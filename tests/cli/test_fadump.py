"""``pykexec fadump``, on machines that answer as Linux and its firmware were seen to."""

from __future__ import annotations

import errno
import os
import struct
import time
from functools import partial
from pathlib import Path
from typing import Any

import pytest

import pykexec
from pykexec.crash.captured import STATUS, Captured, Dumps, LeftDump, State
from pykexec.errors import DeniedError, FadumpError, KernelRejectedError
from pykexec.loading import fadump as acting
from pykexec.loading import run_files
from pykexec.machine import left_dumps
from tests.builders import fadump as dumped
from tests.builders.fadump_machine import CMDLINE, GIB, FadumpMachine
from tests.cli.test_pykexec import run
from tests.json_schemas import checked


class Here:
    """Makes this machine one that has fadump."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, path: Path) -> None:
        self._patch, self._path = monkeypatch, path

    def __call__(self, **changed: Any) -> FadumpMachine:
        made = FadumpMachine(self._path, **changed).build()
        self._patch.setattr(run_files, "ROOT", str(self._path))
        self._patch.setattr(acting, "write_attribute", made.take)
        return made


@pytest.fixture
def here(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Here:
    return Here(monkeypatch, tmp_path / "machine")


def words(text: str) -> str:
    """Return what was printed without its line ends."""
    return " ".join(text.split())


def fadump(monkeypatch: pytest.MonkeyPatch, *arguments: str) -> tuple[int, str, str]:
    code, out, err = run(monkeypatch, "fadump", *arguments)
    if arguments[0] in ("status", "size", "append"):  # else it is a sentence, in a line
        assert max(map(len, out.splitlines()), default=0) <= 80
    return code, words(out), words(err)


class TestStatus:
    def test_registered(self, monkeypatch: pytest.MonkeyPatch, here: Here) -> None:
        here()
        code, out, err = fadump(monkeypatch, "status")
        assert (code, err) == (0, "")
        assert "firmware: on pseries" in out
        assert "reserved: 320.0 MiB (335548848 bytes)" in out
        assert out.endswith("verdict: registered: firmware saves a dump when this kernel crashes")

    def test_json(self, monkeypatch: pytest.MonkeyPatch, here: Here) -> None:
        here(append="nr_cpus=16")
        code, out, _ = run(monkeypatch, "fadump", "status", "--json")
        value = checked(out)
        assert code == 0
        assert value["schema"] == "pykexec.fadump-status/1"
        assert (value["platform"], value["enabled"], value["registered"]) == ("pseries", True, True)
        assert (value["mem_reserved"], value["bootargs_append"]) == (335548848, "nr_cpus=16")
        assert value["dump"] == {
            "told": False, "vmcore": False, "active": False, "vmcore_size": None,
        }  # fmt: skip

    @pytest.mark.parametrize(
        ("changed", "code", "said"),
        [
            ({"registered": 0}, 1, "memory is reserved, but nothing is registered"),
            ({"firmware": "none"}, 1, "firmware has no firmware-assisted dump"),
            ({"kernel": False}, 1, "built without CONFIG_FA_DUMP"),
            ({"enabled": 0, "cmdline": "quiet"}, 1, "command line has no fadump=on"),
            ({"enabled": 0, "cmdline": "fadump=on fadump=off"}, 1, "has fadump=off"),
            (
                {"enabled": 0, "cmdline": f"{CMDLINE} crashkernel=256M", "ram": 2 * GIB},
                1,
                "boot memory of 256 MiB (crashkernel=256M) is less than the 320 MiB",
            ),
            (
                {"enabled": 0, "cmdline": f"{CMDLINE} crashkernel=400M", "ram": GIB},
                1,
                "or give the machine 1280 MiB",
            ),
            (
                {"enabled": 0, "cmdline": f"{CMDLINE} crashkernel=600M", "ram": 3 * GIB // 2},
                1,
                "the kernel has reserved nothing",
            ),
            (
                {
                    "enabled": 0,
                    "firmware": "powernv",
                    "cmdline": f"{CMDLINE} crashkernel=512M",
                    "ram": 4 * GIB,
                },
                1,
                "less than the 768 MiB",
            ),
            ({"told": True, "vmcore": True, "registered": 0}, 3, "save it before anything else"),
            (
                {"told": True, "registered": 0},
                1,
                "nothing is registered since the dump was released",
            ),
        ],
    )
    def test_why_not(
        self,
        monkeypatch: pytest.MonkeyPatch,
        here: Here,
        changed: dict[str, Any],
        code: int,
        said: str,
    ) -> None:
        here(**changed)
        found, out, _ = fadump(monkeypatch, "status")
        assert (found, said in out) == (code, True), out
        assert checked(run(monkeypatch, "fadump", "status", "--json")[1])["advice"]

    @pytest.mark.parametrize(
        ("base", "reserved", "cmdline", "lent"),
        [
            (0x2FFFF000, 0x200011B0, CMDLINE, True),
            (0x2FFFF000, 0x200011B0, "fadump=nocma", False),
            (0x2FFFF000, 335_548_848, CMDLINE, False),
            (0x1FFFF000, 335_548_848, CMDLINE, True),
            (0x2FFFF000, 0x300011B0, CMDLINE, False),
        ],
    )
    def test_rtas_in_the_area_for_the_dump(
        self, monkeypatch: pytest.MonkeyPatch, here: Here, base: int, reserved: int, cmdline: str,
        *, lent: bool,
    ) -> None:  # fmt: skip
        machine = here(reserved=reserved, cmdline=cmdline)
        rtas = "sys/firmware/devicetree/base/rtas"
        machine.write(f"{rtas}/linux,rtas-base", base.to_bytes(4, "big"))
        machine.write(f"{rtas}/rtas-size", (0x1000).to_bytes(4, "big"))
        code, out, _ = fadump(monkeypatch, "status")
        assert code == 0
        assert ("lent to programs until then" in out) == lent
        assert ("boot with fadump=nocma" in out) == lent

    def test_the_names_of_old_kernels(self, monkeypatch: pytest.MonkeyPatch, here: Here) -> None:
        here(old_names=True)
        code, out, _ = fadump(monkeypatch, "status")
        assert code == 0
        assert "reserved" not in out
        assert "later memory: wants a new registration" in out

    def test_of_a_record(self, monkeypatch: pytest.MonkeyPatch, here: Here, tmp_path: Path) -> None:
        here(told=True, vmcore=True, registered=0, append="root=/dev/sda password=x")
        live = checked(run(monkeypatch, "fadump", "status", "--json")[1])
        target = tmp_path / "record"
        copied = run(monkeypatch, "machine", "record", str(target), "--machine", run_files.ROOT)
        assert copied[0] == 0
        code, out, _ = run(monkeypatch, "fadump", "status", "--json", "--machine", str(target))
        found = checked(out)
        assert code == 3
        live["dump"]["vmcore_size"] = None  # of a record nobody knows
        assert found == live
        assert (target / "proc/vmcore").stat().st_size == 0

    def test_here(self, monkeypatch: pytest.MonkeyPatch) -> None:
        """On a machine without, such as the one that runs the tests."""
        code, out, _ = fadump(monkeypatch, "status")
        assert (code, "has no support" in out) == (1, True)


class TestRegister:
    def test_once_more(self, monkeypatch: pytest.MonkeyPatch, here: Here) -> None:
        machine = here()
        code, out, _ = fadump(monkeypatch, "register")
        assert (code, out[:16]) == (0, "registered again")
        assert machine.written == [("registered", b"1")]

    def test_after_a_release(self, monkeypatch: pytest.MonkeyPatch, here: Here) -> None:
        machine = here(told=True, registered=0)
        code, out, _ = fadump(monkeypatch, "register")
        assert code == 0
        assert out.startswith("registered: firmware saves a dump when this kernel crashes")
        assert "the capture kernel may find stray words on its command line" in out
        assert machine.registered == 1
        assert "find stray words on its command line" in fadump(monkeypatch, "status")[1]

    def test_words_that_were_released_with_the_dump(
        self, monkeypatch: pytest.MonkeyPatch, here: Here, tmp_path: Path
    ) -> None:
        """They are anybody's memory by now, and in no record."""
        here(told=True, registered=0, append="somebody's secret")
        code, out, _ = fadump(monkeypatch, "status")
        assert (code, "nobody knows: their place was released with the dump" in out) == (1, True)
        live = run(monkeypatch, "fadump", "status", "--json")[1]
        assert checked(live)["bootargs_append"] is None
        target = tmp_path / "record"
        assert (
            run(monkeypatch, "machine", "record", str(target), "--machine", run_files.ROOT)[0] == 0
        )
        assert (target / "sys/kernel/fadump/bootargs_append").read_bytes() == b""
        recorded = run(monkeypatch, "fadump", "status", "--json", "--machine", str(target))[1]
        assert checked(recorded) == checked(live)

    @pytest.mark.parametrize("old_names", [False, True])
    def test_old_kernels_want_0_first(
        self, monkeypatch: pytest.MonkeyPatch, here: Here, *, old_names: bool
    ) -> None:
        machine = here(refuses_twice=True, old_names=old_names)
        code, out, _ = fadump(monkeypatch, "register")
        assert (code, "by way of unregistering" in out) == (0, True)
        assert machine.written == [("registered", b"0"), ("registered", b"1")]

    @pytest.mark.parametrize(
        ("answers", "said"),
        [
            ([errno.EINVAL] * 2, "(EINVAL): firmware does not accept the layout of memory (-3)"),
            ([errno.EEXIST] * 2, "(EEXIST): firmware says that it is registered already (-9)"),
            ([errno.EIO], "(EIO): firmware reports an error of its hardware"),
            ([errno.ENODEV], "(ENODEV): no memory is reserved"),
            ([errno.ETIMEDOUT], "(ETIMEDOUT): firmware was busy for a minute"),
            ([errno.EPERM], "(EPERM): the kernel says that it is not enabled"),
            ([errno.ENOMEM], "(ENOMEM): the kernel gives an errno that it is not known to"),
            ([errno.EACCES], "cannot write"),
        ],
    )
    def test_each_errno(
        self, monkeypatch: pytest.MonkeyPatch, here: Here, answers: list[int], said: str
    ) -> None:
        here(registered=0, answers=answers)
        code, out, err = fadump(monkeypatch, "register")
        assert (code, out, said in err) == (255, "", True), err
        assert "hint:" in err

    def test_what_firmware_refuses_without_a_word(
        self, monkeypatch: pytest.MonkeyPatch, here: Here
    ) -> None:
        here(registered=0, silent=True)
        code, _, err = fadump(monkeypatch, "register")
        assert (code, "does not read 1 afterwards" in err) == (255, True)

    @pytest.mark.parametrize(
        ("changed", "said"),
        [
            ({"enabled": 0, "cmdline": "quiet"}, "fadump is not enabled: the running kernel's"),
            ({"firmware": "none"}, "fadump is not enabled: this machine's firmware"),
            ({"kernel": False}, "fadump is not enabled: firmware has it, but"),
            ({"told": True, "vmcore": True}, "a dump is active"),
        ],
    )
    def test_refused_in_our_words(
        self, monkeypatch: pytest.MonkeyPatch, here: Here, changed: dict[str, Any], said: str
    ) -> None:
        machine = here(**changed)
        code, _, err = fadump(monkeypatch, "register")
        assert (code, said in err, machine.written) == (255, True, [])


class TestUnregister:
    def test_it(self, monkeypatch: pytest.MonkeyPatch, here: Here) -> None:
        machine = here()
        assert fadump(monkeypatch, "unregister")[:2] == (
            0,
            "not registered: a crash leaves no dump",
        )
        assert machine.written == [("registered", b"0")]
        assert fadump(monkeypatch, "unregister")[0] == 0
        assert len(machine.written) == 1

    def test_refused_without_a_word(self, monkeypatch: pytest.MonkeyPatch, here: Here) -> None:
        here(silent=True)
        code, _, err = fadump(monkeypatch, "unregister")
        assert (code, "it still reads 1: firmware has refused" in err) == (255, True)


class TestAppend:
    def test_the_line_that_results(self, monkeypatch: pytest.MonkeyPatch, here: Here) -> None:
        machine = here(append="before")
        code, out, _ = fadump(monkeypatch, "append", "  nr_cpus=16 ", "numa=off\tcma=0")
        assert code == 0
        assert machine.append == "nr_cpus=16 numa=off cma=0"
        assert "appended: nr_cpus=16 numa=off cma=0 (25 bytes; room for 1999 more)" in out
        assert f"capture kernel: {CMDLINE} nr_cpus=16 numa=off cma=0" in out

    def test_an_option_is_a_word(self, monkeypatch: pytest.MonkeyPatch, here: Here) -> None:
        machine = here()
        assert fadump(monkeypatch, "append", "--", "-s", "--x")[0] == 0
        assert machine.append == "-s --x"

    def test_to_the_last_byte(self, monkeypatch: pytest.MonkeyPatch, here: Here) -> None:
        machine = here()
        room = 2047 - len(CMDLINE) - 1
        assert fadump(monkeypatch, "append", "x" * room)[0] == 0
        code, _, err = fadump(monkeypatch, "append", "x" * room + "y")
        assert (code, f"there is room for {room} of 2047" in err) == (255, True)
        assert len(machine.written) == 1

    @pytest.mark.parametrize(
        ("changed", "said"),
        [
            ({"append": None}, "older than Linux 6.10, or found no place"),
            ({"append": None, "firmware": "powernv"}, "no bootargs_append on powernv"),
            ({"enabled": 0, "cmdline": "quiet"}, "command line has no fadump=on"),
            ({"told": True, "vmcore": True}, "a dump is active"),
            ({"told": True}, "their place was released with the memory of the dump"),
        ],
    )
    def test_refused(
        self, monkeypatch: pytest.MonkeyPatch, here: Here, changed: dict[str, Any], said: str
    ) -> None:
        machine = here(**changed)
        code, _, err = fadump(monkeypatch, "append", "x")
        assert (code, said in err, machine.written) == (255, True, [])

    def test_where_their_place_was_not_released(
        self, monkeypatch: pytest.MonkeyPatch, here: Here
    ) -> None:
        machine = here(told=True, registered=0)
        kept = dumped.section(0x0100, 0x13FFF000, 0x800, 0x13FFF000)
        told = dumped.kernel_dump((*dumped.SECTIONS[:3], kept))
        machine.write("sys/firmware/devicetree/base/rtas/ibm,kernel-dump", told)
        assert fadump(monkeypatch, "append", "x")[0] == 0
        assert machine.written == [("bootargs_append", b"x")]

    def test_nothing(self, monkeypatch: pytest.MonkeyPatch, here: Here) -> None:
        here()
        assert fadump(monkeypatch, "append", " ")[0] == 1
        assert fadump(monkeypatch, "append")[0] == 1


class TestRelease:
    def test_a_dump_that_was_saved(
        self, monkeypatch: pytest.MonkeyPatch, here: Here, tmp_path: Path
    ) -> None:
        machine = here(told=True, vmcore=True, registered=0)
        place = tmp_path / "dump"
        place.mkdir()
        (place / STATUS).write_text("state=complete\n")
        left = LeftDump(str(place), Captured(State.COMPLETE))
        monkeypatch.setattr(left_dumps, "read_dumps", lambda root: Dumps("", "", left))
        os.utime(place / STATUS, (0, 0))
        assert "has not been saved" in fadump(monkeypatch, "release")[2]
        os.utime(place / STATUS, (time.time(), time.time()))
        code, out, _ = fadump(monkeypatch, "release")
        assert (code, out[:8]) == (0, "released")
        assert machine.written == [("release_mem", b"1")]

    @pytest.mark.parametrize(
        ("base", "reserved", "kept"),
        [
            (0x2FFFF000, 335_548_848, False),
            (0x13FFF000, 335_548_848, True),
            # In the area that a dump is copied to, which stays.
            (0x1FFFF000, 335_548_848, True),
            (0x28001000, 335_548_848, False),
        ],
    )
    def test_where_rtas_lies(
        self, monkeypatch: pytest.MonkeyPatch, here: Here, base: int, reserved: int, *, kept: bool
    ) -> None:
        machine = here(told=True, vmcore=True, registered=0, reserved=reserved)
        rtas = "sys/firmware/devicetree/base/rtas"
        machine.write(f"{rtas}/linux,rtas-base", base.to_bytes(4, "big"))
        machine.write(f"{rtas}/rtas-size", (0x1000).to_bytes(4, "big"))
        monkeypatch.setattr(acting, "saved_in_this_boot", lambda: True)
        if not kept:
            code, _, err = fadump(monkeypatch, "release")
            assert (code, machine.written) == (255, [])
            assert f"RTAS lies at {base:#x}-{base + 0xFFF:#x}, in what would be released" in err
        code, out, _ = fadump(monkeypatch, "release", *(() if kept else ("--force",)))
        assert (code, machine.written) == (0, [("release_mem", b"1")])
        assert ("which is anybody's now: reboot soon" in out) != kept

    def test_one_that_was_not(self, monkeypatch: pytest.MonkeyPatch, here: Here) -> None:
        machine = here(told=True, vmcore=True, registered=0)
        code, _, err = fadump(monkeypatch, "release")
        assert (code, "releasing its memory destroys it" in err) == (255, True)
        assert machine.written == []
        assert fadump(monkeypatch, "release", "--force")[0] == 0
        assert "no dump is active; it was released" in fadump(monkeypatch, "release")[2]

    def test_none(self, monkeypatch: pytest.MonkeyPatch, here: Here) -> None:
        here()
        code, _, err = fadump(monkeypatch, "release", "--force")
        assert (code, err) == (255, "pykexec: no dump is active")

    def test_refused_without_a_word(self, monkeypatch: pytest.MonkeyPatch, here: Here) -> None:
        here(told=True, vmcore=True, silent=True)
        code, _, err = fadump(monkeypatch, "release", "--force")
        assert (code, "/proc/vmcore is still there" in err) == (255, True)


class TestSize:
    @pytest.mark.parametrize(
        ("changed", "arguments", "code", "said"),
        [
            ({}, (), 0, "command line: fadump=on"),
            ({"ram": GIB // 2}, (), 1, "too little RAM: 320 MiB is the least, and its copy"),
            ({"ram": 2 * GIB}, (), 0, "fadump=on crashkernel=320M"),
            ({"ram": 8 * GIB}, ("--cpus", "16"), 0, "fadump=on crashkernel=784M"),
            ({"ram": 8 * GIB}, ("--need", "1G"), 0, "fadump=on crashkernel=1024M"),
            ({"ram": 8 * GIB}, ("--need", "3G"), 0, "3 GiB would be better"),
            ({"ram": 8 * GIB}, ("--need", "1M"), 0, "the least on pseries"),
            ({"ram": 8 * GIB}, ("--need", "384M"), 0, "fadump=nocma crashkernel=384M"),
            ({"ram": 8 * GIB}, ("--need", "767M"), 0, "RTAS's memory to programs"),
            ({"ram": 8 * GIB}, ("--need", "383M"), 0, "fadump=on crashkernel=383M"),
            ({"ram": 8 * GIB}, ("--need", "768M"), 0, "fadump=on crashkernel=768M"),
            ({"ram": 100 << 40}, (), 0, "fadump=on crashkernel=184320M"),
            ({"ram": 4 * GIB, "firmware": "powernv"}, (), 0, "crashkernel=768M"),
            ({"ram": GIB, "firmware": "powernv"}, (), 1, "768 MiB is the least"),
        ],
    )
    def test_sizes(
        self,
        monkeypatch: pytest.MonkeyPatch,
        here: Here,
        changed: dict[str, Any],
        arguments: tuple[str, ...],
        code: int,
        said: str,
    ) -> None:
        machine = here(**changed)
        where = ("--machine", str(machine.path))
        found, out, _ = fadump(monkeypatch, "size", *arguments, *where)
        assert (found, said in out) == (code, True), out
        value = checked(run(monkeypatch, "fadump", "size", "--json", *arguments, *where)[1])
        assert (value["size"] is None) == bool(code)

    def test_no_firmware(self, monkeypatch: pytest.MonkeyPatch, here: Here) -> None:
        here(firmware="none")
        code, _, err = fadump(monkeypatch, "size")
        assert (code, "firmware has no firmware-assisted dump" in err) == (255, True)

    @pytest.mark.parametrize("text", ["", "x", "0", "1Mx", "-1M"])
    def test_no_size(self, monkeypatch: pytest.MonkeyPatch, here: Here, text: str) -> None:
        here()
        code, _, err = fadump(monkeypatch, "size", "--need", text)
        assert (code, "is no size" in err) == (1, True)


class TestEvent:
    def event(
        self, monkeypatch: pytest.MonkeyPatch, subsystem: str, action: str
    ) -> tuple[int, str]:
        monkeypatch.setenv("SUBSYSTEM", subsystem)
        monkeypatch.setenv("ACTION", action)
        return fadump(monkeypatch, "event", "--settle", "0")[:2]

    def test_a_kernel_that_needs_none(self, monkeypatch: pytest.MonkeyPatch, here: Here) -> None:
        machine = here()
        code, out = self.event(monkeypatch, "memory", "online")
        assert (code, out[:13], machine.written) == (0, "nothing to do", [])
        assert "hotplug_ready is 1" in out

    @pytest.mark.parametrize("action", ["online", "offline", "add", "remove"])
    def test_memory(self, monkeypatch: pytest.MonkeyPatch, here: Here, action: str) -> None:
        machine = here(hotplug_ready=False)
        code, out = self.event(monkeypatch, "memory", action)
        assert (code, out[:16]) == (0, "registered again")
        assert machine.written == [("registered", b"1")]

    @pytest.mark.parametrize(
        ("changed", "subsystem", "action", "said"),
        [
            ({}, "cpu", "online", "processors that come or go change nothing"),
            ({}, "usb", "add", "'usb' is neither memory nor a processor"),
            ({}, "memory", "bind", "'bind' changes no memory"),
            ({"registered": 0}, "memory", "online", "nothing is registered"),
            ({"enabled": 0, "registered": 0}, "memory", "online", "fadump is not enabled"),
            ({"told": True, "vmcore": True}, "memory", "online", "a dump is active"),
            ({"firmware": "none"}, "memory", "online", "fadump is not enabled"),
        ],
    )
    def test_nothing_to_do(
        self,
        monkeypatch: pytest.MonkeyPatch,
        here: Here,
        changed: dict[str, Any],
        subsystem: str,
        action: str,
        said: str,
    ) -> None:
        machine = here(**{"hotplug_ready": False, **changed})
        code, out = self.event(monkeypatch, subsystem, action)
        assert (code, said in out, machine.written) == (0, True, [])

    def test_a_burst_registers_once(self, monkeypatch: pytest.MonkeyPatch, here: Here) -> None:
        """Each event arrives while the one before it waits; ten are one burst."""
        machine = here(hotplug_ready=False)
        left = list(range(9))
        answers = []

        def next_event(_: float) -> None:
            if left:
                left.pop()
                answers.append(pykexec.fadump_event())

        monkeypatch.setattr(time, "sleep", next_event)
        answers.append(pykexec.fadump_event())
        assert len(answers) == 10
        assert [answer.superseded for answer in answers] == [False] + [True] * 9
        assert machine.written == [("registered", b"1")]

    def test_holes_are_told(self, monkeypatch: pytest.MonkeyPatch, here: Here) -> None:
        here(hotplug_ready=False, answers=[errno.EINVAL] * 2)
        assert fadump(monkeypatch, "event", "--settle", "0")[0] == 255


class TestLibrary:
    def test_values(self, here: Here) -> None:
        here(registered=0)
        assert pykexec.fadump_status().registered is False
        assert pykexec.fadump_register().state.registered
        assert pykexec.fadump_append("a  b").addition.value == b"a b"
        assert pykexec.fadump_unregister().registered is False
        state = pykexec.fadump_status()
        assert isinstance(state, pykexec.FadumpState)
        assert pykexec.json_value(state)["schema"] == "pykexec.fadump-status/1"

    def test_errors(self, here: Here) -> None:
        here(registered=0, answers=[errno.EIO])
        with pytest.raises(KernelRejectedError) as caught:
            pykexec.fadump_register()
        assert caught.value.errno == errno.EIO
        with pytest.raises(FadumpError, match="no dump is active"):
            pykexec.fadump_release()

    @pytest.mark.parametrize("function", ["open_directory", "_open_lock"])
    def test_real_files_want_root(
        self, here: Here, monkeypatch: pytest.MonkeyPatch, function: str
    ) -> None:
        """Whoever is not root gets no lock, and hears of the file that is written at last."""
        machine = here(registered=0, hotplug_ready=False)
        monkeypatch.undo()
        place = machine.path / "sys/kernel/fadump/registered"
        acting.write_attribute(str(place), b"1")
        assert place.read_bytes()[:1] == b"1"

        def denied(*_: object) -> int:
            raise PermissionError(errno.EACCES, "Permission denied")

        monkeypatch.setattr(run_files, "ROOT", str(machine.path))
        monkeypatch.setattr(run_files, function, denied)
        monkeypatch.setattr(acting, "write_attribute", denied)
        event = partial(pykexec.fadump_event, settle=0.01)
        for act in (pykexec.fadump_register, pykexec.fadump_unregister, event):
            with pytest.raises(DeniedError, match="cannot write"):
                act()


class TestInspect:
    def inspect(self, monkeypatch: pytest.MonkeyPatch, *arguments: str) -> tuple[int, str, str]:
        code, out, err = run(monkeypatch, "fadump", "inspect", *arguments)
        assert max(map(len, out.splitlines()), default=0) <= 80
        if code == 0:
            checked(run(monkeypatch, "fadump", "inspect", "--json", *arguments)[1])
        return code, words(out), words(err)

    def file(self, path: Path, data: bytes | bytearray) -> str:
        path.write_bytes(data)
        return str(path)

    @pytest.mark.parametrize(
        ("data", "said"),
        [
            (dumped.new_header(), "header: FADMPSIG, little-endian, of Linux 6.10 or later"),
            (dumped.old_header(">"), "header: FADMPINF, big-endian, before Linux 6.10"),
            (dumped.kernel_dump(), "boot memory: 0x0-0x13ffffff to 0x14001000"),
            (dumped.register_area(), "saved registers: of 2 processors"),
            (
                bytes(64) + dumped.new_header() + dumped.opal_metadata(header=64),
                "metadata: 1 of 1 region registered",
            ),
        ],
    )
    def test_files(
        self, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, data: bytes, said: str
    ) -> None:
        code, out, _ = self.inspect(monkeypatch, self.file(tmp_path / "file", data))
        assert (code, said in out) == (0, True), out

    def test_plain_memory_by_what_firmware_tells(
        self, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
    ) -> None:
        low, high = 0x14000000, dumped.HEADER_AT + 0x1000
        with open(tmp_path / "memory", "wb") as file:  # from the dump area on; sparse
            file.write(dumped.register_area())
            file.seek(dumped.HEADER_AT - low)
            file.write(dumped.new_header())
            file.truncate(high - low)
        told = self.file(tmp_path / "property", dumped.kernel_dump())
        memory = str(tmp_path / "memory")
        where = f"--base={low:#x}"
        code, out, _ = self.inspect(monkeypatch, memory, where, f"--at={dumped.HEADER_AT}")
        assert (code, "header: FADMPSIG at 0x28001000" in out) == (0, True)
        os.truncate(memory, 0xA00)
        code, out, _ = self.inspect(monkeypatch, memory, where, f"--property={told}")
        assert (code, "saved registers: of 2 processors" in out) == (0, True)
        assert "problem: crash info header at 0x28001000: no crash info header" in out

    def test_a_core(self, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
        header = dumped.new_header()
        ident = b"\x7fELF\x02\x01\x01" + bytes(9)
        ehdr = struct.pack("<HHIQQQIHHHHHH", 4, 21, 1, 0, 64, 0, 0, 64, 56, 1, 0, 0, 0)
        phdr = struct.pack("<IIQQQQQQ", 1, 7, 0x1000, 0, dumped.HEADER_AT, 0x1000, 0x1000, 0)
        data = (ident + ehdr + phdr).ljust(0x1000, b"\0") + header.ljust(0x1000, b"\0")
        core = self.file(tmp_path / "core", data)
        code, out, _ = self.inspect(monkeypatch, core, f"--at={dumped.HEADER_AT:#x}")
        assert (code, "header: FADMPSIG at 0x28001000" in out) == (0, True)
        told = self.file(tmp_path / "property", dumped.kernel_dump())
        code, out, _ = self.inspect(monkeypatch, core, f"--property={told}")
        assert (code, "problem: registers at 0x14000000" in out) == (0, True)
        assert "say where it is by --at" in self.inspect(monkeypatch, core)[2]

    def test_two_answers_to_one_question(
        self, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
    ) -> None:
        core = self.file(tmp_path / "core", b"\x7fELF\x02\x01\x01".ljust(64, b"\0"))
        code, _, err = self.inspect(monkeypatch, core, "--at=8", f"--property={core}")
        assert (code, "both --at and --property say where the header is" in err) == (1, True)
        code, _, err = self.inspect(monkeypatch, core, "--at=8", "--base=4096")
        assert (code, "an ELF core, which says itself where its memory is" in err) == (255, True)

    def test_the_file_that_is_damaged_is_named(
        self, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
    ) -> None:
        core = self.file(tmp_path / "core", b"\x7fELF".ljust(64, b"\0"))
        memory = self.file(tmp_path / "memory", bytes(4096))
        told = self.file(tmp_path / "told", b"\0\0\0\1")
        _, _, err = self.inspect(monkeypatch, core)
        assert f"{core!r}: ELF version 0" in err
        _, _, err = self.inspect(monkeypatch, memory, f"--property={told}")
        assert err.startswith(f"pykexec: {told!r}: truncated: ibm,kernel-dump")

    @pytest.mark.parametrize(
        ("data", "said"),
        [
            (bytes(4096), "no crash info header is in it"),
            (dumped.unmerged_header(), "a patch that no released kernel has"),
        ],
    )
    def test_none(
        self, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, data: bytes, said: str
    ) -> None:
        code, _, err = self.inspect(monkeypatch, self.file(tmp_path / "file", data))
        assert (code, said in err) == (255, True)

    def test_this_machine(self, monkeypatch: pytest.MonkeyPatch, here: Here) -> None:
        here(told=True, registered=0)
        code, out, _ = self.inspect(monkeypatch)
        assert (code, "boot memory: 0x0-0x13ffffff to 0x14001000" in out) == (0, True)
        assert self.inspect(monkeypatch, "--at=1")[0] == 1

    def test_this_machine_without(self, monkeypatch: pytest.MonkeyPatch, here: Here) -> None:
        here()
        assert "firmware tells of no dump" in self.inspect(monkeypatch)[2]
