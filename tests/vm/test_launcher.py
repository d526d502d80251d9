"""/usr/sbin/kexec as packages have it: loads by Python, and jumps where there is none any more."""

from __future__ import annotations

from tests.vm.conftest import Vm
from tests.vm.initramfs import installed_kexec_files
from tests.vm.loads import LOADED
from tests.vm.scenario import CONSOLE, boot_path

# As in an exit initrd that has got the launcher, and nothing that it needs.
ALONE = f"""
/usr/sbin/kexec -e >said 2>&1 && exit 1
[ $? = 1 ]
grep -q '^kexec: no kernel is loaded' said
/usr/sbin/kexec -l {boot_path("6.12", "cloud")} --initrd=/boot/initrd-small \\
    --append='{CONSOLE} vmtest.phase=2'
{LOADED}
rm -r /usr/bin/python3* /usr/lib/python3* /usr/lib/pykexec
code=0
/usr/sbin/kexec -S 2>said || code=$?
echo "without $code $(cat said)"
/usr/sbin/kexec -e
"""


def test_a_jump_without_python(vm: Vm) -> None:
    result = vm([ALONE, "true\n"], files=installed_kexec_files())
    assert "vmtest.phase=2" in result.phases[2].cmdline
    assert result.phases[1].lines == [
        "without 252 kexec: /usr/lib/pykexec/kexec is missing: without Python only 'kexec -e' works"
    ]
