"""The table of kexec's options, run by the C tool and by pykexec."""

from __future__ import annotations

import gzip
import re
import shlex
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from pykexec.cli.foreign import foreign_options
from pykexec.cli.kexec_options import OPTIONS
from pykexec.formats.compression import Codec
from pykexec.values.kernel_state import KernelState
from tests.builders.arm64 import IMAGE
from tests.builders.bzimage import KernelSpec, build_bzimage
from tests.builders.compressed import compress
from tests.builders.images import build_beoboot
from tests.builders.machines import MachineDirectory
from tests.differential.machines import bios_512m, golden_b, recorded
from tests.differential.option_rows import TABLES, Result, Row
from tests.differential.sandbox import (
    Outcome,
    Sandbox,
    SandboxError,
    Tool,
    emulated_c_kexec,
    emulated_own_kexec,
)
from tests.differential.telling import told
from tests.needs import unavailable
from tests.vm.debian import FetchError
from tests.vm.guest_python import BuildError

pytestmark = pytest.mark.differential

DOCUMENT = Path(__file__).resolve().parents[2] / "docs/compatibility.md"
ROWS = [row for table in TABLES.values() for row in table]

KERNEL = build_bzimage(KernelSpec())
GZIP = gzip.compress(KERNEL, 1)
INITRD = b"initrd" * 1000
FILES = {
    "KERNEL": KERNEL,
    "INITRD": INITRD,
    "BEOBOOT": build_beoboot(KERNEL, INITRD),
    "XZ": compress(Codec.XZ, KERNEL),
    "GZIP": GZIP,
    "HALF_GZIP": GZIP[: len(GZIP) // 2],
    "JUNK": b"j" * 3000,
    "EMPTY": b"",
}
IDLE = KernelState(loaded=False, crash_loaded=False, crash_size=0)
WITH_REGION = KernelState(loaded=False, crash_loaded=True, crash_size=256 << 20)
HOTPLUG = KernelState(crash_size=256 << 20, crash_elfcorehdr_size=110592)
MACHINES = {
    "idle": (bios_512m, IDLE),
    "loaded": (bios_512m, KernelState(loaded=True, crash_loaded=False, crash_size=0)),
    "silent": (bios_512m, None),
    "crash": (golden_b, WITH_REGION),
    "hotplug": (golden_b, HOTPLUG),
}


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    root = tmp_path_factory.mktemp("files")
    for name, content in FILES.items():
        (root / name).write_bytes(content)
    return {name: root / name for name in FILES}


@pytest.fixture(scope="module")
def places(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """Return the machines."""
    root = tmp_path_factory.mktemp("machines")
    for name, (build, state) in MACHINES.items():
        build(root / name)
        if state is not None:
            MachineDirectory(root / name).write_kernel_state(state, old_names=True)
    return {name: root / name for name in MACHINES}


def words_of(row: Row, files: dict[str, Path]) -> list[str]:
    """Split a row's words as a shell does, with the names of files for their places."""
    names = "|".join(files)
    return [
        re.sub(rf"(^|=)({names})$", lambda found: found[1] + str(files[found[2]]), word)
        for word in shlex.split(row.words)
    ]


def kind_of(stdout: str) -> str:
    """Say what was printed in the words of :class:`Result`."""
    if re.search(r"^Usage: kexec \[OPTION\]", stdout, re.MULTILINE):
        return "usage"
    if re.fullmatch(r"kexec\S* (\(pykexec\) )?\d+\.\S+\n\n?", stdout):
        return "version"
    text = stdout.strip()
    return text if not text or text.isdecimal() else "text"


def result_of(outcome: Outcome) -> Result:
    """Return how a tool ended, in kind."""
    calls = "; ".join(told(call, FILES["INITRD"]) for call in outcome.calls)
    return Result(outcome.exit_code, calls, kind_of(outcome.stdout), bool(outcome.stderr))


def check_table(
    sandbox: Sandbox,
    tools: tuple[Tool, Tool],
    places: dict[str, Path],
    files: dict[str, Path],
    rows: tuple[Row, ...],
) -> None:
    """Run each row by both tools, the C tool first, and compare with what it says."""

    def run(row: Row) -> tuple[Result, ...]:
        refusal, at = row.fail or (None, 0)
        return tuple(
            result_of(
                sandbox.run(
                    tool,
                    words_of(row, files),
                    places[row.machine],
                    fail_with=refusal,
                    fail_call=at or None,
                    interface="left" if row.interface else "",
                )
            )
            for tool in tools
        )

    with ThreadPoolExecutor(2) as pool:
        found = list(pool.map(run, rows))
    wanted = [(row.theirs or row.ours, row.ours) for row in rows]
    wrong = {
        row.title: {"wanted": want, "found": got}
        for row, want, got in zip(rows, wanted, found, strict=True)
        if want != got
    }
    assert wrong == {}, "\n".join(f"{title}: {each}" for title, each in wrong.items())


@pytest.mark.parametrize("table", [name for name in TABLES if name != "arm64"])
def test_table(
    sandbox: Sandbox,
    ours: Tool,
    theirs: Tool,
    places: dict[str, Path],
    files: dict[str, Path],
    table: str,
) -> None:
    check_table(sandbox, (theirs, ours), places, files, TABLES[table])


@pytest.mark.full  # pykexec takes seconds for a row under the emulator
def test_table_of_arm64(sandbox: Sandbox, files: dict[str, Path], tmp_path: Path) -> None:
    try:
        tools = emulated_c_kexec(), emulated_own_kexec()
    except (SandboxError, FetchError, BuildError) as error:
        unavailable(f"no kexec for arm64: {error}")
    image = tmp_path / "Image"
    image.write_bytes(IMAGE)
    places = {"idle": recorded("aarch64")["aarch64-6.12-tree-1G"]}
    check_table(sandbox, tools, places, files | {"KERNEL": image}, TABLES["arm64"])


def test_deviations_deviate_and_are_documented() -> None:
    for row in ROWS:
        assert (row.theirs is None) == (row.because == ""), row.title
        assert row.theirs != row.ours, row.title
    text = DOCUMENT.read_text()
    reasons = {row.because for row in ROWS}
    assert {reason for reason in reasons if reason not in text} == set()
    section = text.partition("## Options, actions, exit codes")[2].partition("\n## ")[0]
    heads = {line.split("|")[1].strip() for line in section.splitlines() if line[:2] == "| "}
    assert heads - reasons == {"what"}


def test_every_option_and_exit_code_has_a_row() -> None:
    given: set[str] = set()
    for row in ROWS:
        words = shlex.split(row.words)
        given |= {word.partition("=")[0] for word in words if word.startswith("--")}
        bundles = [word[1:] for word in words if re.match(r"-[^-]", word)]
        given |= {f"-{letter}" for bundle in bundles for letter in bundle}
    x86 = [option for option in foreign_options("x86_64") if not option.yields]
    wanted = {f"--{long}" for option in (*OPTIONS, *x86) for long in option.long}
    wanted |= {f"-{option.short}" for option in OPTIONS if option.short}
    assert wanted - given == set()
    assert {row.ours.code for row in ROWS} == {0, 1, 253, 254, 255}
