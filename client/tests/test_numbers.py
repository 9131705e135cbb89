"""Mechanisms, curves and amounts: the numbers of the Rust crate, and nothing lossy."""

import decimal
from decimal import Decimal
from fractions import Fraction

import pytest
from privatekube import (
    DEFAULT_ORDERS,
    AmountError,
    Curve,
    Guarantee,
    Mechanism,
    MechanismError,
    Proven,
    round_up,
)


def test_a_curve_has_the_numbers_of_the_documentation():
    mechanism = Mechanism.parse("dp-sgd(noise-multiplier=1.1,sample-rate=0.01,steps=1000) + 2*laplace(scale=10)")
    curve = mechanism.curve([1.5, "2", 4, Decimal(8)])
    assert list(curve.items()) == [
        (Decimal("1.5"), Decimal("0.110040256499")),
        (Decimal(2), Decimal("0.147798497288")),
        (Decimal(4), Decimal("0.304700744556")),
        (Decimal(8), Decimal("0.655423882391")),
    ]
    assert curve.epsilon("1e-9") == Proven(Decimal("3.185295960519"), Decimal(8))
    assert curve.epsilon("1e-9", "basic") == Proven(Decimal("3.615890430527"), Decimal(8))
    assert curve.epsilon(0) is None


def test_composition_of_mechanisms_is_composition_of_curves():
    gaussian, laplace = Mechanism.gaussian(2.5), Mechanism.laplace(scale=10)
    both = gaussian + 3 * laplace
    assert str(both) == "gaussian(sigma=2.5) + 3*laplace(scale=10)"
    assert both.curve() == gaussian.curve() + laplace.curve() + laplace.curve() + laplace.curve()
    assert str(2 * both) == "2*gaussian(sigma=2.5) + 6*laplace(scale=10)"
    assert both == Mechanism(str(both))
    assert hash(both) == hash(Mechanism(str(both)))
    assert both != gaussian


def test_a_capacity_is_that_of_a_block():
    capacity = Curve.capacity(10, "1e-7", [5, 6, 8, 16])
    assert capacity[5] == Decimal("5.97047608726")
    assert capacity.adaptive_delta(10) <= Decimal("1e-7")
    with pytest.raises(AmountError, match="delta is 0"):
        Curve.capacity(10, 0)


def test_a_cost_beyond_64_bits_is_none_and_never_a_number():
    curve = Mechanism.gaussian(1e-300).curve()
    assert set(curve.values()) == {None}
    assert curve + curve == curve
    assert curve.epsilon("1e-9") is None
    with pytest.raises(AmountError, match="over 9223372"):
        curve.to_spec()


def test_basic_composition_charges_epsilon_and_delta():
    assert Mechanism.parse("7*laplace(scale=0.1)").basic() == Guarantee(Decimal(70), Decimal(0))
    assert Mechanism.guarantee("0.3", "1e-9").basic() == Guarantee(Decimal("0.3"), Decimal("1e-9"))
    with pytest.raises(MechanismError, match="gaussian has no epsilon and delta of its own"):
        Mechanism.gaussian(2).basic()


@pytest.mark.parametrize(
    ("amount", "text"),
    [
        ("0.5", "0.5"),
        (1, "1"),
        (Decimal("1e-9"), "0.000000001"),
        (Fraction(1, 8), "0.125"),
        (Decimal("0.123456789012"), "0.123456789012"),
    ],
)
def test_exact_amounts_stay_exact(amount, text):
    assert Curve({2: amount}).to_spec() == [{"order": "2", "epsilon": text}]


def test_a_context_of_low_precision_loses_nothing():
    with decimal.localcontext(decimal.Context(prec=3)):
        curve = Curve({2: "1234567.123456789012"})
        assert curve[2] == Decimal("1234567.123456789012")
        assert Curve.from_spec(curve.to_spec()) == curve
        assert Mechanism.parse("guarantee(epsilon=0.123456789012,delta=0)").basic().epsilon == Decimal("0.123456789012")


@pytest.mark.parametrize(
    ("amount", "message"),
    [
        (
            0.1,
            r"epsilon at order 2: 0.1 is a float, which isn't exact: write '0.1' in quotes, or privatekube.round_up\(0.1\)",
        ),
        (Fraction(1, 3), "1/3 has no exact decimal with 12 decimals"),
        (True, "True is not a number"),
        ("0.1234567890123", "too many digits: at most 12 decimals are exact"),
        ("-1", "is negative"),
        (Decimal("NaN"), "is not finite"),
        (10**30, "is too large"),
    ],
)
def test_what_is_not_exact_is_refused(amount, message):
    with pytest.raises(AmountError, match=message):
        Curve({2: amount})


def test_round_up_never_goes_below():
    for value in (0.1, 0.3, 1e-13, 2.0, 123456.789):
        assert Fraction(round_up(value)) >= Fraction(value)
        assert Fraction(round_up(value)) - Fraction(value) < Fraction(1, 10**12)
    with pytest.raises(AmountError):
        round_up(float("nan"))


@pytest.mark.parametrize("order", [1, "0.5", "1.0000001", "inf", 1e300, float("nan")])
def test_what_is_no_order_is_refused(order):
    with pytest.raises(AmountError, match="not a Renyi order"):
        Mechanism.gaussian(2).curve([order])


def test_mechanisms_are_refused_in_the_words_of_the_cluster():
    for text, message in [
        ("gaussian(sigma=0)", 'sigma is "0": it must be a finite number above 0, like 2.1 or 1e3'),
        ("Gaussian(sigma=3)", '"Gaussian" is not a known mechanism: did you mean gaussian?'),
    ]:
        with pytest.raises(MechanismError) as caught:
            Mechanism.parse(text)
        assert str(caught.value) == message
    with pytest.raises(TypeError):
        Mechanism.gaussian(2) * 1.5  # pyright: ignore
    with pytest.raises(MechanismError):
        Mechanism.gaussian(2) * 0


def test_a_batch_size_becomes_a_rate():
    planned = Mechanism.dp_sgd(2, batch_size=256, steps=7000)
    assert planned.has_batch_size
    assert not planned.has_sample_rate
    run = planned.on_records(25_600)
    assert str(run) == "dp-sgd(noise-multiplier=2,sample-rate=0.01,steps=7000)"
    assert run.has_sample_rate
    epsilon = (planned.curve([2])[2], run.curve([2])[2])
    assert epsilon[0] is not None
    assert epsilon[1] is not None
    assert epsilon[0] > epsilon[1]


def test_the_default_orders_are_those_of_a_dataset():
    assert list(map(str, DEFAULT_ORDERS)) == ["1.5", "1.75", "2", "2.5", "3", "4", "5", "6", "8", "16", "32", "64"]
