"""Damaged grub.cfg: an answer within two seconds, whatever has become of the text."""

from __future__ import annotations

import time
from pathlib import Path
from random import Random

import pytest

from tests.builders.boot_configs import (
    FEDORA_GRUB,
    debian_grub,
    fedora_entry,
    grubenv,
)
from tests.builders.grub_files import read
from tests.builders.grub_scripts import script
from tests.needs import unavailable

FILES = {
    "/boot/grub/grubenv": grubenv(saved_entry="1>2", kernelopts="ro"),
    "/boot/grub/custom.cfg": "menuentry custom { linux /k $root }\n",
    "/boot/grub/x.cfg": "configfile /boot/grub/grub.cfg\n",
    "/loader/entries/1.conf": fedora_entry("6.1"),
    "/loader/entries/2.conf": fedora_entry("6.2"),
}
SECONDS = 2.0
"""Of this process: what else the machine does is not counted."""
PIECES = (
    "", " ", "\n", "\t", ";", "{", "}", "'", '"', "$", "${", "${root}", "$?", '"$@"', "\\",
    "\\\n", "#", "|", "[ ", " ]", "( ", "! ", "if ", "then ", "else ", "fi\n",
    "for x in 1 2; do ", "done\n", "while true; do ", "until ", "menuentry x {\n",
    "submenu y {\n", "function f {\n", "f\n", "linux /k ", "source $prefix/x.cfg\n",
    "configfile $config_file\n", "normal\n", "blscfg\n", "uki\n", "load_env\n", "set a=$a$a\n",
    "set root=", "eval ", "break 9\n", "continue\n", "return\n", "shift\n", "setparams a\n",
    "search --set=root --file /x\n", "chainloader +1\n", "multiboot /x\n", "module /y\n",
    "keystatus", "/*/*", "(hd*)", "default=", ">", ">>", "\0", "\udcff", "é",
)  # fmt: skip


def mutated(text: str, random: Random) -> str:
    """Return a text with pieces put in, taken out, doubled and moved."""
    for _ in range(random.randint(1, 6)):
        start = random.randint(0, len(text))
        end = min(len(text), start + random.choice((0, 0, 1, 3, 20, 200)))
        kind = random.random()
        if kind < 0.6:
            text = text[:start] + random.choice(PIECES) + text[end:]
        elif kind < 0.8:
            text = text[:end] + text[start:end] * random.randint(1, 20) + text[end:]
        else:
            at = random.randint(0, len(text))
            text = text[:start] + text[end:]
            text = text[:at] + text[start:end] + text[at:]
    return text


def check(text: str) -> None:
    """There is a reading; nothing of what only GRUB knows gets out of it as words of a kernel."""
    begin = time.process_time()
    reading = read(text, FILES)
    assert time.process_time() - begin < SECONDS, repr(text)
    assert "\ud800" not in repr(reading)
    for entry in reading.menu.entries():
        assert entry.id
        assert entry.kernel.path
        assert not ("<what " in entry.cmdline and not entry.obstacle)
    item = reading.chosen.item
    if item is not None:
        assert reading.chosen.doubt == ""
        assert item.submenu is None
        assert item.entry is None or item.entry in reading.menu.entries()


SOURCES = (debian_grub(), debian_grub("1>2", "/@/boot"), FEDORA_GRUB, *map(script, range(20)))


def test_mutations() -> None:
    for seed in range(300):
        random = Random(seed)
        check(mutated(random.choice(SOURCES), random))


@pytest.mark.full
def test_mutations_of_generated_files(tmp_path: Path) -> None:
    """Ten thousand, of what Debian's own grub-mkconfig writes and of the above."""
    from tests.differential.grub_mkconfig import SUITES, generate, make_root
    from tests.differential.test_grub_mkconfig import CASES
    from tests.vm.debian import FetchError

    sources = list(SOURCES)
    for suite in SUITES:
        for name in ("efi", "xen", "two-systems"):
            root = tmp_path / f"{suite}-{name}"
            try:
                make_root(root, suite, CASES[name].machine)
            except FetchError as error:
                unavailable(f"GRUB's scripts cannot be had: {error}")
            sources.append(generate(root))
    for seed in range(10_000):
        random = Random(seed)
        check(mutated(random.choice(sources), random))


@pytest.mark.parametrize(
    "text",
    [
        "while true; do true; done",
        "while true; do echo $a; a=x$a; done",
        "a=xxxxxxxxxxxxxxxx\n" + "a=$a$a$a$a\n" * 20,
        "function f { f; f; }\nf",
        "for a in " + "1 " * 9000 + "; do for b in " + "1 " * 9000 + "; do true; done; done",
        "submenu s {\n configfile /boot/grub/grub.cfg\n source /boot/grub/grub.cfg\n}\n" * 3,
        "source /boot/grub/grub.cfg\n" * 3,
        "eval " * 5000,
        "if [ " + "( " * 30_000 + "]; then a; fi",
        "menuentry x { source /boot/grub/grub.cfg }\n" * 200,
        "submenu a {\n" * 50 + "true\n" + "}\n" * 50,
        "{" * 100_000,
        "a " * 400_000,
        "a='" + "\n" * 400_000,
        "a\\\n" * 200_000,
        '"' * 500_001,
        "a;\n" * 300_000,
        "|\n" * 300_000,
        "menuentry x { linux /k }\n" * 20_000,
        "insmod regexp\nfor f in /*/*/*/*/*/*; do echo $f; done",
        "echo /boot/grub/" + "*?" * 20_000,
        "if keystatus; then a=1; fi\nwhile keystatus; do true; done\n" * 50,
        "".join(f"if cmostest {n}; then a=$a{n}; fi\n" for n in range(4000)),
        debian_grub() * 20,
    ],
    ids=lambda text: text[:20],
)  # fmt: skip
def test_hard_ones(text: str) -> None:
    check(text)
