from typing import Any

import numpy as np
import pytest
import xarray as xr
from brainlens_evaluation.embeddings import score_embeddings
from brainlens_evaluation.params import EmbeddingParams

import brainlens


def _embeddings(
    n: int = 12, *, tokens: int = 0, noise: float = 1.0, model: str = "toy"
) -> tuple[xr.Dataset, xr.Dataset]:
    rng = np.random.default_rng(0)
    shape = (n + 3, tokens, 20) if tokens else (n + 3, 20)
    dims = ("token", "channel")[-(len(shape) - 1) :]
    seen = rng.standard_normal(shape).astype(np.float32)
    shown = rng.permutation(n)
    made = seen[shown] + noise * rng.standard_normal((n, *shape[1:])).astype(np.float32)
    names = np.array([f"s{number:02d}" for number in range(n + 3)])
    attrs = {"schema": "embedding.v1", "model": model}
    labels = {"trial": np.arange(n), "stimulus_id": ("trial", names[shown])}
    return (
        xr.Dataset({"embedding": (("trial", *dims), made)}, labels, attrs),
        xr.Dataset({"embedding": (("stimulus", *dims), seen)}, {"stimulus": names}, attrs),
    )


def _score(made: xr.Dataset, seen: xr.Dataset, floors: list[xr.Dataset] | None = None, **params: Any) -> xr.Dataset:
    found = score_embeddings(
        reconstructed=made, seen=seen, floors=floors, params=EmbeddingParams(**params), context=brainlens.Context()
    )
    brainlens.validate(found, "score")
    return found


@pytest.mark.parametrize("tokens", [0, 3])
@pytest.mark.parametrize("batch_size", [5, 256])
def test_it_is_the_published_definition(tokens: int, batch_size: int) -> None:
    made, seen = _embeddings(tokens=tokens)
    found = _score(made, seen, batch_size=batch_size)
    ours = made["embedding"].values.reshape(12, -1)
    theirs = seen["embedding"].sel(stimulus=made["stimulus_id"].values).values.reshape(12, -1)
    r = np.corrcoef(theirs, ours)[:12, 12:]
    values = found["value"].sel(source="reconstructed")
    np.testing.assert_allclose(values.sel(metric="judge"), (r < np.diag(r)).sum(axis=0) / 11, atol=1e-6)
    np.testing.assert_allclose(values.sel(metric="judge_distance"), 1 - np.diag(r), atol=1e-6)
    assert found["better"].values.tolist() == ["higher", "lower"]
    assert found["chance"].values[0] == 0.5


def test_distractors_are_stimuli_of_the_trials_only() -> None:
    made, seen = _embeddings()
    fewer = seen.sel(stimulus=np.unique(made["stimulus_id"].values)[::-1])
    np.testing.assert_array_equal(_score(made, seen)["value"], _score(made, fewer)["value"])


def test_the_metric_has_the_name_that_it_is_given() -> None:
    found = _score(*_embeddings(), metric="dino")
    assert found["metric"].values.tolist() == ["dino", "dino_distance"]
    assert found["layer"].values.tolist() == ["toy", "toy"]


def test_floors_are_joined_by_trial() -> None:
    made, seen = _embeddings()
    floor = made.isel(trial=slice(None, None, -1))
    found = _score(made, seen, [floor], floor_names=("again",))
    np.testing.assert_array_equal(found["value"].sel(source="again"), found["value"].sel(source="reconstructed"))


def test_a_variant_has_to_be_chosen() -> None:
    made, seen = _embeddings()
    several = made.assign(embedding=xr.concat([made["embedding"], -made["embedding"]], "variant"))
    several = several.assign_coords(variant=["right", "wrong"])
    with pytest.raises(brainlens.ParameterError, match="variant: expected one of the 2 that reconstructed has"):
        _score(several, seen)
    found = _score(several, seen, variant="right")
    np.testing.assert_array_equal(found["value"], _score(made, seen)["value"])
    assert _score(several, seen, variant="wrong")["score"].sel(source="reconstructed", metric="judge").item() < 0.3


def test_another_model_is_refused() -> None:
    made, seen = _embeddings()
    with pytest.raises(
        brainlens.DimensionError, match="reconstructed: expected embeddings of the model of seen, 'toy', found 'other'"
    ):
        _score(made.assign_attrs(model="other"), seen)


def test_other_channels_are_refused() -> None:
    made, seen = _embeddings()
    with pytest.raises(brainlens.DimensionError, match="expected the 20 labels of 'channel' that seen has, found 19"):
        _score(made.isel(channel=slice(19)), seen)
    named = (each.assign_coords(channel=np.arange(20)) for each in (made, seen))
    ours, theirs = named
    with pytest.raises(brainlens.DimensionError, match="other ones or in another order"):
        _score(ours.isel(channel=slice(None, None, -1)), theirs)


def test_embeddings_of_other_things_are_refused() -> None:
    made, seen = _embeddings()
    with pytest.raises(
        brainlens.DimensionError, match=r"expected dims \(stimulus, channel\) of 'embedding', found \(trial, channel\)"
    ):
        _score(made, made)
    with pytest.raises(
        brainlens.DimensionError, match=r"expected dims \(trial, channel\) of 'embedding', found \(stimulus, channel\)"
    ):
        _score(seen, seen)


def test_one_stimulus_is_refused() -> None:
    made, seen = _embeddings()
    with pytest.raises(brainlens.DimensionError, match="at least 2 stimuli, found 1"):
        _score(made.isel(trial=[0]), seen)


def test_missing_stimuli_are_refused() -> None:
    made, seen = _embeddings()
    with pytest.raises(brainlens.DimensionError, match="expected the image of every stimulus of the trials"):
        _score(made, seen.isel(stimulus=slice(5)))


def test_the_judge_of_another_plugin_is_a_metric(tmp_path: Any) -> None:
    pytest.importorskip("brainlens_mini")
    rng = np.random.default_rng(0)
    pixels = rng.integers(0, 256, (6, 64, 64, 3), dtype=np.uint8)
    names = [f"s{number}" for number in range(6)]
    stimuli = xr.Dataset(
        {"image": (("stimulus", "y", "x", "rgb"), pixels)}, {"stimulus": names}, {"schema": "stimulus_image.v1"}
    )
    labels = {"trial": np.arange(6), "stimulus_id": ("trial", names)}
    made = xr.Dataset({"image": (("trial", "y", "x", "rgb"), pixels)}, labels, {"schema": "image.v1"})
    registry = brainlens.open(tmp_path / "study.zarr", quiet=True)
    registry.put("seen", stimuli)
    registry.put("made", made)
    registry.compute("mini.judge", stimuli="seen", name="judged/seen")
    registry.compute("mini.judge", images="made", name="judged/made")
    name = registry.compute("evaluation.embeddings", reconstructed="judged/made", seen="judged/seen")
    score = registry[name]["score"].sel(source="reconstructed")
    assert score.sel(metric="judge").item() == 1
    assert score.sel(metric="judge_distance").item() == pytest.approx(0, abs=1e-6)
