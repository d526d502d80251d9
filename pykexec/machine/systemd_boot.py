"""The entries of the Boot Loader Specification, and which of them systemd-boot starts."""

from __future__ import annotations

import posixpath
from typing import TYPE_CHECKING

from pykexec.entries import BootEntry, Source, unexpanded
from pykexec.entries.bls import (
    SAVED,
    Choice,
    Wish,
    choose,
    is_entry_name,
    is_for,
    parse_bls,
    parse_loader_conf,
    split_counter,
)
from pykexec.machine.boot_paths import PARTITIONS
from pykexec.machine.uki_files import Profile, UkiDescription, read_addons, read_uki
from pykexec.values.data_classes import replace
from pykexec.values.errors import ImageError, MachineError

if TYPE_CHECKING:
    from collections.abc import Callable

    from pykexec.machine.boot_tree import BootTree

_VARIABLE = "/sys/firmware/efi/efivars/{}-4a67b082-0a4c-41cf-b6c7-440b29bb8c4f"
"""systemd's Boot Loader Interface."""
_SECURE_BOOT = "/sys/firmware/efi/efivars/SecureBoot-8be4df61-93ca-11d2-aa0d-00e098032b8c"


class SystemdBoot:
    """Reads the entries of both types, from every partition that may have some."""

    def __init__(self, tree: BootTree, arch: str) -> None:
        """``arch`` is the machine's, as :attr:`MachineFacts.arch` has it."""
        self._tree = tree
        self._arch = arch
        self.problems: list[str] = []

    def read(self) -> list[BootEntry]:
        """Return the entries, with paths as the configuration has them; of a UKI, the system's."""
        found: list[BootEntry] = []
        seen: set[tuple[int, int] | None] = {None}
        for partition in PARTITIONS:
            for directory, is_entry, parse in (
                ("loader/entries", is_entry_name, self._snippets),
                ("EFI/Linux", _is_uki_name, self._ukis),
            ):
                place = posixpath.join(partition, directory)
                if (identity := self._tree.identity(place)) in seen:
                    continue
                seen.add(identity)
                found += self._read_directory(partition, place, is_entry, parse)
        return found

    def _read_directory(
        self,
        partition: str,
        place: str,
        is_entry: Callable[[str], bool],
        parse: Callable[[str, str, str], list[BootEntry]],
    ) -> list[BootEntry]:
        found: list[BootEntry] = []
        try:
            names = self._tree.names(place)
        except OSError as error:
            self._cannot_read(place, error)
            return []
        for name in filter(is_entry, names):
            path = posixpath.join(place, name)
            try:
                found += [
                    entry for entry in parse(partition, path, name) if is_for(entry, self._arch)
                ]
            except OSError as error:
                self._cannot_read(path, error)
            except (MachineError, ImageError) as error:
                self.problems.append(f"{error}")
        return found

    def _cannot_read(self, path: str, error: OSError) -> None:
        self.problems.append(f"cannot read {path}: {error.strerror or error}")

    def _snippets(self, partition: str, path: str, name: str) -> list[BootEntry]:
        text = self._tree.text(path)
        if text is None:
            return []
        entry = parse_bls(text, name, path)
        variable = unexpanded(" ".join((entry.kernel, *entry.initrds, entry.cmdline)))
        if variable:
            # What GRUB's menu takes in is not listed as it stands here.
            reason = f"{variable} in it is for GRUB, and no configuration of GRUB's reads the entry"
            return [replace(entry, obstacle=reason)]
        return [self._program(entry, partition) if entry.is_efi_program else entry]

    def _program(self, entry: BootEntry, partition: str) -> BootEntry:
        """Return the entry of an EFI program, which may be a UKI."""
        path = posixpath.join(partition, entry.kernel.replace("\\", "/").lstrip("/"))
        if not self._tree.exists(path):
            return entry
        try:
            found = read_uki(self._tree, path)
        except (ImageError, OSError) as error:
            reason = error.message if isinstance(error, ImageError) else error.strerror
            return replace(
                entry, obstacle=f"{entry.kernel} is no UKI that can be loaded ({reason})"
            )
        # systemd-stub takes the options for those in the image, unless Secure Boot is on.
        own = found.cmdline if self._is_secure() or not entry.cmdline else entry.cmdline
        return self._with_addons(replace(entry, cmdline=own), partition, path, found)

    def _ukis(self, partition: str, path: str, name: str) -> list[BootEntry]:
        """Read a type #2 entry: UAPI.5 Unified Kernel Image; each profile is one."""
        found = read_uki(self._tree, path)
        ident, tries_left = split_counter(name)
        system = found.system
        entry = BootEntry(
            source=Source.UKI,
            id=ident,
            title=found.title or ident,
            where=path,
            kernel=path,
            cmdline=found.cmdline,
            version=system.get("IMAGE_VERSION") or system.get("VERSION_ID") or "",
            sort_key=system.get("IMAGE_ID") or system.get("ID") or "",
            tries_left=tries_left,
        )
        profiles = [_profile(entry, n, one) for n, one in enumerate(found.profiles) if n]
        return [self._with_addons(one, partition, path, found) for one in (entry, *profiles)]

    def _with_addons(
        self, entry: BootEntry, partition: str, path: str, found: UkiDescription
    ) -> BootEntry:
        addons = read_addons(self._tree, partition, path, found.uname)
        self.problems += [text for text in addons.problems if text not in self.problems]
        return replace(
            entry,
            cmdline=" ".join(part for part in (entry.cmdline, *addons.words) if part),
            notes=(*entry.notes, *addons.notes),
            obstacle=entry.obstacle or addons.obstacle,
        )

    def default(self, entries: list[BootEntry]) -> Choice | None:
        """Return what systemd-boot starts of ``entries``; None where another loader is in charge.

        The order is that of the Boot Loader Interface and of loader.conf(5).
        """
        running = self.running()
        config = self._config()
        installed = config is not None or self._binary() is not None
        if "systemd-boot" not in running and (running or not installed):
            return None
        said: dict[str, str] = {}
        if config is not None:
            try:
                said = parse_loader_conf(self._tree.text(config) or "")
            except OSError as error:
                self._cannot_read(config, error)
        preferred, default = "LoaderEntryPreferred", "LoaderEntryDefault"
        wishes = [
            Wish("LoaderEntryOneShot of EFI", self._variable("LoaderEntryOneShot")),
            Wish(f"{preferred} of EFI", self._variable(preferred), takes_bad=False),
            Wish(f"preferred in {config}", said.get("preferred", ""), takes_bad=False),
            Wish(f"{default} of EFI", self._variable(default)),
            Wish(f"default in {config}", said.get("default", "")),
        ]
        saved = self._variable("LoaderEntryLastBooted")
        if saved or running:
            # Without either the variables are not at hand; else an unset one says "nothing yet".
            wishes = [replace(w, pattern=saved) if w.pattern == SAVED else w for w in wishes]
        wishes = [wish for wish in wishes if wish.pattern]
        if not entries and running:
            reason = f"{running} started this machine, and none of its entries is here"
            return Choice(None, f"{reason}: is its partition mounted?", ())
        if not entries and not wishes:
            return None
        return choose(entries, wishes)

    def running(self) -> str:
        """Return the name of the boot loader that started the machine, "" where it says none."""
        return self._variable("LoaderInfo")

    def _binary(self) -> str | None:
        """Return the partition with systemd-boot itself."""
        places = (place for place in PARTITIONS if self._has(place, "EFI/systemd"))
        return next(places, None)

    def _has(self, partition: str, path: str) -> bool:
        return self._tree.exists(posixpath.join(partition, path))

    def _config(self) -> str | None:
        """Return the path of loader.conf, of the partition with systemd-boot itself if any."""
        places = [place for place in PARTITIONS if self._has(place, "loader/loader.conf")]
        places.sort(key=lambda place: place != self._binary())
        return posixpath.join(places[0], "loader/loader.conf") if places else None

    def _variable(self, name: str) -> str:
        """Return a variable of the boot loader: four bytes of attributes, then UTF-16."""
        return self._raw(_VARIABLE.format(name))[4:].decode("utf-16-le", "replace").rstrip("\0")

    def _is_secure(self) -> bool:
        return self._raw(_SECURE_BOOT)[4:5] == b"\1"

    def _raw(self, path: str) -> bytes:
        try:
            return self._tree.data(path) or b""
        except OSError:
            return b""


def _is_uki_name(name: str) -> bool:
    return name.lower().endswith(".efi")


def _profile(entry: BootEntry, number: int, profile: Profile) -> BootEntry:
    """Return the entry of another profile of a UKI than its first: "Multi-Profile UKIs"."""
    ident = profile.said.get("ID", "")
    title = profile.said.get("TITLE") or ident or f"profile {number}"
    return replace(
        entry,
        id=f"{entry.id}@{ident or number}",
        title=f"{entry.title} ({title})",
        kernel=f"{entry.kernel}#{number}",
        cmdline=profile.cmdline,
    )
