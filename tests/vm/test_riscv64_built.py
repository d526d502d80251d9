"""Jumps that Debian's riscv64 kernels cannot show: by the file call, measurements, packed kernels.

The kernel that is built here is one of 7.2, whose own loader takes an Image as well as an ELF
file. Before 6.16 it takes the latter alone, in the same way: Linux arch/riscv/kernel/kexec_elf.c
is in 6.12.117 what it is in 7.2.
"""

from __future__ import annotations

import pytest

from tests.vm.conftest import Vm
from tests.vm.kernel_build import BUILT
from tests.vm.loads import LOADED, printed
from tests.vm.platforms import RISCV64
from tests.vm.qemu import riscv64_machine
from tests.vm.scenario import Result, boot_path
from tests.vm.test_x86_64_ima import MEASURE, MEASURED, SHOW, shown

pytestmark = pytest.mark.full

CMDLINE = f'{RISCV64.console} test.word="two words, äöü" vmtest.phase=2'
LINKED = 0xFFFFFFFF80000000
"""Where the kernel runs that is not moved (Linux arch/riscv/include/asm/pgtable.h)."""
# Of two harts QEMU 7.2 now and then does not start the second for this kernel, on a busy host.
MACHINE = riscv64_machine()
FACTS = """
echo "text $(sed -n 's/ T _text$//p' /proc/kallsyms)"
"""
TELL_SEED = """
import sys
from pykexec.calls import syscalls
from pykexec.cli import kexec_compat
from pykexec.formats.device_tree import parse_device_tree
from pykexec.formats import identify
from pykexec.values.roles import Role

load = syscalls.load

def tell(plan, *more, **named):
    chosen = parse_device_tree(bytes(plan.segment(Role.DTB).data)).root.child("chosen")
    print("seed", int.from_bytes(chosen.get("kaslr-seed"), "big"), flush=True)
    image = identify(bytes(plan.segment(Role.KERNEL).data)).image
    print("size", image.image_size, flush=True)
    return load(plan, *more, **named)

syscalls.load = tell
sys.exit(kexec_compat.main(sys.argv[1:]))
"""
"""kexec, which prints the seed that it hands over and how long the kernel is."""

OLDER = """
import sys
from pykexec.cli import kexec_compat
from pykexec.planning import file_placement

file_placement.release_version = lambda release: (6, 15)
sys.exit(kexec_compat.main(sys.argv[1:]))
"""
"""kexec, which takes the running kernel for an older one."""


def run(vm: Vm, tool: str, *, flavour: str = "cloud", before: str = "", after: str = "") -> Result:
    """Load the built kernel with ``tool`` and jump; the second kernel has the command line."""
    load = (
        f"{tool} -l {boot_path(BUILT, flavour)} --initrd=/boot/initrd-small "
        f"--append='{CMDLINE}'\n{LOADED}kexec -e\n"
    )
    result = vm(
        [FACTS + before + load, FACTS + after],
        kernel=BUILT,
        machine=MACHINE,
        boot=[(BUILT, flavour)],
        files={
            MEASURED: "measured",
            "/scenario/kexec.py": TELL_SEED,
            "/scenario/older.py": OLDER,
        },
        timeout=300,
    )
    assert result.phases[1].release == result.phases[2].release
    assert result.phases[1].release.endswith("-kexec-test")
    assert result.phases[2].cmdline == CMDLINE
    return result


@pytest.mark.parametrize(
    ("tool", "flavour", "reason"),
    [
        pytest.param("-c", "elf", "kexec_load: it was asked for", id="segments-elf"),
        pytest.param("-s", "cloud", "kexec_file_load: it was asked for", id="file-image"),
        pytest.param("-s", "elf", "the kernel is taken out of ELF vmlinux", id="file-elf"),
        pytest.param("-a", "cloud", "kexec_file_load: nothing asked for needs", id="auto-image"),
    ],
)
def test_both_calls_take_both_files(vm: Vm, tool: str, flavour: str, reason: str) -> None:
    result = run(vm, f"kexec -d {tool}", flavour=flavour)

    assert reason in " ".join(" ".join(result.phases[1].lines).split())


def test_the_loader_of_elf_files_takes_what_is_made_of_an_image(vm: Vm) -> None:
    result = run(vm, "/usr/bin/python3 -s /scenario/older.py -d -s")

    said = " ".join(" ".join(result.phases[1].lines).split())
    assert "takes ELF files alone: it gets one that is made of the Image" in said


def test_the_next_kernel_runs_where_its_seed_says(vm: Vm) -> None:
    """Linux arch/riscv/mm/init.c, "setup_vm": in pieces of 2 MiB, within 1 GiB."""
    result = run(vm, "/usr/bin/python3 -s /scenario/kexec.py -c")

    seed, size = (int(printed(result, 1, name)) for name in ("seed", "size"))
    places = ((1 << 30) - size) >> 21
    start = int(printed(result, 2, "text"), 16) & -(2 << 20)
    assert start == LINKED + (seed % places << 21)


@pytest.mark.parametrize(
    ("tool", "flavour"),
    [
        pytest.param("kexec -s", "gzip", id="file-gzip"),
        pytest.param("kexec -c", "zboot", id="segments-zboot"),
        pytest.param("kexec -s", "zboot", id="file-zboot"),
    ],
)
def test_packed_kernel_is_unpacked(vm: Vm, tool: str, flavour: str) -> None:
    run(vm, tool, flavour=flavour)


@pytest.mark.parametrize("tool", ["kexec -c", "kexec -s"], ids=["segments", "file"])
def test_measurements_are_handed_on(vm: Vm, tool: str) -> None:
    """The next kernel's list begins with what this one has measured up to the load."""
    result = run(vm, tool, before=MEASURE + SHOW, after=SHOW)

    before, after = shown(result, 1), shown(result, 2)
    assert any(line.endswith(f" {MEASURED}") for line in before)
    assert after[: len(before)] == before
    assert [line.endswith(" boot_aggregate") for line in after].count(True) == 2
