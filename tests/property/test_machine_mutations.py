"""Damaged records of machines: each ends in facts or in a refusal, soon and in little memory.

300 of each kind by default; with ``full`` ten times as many.
"""

from __future__ import annotations

import io
import json
import os
import random
import shutil
import tarfile
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from functools import partial
from pathlib import Path

import pytest

from pykexec.errors import PykexecError
from pykexec.loading.crash_record import judge_image
from pykexec.machine import read_machine
from pykexec.machine.crash_state import read_crash_state
from pykexec.machine.files import RECORD_MAX
from pykexec.machine.record import record
from pykexec.planning.planner import plan
from pykexec.planning.plans import LoadRequest, PurgatoryOptions
from tests.builders.bzimage import build_bzimage
from tests.builders.images import build_image
from tests.property.test_mutations import SLOW, Memory

MACHINES = Path(__file__).parents[1] / "data" / "machines"
BASES = ("x86_64-6.1-bios-crash", "aarch64-6.12-tree-1G")
KERNELS = {"x86_64": build_bzimage(), "aarch64": build_image()}
WORDS = (
    b"0", b"-1", b"ffffffffffffffff", b"1" * 30, b"\0", b"\xff\xfe", b"\x1b[2J", b"..", b"/",
    b"[" * 2000, b"\"\\ud800\"", b"NaN", b"true", b"9" * 5000, b" : System RAM\n", b"  ", b"{}",
)  # fmt: skip


def bases() -> list[Path]:
    return [MACHINES / name for name in sorted(os.listdir(MACHINES))]


def use(place: Path, scratch: Path) -> None:
    """Do with a record what the verbs do: plan for it, judge its crash image, record it again."""
    for crash in (False, True):
        with suppress(PykexecError):
            facts = read_machine(place, crash=crash)
            if not crash and facts.arch in KERNELS:
                request = LoadRequest(
                    kernel=memoryview(KERNELS[facts.arch]),
                    cmdline=b"ro",
                    purgatory=PurgatoryOptions(skip_checks=True),
                )
                plan(facts, request)
    with suppress(PykexecError):
        judge_image(read_crash_state(place), str(place))
    target = scratch / "again.tar"
    with suppress(PykexecError):
        record(place, target, redacted=True)
    target.unlink(missing_ok=True)


def damage(data: bytes, rng: random.Random) -> bytes:
    """Return a text or a binary file with a piece replaced, repeated, left out or put in."""
    changed = bytearray(data)
    for _ in range(rng.choice((1, 1, 2, 3))):
        at = rng.randrange(len(changed) + 1)
        end = min(at + rng.choice((0, 1, 1, 2, 4, 16, 64)), len(changed))
        piece = rng.choice(
            (rng.choice(WORDS), rng.randbytes(end - at), changed[at:end] * 3, bytes(end - at), b"")
        )
        changed[at:end] = piece
    return bytes(changed)


def change_json(data: bytes, rng: random.Random) -> bytes:
    """Put a value of another kind in some place of a JSON text."""
    try:
        at = value = json.loads(data)
        key = rng.choice(list(value))
    except (ValueError, IndexError):  # it is damaged already
        return damage(data, rng)
    while isinstance(at[key], dict | list) and at[key] and rng.random() < 0.7:
        at = at[key]
        key = rng.choice(list(at) if isinstance(at, dict) else range(len(at)))
    numbers = (True, -1, 1.5, 1 << 63, 1 << 64, 10**400)
    odd: list[object] = [*numbers, None, "", "\ud800", "a\0", "9" * 99, [], {}, [[]]]
    at[key] = rng.choice(odd)
    return json.dumps(value).encode()


def odd_file(path: Path, rng: random.Random) -> None:
    """Put something in place of a file that is none, or has no end."""
    path.unlink()
    kind = rng.randrange(6)
    if kind == 0:
        os.mkfifo(path)
    elif kind == 1:
        path.symlink_to(rng.choice(("/dev/zero", "../machine.json", "nowhere", path.name, "..")))
    elif kind == 2:
        path.mkdir()
    elif kind == 3:
        path.write_bytes(b"")
        os.truncate(path, rng.choice((1 << 40, 17 << 20, 1)))
    elif kind == 4:
        path.write_bytes(b"a" * rng.choice((1, 1 << 20)))


def mutate_directory(place: Path, rng: random.Random) -> None:
    files = sorted(path for path in place.rglob("*") if path.is_file() and not path.is_symlink())
    for _ in range(rng.choice((1, 1, 2))):
        path = rng.choice(files)
        # What is read first and by all is damaged more often.
        likely = [place / "machine.json", place / "proc/iomem", place / "proc/cmdline"]
        if rng.random() < 0.5:
            path = rng.choice([item for item in likely if item.is_file()] or [path])
        # What an odd file was made of before is left as it is: nothing is written through links.
        if path.is_symlink() or not path.is_file() or path.stat().st_size > 1 << 20:
            continue
        data = path.read_bytes()
        if rng.random() < 0.3:
            odd_file(path, rng)
        elif path.suffix == ".json" and rng.random() < 0.6:
            path.write_bytes(change_json(data, rng))
        else:
            path.write_bytes(damage(data, rng))


def tars() -> Iterator[bytes]:
    """Yield tars of each format of a small machine, one with names that are long."""
    for form in (tarfile.USTAR_FORMAT, tarfile.GNU_FORMAT, tarfile.PAX_FORMAT):
        for base in BASES:
            target = io.BytesIO()
            with tarfile.open(fileobj=target, mode="w", format=form) as archive:
                archive.add(MACHINES / base, "box")
                long_name = tarfile.TarInfo("box/" + "d/" * 40 + "n" * 90 + "\u00e4")
                archive.addfile(long_name)
            yield target.getvalue()


def mutate_tar(data: bytes, rng: random.Random) -> bytes:
    """Damage a header most of the time, and mend its checksum as often."""
    changed = bytearray(data)
    headers = [at for at in range(0, len(data), 512) if data[at + 257 : at + 262] == b"ustar"]
    for _ in range(rng.choice((1, 1, 2))):
        at = rng.choice(headers)
        field = rng.choice(((0, 100), (124, 12), (156, 1), (157, 100), (257, 8), (345, 155)))
        start = at + field[0]
        piece = rng.choice(
            (
                rng.randbytes(field[1]),
                b"\xff" * field[1],
                b"\x80" + b"\xff" * (field[1] - 1),
                rng.choice(
                    (b"/etc/x", b"../../x", b"7" * 11, b"-1", b"", b"L", b"x", b"S", b"2", b"6")
                ),
            )
        )[: field[1]]
        changed[start : start + len(piece)] = piece
        if rng.random() < 0.8:
            header = changed[at : at + 148] + b" " * 8 + changed[at + 156 : at + 512]
            changed[at + 148 : at + 156] = b"%06o\0 " % sum(header)
    if rng.random() < 0.1:
        del changed[rng.randrange(len(changed)) :]
    return bytes(changed)


def hold(act: Callable[[], object]) -> None:
    memory = Memory()
    memory.start()
    started = time.process_time()
    act()
    assert time.process_time() - started < SLOW
    assert memory.peak() < 4 * RECORD_MAX


def check_directories(count: int, tmp_path: Path) -> None:
    rng = random.Random(count)
    for number in range(count):
        place = tmp_path / "m"
        shutil.copytree(bases()[number % len(bases())], place)
        mutate_directory(place, rng)
        hold(partial(use, place, tmp_path))
        shutil.rmtree(place)


def check_tars(count: int, tmp_path: Path) -> None:
    rng = random.Random(count)
    sources = list(tars())
    place = tmp_path / "m.tar"
    for number in range(count):
        place.write_bytes(mutate_tar(sources[number % len(sources)], rng))
        hold(lambda: use(place, tmp_path))


def test_damaged_directories(tmp_path: Path) -> None:
    check_directories(150, tmp_path)


def test_damaged_tars(tmp_path: Path) -> None:
    check_tars(150, tmp_path)


@pytest.mark.full
def test_many_damaged_directories(tmp_path: Path) -> None:
    check_directories(600, tmp_path)


@pytest.mark.full
def test_many_damaged_tars(tmp_path: Path) -> None:
    check_tars(1500, tmp_path)
