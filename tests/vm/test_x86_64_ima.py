"""A jump keeps IMA's measurement list: what the first kernel measured, the second one shows.

No distribution's kernel is needed that was built with CONFIG_IMA_KEXEC: Debian's is not, and
reads the list all the same, because the architecture selects CONFIG_HAVE_IMA_KEXEC.
"""

from __future__ import annotations

import pytest

from tests.vm.conftest import Vm
from tests.vm.scenario import CONSOLE, Result, boot_path

IMA = "/sys/kernel/security/ima"
MEASURED = "/scenario/measured"
SHOW = f"sed 's/^/ima: /' {IMA}/ascii_runtime_measurements\n"
MEASURE = f"""
echo 'measure func=FILE_CHECK mask=MAY_READ uid=0' > {IMA}/policy
cat {MEASURED} > /dev/null
"""


def shown(result: Result, phase: int) -> list[str]:
    lines = result.phases[phase].lines
    return [line.removeprefix("ima: ").rstrip() for line in lines if line.startswith("ima: ")]


@pytest.mark.parametrize("series", [pytest.param("6.1", marks=pytest.mark.full), "6.12"])
def test_the_list_arrives(vm: Vm, series: str) -> None:
    load = (
        f"kexec -c -l {boot_path(series)} --initrd=/boot/initrd-small "
        f"--append='{CONSOLE} vmtest.phase=2'\n"
    )
    result = vm(
        [MEASURE + SHOW + load + "kexec -e\n", SHOW],
        kernel=series,
        files={MEASURED: "something to be measured"},
    )

    before, after = shown(result, 1), shown(result, 2)
    assert before[0].endswith(" boot_aggregate")
    assert any(line.endswith(f" {MEASURED}") for line in before)
    assert after[: len(before)] == before
    # Then the next kernel begins, as each does.
    assert any(line.endswith(" boot_aggregate") for line in after[len(before) :])
