"""What pip-audit may answer; the tools themselves are in an environment of their own, and are stood in for."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

AUDIT = Path(__file__).with_name("audit.py")
LOCKED = {"name": "pluggy", "version": "1.7.0"}
VULNERABILITY = {"id": "CVE-2026-1", "aliases": ["GHSA-1"], "fix_versions": ["1.7.1"]}


def write_tool(path: Path, answer: str, error: str = "", code: int = 0) -> None:
    """Writes a program that prints, and puts the same into the file that it is given, as cyclonedx-py does."""
    path.write_text(
        f"#!{sys.executable}\nimport pathlib, sys\nprint({answer!r})\nprint({error!r}, file=sys.stderr)\n"
        f"if '--output-file' in sys.argv: pathlib.Path(sys.argv[-1]).write_text({answer!r})\nsys.exit({code})\n"
    )
    path.chmod(0o755)


def audit(folder: Path, components: list[dict[str, str]]) -> tuple[int, str]:
    """Runs the audit of one installed package with the tools in a folder."""
    write_tool(folder / "cyclonedx-py", json.dumps({"components": components}))
    info = folder / "pluggy-1.7.0.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.4\nName: pluggy\nVersion: 1.7.0\nLicense-Expression: MIT\n")
    (folder / "requirements.lock").write_text("pluggy==1.7.0 --hash=sha256:00\n")
    options = ["--lock", str(folder / "requirements.lock"), "--tools", str(folder), "--sbom", str(folder / "sbom.json")]
    command = [sys.executable, str(AUDIT), *options]
    done = subprocess.run(command, env={"PYTHONPATH": str(folder)}, capture_output=True, text=True, check=False)
    assert done.stderr == ""
    return done.returncode, done.stdout


@pytest.mark.parametrize(
    ("answer", "error", "code", "expected", "line"),
    [
        ({**LOCKED, "vulns": []}, "", 0, 0, "known vulnerabilities: 0 in 1 packages"),
        ({**LOCKED, "vulns": [VULNERABILITY]}, "Found 1", 1, 1, "  pluggy 1.7.0: CVE-2026-1, GHSA-1; fixed in 1.7.1"),
        ({"name": "pluggy", "skip_reason": "not found"}, "", 0, 1, "  not checked: pluggy: not found"),
        (
            None,
            "Traceback:\nrequests.exceptions.ConnectionError: Failed to resolve",
            1,
            0,
            "known vulnerabilities: not checked, the service is out of reach",
        ),
        (None, "pip_audit._service.interface.ServiceError", 1, 0, "not checked, the service is out of reach"),
        (None, "ERROR: a line has no hash", 1, 1, "known vulnerabilities: pip-audit failed: ERROR: a line has no hash"),
    ],
)
def test_vulnerabilities_fail_the_audit_and_a_service_out_of_reach_does_not(
    tmp_path: Path, answer: dict[str, object] | None, error: str, code: int, expected: int, line: str
) -> None:
    write_tool(tmp_path / "pip-audit", json.dumps({"dependencies": [answer]}) if answer else "", error, code)
    assert (result := audit(tmp_path, [LOCKED]))[0] == expected, result
    assert line in result[1]


@pytest.mark.parametrize("components", [[], [LOCKED, {"name": "other", "version": "1"}], [{"name": "pluggy"}]])
def test_an_sbom_of_something_else_is_refused(tmp_path: Path, components: list[dict[str, str]]) -> None:
    write_tool(tmp_path / "pip-audit", json.dumps({"dependencies": [{**LOCKED, "vulns": []}]}))
    code, output = audit(tmp_path, components)
    assert code == 1
    assert "not in the SBOM" in output or "not locked" in output
