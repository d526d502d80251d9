"""zipl.conf, by the example of its manual page."""

from __future__ import annotations

import pytest

from pykexec.entries.zipl import parse_zipl
from tests.builders.plain_configs import ZIPL_CONF, around

FILES = {"/boot/parmfile-test": "root=/dev/dasda2\nro\n"}


def test_the_example() -> None:
    found = parse_zipl(ZIPL_CONF, "zipl.conf", around(FILES))
    linux, test = found.entries
    assert (linux.id, linux.kernel, linux.initrds, linux.cmdline) == (
        "linux",
        "/boot/image",
        ("/boot/initrd",),
        "root=/dev/dasda1 console=ttyS0",
    )
    assert (test.cmdline, test.initrds, test.obstacle) == ("root=/dev/dasda2 ro", (), "")
    assert (found.default, found.problems) == ("test", ())
    assert found.reason == "default=2 of the menu 'menu1' in zipl.conf"


@pytest.mark.parametrize(
    ("head", "expected", "reason"),
    [
        ("default = linux", "linux", "[defaultboot] of z"),
        ("defaultauto\ntarget=/boot", "linux", "[defaultboot] of z, the first section"),
        ("default = dump", None, "[defaultboot] of z names 'dump', which is for dumpto"),
        ("default = x", None, "[defaultboot] of z names 'x', which is no section there"),
        ("defaultmenu = m", None, "[defaultboot] of z names the menu 'm', which is not there"),
    ],
)
def test_defaults(head: str, expected: str | None, reason: str) -> None:
    text = ZIPL_CONF.replace("defaultmenu = menu1", head)
    found = parse_zipl(text, "z", around(FILES))
    assert (found.default, found.reason) == (expected, reason)


def test_a_variable_of_the_boot_environment() -> None:
    """zipl-editenv(8): its value is not in the configuration."""
    text = '[a]\ntarget=/boot\nimage=/boot/image\nparameters="root=${ROOT_DEV} ro $x"\n'
    (entry,) = parse_zipl(text, "z", around()).entries
    assert entry.obstacle == "its command line has ${ROOT_DEV}, which only zipl's environment knows"
    (entry,) = parse_zipl(text.replace("${ROOT_DEV}", "/dev/a"), "z", around()).entries
    assert (entry.obstacle, entry.cmdline) == ("", "root=/dev/a ro $x")


def test_the_first_of_a_menu() -> None:
    found = parse_zipl(ZIPL_CONF.replace("default     = 2\n", ""), "z", around(FILES))
    assert found.default == "linux"


def test_what_is_malformed() -> None:
    found = parse_zipl("image=/x\n[a]\nwhat\nimage=/k\nparmfile=/gone\n", "z", around())
    assert found.problems == (
        "z, line 1: '[NAME]', ':NAME' or KEY=VALUE is needed",
        "z, line 3: '[NAME]', ':NAME' or KEY=VALUE is needed",
    )
    assert found.entries[0].obstacle == "its parmfile /gone cannot be read: there is no such file"
    assert (found.default, found.reason) == (None, "z has no section [defaultboot]")
