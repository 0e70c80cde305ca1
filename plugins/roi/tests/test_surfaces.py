"""Labels of meshes at the vertices of a response, GIfTI and FreeSurfer alike."""

from __future__ import annotations

from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
import xarray as xr
from brainlens_roi.attach_params import AttachParams
from brainlens_roi.surfaces import read_regions

import brainlens

N = 20
LABELS = {"left": np.arange(N) % 4, "right": np.arange(N)[::-1] % 3}
NAMES = ["???", "V1", "V2", "MT"]


@pytest.fixture
def vertices() -> xr.Dataset:
    """Every third vertex of both hemispheres, the right behind the left."""
    number = np.arange(0, 2 * N, 3)
    return xr.Dataset(
        {"response": (("trial", "vertex"), np.zeros((2, len(number)), np.float32))},
        {
            "trial": [0, 1], "stimulus_id": ("trial", [0, 1]), "vertex": number,
            "hemisphere": ("vertex", np.where(number < N, "left", "right")),
        },
        {"subject": "s1", "units": "%"},
    )  # fmt: skip


def save_gifti(path: Path, labels: np.ndarray) -> Path:
    table = nib.gifti.GiftiLabelTable()
    for key, name in enumerate(NAMES):
        label = nib.gifti.GiftiLabel(key=key)
        label.label = name
        table.labels.append(label)
    array = nib.gifti.GiftiDataArray(labels.astype(np.int32), intent="NIFTI_INTENT_LABEL")
    nib.save(nib.gifti.GiftiImage(darrays=[array], labeltable=table), path)
    return path


def save_annot(path: Path, labels: np.ndarray) -> Path:
    colours = np.array([[10 * n, 20, 30, 0] for n in range(len(NAMES))], np.int32)
    nib.freesurfer.write_annot(path, labels.astype(np.int32), colours, NAMES, fill_ctab=True)
    return path


@pytest.fixture(params=["gifti", "annot"])
def files(request, tmp_path) -> dict[str, Path]:
    save, ending = {"gifti": (save_gifti, ".label.gii"), "annot": (save_annot, ".annot")}[request.param]
    return {side: save(tmp_path / f"{side}{ending}", labels) for side, labels in LABELS.items()}


def regions(vertices, **given) -> dict:
    found = read_regions(vertices, AttachParams(**given), brainlens.Context())
    return {each.name: each for each in found}


def test_a_name_in_both_hemispheres_is_one_roi(vertices, files):
    found = regions(vertices, **files)
    assert set(found) == {"V1", "V2", "MT"}
    whole = np.concatenate([LABELS["left"], LABELS["right"]])
    for label, name in enumerate(NAMES[1:], start=1):
        np.testing.assert_array_equal(found[name].members, whole[vertices["vertex"].values] == label)
        assert found[name].n_source == (whole == label).sum()


def test_one_hemisphere_alone(vertices, files):
    right = regions(vertices, right=files["right"])
    assert right["V1"].members[vertices["hemisphere"].values == "left"].sum() == 0
    both = regions(vertices, **files)
    sites = vertices["hemisphere"].values == "right"
    np.testing.assert_array_equal(right["V1"].members[sites], both["V1"].members[sites])


def test_vertices_may_be_numbered_in_each_hemisphere(vertices, files):
    number = vertices["vertex"].values
    own = vertices.isel(vertex=number >= N).assign_coords(vertex=number[number >= N] - N)
    found = regions(own, right=files["right"])
    np.testing.assert_array_equal(found["V2"].members, LABELS["right"][own["vertex"].values] == 2)


def test_what_does_not_fit_is_said(vertices, tmp_path):
    small = save_gifti(tmp_path / "small.label.gii", np.arange(10) % 4)
    with pytest.raises(
        brainlens.DimensionError, match="left hemisphere: expected labels of the mesh .* up to 18, found 10"
    ):
        regions(vertices, left=small)
    with pytest.raises(brainlens.DimensionError, match="expected a coordinate 'hemisphere'"):
        regions(vertices.drop_vars("hemisphere"), left=small)
    with pytest.raises(brainlens.DimensionError, match="the numbers of the vertices as labels of 'vertex'"):
        regions(vertices.assign_coords(vertex=vertices["vertex"].astype(str)), left=small)
    values = nib.gifti.GiftiDataArray(np.zeros(N, np.float32))
    nib.save(nib.gifti.GiftiImage(darrays=[values]), tmp_path / "stat.func.gii")
    with pytest.raises(brainlens.ParameterError, match="one array of whole-number labels with a table of names"):
        regions(vertices, left=tmp_path / "stat.func.gii")
    for name in ("text.label.gii", "text.annot"):
        (tmp_path / name).write_text("nothing")
        with pytest.raises(brainlens.ParameterError, match="expected labels of vertices"):
            regions(vertices, left=tmp_path / name)
