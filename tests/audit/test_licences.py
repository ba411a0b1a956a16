import re
import subprocess
import sys
from pathlib import Path

AUDIT = Path(__file__).with_name("audit.py")
CLASSIFIER = "Classifier: License :: OSI Approved :: "
GPL = '"GNU General Public License (GPL)"'

# Metadata of packages, with the licence in the table.
PERMITTED = {
    "License-Expression: MIT": "MIT",
    "License-Expression: BSD-3-Clause AND 0BSD AND Zlib": "BSD-3-Clause AND 0BSD AND Zlib",
    "License-Expression: MPL-2.0 AND (Apache-2.0 OR GPL-3.0-only)": "MPL-2.0 AND (Apache-2.0 OR GPL-3.0-only)",
    "License-Expression: GPL-3.0-only OR MIT AND ISC": "GPL-3.0-only OR MIT AND ISC",
    "License: Apache License 2.0": "Apache-2.0",
    "License: psf-2.0": "PSF-2.0",
    f"License: Dual License\n{CLASSIFIER}BSD License\n{CLASSIFIER}Apache Software License": "Apache-2.0 AND BSD",
    f"Classifier: License :: OSI Approved\nLicense: ISC\n{CLASSIFIER}ISC License (ISCL)": "ISC",
}
UNKNOWN = ["Summary: nothing about it", "License: ", "Classifier: License :: OSI Approved"]
REFUSED = {
    "License: My own terms": '"My own terms"',
    "License-Expression: AGPL-3.0-only": "AGPL-3.0-only",
    "License-Expression: MIT AND GPL-2.0-only": "MIT AND GPL-2.0-only",
    "License-Expression: (MIT OR ISC) AND LGPL-3.0-only": "(MIT OR ISC) AND LGPL-3.0-only",
    "License-Expression: MIT OR": '"MIT OR"',
    "License-Expression: permitted": '"permitted"',
    "License: Other (MIT OR ISC)": '"Other (MIT OR ISC)"',
    f"License: MIT\n{CLASSIFIER}GNU General Public License (GPL)": f"{GPL} AND MIT",
}


def audit(folder: Path, lock: str) -> tuple[int, list[str]]:
    """Runs the check of licences alone; returns its exit code and its output, columns apart by two spaces."""
    path = folder / "requirements.lock"
    path.write_text(lock)
    command = [sys.executable, str(AUDIT), "--lock", str(path), "--wheels", str(folder)]
    done = subprocess.run(command, env={"PYTHONPATH": str(folder)}, capture_output=True, text=True, check=False)
    assert done.stderr == ""
    return done.returncode, [re.sub("  +", "  ", line.strip()) for line in done.stdout.splitlines()]


def install(folder: Path, name: str, metadata: str, version: str = "1.0") -> str:
    """Writes the metadata of an installed package; returns its entry in a lock."""
    info = folder / f"{name.replace('-', '_')}-{version}.dist-info"
    info.mkdir()
    (info / "METADATA").write_text(f"Metadata-Version: 2.4\nName: {name}\nVersion: {version}\n{metadata}\n", "utf-8")
    return f"{name}=={version} \\\n    --hash=sha256:{'0' * 64}\n    # via another\n"


def test_permitted_licences_are_accepted(tmp_path: Path) -> None:
    lock = [install(tmp_path, f"package-{number:02d}", metadata) for number, metadata in enumerate(PERMITTED)]
    code, output = audit(tmp_path, "".join(lock))
    expected = [f"package-{number:02d}  1.0  {licence}  permitted" for number, licence in enumerate(PERMITTED.values())]
    assert (code, output[:-1]) == (0, expected)
    assert output[-1].endswith(", 0 errors")


def test_unknown_licences_and_others_are_refused(tmp_path: Path) -> None:
    cases = {**dict.fromkeys(UNKNOWN, "unknown"), **{one: f"{text}  not permitted" for one, text in REFUSED.items()}}
    lock = [install(tmp_path, f"package-{number:02d}", metadata) for number, metadata in enumerate(cases)]
    code, output = audit(tmp_path, "".join(lock))
    expected = [f"package-{number:02d}  1.0  {verdict}" for number, verdict in enumerate(cases.values())]
    assert (code, output[: len(cases)]) == (1, expected)
    assert output[len(cases)].endswith(f", {len(cases)} errors")


def test_one_unknown_licence_fails_the_audit(tmp_path: Path) -> None:
    lock = install(tmp_path, "sound", "License-Expression: MIT") + install(tmp_path, "strange", "Summary: nothing")
    code, output = audit(tmp_path, lock)
    assert (code, output[0], output[1]) == (1, "sound  1.0  MIT  permitted", "strange  1.0  unknown")


def test_exceptions_have_a_reason_and_are_needed(tmp_path: Path) -> None:
    code, (row, *_) = audit(tmp_path, install(tmp_path, "namex", "Summary: no licence"))
    assert code == 0
    assert row.startswith("namex  1.0  Apache-2.0  exception: ")
    (tmp_path / "later").mkdir()
    code, (row, *_) = audit(tmp_path / "later", install(tmp_path / "later", "namex", "License-Expression: MIT"))
    assert code == 1
    assert "needs no exception" in row


def test_packages_of_other_platforms_are_named(tmp_path: Path) -> None:
    code, (row, *_) = audit(tmp_path, "pywin32==312 ; sys_platform == 'nowhere' \\\n    --hash=sha256:00\n")
    assert (code, row) == (0, 'pywin32  312  not installed here: sys_platform == "nowhere"')


def test_a_package_that_is_missing_or_of_another_version_is_an_error(tmp_path: Path) -> None:
    code, (row, *_) = audit(tmp_path, "some-package==1.0\n")
    assert (code, row) == (1, "some-package  1.0  missing: run make setup")
    install(tmp_path, "some-package", "License-Expression: MIT", version="1.1")
    code, (row, *_) = audit(tmp_path, "some-package==1.0\n")
    assert (code, row) == (1, "some-package  1.0  installed is 1.1: run make setup")


def test_a_requirement_without_a_version_is_refused(tmp_path: Path) -> None:
    lock = tmp_path / "requirements.lock"
    lock.write_text("some-package>=1.0\n")
    command = [sys.executable, str(AUDIT), "--lock", str(lock)]
    done = subprocess.run(command, env={}, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout) == (1, "")
    assert "some-package>=1.0 is not locked" in done.stderr
