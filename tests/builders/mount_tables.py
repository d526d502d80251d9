"""What a system has mounted, as its /proc and /dev/disk say it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True, slots=True)
class Mount:
    """A line of /proc/self/mountinfo (proc_pid_mountinfo(5))."""

    place: str
    source: str
    kind: str = "ext4"
    directory: str = "/"
    parent: int = 1
    """The number of the line that it is mounted below, 1 for the first."""


def mountinfo(mounts: Sequence[Mount]) -> str:
    """Return the lines; the first is the root's."""
    return "".join(
        f"{number} {mount.parent if number > 1 else 0} 0:{30 + number} {mount.directory} "
        f"{mount.place} rw,relatime shared:{number} - {mount.kind} {mount.source} rw\n"
        for number, mount in enumerate(mounts, 1)
    )


def write_mounts(
    root: Path,
    mounts: Sequence[Mount],
    uuids: Mapping[str, str] | None = None,
    labels: Mapping[str, str] | None = None,
    partuuids: Mapping[str, str] | None = None,
) -> Path:
    """Write the table below ``root``, with udev's links of names to devices."""
    process = root / "proc/self"
    process.mkdir(parents=True, exist_ok=True)
    (process / "mountinfo").write_text(mountinfo(mounts))
    names = (("by-uuid", uuids), ("by-label", labels), ("by-partuuid", partuuids))
    for kind, links in names:
        directory = root / "dev/disk" / kind
        directory.mkdir(parents=True, exist_ok=True)
        for name, device in (links or {}).items():
            (directory / name).symlink_to(f"../../{device}")
    return root
