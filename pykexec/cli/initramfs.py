"""``pykexec initramfs``: what an initramfs needs to run pykexec, as a tree, a list or a cpio."""

from __future__ import annotations

import os
import stat
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from pykexec.cli.initramfs_libraries import PackingError
from pykexec.cli.terminal import say
from pykexec.cli.verb_options import warn
from pykexec.initramfs.selection import PROGRAMS
from pykexec.values.errors import UsageError
from pykexec.values.units import counted, format_size

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from pykexec.cli.initramfs_build import Built, Wish


def _options(function: Callable[..., None]) -> Callable[..., None]:
    """Add the options that say what is packed; they arrive as ``wish``."""

    def with_wish(
        *,
        programs: tuple[str, ...],
        openssl: bool,
        small: bool,
        root: Path,
        python: str,
        **more: Any,
    ) -> None:
        from pykexec.cli.initramfs_build import Wish

        if openssl and small:
            raise UsageError("--openssl and --small are two answers; give one")
        chosen = tuple(name for name in PROGRAMS if name in programs)
        function(wish=Wish(chosen, openssl, root, python), **more)

    with_wish.__doc__ = function.__doc__
    with_wish.__name__ = function.__name__
    for option in (
        click.option(
            "--python",
            default="",
            metavar="FILE",
            help="Pack this interpreter, not the running one.",
        ),
        click.option(
            "--root",
            type=click.Path(path_type=Path, exists=True, file_okay=False),
            default="/",
            metavar="DIR",
            help="Take everything from the machine whose root directory this is.",
        ),
        click.option("--small", is_flag=True, help="Leave OpenSSL out, as without --openssl."),
        click.option(
            "--openssl", is_flag=True, help="Pack OpenSSL too: a faster SHA-256, 5 to 7 MB more."
        ),
        click.option(
            "--for",
            "programs",
            type=click.Choice(tuple(PROGRAMS)),
            multiple=True,
            default=("kexec",),
            help="Program that is to run; may be given more than once. kexec unless given.",
        ),
    ):
        with_wish = option(with_wish)
    return with_wish


@click.group()
def initramfs() -> None:
    """Pack Python and pykexec, as an initramfs needs them."""


@initramfs.command()
@click.argument("directory", type=click.Path(path_type=Path), metavar="DIR")
@_options
def tree(directory: Path, wish: Wish) -> None:
    """Put everything below DIR, which may be an image that is being built.

    What DIR has already stays, but for the programs asked for. Every module is imported with the
    packed interpreter before; when one cannot be, or anything is missing, DIR stays as it is.
    Exit status: 0 packed, 255 nothing was packed.
    """
    from pykexec.cli.initramfs_check import write_tree

    if directory.resolve() in (Path("/"), wish.root.resolve()):
        raise UsageError(
            f"{directory} is the root directory of a machine that runs",
            hint="name the directory in which an image is being built",
        )
    parent = _existing_parent(directory)
    built = _checked(wish, parent)
    with _told("cannot write", directory):
        write_tree(directory, built.entries, mtime=_mtime())
    say(_summary(built, f"below {directory}"), err=True)


@initramfs.command("list")
@_options
def list_(wish: Wish) -> None:
    """Print what would be packed: SOURCE, place and mode, with tabs between.

    A SOURCE that ends in .py is packed as byte code. Of a link it is "->" and where it leads to; it
    is "-" for what is made of no file. Nothing is checked.
    """
    from pykexec.cli.initramfs_build import build

    built = build(wish)
    for entry in built.entries:
        source = f"-> {entry.data.decode()}" if entry.is_link else entry.source or "-"
        say("\t".join((source, f"/{entry.place}", f"{stat.S_IMODE(entry.mode):04o}")))


@initramfs.command()
@click.argument("file", type=click.Path(path_type=Path), metavar="FILE")
@click.option(
    "--after",
    type=click.Path(path_type=Path, exists=True, dir_okay=False),
    metavar="INITRD",
    help="Begin FILE with a copy of INITRD: the kernel unpacks one behind the other.",
)
@_options
def cpio(file: Path, after: Path | None, wish: Wish) -> None:
    """Write everything to FILE, as an archive that can follow any initrd.

    Checked as for 'tree'. Exit status: 0 written, 255 there is no FILE.
    """
    from pykexec.initramfs.cpio import ARCHIVE_ALIGN, write_archive
    from pykexec.loading.undisturbed import undisturbed

    built = _checked(wish, _existing_parent(file))
    partial = file.with_name(f".{file.name}.{os.getpid()}")
    with _told("cannot write", file), undisturbed():
        try:
            with partial.open("wb") as out:
                if after is not None:
                    size = out.write(after.read_bytes())
                    out.write(bytes(-size % ARCHIVE_ALIGN))
                write_archive(out, built.entries, _mtime())
            partial.replace(file)
        finally:
            partial.unlink(missing_ok=True)
    say(_summary(built, f"in {file}"), err=True)


def _checked(wish: Wish, beside: Path) -> Built:
    """Pick everything and run it; raises :class:`PackingError`."""
    from pykexec.cli.initramfs_build import build
    from pykexec.cli.initramfs_check import check

    built = build(wish)
    with _told("cannot lay out what was picked beside", beside):
        check(built, beside)
    for library in built.lacking:
        warn(f"this machine has no {library}: kernels that need it are refused from the initramfs")
    return built


@contextmanager
def _told(what: str, place: Path) -> Iterator[None]:
    """Make a refusal of the file system one of ours."""
    try:
        yield
    except OSError as error:
        raise PackingError(f"{what} {place}: {error.strerror or error}") from error


def _existing_parent(path: Path) -> Path:
    """Return the directory that ``path`` will lie in; raises :class:`PackingError`."""
    parent = path.absolute().parent
    if not parent.is_dir():
        raise PackingError(f"there is no directory {parent}")
    return parent


def _mtime() -> int:
    """Return the time that files get, in seconds: SOURCE_DATE_EPOCH, or the beginning of time.

    https://reproducible-builds.org/specs/source-date-epoch/
    """
    text = os.environ.get("SOURCE_DATE_EPOCH", "0")
    if not text.isascii() or not text.isdigit() or int(text) >= 1 << 32:
        raise UsageError(f"SOURCE_DATE_EPOCH is {text!r}, and not a time in seconds since 1970")
    return int(text)


def _summary(built: Built, where: str) -> str:
    return (
        f"{counted(len(built.modules), 'module')} and {counted(len(built.entries), 'file')}, "
        f"{format_size(built.size)}, {where}; each module was imported there"
    )
