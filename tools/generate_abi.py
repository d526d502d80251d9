"""Write the cffi out-of-line ABI modules, calls/_kexec_abi.py and formats/_codec_abi.py.

Out-of-line ABI mode needs no compiler where it is installed and imports in under a
millisecond. Run ``python tools/generate_abi.py`` after a change here; ``--check`` compares.
"""

from __future__ import annotations

import contextlib
import sys
import tempfile
from pathlib import Path

from cffi import FFI

PACKAGE = Path(__file__).resolve().parent.parent / "pykexec"

# Linux include/uapi/linux/kexec.h, "struct kexec_segment": four machine words. ``mem`` is a
# physical address, never dereferenced here, hence an integer.
KEXEC = """
struct kexec_segment {
    const void *buf;
    size_t bufsz;
    size_t mem;
    size_t memsz;
};
long syscall(long number, ...);
"""

# The documented, stable parts of zstd.h ("Streaming decompression"), lz4frame.h ("Streaming
# Decompression Functions") and lz4.h ("Simple Functions"). Contexts stay opaque.
CODEC = """
typedef struct { const void *src; size_t size; size_t pos; } ZSTD_inBuffer;
typedef struct { void *dst; size_t size; size_t pos; } ZSTD_outBuffer;
void *ZSTD_createDStream(void);
size_t ZSTD_freeDStream(void *stream);
size_t ZSTD_decompressStream(void *stream, ZSTD_outBuffer *output, ZSTD_inBuffer *input);
unsigned ZSTD_isError(size_t code);
const char *ZSTD_getErrorName(size_t code);

size_t LZ4F_createDecompressionContext(void **context, unsigned version);
size_t LZ4F_freeDecompressionContext(void *context);
size_t LZ4F_decompress(void *context, void *output, size_t *output_size,
                       const void *input, size_t *input_size, const void *options);
unsigned LZ4F_isError(size_t code);
const char *LZ4F_getErrorName(size_t code);
int LZ4_decompress_safe(const char *input, char *output, int input_size, int output_size);
"""

MODULES = {"calls._kexec_abi": KEXEC, "formats._codec_abi": CODEC}


def generate(name: str) -> str:
    """Return the source of the module ``name``."""
    ffi = FFI()
    ffi.set_source(f"pykexec.{name}", None)
    ffi.cdef(MODULES[name])
    with tempfile.TemporaryDirectory() as directory:
        path = Path(directory) / "abi.py"
        with contextlib.redirect_stdout(None):  # it names the temporary file
            ffi.emit_python_code(str(path))
        return path.read_text(encoding="utf-8")


def main(arguments: list[str]) -> int:
    """Write the modules, or compare them when asked to."""
    stale = 0
    for name in MODULES:
        target = PACKAGE / f"{name.replace('.', '/')}.py"
        source = generate(name)
        if "--check" not in arguments:
            target.write_text(source, encoding="utf-8")
        elif not target.exists() or target.read_text(encoding="utf-8") != source:
            print(f"{target.name} is not what tools/generate_abi.py writes", file=sys.stderr)
            stale = 1
    return stale


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
