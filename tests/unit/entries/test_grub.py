"""grub.cfg: what generated files say, construct by construct and as a whole."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

import pytest

from pykexec.entries import BootEntry, Source
from pykexec.entries.grub import GrubFiles, GrubMenu, parse_grub, parse_grubenv
from pykexec.entries.grub_test import truth
from pykexec.errors import MachineError
from tests.builders.boot_configs import CMDLINE, UUID, VERSIONS, debian_grub, grubenv

EXISTING = frozenset({"/boot/grub/grubenv", "/boot/grub/custom.cfg"})


def run(
    text: str,
    *,
    includes: Mapping[str, str] | None = None,
    environment: Mapping[str, str] | None = None,
    snippets: Iterable[BootEntry] = (),
    variables: Mapping[str, str] | None = None,
) -> GrubMenu:
    included = includes or {}
    files = GrubFiles(
        exists=lambda operator, path: path in EXISTING,
        include=lambda path: (included[path], path) if path in included else None,
        environment=lambda path: environment or {},
        snippets=lambda: snippets,
    )
    known = {"prefix": "/boot/grub", "feature_menuentry_id": "y", **(variables or {})}
    return parse_grub(text, "grub.cfg", files, known)


def values(text: str, **variables: str) -> str:
    """Return the command line of an entry behind ``text``."""
    (entry,) = run(f"{text}\nmenuentry x {{ linux /k $a $b $c }}", variables=variables).entries()
    return entry.cmdline


def test_a_generated_file() -> None:
    menu = run(debian_grub(), variables={"grub_platform": "efi"})
    simple, *advanced = menu.entries()
    assert simple == BootEntry(
        source=Source.GRUB,
        id=f"gnulinux-simple-{UUID}",
        title="Debian GNU/Linux",
        where="grub.cfg, line 69",
        kernel=f"/boot/vmlinuz-{VERSIONS[0]}",
        initrds=("/boot/early.cpio", f"/boot/initrd.img-{VERSIONS[0]}"),
        cmdline=f"{CMDLINE} vt.handoff=7",
    )
    assert advanced[0].where == "grub.cfg, line 86"
    assert [entry.id.partition(">")[2] for entry in advanced] == [
        f"gnulinux-{version}-{kind}-{UUID}"
        for version in VERSIONS
        for kind in ("advanced", "recovery")
    ]
    assert advanced[1].cmdline == f"{CMDLINE} single vt.handoff=7"
    assert [item.title for item in menu.items] == [
        "Debian GNU/Linux",
        "Advanced options",
        "UEFI Firmware Settings",
    ]
    assert len(run(debian_grub()).items) == 2


ADVANCED = f"gnulinux-advanced-{UUID}"
OLD = f"gnulinux-{VERSIONS[1]}-advanced-{UUID}"


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
    chosen = run(debian_grub(default)).default()
    assert chosen is not None
    assert chosen.entry is not None
    assert chosen.entry.id == expected


def test_defaults_that_are_saved() -> None:
    text = debian_grub("${saved_entry}")
    chosen = run(text, environment={"saved_entry": "1>2"}).default()
    assert chosen is not None
    assert chosen.id == OLD
    environment = {"saved_entry": "0", "next_entry": f"{ADVANCED}>{OLD}"}
    once = run(text, environment=environment).default()
    assert once is not None
    assert once.id == OLD


def test_defaults_that_are_no_linux() -> None:
    text = "set default=1\nmenuentry a { linux /k }\nmenuentry Windows { chainloader +1 }"
    menu = run(text)
    chosen = menu.default()
    assert chosen is not None
    assert (chosen.title, chosen.entry) == ("Windows", None)
    assert [entry.id for entry in menu.entries()] == ["a"]
    empty = run("submenu x { }")
    assert empty.default() is None
    assert run("").default() is None


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("set a=1", "1"),
        ("a=1; b=2", "1 2"),
        ("set a='$b'", "$b"),
        ('set b=x; set a="$b-${b}y"', "x-xy x"),
        ('set a="\\$b \\"q\\" \\\\ \\n"', '$b \\"q\\" \\\\ \\\\n'),
        ("set a=one\\ word", "one word"),
        ("set a=1 # set a=2", "1"),
        ("set a=1#2", "1#2"),
        ("set a=on\\\ne", "one"),
        ("set a=1\nunset a", ""),
        ("set a=$", "$"),
        ("set a=${nothing}", ""),
        ("if true; then a=1; else a=2; fi", "1"),
        ("if false; then a=1; elif true; then a=2; else a=3; fi", "2"),
        ("if ! false; then a=1; fi", "1"),
        ("if loadfont x; then a=1; else a=2; fi", "2"),
        ("if a=1; then b=2; fi", "1 2"),
        ("if true; then if false; then a=1; fi; b=2; fi", "2"),
        ('function f { a=$1; b=$#; c="$*"; }\nf x y', "x 2 x y"),
        ("function f { a=$2; }\nf x", ""),
        ("for x in 1 2 3; do a=$a$x; done", "123"),
        ("while true; do a=1; done\nuntil false; do b=1; done", ""),
        ("set a='x\ny'", "x y"),
    ],
)
def test_constructs(text: str, expected: str) -> None:
    assert values(text) == expected


def test_words_and_quotes_on_the_command_line() -> None:
    """GRUB escapes quotes, and quotes a word with blanks."""
    text = """
    set words="one two"
    menuentry 'x' { linux /k $words "$words" 'a"b' "" pre$words'post' dyndbg="file a +p" }
    """
    (entry,) = run(text).entries()
    assert entry.cmdline == 'one two "one two" a\\"b  preone twopost "dyndbg=file a +p"'


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        ([], False),
        (["x"], True),
        ([""], False),
        (["-n", "x"], True),
        (["-z", ""], True),
        (["-z", "x"], False),
        (["-n"], True),
        (["x", "=", "x"], True),
        (["x", "==", "y"], False),
        (["x", "!=", "y"], True),
        (["a", "<", "b"], True),
        (["b", "<=", "a"], False),
        (["b", ">", "a"], True),
        (["a", ">=", "a"], True),
        (["10", "-gt", "9"], True),
        (["10", "-lt", "9"], False),
        (["1", "-eq", "01"], True),
        (["1", "-ne", "1"], False),
        (["-2", "-le", "-1"], True),
        (["x", "-ge", "0"], True),
        (["a", "-nt", "b"], False),
        (["!", "x"], False),
        (["!", "!", "x"], True),
        (["!"], True),
        (["", "-o", "x"], True),
        (["x", "-a", ""], False),
        (["x", "-a", "x", "-o", ""], True),
        (["(", "", "-o", "x", ")", "-a", "x"], True),
        (["(", "", ")", "-o", ""], False),
        (["x", "y"], True),
        (["x", ""], False),
        (["-f", "/there"], True),
        (["-s", "/not"], False),
        (["-f", "/there", "-a", "!", "-e", "/not"], True),
        (["-f", "=", "-f"], True),
    ],
)
def test_conditions(words: list[str], expected: bool) -> None:
    assert truth(words, lambda operator, path: path == "/there") is expected


def test_conditions_in_scripts() -> None:
    assert values("if [ x$b = x ]; then a=1; fi") == "1"
    assert values("if test -f $prefix/custom.cfg; then a=1; fi") == "1"
    assert values('if [ "${x}" ] ; then a=1; else a=2; fi') == "2"
    assert values('if [ "${x}" ] ; then a=1; else a=2; fi', x="y") == "1"


def test_menus() -> None:
    text = """
    menuentry "A 'title'" --class a --users "" --hotkey=q --id one --unrestricted { linux /a x }
    menuentry 'b' --id=two { linuxefi (hd0,gpt2)/b\n initrdefi --newc /c /d\n devicetree /e }
    menuentry 'c' $menuentry_id_option 'three' { initrd /i; linux16 /c }
    submenu d { menuentry e { linux /e }
      submenu f --id six { menuentry g { linux /g } } }
    """
    one, two, three, e, g = run(text).entries()
    assert (one.id, one.title, one.kernel, one.cmdline) == ("one", "A 'title'", "/a", "x")
    assert (two.id, two.kernel, two.initrds) == ("two", "(hd0,gpt2)/b", ("/c", "/d"))
    assert two.device_tree == "/e"
    # Without the variable that makes it an option, the third id is a word like others.
    assert (three.id, three.kernel) == ("c", "/c")
    assert (e.id, g.id) == ("d>e", "d>six>g")


def test_entries_see_the_variables_as_they_are_at_last() -> None:
    text = "set a=1\nmenuentry x { set a=$a$a; linux /k $a }\nmenuentry y { linux /k $a }\nset a=2"
    assert [entry.cmdline for entry in run(text).entries()] == ["22", "2"]


def test_what_is_included() -> None:
    text = "source $prefix/custom.cfg\nset default=$chosen\nconfigfile /missing\nsource"
    custom = "\n\nmenuentry mine { linux /k }\nset chosen=mine"
    menu = run(text, includes={"/boot/grub/custom.cfg": custom})
    (entry,) = menu.entries()
    assert (entry.where, menu.wanted) == ("/boot/grub/custom.cfg, line 3", "mine")


def test_names_of_the_environment() -> None:
    environment = {"a": "1", "b": "2"}
    both = run("load_env\nmenuentry x { linux /k $a $b }", environment=environment)
    one = run("load_env --file /x b\nmenuentry x { linux /k $a $b }", environment=environment)
    assert [menu.entries()[0].cmdline for menu in (both, one)] == ["1 2", "2"]


def test_snippets() -> None:
    snippets = [
        BootEntry(
            source=Source.BLS,
            id=f"id-6.{minor}.conf",
            title=f"Fedora 6.{minor}",
            where=f"6.{minor}.conf",
            kernel=f"/vmlinuz-6.{minor}",
            initrds=(f"/initramfs-6.{minor}.img $tuned_initrd",),
            cmdline="$kernelopts ${more}  quiet $",
        )
        for minor in (9, 12, 11)
    ]
    text = "set kernelopts='root=/dev/vda ro'\nset default=id-6.11\nblscfg\nset more=a"
    menu = run(text, snippets=snippets)
    assert [entry.id for entry in menu.entries()] == ["id-6.12", "id-6.11", "id-6.9"]
    first = menu.entries()[0]
    assert first.source is Source.GRUB
    assert first.cmdline == "root=/dev/vda ro a quiet $"
    assert first.initrds == ("/initramfs-6.12.img",)
    chosen = menu.default()
    assert chosen is not None
    assert chosen.entry == menu.entries()[1]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("set a='x\n", "line 1: the single quote is never closed"),
        ('\nset a="x\n\n', "line 2: the double quote is never closed"),
        ("\n\nset a=${x\n}", "line 3: a variable's '${' without name or '}'"),
        ("set a=${}", "line 1: a variable's '${' without name or '}'"),
        ("a | b", "line 1: '|' outside of quotes means nothing to GRUB"),
        ("\nmenuentry x {\n linux /k\n", "line 2: menuentry is never closed by }"),
        ("menuentry {", "line 1: menuentry without a title"),
        ("menuentry x\nlinux", "line 1: menuentry needs '{' here, line 2"),
        ("if true; then\n", "line 1: if is never closed by elif or else or fi"),
        ("if true\n", "line 1: if is never closed by then"),
        ("if true; then a; else\nb", "line 1: if is never closed by fi"),
        ("a\n}\n", "line 2: '}' closes or goes on with nothing"),
        ("fi", "line 1: 'fi' closes or goes on with nothing"),
        ("function {", "line 1: function without a name"),
        ("function a b {", "line 1: function without a name"),
        ("for x; do y; done", "line 1: 'for' needs a name and 'in'"),
        ("while true\n", "line 1: while needs 'do' here, line 2"),
        ("if true; then " * 30, "line 1: more than 20 levels"),
        ("function f { f; }\n\nf", "line 1: 'f' is called 8 times deep"),
        ("for x in 1 2; do " * 16 + "a=1;" + "done;" * 16, "more than 20000 commands"),
        ("for x in" + " 1" * 20_001 + "; do\ndone", "more than 20000 commands"),
        ("a=" + "x" * 60000 + "\nb=$a$a", "line 2: the words get too long"),
        ("x" * 1_000_001, "line 1: 1000001 characters are no boot menu"),
    ],
)
def test_what_is_no_script(text: str, message: str) -> None:
    with pytest.raises(MachineError) as caught:
        run(text)
    assert message in caught.value.message
    assert caught.value.message.startswith("grub.cfg, line ")


def test_a_file_that_includes_itself() -> None:
    with pytest.raises(MachineError, match="'/x' is called 8 times deep"):
        run("source /x", includes={"/x": "source /x"})


def test_an_error_in_what_is_included() -> None:
    with pytest.raises(MachineError, match=r"^/x, line 2: 'fi'"):
        run("\n\n\nsource /x", includes={"/x": "\nfi"})


def test_grubenv() -> None:
    text = grubenv(saved_entry="1>2", kernelopts="root=/dev/vda ro a=b")
    assert parse_grubenv(text, "") == {"saved_entry": "1>2", "kernelopts": "root=/dev/vda ro a=b"}
    assert parse_grubenv("# GRUB Environment Block\na=x\\\\y\\\nz\n##", "") == {"a": "x\\y\nz"}
    assert parse_grubenv("", "") == {}
    with pytest.raises(MachineError, match=r"^e, line 4: NAME=VALUE is needed: 'nothing'"):
        parse_grubenv("# x\na=1\\\n2\nnothing\n", "e")
