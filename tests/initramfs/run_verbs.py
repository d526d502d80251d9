"""Runs every program and verb once, and prints which modules that has imported.

usage: python -m tests.initramfs.run_verbs PROGRAM DIR

Not in a test's process, which has imported more. Loads are recorded and not made.
"""

from __future__ import annotations

import contextlib
import io
import json
import shutil
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from types import ModuleType

from pykexec.calls import syscalls
from pykexec.initramfs.selection import STAND_INS
from tests.builders.bzimage import KernelSpec, build_bzimage
from tests.cli.stand_in import FakeLibc, stand_in

MACHINES = Path(__file__).resolve().parents[1] / "data/machines"
MACHINE = MACHINES / "x86_64-6.12-bios-8G-crash-high"


class Setter:
    """What of pytest's is used by stand_in()."""

    def setattr(self, target: object, name: str, value: object) -> None:
        """Set an attribute, for good."""
        setattr(target, name, value)


def commands(work: Path) -> Iterator[list[str]]:
    """Yield the words of each run."""
    kernel, initrd, core = work / "kernel", work / "initrd", work / "core"
    kernel.write_bytes(build_bzimage(KernelSpec(payload_size=1 << 16)))
    initrd.write_bytes(bytes(4096))
    core.write_bytes(b"\x7fELF" + bytes(60))
    load = [str(kernel), f"--initrd={initrd}", "--append=quiet"]
    for call in ("-c", "-s", "-a"):
        yield ["kexec", "-l", call, *load]
        yield ["kexec", "-p", call, *load]
    yield ["kexec", "-p", "-d", "--reuse-cmdline", *load]
    yield ["kexec", "-l", "-n", *load]
    yield ["kexec", "--load-preserve-context", "--mem-max=0xfffffff", *load]
    yield ["kexec", "--load-jump-back-helper", "--entry=0x40000000000"]
    for option in ("-v", "-h", "-u", "-p -u", "-S", "-e", "--nonsense"):
        yield ["kexec", *option.split()]
    yield ["vmcore-dmesg", str(core)]
    machine = f"--machine={MACHINE}"
    for words in (
        *(
            ["load", *load],
            ["unload"],
            ["way-back"],
            ["exec"],
            ["status"],
            ["inspect", str(kernel)],
        ),
        *(["doctor", machine], ["doctor", machine, *load], ["entries", machine]),
        ["plan", machine, *load],
        ["plan", machine, "--crash", "--explain", "kernel", *load],
        ["plan", machine, "--json", "--call", "segments", *load],
        ["simulate", machine, "--timeout", "1", str(initrd)],
        ["machine", "record", str(work / "record")],
        ["machine", "show", str(MACHINE)],
        ["crash", "load", *load],
        *(["crash", verb, machine] for verb in ("status", "test")),
        ["crash", "estimate", machine, *load],
        ["crash", "dmesg", str(core)],
        ["crash", "setup", "--dry-run"],
        ["crash", "match", str(core), str(kernel)],
        *(["fadump", verb, machine] for verb in ("status", "size")),
        *(["fadump", verb] for verb in ("register", "unregister", "release", "event")),
        *(["fadump", "append", "quiet"], ["fadump", "inspect", str(core)]),
        *(["live-update", "status", machine], ["live-update", "finish", "vm"]),
        *(["live-update", "session", verb, "vm"] for verb in ("create", "drop")),
        ["live-update", "preserve", "vm", str(core)],
        ["live-update", "retrieve", "vm", str(work / "there")],
        *(["schema"], ["schema", "plan"]),
        *(["--help"], ["load", "--nonsense"]),
    ):
        yield ["pykexec", *words]


def main() -> None:
    """Run them, and print {modules, outcomes} as JSON."""
    program, work = sys.argv[1], Path(sys.argv[2])
    # As in an image: pyelftools imports the debugger, which imports much more.
    assert "elftools" not in sys.modules
    for name, source in STAND_INS.items():
        sys.modules[name] = ModuleType(name)
        exec(source, vars(sys.modules[name]))
    shutil.copytree(MACHINE, work / "machine")
    wanted = [words for words in commands(work) if words[0] == program]
    before = set(sys.modules)
    outcomes: dict[str, object] = {}
    # Of monkeypatch it needs no more than what Setter has.
    stand_in(Setter(), work / "machine")  # type: ignore[arg-type]
    syscalls._libc = FakeLibc()
    for words in wanted:
        run = _entry(program)
        sys.argv = words
        said = io.TextIOWrapper(io.BytesIO(), write_through=True)
        with contextlib.redirect_stdout(said), contextlib.redirect_stderr(said):
            try:
                outcomes[" ".join(words)] = run()
            except Exception as error:  # the test wants to see it, whatever it is
                outcomes[" ".join(words)] = f"{type(error).__name__}: {error}"
    imported = sorted(name for name in set(sys.modules) - before)
    json.dump({"modules": imported, "outcomes": outcomes}, sys.stdout)


def _entry(program: str) -> Callable[[], int]:
    if program == "kexec":
        from pykexec.cli import kexec_compat

        return kexec_compat.main
    if program == "vmcore-dmesg":
        from pykexec.cli import vmcore_dmesg

        return vmcore_dmesg.main
    from pykexec.cli import main as verbs

    return verbs.main


if __name__ == "__main__":
    main()
