"""Adapters against the real libraries: the curve of what an adapter makes is never below the library's own, and close to it.

Opacus and JAX Privacy are installed without PyTorch and JAX, which are hundreds of megabytes and have no part in
accounting: small stand-ins replace what their accountants import of these.
"""

# OpenDP's prelude is what it tells its users to import.
# pyright: reportPrivateImportUsage=false

import importlib
import importlib.util
import math
import sys
import types

import dp_accounting
import numpy as np
import opendp.prelude as dp
import pytest
from dp_accounting import dp_event, rdp
from privatekube import DEFAULT_ORDERS, Curve, Mechanism, MechanismError, NoCounterpart
from privatekube.adapters import dp_accounting as from_google
from privatekube.adapters import jax_privacy as from_jax
from privatekube.adapters import opacus as from_opacus
from privatekube.adapters import opendp as from_opendp

ORDERS = [float(order) for order in DEFAULT_ORDERS]
WHOLE = [order for order in ORDERS if order == int(order)]
Relation = dp_accounting.NeighboringRelation
Gaussian, Laplace, Poisson = dp_event.GaussianDpEvent, dp_event.LaplaceDpEvent, dp_event.PoissonSampledDpEvent
Repeated, Composed = dp_event.SelfComposedDpEvent, dp_event.ComposedDpEvent


def assert_covers(mechanism, theirs, orders, near=1e-6):
    """Ours is never below theirs, but for the rounding of their floats, and no more than a small part above."""
    ours = mechanism.curve(orders)
    for order, their in zip(orders, theirs, strict=True):
        our = ours[order]
        assert our is not None
        assert float(our) >= their * (1 - 1e-9) - 1e-13, f"order {order}: {our} is below {their}"
        assert float(our) <= their * (1 + near) + 1e-10, f"order {order}: {our} is far above {their}"


def google_curve(event, relation, orders):
    accountant = rdp.RdpAccountant(orders, relation)
    accountant.compose(event)
    return accountant._rdp


EVENTS = [
    (Gaussian(2.5), "gaussian(sigma=2.5)", Relation.ADD_OR_REMOVE_ONE),
    (Laplace(10), "laplace(scale=10)", Relation.ADD_OR_REMOVE_ONE),
    (Repeated(Laplace(10), 3), "3*laplace(scale=10)", Relation.ADD_OR_REMOVE_ONE),
    (
        Repeated(Poisson(0.01, Gaussian(1.1)), 1000),
        "dp-sgd(noise-multiplier=1.1,sample-rate=0.01,steps=1000)",
        Relation.ADD_OR_REMOVE_ONE,
    ),
    (
        Composed([Repeated(Poisson(0.01, Gaussian(1.1)), 600), Poisson(1, Gaussian(3)), dp_event.NoOpDpEvent()]),
        "dp-sgd(noise-multiplier=1.1,sample-rate=0.01,steps=600) + gaussian(sigma=3)",
        Relation.ADD_OR_REMOVE_ONE,
    ),
    (
        Composed([*([Poisson(0.01, Gaussian(1.1))] * 40), Repeated(Composed([Gaussian(2), Laplace(5)]), 2)]),
        "dp-sgd(noise-multiplier=1.1,sample-rate=0.01,steps=40) + 2*gaussian(sigma=2) + 2*laplace(scale=5)",
        Relation.ADD_OR_REMOVE_ONE,
    ),
    (
        # Floats, since dp-accounting 0.6 takes the first noise alone where it is an int.
        Poisson(0.02, Composed([Gaussian(3.0), Repeated(Gaussian(4.0), 2)])),
        None,
        Relation.ADD_OR_REMOVE_ONE,
    ),
    (dp_event.ZCDpEvent(0.05), "zcdp(rho=0.05)", Relation.ADD_OR_REMOVE_ONE),
    (dp_event.ZCDpEvent(0.05, 0.1), "zcdp(rho=0.05,xi=0.1)", Relation.ADD_OR_REMOVE_ONE),
    (
        dp_event.RandomizedResponseDpEvent(0.3, 10),
        "randomized-response(noise-probability=0.3,categories=10)",
        Relation.REPLACE_ONE,
    ),
    (
        dp_event.SingleEpochTreeAggregationDpEvent(8.83, 1600),
        "tree-aggregation(noise-multiplier=8.83,steps=1600)",
        Relation.REPLACE_SPECIAL,
    ),
    (
        Repeated(dp_event.SingleEpochTreeAggregationDpEvent(8.83, [3, 100, 7]), 2),
        "2*tree-aggregation(noise-multiplier=8.83,steps=100)",
        Relation.REPLACE_SPECIAL,
    ),
]


@pytest.mark.parametrize(("event", "text", "relation"), EVENTS, ids=lambda each: type(each).__name__)
def test_events_of_dp_accounting_cost_what_its_accountant_says(event, text, relation):
    mechanism = from_google.from_event(event)
    if text is not None:
        assert mechanism == Mechanism.parse(text)
    # At fractional orders dp-accounting publishes too much for sampled Gaussians (docs/mechanisms.md).
    orders = WHOLE if "dp-sgd" in str(mechanism) else ORDERS
    assert_covers(mechanism, google_curve(event, relation, orders), orders)


def test_sampled_gaussians_at_fractional_orders_are_near():
    event = Repeated(Poisson(0.01, Gaussian(1.1)), 1000)
    theirs = google_curve(event, Relation.ADD_OR_REMOVE_ONE, [1.5, 2.5])
    ours = from_google.from_event(event).curve([1.5, 2.5])
    for our, their in zip(ours.values(), theirs, strict=True):
        assert their * 0.9 <= float(our or math.inf) <= their * (1 + 1e-6)


def test_randomized_response_takes_the_relation():
    event = dp_event.RandomizedResponseDpEvent(0.3, 10)
    mechanism = from_google.from_event(event, neighbours="replace-special")
    assert_covers(mechanism, google_curve(event, Relation.REPLACE_SPECIAL, ORDERS), ORDERS)


def test_discrete_laplace_is_covered_by_its_pure_epsilon():
    mechanism = from_google.from_event(Repeated(dp_event.DiscreteLaplaceDpEvent(0.1, 3), 2))
    assert str(mechanism) == "2*pure(epsilon=0.300000000001)"
    # The divergences of DLap(0.1) from itself, moved by 3, as sums.
    support = np.arange(-4000, 4001)
    log_mass = -0.1 * np.abs(support) + math.log(math.tanh(0.05))
    moved = -0.1 * np.abs(support - 3) + math.log(math.tanh(0.05))
    for order, our in mechanism.curve(ORDERS).items():
        alpha = float(order)
        exact = math.log(np.exp(alpha * moved + (1 - alpha) * log_mass).sum()) / (alpha - 1)
        assert float(our or math.inf) >= 2 * exact


def test_a_sampled_laplace_has_a_name():
    mechanism = from_google.from_event(Repeated(Poisson(0.2, Laplace(0.5)), 3))
    assert str(mechanism) == "3*subsampled-laplace(scale=0.5,sample-rate=0.2)"


@pytest.mark.parametrize(
    ("event", "name"),
    [
        (dp_event.NonPrivateDpEvent(), "NonPrivateDpEvent: is not private"),
        (dp_event.UnsupportedDpEvent(), "UnsupportedDpEvent"),
        (
            dp_event.SampledWithReplacementDpEvent(100, 10, Gaussian(1)),
            "SampledWithReplacementDpEvent.*sample by Poisson",
        ),
        (dp_event.SampledWithoutReplacementDpEvent(100, 10, Gaussian(1)), "SampledWithoutReplacementDpEvent"),
        (dp_event.RepeatAndSelectDpEvent(Gaussian(1), 2, 1), "RepeatAndSelectDpEvent"),
        (dp_event.MixtureOfGaussiansDpEvent(1.0, [1.0], [0.5]), "MixtureOfGaussiansDpEvent"),
        (dp_event.TruncatedSubsampledGaussianDpEvent(100, 0.1, 20, 1.0), "TruncatedSubsampledGaussianDpEvent"),
        (Composed([Gaussian(1), dp_event.NonPrivateDpEvent()]), "NonPrivateDpEvent"),
        (
            Poisson(0.1, dp_event.RandomizedResponseDpEvent(0.3, 10)),
            "PoissonSampledDpEvent of RandomizedResponseDpEvent",
        ),
        (Poisson(0.1, Composed([Gaussian(1), Laplace(1)])), "PoissonSampledDpEvent of LaplaceDpEvent"),
        (Poisson(0.1, Poisson(0.1, Gaussian(1))), "PoissonSampledDpEvent of PoissonSampledDpEvent"),
        (Gaussian(0), "GaussianDpEvent: has the noise 0"),
        (Laplace(0), "LaplaceDpEvent: has the noise 0"),
        (Poisson(0.1, Gaussian(0)), "GaussianDpEvent: has the noise 0"),
        (dp_event.RandomizedResponseDpEvent(0, 10), "RandomizedResponseDpEvent: has the noise 0"),
        (dp_event.ZCDpEvent(0, 0.1), "ZCDpEvent.*claim pure"),
        (dp_event.ZCDpEvent(-1), "ZCDpEvent"),
        (dp_event.NoOpDpEvent(), "NoOpDpEvent: costs nothing"),
        (Repeated(Gaussian(1), 0), "SelfComposedDpEvent: costs nothing"),
        (object(), "object: is not an event"),
    ],
)
def test_events_without_an_honest_counterpart_are_refused_by_name(event, name):
    with pytest.raises(NoCounterpart, match=name):
        from_google.from_event(event)


def test_every_event_of_the_library_is_read_or_refused():
    kinds = {name for name in dir(dp_event) if name.endswith("DpEvent") and name != "DpEvent"}
    assert kinds == set(from_google._READ) | set(from_google._REFUSED)


def without_init(name):
    """A package whose modules can be imported while its own code, which needs more, isn't run."""
    spec = importlib.util.find_spec(name)
    assert spec is not None
    package = types.ModuleType(name)
    package.__path__ = list(spec.submodule_search_locations or ())
    return package


# Opacus


@pytest.fixture
def opacus(monkeypatch):
    """The accountants of Opacus, without PyTorch."""
    package = without_init("opacus")
    optimizers = types.ModuleType("opacus.optimizers")
    vars(optimizers)["DPOptimizer"] = object
    for name, module in (("opacus", package), ("opacus.optimizers", optimizers)):
        monkeypatch.setitem(sys.modules, name, module)
    try:
        yield importlib.import_module("opacus.accountants")
    finally:
        for name in [name for name in sys.modules if name.startswith("opacus.")]:
            monkeypatch.delitem(sys.modules, name)


@pytest.mark.parametrize("kind", ["RDPAccountant", "PRVAccountant"])
def test_accountants_of_opacus_cost_what_they_say(opacus, kind):
    accountant = getattr(opacus, kind)()
    for _ in range(300):
        accountant.step(noise_multiplier=1.1, sample_rate=0.01)
    for _ in range(50):
        accountant.step(noise_multiplier=2.0, sample_rate=0.05)
    accountant.step(noise_multiplier=4.0, sample_rate=1.0)
    mechanism = from_opacus.from_accountant(accountant)
    assert str(mechanism) == (
        "dp-sgd(noise-multiplier=1.1,sample-rate=0.01,steps=300) + dp-sgd(noise-multiplier=2,sample-rate=0.05,steps=50) "
        "+ gaussian(sigma=4)"
    )
    compute = importlib.import_module("opacus.accountants.analysis.rdp").compute_rdp
    theirs = sum(
        compute(q=rate, noise_multiplier=noise, steps=steps, orders=WHOLE) for noise, rate, steps in accountant.history
    )
    assert_covers(mechanism, theirs, WHOLE)


def test_an_epsilon_of_opacus_is_the_same(opacus):
    accountant = opacus.RDPAccountant()
    for _ in range(1000):
        accountant.step(noise_multiplier=1.1, sample_rate=0.01)
    theirs = accountant.get_epsilon(1e-5, alphas=WHOLE)
    ours = from_opacus.from_accountant(accountant).epsilon("1e-5", WHOLE)
    assert ours is not None
    assert theirs <= float(ours.value) <= theirs * (1 + 1e-6)


def test_what_is_no_history_is_refused():
    with pytest.raises(NoCounterpart, match="object: has no history"):
        from_opacus.from_accountant(object())
    with pytest.raises(NoCounterpart, match="costs nothing"):
        from_opacus.from_history([])
    with pytest.raises(NoCounterpart, match="without noise above 0"):
        from_opacus.from_history([(0.0, 0.1, 3)])
    with pytest.raises(NoCounterpart, match="between 0 and 1"):
        from_opacus.from_history([(1.0, 1.5, 3)])


def test_long_histories_are_claimed_as_a_curve():
    history = [(1.0 + step / 100, 0.01, 10) for step in range(40)]
    accountant = types.SimpleNamespace(history=history)
    with pytest.raises(MechanismError, match="at most 1000 are accepted.*renyi=curve_of"):
        from_opacus.from_accountant(accountant)
    event = Composed([Repeated(Poisson(rate, Gaussian(noise)), steps) for noise, rate, steps in history])
    curve = from_opacus.curve_of(accountant, WHOLE)
    assert curve == from_google.curve_of(event, WHOLE)
    theirs = google_curve(event, Relation.ADD_OR_REMOVE_ONE, WHOLE)
    for our, their in zip(curve.values(), theirs, strict=True):
        assert their <= float(our or math.inf) <= their * (1 + 1e-6) + 1e-9


# JAX Privacy


def piecewise_constant_schedule(init_value, boundaries_and_scales=None):
    """What `optax.piecewise_constant_schedule` returns: a value that is multiplied at each boundary."""

    def schedule(step):
        scales = (boundaries_and_scales or {}).items()
        return init_value * math.prod(scale for boundary, scale in scales if step >= boundary)

    return schedule


@pytest.fixture
def accounting(monkeypatch):
    """The accounting of JAX Privacy, without JAX."""
    package = without_init("jax_privacy")
    chex, optax = types.ModuleType("chex"), types.ModuleType("optax")
    vars(chex)["Numeric"] = float
    vars(optax)["piecewise_constant_schedule"] = piecewise_constant_schedule
    for name, module in (("jax_privacy", package), ("chex", chex), ("optax", optax)):
        monkeypatch.setitem(sys.modules, name, module)
    try:
        yield importlib.import_module("jax_privacy.accounting")
    finally:
        for name in [name for name in sys.modules if name.startswith("jax_privacy.")]:
            monkeypatch.delitem(sys.modules, name)


def jax_parameters(accounting, **more):
    return accounting.DpParams(
        **{"noise_multipliers": 1.1, "batch_size": 256, "num_samples": 25_600, "delta": 1e-6, **more}
    )


def test_trainings_of_jax_privacy_cost_what_its_accountant_says(accounting):
    config = accounting.RdpAccountantConfig(orders=WHOLE)
    accountant = accounting.DpsgdTrainingAccountant(dp_accountant_config=config)
    for more, text in [
        ({}, "dp-sgd(noise-multiplier=1.1,sample-rate=0.01,steps=500)"),
        (
            {"noise_multipliers": [(0, 1.1), (200, 2.2)]},
            "dp-sgd(noise-multiplier=1.1,sample-rate=0.01,steps=200) + dp-sgd(noise-multiplier=2.2,sample-rate=0.01,steps=300)",
        ),
        (
            {"sampling_method": accounting.SamplingMethod.FIXED_BATCH_SIZE},
            "dp-sgd(noise-multiplier=0.55,sample-rate=0.01,steps=500)",
        ),
        ({"cycle_length": 4}, "dp-sgd(noise-multiplier=1.1,sample-rate=0.04,steps=125)"),
    ]:
        parameters = jax_parameters(accounting, **more)
        mechanism = from_jax.from_training(accountant, parameters, 500)
        assert str(mechanism) == text
        assert from_jax.from_training(accounting.DpsgdTrainingAccountant, parameters, 500) == mechanism
        assert from_jax.curve_of(accountant, parameters, 500, WHOLE) == mechanism.curve(WHOLE)
        theirs = accountant.compute_epsilon(500, parameters)
        ours = mechanism.epsilon("1e-6", WHOLE)
        assert ours is not None
        assert theirs * (1 - 1e-9) <= float(ours.value) <= theirs * (1 + 1e-6)


def test_trainings_without_counterpart_are_refused(accounting):
    with pytest.raises(NoCounterpart, match="TruncatedSubsampledGaussianDpEvent"):
        from_jax.from_training(
            accounting.DpsgdTrainingAccountant, jax_parameters(accounting, truncated_batch_size=300), 500
        )
    with pytest.raises(NoCounterpart, match="no finite guarantee"):
        from_jax.from_training(
            accounting.DpsgdTrainingAccountant, jax_parameters(accounting, is_finite_guarantee=False), 500
        )
    with pytest.raises(NoCounterpart, match="MixtureOfGaussiansDpEvent"):
        from_jax.from_training(
            accounting.DpsgdTrainingUserLevelAccountant, jax_parameters(accounting, examples_per_user=4), 500
        )
    with pytest.raises(NoCounterpart, match="costs nothing"):
        from_jax.from_training(accounting.DpsgdTrainingAccountant, jax_parameters(accounting), 0)


# OpenDP


@pytest.fixture
def measurements():
    dp.enable_features("contrib")
    space = dp.atom_domain(T=float, nan=False), dp.absolute_distance(T=float)
    return {
        "laplace": dp.m.make_laplace(*space, scale=2.0),
        "gaussian": dp.m.make_gaussian(*space, scale=2.0),
        "response": dp.m.make_randomized_response_bool(0.75),
    }


def test_measurements_of_opendp_cost_what_their_map_says(measurements):
    assert str(from_opendp.from_measurement(measurements["laplace"], 1.0)) == "pure(epsilon=0.5)"
    assert str(from_opendp.from_measurement(measurements["laplace"], 3.0)) == "pure(epsilon=1.5)"
    zcdp = from_opendp.from_measurement(measurements["gaussian"], 1.0)
    assert str(zcdp) == "zcdp(rho=0.125)"
    assert_covers(zcdp, [0.125 * order for order in ORDERS], ORDERS)
    # The epsilon of the map, rounded up to 12 decimals.
    response = from_opendp.from_measurement(measurements["response"])
    assert float(response.basic().epsilon) >= measurements["response"].map(1)
    # A pure epsilon covers what OpenDP's own Laplace noise costs.
    pure = from_opendp.from_measurement(measurements["laplace"], 1.0).curve()
    assert all(
        (ours or 0) >= (exact or 0)
        for ours, exact in zip(pure.values(), Mechanism.laplace(2).curve().values(), strict=True)
    )


def test_measurements_with_a_delta_are_refused_by_their_measure(measurements):
    approximate = dp.c.make_zCDP_to_approxDP(measurements["gaussian"])
    with pytest.raises(NoCounterpart, match="SmoothedMaxDivergence.*On a dataset with Basic composition"):
        from_opendp.from_measurement(approximate, 1.0)
    with pytest.raises(NoCounterpart, match=r"Approximate\(MaxDivergence\)"):
        from_opendp.from_measurement(dp.c.make_fix_delta(approximate, 1e-9), 1.0)
    with pytest.raises(NoCounterpart, match="costs nothing"):
        from_opendp.from_measurement(measurements["laplace"], 0.0)


def test_a_renyi_measurement_is_a_curve():
    dp.enable_features("contrib", "honest-but-curious")
    measurement = dp.m.make_user_measurement(
        dp.atom_domain(T=float, nan=False),
        dp.absolute_distance(T=float),
        dp.renyi_divergence(),
        function=lambda value: value,
        privacy_map=lambda d_in: lambda alpha: alpha * d_in / 8,
    )
    with pytest.raises(NoCounterpart, match="use curve_of"):
        from_opendp.from_measurement(measurement, 1.0)
    assert from_opendp.curve_of(measurement, 1.0, [2, 4]) == Curve({2: "0.25", 4: "0.5"})
