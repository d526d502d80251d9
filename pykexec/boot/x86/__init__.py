"""The boot protocols of x86: the functions of :class:`~pykexec.planning.rooms.BootRoom`. Pure."""

from __future__ import annotations

from pykexec.boot.x86.display import keeps_firmware_display as keeps_firmware_display
from pykexec.boot.x86.file_placement import file_cmdline_obstacle as file_cmdline_obstacle
from pykexec.boot.x86.file_placement import file_obstacle as file_obstacle
from pykexec.boot.x86.file_placement import file_placement as file_placement
from pykexec.boot.x86.invariants import invariants_of as invariants_of
from pykexec.boot.x86.invariants import verify as verify
from pykexec.boot.x86.protocols import plan as plan
from pykexec.boot.x86.told import told_changes as told_changes
