"""The line that GRUB starts by itself, and what stands in the way of knowing it."""

from __future__ import annotations

import pytest

from tests.builders.boot_configs import UUID, VERSIONS, debian_grub, grubenv
from tests.builders.grub_files import read

ADVANCED = f"gnulinux-advanced-{UUID}"
OLD = f"gnulinux-{VERSIONS[1]}-advanced-{UUID}"
KERNELS = "".join(f"menuentry '{name}' {{ linux /{name} }}\n" for name in ("a", "2b", "c", "4"))


def default_of(text: str, **environment: str) -> str:
    """Return the id of what starts by itself; nothing may be in doubt."""
    reading = read(text, {"/boot/grub/grubenv": grubenv(**environment)})
    assert reading.chosen.doubt == ""
    assert reading.chosen.item is not None
    assert reading.chosen.item.entry is not None
    return reading.chosen.item.entry.id


@pytest.mark.parametrize(
    ("default", "expected"),
    [
        ("0", f"gnulinux-simple-{UUID}"),
        ("", f"gnulinux-simple-{UUID}"),
        ("1>2", f"{ADVANCED}>{OLD}"),
        (f"{ADVANCED}>{OLD}", f"{ADVANCED}>{OLD}"),
        (f"Advanced options>Debian GNU/Linux, with Linux {VERSIONS[1]}", f"{ADVANCED}>{OLD}"),
        # A submenu goes on to its first line.
        ("1", f"{ADVANCED}>gnulinux-{VERSIONS[0]}-advanced-{UUID}"),
        # What is not there leaves the first line.
        ("nothing", f"gnulinux-simple-{UUID}"),
        ("99999999999", f"gnulinux-simple-{UUID}"),
    ],
)
def test_defaults(default: str, expected: str) -> None:
    assert default_of(debian_grub(default)) == expected


def test_defaults_that_are_saved() -> None:
    text = debian_grub("${saved_entry}")
    assert default_of(text, saved_entry="1>2") == f"{ADVANCED}>{OLD}"
    once = default_of(text, saved_entry="0", next_entry=f"{ADVANCED}>{OLD}")
    assert once == f"{ADVANCED}>{OLD}"
    # Who loads saved_entry and sets no default means that one.
    assert default_of("load_env\n" + KERNELS, saved_entry="c") == "c"
    assert default_of("load_env\ndefault=0\n" + KERNELS, saved_entry="c") == "a"


def test_what_is_not_there_is_told() -> None:
    assert read("default=x\n" + KERNELS).chosen.note == "it has no line 'x': the first counts"
    text = "default='s>x'\nsubmenu s {\n" + KERNELS + "}"
    assert read(text).chosen.note == "it has no line 'x': the first counts"


@pytest.mark.parametrize("name", ["2b", "4"])
def test_a_name_that_some_grubs_take_for_a_number(name: str) -> None:
    reading = read(f"default={name}\n" + KERNELS)
    assert reading.chosen.item is None
    assert reading.chosen.doubt == f"GRUBs differ in whether {name!r} is a name or a number"


def test_a_name_that_is_at_its_number() -> None:
    text = "default='1 one'\nmenuentry '0 zero' { linux /0 }\nmenuentry '1 one' { linux /1 }"
    assert default_of(text) == "1 one"


def test_a_separator_in_a_name() -> None:
    text = "submenu 'a>b' {\n menuentry c { linux /c }\n menuentry d { linux /d }\n}"
    assert default_of("default='a>>b>d'\n" + text) == "a>>b>d"


@pytest.mark.parametrize(
    ("body", "starts"),
    [
        ("chainloader +1", "chainloads +1 and is no Linux kernel"),
        ("chainloader /x.efi", "chainloads /x.efi and is no Linux kernel (there is no such file)"),
        ("fwsetup", "starts the firmware's setup"),
        ("kfreebsd /x", "starts FreeBSD"),
        ("true", ""),
        ("initrd /x", ""),
    ],
)
def test_defaults_that_are_no_linux(body: str, starts: str) -> None:
    reading = read(f"set default=1\nmenuentry a {{ linux /k }}\nmenuentry W {{ {body} }}")
    assert reading.chosen.item is not None
    assert (reading.chosen.item.title, reading.chosen.item.entry) == ("W", None)
    assert reading.chosen.item.starts == starts
    assert [entry.id for entry in reading.menu.entries()] == ["a"]


def test_no_menu() -> None:
    assert read("submenu x {\n true\n}").chosen.item is None
    assert read("").chosen.item is None


# What only GRUB knows


KEY = "if keystatus --shift; then "


def test_a_question_that_changes_nothing_is_not_told() -> None:
    text = "if sleep --interruptible 3; then timeout=0; fi\nif loadfont x; then gfxmode=a; fi\n"
    reading = read(text + KERNELS)
    assert reading.problems == ()
    assert reading.chosen.item is not None


@pytest.mark.parametrize(
    ("text", "question"),
    [
        (KEY + "default=c; fi", "what 'keystatus --shift' answers"),
        ("if ! " + KEY.removeprefix("if ") + "default=c; fi", "what 'keystatus --shift' answers"),
        ("if sleep -i 3; then true; else default=c; fi", "whether someone presses a key"),
        ("if cmostest 0x3c:1; then default=c; fi", "what 'cmostest 0x3c:1' answers"),
        ("if keystatus; then\nmenuentry x { linux /x }\nfi", "what 'keystatus' answers"),
        ("if [ -f (hd1,1)/x ]; then default=c; fi", "whether there is (hd1,1)/x: GRUB's device"),
        ("if search --label X --set=r; then default=c; fi",
         "whether there is the file system with label X"),
        ("if [ \"$root\" = hd0,msdos1 ]; then default=c; fi",
         "whether the file system of grub.cfg = hd0,msdos1"),
        ("smbios -t 1 -s 5 --set product\nif [ \"$product\" = X ]; then default=c; fi",
         "whether <what 'smbios -t 1 -s 5 --set product' finds> = X"),
        ("if regexp --set=1:a 'x' y; then default=c; fi", "what 'regexp --set=1:a x y' answers"),
        ("if frobnicate; then default=c; fi", "whether GRUB has a command 'frobnicate'"),
        ("while keystatus; do default=c; done", "what 'keystatus' answers"),
    ],
)  # fmt: skip
def test_a_default_that_only_grub_knows(text: str, question: str) -> None:
    reading = read(f"{text}\n{KERNELS}")
    assert reading.chosen.item is None
    assert reading.chosen.doubt.startswith(f"nobody can tell before GRUB runs {question}")
    assert any(
        question in problem and problem.endswith("the default depends on it")
        for problem in reading.problems
    )


def test_a_menu_that_only_grub_knows() -> None:
    reading = read(KERNELS + KEY + "\nmenuentry x { linux /x }\nfi")
    assert reading.chosen.item is not None
    assert reading.problems == (
        "/boot/grub/grub.cfg, line 5: nobody can tell before GRUB runs what 'keystatus --shift' "
        "answers; the menu depends on it",
    )


@pytest.mark.parametrize(
    ("text", "question"),
    [
        ("if cpuid -l; then v=64; else v=32; fi", "what 'cpuid -l' answers"),
        ("if search --no-floppy --set=foo --label X; then v=1; else v=0; fi",
         "whether there is the file system with label X"),
        ("if search --label X --set=foo; then root=hd7,1; fi",
         "whether there is the file system with label X"),
        ("if [ -f (hd1,1)/x ]; then i=/other; fi", "whether there is (hd1,1)/x: GRUB's device"),
        ("if ! keystatus --shift; then v=1; fi", "what 'keystatus --shift' answers"),
    ],
)  # fmt: skip
def test_an_entry_that_only_grub_knows(text: str, question: str) -> None:
    reading = read(
        f"i=/i\n{text}\nexport v i\nmenuentry a {{ linux (hd0,1)/k }}\n"
        "menuentry b { linux /k v=$v; initrd $i }\n"
        "submenu s { menuentry c { linux /k v=$v; initrd $i }\nmenuentry d { linux (hd0,1)/k $x } }"
    )
    first, *others = reading.menu.entries()
    assert [entry.id for entry in (first, *others)] == ["a", "b", "s>c", "s>d"]
    assert (first.obstacle, others[2].obstacle) == ("", "")
    for entry in others[:2]:
        assert entry.obstacle.startswith(f"nobody can tell before GRUB runs {question}")
        assert entry.obstacle.endswith(
            " (/boot/grub/grub.cfg, line 2), and what it starts depends on it"
        )
    assert reading.chosen.item is not None
    assert reading.chosen.item.entry == first


def test_an_entry_that_starts_the_same_in_any_case() -> None:
    """In another place, or not in the menu at all: that is no matter of the entry's."""
    reading = read(
        "menuentry z { linux /k }\nif keystatus; then\nmenuentry x { linux /x }\nelse\n"
        "menuentry x { linux /x }\nmenuentry y { linux /y }\nfi\n"
        "menuentry x { linux /k }"
    )
    assert [entry.id for entry in reading.menu.entries()] == ["z", "x", "y", "x"]
    assert {entry.obstacle for entry in reading.menu.entries()} == {""}
    assert reading.problems[0].endswith("the menu depends on it")


@pytest.mark.parametrize(
    "text",
    ["smbios --type 1 --set=v", "probe --set v --fs-uuid $root", "read v", "set v=$root",
     "rdmsr 0x10 --set=v", "regexp -s 1:v x x", "search --set=v --file /x"],
)  # fmt: skip
def test_a_default_or_command_line_of_unknown_words(text: str) -> None:
    reading = read(f"{text}\ndefault=$v\nmenuentry x {{ linux /k v=$v }}")
    assert reading.chosen.doubt.startswith("'default' is ")
    (entry,) = reading.menu.entries()
    assert entry.obstacle.startswith("only GRUB knows a part of the command line: ")
    assert "\ud800" not in repr(reading)


def test_more_questions_than_are_tried_out() -> None:
    asks = "".join(f"if cmostest {number}:1; then true; fi\n" for number in range(40))
    reading = read(asks + KERNELS)
    left = (
        "32 questions that only GRUB can answer were tried out, and 8 more were not: "
        "/boot/grub/grub.cfg, line 33, /boot/grub/grub.cfg, line 34, /boot/grub/grub.cfg, line 35, "
        "/boot/grub/grub.cfg, line 36 and more; no entry is certain"
    )
    assert (reading.chosen.item, reading.chosen.doubt) == (None, left)
    assert reading.problems == (left,)
    # By its name none is loaded either.
    assert {entry.obstacle for entry in reading.menu.entries()} == {left}


TWO = (
    "if keystatus --shift; then a=1; fi\nif keystatus --ctrl; then b=1; fi\n"
    "if [ x$a$b = x11 ]; then default=c; fi\n"
)
NESTED = "if keystatus --shift; then if keystatus --ctrl; then default=c; fi; fi\n"


@pytest.mark.parametrize("text", [TWO, NESTED])
def test_answers_that_matter_only_together(text: str) -> None:
    reading = read(text + KERNELS)
    assert reading.chosen.item is None
    assert reading.chosen.doubt.startswith(
        "nobody can tell before GRUB runs what 'keystatus --shift' answers (/boot/grub/grub.cfg, "
        "line 1), and what 'keystatus --ctrl' answers"
    )
    assert reading.problems == (f"{reading.chosen.doubt}; the default depends on both",)


def test_pairs_of_answers_that_are_too_many() -> None:
    asks = "".join(f"if cmostest {number}:1; then true; fi\n" for number in range(10))
    reading = read(asks + KERNELS)
    assert reading.chosen.item is not None
    assert reading.problems == (
        "/boot/grub/grub.cfg asks 10 questions that only GRUB can answer: of 45 pairs of answers, "
        "36 were tried out together",
    )


FLATCAR = """set default=usr
search --no-floppy --set oem --part-label OEM --hint "$root"
if [ -n "$oem" -a -f "($oem)/grub.cfg" ]; then set linux_append=from-oem; fi
menuentry usr {
  gptprio.next -d usr -u usr_uuid
  linux /vmlinuz mount.usr=PARTUUID=$usr_uuid $linux_append
}
"""


def test_partitions_by_their_table() -> None:
    """Flatcar's commands, and Fedora CoreOS' of old: which partition it is, only GRUB knows."""
    reading = read(FLATCAR)
    assert reading.chosen.item is None
    assert "what a search by part-label OEM finds" in reading.chosen.doubt
    (entry,) = reading.menu.entries()
    assert entry.obstacle == (
        "only GRUB knows a part of the command line: which partition has the highest priority"
    )


# What leaves GRUB, or starts something before the menu


@pytest.mark.parametrize(
    ("command", "starts"),
    [
        ("exit", "starts what the firmware has next"),
        ("halt", "starts nothing: it turns the machine off"),
        ("reboot", "starts the machine again"),
        ("fwsetup", "starts the firmware's setup"),
    ],
)
def test_commands_that_leave_grub(command: str, starts: str) -> None:
    """Nothing that follows counts, in an entry and in the file."""
    (item,) = read(f"menuentry x {{ {command}\nlinux /a }}").menu.items
    assert (item.entry, item.starts) == (None, starts)
    reading = read(f"{KERNELS}{command}\nmenuentry last {{ linux /last }}")
    assert [entry.id for entry in reading.menu.entries()] == ["a", "2b", "c", "4"]
    assert reading.chosen.item is None
    assert reading.chosen.doubt == (
        f"GRUB leaves by {command!r} in /boot/grub/grub.cfg, line 5, and shows no menu"
    )
    # Where it depends, the default does.
    reading = read(f"{KEY}{command}; fi\n{KERNELS}")
    assert "what 'keystatus --shift' answers" in reading.chosen.doubt
    # In a submenu, and in a file that an entry leads to.
    files = {"/other.cfg": command}
    reading = read(f"submenu s {{ {command} }}\nmenuentry t {{ configfile /other.cfg }}", files)
    assert reading.menu.entries() == ()
    assert reading.chosen.doubt.startswith(f"GRUB leaves by {command!r}")


def test_what_does_not_leave_grub() -> None:
    text = "normal_exit\nfwsetup --is-supported\nmenuentry x { normal_exit\nlinux /a }"
    reading = read(text)
    assert reading.problems == ()
    assert [entry.kernel.path for entry in reading.menu.entries()] == ["/a"]
    text = 'fwsetup --is-supported\nif [ "$?" = 0 ]; then menuentry fw { fwsetup }\nfi\n'
    reading = read(text.replace("menuentry fw", "menuentry fw --id uefi") + KERNELS)
    assert reading.menu.items[0].id == "uefi"
    assert reading.chosen.doubt.startswith("nobody can tell before GRUB runs whether <the answer")


def test_a_kernel_that_starts_before_the_menu() -> None:
    files = {"/k": "k", "/next.cfg": "linux /k next\nboot"}
    reading = read(f"linux /k x=1\ninitrd /i\nboot\n{KERNELS}", files)
    (entry,) = reading.menu.entries()
    assert (entry.id, entry.cmdline, entry.where) == ("boot", "x=1", "/boot/grub/grub.cfg, line 3")
    assert reading.chosen.item is not None
    # A file that is not there is not loaded, and then the menu is shown.
    assert [entry.id for entry in read(f"linux /gone\nboot\n{KERNELS}", files).menu.entries()] == [
        "a", "2b", "c", "4",
    ]  # fmt: skip
    reading = read("submenu s { linux /k in\nboot }\nmenuentry t { configfile /next.cfg }", files)
    assert [(entry.id, entry.cmdline) for entry in reading.menu.entries()] == [
        ("s", "in"), ("t>boot", "next"),
    ]  # fmt: skip


def test_where_reading_stopped() -> None:
    loop = "while true; do\na=1; done\n"
    reading = read(f"menuentry a {{ linux /a }}\nfunction f {{\n{loop}}}\nf\n{KERNELS}")
    place = "/boot/grub/grub.cfg, line 3"
    assert reading.chosen.doubt == f"its lines cannot be counted, since {place} is lost"
    assert reading.problems == (
        f"{place}: more than 20000 commands: the script may never come to an end",
    )
    reading = read(f"menuentry a {{ linux /a\n{loop}}}\nmenuentry b {{ linux /b }}")
    place = "/boot/grub/grub.cfg, line 3"
    assert reading.menu.items[0].entry is not None
    assert reading.menu.items[0].entry.obstacle.endswith(f"and reading stopped in {place}")
    assert reading.menu.items[1].starts == f"was not read: reading stopped in {place}"
    assert reading.problems == (
        f"{place}: more than 20000 commands: the script may never come to an end",
    )
