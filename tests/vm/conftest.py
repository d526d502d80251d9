"""The ``vm`` fixture: runs a scenario in a guest named after the test."""

from __future__ import annotations

import sys
import tempfile
from collections.abc import Iterable, Iterator
from pathlib import Path

import pytest

from tests.needs import unavailable
from tests.vm import scenario
from tests.vm.kernel_build import BUILT, KernelBuildError, built_kernel
from tests.vm.qemu import Machine, qemu_missing

PLAIN = Machine()


class Vm:
    """Runs scenarios in guests; the arguments are those of :class:`tests.vm.scenario.Run`."""

    def __init__(self, name: str) -> None:
        """Let the guests' logs be called ``name``."""
        self._name = name

    def __call__(
        self,
        phases: list[str],
        *,
        kernel: str = "6.12",
        flavour: str = "cloud",
        machine: Machine = PLAIN,
        append: str = "",
        boot: Iterable[tuple[str, str]] = (),
        files: scenario.Files | None = None,
        timeout: float = scenario.PHASE_TIMEOUT,
        stop_on: str | None = None,
        linger: float = 0.0,
        meant_death: str | None = None,
        listener: scenario.Listener | None = None,
        xen: str | None = None,
    ) -> scenario.Result:
        """Run a scenario, telling ``listener`` what happens while it happens.

        Raises :class:`tests.vm.scenario.VmError` when it goes wrong. Without QEMU for the
        machine, or for BUILT without what builds that kernel, the test is skipped.
        """
        missing = qemu_missing(machine.platform)
        if missing:
            unavailable(missing)
        boot = tuple(boot)
        if BUILT in (kernel, *(series for series, _ in boot)):
            try:
                built_kernel(machine.platform)
            except KernelBuildError as error:
                unavailable(str(error))
        wanted = scenario.Run(
            kernel=kernel,
            phases=phases,
            flavour=flavour,
            machine=machine,
            append=append,
            boot=boot,
            files=files or {},
            timeout=timeout,
            stop_on=stop_on,
            linger=linger,
            meant_death=meant_death,
            name=self._name,
            xen=xen,
        )
        result = scenario.run(wanted, listener)
        print(f"{result.seconds:.1f} s under QEMU", file=sys.stderr)
        return result


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Mark every test that boots a guest with ``vm``."""
    for item in items:
        if "vm" in getattr(item, "fixturenames", ()):
            item.add_marker(pytest.mark.vm)


@pytest.fixture
def vm(request: pytest.FixtureRequest) -> Vm:
    """Return what runs a scenario."""
    return Vm(f"{request.node.path.stem}-{request.node.name}")


@pytest.fixture
def work() -> Iterator[Path]:
    """Return a directory that goes with its cores; its name is short enough for a socket."""
    with tempfile.TemporaryDirectory(prefix="pykexec-kdump-") as directory:
        yield Path(directory)
