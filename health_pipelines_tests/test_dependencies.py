"""The packages of production: hashed in the locks, listed as CycloneDX, and audited."""

import json
import re
import subprocess
import sys
import tomllib
from collections.abc import Mapping
from datetime import date
from importlib.util import module_from_spec, spec_from_file_location
from pathlib import Path
from types import ModuleType
from typing import Any
from uuid import UUID

import pytest

ROOT = Path(__file__).parents[1]
LOCKS = ("requirements.lock", "requirements.test.lock", "deploy/requirements.lock")
TODAY = date(2026, 11, 30)


def script(name: str) -> ModuleType:
    spec = spec_from_file_location(name, ROOT / "deploy" / "dependencies" / f"{name}.py")
    assert spec is not None
    assert spec.loader is not None
    module = module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


sbom, audit = script("sbom"), script("audit")


def made() -> str:
    command = [sys.executable, str(ROOT / "deploy" / "dependencies" / "sbom.py")]
    return subprocess.run(command, capture_output=True, text=True, check=True, timeout=60).stdout


@pytest.fixture(scope="module")
def document() -> dict[str, Any]:
    found: dict[str, Any] = json.loads(made())
    return found


@pytest.mark.parametrize("lock", LOCKS)
def test_every_package_of_a_lock_is_pinned_and_hashed_and_from_no_address(lock: str) -> None:
    text = (ROOT / lock).read_text()
    packages = sbom.packages(text)
    assert len(packages) > 50
    assert [name for name, _, _, digests in packages if not digests] == []
    # Nothing in it is anything else than such a package.
    lines = [line for line in text.splitlines() if line and not line.lstrip().startswith("#")]
    assert len([line for line in lines if not line.startswith("    --hash=sha256:")]) == len(packages)
    assert "://" not in text
    assert not re.search(r"^-", text, re.MULTILINE)


def test_the_document_keeps_the_rules_of_its_format(document: Mapping[str, Any]) -> None:
    assert document["bomFormat"] == "CycloneDX"
    assert document["specVersion"] == "1.6"
    assert document["version"] == 1
    assert document["serialNumber"] == f"urn:uuid:{UUID(document['serialNumber'].removeprefix('urn:uuid:'))}"
    allowed = {
        *("bomFormat", "specVersion", "version", "serialNumber"),
        *("metadata", "components", "dependencies"),
    }
    assert document.keys() == allowed
    for one in document["components"]:
        assert one.keys() - {"licenses"} == {"type", "bom-ref", "name", "version", "purl", "properties"}
        assert one["type"] == "library"
        assert re.fullmatch(r"pkg:pypi/[a-z0-9-]+@[A-Za-z0-9.+!-]+", one["purl"])
        for choice in one.get("licenses", []):
            assert choice.keys() == {"expression"} or choice["license"].keys() == {"name"}
        assert all(isinstance(value, str) for pair in one["properties"] for value in pair.values())
    references = [
        document["metadata"]["component"]["bom-ref"],
        *(one["bom-ref"] for one in document["components"]),
    ]
    assert len(set(references)) == len(references)
    assert [one["ref"] for one in document["dependencies"]] == references
    assert set(document["dependencies"][0]["dependsOn"]) == set(references[1:])


def test_the_document_has_every_package_of_production_and_the_same_bytes_each_time(
    document: Mapping[str, Any],
) -> None:
    lock = (ROOT / "deploy" / "requirements.lock").read_text()
    # Told another way than the script does it.
    pinned = {
        (name.lower().replace("_", "-").replace(".", "-"), version)
        for name, version in re.findall(r"^([\w.-]+)(?:\[.*\])?==([^\s;]+)", lock, re.MULTILINE)
    }
    assert {(one["name"], one["version"]) for one in document["components"]} == pinned
    digests = {
        pair["value"]
        for one in document["components"]
        for pair in one["properties"]
        if pair["name"].endswith("sha256")
    }
    assert digests == set(re.findall(r"sha256:([0-9a-f]{64})", lock))
    assert json.loads(made()) == document


def test_the_document_holds_no_path_of_a_machine_and_no_address_of_a_registry() -> None:
    text = made()
    assert str(ROOT) not in text
    assert not re.search(r'"/|[A-Z]:\\\\|://|simple/', text)


def finding(**more: Any) -> dict[str, Any]:
    found = {"id": "GHSA-1", "aliases": ["CVE-2026-1"], "fix_versions": ["2.0"], **more}
    return {
        "dependencies": [{"name": "x", "version": "1.0", "vulns": [found]}, {"name": "y", "version": "1"}]
    }


def accepted(**more: Any) -> list[dict[str, Any]]:
    return [{"id": "GHSA-1", "package": "x", "reason": "not called", "until": TODAY, **more}]


@pytest.mark.parametrize(
    ("known", "passes"),
    [
        ([], False),
        (accepted(), True),
        (accepted(id="CVE-2026-1"), True),
        (accepted(until=date(2026, 11, 29)), False),
        (accepted(reason=" "), False),
        (accepted(package="y"), False),
        (accepted(id="GHSA-2"), False),
    ],
)
def test_a_vulnerability_fails_unless_it_is_accepted_with_a_reason_and_a_date_to_come(
    known: list[dict[str, Any]], passes: bool
) -> None:
    bad, passed = audit.verdict(finding(), known, TODAY)
    assert (bool(bad), bool(passed)) == (not passes, passes)
    assert "x 1.0: GHSA-1, mended in 2.0" in [*bad, *passed][0]


def test_without_a_vulnerability_all_is_well() -> None:
    assert audit.verdict({"dependencies": [{"name": "x", "version": "1", "vulns": []}]}, [], TODAY) == (
        [],
        [],
    )


def test_a_service_that_is_not_reached_passes_and_says_so(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    # A tool that ends as pip-audit does without a network.
    tool = tmp_path / "bin" / "pip-audit"
    tool.parent.mkdir()
    tool.write_text("#!/bin/sh\necho 'ERROR: Connection refused' >&2\nexit 1\n")
    tool.chmod(0o700)
    monkeypatch.setattr(audit, "ENVIRONMENT", tmp_path)
    assert audit.audit() == 0
    assert capsys.readouterr().err.count("NOT AUDITED") == len(audit.LOCKS)


def test_packages_that_the_service_does_not_know_pass_and_are_counted_aloud(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    tool = tmp_path / "bin" / "pip-audit"
    tool.parent.mkdir()
    skipped = {
        "dependencies": [
            {"name": "x", "skip_reason": "not found"},
            {"name": "y", "version": "1", "vulns": []},
        ]
    }
    tool.write_text(f"#!/bin/sh\necho '{json.dumps(skipped)}'\n")
    tool.chmod(0o700)
    monkeypatch.setattr(audit, "ENVIRONMENT", tmp_path)
    assert audit.audit() == 0
    said = capsys.readouterr()
    assert said.err.count("NOT AUDITED: 1 packages of") == len(audit.LOCKS)
    assert said.out.count("1 packages audited, 0 vulnerabilities") == len(audit.LOCKS)


def test_what_a_tool_finds_fails(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    tool = tmp_path / "bin" / "pip-audit"
    tool.parent.mkdir()
    tool.write_text(f"#!/bin/sh\necho '{json.dumps(finding())}'\nexit 1\n")
    tool.chmod(0o700)
    monkeypatch.setattr(audit, "ENVIRONMENT", tmp_path)
    assert audit.audit() == 1
    assert "x 1.0: GHSA-1" in capsys.readouterr().out


def test_what_is_accepted_has_a_reason_and_a_date() -> None:
    listed = tomllib.loads((ROOT / "deploy" / "dependencies" / "accepted.toml").read_text())["accepted"]
    assert all(one["reason"].strip() and isinstance(one["until"], date) for one in listed)
