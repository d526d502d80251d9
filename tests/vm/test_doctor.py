"""The doctor in a guest whose gates are shut, one after the other and for real."""

from __future__ import annotations

import json
import textwrap
from typing import Any

from tests.vm.conftest import Vm
from tests.vm.qemu import Machine
from tests.vm.scenario import boot_path
from tests.vm.tried import Tried

KERNEL = boot_path("6.12")
SMALL = 48 << 20
GATES = textwrap.dedent(
    f"""
    import json, os, sys
    from contextlib import redirect_stdout
    from io import StringIO
    from pykexec.cli.main import cli

    NORMAL = ["doctor", "{KERNEL}", "--initrd", "/boot/initrd-small", "--json"]
    CRASH = [*NORMAL, "--crash", "--append", "nr_cpus=1"]
    found = {{}}

    def look(name, words):
        out = StringIO()
        with redirect_stdout(out):
            code = cli(words, standalone_mode=False)
        found[name] = {{"code": code, **json.loads(out.getvalue())}}

    def write(name, text):
        with open(name, "w") as file:
            file.write(text)

    look("open", NORMAL)
    look("open-crash", CRASH)
    write("/sys/kernel/kexec_crash_size", "{SMALL}")
    look("small", CRASH)
    write("/sys/kernel/kexec_crash_size", "0")
    look("none", CRASH)
    look("none-normal", NORMAL)
    write("/proc/sys/kernel/kexec_load_limit_panic", "0")
    look("limit-crash", CRASH)
    write("/proc/sys/kernel/kexec_load_limit_reboot", "0")
    look("limit", NORMAL)
    write("/proc/sys/kernel/kexec_load_disabled", "1")
    look("disabled", NORMAL)
    write("/sys/kernel/security/lockdown", "integrity")
    look("lockdown-signed", NORMAL)
    # The entry of the signature in the PE header's table of directories becomes zero.
    kernel = bytearray(open("{KERNEL}", "rb").read())
    at = int.from_bytes(kernel[0x3C:0x40], "little") + 24 + 112 + 4 * 8
    kernel[at : at + 8] = bytes(8)
    with open("/tmp/unsigned", "wb") as file:
        file.write(kernel)
    look("lockdown", ["doctor", "/tmp/unsigned", "--json"])
    os.setresuid(65534, 65534, 65534)
    look("nobody", NORMAL)
    print("found", json.dumps(found))
    """
)
SCRIPT = f"""
try text pykexec doctor {KERNEL} --append root=/dev/vda
/usr/bin/python3 -s /scenario/gates.py
"""


def levels(seen: dict[str, Any]) -> dict[str, str]:
    """Return the level of each check."""
    return {finding["check"]: finding["level"] for finding in seen["findings"]}


def test_each_gate_is_named(vm: Vm) -> None:
    result = vm(
        [SCRIPT],
        machine=Machine(memory="1G"),
        append="crashkernel=256M",
        files={"/scenario/gates.py": GATES},
    )
    lines = result.phases[1].lines
    tried = Tried(lines)
    assert tried.outcome("text") == (0, "00")
    text = tried.said("text").splitlines()
    assert len(text) <= 24
    assert max(map(len, text)) <= 80
    assert text[-1].startswith("verdict: nothing is known to block a normal load")

    (line,) = (line for line in lines if line.startswith("found "))
    found = json.loads(line.removeprefix("found "))
    codes = {name: seen["code"] for name, seen in found.items()}
    assert codes == {name: int(not name.startswith(("open", "none-"))) for name in found}
    assert "blocks" not in {*levels(found["open"]).values(), *levels(found["open-crash"]).values()}
    blocked = {
        "small": "crash_memory",
        "none": "crashkernel",
        "limit-crash": "load_limit",
        "limit": "load_limit",
        "disabled": "kexec_load_disabled",
        "lockdown": "lockdown",
        "nobody": "capability",
    }
    for name, check in blocked.items():
        assert levels(found[name])[check] == "blocks", found[name]
    # Debian's kernel is signed: whether with a key of this one's, only a load would tell.
    assert levels(found["lockdown-signed"])["lockdown"] == "risk"
    assert levels(found["none-normal"])["crashkernel"] == "note"
    # Less is reserved than the command line asks for, since it was given back.
    assert levels(found["small"])["crashkernel"] == "note"
    assert levels(found["open"])["crashkernel"] == "fine"
    said = {item["check"]: item["text"] for item in found["small"]["findings"]}["crashkernel"]
    assert "48 MiB are reserved where crashkernel=256M asks for 256 MiB" in said
    said = {item["check"]: item["text"] for item in found["none"]["findings"]}["crashkernel"]
    assert "crashkernel=256M would fit this machine" in said
    # What had not been shut by then is open.
    assert levels(found["limit"])["kexec_load_disabled"] == "fine"
    assert levels(found["disabled"])["lockdown"] == "fine"
    assert levels(found["lockdown"])["capability"] == "fine"
    advice = {f["check"]: f["advice"] for f in found["small"]["findings"]}["crash_memory"]
    assert "crashkernel=" in advice
