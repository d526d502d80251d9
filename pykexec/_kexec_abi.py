# auto-generated file
import _cffi_backend

ffi = _cffi_backend.FFI(
    "pykexec._kexec_abi",
    _version=0x2601,
    _types=b"\x00\x00\x01\x0d\x00\x00\x09\x01\x00\x00\x01\x0f\x00\x00\x1c\x01\x00\x00\x00\x09\x00\x00\x06\x03\x00\x00\x00\x01",
    _globals=(
        b"\x00\x00\x00\x23syscall",
        0,
    ),
    _struct_unions=(
        (
            b"\x00\x00\x00\x04\x00\x00\x00\x02kexec_segment",
            b"\x00\x00\x05\x11buf",
            b"\x00\x00\x03\x11bufsz",
            b"\x00\x00\x03\x11mem",
            b"\x00\x00\x03\x11memsz",
        ),
    ),
)
