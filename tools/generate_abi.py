"""Write pykexec/_kexec_abi.py, the cffi out-of-line ABI module.

Out-of-line ABI mode needs no compiler where it is installed and imports in under a
millisecond. Run ``python tools/generate_abi.py`` after a change here; ``--check`` compares.
"""

from __future__ import annotations

import contextlib
import sys
import tempfile
from pathlib import Path

from cffi import FFI

TARGET = Path(__file__).resolve().parent.parent / "pykexec" / "_kexec_abi.py"

# Linux include/uapi/linux/kexec.h, "struct kexec_segment": four machine words. ``mem`` is a
# physical address, never dereferenced here, hence an integer.
CDEF = """
struct kexec_segment {
    const void *buf;
    size_t bufsz;
    size_t mem;
    size_t memsz;
};
long syscall(long number, ...);
"""


def generate() -> str:
    """Return the module's source."""
    ffi = FFI()
    ffi.set_source("pykexec._kexec_abi", None)
    ffi.cdef(CDEF)
    with tempfile.TemporaryDirectory() as directory:
        path = Path(directory) / "_kexec_abi.py"
        with contextlib.redirect_stdout(None):  # it names the temporary file
            ffi.emit_python_code(str(path))
        return path.read_text(encoding="utf-8")


def main(arguments: list[str]) -> int:
    """Write the module, or compare it when asked to."""
    source = generate()
    if "--check" in arguments:
        if TARGET.read_text(encoding="utf-8") == source:
            return 0
        print(f"{TARGET.name} is not what tools/generate_abi.py writes; run it", file=sys.stderr)
        return 1
    TARGET.write_text(source, encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
