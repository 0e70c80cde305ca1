import numpy as np
import pytest
import xarray as xr
from brainlens_simulate.params import ScenesParams
from brainlens_simulate.render import draw_image
from brainlens_simulate.scenes import read, scene_maker, stimulus_names

import brainlens


@pytest.fixture
def made(context: brainlens.Context) -> dict[str, xr.Dataset]:
    return dict(read(params=ScenesParams(n=12), context=context))


def test_what_is_made_follows_its_schemas(made: dict[str, xr.Dataset]) -> None:
    for dataset in made.values():
        brainlens.validate(dataset, dataset.attrs["schema"])
        assert dataset.attrs["simulated"] == 1


def test_all_datasets_name_the_same_stimuli(made: dict[str, xr.Dataset], context: brainlens.Context) -> None:
    for dataset in made.values():
        np.testing.assert_array_equal(dataset["stimulus"], stimulus_names(12, 0))


def test_pixels_are_those_of_the_scene(made: dict[str, xr.Dataset], context: brainlens.Context) -> None:
    scene = scene_maker(ScenesParams(n=12), context)(7)
    np.testing.assert_array_equal(made["images"]["image"][7], draw_image(scene, 64))


def test_a_scene_depends_on_its_number_alone(context: brainlens.Context) -> None:
    few, many = (read(params=ScenesParams(n=n), context=context) for n in (3, 9))
    xr.testing.assert_equal(few["images"].load(), many["images"].isel(stimulus=slice(3)).load())
    assert few["captions"].equals(many["captions"].isel(stimulus=slice(3)))


def test_another_seed_gives_other_scenes() -> None:
    first, second = (read(params=ScenesParams(n=3), context=brainlens.Context(seed=seed)) for seed in (0, 1))
    assert not np.array_equal(first["images"]["image"], second["images"]["image"])


def test_object_maps_name_the_objects_in_the_table(made: dict[str, xr.Dataset]) -> None:
    images = made["images"].load()
    for number in range(images.sizes["stimulus"]):
        row = images.isel(stimulus=number)
        seen = set(np.unique(row["object_map"])) - {0}
        named = set(row["object"].values[row["object_concept"].values != ""].tolist())
        assert seen == named


def test_annotations_can_be_left_out(context: brainlens.Context) -> None:
    images = read(params=ScenesParams(n=2, annotate=False), context=context)["images"]
    assert "depth" not in images
    assert "object_map" not in images


def test_scenes_are_stored_while_they_are_drawn(tmp_path: object) -> None:
    registry = brainlens.open(f"{tmp_path}/study.zarr", quiet=True)
    names = registry.ingest("simulate.scenes", "scenes", n=40, seed=3)
    assert names == ["scenes/images", "scenes/captions", "scenes/factors"]
    expected = read(params=ScenesParams(n=40), context=brainlens.Context(seed=3))["images"]
    np.testing.assert_array_equal(registry["scenes/images"]["image"], expected["image"])
    registry.verify()
