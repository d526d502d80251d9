"""The tests of the code pass with the oldest libraries that pyproject.toml allows: Debian 12's.

Only what tests need beside them comes by pip.
"""

from __future__ import annotations

import json
import tomllib

import pytest

from tests.needs import need_root
from tests.vm.debian import locked
from tools.debian_packages import copied_root, place_of, prepared_root
from tools.distributions import PROJECT, copy_tree, tracked
from tools.roots import remove, this_host

pytestmark = pytest.mark.full

SUITE = "bookworm"
LIBRARIES = ("python3-cffi", "python3-click", "python3-construct", "python3-pyelftools")
FOR_TESTS = ("python3-venv", "binutils", "device-tree-compiler", "git", "groff-base", "iproute2")

INSTALL = """\
set -e
python3 -m venv --system-site-packages /srv/venv
/srv/venv/bin/pip install --quiet --editable '.[test]'
/srv/venv/bin/pip list --format json
"""


def test_the_tests_pass() -> None:
    need_root("making a root of a suite")
    with locked(place_of(SUITE) / "lock"):
        prepared = prepared_root(SUITE, "oldest", this_host(), (*LIBRARIES, *FOR_TESTS))
        root = copied_root(SUITE, "libraries", this_host(), prepared.path)
        project = root.path / "srv/project"
        copy_tree(tracked(), project)
        said = root.run("sh", "-c", INSTALL, directory="/srv/project").splitlines()[-1]
        versions = {item["name"]: item["version"] for item in json.loads(said)}
        wanted = tomllib.loads((PROJECT / "pyproject.toml").read_text())["project"]["dependencies"]
        for relation in wanted:
            name, _, least = relation.partition(">=")
            assert versions[name].startswith(least)
        words = ("-m", "pytest", "-q", "-n0", "-m", "not full", "tests/unit", "tests/cli")
        root.run("/srv/venv/bin/python", *words, directory="/srv/project")
        remove(root.path)
