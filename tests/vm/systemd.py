"""Debian's systemd for a guest: the daemon, its libraries, its targets."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path, PurePosixPath

from tests.vm.debian import Suite
from tests.vm.guest_python import guest_python
from tests.vm.initramfs import SUITE
from tests.vm.platforms import X86_64, Platform
from tests.vm.scenario import Files

UDEV_LIBRARIES = {
    "libkmod2": "libkmod.so.2",
    "libacl1": "libacl.so.1",
    "libblkid1": "libblkid.so.1",
    "libcap2": "libcap.so.2",
    "libselinux1": "libselinux.so.1",
    "libpcre2-8-0": "libpcre2-8.so.0",
    "libzstd1": "libzstd.so.1",
}

SYSTEMD_LIBRARIES = {
    "libsystemd-shared": "systemd/libsystemd-*.so",
    "libpam0g": "libpam.so.0",
    "libaudit1": "libaudit.so.1",
    "libapparmor1": "libapparmor.so.1",
    "libmount1": "libmount.so.1",
    "libcap-ng0": "libcap-ng.so.0",
    "libcrypt1": "libcrypt.so.1",
    "libgcrypt20": "libgcrypt.so.20",
    "libgpg-error0": "libgpg-error.so.0",
    "libip4tc2": "libip4tc.so.2",
    "liblz4-1": "liblz4.so.1",
    "libseccomp2": "libseccomp.so.2",
}

LATER_SUITE = "trixie"
LATER_LIBRARIES = {"libc6": "*.so.[0-9]", "libssl3t64": "libcrypto.so.3", "zlib1g": "libz.so.1"}
"""What LATER_SUITE's systemd also needs, where the C library that guests have is older."""

PHASE = "exec /usr/lib/systemd/systemd --log-target=kmsg\n"

DEFAULT_TARGET = """[Unit]
Requires=basic.target
Wants=vmtest.service
After=basic.target
AllowIsolate=yes
"""
SERVICE = """[Service]
PassEnvironment=VMTEST_PHASE
ExecStart=/usr/bin/sh /scenario/service
ExecStop=/usr/bin/sh -c "echo stopped in order >/dev/channel"
KillSignal=SIGKILL
"""
# A script that gets to its end has failed: it should have left by a jump.
SERVICE_SCRIPT = """exec >/dev/channel 2>&1
sh -eu /scenario/system$VMTEST_PHASE.sh
echo "VMTEST phase=$VMTEST_PHASE end rc=$?"
"""


def libraries(wanted: Mapping[str, str], suite: str = SUITE, platform: Platform = X86_64) -> Files:
    """Return libraries, by patterns, of the packages that they are in."""
    files: dict[str, bytes | str | Path] = {}
    source, place = Suite(suite, platform.debian), PurePosixPath(platform.libraries)
    for package, pattern in wanted.items():
        directory = next(source.package(package).root.glob(f"**/{place.name}"))
        found = list(directory.glob(pattern))
        assert found, f"no {pattern} in {package}"
        for library in found:
            name = library.relative_to(directory)
            files[f"/{place}/{name}"] = library.resolve()
    return files


def systemd_root(suite: str = SUITE) -> Path:
    """Return where the package's bin and lib are: /usr in newer ones."""
    root = Suite(suite).package("systemd").root
    return root / "usr" if (root / "usr/lib/systemd/systemd").exists() else root


def systemd_files(suite: str = SUITE) -> Files:
    """Return systemd with its targets."""
    daemon = systemd_root(suite) / "lib/systemd"
    files: dict[str, bytes | str | Path] = {
        "/usr/lib/systemd/systemd": daemon / "systemd",
        **libraries({**UDEV_LIBRARIES, **SYSTEMD_LIBRARIES}, suite),
    }
    if suite == LATER_SUITE:
        if guest_python().suite == SUITE:
            files |= libraries(LATER_LIBRARIES, suite)
        files["/usr/lib/systemd/systemd-executor"] = daemon / "systemd-executor"
    for target in (daemon / "system").glob("*.target"):
        if not target.is_symlink():
            files[f"/usr/lib/systemd/system/{target.name}"] = target
    return files


def first_process_files(*units: str, suite: str = SUITE) -> Files:
    """Return systemd for a guest whose first process it is, and further units of the package.

    With PHASE as the script of a phase and vmtest.first on its kernel's command line, it runs
    /scenario/systemN.sh in place of phase N, as a service.
    """
    package = systemd_root(suite)
    files = dict(systemd_files(suite))
    for name in ("systemd-shutdown", *(f"system/{unit}" for unit in units)):
        files[f"/usr/lib/systemd/{name}"] = package / "lib/systemd" / name
    return {
        **files,
        "/usr/bin/systemctl": package / "bin/systemctl",
        # Without it everything would be enabled, as at a first boot.
        "/etc/machine-id": f"{1:032x}\n",
        "/etc/systemd/system/default.target": DEFAULT_TARGET,
        "/etc/systemd/system/vmtest.service": SERVICE,
        "/scenario/service": SERVICE_SCRIPT,
    }
