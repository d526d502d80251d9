"""Files that a grub.cfg takes in, and menus that it hands over to."""

from __future__ import annotations

import pytest

from pykexec.entries.grub_files import SearchBy
from tests.builders.grub_files import read

MINE = "\n\nmenuentry mine { linux /k }\nset chosen=mine"
OTHER = {"/grub/grub.cfg": "default=z\nmenuentry y { linux /y }\nmenuentry z { linux /z }"}


def ids(text: str, files: dict[str, str] | None = None, **devices: dict[str, str]) -> list[str]:
    return [entry.id for entry in read(text, files, devices).menu.entries()]


@pytest.mark.parametrize("command", ["source", "."])
def test_source(command: str) -> None:
    text = f"{command} $prefix/custom.cfg\nset default=$chosen"
    reading = read(text, {"/boot/grub/custom.cfg": MINE})
    (entry,) = reading.menu.entries()
    assert (entry.where, reading.menu.wanted) == ("/boot/grub/custom.cfg, line 3", "mine")


def test_what_is_not_there_is_told() -> None:
    reading = read("source /a\nconfigfile /b\nsource $prefix\nmenuentry x { linux /k }")
    assert reading.problems == (
        "/boot/grub/grub.cfg, line 1: cannot read /a: there is no such file",
        "/boot/grub/grub.cfg, line 2: cannot read /b: there is no such file",
        "/boot/grub/grub.cfg, line 3: cannot read (the file system of grub.cfg)/boot/grub: "
        "it is no regular file",
    )
    assert reading.chosen.item is not None


def test_a_file_on_another_device_may_have_lines() -> None:
    reading = read("source (hd1,1)/x\nmenuentry x { linux /k }")
    assert "GRUB's device (hd1,1) is not mounted" in reading.problems[0]
    assert "its lines cannot be counted" in reading.chosen.doubt


def test_the_directory_of_the_file_that_is_read() -> None:
    files = {
        "/boot/grub/d/a.cfg": "for f in ${config_directory}/e/*.cfg; do source $f; done",
        "/boot/grub/d/e/b.cfg": "menuentry b { linux /b }",
        "/boot/grub/d/e/c.cfg": "menuentry c { linux /c }",
        "/boot/grub/d/e/c.txt": "menuentry no { linux /c }",
    }
    text = "insmod regexp\nsource ${prefix}/*/a.cfg\nmenuentry x { linux $config_directory/k }"
    reading = read(text, files)
    assert [entry.id for entry in reading.menu.entries()] == ["b", "c", "x"]
    # The order in a directory is that of its file system, so the first is nobody's guess.
    assert reading.chosen.item is None
    assert "in which order it finds the files of a directory" in reading.chosen.doubt
    assert read("set default=c\n" + text, files).chosen.item is not None


def test_patterns_need_a_module() -> None:
    files = {"/v/one": "menuentry x { linux /k }"}
    reading = read("source /v/*", files)
    assert "whether its module regexp is loaded" in reading.chosen.doubt
    assert read("insmod regexp\nsource /v/*", files).problems == ()
    assert ids("insmod regexp\nfor f in /v/? /v/o?? '/v/*'; do menuentry \"$f\" { linux /k }; done",
               files) == ["/v/?", "/v/one", "/v/*"]  # fmt: skip


def test_a_pattern_of_devices_is_told() -> None:
    reading = read("for d in (hd*,1); do source $d/x; done\nmenuentry x { linux /k }")
    assert "which devices '(hd*,1)' matches, only GRUB knows" in reading.problems[0]
    assert reading.chosen.item is None


def test_a_menu_of_its_own_takes_over() -> None:
    """What follows is run when someone leaves that menu."""
    text = "a=1; b=1; export b\nconfigfile /grub/grub.cfg\nmenuentry never { linux /n }"
    files = {"/grub/grub.cfg": "default=z\nmenuentry z { linux /z a=$a b=$b }"}
    (entry,) = read(text, files).menu.entries()
    assert (entry.id, entry.cmdline) == ("z", "a= b=1")
    # Without lines there is none to take over.
    assert ids("configfile /e\nmenuentry x { linux /x }", {"/e": "true"}) == ["x"]


def test_a_stub_leads_elsewhere() -> None:
    """As grub-install writes it to the ESP."""
    text = """search.fs_uuid 1111-2222 root hd0,gpt2
set prefix=($root)'/grub'
configfile $prefix/grub.cfg
"""
    reading = read(text, devices={"1111-2222": OTHER})
    first, second = reading.menu.entries()
    assert first.kernel.device.search is not None
    assert first.kernel.device.search.by is SearchBy.FS_UUID
    assert (reading.menu.wanted, second.id) == ("z", "z")
    assert second.where == "/grub/grub.cfg, line 3"
    search = "search --fs-uuid 1111-2222 --set dev"
    fedora = text.replace("search.fs_uuid 1111-2222 root hd0,gpt2", search).replace("$root", "$dev")
    assert [e.id for e in read(fedora, devices={"1111-2222": OTHER}).menu.entries()] == ["y", "z"]
    lost = read(text)
    assert lost.menu.items == ()
    assert "the file system with fs-uuid 1111-2222 is not mounted" in lost.problems[0]


def test_normal_goes_on_in_the_same_menu() -> None:
    text = "a=1\nset prefix=/grub\nmenuentry x { linux /x }\nnormal\nmenuentry n { linux /n }"
    assert ids(text, OTHER) == ["x", "y", "z"]
    assert ids("normal /grub/grub.cfg", OTHER) == ["y", "z"]


def test_an_entry_that_shows_a_menu() -> None:
    text = "default='o'\nmenuentry x { linux /x }\nmenuentry o { configfile /grub/grub.cfg }"
    reading = read(text, OTHER)
    assert [entry.id for entry in reading.menu.entries()] == ["x", "o>y", "o>z"]
    assert reading.chosen.item is not None
    assert reading.chosen.item.entry is not None
    assert reading.chosen.item.entry.id == "o>z"


def test_entries_taken_out() -> None:
    assert ids("extract_entries_source /grub/grub.cfg\nmenuentry a { linux /a }", OTHER) == [
        "y", "z", "a",
    ]  # fmt: skip
    assert ids("extract_entries_configfile /grub/grub.cfg\nmenuentry a { linux /a }", OTHER) == [
        "y", "z",
    ]  # fmt: skip


@pytest.mark.parametrize(
    "command", ["legacy_configfile", "legacy_source", "syslinux_configfile", "syslinux_source"]
)
def test_other_loaders_menus_are_told(command: str) -> None:
    reading = read(f"{command} /x\nmenuentry x {{ linux /k }}")
    assert "which is not read here" in reading.problems[0]
    assert reading.chosen.item is None


def test_a_file_that_includes_itself() -> None:
    reading = read("source /x", {"/x": "source /x"})
    assert "more than 64 levels deep" in reading.problems[0]
    text = "menuentry a { linux /a }\nsubmenu s {\n configfile /boot/grub/grub.cfg\n}\n"
    reading = read(text)
    assert [entry.id for entry in reading.menu.entries()] == ["a"]
    assert reading.problems == ()
    both = read("configfile /x", {"/x": "configfile /boot/grub/grub.cfg"})
    assert both.menu.items == ()


def test_an_error_in_what_is_included() -> None:
    reading = read("\n\n\nsource /x\nmenuentry x { linux /k }", {"/x": "\nfi"})
    assert reading.problems == ("/x, line 2: 'fi' is not what GRUB's grammar has here",)
    assert reading.chosen.item is not None
