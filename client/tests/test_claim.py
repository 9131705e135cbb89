"""The life of a claim in a `with` statement: what is waited for, what is said, and that nothing is left behind."""

import decimal
import os
import signal
from datetime import timedelta

import privatekube
import pytest
from fake_cluster import FakeCluster
from privatekube import (
    AmountError,
    ClaimDenied,
    ClaimExpired,
    ClaimLeftBehind,
    ClaimLimited,
    ClaimNotSettled,
    ClaimRefused,
    ClaimWithdrawn,
    Cluster,
    ClusterError,
    ClusterForbidden,
    ClusterUnreachable,
    Curve,
    Guarantee,
    Mechanism,
    ReleaseRefused,
)
from privatekube._cluster import ApiFailure

BLOCKS = [{"name": "taxi-1", "dataSource": "s3://lake/1"}, {"name": "taxi-2"}]
GRANTED = {
    "phase": "Granted",
    "reason": "Granted",
    "message": "granted",
    "blockCount": 2,
    "blocks": BLOCKS,
    "sequence": 5,
}
CONSUMED = {"phase": "Consumed", "reason": "Consumed", "message": "consumed", "sequence": 6}
RELEASED = {"phase": "Released", "reason": "Released", "message": "released", "sequence": 6}
WAITING = {
    "phase": "Waiting",
    "reason": "TooLittleUnlocked",
    "message": "block taxi-1 has 0.1 of the 0.5",
    "sequence": 2,
}
SILENCE = ApiFailure(0, "the API server doesn't answer: timed out")


@pytest.fixture
def cluster():
    made = FakeCluster()
    made.add_block("taxi-1", "s3://lake/1", day=1)
    made.add_block("taxi-2", "s3://lake/2", day=2)
    return made


def claim(cluster, **more):
    asked = {"dataset": "taxi", "mechanism": "gaussian(sigma=20)", "max_blocks": 2, "progress": False, **more}
    return privatekube.claim(cluster=cluster, **asked)


def only(cluster):
    (found,) = cluster.claims().values()
    return found


def test_a_claim_waits_says_why_and_is_consumed(cluster):
    cluster.script = [WAITING, WAITING, GRANTED]
    told = []
    with claim(
        cluster, progress=lambda name, status: told.append((status.phase, status.reason, status.message))
    ) as grant:
        assert grant.dataset == "data/taxi"
        assert grant.block_count == 2
        assert not grant.may_be_used
        assert grant.data_sources == ("s3://lake/1", "s3://lake/2")
        assert [block.dimensions for block in grant.blocks] == [{"day": 1}, {"day": 2}]
        assert grant.may_be_used
        cluster.script = [CONSUMED]
        grant.consume()
        grant.consume()
    assert told == [
        ("Waiting", "", ""),
        *[tuple(s[k] for k in ("phase", "reason", "message")) for s in (WAITING, GRANTED)],
    ]
    assert only(cluster)["spec"] == {
        "dataset": "taxi",
        "budget": {"mechanism": "gaussian(sigma=20)"},
        "blocks": {"max": 2},
        "consume": {"all": True},
    }
    assert cluster.requests.count("patch") == 1


def test_progress_is_a_line_on_stderr(cluster, capsys):
    cluster.script = [WAITING, GRANTED]
    with claim(cluster, name="weekly", progress=True):
        pass
    assert capsys.readouterr().err.splitlines() == [
        "claim data/weekly: Waiting",
        "claim data/weekly: Waiting (TooLittleUnlocked): block taxi-1 has 0.1 of the 0.5",
        "claim data/weekly: Granted: granted",
    ]


# What becomes of the budget.


def test_a_grant_that_was_never_looked_at_is_deleted_which_releases_it(cluster):
    cluster.script = [GRANTED]
    with claim(cluster) as grant:
        assert grant.status.phase == "Granted"
    assert not cluster.claims()


def test_so_it_is_after_an_error_before_the_data_was_handed_out(cluster):
    cluster.script = [GRANTED]
    with pytest.raises(ZeroDivisionError), claim(cluster):
        1 / 0
    assert not cluster.claims()


@pytest.mark.parametrize("look", ["blocks", "data_sources"])
def test_what_was_handed_out_and_not_settled_is_consumed(cluster, look):
    cluster.script = [GRANTED]
    with claim(cluster) as grant:
        getattr(grant, look)
        cluster.script = [CONSUMED]
    assert only(cluster)["spec"]["consume"] == {"all": True}


def test_so_it_is_after_an_error(cluster):
    cluster.script = [GRANTED]
    with pytest.raises(ZeroDivisionError), claim(cluster) as grant:
        _ = grant.data_sources
        cluster.script = [CONSUMED]
        1 / 0
    assert only(cluster)["spec"]["consume"] == {"all": True}


def test_blocks_that_cannot_be_read_are_not_handed_out(cluster):
    cluster.script = [GRANTED]
    cluster.faults["list"] = [ApiFailure(500, "no")]
    with pytest.raises(ClusterUnreachable), claim(cluster) as grant:
        _ = grant.blocks
    assert not cluster.claims()


def test_without_the_right_to_read_blocks_data_sources_come_from_the_status(cluster):
    cluster.script = [GRANTED]
    cluster.faults["list"] = [ApiFailure(403, "no")]
    with claim(cluster) as grant:
        assert grant.data_sources == ("s3://lake/1",)
        cluster.script = [CONSUMED]


def test_a_release_of_what_was_handed_out_needs_a_statement(cluster):
    cluster.script = [GRANTED]
    with claim(cluster) as grant:
        _ = grant.blocks
        with pytest.raises(ReleaseRefused, match="release\\(unused=True\\)"):
            grant.release()
        cluster.script = [RELEASED]
        grant.release(unused=True)
    assert not cluster.claims()


def test_an_early_release_needs_none(cluster):
    cluster.script = [GRANTED]
    with claim(cluster) as grant:
        cluster.script = [RELEASED]
        grant.release()
    assert not cluster.claims()


def test_consumption_without_looking_is_use_also_if_it_fails(cluster):
    cluster.script = [GRANTED]
    cluster.faults["patch"] = [ApiFailure(403, "no")]
    with claim(cluster) as grant:
        with pytest.raises(ClusterForbidden):
            grant.consume()
        cluster.script = [CONSUMED]
    assert only(cluster)["spec"]["consume"] == {"all": True}


def test_parts_are_stated_as_totals_and_the_rest_is_consumed(cluster):
    cluster.script = [GRANTED]
    partly = {"conditions": [{"type": "Consumed", "status": "True", "reason": "PartlyConsumed"}]}
    with claim(cluster) as grant:
        # What else happens to the claim confirms nothing.
        cluster.script = [{"sequence": 5}, {"sequence": 6}, {**partly, "sequence": 7}]
        grant.consume({"taxi-1": Curve({2: "0.1", 4: "0.2"})})
        assert only(cluster)["status"]["sequence"] == 7
        # Until the ledger has the second part, too, the first one confirms nothing.
        cluster.script = [{"sequence": 7}, {**partly, "sequence": 8}]
        grant.consume({"taxi-1": Curve({2: "0.1", 4: "0.2"}), "taxi-2": Guarantee.of("0.5", 0)})
        assert only(cluster)["status"]["sequence"] == 8
        assert only(cluster)["spec"]["consume"]["perBlock"] == {
            "taxi-1": {"renyi": [{"order": "2", "epsilon": "0.2"}, {"order": "4", "epsilon": "0.4"}]},
            "taxi-2": {"epsilon": "0.5", "delta": "0"},
        }
        with pytest.raises(AmountError, match="no epsilon and delta can be added"):
            grant.consume({"taxi-1": Guarantee.of(1, 0)})
        cluster.script = [CONSUMED]
    assert only(cluster)["spec"]["consume"] == {"all": True}


def test_a_consumption_that_the_ledger_does_not_confirm_is_an_error(cluster):
    cluster.script = [GRANTED]
    with pytest.raises(ClaimNotSettled, match="didn't confirm within 60 s"), claim(cluster) as grant:
        _ = grant.blocks
        grant.consume()


def test_a_claim_that_is_deleted_meanwhile_is_not_consumed_silently(cluster):
    cluster.script = [GRANTED]
    with pytest.raises(ClaimWithdrawn, match="somebody deleted it"), claim(cluster) as grant:
        _ = grant.blocks
        cluster.objects = {}


def test_what_was_released_by_somebody_is_not_consumed(cluster):
    cluster.script = [GRANTED]
    with claim(cluster) as grant:
        _ = grant.blocks
        cluster.script = [RELEASED]
        with pytest.raises(ClaimWithdrawn, match="released before it was consumed"):
            grant.consume()


def test_a_grant_that_is_over_tells_nothing_any_more(cluster):
    cluster.script = [GRANTED]
    with claim(cluster) as grant:
        pass
    for use in (lambda: grant.blocks, lambda: grant.data_sources, grant.consume, grant.release):
        with pytest.raises(ClaimWithdrawn, match="statement has ended"):
            use()


def test_a_grant_that_was_released_tells_nothing_any_more(cluster):
    cluster.script = [GRANTED]
    with claim(cluster) as grant:
        cluster.script = [RELEASED]
        grant.release()
        with pytest.raises(ClaimWithdrawn, match="it was released, so there is no budget left"):
            _ = grant.blocks


def test_totals_are_exact_in_any_context(cluster):
    cluster.script = [GRANTED]
    partly = {"conditions": [{"type": "Consumed", "status": "True"}]}
    with decimal.localcontext(decimal.Context(prec=2)), claim(cluster) as grant:
        for sequence in (6, 7):
            cluster.script = [{**partly, "sequence": sequence}]
            grant.consume({"taxi-1": Guarantee.of("1.111111111111", "1e-18")})
        stated = only(cluster)["spec"]["consume"]["perBlock"]["taxi-1"]
        assert stated == {"epsilon": "2.222222222222", "delta": "0.000000000000000002"}
        cluster.script = [CONSUMED]


# Claims that are not granted.


@pytest.mark.parametrize(
    ("status", "error", "message"),
    [
        (
            {"phase": "Denied", "reason": "TooLarge", "message": "block taxi-1 can grant 1 of the 2"},
            ClaimDenied,
            r"denied \(TooLarge\): block taxi-1 can grant 1 of the 2",
        ),
        ({"phase": "Expired", "reason": "TimedOut", "message": "it waited 1h"}, ClaimExpired, "it waited 1h"),
        ({"phase": "Withdrawn", "reason": "Withdrawn", "message": "deleted"}, ClaimWithdrawn, "withdrew it: deleted"),
        ("deleted", ClaimWithdrawn, "somebody deleted it"),
    ],
)
def test_a_claim_that_ends_without_a_grant_is_an_error_and_leaves_nothing(cluster, status, error, message):
    cluster.script = [WAITING, status]
    with pytest.raises(error, match=message), claim(cluster):
        pytest.fail("it was granted")
    assert not cluster.claims()


def test_what_the_webhook_refuses_names_its_fields(cluster):
    words = "spec.selector: city is not known; spec.blocks.max: 0 is too few"
    message = f'admission webhook "claims.privatekube.dev" denied the request: PrivateKube: {words}'
    cluster.faults["create"] = [ApiFailure(403, message)]
    with pytest.raises(ClaimRefused) as caught, claim(cluster):
        pass
    assert caught.value.fields == ("spec.selector", "spec.blocks.max")
    assert caught.value.field == "spec.selector"
    assert caught.value.message == words


def test_what_the_schema_refuses_names_its_fields(cluster):
    cluster.faults["create"] = [ApiFailure(422, "is invalid", (("spec.timeout", "is wrong"),))]
    with pytest.raises(ClaimRefused, match="is invalid") as caught, claim(cluster):
        pass
    assert caught.value.field == "spec.timeout"


def test_limits_are_refusals_for_now(cluster):
    message = 'admission webhook "x" denied the request: PrivateKube: 100 claims wait'
    cluster.faults["create"] = [ApiFailure(429, message)]
    with pytest.raises(ClaimLimited, match="100 claims wait"), claim(cluster):
        pass
    # What the API server itself limits is repeated.
    cluster.faults["create"] = [ApiFailure(429, "too many requests, please try again later")]
    cluster.script = [GRANTED]
    with claim(cluster):
        pass


def test_an_extender_that_is_down_is_said_while_it_is_waited_for(cluster, capsys):
    down = ApiFailure(500, "failed calling webhook: connection refused")
    cluster.faults["create"] = [down, down, down]
    cluster.script = [GRANTED]
    with claim(cluster, name="weekly", progress=True):
        pass
    assert capsys.readouterr().err.splitlines() == [
        "claim data/weekly: Waiting (NotCreated): failed calling webhook: connection refused",
        "claim data/weekly: Granted: granted",
    ]


def test_a_claim_that_is_created_late_is_found(cluster):
    made = {}

    class Late(FakeCluster):
        def create(self, kind, namespace, body):
            made.update(body)
            raise KeyboardInterrupt

        def pause(self, seconds):
            if made:
                super().create("privacybudgetclaims", "data", dict(made))
                made.clear()

    late = Late()
    with pytest.raises(KeyboardInterrupt), claim(late):
        pass
    assert "delete" in late.requests
    assert not late.claims()


def test_missing_rights_are_said(cluster):
    cluster.faults["create"] = [ApiFailure(403, 'privacybudgetclaims is forbidden: User "eve" cannot create')]
    with pytest.raises(ClusterForbidden, match="eve"), claim(cluster):
        pass


def test_a_name_that_is_taken_is_not_touched(cluster):
    # Another run of the same program made it.
    metadata = {"name": "weekly", "annotations": {"client.privatekube.dev/request": "another"}}
    cluster.create("privacybudgetclaims", "data", {"metadata": metadata, "spec": {}})
    with pytest.raises(ClaimRefused, match="there is a claim of this name"), claim(cluster, name="weekly"):
        pass
    assert "weekly" in cluster.claims()


# Connections that break.


def test_an_answer_that_was_lost_finds_the_claim_by_its_name(cluster):
    cluster.faults["create"] = [(SILENCE, "after")]
    cluster.script = [GRANTED]
    with claim(cluster) as grant:
        assert grant.name in cluster.claims()
    assert cluster.requests.count("create") == 1
    assert not cluster.claims()


def test_so_it_does_when_the_second_attempt_says_that_it_exists(cluster):
    cluster.faults["create"] = [(SILENCE, "after")]
    cluster.faults["get"] = [SILENCE]
    cluster.script = [GRANTED]
    with claim(cluster):
        pass
    assert cluster.requests[:4] == ["create", "get", "create", "get"]
    assert not cluster.claims()


def test_a_claim_that_cannot_be_cleaned_up_is_said_with_the_command(cluster):
    cluster.faults["create"] = [(SILENCE, "after")]
    cluster.faults["get"] = [SILENCE] * 1000
    cluster.faults["create"] += [SILENCE] * 1000
    with (
        pytest.warns(ClaimLeftBehind, match="kubectl delete pbc weekly -n data"),
        pytest.raises(ClusterUnreachable),
        claim(cluster, name="weekly"),
    ):
        pass


def test_watches_that_end_or_break_are_resumed(cluster):
    gone = ApiFailure(410, "too old resource version")
    cluster.script = ["end", SILENCE, WAITING, SILENCE, gone, WAITING, "end", GRANTED]
    with claim(cluster):
        pass
    assert cluster.requests.count("watch") == 6


def test_a_cluster_that_stays_silent_is_an_error_and_the_claim_is_deleted(cluster):
    cluster.script = [SILENCE] * 1000
    with pytest.raises(ClusterUnreachable), claim(cluster):
        pass
    assert not cluster.claims()
    assert cluster.time < 100


def test_a_timeout_is_kept_without_an_extender(cluster):
    with pytest.raises(ClaimExpired, match="still waiting after its timeout"), claim(cluster, timeout=90):
        pass
    assert 90 <= cluster.time < 180
    assert not cluster.claims()


def test_a_consumption_is_repeated_until_it_is_answered(cluster):
    cluster.script = [GRANTED]
    with claim(cluster) as grant:
        _ = grant.blocks
        cluster.faults["patch"] = [SILENCE, ApiFailure(503, "later"), (SILENCE, "after")]
        cluster.script = [CONSUMED]
        grant.consume()
    assert cluster.requests.count("patch") == 4


def test_a_claim_of_somebody_else_under_the_name_is_not_deleted(cluster):
    cluster.script = [GRANTED]
    with claim(cluster, name="weekly"):
        cluster.objects.pop(("privacybudgetclaims", "data", "weekly"))
        cluster.create("privacybudgetclaims", "data", {"metadata": {"name": "weekly"}, "spec": {}})
    assert "weekly" in cluster.claims()


# Ctrl-C.


class Interrupting(FakeCluster):
    """Sends Ctrl-C to this process before or after a request is carried out."""

    before = ""
    after = ""

    def _request(self, verb, kind, carry_out=lambda: None):
        if verb == self.before:
            os.kill(os.getpid(), signal.SIGINT)
        answer = super()._request(verb, kind, carry_out)
        if verb == self.after:
            os.kill(os.getpid(), signal.SIGINT)
        return answer


@pytest.mark.parametrize("at", ["create", "watch"])
def test_ctrl_c_while_it_waits_leaves_nothing(at):
    cluster = Interrupting()
    cluster.after = at
    with pytest.raises(KeyboardInterrupt), claim(cluster):
        pytest.fail("it was granted")
    assert not cluster.claims()


def test_ctrl_c_while_it_is_cleaned_up_waits_for_the_end_of_that():
    cluster = Interrupting()
    cluster.script = [{"phase": "Denied", "reason": "TooLarge", "message": "too large"}]
    cluster.before = "delete"
    with pytest.raises(KeyboardInterrupt), claim(cluster):
        pass
    assert not cluster.claims()


def test_ctrl_c_in_the_body_follows_the_same_rules(cluster):
    cluster.script = [GRANTED]
    with pytest.raises(KeyboardInterrupt), claim(cluster) as grant:
        _ = grant.blocks
        cluster.script = [CONSUMED]
        raise KeyboardInterrupt
    assert only(cluster)["spec"]["consume"] == {"all": True}


# What is asked.


def test_a_request_is_written_as_the_resource_has_it(cluster):
    def spec(**asked):
        return privatekube.claim(cluster=cluster, dataset="data/taxi", **asked).spec

    assert spec(mechanism=Mechanism.gaussian(2), blocks="all") == {
        "dataset": "data/taxi",
        "budget": {"mechanism": "gaussian(sigma=2)"},
        "blocks": {"which": "all"},
    }
    more = {"min_blocks": 2, "timeout": "1h30m", "priority": 3, "purpose": "a"}
    assert spec(epsilon="0.10", delta="1e-9", blocks="block.day > 3", **more) == {
        "dataset": "data/taxi",
        "budget": {"epsilon": "0.1", "delta": "0.000000001"},
        "selector": "block.day > 3",
        "blocks": {"min": 2},
        "timeout": "1h30m",
        "priority": 3,
        "purpose": "a",
    }
    assert spec(renyi={2: "0.5"}, max_blocks=1, timeout=timedelta(minutes=1, milliseconds=5)) == {
        "dataset": "data/taxi",
        "budget": {"renyi": [{"order": "2", "epsilon": "0.5"}]},
        "blocks": {"max": 1},
        "timeout": "60005ms",
    }


@pytest.mark.parametrize(
    ("asked", "error", "message"),
    [
        ({}, ValueError, "give exactly one of"),
        ({"mechanism": "gaussian(sigma=2)", "epsilon": 1, "delta": 0}, ValueError, "give exactly one of"),
        ({"epsilon": "1"}, ValueError, "epsilon and delta go together"),
        ({"epsilon": 0.1, "delta": 0}, AmountError, "0.1 is a float"),
        ({"mechanism": "gaussian(2)"}, ValueError, "takes"),
        ({"mechanism": "gaussian(sigma=2)", "blocks": None}, ValueError, "say on which blocks"),
        ({"mechanism": "gaussian(sigma=2)", "max_blocks": 2}, ValueError, "takes every block"),
        ({"mechanism": "gaussian(sigma=2)", "timeout": 0}, ValueError, "must be above 0"),
    ],
)
def test_a_request_that_is_wrong_is_refused_before_anything_is_created(cluster, asked, error, message):
    with pytest.raises(error, match=message):
        privatekube.claim(cluster=cluster, dataset="taxi", **{"blocks": "all", **asked})
    assert not cluster.requests


def test_a_claim_is_made_once(cluster):
    cluster.script = [GRANTED]
    made = claim(cluster)
    with made:
        pass
    with pytest.raises(RuntimeError, match="made once"), made:
        pass


def test_without_a_cluster_it_says_what_to_set(monkeypatch, tmp_path):
    monkeypatch.delenv("KUBECONFIG", raising=False)
    monkeypatch.setenv("HOME", str(tmp_path))
    with pytest.raises(ClusterError, match="Set KUBECONFIG"):
        Cluster()
