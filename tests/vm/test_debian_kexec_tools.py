"""The scripts of Debian's kexec-tools, as they are, with pykexec's ``kexec`` as /sbin/kexec."""

from __future__ import annotations

import pytest

from tests.vm.conftest import Vm
from tests.vm.debian import Suite
from tests.vm.initramfs import SUITE, installed_kexec_files
from tests.vm.scenario import CONSOLE, Files
from tests.vm.systemd import LATER_SUITE
from tests.vm.tried import Tried

SETTINGS = f"""
LOAD_KEXEC=true
KERNEL_IMAGE=/boot/vmlinuz-6.12
INITRD=/boot/initrd-small
APPEND="{CONSOLE} test.word=settings vmtest.phase=2"
USE_GRUB_CONFIG=false
"""
GRUB = f"""
set default="1"
menuentry 'First' {{
    linux /boot/none ro
    initrd /boot/none
}}
menuentry 'Second' {{
    linux /boot/vmlinuz-6.12 {CONSOLE} test.word=grub vmtest.phase=2
    initrd /boot/initrd-small
}}
### END
"""
SCRIPT = """
chmod 755 /usr/bin/mountpoint
try load /etc/init.d/kexec-load stop
try again /etc/init.d/kexec-load stop
try unload kexec -u
try program /usr/sbin/kexec-load-kernel
try unload-program kexec -u
sed -i s/USE_GRUB_CONFIG=false/USE_GRUB_CONFIG=true/ /etc/default/kexec
try grub /etc/init.d/kexec-load stop
/etc/init.d/kexec stop
"""


def kexec_tools_files() -> Files:
    """Return the scripts, and what they call that BusyBox has not.

    LATER_SUITE's package has a program in place of the script that loads.
    """
    suite = Suite(SUITE)
    tools = suite.package("kexec-tools").root
    later = Suite(LATER_SUITE).package("kexec-tools").root
    return {
        **installed_kexec_files(),
        "/etc/init.d/kexec": tools / "etc/init.d/kexec",
        "/etc/init.d/kexec-load": tools / "etc/init.d/kexec-load",
        "/usr/sbin/kexec-load-kernel": later / "usr/sbin/kexec-load-kernel",
        "/usr/lib/lsb/init-functions": suite.package("sysvinit-utils").root
        / "lib/lsb/init-functions",
        "/usr/bin/mountpoint": suite.package("util-linux").root / "bin/mountpoint",
        "/etc/default/kexec": SETTINGS,
        "/boot/grub/grub.cfg": GRUB,
    }


@pytest.mark.full
def test_scripts_load_and_jump(vm: Vm) -> None:
    result = vm([SCRIPT, "true\n"], files=kexec_tools_files())

    tried = Tried(result.phases[1].lines)
    for name, loaded in (
        ("load", "10"),
        ("again", "10"),
        ("unload", "00"),
        ("program", "10"),
        ("unload-program", "00"),
        ("grub", "10"),
    ):
        assert tried.outcome(name) == (0, loaded), (name, tried.said(name))
    assert "kexec:" not in "".join(map(tried.said, ("load", "program", "grub")))
    assert result.phases[2].cmdline == f"{CONSOLE} test.word=grub vmtest.phase=2"
