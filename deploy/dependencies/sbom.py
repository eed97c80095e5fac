"""What production is made of: a CycloneDX document of deploy/requirements.lock, on standard output.

    make sbom            # into build/sbom.cdx.json

Own code, and no library: those that are kept (cyclonedx-bom) describe an environment that is installed, and
bring twenty packages of their own; the lock has all that the document needs. The same lock makes the same
bytes, on a machine with the same packages. It holds no path of a machine and no address of a registry.
"""

import hashlib
import json
import re
import sys
import tomllib
from importlib.metadata import PackageNotFoundError, metadata
from pathlib import Path
from typing import Any
from uuid import NAMESPACE_URL, uuid5

ROOT = Path(__file__).parents[2]
LOCK = ROOT / "deploy" / "requirements.lock"
_PACKAGE = re.compile(r"^([A-Za-z0-9._-]+)(?:\[[^\]]*\])?==([^\s;\\]+)[ ]*(?:;[ ]*([^\\]+?))?[ ]*\\?$")
_HASH = re.compile(r"--hash=sha256:([0-9a-f]{64})")


def packages(lock: str) -> list[tuple[str, str, str, list[str]]]:
    """Of each package of a lock its name, version, marker ("" for everywhere) and SHA-256 of its files."""
    found: list[tuple[str, str, str, list[str]]] = []
    for line in lock.splitlines():
        if package := _PACKAGE.match(line):
            name = re.sub(r"[-_.]+", "-", package[1]).lower()
            found.append((name, package[2], package[3] or "", []))
        for digest in _HASH.findall(line):
            found[-1][3].append(digest)
    return found


def document(lock: str, project: dict[str, Any]) -> dict[str, Any]:
    """CycloneDX 1.6. `project`: the table of that name in pyproject.toml."""
    version = project["version"]
    digest = hashlib.sha256(lock.encode()).hexdigest()
    root = f"pkg:pypi/{project['name']}@{version}"
    components = [_component(*package) for package in packages(lock)]
    return {
        "bomFormat": "CycloneDX",
        "specVersion": "1.6",
        "serialNumber": f"urn:uuid:{uuid5(NAMESPACE_URL, f'{root}#{digest}')}",
        "version": 1,
        "metadata": {
            "component": {
                "type": "application",
                "bom-ref": root,
                "name": project["name"],
                "version": version,
                "description": project["description"],
            },
            "properties": [{"name": "health_pipelines:lock:sha256", "value": digest}],
        },
        "components": components,
        "dependencies": [
            {"ref": root, "dependsOn": [one["bom-ref"] for one in components]},
            *({"ref": one["bom-ref"]} for one in components),
        ],
    }


def _component(name: str, version: str, marker: str, digests: list[str]) -> dict[str, Any]:
    ref = f"pkg:pypi/{name}@{version}"
    # A package has several files, of which each machine installs one: no hash is that of the component.
    properties = [{"name": "health_pipelines:file:sha256", "value": digest} for digest in digests]
    if marker:
        properties.append({"name": "health_pipelines:marker", "value": marker})
    licence = _licence(name)
    return {
        "type": "library",
        "bom-ref": ref,
        "name": name,
        "version": version,
        "purl": ref,
        **({"licenses": [licence]} if licence else {}),
        "properties": properties,
    }


def _licence(name: str) -> dict[str, Any] | None:
    """As the installed package says it; None for one that says nothing, or is of another platform."""
    try:
        about = metadata(name)
    except PackageNotFoundError:
        return None
    if expression := about.get("License-Expression"):
        return {"expression": expression}
    told = [
        one.rpartition(" :: ")[2] for one in about.get_all("Classifier", []) if one.startswith("License ::")
    ]
    return {"license": {"name": told[0]}} if told else None


def main() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    json.dump(document(LOCK.read_text(), project), sys.stdout, indent=2)
    sys.stdout.write("\n")


if __name__ == "__main__":
    main()
