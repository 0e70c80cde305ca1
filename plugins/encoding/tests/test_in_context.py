"""The in-context encoder through a registry: new subjects, long contexts, and what does not fit."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import xarray as xr
from brainlens_encoding.in_context import InContextEncoder
from brainlens_encoding.in_context_params import InContextParams

import brainlens

N_CHANNELS = 20
QUICK: dict[str, Any] = {
    "steps": 150, "width": 32, "depth": 1, "context_sizes": (5, 30), "batch_sites": 32, "n_queries": 20,
    "learning_rate": 0.01,
}  # fmt: skip


def make_subject(number: int, *, n: int = 120, n_sites: int = 40, noise: float = 1.0) -> dict[str, xr.Dataset]:
    """Sites follow the first channel or the second, more or less; nothing else."""
    rng = np.random.default_rng(number)
    features = 3 + 2 * rng.standard_normal((n, N_CHANNELS))
    weights = np.zeros((N_CHANNELS, n_sites))
    weights[:2] = rng.standard_normal((2, n_sites))
    stimuli = np.array([f"{number}-{each}" for each in range(n)], dtype=object)
    values = 10 + features @ weights + noise * rng.standard_normal((n, n_sites))
    response = xr.Dataset(
        {"response": (("trial", "voxel"), values.astype(np.float32))},
        {
            "trial": np.arange(n), "voxel": np.arange(n_sites), "stimulus_id": ("trial", stimuli),
            "split": ("trial", np.where(np.arange(n) < n - 40, "train", "test").astype(object)),
        },
        {"schema": "response.v1", "subject": f"s{number}", "units": "a.u."},
    )  # fmt: skip
    space = xr.Dataset(
        {"embedding": (("stimulus", "channel"), features.astype(np.float32))},
        {"stimulus": stimuli},
        {"schema": "embedding.v1", "model": "toy"},
    )
    return {
        "response": response,
        "features": space,
        "truth": xr.Dataset({"clean": (("trial", "voxel"), 10 + features @ weights)}),
    }


@pytest.fixture(scope="module")
def registry(tmp_path_factory: pytest.TempPathFactory) -> brainlens.Registry:
    made = brainlens.open(tmp_path_factory.mktemp("in_context") / "study.zarr", quiet=True)
    for number in range(3):
        for name, dataset in make_subject(number).items():
            if name != "truth":
                made.put(f"s{number}/{name}", dataset)
    made.fit(
        "encoding.in_context", response=["s0/response", "s1/response"], features=["s0/features", "s1/features"],
        name="prior", device="cpu", **QUICK,
    )  # fmt: skip
    return made


def few(registry: brainlens.Registry, n: int) -> str:
    """Store the first training trials of the new subject, and its test trials."""
    name = f"few/{n}"
    if name not in registry.list():
        response = registry["s2/response"].load()
        split = response["split"].values
        rows = [*np.flatnonzero(split == "train")[:n], *np.flatnonzero(split == "test")]
        registry.put(name, response.isel(trial=rows))
    return name


def read(registry: brainlens.Registry, model: str) -> np.ndarray:
    predicted = registry[registry.predict(model, features="s2/features", device="cpu")].load()
    wanted = registry["s2/response"]["stimulus_id"].values[-40:]
    return predicted.assign_coords(trial=predicted["stimulus_id"].values).sel(trial=wanted)["response"].values


def context(registry: brainlens.Registry, n: int = 20, **more: Any) -> str:
    given = {"response": few(registry, n), "features": "s2/features", "start": "prior", "device": "cpu", **QUICK}
    return registry.fit("encoding.in_context", **{**given, **more})


def explained(made: np.ndarray) -> float:
    truth = make_subject(2)["truth"]["clean"].values[-40:]
    truth, made = truth - truth.mean(axis=0), made - made.mean(axis=0)
    return float(1 - ((truth - made) ** 2).sum() / (truth**2).sum())


def test_a_new_subject_is_known_from_a_few_images_better_than_by_ridge(registry: brainlens.Registry) -> None:
    ridge = registry.fit(
        "encoding.ridge", response=few(registry, 8), features="s2/features", device="cpu", scale="space"
    )
    found, by_ridge = explained(read(registry, context(registry, 8))), explained(read(registry, ridge))
    assert found > by_ridge + 0.05
    assert found > 0.6


def test_more_images_do_not_hurt(registry: brainlens.Registry) -> None:
    scores = [explained(read(registry, context(registry, n))) for n in (5, 20, 80)]
    assert scores == sorted(scores)


def test_a_start_is_not_trained_on(registry: brainlens.Registry) -> None:
    before, after = (open_state(registry, model) for model in ("prior", context(registry)))
    for name in before.keys() & after.keys() - {"on_vertices_"}:
        np.testing.assert_array_equal(before[name], after[name])
    assert {"coef_", "intercept_"} <= after.keys() - before.keys()


def open_state(registry: brainlens.Registry, model: str) -> dict[str, np.ndarray]:
    from safetensors.numpy import load_file

    (file,) = Path(str(registry.path), *model.split("/")).glob("*.safetensors")
    return load_file(file)


def test_several_subjects_are_trained_on_from_a_start(registry: brainlens.Registry) -> None:
    more = registry.fit(
        "encoding.in_context", response=["s0/response", "s1/response"], features=["s0/features", "s1/features"],
        start="prior", device="cpu", **{**QUICK, "steps": 5},
    )  # fmt: skip
    before, after = (open_state(registry, model) for model in ("prior", more))
    np.testing.assert_array_equal(before["axes_"], after["axes_"])
    assert any(not np.array_equal(before[name], after[name]) for name in before if name.startswith("network."))


def test_more_trials_than_are_read_at_once_are_averaged_over_parts(registry: brainlens.Registry) -> None:
    whole = open_state(registry, context(registry, 40))
    halves = open_state(registry, context(registry, 40, most_context=20))
    response = registry[few(registry, 40)].load()
    parts = []
    for first in (0, 1):
        train = np.flatnonzero(response["split"].values == "train")[first::2]
        values = response["response"].values
        mean, std = values[:40].mean(axis=0), values[:40].std(axis=0)
        # Both parts are standardised by all trials of the context.
        part = response.isel(trial=train)
        registry.put(f"part/{first}", part.assign(response=(part["response"].dims, ((values[train] - mean) / std))))
        model = registry.fit(
            "encoding.in_context", response=f"part/{first}", features="s2/features", start="prior", device="cpu",
            standardize="none", **QUICK,
        )  # fmt: skip
        parts.append(open_state(registry, model)["coef_"])
    np.testing.assert_allclose(halves["coef_"], np.mean(parts, axis=0), atol=1e-5)
    assert not np.allclose(halves["coef_"], whole["coef_"], atol=1e-3)


def test_sites_may_be_read_some_at_a_time(registry: brainlens.Registry) -> None:
    whole, little = (open_state(registry, context(registry, 20, memory_mb=size)) for size in (1024.0, 0.2))
    np.testing.assert_allclose(whole["coef_"], little["coef_"], atol=1e-5)


def test_weights_are_emitted_in_units_of_responses_and_features(registry: brainlens.Registry) -> None:
    model = context(registry)
    weights = registry[registry.compute("encoding.weights", model=model)].load()
    features = registry["s2/features"]["embedding"].sel(stimulus=registry["s2/response"]["stimulus_id"].values[-40:])
    made = features.values @ weights["weights"].values + weights["intercept"].values
    np.testing.assert_allclose(made, read(registry, model), atol=1e-3)
    assert "alpha" not in weights


REFUSED = [
    (
        {"width": 16},
        brainlens.ParameterError,
        "encoding.in_context: expected the parameters width, depth, n_heads and spanned of the model that it starts",
    ),
    (
        {"features": "other/features"},
        brainlens.DimensionError,
        "start: expected features of 'toy', which the model was trained on, found 'other'.",
    ),
    (
        {"features": "wide/features"},
        brainlens.DimensionError,
        "features: expected the 20 that the encoder was fitted to, found 21.",
    ),
    (
        {"features": "tokens/features", "start": None},
        brainlens.DimensionError,
        "feature space 'tokens': expected dims (trial, channel), found (trial, token, channel). Pool the tokens",
    ),
]


@pytest.mark.parametrize(("given", "error", "text"), REFUSED)
def test_what_does_not_fit_is_refused(
    registry: brainlens.Registry, given: dict[str, Any], error: type[Exception], text: str
) -> None:
    space = make_subject(2)["features"]
    values = space["embedding"].values
    others = {
        "other/features": space.assign_attrs(model="other"),
        "wide/features": space.assign(embedding=(("stimulus", "channel"), np.c_[values, values[:, :1]])),
        "tokens/features": space.assign(
            embedding=(("stimulus", "token", "channel"), values.reshape(-1, 2, 10))
        ).assign_attrs(model="tokens"),
    }
    for name, dataset in others.items():
        if name not in registry.list():
            registry.put(name, dataset)
    with pytest.raises(error) as caught:
        context(registry, **given)
    assert str(caught.value).startswith(text)


def test_of_several_subjects_nothing_is_predicted(registry: brainlens.Registry) -> None:
    with pytest.raises(brainlens.DimensionError, match="^predict: expected a model of one subject, found 'prior' of 2"):
        registry.predict("prior", features="s2/features")


def test_training_on_one_subject_alone_is_said(caplog: pytest.LogCaptureFixture) -> None:
    rng = np.random.default_rng(0)
    shown = {"trial": np.arange(60), "stimulus_id": ("trial", np.arange(60))}
    values = rng.standard_normal((60, 3), dtype="float32")
    features = xr.Dataset({"embedding": (("trial", "channel"), values)}, shown, {"model": "toy"})
    measured = values @ rng.standard_normal((3, 8), dtype="float32")
    response = xr.Dataset({"response": (("trial", "voxel"), measured)}, shown).assign_coords(voxel=np.arange(8))
    encoder = InContextEncoder(InContextParams(steps=2, width=8, depth=1), brainlens.Context())
    encoder.fit([features], [response])
    assert "trained on the sites of one subject alone" in caplog.text
    caplog.clear()
    other = response.assign_coords(voxel=np.arange(8) + 8)
    InContextEncoder(encoder.params, brainlens.Context()).fit([features] * 2, [response, other])
    assert not caplog.text
