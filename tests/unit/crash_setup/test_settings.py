"""Targets as users write them, and the configurations of other kdumps."""

from __future__ import annotations

import pytest

from pykexec.crash_setup.settings import (
    Kind,
    Settings,
    Target,
    parse_kdump_conf,
    parse_kdump_tools,
    parse_target,
)
from pykexec.errors import OptionError


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("/srv//dumps/", Target(Kind.DIRECTORY, directory="/srv/dumps")),
        ("/dev/vdb", Target(Kind.DEVICE, "/dev/vdb")),
        ("nfs://host/export/dumps", Target(Kind.NFS, "host:/export/dumps", directory="/")),
        ("ssh://me@host/var/crash", Target(Kind.SSH, "me@host", directory="/var/crash", key="k")),
    ],
)
def test_a_target_as_it_is_written(text: str, expected: Target) -> None:
    assert parse_target(text, "k") == expected


@pytest.mark.parametrize(
    "text", ["var/crash", "", "ftp://host/x", "ssh://host", "nfs:///x", "/a\nb"]
)
def test_what_is_no_target(text: str) -> None:
    with pytest.raises(OptionError):
        parse_target(text)


KDUMP_CONF = """
# the target
ext4 UUID=03138356-5e61-4ab3-b58e-27507ac41937
path /dumps   # below it
core_collector makedumpfile -F -z -d 31
final_action poweroff
failure_action shell
auto_reset_crashkernel yes
extra_bins /usr/bin/lftp
"""


def test_kdump_conf() -> None:
    target = Target(Kind.FILE_SYSTEM, "UUID=03138356-5e61-4ab3-b58e-27507ac41937", "ext4", "/dumps")
    untaken = (
        "line 7: failure_action shell: only reboot, halt, poweroff",
        "line 9: extra_bins is not known here",
    )
    assert parse_kdump_conf(KDUMP_CONF) == Settings(
        target, "-z -d 31", "poweroff", "reboot", "/etc/kdump.conf", untaken
    )


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("", Target(Kind.DIRECTORY)),
        ("path dumps", Target(Kind.DIRECTORY, directory="/dumps")),
        ("raw /dev/vg/lv", Target(Kind.DEVICE, "/dev/vg/lv")),
        ("nfs my.server.com:/export/tmp", Target(Kind.NFS, "my.server.com:/export/tmp")),
        ("ssh user@host\nsshkey /k", Target(Kind.SSH, "user@host", key="/k")),
        ("sshkey /k\nssh user@host", Target(Kind.SSH, "user@host", key="/k")),
        ("ssh user@host", Target(Kind.SSH, "user@host", key="/root/.ssh/kdump_id_rsa")),
        ("ext4 /dev/a\nxfs /dev/b", Target(Kind.FILE_SYSTEM, "/dev/b", "xfs")),
    ],
)
def test_targets_of_kdump_conf(text: str, expected: Target) -> None:
    found = parse_kdump_conf(text)
    assert (found.target, found.untaken) == (expected, ())


@pytest.mark.parametrize(
    ("collector", "arguments"),
    [("makedumpfile -l -d 31", "-l -d 31"), ("cp", ""), ("scp -q", ""), ("dump-it", None)],
)
def test_core_collectors(collector: str, arguments: str | None) -> None:
    found = parse_kdump_conf(f"core_collector {collector}")
    assert found.makedumpfile == arguments
    assert bool(found.untaken) == (arguments is None)


KDUMP_TOOLS = """
# kdump-tools configuration
USE_KDUMP=1
#KDUMP_SYSCTL="kernel.panic_on_oops=1"
KDUMP_COREDIR="/srv/crash"
KDUMP_FAIL_CMD="/sbin/halt -f"
MAKEDUMP_ARGS="-F -c -d 17"
export KDUMP_NUM_DUMPS=3
"""


def test_kdump_tools() -> None:
    assert parse_kdump_tools(KDUMP_TOOLS) == Settings(
        Target(Kind.DIRECTORY, directory="/srv/crash"),
        "-c -d 17",
        "reboot",
        "halt",
        "/etc/default/kdump-tools",
        ("KDUMP_NUM_DUMPS=3: not known here",),
    )


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ('NFS="10.0.0.1:/var/crash"', Target(Kind.NFS, "10.0.0.1:/var/crash", directory="/")),
        (
            'SSH="ubuntu@server"\nSSH_KEY=/root/k',
            Target(Kind.SSH, "ubuntu@server", key="/root/k"),
        ),
        ("SSH=u@s", Target(Kind.SSH, "u@s", key="/root/.ssh/id_rsa")),
        ("KDUMP_COREDIR=", Target(Kind.DIRECTORY)),
    ],
)
def test_targets_of_kdump_tools(text: str, expected: Target) -> None:
    found = parse_kdump_tools(text)
    assert (found.target, found.untaken) == (expected, ())


def test_a_command_that_is_no_action_is_told() -> None:
    found = parse_kdump_tools("KDUMP_FAIL_CMD=/usr/local/bin/page-me")
    assert (found.failure, len(found.untaken)) == ("reboot", 1)
