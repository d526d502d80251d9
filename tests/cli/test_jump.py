"""The way out: what is done to the machine before the jump, on a network of its own."""

from __future__ import annotations

import errno
import fcntl
import os
import socket
import subprocess
import sys
import textwrap

import pytest

from pykexec.cli.jump import run_shutdown, take_interfaces_down
from pykexec.errors import PykexecError

SCRIPT = textwrap.dedent(
    """
    import json, subprocess, sys
    from pykexec.cli.jump import take_interfaces_down

    def up():
        links = json.loads(subprocess.check_output(["ip", "-json", "link"]))
        return sorted(link["ifname"] for link in links if "UP" in link["flags"])

    for command in (
        "link set lo up",
        "link add left type veth peer name a-name-of-15-ch",
        "link set left up",
        "link set a-name-of-15-ch up",
    ):
        subprocess.check_call(["ip", *command.split()])
    print(up(), take_interfaces_down(), up())
    """
)


def test_all_interfaces_but_lo_go_down_in_a_private_network() -> None:
    own = os.readlink("/proc/self/ns/net")
    guard = f"import os; assert os.readlink('/proc/self/ns/net') != {own!r}\n"
    unshare = ["unshare", "--net", *([] if os.geteuid() == 0 else ["--map-root-user"])]
    result = subprocess.run(
        [*unshare, sys.executable, "-c", guard + SCRIPT],
        capture_output=True,
        text=True,
        check=False,
    )
    assert result.stderr == ""
    assert result.stdout == "['a-name-of-15-ch', 'left', 'lo'] [] ['lo']\n"


def test_an_interface_that_stays_up_does_not_keep_the_others_up(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    asked = []

    def ioctl(control: object, request: int, argument: bytes) -> bytes:
        name = argument[:16].rstrip(b"\0").decode()
        asked.append((name, request))
        if name == "a":
            raise OSError(errno.EBUSY, os.strerror(errno.EBUSY))
        return argument

    names = [(1, "lo"), (2, "a"), (3, "b")]
    monkeypatch.setattr(socket, "if_nameindex", lambda: names)
    monkeypatch.setattr(fcntl, "ioctl", ioctl)
    said = take_interfaces_down()
    assert said == ["cannot take interface a down: Device or resource busy"]
    assert asked == [("a", 0x8913), ("b", 0x8913), ("b", 0x8914)]


def test_shutdown_is_looked_for_in_its_places(monkeypatch: pytest.MonkeyPatch) -> None:
    tried: list[tuple[str, list[str]]] = []

    def execv(path: str, words: list[str]) -> None:
        tried.append((path, words))
        raise FileNotFoundError(path)

    monkeypatch.setattr("os.execv", execv)
    with pytest.raises(PykexecError, match="the kernel is loaded, but there is no shutdown"):
        run_shutdown()
    assert [path for path, _ in tried] == ["/sbin/shutdown", "/etc/shutdown", "/bin/shutdown"]
    assert tried[0][1] == ["shutdown", "-r", "now"]


def test_a_shutdown_that_cannot_be_run(monkeypatch: pytest.MonkeyPatch) -> None:
    def execv(path: str, words: list[str]) -> None:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr("os.execv", execv)
    with pytest.raises(PykexecError, match="cannot run /sbin/shutdown: Permission denied"):
        run_shutdown()
