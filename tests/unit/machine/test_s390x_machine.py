"""What only s390x machines show: what they were IPLed with."""

from __future__ import annotations

from pathlib import Path

import pytest

from pykexec.errors import CommandLineError
from pykexec.loading.load_request import build_cmdline
from pykexec.loading.options import LoadOptions
from pykexec.machine.files import MachineFiles
from pykexec.machine.kernel_state import kernel_state
from pykexec.machine.s390x import read_own
from pykexec.values.facts import MachineFacts
from tests.builders.machines import MachineDirectory


@pytest.mark.parametrize(
    ("parm", "scp", "found"),
    [
        pytest.param(b"", b"", b"", id="none"),
        pytest.param(b"\n", b"", b"", id="no-words-under-z/VM"),
        pytest.param(b"debug ro \n", b"", b"debug ro", id="z/VM"),
        pytest.param(b"", b"QUIET Root=/dev/sda  \0\0", b"QUIET Root=/dev/sda", id="mixed"),
        pytest.param(b"", b"QUIET S", b"quiet s", id="capitals"),
        pytest.param(b"", b"\xd3\x89", b"", id="ebcdic"),
    ],
)
def test_ipl_parameters(tmp_path: Path, parm: bytes, scp: bytes, found: bytes) -> None:
    machine = MachineDirectory(tmp_path)
    for name, data in (("parm", parm), ("scp_data", scp)):
        if data:
            machine.write(f"sys/firmware/ipl/{name}", data)
    for memory in (True, False):
        assert read_own(MachineFiles(tmp_path), memory=memory) == {"ipl_parameters": found}


@pytest.mark.parametrize(("text", "secure"), [(None, None), ("0\n", False), ("1\n", True)])
def test_a_secure_ipl(tmp_path: Path, text: str | None, secure: bool | None) -> None:
    if text is not None:
        MachineDirectory(tmp_path).write("sys/firmware/ipl/secure", text)
    assert kernel_state(MachineFiles(tmp_path), "6.12").secure_ipl is secure


def facts(cmdline: bytes, parameters: bytes) -> MachineFacts:
    return MachineFacts("s390x", 4096, (), cmdline=cmdline, ipl_parameters=parameters)


@pytest.mark.parametrize(
    ("cmdline", "parameters", "made"),
    [
        pytest.param(b"root=/dev/dasda1 debug ro", b"debug ro", b"root=/dev/dasda1 x", id="end"),
        pytest.param(b"debug ro", b"debug ro", b"x", id="nothing-else"),
        pytest.param(b"debug ro quiet", b"debug ro", b"debug ro quiet x", id="not-the-end"),
        pytest.param(b"nodebug", b"debug", b"nodebug x", id="a-part-of-a-word"),
        pytest.param(b"a b c", b"", b"a b c x", id="none"),
    ],
)
def test_what_the_next_kernel_appends_is_not_handed_on(
    cmdline: bytes, parameters: bytes, made: bytes
) -> None:
    options = LoadOptions(kernel="k", append="x", reuse_cmdline=True)
    line = build_cmdline(facts(cmdline, parameters), options)
    assert line.cmdline == made
    own = (
        f"the next kernel appends its IPL parameters by itself, as this one: {parameters.decode()}"
    )
    assert (own in line.notes) == (len(made) < len(cmdline))


def test_a_line_that_is_replaced() -> None:
    """By parameters that begin with ``=``, whatever is asked for."""
    here = facts(b"root=/dev/a ro", b"=root=/dev/a ro")
    with pytest.raises(CommandLineError, match="would have none of this command line") as caught:
        build_cmdline(here, LoadOptions(kernel="k", append="x"))
    assert "replace every one, by: root=/dev/a ro" in caught.value.message
    assert "do not begin with '='" in (caught.value.hint or "")
    line = build_cmdline(here, LoadOptions(kernel="k", reuse_cmdline=True))
    assert line.cmdline == b"root=/dev/a ro"
    assert line.notes == (
        "the next kernel has its IPL parameters for a command line, as this one: root=/dev/a ro",
    )
