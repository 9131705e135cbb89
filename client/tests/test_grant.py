"""What a pod was granted, from the variable and the file."""

import json
from decimal import Decimal

import privatekube
import pytest
from privatekube import BlocksElsewhere, Curve, GrantInvalid, GrantMissing, Guarantee, Mechanism

# The example of docs/annotations.md.
GRANT = {
    "version": 1,
    "claims": [
        {
            "claim": "data/mean-fare-ed64100f",
            "dataset": "data/taxi",
            "privacyUnit": "UserTime",
            "requested": {"mechanism": "gaussian(sigma=20)"},
            "blockCount": 1,
            "budgets": [
                {
                    "renyi": [{"order": "5", "epsilon": "0.00625"}, {"order": "6", "epsilon": "0.0075"}],
                    "blocks": [
                        {
                            "name": "taxi-2026-11-21",
                            "dataSource": "s3://lake/taxi/2026-11-21",
                            "dimensions": {"city": "nyc", "endTime": 20779, "startTime": 20778},
                        }
                    ],
                }
            ],
        }
    ],
}


def read(grant, **more):
    return privatekube.grant(environment={"PRIVATEKUBE_GRANT": json.dumps(grant)}, **more)


def test_a_grant_is_read_from_the_variable():
    grant = read(GRANT)
    (claim,) = grant.claims
    assert (claim.claim, claim.dataset, claim.block_count) == ("data/mean-fare-ed64100f", "data/taxi", 1)
    assert claim.requested == Mechanism.gaussian(20)
    assert claim.privacy_unit == "UserTime"
    assert claim.budgets[0].amount == Curve({5: "0.00625", 6: "0.0075"})
    assert isinstance(claim.requested, Mechanism)
    assert claim.requested.curve([5, 6])[5] == Decimal("0.006250000001")
    assert grant.data_sources == ("s3://lake/taxi/2026-11-21",)
    assert grant.blocks[0].dimensions == {"city": "nyc", "endTime": 20779, "startTime": 20778}


def test_it_is_read_from_the_file_if_there_is_no_variable(tmp_path):
    file = tmp_path / "grant.json"
    file.write_text(json.dumps(GRANT))
    assert privatekube.grant(environment={}, file=file).data_sources == ("s3://lake/taxi/2026-11-21",)


def test_a_variable_that_names_the_file_is_followed(tmp_path):
    file = tmp_path / "elsewhere.json"
    file.write_text(json.dumps(GRANT))
    assert read({"version": 1, "file": str(file)}, file="/nowhere").claims == read(GRANT).claims


def test_epsilon_and_delta_are_a_guarantee_and_unknown_amounts_are_none():
    claim = GRANT["claims"][0]
    basic = {**claim, "budgets": [{**claim["budgets"][0], "epsilon": "0.5", "delta": "0.000000001"}]}
    del basic["budgets"][0]["renyi"], basic["requested"]
    found = read({"version": 1, "claims": [basic], "added later": True}).claims[0]
    assert found.budgets[0].amount == Guarantee.of("0.5", "1e-9")
    assert found.requested is None
    curve = Curve.from_spec([{"order": "5", "epsilon": None}, {"order": "6", "epsilon": "-0.25"}])
    assert list(curve.values()) == [None, Decimal("-0.25")]


def test_blocks_that_are_elsewhere_are_said_to_be_there():
    claim = {**GRANT["claims"][0], "blockCount": 9000, "budgets": [{"renyi": [{"order": "5", "epsilon": "1"}]}]}
    claim["blocksFrom"] = {
        "apiVersion": "privatekube.dev/v1alpha1",
        "kind": "PrivacyBudgetClaim",
        "namespace": "data",
        "name": "mean-fare",
        "fieldPath": "status.blocks",
    }
    grant = read({"version": 1, "claims": [claim]})
    assert grant.claims[0].block_count == 9000
    with pytest.raises(BlocksElsewhere, match=r"PrivacyBudgetClaim data/mean-fare \(status.blocks\)"):
        _ = grant.blocks


def test_outside_of_a_pod_it_says_what_is_missing():
    with pytest.raises(GrantMissing, match="PRIVATEKUBE_GRANT isn't set, and there is no file /nowhere/grant.json"):
        privatekube.grant(environment={}, file="/nowhere/grant.json")


def test_an_empty_file_is_no_grant(tmp_path):
    """The downward API writes one for a pod whose annotation isn't there."""
    file = tmp_path / "grant.json"
    file.write_text("")
    with pytest.raises(GrantMissing, match="is empty"):
        privatekube.grant(environment={}, file=file)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("{", "the environment variable PRIVATEKUBE_GRANT is not JSON"),
        ("[]", "is not an object"),
        ('{"version": 2}', "has version 2, and this package reads version 1: install a newer privatekube"),
        ('{"version": 1}', "is no grant: KeyError: 'claims'"),
        ('{"version": 1, "claims": [{"claim": "a/b"}]}', "is no grant: KeyError"),
        ('{"version": 1, "claims": 7}', "is no grant"),
    ],
)
def test_what_is_no_grant_is_said(text, message):
    with pytest.raises(GrantInvalid, match=message):
        privatekube.grant(environment={"PRIVATEKUBE_GRANT": text})
