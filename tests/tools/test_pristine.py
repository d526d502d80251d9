"""tools/pristine.py, up to the making of roots, which ``make pristine`` shows."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests.vm.debian import Source
from tools import pristine, roots
from tools.pristine import Outcome, Root, table
from tools.roots import Host, as_seen, named_paths

HOST = Host("", "", {}, ())


def test_what_the_settings_name_is_seen_elsewhere(tmp_path: Path) -> None:
    (tmp_path / "index/simple").mkdir(parents=True)
    certificate = tmp_path / "ca.crt"
    certificate.touch()
    text = f"{certificate} file://{tmp_path}/index/simple /not/there http://x/y 180"
    # The files of an index lie beside its pages.
    assert named_paths(text) == {certificate, tmp_path / "index"}
    there = f"/pristine-host{tmp_path}"
    assert as_seen(text).split() == [
        *(f"{there}/ca.crt", f"file://{there}/index/simple"),
        *("/pristine-host/not/there", "http://x/y", "180"),
    ]


def test_pip_is_told_the_same_in_the_root(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("PIP_CONFIG_FILE", "PIP_CERT", "SSL_CERT_FILE", "REQUESTS_CA_BUNDLE"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr(roots, "apt_settings", lambda: 'Acquire::http::Proxy "direct";\n')
    first, second = tmp_path / "first", tmp_path / "second"
    first.write_text("[global]\nindex-url = http://first/simple\ntimeout = 9\n")
    second.write_text("[global]\nindex-url =\n  http://second/simple\n  http://third/simple\n")
    monkeypatch.setattr(roots, "pip_files", lambda: [first, second, tmp_path / "missing"])
    monkeypatch.setenv("PIP_CERT", str(first))
    monkeypatch.setenv("https_proxy", "http://proxy:1")
    found = roots.this_host()
    assert found.pip == (
        "[global]\nindex-url = http://second/simple http://third/simple\ntimeout = 9\n"
    )
    assert found.environment["https_proxy"] == "http://proxy:1"
    assert found.environment["PIP_CERT"] == f"/pristine-host{first}"
    assert first in found.shared


def test_corrections_are_those_of_the_suite(monkeypatch: pytest.MonkeyPatch) -> None:
    archive = Source("file:/mirror/debian", None)
    security = Source("file:/mirror/debian-security", None)
    monkeypatch.setattr(roots, "configured_archive", lambda: archive)
    monkeypatch.setattr(roots, "configured_sources", lambda: [archive, security, security])
    assert list(roots.sources("trixie")) == [
        "deb file:/mirror/debian trixie main\n",
        "deb file:/mirror/debian-security trixie-security main\n",
    ]
    assert len(list(roots.sources("testing"))) == 1


def test_what_came_of_a_step_is_kept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pristine, "cache_dir", lambda: tmp_path)
    root = Root("trixie", HOST)
    monkeypatch.setattr(
        Root, "_enter", lambda self, *command: ["sh", "-c", "echo 1 passed; exit 3"]
    )
    place = tmp_path / "pristine/trixie"
    place.mkdir(parents=True)
    (place / "results.json").write_text(json.dumps({"commit": "c", "steps": {}}))
    assert root.outcome("test") is None
    found = root.run("test")
    assert (found.code, found.summary) == (3, "1 passed")
    assert Root("trixie", HOST).outcome("test") == found
    assert (place / "test.log").read_text() == "1 passed\n"


def test_the_table() -> None:
    outcomes = {
        ("trixie", "demo"): Outcome(0, 61, "ok"),
        ("trixie", "test"): Outcome(2, 754.6, "x"),
    }
    lines = table("0123456789abcdef", outcomes).splitlines()
    assert lines[0] == "commit 0123456789ab"
    assert lines[2].split() == ["trixie", "demo", "ok", "1:01", "min", "ok"]
    assert lines[3].split() == ["trixie", "test", "exit", "2", "12:35", "min", "x"]
    assert max(map(len, lines)) <= 80
