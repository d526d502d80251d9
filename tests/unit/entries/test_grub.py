"""grub.cfg: what scripts come to, construct by construct, and generated files as a whole."""

from __future__ import annotations

import pytest

from pykexec.entries.grub_env_block import parse_grubenv
from pykexec.entries.grub_files import Device, FileReference
from pykexec.entries.grub_values import GrubEntry
from pykexec.errors import MachineError
from tests.builders.boot_configs import CMDLINE, UUID, VERSIONS, debian_grub, grubenv
from tests.builders.grub_files import read


def values(text: str, **variables: str) -> str:
    """Return the command line of an entry behind ``text``."""
    settings = "".join(f"{name}={value}\n" for name, value in variables.items())
    (entry,) = read(f"{settings}{text}\nmenuentry x {{ linux /k $a $b $c }}").menu.entries()
    return entry.cmdline


def test_a_generated_file() -> None:
    reading = read(debian_grub(), {"/boot/grub/grubenv": grubenv()})
    simple, *advanced = reading.menu.entries()
    device = simple.kernel.device
    assert device.search is not None
    assert (device.search.by, device.search.value) == ("fs-uuid", UUID)
    assert device.search.hints == ("hd0,gpt2",)
    assert simple == GrubEntry(
        id=f"gnulinux-simple-{UUID}",
        title="Debian GNU/Linux",
        where="/boot/grub/grub.cfg, line 69",
        kernel=FileReference(device, f"/boot/vmlinuz-{VERSIONS[0]}"),
        initrds=(
            FileReference(device, "/boot/early.cpio"),
            FileReference(device, f"/boot/initrd.img-{VERSIONS[0]}"),
        ),
        cmdline=f"{CMDLINE} vt.handoff=7",
    )
    assert advanced[0].where == "/boot/grub/grub.cfg, line 86"
    assert [entry.id.partition(">")[2] for entry in advanced] == [
        f"gnulinux-{version}-{kind}-{UUID}"
        for version in VERSIONS
        for kind in ("advanced", "recovery")
    ]
    assert advanced[1].cmdline == f"{CMDLINE} single vt.handoff=7"
    assert [item.title for item in reading.menu.items] == [
        "Debian GNU/Linux",
        "Advanced options",
        "UEFI Firmware Settings",
    ]
    assert reading.problems == ()
    assert len(read(debian_grub(), grub_platform="pc").menu.items) == 2


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("set a=1", "1"),
        ("a=1; b=2", "1 2"),
        ("set a=1 b=2", "1"),
        ("set a='$b'", "$b"),
        ('set b=x; set a="$b-${b}y"', "x-xy x"),
        ('set a="\\$b \\"q\\" \\\\ \\n"', '$b \\"q\\" \\\\ \\\\n'),
        ("set a=one\\ word", "one word"),
        ("set a=1 # set a=2", "1"),
        ("set a=1#2", "1#2"),
        ("set a=on\\\ne", "one"),
        ("set a=1\nunset a b", ""),
        ("set a=${nothing}", ""),
        ("a=\" x\"; set b=1$a", "x 1x"),
        ("a=1\r\nb=2\r", "1 2"),
        ("a='1\n# left out, as by GRUB's reader\n2'", "1 2"),
        ("if true; then a=1; else a=2; fi", "1"),
        ("if false; then a=1; elif true; then a=2; else a=3; fi", "2"),
        ("if ! false; then a=1; fi", "1"),
        ("if a=1; then b=2; fi", "1 2"),
        ("if true; then if false; then a=1; fi; b=2; fi", "2"),
        ('function f { a=$1; b=$#; c="$*"; }\nf x y', "x 2 x y"),
        ("function f { a=$2; }\nf x", ""),
        ("function f { a=$10; b=${11}; }\nf 1 2 3 4 5 6 7 8 9 ten eleven", "ten eleven"),
        ('function g { a=$#$2; }\nfunction f { g "$@"; b=$#; }\nf "x y" z', "2z 2"),
        ("function f { shift; a=$1; shift 2; b=$1; }\nf 1 2 3 4", "2 4"),
        ("function f { setparams q r; a=$2; }\nf", "r"),
        ("function f { a=1; return 1; a=2; }\nf; b=$?; if f; then c=3; fi", "1 1"),
        ("for x in 1 2 3; do a=$a$x; done", "123"),
        ("while [ x$a != x111 ]; do a=1$a; done", "111"),
        ("until [ x$a = x11 ]; do a=1$a; done", "11"),
        (
            "for x in 1 2; do for y in 3 4; do if [ $y = 4 ]; then continue 2; fi\n"
            "a=$a$x$y; done; done",
            "1323",
        ),
        ("for x in 1 2; do for y in 3 4; do a=$a$y; break 2; done; done", "3"),
        ("while true; do a=1$a; if [ $a = 111 ]; then break; fi; done", "111"),
        ("eval 'b=1; a='\\''x'\\'", "x 1"),
        ("false; a=$?; true; b=$?", "1 0"),
        ("foo {\n a=1\n}\nb=1", "1"),
        ("hiddenentry x --hotkey t {\n a=1\n}\nb=1", "1"),
        ("a=3; increment a; b=-1; decrement b", "4 -2"),
        ('a="b=5"; eval $a', "b=5 5"),
        ('a=$"x $grub_cpu"', "x x86_64"),
    ],
)  # fmt: skip
def test_constructs(text: str, expected: str) -> None:
    assert values(text) == expected


def test_words_and_quotes_on_the_command_line() -> None:
    """GRUB escapes quotes, and quotes a word with blanks."""
    text = """
    set words="one two"
    menuentry 'x' { linux /k $words "$words" 'a"b' "" pre$words'post' dyndbg="file a +p" }
    """
    (entry,) = read(text).menu.entries()
    assert entry.cmdline == 'one two "one two" a\\"b  preone twopost "dyndbg=file a +p"'


def test_conditions_in_scripts() -> None:
    files = {"/boot/grub/custom.cfg": ""}
    assert values("if [ x$b = x ]; then a=1; fi") == "1"
    assert values('if [ "${x}" ] ; then a=1; else a=2; fi') == "2"
    assert values('if [ "${x}" ] ; then a=1; else a=2; fi', x="y") == "1"
    text = "if test -f $prefix/custom.cfg; then a=1; fi\nmenuentry x { linux /k $a }"
    assert read(text, files).menu.entries()[0].cmdline == "1"


def test_tests_of_files() -> None:
    files = {"/d/x": "x", "/e": "", "/f": "text"}
    text = "".join(
        f"if [ -{operator} {path} ]; then a=${{a}}{operator}{path}; fi\n"
        for operator in "defs"
        for path in ("/d", "/d/", "/e", "/f", "/n", "/")
    )
    (entry,) = read(text + "menuentry x { linux /k $a }", files).menu.entries()
    assert entry.cmdline == "d/dd/d/d/e/de/d/e/ee/fe/f/ef/fs/f"


def test_entries_see_the_variables_as_they_are_at_last() -> None:
    text = "set a=1\nmenuentry x { set a=$a$a; linux /k $a }\nmenuentry y { linux /k $a }\nset a=2"
    assert [entry.cmdline for entry in read(text).menu.entries()] == ["22", "2"]


def test_a_submenu_sees_what_is_exported() -> None:
    text = "a=1; b=2; export b\nsubmenu s {\n menuentry x { linux /k a=$a b=$b }\n}"
    assert read(text).menu.entries()[0].cmdline == "a= b=2"


def test_an_entry_has_its_words() -> None:
    text = "menuentry 'one' 64 --class a --id=i --unrestricted {\n linux /k$2 title=$1 $#\n}"
    (entry,) = read(text).menu.entries()
    assert (entry.id, entry.kernel.path, entry.cmdline) == ("i", "/k64", "title=one 2")


def test_menus() -> None:
    text = """
    menuentry "A 'title'" --class a --users "" --hotkey=q --id one --unrestricted { linux /a x }
    menuentry 'b' --id=two { linuxefi (hd0,gpt2)/b\n initrdefi --newc /c /d\n devicetree /e }
    menuentry 'c' $menuentry_id_option 'three' { initrd /i; linux16 /c }
    submenu d { menuentry e { linux /e }
      submenu 'f>' --id 'six>7' { menuentry g { linux /g } } }
    menuentry h --source='linux /h $1'
    """
    one, two, three, e, g, h = read(text).menu.entries()
    assert (one.id, one.title, one.kernel.path, one.cmdline) == ("one", "A 'title'", "/a", "x")
    assert two.kernel == FileReference(Device("hd0,gpt2"), "/b")
    assert (two.id, [file.path for file in two.initrds]) == ("two", ["/c", "/d"])
    assert two.device_tree is not None
    assert two.device_tree.path == "/e"
    # Without the variable that makes it an option, the third id is a word like others.
    assert (three.id, three.kernel.path, three.initrds) == ("c", "/c", ())
    assert (e.id, g.id) == ("d>e", "d>six>>7>g")
    assert (h.id, h.cmdline) == ("h", "h")


@pytest.mark.parametrize(
    "text",
    [
        "menuentry { linux /k }",
        "menuentry x",
        "menuentry x --source=a { linux /k }",
        "submenu --id",
    ],
)
def test_lines_that_grub_leaves_out(text: str) -> None:
    reading = read(text + "\nmenuentry y { linux /y }")
    assert [entry.id for entry in reading.menu.entries()] == ["y"]
    assert "is left out, as GRUB does" in reading.problems[0]


def test_names_of_the_environment() -> None:
    files = {"/boot/grub/grubenv": grubenv(a="1", b="2"), "/x": grubenv(a="3", b="4")}
    entry = "\nmenuentry x { linux /k $a $b }"
    texts = ("load_env", "load_env --file /x b", "load_env -f /missing", "load_env -x")
    readings = [read(text + entry, files) for text in texts]
    found = [reading.menu.entries()[0].cmdline for reading in readings]
    assert found == ["1 2", "4", "", ""]
    assert "load_env: unknown argument '-x'" in readings[3].problems[0]


def test_grubenv() -> None:
    text = grubenv(saved_entry="1>2", kernelopts="root=/dev/vda ro a=b")
    assert parse_grubenv(text, "") == {"saved_entry": "1>2", "kernelopts": "root=/dev/vda ro a=b"}
    assert parse_grubenv("# GRUB Environment Block\na=x\\\\y\\\nz\n##", "") == {"a": "x\\y\nz"}
    assert parse_grubenv("", "") == {}
    with pytest.raises(MachineError, match=r"^e, line 4: NAME=VALUE is needed: 'nothing'"):
        parse_grubenv("# x\na=1\\\n2\nnothing\n", "e")
    reading = read("load_env\nmenuentry x { linux /k }", {"/boot/grub/grubenv": "nothing"})
    assert reading.problems == ("/boot/grub/grubenv, line 1: NAME=VALUE is needed: 'nothing'",)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("set a='x\n", "line 1: a quote of ' is never closed"),
        ('\nset a="x\n\n', 'line 2: a quote of " is never closed'),
        ("\n\nset a=${x\n}", "line 3: '$' without the name of a variable"),
        ("set a=${}", "line 1: '$' without the name of a variable"),
        ('set a="5 $"', "line 1: a '$' without the name of a variable"),
        ("a | b", "line 1: '|' is not what GRUB's grammar has here"),
        ("a && b", "line 1: '&&' is not"),
        ("a > b", "line 1: '>' is not"),
        ("a;; b", "line 1: ';;' is not"),
        ("; a", "line 1: ';' is not"),
        ("[[ a ]]", "line 1: '[[' is not"),
        ("foo { }", "line 1: '}' is not what GRUB's grammar has here, in the 'foo' of line 1"),
        ("\nmenuentry x {\n linux /k\n", "line 3: the file ends, in the 'menuentry' of line 2"),
        ("if true; then\n", "the file ends, in the 'if' of line 1"),
        ("if true\n", "the file ends, in the 'if' of line 1"),
        ("if true; then a; else\nb", "the file ends, in the 'if' of line 1"),
        ("if true; then fi", "line 1: 'fi' is not"),
        ("a\n}\n", "line 2: '}' is not"),
        ("fi", "line 1: 'fi' is not"),
        ("function {", "line 1: '{' is not"),
        ("function a b {", "line 1: 'b' is not"),
        ("function f { a }", "line 1: '}' is not"),
        ("if true; then function f { a; }; fi", "line 1: 'function' is not"),
        ("for x; do y; done", "line 1: ';' is not"),
        ("while true\n", "the file ends, in the 'while' of line 1"),
        ("x \\", "line 1: the file ends behind a backslash"),
        ("if true; then " * 70, "line 1: more than 60 levels"),
        ("function f { f; }\n\nf", "line 1: scripts, functions and menus are more than 64 levels"),
        ("for x in 1 2; do " * 16 + "a=1;" + "done;" * 16, "more than 20000 commands"),
        ("for x in" + " 1" * 20_001 + "; do\na\ndone", "more than 20000 commands"),
        ("while true; do a=1; done", "more than 20000 commands"),
        ("a=" + "x" * 60000 + "\nb=$a$a", "line 2: the words get longer than 65536"),
        ("a=" + "x" * 30000 + "\n" + "b=$a\n" * 70, "more than 2000000 characters in variables"),
        ("x" * 300_000, "line 1: 300000 characters are too many for a boot menu"),
    ],
)
def test_what_is_no_script(text: str, message: str) -> None:
    """It is told, and never a traceback; the lines of the menu cannot be counted on."""
    reading = read(text)
    assert reading.problems[0].startswith("/boot/grub/grub.cfg, line ")
    assert any(message in problem for problem in reading.problems)
    assert reading.menu.items == ()


def test_what_is_behind_an_error_counts() -> None:
    """As in GRUB, which goes on with the next line."""
    text = """set default=c
menuentry a { linux /a }
menuentry b {
  linux /b | x
  initrd /b
}
menuentry c { linux /c }
"""
    reading = read(text)
    assert [entry.id for entry in reading.menu.entries()] == ["a", "c"]
    assert reading.problems == (
        "/boot/grub/grub.cfg, line 4: '|' is not what GRUB's grammar has here, in the 'menuentry' "
        "of line 3",
        "/boot/grub/grub.cfg, line 6: '}' is not what GRUB's grammar has here",
    )
    assert reading.chosen.item is not None
    assert reading.chosen.item.id == "c"


@pytest.mark.parametrize("default", ["", "default=0", "default=1", "default=nothing"])
def test_no_line_is_counted_when_one_is_lost(default: str) -> None:
    lost = "menuentry b {\n linux /b | x\n}\n"
    reading = read(f"{default}\nmenuentry a {{ linux /a }}\n{lost}menuentry c {{ linux /c }}")
    assert reading.chosen.item is None
    assert reading.chosen.doubt == (
        "its lines cannot be counted, since /boot/grub/grub.cfg, line 4 is lost"
    )
    # What makes no line is missed by nobody.
    assert read(f"{default}\na | b\nmenuentry a {{ linux /a }}").chosen.item is not None


def test_parentheses_without_end() -> None:
    reading = read("if [ " + "( " * 5000 + "]; then a=1; fi\nmenuentry x { linux /k $a }")
    assert [entry.cmdline for entry in reading.menu.entries()] == ["1"]
