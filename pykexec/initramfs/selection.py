"""Which modules are picked for an initramfs, and which are left out. Pure.

A closure over every import statement, those within functions included, is larger than what any
run needs: libraries import for interactive use, for other systems and for what they do when
something better is missing. What is left out here is what no program of pykexec comes to; each
module that is packed is imported before anything is, and the tests compare with what each verb
has imported at its end.
"""

from __future__ import annotations

from pykexec.architectures import architecture_of, name_of
from pykexec.values.data_classes import dataclass


@dataclass(frozen=True, slots=True)
class Program:
    """A program that an initramfs can be given."""

    name: str
    place: str
    """Path in the image, without a slash in front."""
    function: str
    """Its function in :mod:`pykexec.cli.front_door`."""
    roots: tuple[str, ...]
    """The modules that its imports are followed from."""


_FRONT = ("pykexec.cli.front_door", "pykexec.cli.streams")

PROGRAMS = {
    program.name: program
    for program in (
        Program("kexec", "usr/sbin/kexec", "kexec", (*_FRONT, "pykexec.cli.kexec_compat")),
        Program(
            "vmcore-dmesg",
            "usr/sbin/vmcore-dmesg",
            "vmcore_dmesg",
            (*_FRONT, "pykexec.cli.vmcore_dmesg"),
        ),
        Program("pykexec", "usr/bin/pykexec", "pykexec", (*_FRONT, "pykexec.cli.main")),
    )
}
"""By the name that ``--for`` takes."""

ALWAYS = (
    # Without the package Python ends before its first line; os is what it finds itself by.
    *("encodings.aliases", "encodings.utf_8", "encodings.ascii", "encodings.latin_1"),
    "os",
    # Found by their names only: what UKIs and PE files are decoded by.
    *("encodings.utf_16_le", "encodings.unicode_escape"),
)
"""What is found by no import statement, and is needed nevertheless."""

NOT_PACKED = frozenset(
    (
        # For people at a terminal, and for those who build and test software.
        *("argparse", "bdb", "cmd", "code", "codeop", "curses", "doctest", "getpass", "idlelib"),
        *("pydoc", "pydoc_data", "readline", "_pyrepl", "rlcompleter", "test", "tkinter"),
        *("turtle", "unittest", "webbrowser", "distutils", "ensurepip", "lib2to3", "pip"),
        *("pkg_resources", "setuptools", "venv", "cProfile", "profile", "pstats", "tracemalloc"),
        *("py_compile", "rich", "site", "sitecustomize", "usercustomize", "typing_extensions"),
        *("click.shell_completion", "click.testing", "click._termui_impl"),
        # Networks, data bases, other people's data.
        *("_ssl", "asyncio", "concurrent", "email", "ftplib", "html", "http", "logging"),
        *("multiprocessing", "netrc", "smtplib", "socketserver", "sqlite3", "ssl", "xml"),
        *("xmlrpc", "urllib.request", "urllib.response", "urllib.error", "mimetypes"),
        *("arrow", "cloudpickle", "cryptography", "lz4", "numpy", "ruamel"),
        *("decimal", "_decimal", "fractions", "statistics", "_uuid", "_strptime"),
        *("ctypes", "plistlib", "encodings.idna"),
        # Frozen in the interpreter, or what packages are installed by.
        *("importlib._bootstrap", "importlib._bootstrap_external", "zipimport", "zipfile"),
        *("importlib.metadata", "importlib.resources", "importlib.readers", "importlib.simple"),
        "importlib_metadata",
        # Slow stand-ins for what the interpreter has compiled.
        *("_pydecimal", "_pydatetime", "_pyio", "_py_abc"),
        # Other systems.
        *("_winapi", "_winreg", "msvcrt", "nt", "ntpath", "nturl2path", "winreg", "_ios_support"),
        *("_android_support", "_apple_support", "java", "org", "vms_lib", "click._winconsole"),
        *("encodings.mbcs", "encodings.oem", "encodings._win_cp_codecs"),
    )
)
"""With all that is below each."""

NOT_FOLLOWED = {
    "os": ("subprocess",),  # popen()
    "platform": ("subprocess", "socket"),  # What processor() asks "uname -p" for, and node().
    # as_uri() from 3.12 on, and moving files; in 3.13 within a package.
    **dict.fromkeys(
        ("pathlib", "pathlib._local"), ("urllib", "urllib.parse", "urllib.request", "shutil")
    ),
}
"""Imports within functions that nothing here calls: module, and what it imports there.

What another module imports by the same name is packed.
"""


def _stand_in(name: str) -> str:
    return (
        "def __getattr__(name):\n"
        f"    raise AttributeError(f'what is packed for an initramfs has no {name}.{{name}}')\n"
    )


STAND_INS = {name: _stand_in(name) for name in ("pdb",)}
"""What is imported for its name alone, and what is packed in its place.

pyelftools imports the debugger for a class that is only used while a format is being written; the
debugger brings half the standard library along.
"""

ADDED = {
    "pykexec.values.data_classes": """
def exec(text, module, made):
    import builtins, sys
    methods = vars(sys.modules[module["__name__"]]).get("__data_class_methods__", {})
    builtins.exec(methods.get(text, text), module, made)
"""
}
"""What is put behind the source of a module that is packed.

The methods of data classes are taken from where :mod:`pykexec.cli.initramfs_closure` has put them.
"""

OPENSSL = "_hashlib"
"""OpenSSL's digests, which bring a library of 5 to 7 MB. Python's own SHA-256 takes their place,
unless ``--openssl`` asks for them, or that Python was built without."""

DATA = {
    "pykexec.purgatory_objects": ("MANIFEST.json",),
    "pykexec.known_problems": ("problems.toml",),
    "pykexec.schemas": ("*.json",),
}
"""Patterns of what a package reads beside itself; purgatories are :func:`purgatory_files`."""

CODEC_LIBRARIES = ("libzstd.so.1", "liblz4.so.1")
"""What :mod:`pykexec.formats.codec_libraries` opens by name. Without one, kernels in that
compression are refused by name: it is packed where the machine has it."""


def purgatory_files(machine: str, program: str) -> tuple[str, ...]:
    """Return the files of :mod:`pykexec.purgatory_objects` for a machine, by ``uname -m``.

    ``simulate``, a verb of ``pykexec``, enters a plan by a program of its own.
    """
    name = name_of(machine)
    files = tuple(f"{item}.bin" for item in architecture_of(name).purgatories)
    return (*files, f"start-{name}.bin") if program == "pykexec" else files


def left_out(*, openssl: bool) -> frozenset[str]:
    """Return what is not packed, each with all that is below it."""
    return NOT_PACKED if openssl else NOT_PACKED | {OPENSSL}
