"""GRUB's commands that read other files, and those that make the menu. Pure.

GNU GRUB Manual, "source", "configfile", "normal", "extract_entries_source", "menuentry",
"submenu", "Embedding a configuration file".
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from pykexec.entries.grub_boot import BAD_ARGUMENT, NO_FILE, OK, Boot, Pending
from pykexec.entries.grub_environment import TooMuch
from pykexec.entries.grub_files import Absent
from pykexec.entries.grub_options import BadOption, Option, parse_options
from pykexec.entries.grub_run import Booted, Handover, Left, Run
from pykexec.entries.grub_values import GrubMenu, Item, SourceText
from pykexec.values.data_classes import replace

if TYPE_CHECKING:
    from collections.abc import Iterator

    from pykexec.entries.grub_boot import Result
    from pykexec.entries.grub_run import Action

_MENU_OPTIONS = {
    "class": Option("\1", takes_value=True),
    "users": Option("\2", takes_value=True),
    "hotkey": Option("\3", takes_value=True),
    "source": Option("\4", takes_value=True),
    "id": Option(takes_value=True),
    "unrestricted": Option(),
}
_SEPARATOR = ">"
_STARTED = "boot"
"""The id of what a script starts without a menu."""
_STEPS_OF_A_LINE = 16
"""What copying the variables for a line of the menu counts for."""


def _menu_entry(*, is_submenu: bool) -> Action:
    def command(run: Run, words: list[str]) -> Result:
        block = run.block
        try:
            parsed = parse_options(words, _MENU_OPTIONS, accept_dash=True)
        except BadOption as error:
            run.tell(f"a menu entry is left out, as GRUB does: {error}")
            return BAD_ARGUMENT
        source = parsed.value("source")
        if not parsed.rest or (block is None) == (source is None):
            run.tell("a menu entry is left out, as GRUB does: it has no title or no commands")
            return BAD_ARGUMENT
        shown = run.shared.unknowns.shown
        title = shown(parsed.rest[0])
        run.pending.append(
            Pending(
                title,
                shown(parsed.value("id") or "") or title,
                parsed.rest,
                block.script if block is not None else source or "",
                run.where,
                is_submenu,
            )
        )
        return OK

    return command


def _open(run: Run, name: str) -> SourceText | None:
    """Return a script's text; what is not there is told."""
    shown = run.shared.unknowns.shown(name)
    reference = run.reference(name)
    found: SourceText | Absent = (
        Absent(reference, certain=not run.shared.unknowns.unknown(name))
        if isinstance(reference, str)
        else run.shared.files.text(reference)
    )
    if isinstance(found, SourceText):
        return found
    run.tell(f"cannot read {shown}: {found.reason}")
    if not found.certain:
        run.shared.lost[run.where] = None
    return None


def read_file(run: Run, found: SourceText, name: str) -> Result:
    """Run a script out of a file, with the variables that say where it is."""
    variables = run.variables
    if not name.startswith("("):
        name = f"({variables.value('root')}){name}"
    kept = {
        variable: variables.value(variable) if variables.is_set(variable) else None
        for variable in ("config_file", "config_directory")
    }
    variables.set("config_file", name)
    variables.set("config_directory", name.rpartition("/")[0])
    variables.export("config_file", "config_directory")
    place = run.file, run.line
    run.file, run.line = found.path, 1
    result = run.run_text(found.text, is_file=True)
    run.file, run.line = place
    for variable, value in kept.items():
        if value is None:
            variables.unset(variable)
        else:
            variables.set(variable, value)
    return result


def _source(run: Run, words: list[str]) -> Result:
    if len(words) != 1:
        return BAD_ARGUMENT
    found = _open(run, words[0])
    # Whether the file is there or not, and whatever it does: to GRUB this succeeds.
    if found is not None:
        run.shared.depth += 1
        read_file(run, found, words[0])
        run.shared.depth -= 1
    return OK


def _config_file(run: Run, words: list[str]) -> Result:
    """Show the menu of another file, with the exported variables; come back for an empty one."""
    if len(words) != 1:
        return BAD_ARGUMENT
    found = _open(run, words[0])
    if found is None:
        if run.boot.kernel is None:
            shown = run.shared.unknowns.shown(words[0])
            run.boot.starts = f"shows the menu of {shown}, which cannot be read"
        return OK
    if found.path in run.shared.reading:
        run.boot.starts = f"goes back to the menu of {found.path}"
        return OK
    inner = Run(run.shared, run.variables, Boot())
    run.variables.open_context()
    run.shared.reading.append(found.path)
    inner.file = run.file
    inner.line = run.line
    menu = menu_of(inner, found, words[0])
    run.shared.reading.pop()
    run.variables.close_context()
    if menu.items or menu.doubts:
        raise Handover(menu)
    return OK


def _normal(run: Run, words: list[str]) -> Result:
    """Read a file into this menu, and show that: the rest of the script never follows."""
    name = words[0] if words else run.variables.value("prefix") + "/grub.cfg"
    found = _open(run, name)
    if found is not None:
        if found.path in run.shared.reading:
            run.boot.starts = f"goes back to the menu of {found.path}"
            return OK
        run.shared.reading.append(found.path)
        try:
            read_file(run, found, name)
        finally:
            run.shared.reading.pop()
    raise Handover(finished(run))


def _extract(*, is_source: bool) -> Action:
    """Return ``extract_entries_source`` or ``extract_entries_configfile``."""

    def command(run: Run, words: list[str]) -> Result:
        if len(words) != 1 or (found := _open(run, words[0])) is None:
            return NO_FILE
        run.variables.open_context(everything=is_source)
        inner = Run(run.shared, run.variables, Boot())
        read_file(inner, found, words[0])
        menu = None if is_source else finished(inner)
        run.variables.close_context()
        if menu is not None and menu.items:
            raise Handover(menu)
        run.pending += inner.pending
        return OK

    return command


def _not_read(kind: str) -> Action:
    def command(run: Run, words: list[str]) -> Result:
        shown = run.shared.unknowns.shown(" ".join(words))
        run.tell(f"{shown} is {kind}, which is not read here")
        run.shared.lost[run.where] = None
        run.boot.starts = f"shows the menu of {shown}, {kind}"
        return OK

    return command


def menu_of(run: Run, found: SourceText, name: str) -> GrubMenu:
    """Return the menu that a file makes, as far as it can be read."""
    depth = run.shared.depth
    try:
        read_file(run, found, name)
    except Handover as handover:
        return handover.menu
    except Left as left:
        return _left(run, left)
    except Booted:
        return _started(run)
    except TooMuch as error:
        run.tell(f"{error}")
        run.shared.lost[run.where] = None
    finally:
        run.shared.depth = depth
    return finished(run)


def _left(run: Run, left: Left) -> GrubMenu:
    """Return the lines that there were when a script left GRUB: nobody sees them."""
    doubt = f"GRUB leaves by {left.command!r} in {run.where}, and shows no menu"
    return replace(finished(run), doubts=(doubt,))


def _started(run: Run) -> GrubMenu:
    """Return what a script starts by itself, before any menu is shown."""
    line = Pending(f"boot in {run.where}", _STARTED, [], "", run.where)
    item = Item(line.title, line.id, run.boot.entry(line, line.id), starts=run.boot.starts)
    return GrubMenu((item,))


def finished(run: Run) -> GrubMenu:
    """Run each line's commands, as GRUB does when it is chosen, with the variables of the end."""
    # GRUB has no default but the first line then. Who sets saved_entry and does not use it has left
    # it to a GRUB that does.
    by = "default" if run.variables.is_set("default") else "saved_entry"
    wanted = run.variables.value(by)
    by = by if wanted else "default"
    said = run.shared.unknowns.unknown(wanted)
    items = tuple(_item(run, line) for line in run.pending)
    return GrubMenu(
        items,
        run.shared.unknowns.shown(wanted),
        by,
        run.shared.unknowns.shown(run.variables.value("fallback")),
        (f"{by!r} is {said}",) if said else (),
    )


def _item(outer: Run, line: Pending) -> Item:
    boot = Boot()
    shared = outer.shared
    item = Item(line.title, line.id, is_snippet=line.is_snippet)
    if shared.is_spent:
        return replace(item, starts=f"was not read: reading stopped in {shared.stopped}")
    depth = shared.depth
    run: Run | None = None
    shared.depth += 1
    try:
        outer.step(_STEPS_OF_A_LINE)
        run = Run(shared, outer.variables.copy(), boot)
        run.file, _, number = line.where.partition(", line ")
        run.line = int(number or "1")
        if line.is_submenu:
            run.variables.open_context()
        run.variables.open_scope(line.arguments)
        run.variables.set("chosen", line.id)
        run.is_entry = not line.is_submenu
        if isinstance(line.script, str):
            run.run_text(line.script, is_file=False)
        else:
            run.run(line.script)
        if line.is_submenu:
            return _with_menu(item, finished(run))
    except Handover as handover:
        return _with_menu(item, handover.menu)
    except Left as left:
        return _with_menu(item, _left(outer if run is None else run, left))
    except Booted:
        return replace(item, entry=boot.entry(line, _escaped(line.id)), starts=boot.starts)
    except TooMuch as error:
        # Where nothing was run any more, the limit was passed earlier.
        place = run.where if run is not None else shared.stopped or line.where
        shared.add_problem(f"{place}: {error}")
        shared.lost[place] = None
        boot.obstacle = f"{error}, and reading stopped in {place}"
    finally:
        shared.depth = depth
    if line.is_submenu:
        return _with_menu(item, GrubMenu(()))
    return replace(item, entry=boot.entry(line, _escaped(line.id)), starts=boot.starts)


def _with_menu(item: Item, menu: GrubMenu) -> Item:
    prefix = _escaped(item.id) + _SEPARATOR
    return Item(item.title, item.id, submenu=_below(prefix, menu))


def _escaped(ident: str) -> str:
    """Return an id as it stands in a path of ids: GRUB doubles the separator."""
    return ident.replace(_SEPARATOR, _SEPARATOR * 2)


def _below(prefix: str, menu: GrubMenu) -> GrubMenu:
    """Return a menu with the submenu that it is in before its entries' ids."""

    def items() -> Iterator[Item]:
        for item in menu.items:
            entry = item.entry
            yield replace(
                item,
                entry=None if entry is None else replace(entry, id=prefix + entry.id),
                submenu=None if item.submenu is None else _below(prefix, item.submenu),
            )

    return replace(menu, items=tuple(items()))


INCLUDES: dict[str, Action] = {
    "menuentry": _menu_entry(is_submenu=False),
    "submenu": _menu_entry(is_submenu=True),
    "source": _source,
    ".": _source,
    "configfile": _config_file,
    "normal": _normal,
    "extract_entries_source": _extract(is_source=True),
    "extract_entries_configfile": _extract(is_source=False),
    **dict.fromkeys(
        (
            "legacy_source", "legacy_configfile", "extract_legacy_entries_source",
            "extract_legacy_entries_configfile",
        ),
        _not_read("a menu of GRUB legacy"),
    ),
    **dict.fromkeys(
        (
            "syslinux_source", "syslinux_configfile", "extract_syslinux_entries_source",
            "extract_syslinux_entries_configfile",
        ),
        _not_read("a configuration of Syslinux"),
    ),
}  # fmt: skip
