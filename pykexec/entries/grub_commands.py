"""GRUB's commands that work on variables and answer questions. Pure.

GNU GRUB Manual, "The list of command-line and menu entry commands".
"""

from __future__ import annotations

import re
from itertools import pairwise
from typing import TYPE_CHECKING

from pykexec.entries.grub_boot import BAD_ARGUMENT, BAD_COMMAND, BAD_NUMBER, FALSE, NO_FILE, OK
from pykexec.entries.grub_env_block import parse_grubenv
from pykexec.entries.grub_files import Absent, Device, Search, SearchBy
from pykexec.entries.grub_numbers import strtoul
from pykexec.entries.grub_options import BadOption, Option, parse_options
from pykexec.entries.grub_test import truth
from pykexec.entries.grub_unknown import Doubt
from pykexec.values.errors import MachineError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from pykexec.entries.grub_boot import Result
    from pykexec.entries.grub_run import Action, Run
    from pykexec.entries.grub_values import Node

_ENV_OPTIONS = {"file": Option("f", takes_value=True), "skip-sig": Option("s")}
_HINTS = ("hint", "hint-ieee1275", "hint-bios", "hint-baremetal", "hint-efi", "hint-arc")
_SEARCH_OPTIONS = {
    "file": Option("f"),
    "label": Option("l"),
    "fs-uuid": Option("u"),
    "part-label": Option(),
    "part-uuid": Option(),
    "set": Option("s", takes_value=True, is_optional=True),
    "no-floppy": Option("n"),
    "efidisk-only": Option(),
    "cryptodisk-only": Option("c"),
    "root-dev-only": Option("r"),
    **{name: Option("h" if name == "hint" else "", takes_value=True) for name in _HINTS},
}
_SET_OPTION = re.compile(r"--set(?:=(.*))?|-s|-[1-9]", re.DOTALL)
_ECHO_ESCAPES = {"a": "\a", "c": "", "f": "\f", "n": "\n", "r": "\r", "t": "\t", "v": "\v"}


def _set(run: Run, words: list[str]) -> Result:
    name, equals, value = words[0].partition("=") if words else ("", "", "")
    if not words:
        return OK
    if not equals:
        return BAD_ARGUMENT
    run.variables.set(name, value)
    return OK


def _unset(run: Run, words: list[str]) -> Result:
    if not words:
        return BAD_ARGUMENT
    run.variables.unset(words[0])
    return OK


def _export(run: Run, words: list[str]) -> Result:
    run.variables.export(*words)
    return OK if words else BAD_ARGUMENT


def _true(run: Run, words: list[str]) -> Result:
    return OK


def _false(run: Run, words: list[str]) -> Result:
    return FALSE


def _eval(run: Run, words: list[str]) -> Result:
    if not words:
        return OK
    text = " ".join(words)
    # To read a text costs time as well: an eval of evals is read once for each.
    run.step(len(text) // 40)
    return run.run_text(text, is_file=False)


def _echo(run: Run, words: list[str]) -> Result:
    options = ""
    while words and re.fullmatch("-[en]+", words[0]):
        options += words.pop(0)
    text = " ".join(words[1:] if words[:1] == ["--"] else words)
    if "e" in options:
        text = re.sub(r"\\(.)", lambda m: _ECHO_ESCAPES.get(m[1], m[1]), text, flags=re.DOTALL)
    run.shared.printed.append(text if "n" in options else text + "\n")
    return OK


def _count(words: list[str]) -> tuple[int, int]:
    """Return the number that a command has for its only word, 1 without any, and GRUB's error."""
    if not words:
        return 1, OK
    if len(words) > 1:
        return 0, BAD_ARGUMENT
    found = strtoul(words[0], 10)
    if found is None:
        return 0, BAD_NUMBER
    return found[0], BAD_ARGUMENT if found[1] else OK


def _break(run: Run, words: list[str], *, is_continue: bool = False) -> Result:
    count, error = _count(words)
    if error or not count:
        return error or BAD_ARGUMENT
    run.is_continue = is_continue
    run.breaks = min(count, run.loops)
    return OK


def _continue(run: Run, words: list[str]) -> Result:
    return _break(run, words, is_continue=True)


def _return(run: Run, words: list[str]) -> Result:
    if run.variables.arguments() is None or len(words) > 1:
        return BAD_ARGUMENT
    if not words:
        run.returning = True
        status = run.variables.value("?")
        if said := run.shared.unknowns.unknown(status):
            return Doubt(said.removeprefix("the answer to "))
        number = strtoul(status, 10)
        return number[0] if number else OK
    count, error = _count(words)
    if error:
        return error
    run.returning = True
    return count


def _shift(run: Run, words: list[str]) -> Result:
    arguments = run.variables.arguments()
    if arguments is None:
        return OK
    count, error = _count(words)
    if error or count > len(arguments):
        return BAD_ARGUMENT
    del arguments[:count]
    return OK


def _setparams(run: Run, words: list[str]) -> Result:
    return OK if run.variables.set_arguments(words) else BAD_COMMAND


class _Facts:
    """Answers for ``test``, by the run's files."""

    def __init__(self, run: Run) -> None:
        self._run = run

    def _node(self, path: str) -> Node | Absent:
        # GRUB takes slashes at the end away, and the root of a device is left without a name.
        stripped = path.rstrip("/")
        reference = self._run.reference(
            stripped + "/" if not stripped or stripped.endswith(")") else stripped
        )
        if isinstance(reference, str):
            return Absent(reference, certain=not self._run.shared.unknowns.unknown(path))
        return self._run.shared.files.node(reference)

    def test_file(self, operator: str, path: str) -> bool:
        node = self._node(path)
        shown = self._run.shared.unknowns.shown(path)
        if isinstance(node, Absent):
            return self._run.absent(shown, node)
        if operator == "-e":
            return True
        return node.is_directory if operator == "-d" else self._is_file(operator, node)

    def _is_file(self, operator: str, node: Node) -> bool:
        return not node.is_directory and (operator == "-f" or node.size > 0)

    def test_times(self, first: str, operator: str, second: str) -> bool:
        return self._run.ask(f"whether {first} {operator} {second}", usual=False)

    def test_unknown(self, words: Sequence[str]) -> bool | None:
        unknowns = self._run.shared.unknowns
        if not any(map(unknowns.unknown, words)):
            return None
        if len(words) < 3 and unknowns.is_device(words[-1]):
            return words[0] != "-z"
        # A "$?" of a command that GRUB has.
        is_answer = unknowns.unknown(words[0]).startswith("the answer to whether")
        is_success = is_answer and list(words[1:]) in (["=", "0"], ["==", "0"], ["-eq", "0"])
        shown = " ".join(map(unknowns.shown, words))
        return self._run.ask(f"whether {shown}", usual=is_success)


def _test(run: Run, words: list[str]) -> Result:
    run.step(len(words) // 20)
    return OK if truth(words, _Facts(run)) else FALSE


def _load_env(run: Run, words: list[str]) -> Result:
    try:
        parsed = parse_options(words, _ENV_OPTIONS)
    except BadOption as error:
        run.tell(f"load_env: {error}")
        return BAD_ARGUMENT
    name = parsed.value("file") or run.variables.value("prefix") + "/grubenv"
    reference = run.reference(name)
    if isinstance(reference, str):
        run.tell(f"load_env {name}: {reference}")
        return NO_FILE
    found = run.shared.files.text(reference)
    if isinstance(found, Absent):
        if not found.certain:
            run.tell(f"load_env {name}: {found.reason}")
            run.shared.lost[run.where] = None
        return NO_FILE
    try:
        block = parse_grubenv(found.text, found.path)
    except MachineError as error:
        run.shared.add_problem(error.message)
        return NO_FILE
    for variable, value in block.items():
        if not parsed.rest or variable in parsed.rest:
            run.variables.set(variable, value)
    return OK


def _search(run: Run, words: list[str]) -> Result:
    try:
        parsed = parse_options(words, _SEARCH_OPTIONS, accept_dash=True)
    except BadOption as error:
        run.tell(f"search: {error}")
        return BAD_ARGUMENT
    names = [word for word in parsed.rest if not word.startswith("--hint-")]
    variable = (parsed.value("set") or "root") if "set" in parsed.values else ""
    if not names and parsed.value("set"):
        names, variable = [parsed.value("set") or ""], "root"
    for other in ("part-label", "part-uuid"):
        if other in parsed.values and names:
            said = f"what a search by {other} {names[0]} finds"
            if variable:
                run.variables.set(variable, run.shared.unknowns.mark(said))
            return Doubt(said, usual=True)
    kinds = (SearchBy.LABEL, SearchBy.FS_UUID, SearchBy.FILE)
    kind = next((kind for kind in kinds if kind.value in parsed.values), None)
    if not names or kind is None:
        return BAD_ARGUMENT
    hints = [value for hint in _HINTS for value in parsed.values.get(hint, []) if value]
    return _found_device(run, Search(kind, names[0], tuple(dict.fromkeys(hints))), variable)


def _search_by(kind: SearchBy) -> Action:
    """Return the command ``search.fs_uuid`` and the like: NAME VARIABLE HINTS."""

    def search(run: Run, words: list[str]) -> Result:
        if not words:
            return BAD_ARGUMENT
        variable = words[1] if len(words) > 1 else ""
        return _found_device(run, Search(kind, words[0], tuple(words[2:])), variable)

    return search


def _found_device(run: Run, search: Search, variable: str) -> Result:
    unknowns = run.shared.unknowns
    if said := unknowns.unknown(search.value):
        if variable:
            run.variables.set(variable, unknowns.mark(f"what a search for {said} finds"))
        return Doubt(f"what a search for {said} finds", usual=True)
    device = Device(search=search)
    known = run.shared.files.has(device)
    if known is False:
        return NO_FILE
    if variable:
        run.variables.set(variable, unknowns.mark(device))
    return OK if known else Doubt(f"whether there is {device}", usual=True)


def _step_by(change: int) -> Action:
    """Return the commands ``increment`` and ``decrement`` of Fedora's GRUB."""

    def command(run: Run, words: list[str]) -> Result:
        if len(words) != 1 or not run.variables.is_set(words[0]):
            return BAD_ARGUMENT
        value = run.variables.value(words[0])
        if not re.fullmatch(r"-?[0-9]{1,18}", value, re.ASCII):
            return BAD_ARGUMENT
        run.variables.set(words[0], str(int(value) + change))
        return OK

    return command


def _insmod(run: Run, words: list[str]) -> Result:
    run.shared.modules.update(words)
    return Doubt(f"whether there is a module {' '.join(words)}", usual=True)


def _sleep(run: Run, words: list[str]) -> Result:
    asks = any(word in ("-i", "--interruptible") for word in words)
    return Doubt("whether someone presses a key", usual=True) if asks else OK


def unknown_answer(name: str) -> Action:
    """Return a command without effect whose answer only GRUB knows.

    What it sets (``--set VARIABLE``) only GRUB knows too.
    """

    def command(run: Run, words: list[str]) -> Result:
        shown = run.shared.unknowns.shown(" ".join([name, *words]))[:60]
        for at, word in enumerate(words):
            match = _SET_OPTION.fullmatch(word)
            if match is None:
                continue
            following = words[at + 1] if at + 1 < len(words) else ""
            variable = (match[1] or following).partition(":")
            run.variables.set(
                variable[2] or variable[0], run.shared.unknowns.mark(f"what {shown!r} finds")
            )
        # Nobody holds a key down.
        return Doubt(f"what {shown!r} answers", usual=name != "keystatus")

    return command


def _mount_subvolume(run: Run, words: list[str]) -> Result:
    """Take in SUSE's ``btrfs-mount-subvol DEVICE DIRECTORY SUBVOLUME``."""
    if len(words) != 3:
        return BAD_ARGUMENT
    run.shared.subvolumes[words[1].rstrip("/")] = words[2]
    return OK


def _next_partition(run: Run, words: list[str]) -> Result:
    """Take in ``gptprio.next`` of Flatcar's and CoreOS': what it sets is in the partition table."""
    for option, variable in pairwise(words):
        if option in ("-d", "--set-device", "-u", "--set-uuid"):
            run.variables.set(
                variable, run.shared.unknowns.mark("which partition has the highest priority")
            )
    return Doubt("whether a partition has a priority", usual=True)


def _read(run: Run, words: list[str]) -> Result:
    """Take in ``read``, ``getenv`` and what else has the variable for its last word."""
    if words:
        run.variables.set(words[-1], run.shared.unknowns.mark("what someone types in"))
    return OK


_NO_EFFECT = (
    "acpi", "all_functional_test", "appleloader", "authenticate", "background_color",
    "background_image", "backtrace", "badram", "bli", "blocklist", "cat", "cbmemc", "clear",
    "cmosclean", "cmosdump", "cmosset", "cmostest", "cmp", "connectefi", "coreboot_boottime",
    "cpuid", "crc", "cryptomount", "cutmem", "date", "distrust", "drivemap", "dump",
    "efi-watchdog", "efitextmode", "efivar", "exit", "fakebios", "file", "fix_video",
    "functional_test", "fwconfig", "fwsetup", "gettext", "gptsync", "halt", "hashsum", "hdparm",
    "hello", "help", "hexdump", "hexdump_random", "hiddenentry", "inb", "inl", "insmod", "inw",
    "keymap", "keystatus", "legacy_check_password", "legacy_password", "list_env", "list_trusted",
    "loadbios", "loadfont", "lockdown", "loopback", "ls", "lsacpi", "lsapm", "lscoreboot",
    "lsefi", "lsefimmap", "lsefisystab", "lsfonts", "lsmmap", "lsmod", "lspci", "lssal",
    "macppcbless", "mactelbless", "md5sum", "mmap_test", "nativedisk", "net_add_addr",
    "net_add_dns", "net_add_route", "net_bootp", "net_bootp6", "net_del_addr", "net_del_dns",
    "net_del_route", "net_dhcp", "net_get_dhcp_option", "net_ipv6_autoconf", "net_ls_addr",
    "net_ls_cards", "net_ls_dns", "net_ls_routes", "net_ls_vlans", "net_nslookup", "net_set_vlan",
    "normal_exit", "outb", "outl", "outw", "parttool", "password", "password_pbkdf2", "pcidump",
    "play", "poweroff", "probe", "pxe_unload", "rdmsr", "read_byte", "read_dword", "read_word",
    "reboot", "regexp", "rescue", "rmmod", "save_env", "savedefault_legacy", "search_partition",
    "sendkey", "serial", "setpci", "sha1sum", "sha256sum", "sha512sum", "shell", "smbios", "stat",
    "suspend", "terminal", "terminal_input", "terminal_output", "terminfo", "test_blockarg",
    "testload", "testspeed", "time", "tpm", "tpm2_key_protector_init", "tr", "trust",
    "update_boot_params", "usb", "verify_detached", "version_find_latest", "videoinfo", "videotest",
    "write_byte", "write_dword", "write_word", "wrmsr", "xen_cmdline", "xen_vga", "xnu_uuid",
    "zfs-bootfs", "zfsinfo", "zfskey",
)  # fmt: skip
"""Every other command of GRUB's, of its modules for PCs and EFI, and of distributions' patches."""

COMMANDS: dict[str, Action] = {
    **{name: unknown_answer(name) for name in _NO_EFFECT},
    "set": _set,
    "unset": _unset,
    "export": _export,
    "true": _true,
    "false": _false,
    "eval": _eval,
    "echo": _echo,
    "break": _break,
    "continue": _continue,
    "return": _return,
    "shift": _shift,
    "setparams": _setparams,
    "[": _test,
    "test": _test,
    "load_env": _load_env,
    "search": _search,
    "search.fs_uuid": _search_by(SearchBy.FS_UUID),
    "search.fs_label": _search_by(SearchBy.LABEL),
    "search.file": _search_by(SearchBy.FILE),
    "increment": _step_by(1),
    "decrement": _step_by(-1),
    "insmod": _insmod,
    "btrfs-mount-subvol": _mount_subvolume,
    "gptprio.next": _next_partition,
    "sleep": _sleep,
    "read": _read,
}
