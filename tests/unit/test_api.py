"""The public API: what the package's top level offers, and that it costs nothing until used."""

from __future__ import annotations

import itertools
import pydoc
import re
import rlcompleter
import subprocess
import sys
from pathlib import Path

import pytest

import pykexec
from tests.builders.machines import build_machine
from tests.builders.plans import INITRD, KERNEL


def test_from_a_machine_to_a_plan(tmp_path: Path) -> None:
    facts = pykexec.read_machine(build_machine(tmp_path / "machine"))
    plan = pykexec.plan(facts, pykexec.LoadRequest(KERNEL, INITRD, b"ro"))
    assert isinstance(plan, pykexec.SegmentPlan)
    assert pykexec.verify(plan, facts) == []


def test_loading_goes_through_the_system_call(tmp_path: Path) -> None:
    facts = pykexec.read_machine(build_machine(tmp_path / "machine"))
    plan = pykexec.plan(facts, pykexec.LoadRequest(KERNEL))
    with pytest.raises(AssertionError, match=r"syscall\(246"):
        pykexec.load(plan)
    with pytest.raises(AssertionError, match=r"syscall\(320"):
        pykexec.load(pykexec.plan_file_load(facts, pykexec.LoadRequest(KERNEL)))


def test_what_is_announced_exists() -> None:
    assert all(hasattr(pykexec, name) for name in pykexec.__all__)
    with pytest.raises(AttributeError, match="no attribute 'nonsense'"):
        _ = pykexec.nonsense  # type: ignore[attr-defined]


def test_tab_and_help_show_the_api_and_nothing_else() -> None:
    assert dir(pykexec) == sorted(pykexec.__all__) == pykexec.__all__
    completer = rlcompleter.Completer({"pykexec": pykexec})
    offered = (completer.complete("pykexec.", at) for at in itertools.count())
    words = {word.partition("(")[0] for word in itertools.takewhile(bool, offered) if word}
    assert words - {"pykexec.__version__"} == {
        f"pykexec.{name}" for name in pykexec.__all__ if not name.startswith("_")
    }
    text = pydoc.plain(pydoc.render_doc(pykexec))
    shown = set(re.findall(r"^    (?:class )?(\w+)(?:\(| = )", text, re.MULTILINE))
    assert shown - {"__all__"} == set(pykexec.__all__) - {"__version__", "errors", "live_update"}


def test_the_package_says_that_it_has_types() -> None:
    assert (Path(pykexec.__file__).parent / "py.typed").read_bytes() == b""


@pytest.mark.parametrize(
    ("statement", "unwanted"),
    [
        ("import pykexec", {"pykexec.values.facts", "construct", "click", "dataclasses"}),
        (
            "import pykexec.cli.kexec_compat as k; k.main(['-v'])",
            {
                "construct",
                "click",
                "elftools",
                "fdt",
                "_cffi_backend",
                "pykexec.values.facts",
                "pykexec.planning.plans",
            },
        ),
        (
            "import pykexec.cli.kexec_compat as k; k.main(['-S', '-l'])",
            {"construct", "click", "elftools", "fdt", "_cffi_backend"},
        ),
    ],
)
def test_start_up_imports_no_more_than_is_used(statement: str, unwanted: set[str]) -> None:
    script = f"import sys; {statement}; print(*sys.modules, file=sys.stderr)"
    result = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, check=True
    )
    assert not unwanted & set(result.stderr.split())
