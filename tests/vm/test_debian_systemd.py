"""Debian's systemd as the first process, as it is, with pykexec's ``kexec`` as /sbin/kexec."""

from __future__ import annotations

import pytest

from tests.vm.conftest import Vm
from tests.vm.initramfs import PROJECT, SUITE, installed_kexec_files
from tests.vm.scenario import CONSOLE, JUMPING, Files
from tests.vm.systemd import LATER_SUITE, PHASE, first_process_files

CONTRIB = PROJECT / "contrib"
KEXEC: Files = installed_kexec_files()

# What another boot loader than systemd-boot leaves behind (systemd's docs/BOOT_LOADER_INTERFACE):
# systemctl loads its default entry by "kexec --load KERNEL --append OPTIONS --initrd FILE".
ENTRY = f"""title Next
linux /vmlinuz
initrd /initrd
options {CONSOLE} test.word="by itself" vmtest.first vmtest.phase=2
"""
BY_ITSELF = """
entries=/run/boot-loader-entries
mkdir -p $entries/loader/entries
cp /scenario/entry $entries/loader/entries/next.conf
ln -s /boot/vmlinuz-6.12 $entries/vmlinuz
repack-initrd -k $entries/initrd
systemctl kexec
sleep 600
"""
AFTER_A_LOAD = f"""
kexec -l /boot/vmlinuz-6.12 --initrd=/boot/initrd-small \\
    --append='{CONSOLE} test.word=loaded vmtest.phase=3'
systemctl kexec
sleep 600
"""


@pytest.mark.parametrize("suite", [SUITE, pytest.param(LATER_SUITE, marks=pytest.mark.full)])
def test_systemctl_kexec_by_itself_and_after_a_load(vm: Vm, suite: str) -> None:
    result = vm(
        [PHASE, PHASE, "true\n"],
        append="vmtest.first",
        files={
            **first_process_files("systemd-kexec.service", suite=suite),
            **KEXEC,
            "/scenario/entry": ENTRY,
            "/scenario/system1.sh": BY_ITSELF,
            "/scenario/system2.sh": AFTER_A_LOAD,
        },
    )

    assert 'test.word="by itself"' in result.phases[2].cmdline
    assert "test.word=loaded" in result.phases[3].cmdline
    for phase in (1, 2):
        assert result.phases[phase].lines[-1] == "stopped in order"
    assert result.serial.count("Rebooting with kexec") == 2


# As an administrator sets contrib/ up, who then reboots as ever.
CONFIGURATION = f"""
KEXEC_KERNEL=/boot/vmlinuz-6.12
KEXEC_INITRD=/boot/initrd-next
KEXEC_APPEND='{CONSOLE} test.word=contrib vmtest.first vmtest.phase=2'
KEXEC_OPTIONS=
"""
REBOOT = """
repack-initrd -k /run/next
mv /run/next /boot/initrd-next
chmod 755 /usr/lib/pykexec/next-kernel
systemctl enable --now pykexec-load.service
systemctl enable pykexec-exec.service
! systemctl start pykexec-exec.service
[ "$(cat /sys/kernel/kexec_loaded)" = 0 ]
systemctl reboot
sleep 600
"""
NO_ACTION = f"""
ln -sf ../bin/systemctl /usr/sbin/shutdown
kexec /boot/vmlinuz-6.12 --initrd=/boot/initrd-small \\
    --append='{CONSOLE} test.word=shutdown vmtest.phase=3'
sleep 600
"""


@pytest.mark.full
def test_units_of_contrib_and_no_action(vm: Vm) -> None:
    """A plain reboot ends in a jump; ``kexec KERNEL`` runs ``shutdown -r now``, which jumps."""
    units = {
        f"/usr/lib/systemd/system/{name}": CONTRIB / "systemd" / name
        for name in ("pykexec-load.service", "pykexec-exec.service")
    }
    result = vm(
        [PHASE, PHASE, "true\n"],
        append="vmtest.first",
        files={
            **first_process_files("systemd-kexec.service", "systemd-reboot.service"),
            **KEXEC,
            **units,
            "/usr/lib/pykexec/next-kernel": CONTRIB / "kexec/next-kernel",
            "/etc/pykexec/kexec.conf": CONFIGURATION,
            "/scenario/system1.sh": REBOOT,
            "/scenario/system2.sh": NO_ACTION,
        },
    )

    assert "test.word=contrib" in result.phases[2].cmdline
    assert "test.word=shutdown" in result.phases[3].cmdline
    for phase in (1, 2):
        assert result.phases[phase].lines[-1] == "stopped in order"


# A stand-in for what holds a session: Debian's kernels have no live update orchestrator.
HOLDER = """[Unit]
ConditionPathExists=
[Service]
ExecStart=
ExecStop=
ExecStart=/usr/bin/sh -c "while sleep 0.05; do echo holder %I is there >/dev/console; done &"
"""
KEXEC_WITH_A_HOLDER = f"""
systemctl start pykexec-session@vm.service
kexec -l /boot/vmlinuz-6.12 --initrd=/boot/initrd-small --append='{CONSOLE} vmtest.phase=2'
systemctl kexec
sleep 600
"""


@pytest.mark.full
def test_a_session_is_held_until_the_jump(vm: Vm) -> None:
    """The unit's process outlives what systemd stops and kills at ``systemctl kexec``."""
    unit = "/usr/lib/systemd/system/pykexec-session@.service"
    result = vm(
        [PHASE, "true\n"],
        append="vmtest.first",
        files={
            **first_process_files("systemd-kexec.service", suite=LATER_SUITE),
            **KEXEC,
            unit: CONTRIB / "systemd/pykexec-session@.service",
            f"{unit}.d/stand-in.conf": HOLDER,
            "/scenario/system1.sh": KEXEC_WITH_A_HOLDER,
        },
    )

    assert result.phases[1].lines[-1] == "stopped in order"
    killed = result.serial.partition("Sending SIGKILL to remaining processes")[2]
    assert "holder vm is there" in killed.partition(JUMPING)[0]
