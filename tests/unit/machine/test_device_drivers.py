"""Drivers of a network interface, by the tree that sysfs shows of it."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from pykexec.machine.boot_tree import BootTree
from pykexec.machine.device_drivers import interface_drivers

PCI = "sys/devices/pci0000:00"
"""A network card on PCI, one on USB, and what is made of them."""
CARDS = {
    "eth0": (
        f"{PCI}/0000:00:03.0/virtio0",
        {"0000:00:03.0": "virtio_pci", "virtio0": "virtio_net"},
    ),
    "usb0": (
        f"{PCI}/0000:00:1d.0/usb1/1-1/1-1:1.0",
        {"0000:00:1d.0": "xhci_pci", "1-1:1.0": "asix"},
    ),
}
BUILT_IN = "xhci_pci"


@pytest.fixture
def sysfs(tmp_path: Path) -> Path:
    for name, (place, drivers) in CARDS.items():
        device = tmp_path / place
        for part in (device, *device.parents):
            if part.name in drivers:
                module = tmp_path / "sys/module" / drivers[part.name]
                module.mkdir(parents=True, exist_ok=True)
                if module.name != BUILT_IN:
                    (module / "initstate").touch()
                part.mkdir(parents=True, exist_ok=True)
                (part / "driver").mkdir()
                link(part / "driver/module", module)
        interface(tmp_path, name, device=device)
    return tmp_path


def link(place: Path, target: Path) -> None:
    """Link as sysfs does, by a relative path."""
    place.symlink_to(os.path.relpath(target, place.parent))


def interface(root: Path, name: str, kind: str = "", device: Path | None = None) -> Path:
    place = root / "sys/class/net" / name
    place.mkdir(parents=True)
    (place / "uevent").write_text(f"DEVTYPE={kind}\n" if kind else f"INTERFACE={name}\n")
    if device is not None:
        link(place / "device", device)
    return place


def test_up_to_the_bus(sysfs: Path) -> None:
    tree = BootTree(str(sysfs))
    assert interface_drivers(tree, "eth0") == frozenset({"virtio_net", "virtio_pci"})
    assert interface_drivers(tree, "usb0") == frozenset({"asix"})


@pytest.mark.parametrize("kind", ["bridge", "bond"])
def test_the_ports_of_a_sum(sysfs: Path, kind: str) -> None:
    """A bridge also has the taps of guests, behind which there is no device."""
    place = interface(sysfs, "sum0", kind)
    for port in ("eth0", "usb0", "tap0"):
        (place / f"lower_{port}").symlink_to(f"../{port}")
    interface(sysfs, "tap0")
    expected = frozenset({"virtio_net", "virtio_pci", "asix"})
    assert interface_drivers(BootTree(str(sysfs)), "sum0") == expected


@pytest.mark.parametrize("kind", ["vlan", "wlan", "wireguard", ""])
def test_no_device_of_its_own(sysfs: Path, kind: str) -> None:
    place = interface(sysfs, "other0", kind)
    if kind == "vlan":
        (place / "lower_eth0").symlink_to("../eth0")
    if kind == "wlan":
        link(place / "device", sysfs / PCI)
    assert interface_drivers(BootTree(str(sysfs)), "other0") is None
