"""Asks the advisory service about every package of the lock, and says what was found.

    make audit

pip-audit runs in an environment of its own, which is made when it is missing: neither the project nor its
tests need it. Ends with 1 for a vulnerability that accepted.toml does not let pass. Where the tool cannot be
installed or the service cannot be reached nothing is known: that is said in capitals, and passes, since the
network is no fault of a change.
"""

import json
import subprocess
import sys
import tomllib
import venv
from collections.abc import Mapping, Sequence
from datetime import UTC, date, datetime
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[2]
ENVIRONMENT = ROOT / "build" / "audit"
LOCKS = ("requirements.lock", "deploy/requirements.lock")
TOOL = "pip-audit>=2.7,<3"
WITHIN_SECONDS = 300


def verdict(
    report: Mapping[str, Any], accepted: Sequence[Mapping[str, Any]], today: date
) -> tuple[list[str], list[str]]:
    """Of pip-audit's report what does not pass and what is let pass, each as a sentence."""
    until = {(one["package"], one["id"]): one["until"] for one in accepted if one["reason"].strip()}
    bad, passed = [], []
    for package in report["dependencies"]:
        for found in package.get("vulns", []):
            names = [found["id"], *found.get("aliases", [])]
            fixed = ", ".join(found.get("fix_versions", [])) or "no version yet"
            said = f"{package['name']} {package['version']}: {found['id']}, mended in {fixed}"
            ends = [until[package["name"], one] for one in names if (package["name"], one) in until]
            if ends and max(ends) >= today:
                passed.append(f"{said}; accepted until {max(ends)}")
            else:
                bad.append(said + (f"; was accepted until {max(ends)}" if ends else ""))
    return bad, passed


def _installed() -> Path:
    """The tool. Raises `OSError` or `subprocess.SubprocessError` if it cannot be had."""
    tool = ENVIRONMENT / "bin" / "pip-audit"
    if not tool.exists():
        venv.create(ENVIRONMENT, clear=True, with_pip=True)
        pip = [str(ENVIRONMENT / "bin" / "pip"), "install", "--quiet", "--disable-pip-version-check", TOOL]
        subprocess.run(pip, check=True, timeout=WITHIN_SECONDS, capture_output=True)  # noqa: S603
    return tool


def _report(tool: Path, lock: str) -> Mapping[str, Any] | None:
    """What the service knows; None if it was not reached."""
    command = [str(tool), "--requirement", str(ROOT / lock), "--require-hashes", "--disable-pip"]
    command += ["--format", "json", "--progress-spinner", "off"]
    done = subprocess.run(  # noqa: S603
        command, check=False, timeout=WITHIN_SECONDS, capture_output=True, text=True
    )
    try:
        report: Mapping[str, Any] = json.loads(done.stdout)
    except ValueError:
        return None
    return report if isinstance(report, dict) and "dependencies" in report else None


def audit() -> int:
    accepted = tomllib.loads((Path(__file__).parent / "accepted.toml").read_text())["accepted"]
    bad: list[str] = []
    for lock in LOCKS:
        try:
            report = _report(_installed(), lock)
        except (OSError, subprocess.SubprocessError):
            report = None
        if report is None:
            sys.stderr.write(f"NOT AUDITED: {lock}. pip-audit or its advisory service was not reached.\n")
            continue
        refused, passed = verdict(report, accepted, datetime.now(UTC).date())
        bad += refused
        known = [one for one in report["dependencies"] if "skip_reason" not in one]
        # Of a service that is only a mirror, for one.
        if unknown := len(report["dependencies"]) - len(known):
            sys.stderr.write(f"NOT AUDITED: {unknown} packages of {lock}, which the service does not know.\n")
        sys.stdout.write(f"{lock}: {len(known)} packages audited, {len(refused)} vulnerabilities.\n")
        sys.stdout.writelines(f"  {one}\n" for one in [*refused, *passed])
    return 1 if bad else 0


if __name__ == "__main__":
    sys.exit(audit())
