"""Rows of a contact sheet: what was seen, where painting began, what was chosen, and what was not."""

from __future__ import annotations

import numpy as np
import pytest
import xarray as xr
from brainlens_diffusion.pictures import draw_reconstructions
from brainlens_diffusion.reconstruct_params import PictureParams

import brainlens

RNG = np.random.default_rng(0)
CONTEXT = brainlens.Context()


def make_images(n: int, dim: str, *, side: int = 4) -> xr.Dataset:
    pixels = RNG.integers(0, 256, (n, side, side, 3), dtype=np.uint8)
    return xr.Dataset({"image": ((dim, "y", "x", "rgb"), pixels)}, {dim: [f"{dim}{row}" for row in range(n)]})


STIMULI, INITIAL = make_images(9, "stimulus"), make_images(5, "trial")


def make_reconstructed(n_candidates: int = 0) -> xr.Dataset:
    labels = {"trial": INITIAL["trial"].values, "stimulus_id": ("trial", STIMULI["stimulus"].values[[3, 1, 4, 1, 5]])}
    shape = (5, *((n_candidates,) if n_candidates else ()), 4, 4, 3)
    dims = ("trial", *(("candidate",) if n_candidates else ()), "y", "x", "rgb")
    made = xr.Dataset({"image": (dims, RNG.integers(0, 256, shape, dtype=np.uint8))}, labels, {"model": "m"})
    return made.assign(chosen=("trial", [1, 0, 2, 1, 0])) if n_candidates else made


def draw(reconstructed: xr.Dataset, stimuli: xr.Dataset = STIMULI, initial: xr.Dataset | None = None, **params: int):
    given = {"params": PictureParams(**params), "context": CONTEXT}
    return draw_reconstructions(reconstructed=reconstructed, stimuli=stimuli, initial=initial, **given)


def test_rows_are_named_and_in_their_places():
    made = make_reconstructed(3)
    shuffled = INITIAL.isel(trial=[4, 2, 0, 1, 3])
    drawn = draw(made, initial=shuffled, n_candidates=5)
    names = ["seen", "initial", "reconstruction", "candidate 0", "candidate 1"]
    assert drawn["candidate"].values.tolist() == names
    image = drawn["image"]
    np.testing.assert_array_equal(image.sel(candidate="seen"), STIMULI["image"].values[[3, 1, 4, 1, 5]])
    np.testing.assert_array_equal(image.sel(candidate="initial"), INITIAL["image"])
    others = {0: [1, 0], 1: [0, 1], 2: [2, 0], 3: [1, 0], 4: [0, 1]}
    for trial, (chosen, first) in others.items():
        np.testing.assert_array_equal(image[trial, 2], made["image"][trial, chosen])
        np.testing.assert_array_equal(image[trial, 3], made["image"][trial, first])
    assert drawn.attrs == {"model": "m", "schema": "image.v1"}
    assert brainlens.contact_sheet([(name, image.sel(candidate=name).values) for name in names])[1:4] == b"PNG"


def test_trials_and_candidates_are_as_many_as_wanted():
    assert draw(make_reconstructed(), n_trials=2)["image"].shape == (2, 2, 4, 4, 3)
    assert draw(make_reconstructed(3), n_candidates=0)["candidate"].values.tolist() == ["seen", "reconstruction"]


@pytest.mark.parametrize(
    ("change", "text"),
    [
        (
            {"stimuli": STIMULI.isel(stimulus=slice(4))},
            "stimuli: expected an image of every stimulus of the reconstructions, found 2 of 5 missing: 'stimulus4', "
            "'stimulus5'. Give those that the reconstructions are of.",
        ),
        (
            {"stimuli": STIMULI.isel(rgb=0)},
            r"stimuli: expected dims \(stimulus, y, x, rgb\), found \('stimulus', 'y', 'x'\)",
        ),
        (
            {"initial": make_images(5, "trial", side=8)},
            "initial: expected images of 4 x 4 x 3 like the reconstructions, found 8 x 8 x 3. Bring both to one size.",
        ),
        (
            {"reconstructed": make_reconstructed(2).drop_vars("chosen")},
            r"reconstructed: expected 'chosen' \(trial\) beside several candidates, found none",
        ),
    ],
)
def test_what_does_not_fit_is_said(change, text):
    with pytest.raises(brainlens.DimensionError, match=f"^{text}"):
        draw(**{"reconstructed": make_reconstructed(), **change})
