"""The count of users: its noise, its bound, what it costs, its state, and that nobody is counted who hasn't paid."""

import json
import math
import random
from fractions import Fraction

import privatekube._counter
import pytest
from fake_cluster import FakeCluster
from privatekube import ClaimDenied, CounterError, CounterNotCharged, Mechanism, UserCounter
from privatekube._cluster import BLOCKS, DATASETS, ApiFailure
from privatekube._discrete_laplace import discrete_laplace, upper_bound

COST = "11*pure(epsilon=0.5)"


def seeded(seed):
    return random.Random(seed).randrange


def counter(seed=1, **more):
    return UserCounter(**{"horizon": 1024, "epsilon": "0.5", "beta": "0.05", "randbelow": seeded(seed), **more})


def pmf(epsilon, size):
    """The discrete Laplace distribution, from -size to size."""
    q = math.exp(-epsilon)
    return {x: (1 - q) / (1 + q) * q ** abs(x) for x in range(-size, size + 1)}


@pytest.mark.parametrize("epsilon", [Fraction(1, 5), Fraction(2, 3), Fraction(1), Fraction(7, 2)])
def test_samples_have_the_discrete_laplace_distribution(epsilon):
    randbelow, number = seeded(7), 40_000
    seen = {}
    for _ in range(number):
        x = discrete_laplace(epsilon, randbelow)
        seen[x] = seen.get(x, 0) + 1
    expected = {x: p * number for x, p in pmf(float(epsilon), 200).items() if p * number >= 10}
    inside = sum((seen.get(x, 0) - mean) ** 2 / mean for x, mean in expected.items())
    beyond = number - sum(expected.values())
    seen_beyond = number - sum(seen.get(x, 0) for x in expected)
    # Pearson's test: the statistic has so many degrees of freedom, and their double as variance. Five deviations.
    degrees = len(expected)
    assert inside + (seen_beyond - beyond) ** 2 / max(beyond, 1) < degrees + 5 * math.sqrt(2 * degrees)


def test_the_sampler_draws_integers_alone():
    asked = []

    def randbelow(limit):
        asked.append(limit)
        return random.Random(len(asked)).randrange(limit)

    assert isinstance(discrete_laplace(Fraction("0.123456789012"), randbelow), int)
    assert all(isinstance(limit, int) for limit in asked)


@pytest.mark.parametrize("terms", [1, 2, 5])
@pytest.mark.parametrize("failure", [Fraction(1, 100), Fraction(1, 10**7)])
def test_the_bound_holds_by_the_exact_distribution_and_is_not_far_above_it(terms, failure):
    epsilon, size = 0.5, 200
    one = pmf(epsilon, size)
    total = one
    for _ in range(terms - 1):
        fresh = {}
        for x, p in total.items():
            for y, r in one.items():
                if p * r > 1e-18:
                    fresh[x + y] = fresh.get(x + y, 0.0) + p * r
        total = fresh
    bound = upper_bound(Fraction(1, 2), terms, failure)
    assert sum(p for x, p in total.items() if x > bound) <= failure
    quantile = next(b for b in range(bound + 1) if sum(p for x, p in total.items() if x > b) <= failure)
    assert bound <= 1.5 * quantile + 6


def test_no_count_is_above_the_true_one_but_with_the_probability_beta():
    wrong = 0
    for seed in range(300):
        counts, true = counter(seed, horizon=32, beta="0.1"), 0
        is_wrong = False
        for tick in range(32):
            true += tick % 7
            is_wrong |= counts.tick(tick % 7).at_least > true
        wrong += is_wrong
    assert wrong <= 30


def test_a_count_is_near_the_true_one():
    counts, true = counter(horizon=64, beta="0.001"), 0
    for _ in range(64):
        true += 1000
        count = counts.tick(1000)
        assert abs(count.estimate - true) <= counts.error_bound(count.tick)
    assert 64_000 - 2 * counts.error_bound(63) <= counts.count.at_least <= 64_000


def test_what_is_published_never_falls_and_is_never_below_the_start():
    counts = counter(start=10)
    seen = [counts.count.at_least, *(counts.tick(new).at_least for new in [0] * 100 + [1000] * 20 + [0] * 100)]
    assert seen == sorted(seen)
    assert seen[0] == seen[100] == 10
    assert seen[-1] > 19_000


@pytest.mark.parametrize("horizon", [1, 2, 3, 16, 17, 31])
def test_a_user_is_in_as_many_sums_as_are_paid_for(monkeypatch, horizon):
    monkeypatch.setattr(privatekube._counter, "discrete_laplace", lambda epsilon, randbelow: 0)
    most = 0
    for came in range(horizon):
        counts, sums = counter(horizon=horizon), 0
        for tick in range(horizon):
            counts.tick(int(tick == came))
            assert counts.count.estimate == int(tick >= came)
            # Each tick makes one sum, whose level is the lowest bit of its number.
            level = (tick + 1 & -(tick + 1)).bit_length() - 1
            sums += counts._noisy[level]
        most = max(most, sums)
    assert most == counter(horizon=horizon).levels


def test_what_it_costs_is_the_sum_over_the_levels():
    counts = counter()
    assert str(counts.mechanism) == COST
    assert counts.mechanism.basic().epsilon == 11 * Fraction("0.5")
    # Noise on whole numbers tells more than Laplace noise of the same scale: both losses have the probability of pure.
    q, order = math.exp(-0.5), 8
    loss = math.log((math.exp(0.5 * (order - 1)) + math.exp(-0.5 * order)) / (1 + q)) / (order - 1)
    cost = Mechanism("pure(epsilon=0.5)").curve([order])[order]
    assert cost is not None
    assert loss <= float(cost) <= loss * (1 + 1e-9)
    laplace = Mechanism.laplace(scale=2).curve([order])[order]
    assert laplace is not None
    assert laplace < cost


def test_a_counter_goes_on_from_its_state():
    straight, resumed, randbelow = counter(3), counter(3), seeded(99)
    resumed._randbelow = straight._randbelow
    for tick in range(37):
        # One source for both: it is set back after the first.
        state = tick
        straight._randbelow = resumed._randbelow = seeded(state)
        first = straight.tick(tick)
        resumed._randbelow = seeded(state)
        assert resumed.tick(tick) == first
        resumed = UserCounter.from_json(resumed.to_json(), randbelow=randbelow)
        assert resumed.count == first
    assert json.loads(resumed.to_json()) == json.loads(straight.to_json())


def test_a_state_tells_its_secrets_apart():
    counts = counter()
    for _ in range(5):
        counts.tick(7)
    state = json.loads(counts.to_json())
    assert state["secret"] == {"exact": {"0": 7, "2": 28}}
    assert state["noisy"] != state["secret"]["exact"]


@pytest.mark.parametrize(
    ("change", "problem"),
    [
        ({"format": 2}, "format 2"),
        ({"tick": 6}, "sums of tick 6"),
        ({"tick": -1}, "tick: -1"),
        ({"noisy": {}}, "sums of tick 5"),
        ({"secret": {}}, "can't be read"),
        ({"horizon": 4}, "tick: 5"),
        ({"beta": "0"}, "beta"),
    ],
)
def test_a_state_that_is_not_right_is_refused(change, problem):
    counts = counter()
    for _ in range(5):
        counts.tick(7)
    with pytest.raises(CounterError, match=problem):
        UserCounter.from_json(json.dumps(json.loads(counts.to_json()) | change))


def test_text_that_is_no_state_is_refused():
    for text in ["", "[]", "null", "{}"]:
        with pytest.raises(CounterError):
            UserCounter.from_json(text)


@pytest.mark.parametrize(
    ("wrong", "problem"),
    [
        ({"horizon": 0}, "horizon"),
        ({"horizon": True}, "horizon"),
        ({"epsilon": "0"}, "epsilon"),
        ({"epsilon": 0.5}, "float"),
        ({"beta": 0.5}, "float"),
        ({"beta": "x"}, "beta"),
        ({"beta": "0.9"}, "beta"),
        ({"start": -1}, "start"),
    ],
)
def test_parameters_out_of_range_are_refused(wrong, problem):
    with pytest.raises(ValueError, match=problem):
        counter(**wrong)


def test_users_are_whole_numbers_and_the_horizon_ends():
    counts = counter(horizon=1)
    for wrong in (-1, 1.5, True, None):
        with pytest.raises(CounterError, match="new_users"):
            counts.tick(wrong)  # pyright: ignore[reportArgumentType]
    counts.tick(50)
    with pytest.raises(CounterError, match=f"another counter with start={counts.count.at_least}"):
        counts.tick(1)


class TestFile:
    OPTIONS = {"horizon": 1024, "epsilon": "0.5", "beta": "0.05"}  # noqa: RUF012

    def test_each_count_is_on_the_disk_before_it_is_told(self, tmp_path):
        file = tmp_path / "users.json"
        with UserCounter.open(file, **self.OPTIONS, start=3) as counts:
            first = counts.tick(20, label="monday")
            assert UserCounter.from_json(file.read_text()).count == first
        assert file.stat().st_mode & 0o077 == 0
        with UserCounter.open(file, **self.OPTIONS) as again:
            assert again.count == first
            assert again.start == 3

    def test_a_tick_that_is_tried_again_counts_nobody_twice(self, tmp_path):
        file = tmp_path / "users.json"
        with UserCounter.open(file, **self.OPTIONS) as counts:
            first = counts.tick(20, label="monday")
        with UserCounter.open(file, **self.OPTIONS) as again:
            assert again.tick(20, label="monday") == first
            assert again.tick(20, label="tuesday").tick == 2

    def test_one_program_has_it_at_a_time(self, tmp_path):
        file = tmp_path / "users.json"
        with UserCounter.open(file, **self.OPTIONS), pytest.raises(CounterError, match="another program"):
            UserCounter.open(file, **self.OPTIONS)

    def test_its_parameters_never_change(self, tmp_path):
        file = tmp_path / "users.json"
        UserCounter.open(file, **self.OPTIONS).close()
        with pytest.raises(CounterError, match="epsilon 0.5, and not 0.25"):
            UserCounter.open(file, **{**self.OPTIONS, "epsilon": "0.25"})

    def test_after_close_nothing_is_counted(self, tmp_path):
        counts = UserCounter.open(tmp_path / "users.json", **self.OPTIONS)
        counts.close()
        with pytest.raises(CounterError, match="was closed"):
            counts.tick(1)

    def test_a_count_that_can_t_be_written_was_not_made(self, tmp_path, monkeypatch):
        file = tmp_path / "users.json"
        with UserCounter.open(file, **self.OPTIONS) as counts:
            with monkeypatch.context() as patched:
                patched.setattr("os.fsync", lambda descriptor: (_ for _ in ()).throw(OSError("the disk is full")))
                with pytest.raises(OSError, match="full"):
                    counts.tick(20)
            assert counts.count.tick == 0
            assert counts.tick(20).tick == 1


class TestPublish:
    def cluster(self, count=100, cost=COST, **spec):
        made = FakeCluster()
        counted = {"counted": {"budget": {"mechanism": cost}}} if cost else {}
        dataset = {"blocks": {"users": {"bucketSize": 100, "count": count, **counted}}, "privacyUnit": "User", **spec}
        made.objects[DATASETS, "data", "orders"] = {
            "metadata": {"name": "orders", "uid": "d", "resourceVersion": "1"},
            "spec": dataset,
        }
        return made

    def block(self, cluster, number, **spec):
        name = f"orders-users-{number}"
        portion = {"firstUser": 100 * number, "endUser": 100 * number + 100}
        block = {"metadata": {"name": name}, "spec": {"dataset": "orders", "portion": portion, **spec}}
        cluster.objects[BLOCKS, "data", name] = block
        return {"name": name}

    def count(self, cluster):
        return cluster.objects[DATASETS, "data", "orders"]["spec"]["blocks"]["users"]["count"]

    def counted(self, **more):
        counts = counter(**more)
        counts.tick(5000)
        return counts

    def publish(self, counts, cluster, **more):
        return counts.publish("data/orders", cluster=cluster, progress=False, **more)

    def test_blocks_that_paid_as_they_came_need_no_claim(self):
        cluster, counts = self.cluster(), self.counted()
        self.block(cluster, 0, spent={"budget": {"mechanism": COST}})
        assert self.publish(counts, cluster) == counts.count.at_least == self.count(cluster)
        assert not cluster.claims()

    def test_a_count_never_falls(self):
        cluster = self.cluster(count=1_000_000)
        assert self.publish(self.counted(), cluster) == 1_000_000
        assert "patch" not in cluster.requests

    @pytest.mark.parametrize("cost", [None, "10*pure(epsilon=0.5)", "11*laplace(scale=2)"])
    def test_nothing_is_published_for_which_blocks_to_come_would_not_pay(self, cost):
        cluster = self.cluster(cost=cost)
        with pytest.raises(CounterNotCharged, match=r'mechanism: "11\*pure\(epsilon=0.5\)"'):
            self.publish(self.counted(), cluster)
        assert self.count(cluster) == 100

    @pytest.mark.parametrize("composition", ["Basic", "Renyi"])
    def test_more_than_it_costs_is_enough(self, composition):
        cluster = self.cluster(cost="12*pure(epsilon=0.5) + laplace(scale=9)", composition=composition)
        assert self.publish(self.counted(), cluster) > 100

    def test_a_curve_that_covers_it_is_enough(self):
        cluster = self.cluster(orders=[2, 4])
        budget = cluster.objects[DATASETS, "data", "orders"]["spec"]["blocks"]["users"]["counted"]["budget"]
        del budget["mechanism"]
        budget["renyi"] = [{"order": "2", "epsilon": "5"}, {"order": "4", "epsilon": "5.5"}]
        assert self.publish(self.counted(), cluster) > 100
        budget["renyi"][1]["epsilon"] = "1"
        with pytest.raises(CounterNotCharged):
            self.publish(self.counted(), cluster)

    def test_blocks_that_have_not_paid_pay_by_a_claim_before_the_count_is_published(self):
        cluster, counts = self.cluster(), self.counted()
        granted = [self.block(cluster, 0), self.block(cluster, 1)]
        at_consumption = []
        patch = cluster.patch

        def watched(kind, namespace, name, body):
            at_consumption.append((kind, self.count(cluster)))
            return patch(kind, namespace, name, body)

        cluster.patch = watched
        cluster.script = [
            {"phase": "Granted", "blockCount": 2, "blocks": granted, "sequence": 4},
            {"phase": "Consumed", "sequence": 5},
        ]
        assert self.publish(counts, cluster) == counts.count.at_least
        assert [kind for kind, _ in at_consumption] == ["privacybudgetclaims", DATASETS]
        assert at_consumption[0][1] == 100
        [claim] = cluster.claims().values()
        assert claim["spec"]["budget"] == {"mechanism": COST}
        assert claim["spec"]["consume"] == {"all": True}
        # They have paid for the whole horizon.
        counts = UserCounter.from_json(counts.to_json())
        counts.tick(1000)
        self.publish(counts, cluster)
        assert len(cluster.claims()) == 1

    def test_nothing_is_published_without_the_claim(self):
        cluster = self.cluster()
        self.block(cluster, 0)
        cluster.script = [{"phase": "Denied", "reason": "TooLarge", "message": "it lacks", "sequence": 4}]
        with pytest.raises(ClaimDenied):
            self.publish(self.counted(), cluster)
        assert self.count(cluster) == 100

    def test_a_claim_that_misses_a_block_is_given_back(self):
        cluster, counts = self.cluster(), self.counted()
        granted = [self.block(cluster, 0)]
        self.block(cluster, 1)
        cluster.script = [
            {"phase": "Granted", "blockCount": 1, "blocks": granted, "sequence": 4},
            {"phase": "Released", "sequence": 5},
        ]
        with pytest.raises(CounterNotCharged, match="not orders-users-1"):
            self.publish(counts, cluster, blocks="block.bucket < 1")
        assert self.count(cluster) == 100
        assert not cluster.claims()

    def test_who_was_there_before_the_start_is_not_charged(self):
        cluster = self.cluster(count=250)
        self.block(cluster, 0)
        self.block(cluster, 1)
        assert self.publish(self.counted(start=250), cluster) > 250
        assert not cluster.claims()

    def test_a_dataset_without_buckets_is_refused(self):
        with pytest.raises(CounterError, match="no buckets of users"):
            self.publish(self.counted(), self.cluster(privacyUnit="Event"))

    def test_a_dataset_that_is_not_there_is_an_error(self):
        with pytest.raises(privatekube.ClusterError, match="not found"):
            self.publish(self.counted(), FakeCluster())

    def test_an_api_server_without_an_answer_is_asked_again(self):
        cluster = self.cluster()
        cluster.faults = {"get": [ApiFailure(0, "lost")], "patch": [(ApiFailure(0, "lost"), "after")]}
        assert self.publish(self.counted(), cluster) == self.count(cluster)
