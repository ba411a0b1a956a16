"""The licences of locked packages, from the metadata of the installed ones.

A package's licence is the SPDX expression of its `License-Expression`; without one, what its field `License` and its
classifiers name, all of which must be permitted.
"""

import re
from collections.abc import Iterator
from dataclasses import dataclass
from importlib.metadata import Distribution, distributions
from pathlib import Path

from packaging.licenses import InvalidLicenseExpression, canonicalize_license_expression
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

# SPDX names; "BSD" is one of its variants, which old metadata do not tell apart. MPL-2.0 asks for the source of changes
# to its own files alone.
PERMITTED = {
    *("0BSD", "Apache-2.0", "BSD", "BSD-2-Clause", "BSD-3-Clause", "CC0-1.0", "CNRI-Python", "ISC", "MIT", "MIT-0"),
    *("MIT-CMU", "MPL-2.0", "PSF-2.0", "Zlib"),
}

# Packages whose metadata name no licence, or not a permitted one: what is true of them, and why that is permitted.
EXCEPTIONS = {
    "namex": ("Apache-2.0", "no licence in its metadata; the file LICENSE in its wheel is the Apache License 2.0"),
    "text-unidecode": (
        "Artistic-1.0-Perl OR GPL-2.0-or-later",
        "either, by choice; used as published (python-slugify)",
    ),
}

# What packages write in `License`, in lower case, and the classifiers after "License :: OSI Approved :: ".
NAMES = {
    "apache 2.0": "Apache-2.0",
    "apache license 2.0": "Apache-2.0",
    "apache software license": "Apache-2.0",
    "3-clause bsd license": "BSD-3-Clause",
    "bsd 3": "BSD-3-Clause",
    "bsd 3-clause": "BSD-3-Clause",
    "bsd 3-clause license": "BSD-3-Clause",
    "bsd": "BSD",
    "bsd license": "BSD",
    "isc license": "ISC",
    "isc license (iscl)": "ISC",
    "mit licence": "MIT",
    "mit license": "MIT",
    "the mit license (mit)": "MIT",
    "mozilla public license 2.0 (mpl 2.0)": "MPL-2.0",
    "python software foundation license": "PSF-2.0",
}


@dataclass(frozen=True)
class Row:
    """What is known of a locked package.

    Attributes:
        name: Name of the package, canonical.
        version: Version in the lock.
        licence: SPDX expression; names in quotes are not known. Empty if there is none.
        verdict: "permitted", "exception: ..." or "not installed here: ..."; otherwise an error.
        is_error: Whether the audit fails.
    """

    name: str
    version: str
    licence: str
    verdict: str
    is_error: bool = False


def read_lock(path: Path) -> list[Requirement]:
    """Returns the requirements of a lock, each `name==version`, without their hashes."""
    lines = [line for line in path.read_text("utf-8").splitlines() if line and not line.startswith((" ", "#"))]
    requirements = [Requirement(re.split(r"\s+--hash|\s*\\$", line)[0]) for line in lines]
    for requirement in requirements:
        if [specifier.operator for specifier in requirement.specifier] != ["=="]:
            raise SystemExit(f"{path}: {requirement} is not locked: expected name==version, run make lock")
    return requirements


def read_version(requirement: Requirement) -> str:
    """Returns the version of a locked requirement."""
    (specifier,) = requirement.specifier
    return specifier.version


def check_licences(requirements: list[Requirement], wheels: Path) -> list[Row]:
    """Returns a row for each requirement.

    Args:
        requirements: Locked requirements.
        wheels: Folder of wheels that are locked, but not installed.
    """
    paths = [str(path) for path in wheels.glob("*.whl")]
    # The first of a name is the one that is imported.
    installed = reversed([*distributions(), *distributions(path=paths)])
    found = {canonicalize_name(one.name): one for one in installed}
    rows = [_check(requirement, found.get(canonicalize_name(requirement.name))) for requirement in requirements]
    return sorted([*rows, *_list_needless_exceptions(rows)], key=lambda row: (row.name, row.version))


def _check(requirement: Requirement, distribution: Distribution | None) -> Row:
    name, version = canonicalize_name(requirement.name), read_version(requirement)
    if requirement.marker and not requirement.marker.evaluate():
        return Row(name, version, "", f"not installed here: {requirement.marker}")
    if distribution is None:
        return Row(name, version, "", "missing: run make setup", is_error=True)
    if distribution.version != version:
        return Row(name, version, "", f"installed is {distribution.version}: run make setup", is_error=True)
    licence = find_licence(distribution)
    if is_permitted(licence):
        return Row(name, version, licence, "permitted")
    if name in EXCEPTIONS:
        licence, reason = EXCEPTIONS[name]
        return Row(name, version, licence, f"exception: {reason}")
    return Row(name, version, licence, "not permitted" if licence else "unknown", is_error=True)


def _list_needless_exceptions(rows: list[Row]) -> Iterator[Row]:
    permitted = {row.name for row in rows if row.verdict == "permitted"}
    for name in EXCEPTIONS:
        if name in permitted:
            yield Row(name, "", "", "needs no exception any more: remove it from the list", is_error=True)


def find_licence(distribution: Distribution) -> str:
    """Returns the licence that a package's metadata name, as an SPDX expression; empty if they name none."""
    if expression := _read_field(distribution, "License-Expression"):
        return _canonicalize(expression)
    text = _read_field(distribution, "License")
    classifiers = [one for one in distribution.metadata.get_all("Classifier") or [] if one.startswith("License ::")]
    names = {_canonicalize(one.rpartition(" :: ")[2]) for one in classifiers if one != "License :: OSI Approved"}
    # The field may be the whole text of a licence, or "Dual License": it counts where it is a name, or all there is.
    if text and (not names or not _canonicalize(text).startswith('"')):
        names.add(_canonicalize(text))
    if len(names) == 1:
        return names.pop()
    return " AND ".join(sorted(f"({name})" if " OR " in name and not name.startswith('"') else name for name in names))


def _read_field(distribution: Distribution, name: str) -> str:
    return str((distribution.metadata.get_all(name) or [""])[0]).strip()


def _canonicalize(name: str) -> str:
    known = NAMES.get(name.lower())
    if known:
        return known
    try:
        return canonicalize_license_expression(name)
    except InvalidLicenseExpression:
        first = name.splitlines()[0][:60].replace('"', "'")
        return f'"{first}"'


def is_permitted(expression: str) -> bool:
    """Returns whether an SPDX expression is permitted: one side of an OR, both of an AND, which binds closer."""
    while "(" in (outer := re.sub(r'"[^"]*"', "unknown", expression)):
        expression = re.sub(r"\(([^()]*)\)", lambda inner: "permitted" if is_permitted(inner[1]) else "refused", outer)
    return any(
        all(term.strip() in {*PERMITTED, "permitted"} for term in alternative.split(" AND "))
        for alternative in expression.split(" OR ")
    )
