"""What pykexec says about a board, on the board itself, and its boot entry."""

from __future__ import annotations

import json
import textwrap
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
    look = textwrap.dedent(
        f"""
        import json
        from contextlib import redirect_stdout
        from io import StringIO
        from pykexec.cli.main import cli

        FILES = ["{kernel}", "--initrd", "/boot/initrd-small"]
        found = {{}}

        def look(name, *words):
            out = StringIO()
            with redirect_stdout(out):
                code = cli([*words, "--json"], standalone_mode=False)
            found[name] = {{"code": code or 0, "said": json.loads(out.getvalue())}}

        look("normal", "doctor", *FILES)
        look("crash", "doctor", "--crash", *FILES, "--append", "nr_cpus=1")
        look("estimate", "crash", "estimate", *FILES, "--append", "nr_cpus=1")
        look("entries", "entries")
        print("found", json.dumps(found))
        """
    )
    return {_LOOK: look, EXTLINUX: configuration}


def assert_nothing_blocks(result: Result, kernel: str, cmdline: str) -> Mapping[str, Any]:
    """The doctor lets both loads through, and the entry is that of the files; return all said."""
    found: dict[str, Any] = json.loads(printed(result, 1, "found"))
    assert {name: item["code"] for name, item in found.items()} == {
        "normal": 0,
        "crash": 0,
        "estimate": 0,
        "entries": 0,
    }
    for name in ("normal", "crash"):
        levels = {item["check"]: item["level"] for item in found[name]["said"]["findings"]}
        assert "blocks" not in levels.values(), found[name]
        assert levels["crashkernel"] == "fine"
    listed = found["entries"]["said"]["entries"]
    (entry,) = (item for item in listed if item["source"] == "extlinux")
    assert entry["kernel"] == kernel
    assert entry["cmdline"] == cmdline
    return found
