"""``pykexec plan --diff`` reads what kexec-tools and pykexec print for ``-d``."""

from __future__ import annotations

from pathlib import Path

import pytest

import pykexec
from pykexec.render.diff import differences, parse_other
from pykexec.render.json import plan_value
from pykexec.values.calls import KexecFlags
from tests.differential.conftest import Kernels
from tests.differential.sandbox import Sandbox, Tool

pytestmark = pytest.mark.differential


@pytest.mark.parametrize(
    ("which", "different"),
    [
        (
            "theirs",
            {
                "entry",
                "segment boot_params",
                "segment of the log",
                "segment purgatory bufsz",  # it has as many pages as ours
                "segment setup_data mem",
            },
        ),
        ("ours", set()),
    ],
    ids=["theirs", "ours"],
)
def test_a_log_says_what_the_call_was_given(
    sandbox: Sandbox,
    machines: dict[str, Path],
    initrds: dict[str, Path],
    kernels: Kernels,
    which: str,
    different: set[str],
    request: pytest.FixtureRequest,
) -> None:
    tool: Tool = request.getfixturevalue(which)
    machine = machines["x86_64-6.12-bios-8G"]
    kernel, initrd = kernels.path("ordinary"), initrds["10M"]
    arguments = ["-d", "-c", "-l", str(kernel), f"--initrd={initrd}", "--append=ro"]
    outcome = sandbox.run(tool, arguments, machine)
    call = outcome.load
    log = parse_other(outcome.stdout + outcome.stderr, "log")
    # That the kernel is to log the load too, pykexec does not print.
    flags = call.flags & ~int(KexecFlags.KEXEC_DEBUG)
    assert (int(log["entry"], 16), int(log["flags"], 16)) == (call.entry, flags)
    assert [(int(item["mem"], 16), item["memsz"], item["bufsz"]) for item in log["segments"]] == [
        (item.mem, item.memsz, item.bufsz) for item in call.segments
    ]

    facts = pykexec.read_machine(machine)
    wanted = pykexec.LoadRequest(
        kernel.read_bytes(), initrd.read_bytes(), b"ro", rng_seed=bytes(32)
    )
    found = {item.name for item in differences(log, plan_value(pykexec.plan(facts, wanted)))}
    # Kernel, initrd and setup_data are recognised by their sizes; the first two lie where
    # they lie here.
    assert found == different
