"""A crash on purpose: its token, and the verdict on what it left."""

from __future__ import annotations

import json
from typing import Any

import pytest

from pykexec.crash.trial import (
    LOG_TAIL,
    Caught,
    Kind,
    Token,
    build_token,
    kind_of,
    parse_token,
    report,
    shows_the_panic,
)
from pykexec.errors import MachineError

TOKEN = Token("2026-01-31T12:00:00Z", "before", "6.12", "/var/crash", {"/var/crash/old": 7})
CORE = Caught("/var/crash/vmcore", Kind.CORE, 3 << 20, True)
OTHER = Caught("/var/crash/dump.1", Kind.CORE, 3 << 20, False)
UNREADABLE = Caught("/var/crash/vmcore", Kind.CORE, 9, None, "its log cannot be read: no ELF")
INCOMPLETE = Caught("/var/crash/vmcore-incomplete", Kind.INCOMPLETE, 9, None)
LOG = Caught("/var/crash/dmesg.txt", Kind.LOG, 9, True)


def test_a_token_reads_back() -> None:
    assert parse_token(build_token(TOKEN), "/t") == TOKEN


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"schema": "x"}, "/t: schema 'x' is unknown"),
        ({"dump_dir": None}, "/t: dump_dir is missing, a text is needed"),
        ({"known": {"a": "b"}}, "/t: known.a is 'b', an integer"),
    ],
)
def test_a_malformed_token_is_refused(change: dict[str, Any], message: str) -> None:
    value = {**json.loads(build_token(TOKEN)), **change}
    with pytest.raises(MachineError) as caught:
        parse_token(json.dumps(value).encode(), "/t")
    assert caught.value.message.startswith(message)


@pytest.mark.parametrize(
    ("name", "kind"),
    [
        ("vmcore", Kind.CORE),
        ("vmcore.flat", Kind.CORE),
        ("dump.202601311200", Kind.CORE),
        ("host.dump", Kind.CORE),
        ("host.VMCORE", Kind.CORE),
        ("vmcore-incomplete", Kind.INCOMPLETE),
        ("vmcore-dmesg.txt", Kind.LOG),
        ("dmesg.202601311200", Kind.LOG),
        ("kexec-dmesg.log", None),
        ("README.txt", None),
        ("core.1234", None),
    ],
)
def test_files_are_known_by_their_names(name: str, kind: Kind | None) -> None:
    assert kind_of(name) is kind


@pytest.mark.parametrize(
    ("log", "shown"),
    [
        (b"[ 1.0] sysrq: Trigger a crash\n[ 1.0] Kernel panic - not syncing: sysrq ...", True),
        (b"[ 1.0] SysRq : Trigger a crash\n[ 1.0] BUG: unable to handle kernel NULL", True),
        (b"[ 1.0] Kernel panic - not syncing: sysrq triggered crash\n", True),
        (b"[ 1.0] Kernel panic - not syncing: Out of memory\n", False),
        (b"sysrq triggered crash\n" + bytes(LOG_TAIL), False),
    ],
)
def test_the_panic_stands_at_the_end_of_the_log(log: bytes, shown: bool) -> None:
    assert shows_the_panic(log) is shown


@pytest.mark.parametrize(
    ("caught", "success", "verdict"),
    [
        ([CORE], True, "caught: /var/crash/vmcore, 3 MiB, ends in the crash"),
        ([INCOMPLETE, OTHER, CORE], True, "caught: /var/crash/vmcore, 3 MiB"),
        ([OTHER], False, "not proven: /var/crash/dump.1 is there, but its log does not end in"),
        ([UNREADABLE, LOG], False, "not proven: /var/crash/vmcore is there, but its log cannot be"),
        ([INCOMPLETE, LOG], False, "not caught: the core is incomplete"),
        ([LOG], False, "not caught: there is a log, but no core"),
        ([], False, "not caught: nothing new below /var/crash"),
    ],
)
def test_the_verdict(caught: list[Caught], success: bool, verdict: str) -> None:
    found = report(TOKEN, "after", caught)
    assert found.success is success
    assert found.verdict.startswith(verdict)
    assert found.caught == tuple(caught)


def test_without_a_boot_in_between_nothing_crashed() -> None:
    found = report(TOKEN, "before", [CORE])
    assert (found.success, found.verdict[:11]) == (False, "not crashed")
    assert report(TOKEN, "", [CORE]).success
