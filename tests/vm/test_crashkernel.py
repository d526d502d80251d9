"""``crashkernel=`` words that real kernels are booted with: what is said is what they did."""

from __future__ import annotations

import json
import textwrap

import pytest

from pykexec.values.units import MIB
from tests.vm.conftest import Vm
from tests.vm.qemu import Machine

LOOK = textwrap.dedent(
    """
    import json
    from pykexec import read_machine
    from pykexec.crash.crashkernel import Wanted
    from pykexec.crash.reservation import objection, wanted_here
    from pykexec.values.memory import crash_regions

    facts = read_machine()
    asked, against = wanted_here(facts), objection(facts)
    print("found", json.dumps({
        "regions": [[region.start, region.size] for region in crash_regions(facts.iomem)],
        "wanted": [asked.size, asked.base] if isinstance(asked, Wanted) else None,
        "against": against.text if against else None,
    }))
    """
)
SCRIPT = "/usr/bin/python3 -s /scenario/look.py"

RESERVED = {
    "crashkernel=0-512M:64M,512M-:96M": 96,
    "ro -- crashkernel=80M": 80,
    "xcrashkernel=0x4000000": 64,
    "crashkernel=junk crashkernel=64M@128M": 64,
    "crashkernel=64M,high": 64,
}
NOTHING = {
    "crashkernel=2G-4G:320M,4G-32G:512M": "(the first starts at 2G)",
    "crashkernel=1G": "more than the RAM",
    "crashkernel=512M@16M": "runs past the RAM",
    "crashkernel=64M@257M": "no multiple of 16 MiB",
    "crashkernel=64M@16M": "is taken by 'Kernel",
    "crashkernel=64M crashkernel=junk": "crashkernel=junk has no size",
    "crashkernel=64M crashkernel=32M,cma": "takes its ,cma for a typo",
    "crashkernel=64M,low": "reserves nothing by itself",
    '"crashkernel=64M"': "is not understood from '\"' on",
    "crashkernel=64MB": "is not understood from 'B' on",
    "crashkernel=1G-2G:8G,0-1G:64M": "there the kernel gives up",
    "crashkernel=1G-2G:8M;0-:64M": "there the kernel stops reading",
    "crash-kernel=64M": "the kernel does not know 'crash-kernel=64M'",
}
OFTEN = "crashkernel=2G-4G:320M,4G-32G:512M"


@pytest.mark.parametrize(
    "word",
    [
        word if word == OFTEN else pytest.param(word, marks=pytest.mark.full)
        for word in (*RESERVED, *NOTHING)
    ],
)
def test_what_is_said_is_what_the_kernel_did(vm: Vm, word: str) -> None:
    """On a machine of 512 MiB, with Debian's Linux 6.12."""
    result = vm(
        [SCRIPT],
        machine=Machine(memory="512M"),
        append=f"nokaslr {word}",
        files={"/scenario/look.py": LOOK},
    )
    lines = result.phases[1].lines
    (line,) = (line for line in lines if line.startswith("found "))
    found = json.loads(line.removeprefix("found "))
    if word in NOTHING:
        assert found["regions"] == []
        assert NOTHING[word] in found["against"]
        return
    assert found["against"] is None
    size, base = found["wanted"]
    ((start, reserved),) = found["regions"]
    assert size == reserved == RESERVED[word] * MIB
    assert base in (None, start)
