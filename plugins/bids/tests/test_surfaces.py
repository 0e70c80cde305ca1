"""Time series on surfaces against what was written, through the same steps as volumes; files that do not fit."""

import json

import nibabel as nib
import numpy as np
import pydantic
import pytest
from brainlens_bids import BoldParams
from brainlens_bids.surfaces import open_surface, place_vertices, read_vertices
from nibabel.gifti import GiftiDataArray, GiftiImage

import brainlens

N_VOLUMES, N_LEFT, N_RIGHT = 90, 70, 50
SPACE = {"format": "gifti", "space": "fsaverage6"}


def write(path, values, intent="NIFTI_INTENT_TIME_SERIES"):
    """Write (volume, vertex) as fMRIPrep does, an array for each volume."""
    arrays = [GiftiDataArray(row.astype(np.float32), intent=intent, datatype="NIFTI_TYPE_FLOAT32") for row in values]
    nib.save(GiftiImage(darrays=arrays), path)
    return path


@pytest.fixture
def surfaces(world):
    """What the runs hold, on two surfaces; the voxels of the volumes stand for vertices."""
    for name, planted in world.runs.items():
        session, run = name.removeprefix("ses-").split("_run-")
        for side, columns in (("L", slice(0, N_LEFT)), ("R", slice(N_LEFT, N_LEFT + N_RIGHT))):
            write(file_of(world, session, run, side), planted.values[:, columns])
        sidecar = file_of(world, session, run, "L").with_name(
            file_of(world, session, run, "L").name.replace(".func.gii", ".json")
        )
        sidecar.write_text(json.dumps({"RepetitionTime": 2.0, "StartTime": 0.8}))
    return world


def file_of(world, session="pre", run="1", side="L"):
    name = f"sub-01_ses-{session}_task-objects_run-{run}_hemi-{side}_space-fsaverage6_bold.func.gii"
    return world.file("bold", session, run).with_name(name)


def truth(world):
    return np.concatenate([run.values for run in world.runs.values()])


def test_every_vertex_of_both_hemispheres_is_what_was_written(surfaces):
    bold = surfaces.read(**SPACE)
    assert bold["bold"].dims == ("time", "vertex")
    np.testing.assert_array_equal(bold["bold"].values, truth(surfaces))
    assert bold["hemisphere"].values.tolist() == ["left"] * N_LEFT + ["right"] * N_RIGHT
    assert bold["hemisphere_vertex"].values.tolist() == [*range(N_LEFT), *range(N_RIGHT)]
    assert bold.attrs["n_vertices"] == [N_LEFT, N_RIGHT]
    assert bold.attrs["space"] == "fsaverage6"
    assert bold.attrs["t_r"] == 2.0
    assert bold.attrs["slice_time_ref"] == 0.4
    assert list(dict.fromkeys(bold["run"].values.tolist())) == list(surfaces.runs)


def test_confounds_and_events_are_those_of_the_run(surfaces):
    bold = surfaces.read(**SPACE, strategy=["motion", "wm_csf"], motion="basic")
    assert bold.sizes["confound"] == 8
    planted = surfaces.runs["ses-pre_run-1"]
    np.testing.assert_array_equal(bold["event_onset"].values[:10], planted.events["onset"])
    found = bold["confound_value"].sel(confound=bold["confound"] == "csf").values[:N_VOLUMES, 0]
    np.testing.assert_allclose(found, planted.confounds["csf"])


def test_betas_on_surfaces_are_those_of_the_same_values_in_a_volume(surfaces, save, tmp_path):
    mask = save(tmp_path / "mask.nii.gz", np.ones(surfaces.mask.shape, np.uint8))
    volume = surfaces.betas(mask=mask, method="lss", confounds="csf")
    surface = surfaces.betas(**SPACE, method="lss", confounds="csf")
    assert surface["response"].dims == ("trial", "vertex")
    np.testing.assert_array_equal(surface["response"].values, volume["response"].values)


def test_the_medial_wall_is_dropped(surfaces):
    for path in map(file_of, [surfaces] * 4, ["pre", "pre", "post", "post"], ["1", "2", "1", "2"]):
        values = np.stack([array.data for array in nib.load(path).darrays])
        values[:, 5:8] = np.nan
        write(path, values)
    assert "3 of 120 vertices: 3 not finite (first at vertex 5)" in surfaces.error(**SPACE)
    bold = surfaces.read(**SPACE, bad_voxels="drop")
    assert bold.sizes["vertex"] == 117
    assert bold.attrs["n_dropped_vertices"] == 3
    np.testing.assert_array_equal(bold["bold"].values, np.delete(truth(surfaces), [5, 6, 7], axis=1))


def test_a_missing_hemisphere_is_named(surfaces):
    path = file_of(surfaces, "post", "2", "R")
    path.unlink()
    message = surfaces.error(**SPACE)
    assert f"bold: expected {str(path)!r}, found no {path.name!r}" in message
    assert "Closest: " in message


@pytest.mark.parametrize("share", [0.001, 0.5, 0.99])
def test_a_hemisphere_that_is_cut_short_is_refused_by_name(surfaces, cut, share):
    path = file_of(surfaces, "post", "2", "R")
    cut(path, share=share)
    message = surfaces.error(**SPACE)
    assert message.startswith(f"bold {str(path)!r}: expected a whole file, found ")


def test_hemispheres_of_other_runs_are_refused(surfaces):
    path = file_of(surfaces, "pre", "1", "R")
    write(path, np.ones((N_VOLUMES - 1, N_RIGHT)))
    message = surfaces.error(**SPACE)
    assert f"bold {str(path)!r}: expected 90 volumes, as {str(file_of(surfaces))!r} holds, found 89" in message
    write(path, np.ones((N_VOLUMES, N_RIGHT + 1)))
    assert "expected (70, 51) vertices on left and right" in surfaces.error(**SPACE)


def test_a_change_of_the_right_hemisphere_is_read_again(surfaces, context):
    surfaces.read(context=context, **SPACE)
    path = file_of(surfaces, "pre", "2", "R")
    values = np.stack([array.data for array in nib.load(path).darrays])
    write(path, values + 8)
    found = surfaces.read(context=context, **SPACE)["bold"].values - truth(surfaces)
    np.testing.assert_allclose(found[N_VOLUMES : 2 * N_VOLUMES, N_LEFT:], 8, atol=1e-2)
    assert np.abs(found).sum() == pytest.approx(8 * N_VOLUMES * N_RIGHT, rel=1e-3)


def test_other_gifti_files_are_refused(tmp_path):
    mesh = tmp_path / "mesh.gii"
    nib.save(GiftiImage(darrays=[GiftiDataArray(np.zeros((4, 3), np.float32))]), mesh)
    with pytest.raises(brainlens.ParameterError, match="found arrays of 2 dims, where a volume has one"):
        open_surface(mesh, mesh)
    empty = tmp_path / "empty.gii"
    nib.save(GiftiImage(), empty)
    with pytest.raises(brainlens.ParameterError, match="found the end of the file before its first array"):
        open_surface(empty, empty)


def test_values_in_other_files_are_refused(tmp_path):
    path = write(tmp_path / "x.func.gii", np.ones((2, 5)))
    surface = open_surface(path, path)
    path.write_bytes(path.read_bytes().replace(b"GZipBase64Binary", b"ExternalFileBinary"))
    with pytest.raises(brainlens.ParameterError, match="found arrays that are kept in another file"):
        read_vertices(surface, np.empty((2, 10), np.float32))


def test_only_the_first_lines_are_read_to_look_at_a_file(tmp_path, monkeypatch):
    path = write(tmp_path / "x.func.gii", np.random.default_rng(0).normal(size=(3, 5)))
    monkeypatch.setattr(nib, "load", None)
    surface = open_surface(path, path)
    assert (surface.n_volumes, surface.n_vertices) == (3, (5, 5))
    assert place_vertices(surface, space="x")["vertex"].values.tolist() == list(range(10))


def test_digests_follow_the_values(tmp_path):
    paths = [write(tmp_path / f"{n}.func.gii", np.full((2, 3), n)) for n in (1, 2)]
    digests = []
    for pair in ((paths[0], paths[1]), (paths[0], paths[1]), (paths[1], paths[0])):
        surface = open_surface(*pair)
        out = np.empty((2, 6), np.float32)
        digests.append(read_vertices(surface, out))
    assert digests[0] == digests[1] != digests[2]


@pytest.mark.parametrize(
    ("change", "text"),
    [
        ({"mask": "m.nii"}, "mask: expected none with format='gifti', which reads all vertices, found one"),
        ({"rois": "v1.nii"}, "rois: expected none with format='gifti'"),
        ({"space": ""}, "expected derivatives and space with 'gifti'"),
        ({"derivatives": "", "raw": "raw"}, "expected derivatives and space with 'gifti'"),
    ],
)
def test_what_surfaces_do_not_have_is_refused(change, text):
    given = {"derivatives": "fmriprep", "subject": "01", "task": "x", **SPACE}
    with pytest.raises(pydantic.ValidationError, match=text):
        BoldParams(**given | change)
