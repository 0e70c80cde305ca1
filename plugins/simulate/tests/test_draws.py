import numpy as np
from brainlens_simulate.draws import Draws


def test_the_same_generator_gives_the_same_numbers_across_blocks() -> None:
    first, second = (Draws(np.random.default_rng(1)) for _ in range(2))
    assert [first.unit() for _ in range(700)] == [second.unit() for _ in range(700)]


def test_choices_are_equally_likely_and_chances_as_said() -> None:
    draws = Draws(np.random.default_rng(2))
    picked = [draws.pick("abc") for _ in range(6000)]
    # Five standard errors of a share of 1/3 among 6,000.
    assert all(abs(picked.count(letter) / 6000 - 1 / 3) < 0.03 for letter in "abc")
    assert abs(sum(draws.chance(0.2) for _ in range(6000)) / 6000 - 0.2) < 0.026


def test_numbers_between_two_bounds_fill_the_range() -> None:
    draws = Draws(np.random.default_rng(3))
    values = np.array([draws.between(-2, 3) for _ in range(3000)])
    assert values.min() >= -2
    assert values.max() < 3
    assert abs(values.mean() - 0.5) < 0.15
