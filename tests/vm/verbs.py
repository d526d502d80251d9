"""What pykexec says about a board, on the board itself, and its boot entry."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from tests.vm.loads import printed
from tests.vm.scenario import Files, Result

EXTLINUX = "/boot/extlinux/extlinux.conf"
_LOOK = "/scenario/look.py"
LOOK = f"/usr/bin/python3 -s {_LOOK}\n"
"""The part of a phase that asks all of them."""


def board_files(kernel: str, cmdline: str, initrd: str = "/boot/initrd-small") -> Files:
    """Return the files of a guest whose boot loader starts ``kernel``, for LOOK."""
    configuration = f"""\
## {EXTLINUX}, as Debian's u-boot-menu writes it.
default l0
menu title U-Boot menu
prompt 1
timeout 50

label l0
	menu label Debian GNU/Linux
	linux {kernel}
	initrd {initrd}
	append {cmdline}
"""
    return {**look_files(kernel, *ASKED), EXTLINUX: configuration}


ASKED = (
    ("normal", "doctor *FILES"),
    ("crash", "doctor --crash *FILES --append nr_cpus=1"),
    ("estimate", "crash estimate *FILES --append nr_cpus=1"),
    ("entries", "entries"),
)
"""What each is called in what is found, and the words of the verb; *FILES are kernel and initrd."""


def look_files(kernel: str, *asked: tuple[str, str], before: str = "") -> Files:
    """Return the file of LOOK, which asks each for JSON; ``before`` is a line of its Python."""
    initrd = "--initrd=/boot/initrd-small"
    words = {name: text.replace("*FILES", f"{kernel} {initrd}").split() for name, text in asked}
    script = f"""\
import json
from contextlib import redirect_stdout
from io import StringIO
from pykexec.cli.main import cli

{before}
found = {{}}
for name, words in {words!r}.items():
    out = StringIO()
    with redirect_stdout(out):
        code = cli([*words, "--json"], standalone_mode=False)
    found[name] = {{"code": code or 0, "said": json.loads(out.getvalue())}}
print("found", json.dumps(found))
"""
    return {_LOOK: script}


def assert_nothing_blocks(result: Result, kernel: str, cmdline: str) -> Mapping[str, Any]:
    """The doctor lets both loads through, and the entry is that of the files; return all said."""
    found = found_by(result)
    assert found.keys() == dict(ASKED).keys()
    assert_entry(found, "extlinux", kernel, cmdline)
    return found


def found_by(result: Result) -> Mapping[str, Any]:
    """Return what LOOK found: each verb answered, and the doctor lets both loads through."""
    found: dict[str, Any] = json.loads(printed(result, 1, "found"))
    assert {name: item["code"] for name, item in found.items()} == dict.fromkeys(found, 0)
    for name in ("normal", "crash"):
        levels = {item["check"]: item["level"] for item in found[name]["said"]["findings"]}
        assert "blocks" not in levels.values(), found[name]
        assert levels["crashkernel"] == "fine"
    return found


def assert_entry(found: Mapping[str, Any], source: str, kernel: str, cmdline: str) -> None:
    """The one entry of that source is that of the files."""
    listed = found["entries"]["said"]["entries"]
    (entry,) = (item for item in listed if item["source"] == source)
    assert (entry["kernel"], entry["cmdline"]) == (kernel, cmdline)
