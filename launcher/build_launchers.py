"""Build the programs that are /usr/sbin/kexec of packages, one for each architecture.

``python launcher/build_launchers.py`` writes pykexec/launchers; ``--check`` builds again and
compares. As purgatory/build.py does, with the same compiler; README.md says what they do.
"""

from __future__ import annotations

import hashlib
import json
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

HERE = Path(__file__).resolve().parent
ROOT = HERE.parent
sys.path[1:1] = [str(ROOT / "purgatory"), str(ROOT)]

import freestanding  # noqa: E402
import texts  # noqa: E402
from elftools.elf.elffile import ELFFile  # noqa: E402
from freestanding import (  # noqa: E402
    GENERAL_REGISTERS,
    MANIFEST,
    BuildError,
    Linked,
    Product,
    Tools,
)

LAUNCHERS = ROOT / "pykexec" / "launchers"
SCHEMA = "pykexec.launchers/1"

COMPILE_FLAGS = (*freestanding.COMPILE_FLAGS, "-Oz", "-ffile-prefix-map=.=launcher", "-Iinclude")
LINK_FLAGS = (
    *freestanding.LINK_FLAGS,
    "--gc-sections",
    "-znoexecstack",
    # No page of zeros in the file between code and data.
    "-znoseparate-code",
    "-zmax-page-size=65536",
)


@dataclass(frozen=True, slots=True)
class Architecture:
    """How one launcher is built, beside what all share. arch/NAME has its start."""

    flags: tuple[str, ...]
    calls: str
    """The directory in arch/ with its calls.h."""


ARCHITECTURES = {
    "aarch64": Architecture(
        ("--target=aarch64-unknown-linux", "-march=armv8-a", GENERAL_REGISTERS), calls="generic"
    ),
    "arm": Architecture(
        # As of the purgatory: what every processor has that runs Linux, in ARM state.
        (
            *("--target=armv5te-unknown-linux-gnueabi", "-march=armv5te", "-marm"),
            *("-mfloat-abi=soft", "-mno-unaligned-access"),
        ),
        calls="arm",
    ),
    "i386": Architecture(
        (
            *("--target=i386-unknown-linux", "-march=i486"),
            *(GENERAL_REGISTERS, "-fcf-protection=none"),
        ),
        calls="i386",
    ),
    "loongarch64": Architecture(
        (
            # As of the purgatory: the instructions that every processor has.
            *("--target=loongarch64-unknown-linux", "-march=loongarch64", "-mabi=lp64s"),
            *("-msoft-float", "-mno-lsx"),
        ),
        calls="generic",
    ),
    "ppc64le": Architecture(
        (
            *("--target=powerpc64le-unknown-linux", "-mcpu=power8", "-msoft-float"),
            *("-mno-altivec", "-mno-vsx", "-mcmodel=medium"),
        ),
        calls="ppc64le",
    ),
    "riscv64": Architecture(
        (
            # As of the purgatory: the instructions that every processor has which runs Linux.
            *("--target=riscv64-unknown-linux", "-march=rv64im", "-mabi=lp64"),
            *("-mno-relax", "-msmall-data-limit=0"),
        ),
        calls="generic",
    ),
    "s390x": Architecture(
        # As of the purgatory: the oldest processor that the compiler knows.
        ("--target=s390x-unknown-linux", "-march=z10", "-msoft-float"),
        calls="s390x",
    ),
    "x86_64": Architecture(
        (
            *("--target=x86_64-unknown-linux", "-march=x86-64"),
            *(GENERAL_REGISTERS, "-fcf-protection=none"),
        ),
        calls="x86_64",
    ),
}


def sources(name: str) -> list[Path]:
    """Return what is compiled, in the order of linking."""
    return [HERE / "arch" / name / "start.S", *sorted((HERE / "common").glob("*.c"))]


def flags_of(name: str) -> list[str]:
    """Return the compiler's flags, which do not say where texts.h is."""
    return [*ARCHITECTURES[name].flags, *COMPILE_FLAGS, f"-I{_calls(name).parent}"]


def _calls(name: str) -> Path:
    return Path("arch", ARCHITECTURES[name].calls, "calls.h")


def source_digest(name: str, header: str) -> str:
    """Return the SHA-256 over everything that the result depends on, the compiler excepted."""
    files = [*sources(name), HERE / _calls(name), *(HERE / "include").glob("*.h")]
    contents = {path.relative_to(HERE).as_posix(): path.read_bytes() for path in files}
    return freestanding.digest_of(
        [flags_of(name), LINK_FLAGS], {**contents, "texts.h": header.encode()}
    )


def build(name: str, tools: Tools) -> tuple[bytes, dict[str, Any]]:
    """Build one launcher; return its bytes and its entry in the manifest."""
    header = texts.header()
    with tempfile.TemporaryDirectory() as directory:
        work = Path(directory)
        (work / "texts.h").write_text(header)
        linked, stripped = work / "linked.elf", work / "stripped.elf"
        objects = tools.compile(HERE, sources(name), [*flags_of(name), f"-I{work}"], work)
        tools.link(HERE, objects, LINK_FLAGS, linked)
        tools.link(HERE, objects, (*LINK_FLAGS, "--strip-all"), stripped)
        with linked.open("rb") as stream:
            elf = ELFFile(stream)
            Linked(elf).check()
            if any(segment["p_type"] == "PT_INTERP" for segment in elf.iter_segments()):
                raise BuildError("the linked file wants an interpreter")
        image = stripped.read_bytes()
    return image, {
        "file": f"{name}.elf",
        "sha256": hashlib.sha256(image).hexdigest(),
        "size": len(image),
        "source_sha256": source_digest(name, header),
        "compiler": tools.version,
        "flags": flags_of(name),
    }


def build_all(tools: Tools) -> dict[str, bytes]:
    """Build everything; return the files of the launchers' directory by name."""
    files: dict[str, bytes] = {}
    entries = {}
    for name in sorted(ARCHITECTURES):
        image, entries[name] = build(name, tools)
        files[entries[name]["file"]] = image
    manifest = {"schema": SCHEMA, "launchers": entries}
    files[MANIFEST] = (json.dumps(manifest, indent=2) + "\n").encode()
    return files


PRODUCT = Product("launcher", "launchers", "launcher/build_launchers.py", LAUNCHERS, build_all)

if __name__ == "__main__":
    sys.exit(freestanding.run_command_line(sys.argv[1:], PRODUCT))
