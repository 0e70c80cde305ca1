import shutil
from collections.abc import Callable
from functools import partial
from pathlib import Path

import numpy as np
import pytest
import torch
import xarray as xr
from brainlens_mini.generator import choose_seeds, generate, load_pipeline, noise_seeds
from brainlens_mini.params import GenerateParams
from brainlens_mini.weights import WEIGHTS, own_folder
from safetensors.torch import load_file, save_file

import brainlens

Make = Callable[..., xr.Dataset]


@pytest.fixture
def embedding(embedding_of: Make) -> xr.Dataset:
    return embedding_of(np.random.default_rng(0).standard_normal((5, 16)), "tiny-clip")


@pytest.fixture
def initial(embedding: xr.Dataset) -> xr.Dataset:
    pixels = np.random.default_rng(1).integers(0, 256, (5, 32, 32, 3), dtype=np.uint8)
    labels = dict.fromkeys(("trial", "stimulus_id"), ("trial", embedding["stimulus"].values))
    return xr.Dataset({"image": (("trial", "y", "x", "rgb"), pixels)}, labels, {"schema": "image.v1"})


def paint(folder: Path, embedding: xr.Dataset, initial: xr.Dataset | None = None, **more: object) -> xr.Dataset:
    params = GenerateParams(folder=str(folder), n_steps=3, **more)  # type: ignore[arg-type]
    return generate(embedding=embedding, initial=initial, params=params, context=brainlens.Context(seed=2))


def test_images_follow_their_schema(pipeline_folder: Path, embedding: xr.Dataset) -> None:
    made = paint(pipeline_folder, embedding)
    brainlens.validate(made, "image.v1")
    assert made["image"].shape == (5, 32, 32, 3)
    assert made["trial"].values.tolist() == embedding["stimulus"].values.tolist()


def test_an_image_is_the_same_alone_and_in_a_batch(pipeline_folder: Path, embedding: xr.Dataset) -> None:
    whole = paint(pipeline_folder, embedding, n_candidates=3, batch_size=16)
    split = paint(pipeline_folder, embedding, n_candidates=3, batch_size=2)
    np.testing.assert_array_equal(whole["noise_seed"], split["noise_seed"])
    # Rounding differs with the size of a batch, by one grey value at most.
    assert np.abs(whole["image"].astype(int) - split["image"].astype(int)).max() <= 1


def test_more_candidates_leave_the_first_as_it_is(pipeline_folder: Path, embedding: xr.Dataset) -> None:
    one, four = (paint(pipeline_folder, embedding, n_candidates=count) for count in (1, 4))
    assert np.abs(one["image"].astype(int) - four["image"].isel(candidate=0).astype(int)).max() <= 1
    assert not np.array_equal(four["image"].isel(candidate=0), four["image"].isel(candidate=1))


def test_seeds_differ_between_trials_and_candidates() -> None:
    seeds = noise_seeds(brainlens.Context(seed=1), 50, 8)
    assert len(np.unique(seeds)) == 400


@pytest.mark.parametrize("n_candidates", [1, 3])
def test_one_item_is_painted_again_alone_by_the_seed_it_was_given(
    pipeline_folder: Path, embedding: xr.Dataset, tmp_path: Path, n_candidates: int
) -> None:
    whole = paint(pipeline_folder, embedding, n_candidates=n_candidates)
    seeds = whole["noise_seed"]
    dims = ("stimulus", "candidate")[: seeds.ndim]
    registry = brainlens.open(tmp_path / "study.zarr", quiet=True)
    registry.put("embedding", embedding.assign_coords(noise_seed=(dims, seeds.values)))
    alone = paint(pipeline_folder, registry["embedding"].isel(stimulus=[3]), n_candidates=n_candidates)
    np.testing.assert_array_equal(alone["noise_seed"], seeds.isel(trial=[3]))
    assert np.abs(alone["image"].astype(int).values - whole["image"].isel(trial=[3]).astype(int).values).max() <= 1
    without = paint(pipeline_folder, embedding.isel(stimulus=[3]), n_candidates=n_candidates)
    assert np.abs(without["image"].astype(int).values - alone["image"].astype(int).values).max() > 1


def test_seeds_that_do_not_fit_are_refused(embedding: xr.Dataset) -> None:
    context = brainlens.Context()
    for seeds in (("stimulus", np.arange(5)), (("candidate", "stimulus"), np.zeros((2, 5), int)), ((), 7)):
        with pytest.raises(brainlens.DimensionError, match=r"dims \(stimulus\) or .* with 2 for each stimulus"):
            choose_seeds(embedding.assign_coords(noise_seed=seeds), context, 2)
    for wrong in ([-1, 0, 1, 2, 3], [0.5] * 5):
        with pytest.raises(brainlens.ParameterError, match=r"noise_seed .*: expected whole numbers from 0 to 2\*\*63"):
            choose_seeds(embedding.assign_coords(noise_seed=("stimulus", wrong)), context, 1)


def test_an_initial_image_is_seen(pipeline_folder: Path, embedding: xr.Dataset, initial: xr.Dataset) -> None:
    free = paint(pipeline_folder, embedding)["image"]
    started = paint(pipeline_folder, embedding, initial, strength=0.4)["image"]
    whole = paint(pipeline_folder, embedding, initial, strength=1.0)["image"]
    assert not np.array_equal(started, free)
    assert np.abs(whole.astype(int) - free.astype(int)).max() <= 1


def test_the_variant_that_was_chosen_is_painted(
    pipeline_folder: Path, embedding_of: Make, variants_of: Make, embedding: xr.Dataset
) -> None:
    decoded = embedding_of(embedding["embedding"].values, "tiny-clip", dim="trial")
    other = decoded.assign(embedding=-decoded["embedding"])
    made = paint(
        pipeline_folder, variants_of({"retrieval": other, "reconstruction": decoded}), variant="reconstruction"
    )
    assert made.attrs["variant"] == "reconstruction"
    brainlens.validate(made, "image.v1")
    xr.testing.assert_equal(made, paint(pipeline_folder, decoded))


def test_variants_without_a_choice_are_refused_before_weights_are_looked_for(
    tmp_path: Path, embedding: xr.Dataset, variants_of: Make
) -> None:
    several = variants_of({"retrieval": embedding, "reconstruction": embedding})
    with pytest.raises(brainlens.ParameterError, match="the 2 that embedding has, 'retrieval', 'reconstruction', fou"):
        paint(tmp_path / "none", several)


def test_embeddings_of_another_width_are_refused(embedding_of: Make, pipeline_folder: Path) -> None:
    wrong = embedding_of(np.zeros((2, 12)), "other")
    with pytest.raises(brainlens.DimensionError, match=r"with 16 channels, found .*'channel': 12.* of model 'other'"):
        paint(pipeline_folder, wrong)


def test_embeddings_of_another_model_are_refused_by_the_own_generator(embedding_of: Make) -> None:
    wrong = embedding_of(np.zeros((2, 256)), "ViT-L-14")
    with pytest.raises(brainlens.DimensionError) as caught:
        generate(embedding=wrong, initial=None, params=GenerateParams(), context=brainlens.Context())
    assert str(caught.value) == (
        "embedding: expected dims (trial or stimulus, channel) with 256 channels of model 'mini-clip', found "
        "{'stimulus': 2, 'channel': 256} of model 'ViT-L-14'. Decode to embeddings that 'mini.image' makes."
    )


def test_the_own_generator_paints_and_says_its_name(embedding_of: Make) -> None:
    rows = np.random.default_rng(0).standard_normal((2, 256)) / 16
    made = generate(
        embedding=embedding_of(rows, "mini-clip"), initial=None, params=GenerateParams(n_steps=2),
        context=brainlens.Context(),
    )  # fmt: skip
    brainlens.validate(made, "image.v1")
    assert made["image"].shape == (2, 64, 64, 3)
    assert made.attrs["model"] == "mini-generator"


def test_altered_weights_of_the_own_generator_are_not_opened(
    embedding_of: Make, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    shutil.copytree(WEIGHTS / "generator", tmp_path / "generator")
    with (tmp_path / "generator/movq/diffusion_pytorch_model.safetensors").open("ab") as file:
        file.write(b"0")
    opened: list[Path] = []
    monkeypatch.setattr("brainlens_mini.generator.own_folder", partial(own_folder, weights=tmp_path))
    monkeypatch.setattr("brainlens_mini.generator.load_pipeline", lambda folder, context: opened.append(folder))
    wanted = embedding_of(np.zeros((2, 256)), "mini-clip")
    with pytest.raises(brainlens.CheckpointError, match=r"generator/movq/.* the file was altered. Nothing was loaded"):
        generate(embedding=wanted, initial=None, params=GenerateParams(), context=brainlens.Context())
    assert opened == []


def test_initial_images_of_another_size_are_refused(
    pipeline_folder: Path, embedding: xr.Dataset, initial: xr.Dataset
) -> None:
    with pytest.raises(brainlens.DimensionError, match="with 32 x 32 pixels, found"):
        paint(pipeline_folder, embedding, initial.isel(y=slice(16)))


def test_initial_images_of_other_trials_are_refused(
    pipeline_folder: Path, embedding: xr.Dataset, initial: xr.Dataset
) -> None:
    with pytest.raises(brainlens.DimensionError, match="in the same order, found 5 trials, the first 's4'"):
        paint(pipeline_folder, embedding, initial.isel(trial=slice(None, None, -1)))


def test_a_folder_that_is_no_pipeline_is_refused(tmp_path: Path, context: brainlens.Context) -> None:
    (tmp_path / "model_index.json").write_text('{"_class_name": "KandinskyV22Pipeline"}')
    with pytest.raises(brainlens.CheckpointError, match="expected a Kandinsky 2.2 decoder pipeline, found one that"):
        load_pipeline(tmp_path, context)


@pytest.mark.parametrize("part", ["unet", "movq"])
@pytest.mark.parametrize("change", ["missing", "extra"])
def test_a_pipeline_that_lacks_weights_or_has_too_many_is_refused(
    pipeline_folder: Path, tmp_path: Path, embedding: xr.Dataset, part: str, change: str
) -> None:
    folder = shutil.copytree(pipeline_folder, tmp_path / "changed")
    (file,) = (folder / part).glob("*.safetensors")
    weights = load_file(file)
    if change == "missing":
        del weights[sorted(weights)[0]]
    else:
        weights["surplus"] = torch.zeros(1)
    save_file(weights, file, metadata={"format": "pt"})
    what = "1 without weights" if change == "missing" else "1 that the network lacks: 'surplus'"
    with pytest.raises(brainlens.CheckpointError, match=f"expected weights for every part .* found {what}"):
        paint(folder, embedding)
