"""What builds programs that run without a C library: the compiler, and proof of what it made.

purgatory/build.py and launcher/build_launchers.py are the two that use it. One compiler and one set
of flags for everybody, taken from nowhere but these files: the result is the same in every
directory and under every CFLAGS.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from elftools.elf.elffile import ELFFile
from elftools.elf.relocation import RelocationSection
from elftools.elf.sections import SymbolTableSection

MANIFEST = "MANIFEST.json"

TOOLCHAINS = (("clang-19", "ld.lld-19"), ("clang", "ld.lld"))
"""Compiler and linker. The first pair makes what is checked in, byte for byte; the second is for
suites without it: what it makes has to be fit for use just so."""
PACKAGES = {"clang-19": "clang-19", "ld.lld-19": "lld-19"}

COMPILE_FLAGS = (
    "--no-default-config",
    "-std=c17",
    "-Wall",
    "-Wextra",
    "-Wconversion",
    "-Werror",
    "-ffreestanding",
    "-nostdlibinc",
    "-fPIE",
    "-fvisibility=hidden",
    # Everything is in this one image, so nothing is reached through a GOT.
    "-fdirect-access-external-data",
    "-fno-stack-protector",
    "-fno-asynchronous-unwind-tables",
    "-fno-strict-aliasing",
    "-fno-ident",
)
"""What every program is compiled with, beside its own."""
GENERAL_REGISTERS = "-mgeneral-regs-only"
"""For processors where the compiler knows it: a purgatory must not touch vector registers, and a
launcher is smaller so."""
LINK_FLAGS = (
    "-pie",
    "--no-dynamic-linker",
    "-Bsymbolic",
    "--build-id=none",
    "-znorelro",
    "-znotext",
)


class BuildError(Exception):
    """The build failed or its result is not fit for use; the message says how."""


class MissingCompilerError(BuildError):
    """The compiler or the linker is not installed."""


@dataclass(frozen=True, slots=True)
class Tools:
    """Where the compiler and the linker are."""

    compiler: str
    linker: str
    is_own: bool
    """They are those that made what is checked in."""

    @property
    def version(self) -> str:
        """The compiler's first line about itself."""
        return run([self.compiler, "--version"], Path("/")).splitlines()[0]

    def compile(
        self, directory: Path, sources: Iterable[Path], flags: Iterable[str], work: Path
    ) -> list[str]:
        """Compile ``sources`` below ``directory`` into ``work``; return the objects' paths."""
        objects = []
        for number, source in enumerate(sources):
            target = str(work / f"{number}-{source.stem}.o")
            relative = str(source.relative_to(directory))
            run([self.compiler, *flags, "-c", relative, "-o", target], directory)
            objects.append(target)
        return objects

    def link(
        self, directory: Path, objects: Iterable[str], flags: Iterable[str], out: Path
    ) -> None:
        """Link ``objects`` to the program ``out``; ``directory`` is where linker scripts are."""
        run([self.linker, *flags, *objects, "-o", str(out)], directory)


def find_tools(toolchains: Iterable[tuple[str, str]] = TOOLCHAINS) -> Tools:
    """Return the first pair of which both are here."""
    for pair in toolchains:
        compiler, linker = map(shutil.which, pair)
        if compiler and linker:
            return Tools(compiler, linker, pair == TOOLCHAINS[0])
    missing = [tool for tool in TOOLCHAINS[0] if shutil.which(tool) is None]
    packages = " ".join(PACKAGES[tool] for tool in missing)
    raise MissingCompilerError(
        f"{' and '.join(missing)} not found: install the Debian packages {packages}"
    )


def run(command: list[str], directory: Path) -> str:
    """Run a tool in ``directory``, in an environment of its own, and return its output."""
    result = subprocess.run(
        command,
        cwd=directory,
        env={"PATH": "/usr/bin:/bin", "LC_ALL": "C"},
        capture_output=True,
        text=True,
        check=False,
    )
    if result.returncode:
        raise BuildError(f"{Path(command[0]).name} failed:\n{result.stderr.strip()}")
    return result.stdout


def digest_of(settings: object, contents: Mapping[str, bytes]) -> str:
    """Return the SHA-256 over everything that a result depends on, the compiler excepted."""
    digest = hashlib.sha256(json.dumps(settings).encode())
    for name, content in sorted(contents.items()):
        digest.update(f"{name} {len(content)}\n".encode())
        digest.update(content)
    return digest.hexdigest()


class Linked:
    """A linked program, read back."""

    def __init__(self, elf: ELFFile) -> None:
        """Look at ``elf``, whose stream must stay open meanwhile."""
        self.elf = elf
        self.sections = {
            section.name: section for section in elf.iter_sections() if section["sh_flags"] & 2
        }
        table = elf.get_section_by_name(".symtab")
        if not isinstance(table, SymbolTableSection):
            raise BuildError("the linked file has no symbol table")
        self.symbols = [symbol for symbol in table.iter_symbols() if symbol.name]

    def check(self) -> None:
        """Refuse what could not run as it is, at any address."""
        left = [
            f"{section.num_relocations()} in {section.name}"
            for section in self.elf.iter_sections()
            if isinstance(section, RelocationSection) and section.num_relocations()
        ]
        if left:
            raise BuildError(f"relocations are left: {', '.join(left)}")
        undefined = [item.name for item in self.symbols if item["st_shndx"] == "SHN_UNDEF"]
        if undefined:
            raise BuildError(f"undefined symbols: {', '.join(undefined)}")


def differences(files: dict[str, bytes], directory: Path, *, bytewise: bool = True) -> list[str]:
    """Return which files of ``directory`` are not what was built, in words.

    A compiler of another version that makes the same bytes makes no difference. One that makes
    others of the same sources makes none where ``bytewise`` is false.
    """
    judged = _without_compiler if bytewise else _of_sources
    wrong = []
    for name, content in files.items():
        path = directory / name
        if not path.is_file():
            wrong.append(f"{name} is missing")
        elif name == MANIFEST:
            if judged(path.read_bytes()) != judged(content):
                wrong.append(f"{name} differs")
        elif bytewise and path.read_bytes() != content:
            wrong.append(f"{name} differs")
    expected = {name for name in files if name != MANIFEST}
    suffixes = {Path(name).suffix for name in expected}
    found = {path.name for path in directory.glob("*.*") if path.suffix in suffixes}
    wrong += [f"{name} has no source" for name in sorted(found - expected)]
    return wrong


def _without_compiler(manifest: bytes) -> Any:
    try:
        value = json.loads(manifest)
        for group in value.values():
            for entry in group.values() if isinstance(group, dict) else ():
                del entry["compiler"]
    except (ValueError, KeyError, TypeError, AttributeError):
        return None
    return value


def _of_sources(manifest: bytes) -> Any:
    """Return what follows from sources and flags, whichever compiler there is."""
    value = _without_compiler(manifest)
    if value is None:
        return None
    return [
        (key, name, entry["source_sha256"], entry["flags"], sorted(entry.get("symbols", ())))
        for key, group in sorted(value.items())
        if isinstance(group, dict)
        for name, entry in sorted(group.items())
    ]


@dataclass(frozen=True, slots=True)
class Product:
    """What a program builds, and where that is checked in."""

    name: str
    """What messages begin with."""
    plural: str
    program: str
    """Its path in the project."""
    directory: Path
    build: Callable[[Tools], dict[str, bytes]]
    """Returns the directory's files by name, the manifest among them."""


def run_command_line(arguments: list[str], product: Product) -> int:
    """Build or compare; return 0, 1 for a failure or difference, 2 without a compiler."""
    parser = argparse.ArgumentParser(description=f"Build pykexec's {product.plural}.")
    parser.add_argument(
        "--out", type=Path, default=product.directory, metavar="DIR", help="default: %(default)s"
    )
    parser.add_argument("--check", action="store_true", help="compare with DIR, write nothing")
    options = parser.parse_args(arguments)
    try:
        # What is checked in is one compiler's.
        own_only = not options.check and options.out == product.directory
        tools = find_tools(TOOLCHAINS[:1] if own_only else TOOLCHAINS)
        files = product.build(tools)
    except BuildError as error:
        print(f"{product.name}: {error}", file=sys.stderr)
        return 2 if isinstance(error, MissingCompilerError) else 1
    if options.check:
        return _tell_differences(files, options.out, tools, product)
    options.out.mkdir(parents=True, exist_ok=True)
    for name, content in files.items():
        (options.out / name).write_bytes(content)
    return 0


def _tell_differences(
    files: dict[str, bytes], directory: Path, tools: Tools, product: Product
) -> int:
    wrong = differences(files, directory, bytewise=tools.is_own)
    if not tools.is_own:
        print(
            f"{product.name}: without {TOOLCHAINS[0][0]} bytes are not compared; "
            f"what this makes of the sources is fit for use: {tools.version}"
        )
    if wrong:
        print(
            f"{product.name}: {', '.join(wrong)}: not what the sources give;"
            f" run python {product.program}",
            file=sys.stderr,
        )
    return 1 if wrong else 0
