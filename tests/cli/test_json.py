"""JSON of every verb that has it: answers and refusals, by the schemas that pykexec prints."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest
from jsonschema import Draft202012Validator, ValidationError

from pykexec import schemas
from pykexec.architectures import ARCHITECTURES
from pykexec.cli import kexec_compat
from pykexec.crash.status import Freshness
from pykexec.entries import Source
from pykexec.values.roles import Role
from tests.builders import fadump
from tests.builders.bzimage import KernelSpec, build_bzimage
from tests.builders.fadump_machine import FadumpMachine
from tests.builders.linked_elf import build_linked
from tests.builders.machines import build_machine
from tests.builders.vmcore import Record
from tests.cli.test_pykexec import run
from tests.json_schemas import checked, validate
from tests.unit.crash.test_vmlinux import core
from tools.front_doors import doors

READING = [door.words[1:] for door in doors() if "--json" in door.names]
FILES = {path.stem: json.loads(path.read_text()) for path in schemas.DIRECTORY.glob("*.json")}


@pytest.fixture
def kernel(tmp_path: Path) -> str:
    path = tmp_path / "vmlinuz"
    path.write_bytes(build_bzimage(KernelSpec(payload_size=64 * 1024)))
    return str(path)


@pytest.fixture
def machine(tmp_path: Path) -> str:
    return str(build_machine(tmp_path / "machine", firmware_map=True))


def words_for(verb: tuple[str, ...], kernel: str, machine: str) -> list[str]:
    """Return a call of a verb that answers; a new verb needs a line here, or none."""
    linked, dump = str(Path(machine, "vmlinux")), str(Path(machine, "core"))
    header = str(Path(machine, "header"))
    Path(header).write_bytes(fadump.new_header())
    FadumpMachine(power := Path(machine, "power")).build()
    Path(linked).write_bytes(build_linked())
    Path(dump).write_bytes(core([Record(b"one")], OSRELEASE="6.12"))
    more = {
        ("status",): ["--machine", machine],
        ("inspect",): [kernel],
        ("crash", "match"): [linked, dump],
        ("doctor",): [kernel, "--machine", machine],
        ("entries",): ["--root", machine],
        ("machine", "show"): [machine],
        ("crash", "status"): ["--machine", machine],
        ("crash", "estimate"): [kernel, "--machine", machine],
        ("fadump", "status"): ["--machine", str(power)],
        ("fadump", "size"): ["--machine", str(power)],
        ("fadump", "inspect"): [header],
        ("live-update", "status"): ["--machine", machine],
        ("plan",): [kernel, "--machine", machine],
    }
    return [*verb, *more[verb]]


# Emulation takes a QEMU: tests/unit/render/test_simulation.py has what it answers.
@pytest.mark.parametrize("verb", [v for v in READING if v != ("simulate",)], ids=" ".join)
def test_every_verb_answers_by_its_schema(
    monkeypatch: pytest.MonkeyPatch, verb: tuple[str, ...], kernel: str, machine: str
) -> None:
    (boot := Path(machine, "boot")).mkdir()
    (boot / "vmlinuz-6.12").write_bytes(Path(kernel).read_bytes())
    words = words_for(verb, kernel, machine)
    code, out, err = run(monkeypatch, *words, "--json")
    assert (code in (0, 1, 2), err) == (True, "")
    value = checked(out)
    with pytest.raises(ValidationError):
        validate({**value, "more": 1})


@pytest.mark.parametrize("verb", READING, ids=" ".join)
def test_every_verb_refuses_as_json(monkeypatch: pytest.MonkeyPatch, verb: tuple[str, ...]) -> None:
    code, out, err = run(monkeypatch, *verb, "--json", "--no-such-option")
    value = checked(out)
    assert (code, value["exit_code"], value["error"]) == (1, 1, "UsageError")
    assert err == f"pykexec: {value['message']}\nhint: {value['hint']}\n"
    assert run(monkeypatch, *verb, "--no-such-option")[1] == ""


def test_what_a_refusal_says(
    monkeypatch: pytest.MonkeyPatch, kernel: str, machine: str, tmp_path: Path
) -> None:
    missing = str(tmp_path / "missing")
    code, out, err = run(monkeypatch, "inspect", missing, "--json")
    value = checked(out)
    assert (code, value["exit_code"], value["aftermath"]) == (255, 255, None)
    assert missing in value["message"]
    assert err.splitlines()[0] == f"pykexec: {value['message']}"
    words = ["plan", kernel, "--machine", machine, "--json", "--mem-max", "0x2000000"]
    code, out, _ = run(monkeypatch, *words, "--call", "segments")
    assert (code, checked(out)["error"]) == (255, "NoRoomError")
    # An argument that makes no sense, whichever side of --json it is on.
    for order in (words[:-1], ["plan", kernel, "--mem-max"]):
        code, out, _ = run(monkeypatch, *order, "nonsense", "--json")
        assert (code, checked(out)["error"]) == (1, "UsageError")


def test_an_explanation_of_a_refusal_is_the_only_document(
    monkeypatch: pytest.MonkeyPatch, kernel: str, machine: str
) -> None:
    words = ["--mem-max", "0x2000000", "--call", "segments", "--explain", "kernel", "--json"]
    code, out, err = run(monkeypatch, "plan", kernel, "--machine", machine, *words)
    assert (code, checked(out)["schema"]) == (255, "pykexec.explanation/1")
    assert "cannot place kernel" in err


def test_the_drop_in_refuses_as_json(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    missing = str(tmp_path / "missing")
    assert kexec_compat.main(["-l", missing, "--dry-run=json"]) == 255
    done = capsys.readouterr()
    assert missing in checked(done.out)["message"]
    assert kexec_compat.main(["-l", missing, "--dry-run"]) == 255
    assert capsys.readouterr().out == ""


def test_a_refusal_that_cannot_be_printed_is_told_by_its_code(tmp_path: Path) -> None:
    import subprocess
    import sys

    words = [sys.executable, "-m", "pykexec.cli.main", "inspect", str(tmp_path / "no"), "--json"]
    with open("/dev/full", "wb") as full:
        done = subprocess.run(words, stdout=full, stderr=subprocess.PIPE, check=False)
    assert done.returncode == 255
    assert done.stderr.startswith(b"pykexec: cannot ")
    assert b"bug" not in done.stderr


def test_the_verb_prints_what_stands_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    code, out, _ = run(monkeypatch, "schema")
    assert code == 0
    assert [line.split()[0] for line in out.splitlines()] == list(schemas.names())
    for name in schemas.names():
        _, text, _ = run(monkeypatch, "schema", name)
        schema = json.loads(text)
        Draft202012Validator.check_schema(schema)
        assert schema["title"].removesuffix("/1") == f"pykexec.{name}"
        referred = set(re.findall(r'"\$ref": "(.*?)"', text))
        assert referred == {f"#/$defs/{name}" for name in schema.get("$defs", {})}
    code, _, err = run(monkeypatch, "schema", "nonsense")
    assert code == 1
    assert "there is no schema 'nonsense'" in err
    assert "crash-estimate, " in err


def objects(value: object) -> list[dict[str, object]]:
    """Return all that describes an object, however deep."""
    inner = value.values() if isinstance(value, dict) else value if isinstance(value, list) else ()
    found = [item for part in inner for item in objects(part)]
    if isinstance(value, dict) and ("properties" in value or value.get("type") == "object"):
        found.append(value)
    return found


@pytest.mark.parametrize("name", FILES)
def test_nothing_may_be_there_that_is_not_described(name: str) -> None:
    for item in objects({**FILES[name], "$schema": None}):
        if "properties" in item and item["properties"] is not FILES[name].get("$defs"):
            assert item.get("additionalProperties") is False, item


def test_a_name_of_a_definition_is_that_of_one_thing() -> None:
    seen: dict[str, object] = {}
    for schema in FILES.values():
        for name, definition in schema.get("$defs", {}).items():
            assert seen.setdefault(name, definition) is definition, name


def test_words_are_those_of_the_program() -> None:
    assert FILES["terms"]["$defs"]["role"]["enum"] == [role.value for role in Role]
    assert set(FILES["terms"]["$defs"]["arch"]["enum"]) == set(ARCHITECTURES)
    entry = FILES["entries"]["properties"]["entries"]["items"]["properties"]
    assert set(entry["source"]["enum"]) == {source.value for source in Source}
    assert set(FILES["crash-status"]["properties"]["verdict"]["enum"]) == {
        item.value for item in Freshness
    }
    images = set(FILES["image"]["properties"]["arch"]["enum"])
    assert images - {"x86"} == set(ARCHITECTURES) - {"x86_64", "i386"}
