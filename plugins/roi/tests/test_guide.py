"""Guided images: the objective by hand, one guide for each ROI, goings-on after a kill, and what is refused.

The chain is a toy: the embedder reads the mean of each colour, the encoder is linear, and the generator takes one step
along its guide from the noise of its seed, so that everything can be written out.
"""

from __future__ import annotations

import re
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import xarray as xr
from brainlens_roi.guide import guide_images, read_activations
from brainlens_roi.guide_params import GuideParams

import brainlens

RATE = 1e-3
# An encoder that predicts the mean, and has no gradient.
DULL = """
import brainlens
import numpy as np
import xarray as xr


class Nothing(brainlens.Params):
    pass


class Dull(brainlens.Trainable):
    def fit(self, features, response):
        self.mean_ = response["response"].values.mean(axis=0)

    def predict(self, features):
        return xr.Dataset({"response": (("trial", "voxel"), np.tile(self.mean_, (features.sizes["trial"], 1)))})


@brainlens.hookimpl
def brainlens_components():
    return [
        brainlens.Component(name="dull", role="encoder", target="brainlens_dull:Dull", params=Nothing, summary="Mean.",
                            version="1")
    ]
"""
WEIGHTS = np.array([[4.0, 1.0, 0.0, 0.0, 2.0], [0.0, 0.0, 3.0, 3.0, 1.0], [1.0, -1.0, 0.0, 2.0, 0.0]])
MASK = np.array([[True, True, False, False, False], [False, False, True, True, False], [False] * 4 + [True]])
MEAN, STD = np.array([1.0, 2.0, 0.0, -1.0, 5.0]), np.array([2.0, 0.5, 1.0, 4.0, 0.0])


def frame() -> xr.Dataset:
    coords = {"voxel": np.arange(5), "roi": ["FFA", "PPA", "stuck"]}
    variables = {
        "training_mean": ("voxel", MEAN.astype(np.float32)),
        "training_std": ("voxel", STD.astype(np.float32)),
        "roi_mask": (("roi", "voxel"), MASK),
    }
    return xr.Dataset(variables, coords, {"schema": "model.v1", "subject": "s1", "simulated": "yes"})


def conditions(n_stimuli: int = 6) -> xr.Dataset:
    values = np.random.default_rng(1).standard_normal((n_stimuli, 4)).astype(np.float32)
    coords = {"stimulus": [f"s{number}" for number in range(n_stimuli)], "channel": np.arange(4)}
    return xr.Dataset(
        {"embedding": (("stimulus", "channel"), values)}, coords, {"schema": "embedding.v1", "model": "toy"}
    )


def colours(pixels: np.ndarray) -> xr.Dataset:
    labels = dict.fromkeys(("trial", "stimulus_id"), ("trial", np.arange(len(pixels))))
    return xr.Dataset({"embedding": (("trial", "channel"), pixels.mean(axis=(1, 2)))}, labels)


def look(images: xr.Dataset) -> xr.Dataset:
    return colours(images["image"].values.astype(np.float64) / 255)


def differentiate(pixels: np.ndarray) -> brainlens.Differentiated:
    n_pixels = pixels.shape[1] * pixels.shape[2]

    def pull_back(gradient: np.ndarray) -> np.ndarray:
        return np.broadcast_to(gradient[:, None, None] / n_pixels, pixels.shape)

    return brainlens.Differentiated(colours(pixels), pull_back)


def scenes(n_stimuli: int = 6) -> xr.Dataset:
    """Images of the stimuli of `conditions`, in another order and with one more."""
    names = [f"s{number}" for number in reversed(range(n_stimuli + 1))]
    pixels = np.random.default_rng(2).integers(90, 160, (len(names), 2, 2, 3), dtype=np.uint8)
    return xr.Dataset(
        {"image": (("stimulus", "y", "x", "rgb"), pixels)}, {"stimulus": names}, {"schema": "stimulus_image.v1"}
    )


class Linear:
    frame = frame()

    def predict(self, features: xr.Dataset) -> xr.Dataset:
        return xr.Dataset({"response": (("trial", "voxel"), features["embedding"].values @ WEIGHTS + MEAN)})

    def differentiate(self, features: xr.Dataset) -> brainlens.Differentiated:
        return brainlens.Differentiated(self.predict(features), lambda gradient: gradient @ WEIGHTS.T)


class Brush:
    """A generator that notes what it was given."""

    def __init__(self, *, fails_after: int = 99) -> None:
        self.seen: list[xr.Dataset] = []
        self.fails_after = fails_after

    def __call__(self, embedding: xr.Dataset, initial: xr.Dataset | None = None, guide: Any = None) -> xr.Dataset:
        if len(self.seen) == self.fails_after:
            raise KeyboardInterrupt
        self.seen.append(embedding)
        seeds = embedding["noise_seed"].values
        noise = np.stack([np.random.default_rng(seed).uniform(0.4, 0.6, (2, 2, 3)) for seed in seeds])
        if initial is not None:
            brainlens.validate(initial, "image.v1")
            for name in ("trial", "stimulus_id"):
                np.testing.assert_array_equal(initial[name], embedding[name])
            noise = initial["image"].values / 255
        pixels = noise + 4 * RATE * guide(noise) if guide is not None else noise
        labels = {name: ("trial", embedding[name].values) for name in ("trial", "stimulus_id")}
        image = (pixels.clip(0, 1) * 255).round().astype(np.uint8)
        made = xr.Dataset({"image": (("trial", "y", "x", "rgb"), image)}, labels, {"model": "brush"})
        return made.assign(noise_seed=("trial", seeds))


def guided(
    brush: Any = None,
    *,
    initial: xr.Dataset | None = None,
    scratch: Path | None = None,
    seed: int = 1,
    encoder: Any = Linear,
    **given: Any,
) -> xr.Dataset:
    context = brainlens.Context(
        seed=seed,
        scratch=scratch,
        components={"generator": brush or Brush(), "embedder": look},
        derivatives={"embedder": differentiate},
        encoders={"model": encoder},
    )
    params = GuideParams(**{"n_images": 4, "rois": ("FFA", "PPA"), "images_at_once": 3, **given})
    return guide_images(model=frame(), embedding=conditions(), initial=initial, params=params, context=context)


def activation(image: np.ndarray, weights: np.ndarray) -> np.ndarray:
    """The mean over sites in SDs, of the mean colours of images (…, y, x, rgb)."""
    return (image / 255).mean(axis=(-3, -2)) @ WEIGHTS @ weights


FFA = np.array([1 / 2 / 2, 1 / 0.5 / 2, 0, 0, 0])
PPA = np.array([0, 0, 1 / 1 / 2, 1 / 4 / 2, 0])


def test_images_are_pushed_along_the_gradient_of_their_roi() -> None:
    plain, made = guided(scale=0), guided(scale=100)
    brainlens.validate(made, "image.v1")
    assert made["image"].dims == ("roi", "candidate", "y", "x", "rgb")
    assert made["roi"].values.tolist() == ["FFA", "PPA"]
    moved = (made["image"].values.astype(float) - plain["image"].values) / 255
    for row, weights in enumerate((FFA, PPA)):
        expected = RATE * 100 * WEIGHTS @ weights
        np.testing.assert_allclose(moved[row].mean(axis=(0, 1, 2)), expected, atol=1 / 255)
    for row, weights in enumerate((FFA, PPA)):
        np.testing.assert_allclose(made["predicted"][row], activation(made["image"].values[row], weights), rtol=1e-5)
    assert made.attrs == {
        "schema": "image.v1", "model": "brush", "generator": "mini.generate", "embedder": "mini.image",
        "subject": "s1", "simulated": "yes",
    }  # fmt: skip


def test_rois_differ_by_their_guide_alone() -> None:
    made = guided(scale=0)
    np.testing.assert_array_equal(made["image"][0], made["image"][1])
    np.testing.assert_array_equal(made["noise_seed"][0], made["noise_seed"][1])
    assert len(set(made["noise_seed"].values[0].tolist())) == 4
    assert not np.array_equal(guided(scale=0, seed=2)["image"], made["image"])


def test_how_many_are_painted_at_once_makes_no_difference() -> None:
    np.testing.assert_array_equal(guided(images_at_once=1)["image"], guided(images_at_once=16)["image"])


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("FFA", FFA),
        ("FFA > PPA", FFA - PPA),
        ("0.7 FFA ; 0.3 PPA", [0.7 / 2 / 2, 0.7 / 0.5 / 2, 0.3 / 1 / 2, 0.3 / 4 / 2, 0]),
        ("FFA + PPA", [1 / 2 / 4, 1 / 0.5 / 4, 1 / 1 / 4, 1 / 4 / 4, 0]),
    ],
)
def test_the_activation_is_a_mean_in_sds(text: str, expected: Any) -> None:
    (found,) = read_activations(frame(), (text,)).values()
    np.testing.assert_allclose(found, expected)


def test_a_contrast_drives_one_and_not_the_other() -> None:
    made = guided(rois=("FFA", "FFA > PPA"), scale=100)
    both, contrast = (activation(made["image"].values[:, :], weights).mean(axis=1) for weights in (FFA, PPA))
    assert contrast[1] < contrast[0]
    assert both[0] > guided(scale=0)["predicted"].values[0].mean()


def test_the_best_of_each_roi_are_kept_in_their_order() -> None:
    whole, best = guided(n_images=6), guided(n_images=6, n_best=2)
    assert best["image"].shape == (2, 2, 2, 2, 3)
    for row in range(2):
        kept = np.sort(np.argsort(-whole["predicted"].values[row], kind="stable")[:2])
        for name in ("image", "predicted", "noise_seed"):
            np.testing.assert_array_equal(best[name][row], whole[name][row, kept])


def test_without_conditions_the_generator_gets_zeros_and_with_them_embeddings_of_stimuli() -> None:
    free, bound = Brush(), Brush()
    assert "condition" not in guided(free)
    assert not any(each["embedding"].values.any() for each in free.seen)
    made = guided(bound, conditioned=True)
    given = np.concatenate([each["embedding"].values for each in bound.seen[:2]])
    names = made["condition"].values[0].tolist()
    np.testing.assert_array_equal(given, conditions()["embedding"].sel(stimulus=names).values)
    assert made["condition"].values[1].tolist() == names


def test_no_stimulus_is_taken_twice_before_each_was_taken_once() -> None:
    made = guided(conditioned=True, n_images=14)
    taken = made["condition"].values[0].tolist()
    assert sorted(taken[:6]) == sorted(taken[6:12]) == [f"s{number}" for number in range(6)]
    assert taken[:6] != taken[6:12]
    assert len(set(taken[12:])) == 2


@pytest.mark.parametrize("conditioned", [False, True])
def test_images_of_stimuli_are_changed_along_the_gradient(conditioned: bool) -> None:
    made = guided(initial=scenes(), scale=100, conditioned=conditioned)
    names = made["condition"].values[0].tolist()
    assert made["condition"].values[1].tolist() == names
    before = scenes()["image"].sel(stimulus=names).values.astype(float)
    for row, weights in enumerate((FFA, PPA)):
        moved = (made["image"].values[row] - before) / 255
        np.testing.assert_allclose(
            moved.mean(axis=(1, 2)), np.tile(RATE * 100 * WEIGHTS @ weights, (4, 1)), atol=1 / 255
        )


def test_only_the_images_that_are_started_from_are_read() -> None:
    """A stimulus that nothing is painted from may lack its image."""
    names = guided(conditioned=True)["condition"].values[0].tolist()
    few = scenes().sel(stimulus=names)
    np.testing.assert_array_equal(guided(initial=few)["image"], guided(initial=scenes())["image"])


def test_images_of_other_stimuli_are_refused() -> None:
    brush = Brush()
    text = "initial: expected an image of every stimulus that is drawn from 'embedding', found none of 4: "
    with pytest.raises(brainlens.DimensionError, match=re.escape(text)):
        guided(brush, initial=scenes().assign_coords(stimulus=[f"other{number}" for number in range(7)]))
    trials = scenes().rename(stimulus="trial")
    text = "initial: expected images of stimuli, dims (stimulus, y, x, rgb), found ('trial', 'y', 'x', 'rgb')."
    with pytest.raises(brainlens.DimensionError, match=re.escape(text)):
        guided(brush, initial=trials)
    assert brush.seen == []


def test_a_call_that_was_killed_goes_on(tmp_path: Path) -> None:
    with pytest.raises(KeyboardInterrupt):
        guided(Brush(fails_after=3), scratch=tmp_path)
    brush = Brush()
    made = guided(brush, scratch=tmp_path)
    assert len(brush.seen) == 1
    np.testing.assert_array_equal(made["image"], guided()["image"])
    np.testing.assert_array_equal(made["predicted"], guided()["predicted"])


@pytest.mark.parametrize(
    ("given", "error", "text"),
    [
        ({"rois": ("FFA2",)}, brainlens.DimensionError, "'FFA2'"),
        ({"rois": ("FFA", "FFA")}, brainlens.ParameterError, "rois: expected each once, found 'FFA' twice."),
        (
            {"rois": ("stuck",)},
            brainlens.DimensionError,
            "rois: expected sites that vary over the training trials in 'stuck', found 1 that do not: 4.",
        ),
        (
            {"rois": ("FFA > FFA",)},
            brainlens.DimensionError,
            "expected ROIs that do not overlap, found 2 voxels in both",
        ),
        (
            {"generator_params": {"variant": "prior"}},
            brainlens.ParameterError,
            "generator_params: expected no 'variant', found 'prior': the analysis decides it. Set 'n_images' beside",
        ),
    ],
)
def test_what_cannot_be_driven_is_refused(given: dict[str, Any], error: type[Exception], text: str) -> None:
    brush = Brush()
    with pytest.raises(error, match=re.escape(text)):
        guided(brush, **given)
    assert brush.seen == []


def test_a_model_without_rois_is_refused() -> None:
    text = "model: expected one that was fitted to a response with ROIs, found none. Attach ROIs to the response with"
    with pytest.raises(brainlens.DimensionError, match=re.escape(text)):
        read_activations(frame().drop_vars("roi_mask"), ())


def test_embeddings_of_trials_are_refused() -> None:
    trials = conditions().rename(stimulus="trial")
    context = brainlens.Context(encoders={"model": Linear})
    text = "embedding: expected embeddings of stimuli, dims (stimulus, ...), found ('trial', 'channel')."
    with pytest.raises(brainlens.DimensionError, match=re.escape(text)):
        guide_images(model=frame(), embedding=trials, params=GuideParams(), context=context)


def test_a_generator_with_seeds_of_its_own_is_refused() -> None:
    def forgetful(embedding: xr.Dataset, guide: Any = None) -> xr.Dataset:
        return Brush()(embedding, guide=guide).drop_vars("noise_seed")

    text = "generator: expected one that paints by the coordinate 'noise_seed' of its embeddings and returns it, found"
    with pytest.raises(brainlens.PluginError, match=re.escape(text)):
        guided(forgetful)


@pytest.fixture(scope="module")
def shelf(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where the simulated study is kept that each test gets a copy of."""
    return tmp_path_factory.mktemp("shelf") / "study.zarr"


@pytest.fixture
def simulated(shelf: Path, tmp_path: Path) -> brainlens.Registry:
    """A registry with a small simulated subject and embeddings of its scenes by real networks."""
    pytest.importorskip("brainlens_mini")
    pytest.importorskip("brainlens_simulate")
    if not shelf.exists():
        registry = brainlens.open(shelf, quiet=True)
        registry.ingest("simulate", "sim", seed=3, subject="sim", n_stimuli=120, n_shared=20, n_voxels=300)
        registry.compute("mini.image", stimuli="sim/images", name="clip", device="cpu")
        fit(registry, name="model")
    shutil.copytree(shelf, tmp_path / "study.zarr")
    return brainlens.open(tmp_path / "study.zarr", quiet=True)


def fit(registry: brainlens.Registry, encoder: str = "encoding.ridge", **given: Any) -> str:
    names = {"response": "sim/response", "features": "clip", **given}
    return registry.fit(encoder, average="stimulus_id", device="cpu", **names)


def test_from_the_registry_with_real_networks_an_roi_is_driven(simulated: brainlens.Registry) -> None:
    """Ridge on the embedded model's features guides the embedded generator; simulated."""
    registry = simulated
    given: dict[str, Any] = {"model": "model", "embedding": "clip", "rois": ("food",), "n_images": 3, "device": "cpu"}
    given["generator_params"] = {"n_steps": 6}
    plain, driven = (registry[registry.compute("roi.guide", scale=scale, **given)].load() for scale in (0, 100))
    assert (driven["predicted"].values > plain["predicted"].values).all()
    brainlens.validate(driven, "image.v1")
    given |= {"initial": "sim/images", "conditioned": True, "generator_params": {"n_steps": 6, "strength": 0.5}}
    same, changed = (registry[registry.compute("roi.guide", scale=scale, **given)].load() for scale in (0, 100))
    assert (changed["predicted"].values > same["predicted"].values).all()
    shown = registry["sim/images"]["image"].sel(stimulus=same["condition"].values[0]).values.astype(float)
    # What is changed stays closer to what was shown than what is painted from noise.
    far = [np.abs(each["image"].values[0] - shown).mean() for each in (same, changed, plain, driven)]
    assert max(far[:2]) < min(far[2:])


def numbered(registry: brainlens.Registry) -> None:
    """Store response, embeddings and images once more, with a whole number for each stimulus, as NSD has them."""
    clip, images, response = (registry[name].load() for name in ("clip", "sim/images", "sim/response"))
    number = {name: 1000 + row for row, name in enumerate(sorted(images["stimulus"].values.tolist()))}
    labels = [number[name] for name in response["stimulus_id"].values.tolist()]
    registry.put("numbered/response", response.assign_coords(stimulus_id=("trial", labels)))
    for key, each in (("clip", clip), ("images", images)):
        labels = [number[name] for name in each["stimulus"].values.tolist()]
        registry.put(f"numbered/{key}", each.assign_coords(stimulus=labels))


@pytest.mark.parametrize(("started", "conditioned"), [(False, False), (False, True), (True, False)])
def test_stimuli_may_be_whole_numbers(simulated: brainlens.Registry, started: bool, conditioned: bool) -> None:
    """Each is painted as the same stimulus with a name, and what it was painted from is a whole number again."""
    numbered(simulated)
    given: dict[str, Any] = {"rois": ("food",), "n_images": 2, "conditioned": conditioned, "device": "cpu"}
    given["generator_params"] = {"n_steps": 2, **({"strength": 0.5} if started else {})}
    made = {}
    for where, model, clip in (
        ("sim", "model", "clip"),
        ("numbered", fit(simulated, response="numbered/response", features="numbered/clip"), "numbered/clip"),
    ):
        starts = {"initial": f"{where}/images"} if started else {}
        made[where] = simulated[simulated.compute("roi.guide", model=model, embedding=clip, **starts, **given)].load()
    named, whole = made["sim"], made["numbered"]
    np.testing.assert_array_equal(whole["image"], named["image"])
    assert ("condition" in whole) == (started or conditioned)
    if "condition" in whole:
        assert whole["condition"].dtype.kind == "i"
        names = np.array(sorted(simulated["sim/images"]["stimulus"].values.tolist()))
        np.testing.assert_array_equal(names[whole["condition"].values - 1000], named["condition"].values.astype(str))


def test_a_generator_that_cannot_be_guided_is_named_and_those_that_can(simulated: brainlens.Registry) -> None:
    before = simulated.list()
    text = "roi.guide, generator: expected a component that can be guided, found 'mini.decode', which cannot. Choose "
    with pytest.raises(brainlens.ParameterError, match=re.escape(text) + ".*'mini.generate'"):
        simulated.compute("roi.guide", model="model", embedding="clip", generator="mini.decode", device="cpu")
    assert simulated.list() == before


def test_an_encoder_without_gradients_is_refused_before_anything_is_painted() -> None:
    class Dull(Linear):
        def differentiate(self, features: xr.Dataset) -> brainlens.Differentiated:
            return brainlens.Trainable.differentiate(self, features)  # type: ignore[arg-type]

    finished: list[xr.Dataset] = []

    def paint(embedding: xr.Dataset, guide: Any = None) -> xr.Dataset:
        made = Brush()(embedding, guide=guide)
        finished.append(made)
        return made

    text = "model: expected an encoder that can be differentiated, found Dull, which cannot. Fit one that can, such as"
    with pytest.raises(brainlens.ParameterError, match=re.escape(text)):
        guided(paint, encoder=Dull)
    assert finished == []
    # Without a guide it has nothing to differentiate.
    guided(paint, encoder=Dull, scale=0)
    assert finished


def test_from_the_registry_an_encoder_without_gradients_is_refused_in_one_error_and_nothing_is_stored(
    simulated: brainlens.Registry, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    site = tmp_path / "site-packages"
    info = site / "acme_dull-1.0.dist-info"
    info.mkdir(parents=True)
    (site / "brainlens_dull.py").write_text(DULL)
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: acme-dull\nVersion: 1.0\n")
    (info / "entry_points.txt").write_text("[brainlens]\ndull = brainlens_dull\n")
    monkeypatch.syspath_prepend(site)
    registry = brainlens.open(simulated.path, quiet=True)
    model = fit(registry, "dull")
    before = registry.list()
    text = "model: expected an encoder that can be differentiated, found Dull, which cannot. Fit one that can, such as"
    with pytest.raises(brainlens.ParameterError, match=f"^{re.escape(text)}"):
        registry.compute("roi.guide", model=model, embedding="clip", rois=("food",), n_images=2, device="cpu")
    assert registry.list() == before
