import numpy as np
import pytest
from brainlens_retrieval.params import TransductiveParams
from brainlens_retrieval.transductive import correct, csls, query_softmax

import brainlens


def corrected(ranking, **params):
    return correct(ranking, params=TransductiveParams(**params), context=brainlens.Context())


def with_hub(n: int = 40, seed: int = 0) -> np.ndarray:
    """Similarities of trials to candidates, of which the first is close to every trial."""
    rng = np.random.default_rng(seed)
    similarity = 0.1 * rng.standard_normal((n, n)) + 0.3 * np.eye(n)
    similarity[:, 0] += 0.5
    return similarity


@pytest.mark.parametrize("method", ["csls", "query-softmax"])
def test_hubs_are_pushed_back_and_the_result_says_how(as_ranking, method):
    plain = as_ranking(with_hub(), np.arange(40))
    better = corrected(plain, method=method, n_neighbours=5)
    brainlens.validate(better, "ranking.v1")
    assert (better["rank"] == 1).mean() > (plain["rank"] == 1).mean() + 0.3
    assert better.attrs["metric"] == f"transductive {method} of correlation"
    np.testing.assert_array_equal(better["stimulus_id"], plain["stimulus_id"])


def test_it_depends_on_the_other_trials(as_ranking):
    """Which is why it is named so: a part of the trials is ranked otherwise than the same trials among all."""
    whole = corrected(as_ranking(with_hub(), np.arange(40)))
    part = corrected(as_ranking(with_hub()[:20], np.arange(20)))
    assert not np.allclose(part["similarity"], whole["similarity"][:20])


def test_csls_is_its_formula():
    similarity = np.random.default_rng(1).standard_normal((5, 7))
    found = csls(similarity, n_neighbours=2)
    for row in range(5):
        for column in range(7):
            expected = (
                2 * similarity[row, column]
                - np.sort(similarity[row])[-2:].mean()
                - np.sort(similarity[:, column])[-2:].mean()
            )
            assert found[row, column] == pytest.approx(expected)


def test_shares_of_a_candidate_sum_to_one():
    found = query_softmax(1000 * np.random.default_rng(2).standard_normal((6, 4)), temperature=0.5)
    np.testing.assert_allclose(np.exp(found).sum(axis=0), 1)


def test_a_likelihood_is_one_no_more(as_ranking):
    ranking = as_ranking(with_hub(), np.arange(40)).assign_attrs(likelihood=1)
    assert "likelihood" not in corrected(ranking).attrs


def test_what_is_asked_wrongly_is_refused(as_ranking):
    ranking = as_ranking(with_hub(6), np.arange(6))
    with pytest.raises(brainlens.ParameterError, match="at most the 6 there are of 6 trials and 6 candidates, found 7"):
        corrected(ranking, n_neighbours=7)
    with pytest.raises(brainlens.DimensionError, match="know nothing of other trials, found 'transductive csls of"):
        corrected(corrected(ranking, n_neighbours=2), n_neighbours=2)
