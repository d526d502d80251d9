"""The rules by which a running kernel places, as it is told of them."""

from __future__ import annotations

from typing import Any

import pytest

from pykexec.formats import identify
from pykexec.planning.file_placement import placement_rules
from pykexec.planning.plans import PlacementRule
from pykexec.values.calls import Target
from pykexec.values.kernel_state import KernelState
from pykexec.values.roles import Role
from tests.builders import arm64
from tests.builders.bzimage import KernelSpec, build_bzimage
from tests.builders.plans import build_facts, build_request

HIGHEST = "each goes to the highest System RAM of /proc/iomem with room, and there to the end"
LOWEST = HIGHEST.replace("highest", "lowest")


def rules(
    release: str = "6.12.48+deb13-amd64", cmdline: bytes = b"", **request: Any
) -> tuple[PlacementRule, ...]:
    facts = build_facts(kernel=KernelState(release=release), cmdline=cmdline)
    asked = build_request(**request)
    return placement_rules(facts, asked, identify(asked.kernel).image)


def common(*found: PlacementRule) -> list[str]:
    return [rule.text for rule in found if rule.role is None]


@pytest.mark.parametrize(
    ("release", "expected"),
    [
        ("4.19.0-27-amd64", [LOWEST]),
        ("5.14.0-570.el9.x86_64", [LOWEST]),
        ("6.7", [LOWEST]),
        ("6.8.0-31-generic", [HIGHEST]),
        ("6.12.48+deb13-amd64", [HIGHEST]),
        ("", [f"from Linux 6.8 on {HIGHEST}; before, {LOWEST}"]),
        ("unknown", [f"from Linux 6.8 on {HIGHEST}; before, {LOWEST}"]),
    ],
)
def test_which_memory_comes_first(release: str, expected: list[str]) -> None:
    assert common(*rules(release)) == expected


def test_what_comes_before_all_that() -> None:
    cma = "a CMA area with room for a segment comes first, wherever it is; --no-cma forbids it"
    assert common(*rules("6.17.0")) == [cma, HIGHEST]
    assert common(*rules("7.2.1")) == [cma, HIGHEST]
    assert common(*rules("7.2.1", no_cma=True)) == [HIGHEST]
    (first, _) = common(*rules("7.2.1", b"ro kho=on"))
    assert first == "kexec handover is on (kho=): only its scratch memory is used"
    assert common(*rules("6.12", b"ro kho=on")) == [HIGHEST]
    # A crash load uses neither.
    (only,) = common(*rules("7.2.1", b"kho=on", target=Target.CRASH))
    assert only == "everything lies inside the crash region, of two in the high one"


def test_the_order_and_the_limits_on_x86() -> None:
    found = {rule.role: rule.text for rule in rules() if rule.role}
    assert list(found) == [Role.PURGATORY, Role.PARAMETERS, Role.KERNEL, Role.INITRD]
    assert "not below 0x1000000 (pref_address), a multiple of 0x200000" in found[Role.KERNEL]
    low = build_bzimage(KernelSpec(payload_size=4096, pref_address=0x8000))
    kernel = next(rule for rule in rules(kernel=low) if rule.role is Role.KERNEL)
    assert "not below 1 MiB, a multiple of" in kernel.text
    assert Role.INITRD not in [rule.role for rule in rules(initrd=None)]
    crash = [rule.role for rule in rules(target=Target.CRASH)]
    assert crash[1] is Role.ELFCOREHDR


def test_the_order_on_arm64() -> None:
    facts = arm64.build_facts()
    for target, order in (
        (Target.NORMAL, [Role.KERNEL, Role.INITRD, Role.DTB]),
        (Target.CRASH, [Role.KERNEL, Role.ELFCOREHDR, Role.INITRD, Role.DTB]),
    ):
        request = arm64.build_request(target=target, initrd=b"x")
        found = placement_rules(facts, request, identify(request.kernel).image)
        assert [rule.role for rule in found if rule.role] == order
