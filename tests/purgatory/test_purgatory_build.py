"""purgatory/build.py: the objects are what the sources give, everywhere, and fit for use."""

from __future__ import annotations

import importlib.util
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
from elftools.elf.elffile import ELFFile

from tests.toolchain import TOOLCHAINS, but_for_the_compiler, find_toolchain

ROOT = Path(__file__).resolve().parents[2]
OBJECTS = Path("pykexec/purgatory_objects")

TOOLCHAIN = find_toolchain()


def build(
    tree: Path, *arguments: str, env: Mapping[str, str] | None = None
) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, str(tree / "purgatory" / "build.py"), *arguments],
        env=os.environ | (env or {}),
        capture_output=True,
        text=True,
        check=False,
    )


def build_module() -> Any:
    """Return build.py as a module; it is in no package."""
    spec = importlib.util.spec_from_file_location("purgatory_build", ROOT / "purgatory/build.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module
    with pytest.MonkeyPatch.context() as patch:
        # What Python itself does for a program: its directory comes first.
        patch.syspath_prepend(str(ROOT / "purgatory"))
        spec.loader.exec_module(module)
    return module


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    """A copy of the sources and of the objects, at a path of its own."""
    for directory in (Path("purgatory"), OBJECTS):
        shutil.copytree(
            ROOT / directory, tmp_path / directory, ignore=shutil.ignore_patterns("__pycache__")
        )
    return tmp_path


def edit(path: Path, old: str, new: str) -> None:
    text = path.read_text()
    assert old in text
    path.write_text(text.replace(old, new, 1))


@pytest.mark.usefixtures("clang")
class TestBuild:
    def test_objects_are_current(self) -> None:
        result = build(ROOT, "--check")
        assert result.returncode == 0, result.stderr

    @pytest.mark.usefixtures("own_clang")
    def test_directory_and_environment_make_no_difference(self, tree: Path, tmp_path: Path) -> None:
        out = tmp_path / "elsewhere" / "out"
        hostile = {
            "CFLAGS": "-O0 -march=x86-64-v3",
            "CPATH": str(tmp_path),
            "CCC_OVERRIDE_OPTIONS": "+-O0",
            "SOURCE_DATE_EPOCH": "1",
        }
        (tmp_path / "stdint.h").write_text("#error taken from the environment\n")
        result = build(tree, "--out", str(out), env=hostile)
        assert result.returncode == 0, result.stderr
        names = {path.name for path in out.iterdir()}
        assert names == {
            *("aarch64.bin", "arm.bin", "i386.bin", "loongarch64.bin", "ppc64le.bin"),
            *("riscv64.bin", "s390x.bin", "x86_64.bin"),
            *("start-loongarch64.bin", "start-ppc64le.bin", "start-riscv64.bin"),
            *("start-s390x.bin", "start-x86_64.bin", "MANIFEST.json"),
        }
        for name in names:
            made, checked_in = ((place / name).read_bytes() for place in (out, ROOT / OBJECTS))
            assert but_for_the_compiler(made) == but_for_the_compiler(checked_in)

    @pytest.mark.usefixtures("own_clang")
    @pytest.mark.parametrize(
        ("path", "old", "new", "named"),
        [
            ("common/sha256.c", "0x428a2f98", "0x428a2f99", "x86_64.bin differs"),
            ("common/verify.c", "is right", "is fine ", "x86_64.bin differs"),
            ("arch/x86_64/entry.S", "\tcld\n", "", "x86_64.bin differs"),
            ("arch/aarch64/entry.S", "\tisb\n", "", "aarch64.bin differs"),
            ("arch/loongarch64/entry.S", "\tibar\t0\n", "", "loongarch64.bin differs"),
            ("arch/riscv64/entry.S", "\tfence.i\n", "", "riscv64.bin differs"),
            ("include/sha256.h", "The digest of", "A digest of", "MANIFEST.json differs"),
            ("start/x86_64.S", "\tpause\n", "", "start-x86_64.bin differs"),
        ],
    )
    def test_check_notices_a_changed_source(
        self, tree: Path, path: str, old: str, new: str, named: str
    ) -> None:
        edit(tree / "purgatory" / path, old, new)
        result = build(tree, "--check")
        assert result.returncode == 1
        assert named in result.stderr
        assert result.stderr.endswith("run python purgatory/build.py\n")
        assert result.stderr.count("\n") == 1

    def test_check_notices_changed_objects(self, tree: Path) -> None:
        (tree / OBJECTS / "x86_64.bin").unlink()
        (tree / OBJECTS / "vax.bin").touch()
        (tree / OBJECTS / "MANIFEST.json").write_text("{}")
        result = build(tree, "--check")
        assert result.returncode == 1
        for part in ("x86_64.bin is missing", "vax.bin has no source", "MANIFEST.json differs"):
            assert part in result.stderr

    def test_any_compiler_notices_other_sources(self, tree: Path) -> None:
        """Without the one that made the objects, what follows from the sources is compared."""
        assert TOOLCHAIN is not None
        for plain, own in zip(TOOLCHAINS[1], TOOLCHAIN, strict=True):
            (tree / plain).symlink_to(str(shutil.which(own)))
        path = {"PATH": str(tree)}
        image = tree / OBJECTS / "x86_64.bin"
        image.write_bytes(image.read_bytes()[:-1])
        result = build(tree, "--check", env=path)
        assert result.returncode == 0, result.stderr
        assert "bytes are not compared; what this makes of the sources is fit" in result.stdout
        assert result.stdout.count("\n") == 1
        edit(tree / "purgatory" / "common" / "sha256.c", "0x428a2f98", "0x428a2f99")
        result = build(tree, "--check", env=path)
        assert (result.returncode, result.stderr.partition(":")[0]) == (1, "purgatory")
        assert "MANIFEST.json differs" in result.stderr

    def test_another_compiler_may_make_the_same_bytes(self, tree: Path) -> None:
        edit(tree / OBJECTS / "MANIFEST.json", "Debian clang version", "Other clang version")
        assert build(tree, "--check").returncode == 0

    @pytest.mark.parametrize(
        ("path", "addition", "message"),
        [
            (
                "common/purgatory.c",
                "void *absolute = &skip_checks;",
                "relocations are left: 1 in .rela.dyn",
            ),
            (
                "common/purgatory.c",
                "extern int missing; int *f(void) { return &missing; }",
                "undefined symbol: missing",
            ),
            (
                "arch/x86_64/machine.c",
                "double f(double x) { return x * 2; }",
                "undefined symbol: __adddf3",
            ),
            (
                "arch/aarch64/machine.c",
                "double f(double x) { return x * 2; }",
                "'f' requires 'double' type support",
            ),
            (
                "common/purgatory.c",
                '__attribute__((section("elsewhere"))) int extra = 1;',
                "sections that flat.ld does not place: elsewhere",
            ),
            (
                "common/purgatory.c",
                "char large[1 << 20]; void f(char *p)"
                " { for (int i = 0; i < 1 << 20; i++) p[i] = large[i]; }",
                "",
            ),
        ],
        ids=["relocation", "undefined", "double x86_64", "double aarch64", "section", "bss"],
    )
    def test_what_could_not_run_is_refused(
        self, tree: Path, path: str, addition: str, message: str
    ) -> None:
        """The last case is fit for use: it only needs more memory."""
        source = tree / "purgatory" / path
        source.write_text(source.read_text() + addition + "\n")
        result = build(tree, "--out", str(tree / "out"))
        assert result.returncode == (1 if message else 0), result.stderr
        assert message in result.stderr
        assert (tree / "out").exists() is not bool(message)

    @pytest.mark.parametrize(
        ("arch", "word", "reason"),
        [
            ("aarch64", 0x3DC00000, "load or store of a vector register"),
            ("arm", 0xED900B00, "coprocessor, vector, floating point or a system call"),
            ("arm", 0xE3010234, "movw or movt, of ARMv6T2"),
            ("loongarch64", 0x04060C2C, "floating point, vector, atomic, privileged or unknown"),
            ("riscv64", 0x12000073, "a privileged instruction that is not needed"),
            ("ppc64le", 0x7C1103A6, "a special purpose register that is not needed"),
            (
                "s390x",
                0xB3190012,
                "vector, floating point, atomic, of a later processor or unknown",
            ),
        ],
    )
    def test_instructions_are_looked_at(
        self, tree: Path, arch: str, word: int, reason: str
    ) -> None:
        source = tree / "purgatory" / "arch" / arch / "machine.c"
        # What .long makes is data by its mapping symbol.
        kind = ".inst" if arch == "arm" else ".long"
        source.write_text(source.read_text() + f'__asm__(".text; {kind} {word:#010x}");\n')
        result = build(tree, "--out", str(tree / "out"))
        assert result.returncode == 1
        # Where not all have four bytes, zeros follow a short one.
        assert re.search(rf"instruction {word:#010x}(0000)? at offset 0x", result.stderr)
        assert result.stderr.endswith(f": {reason}\n")

    @pytest.mark.parametrize("section", [".data : ALIGN(4096)", ".stack (NOLOAD) : ALIGN(4096)"])
    def test_pages_must_not_be_shared(self, tree: Path, section: str) -> None:
        edit(tree / "purgatory" / "flat.ld", section, section.replace("ALIGN(4096)", ""))
        result = build(tree, "--out", str(tree / "out"))
        assert result.returncode == 1
        assert "is not on pages of its own" in result.stderr

    def test_contract_symbol_must_exist(self, tree: Path) -> None:
        edit(tree / "purgatory" / "build.py", '"skip_checks",', '"skip_checks", "skip_nothing",')
        result = build(tree, "--out", str(tree / "out"))
        assert result.returncode == 1
        assert "0 symbols are called skip_nothing" in result.stderr


@pytest.mark.parametrize(
    ("word", "expected"),
    [
        (0x9E670000, "vector or floating point"),  # fmov d0, x0
        (0x6E221C20, "vector or floating point"),  # eor v0.16b, v1.16b, v2.16b
        (0x5E024020, "vector or floating point"),  # sha256h q0, q1, v2.4s
        (0x2518E3E0, "vector or floating point"),  # ptrue p0.b
        (0x85804000, "vector or floating point"),  # ldr z0, [x0]
        (0xC00800FF, "vector or floating point"),  # zero {za}
        (0x3DC00000, "load or store of a vector register"),  # ldr q0, [x0]
        (0x6D0007E0, "load or store of a vector register"),  # stp d0, d1, [sp]
        (0xBC404400, "load or store of a vector register"),  # ldr s0, [x0], #4
        (0x5C000000, "load or store of a vector register"),  # ldr d0, .
        (0x4C407000, "load or store of a vector register"),  # ld1 {v0.16b}, [x0]
        (0xC85F7C20, "atomic"),  # ldxr x0, [x1]
        (0x0800FC41, "atomic"),  # stlxrb w0, w1, [x2]
        (0xC87F8440, "atomic"),  # ldaxp x0, x1, [x2]
        (0xC8A07C41, "atomic"),  # cas x0, x1, [x2]
        (0x48207C82, "atomic"),  # casp x0, x1, x2, x3, [x4]
        (0xF8200041, "atomic"),  # ldadd x0, x1, [x2]
        (0x38E08041, "atomic"),  # swpalb w0, w1, [x2]
        (0xD50B7423, "dc zva"),  # dc zva, x3
        (0xC8DFFC20, None),  # ldar x0, [x1]
        (0x889FFC20, None),  # stlr w0, [x1]
        (0xF8627820, None),  # ldr x0, [x1, x2, lsl #3]
        (0xA8C107E0, None),  # ldp x0, x1, [sp], #16
        (0xF8408820, None),  # ldtr x0, [x1, #8]
        (0x18000000, None),  # ldr w0, .
        (0xD50B7A23, None),  # dc cvac, x3
        (0x9BC27C20, None),  # umulh x0, x1, x2
        (0x13820C20, None),  # extr w0, w1, w2, #3
        (0xD5034FDF, None),  # msr daifset, #15
        (0xD61F0200, None),  # br x16
    ],
)
def test_a64_instructions_that_need_what_is_off(word: int, expected: str | None) -> None:
    objection = build_module().a64_objection(word)
    assert (objection or "").startswith(expected or "")
    assert bool(objection) is bool(expected)


@pytest.mark.parametrize(
    ("word", "expected"),
    [
        (0x00000001, "beyond"),  # c.nop
        (0x00053507, "beyond"),  # fld fa0, 0(a0)
        (0x00A53027, "beyond"),  # fsd fa0, 0(a0)
        (0x02B57553, "beyond"),  # fadd.d fa0, fa0, fa1
        (0x02A57543, "beyond"),  # fmadd.d fa0, fa0, fa0, ft0
        (0x02056507, "beyond"),  # vle32.v v10, (a0)
        (0xCD027057, "beyond"),  # vsetivli zero, 4, e32, m1, ta, ma
        (0x1005252F, "beyond"),  # lr.w a0, (a0)
        (0x00C5A52F, "beyond"),  # amoadd.w a0, a2, (a1)
        (0x6B855513, "of an extension"),  # rev8 a0, a0 (Zbb)
        (0x60555513, "of an extension"),  # rori a0, a0, 5 (Zbb)
        (0x60B51533, "of an extension"),  # rol a0, a0, a1 (Zbb)
        (0x40B57533, "of an extension"),  # andn a0, a0, a1 (Zbb)
        (0x10251513, "of an extension"),  # sha256sig0 a0, a0 (Zknh)
        (0x18051073, "a privileged"),  # csrw satp, a0
        (0x12000073, "a privileged"),  # sfence.vma
        (0x10200073, "a privileged"),  # sret
        (0x00100073, "a privileged"),  # ebreak
        (0xC0102573, "a privileged"),  # rdtime a0
        (0x0001B503, "uses gp or tp"),  # ld a0, 0(gp)
        (0x80018513, "uses gp or tp"),  # addi a0, gp, -2048
        (0x00023503, "uses gp or tp"),  # ld a0, 0(tp)
        (0x00351023, "uses gp or tp"),  # sh gp, 0(a0)
        (0x00000197, "uses gp or tp"),  # auipc gp, 0
        (0x00020067, "uses gp or tp"),  # jr tp
        (0x10401073, None),  # csrw sie, zero
        (0x10529073, None),  # csrw stvec, t0
        (0x14202573, None),  # csrr a0, scause
        (0x00000073, None),  # ecall
        (0x10500073, None),  # wfi
        (0x0000100F, None),  # fence.i
        (0x0330000F, None),  # fence rw, rw
        (0x03F55513, None),  # srli a0, a0, 63
        (0x43F55513, None),  # srai a0, a0, 63
        (0x01F5551B, None),  # srliw a0, a0, 31
        (0x02B55533, None),  # divu a0, a0, a1
        (0x40B5053B, None),  # subw a0, a0, a1
        (0x00053503, None),  # ld a0, 0(a0)
        (0x0000606F, None),  # j +0x6000: what lies in rs1's place is a part of the distance
        (0x0001B537, None),  # lui a0, 27: likewise
    ],
)
def test_riscv_instructions_that_not_every_hart_has(word: int, expected: str | None) -> None:
    objection = build_module().riscv_objection(word)
    assert (objection or "").startswith(expected or "")
    assert bool(objection) is bool(expected)


LOONGARCH_WORDS = {
    "fadd.d $fa0, $fa0, $fa0": (0x01010000, False),
    "fmadd.d $fa0, $fa0, $fa0, $fa0": (0x08200000, False),
    "fcmp.ceq.d $fcc0, $fa0, $fa0": (0x0C220000, False),
    "fld.d $fa0, $a0, 0": (0x2B800080, False),
    "fst.d $fa0, $a0, 0": (0x2BC00080, False),
    "fldx.d $fa0, $a0, $a1": (0x38341480, False),
    "bceqz $fcc0, 0": (0x48000000, False),
    "vld $vr0, $a0, 0": (0x2C000080, False),
    "vadd.w $vr0, $vr0, $vr0": (0x700B0000, False),
    "xvld $xr0, $a0, 0": (0x2C800080, False),
    "ll.d $a0, $a0, 0": (0x22000084, False),
    "sc.d $a0, $a0, 0": (0x23000084, False),
    "amadd_db.d $a0, $a1, $a2": (0x386A94C4, False),
    "syscall 0": (0x002B0000, False),
    "csrrd $t0, DMW3": (0x04060C0C, False),
    "csrwr $t0, DMW3": (0x04060C2C, False),
    "csrwr $s2, CRMD": (0x04000039, False),
    "cacop 0, $a0, 0": (0x06000080, False),
    "invtlb 0, $zero, $zero": (0x06498000, False),
    "tlbwr": (0x06483000, False),
    "ertn": (0x06483800, False),
    "iocsrrd.w $a0, $a1": (0x064808A4, False),
    "csrwr $s2, DMW3": (0x04060C39, True),
    "idle 0": (0x06488000, True),
    "dbar 0": (0x38720000, True),
    "ibar 0": (0x38728000, True),
    "or $s0, $a0, $zero": (0x00150097, True),
    "bstrpick.d $t0, $t0, 47, 0": (0x00EF018C, True),
    "lu52i.d $t0, $t0, 0x900": (0x0324018C, True),
    "pcalau12i $t0, 0": (0x1A00000C, True),
    "ld.d $a1, $t0, 0": (0x28C00185, True),
    "ldx.wu $a0, $a1, $a2": (0x382818A4, True),
    "stx.b $a0, $a1, $a2": (0x381018A4, True),
    "beqz $a1, 60": (0x40003CA0, True),
    "jr $t1": (0x4C0001A0, True),
    "bltu $a0, $a1, 8": (0x68000885, True),
    "break 0": (0x002A0000, True),
}
"""By what they are called; whether the purgatory may have them. Behind functions is the last."""


@pytest.mark.parametrize(("word", "allowed"), LOONGARCH_WORDS.values(), ids=LOONGARCH_WORDS)
def test_loongarch_instructions_that_may_not_run(word: int, allowed: bool) -> None:
    reason = build_module().loongarch_objection(word)
    assert reason is None if allowed else reason.startswith("floating point, vector, atomic")


@pytest.mark.usefixtures("clang")
def test_loongarch_words_are_what_they_are_called(tmp_path: Path) -> None:
    """The assembler says the same."""
    assert TOOLCHAIN is not None
    names = {"DMW3": "0x183", "CRMD": "0", "0x900": "-0x700"}
    source = "\n".join(LOONGARCH_WORDS)
    for name, value in names.items():
        source = source.replace(name, value)
    flags = ("--target=loongarch64-unknown-none-elf", "-mlasx", "-x", "assembler")
    target = tmp_path / "words.o"
    subprocess.run(
        [TOOLCHAIN[0], *flags, "-c", "-", "-o", str(target)],
        input=source,
        text=True,
        check=True,
    )
    with target.open("rb") as stream:
        section = ELFFile(stream).get_section_by_name(".text")
        assert section is not None
        text = section.data()
    words = [int.from_bytes(text[at : at + 4], "little") for at in range(0, len(text), 4)]
    assert words == [word for word, _ in LOONGARCH_WORDS.values()]


@pytest.mark.parametrize(
    ("word", "expected"),
    [
        (0x7C0018CE, "vector"),  # lvx v0, 0, r3
        (0x10000484, "vector"),  # vor v0, v0, v0
        (0x7C001E98, "vector"),  # lxvd2x vs0, 0, r3
        (0xF0000510, "vector"),  # xxlnor vs0, vs0, vs0
        (0xF4030001, "vector"),  # lxv vs0, 0(r3)
        (0xC8030000, "vector"),  # lfd f0, 0(r3)
        (0xD8030000, "vector"),  # stfd f0, 0(r3)
        (0xFC00002A, "vector"),  # fadd f0, f0, f0
        (0xEC00002A, "vector"),  # fadds f0, f0, f0
        (0x7C001828, "vector"),  # lwarx r0, 0, r3
        (0x7C00192D, "vector"),  # stwcx. r0, 0, r3
        (0x06000000, "vector"),  # the first half of one with 64 bits
        (0x7C641A12, "vector"),  # modud r3, r4, r3 (Power ISA 3.0)
        (0x7C640474, "vector"),  # cnttzd r4, r3 (Power ISA 3.0)
        (0xBC030000, "vector"),  # stmw r0, 0(r3): not in little endian
        (0xE0830000, "vector"),  # lq r4, 0(r3)
        (0xF8830002, "vector"),  # stq r4, 0(r3)
        (0x44000002, "vector"),  # sc
        (0x7C001A64, "vector"),  # tlbie r3
        (0x7C0003E4, "vector"),  # slbia
        (0x7C001FEC, "vector"),  # dcbz 0, r3
        (0x4C000224, "vector"),  # hrfid
        (0x7C600164, "vector"),  # mtmsrd r3
        (0x7C7A02A6, None),  # mfsrr0 r3
        (0x7C1103A6, "a special"),  # mtspr 17, r0
        (0x7C6BFBA6, "a special"),  # mtspr 1003, r3
        (0x7C6D42A6, "a special"),  # mftb r3
        (0x44000022, None),  # sc 1
        (0x4C000024, None),  # rfid
        (0x7C6000A6, None),  # mfmsr r3
        (0x7C7A03A6, None),  # mtsrr0 r3
        (0x7C0802A6, None),  # mflr r0
        (0x7C6903A6, None),  # mtctr r3
        (0x7C0004AC, None),  # sync
        (0xE8010010, None),  # ld r0, 16(r1)
        (0xF821FFC1, None),  # stdu r1, -64(r1)
        (0x7C601C2C, None),  # lwbrx r3, 0, r3
        (0x7C63209E, None),  # isel r3, r3, r4, 2
        (0x54633E70, None),  # rlwinm r3, r3, 7, 25, 24
        (0x00000000, None),  # what the compiler puts behind functions
    ],
)
def test_power_instructions_that_may_not_run(word: int, expected: str | None) -> None:
    objection = build_module().ppc_objection(word)
    assert (objection or "").startswith(expected or "")
    assert bool(objection) is bool(expected)


def test_missing_compiler(tmp_path: Path) -> None:
    result = build(ROOT, "--check", env={"PATH": str(tmp_path)})
    assert result.returncode == 2
    assert result.stderr == (
        "purgatory: clang-19 and ld.lld-19 not found: install the Debian packages clang-19 lld-19\n"
    )
