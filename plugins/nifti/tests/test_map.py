import json

import nibabel as nib
import numpy as np
import pytest
import xarray as xr
from brainlens_nifti import MapParams
from brainlens_nifti.map import convert_values, place_values, write
from hypothesis import given, settings, strategies as st
from hypothesis.extra import numpy as hnp

import brainlens
from brainlens.schema import builtin_schemas


def export(dataset, target, **params):
    write(dataset, target, params=MapParams(**params), context=brainlens.Context())
    return nib.load(target)


def refuse(dataset, target, **params):
    with pytest.raises(brainlens.BrainlensError) as caught:
        export(dataset, target, **params)
    assert not list(target.parent.glob("out.*"))
    return str(caught.value)


@pytest.fixture
def target(tmp_path):
    return tmp_path / "out.nii.gz"


def geometry(image):
    fields = ("sform_code", "qform_code", "srow_x", "srow_y", "srow_z", "quatern_b", "quatern_c", "quatern_d")
    offsets = ("qoffset_x", "qoffset_y", "qoffset_z")
    # The first entry of pixdim is the handedness of the qform.
    return [*(image.header[name].tolist() for name in (*fields, *offsets)), image.header["pixdim"][:4].tolist()]


@pytest.mark.parametrize("ending", [".nii", ".nii.gz"])
def test_import_and_export_give_back_values_and_grid_to_the_bit(study, tmp_path, ending):
    original = nib.load(study.params()["bold"])
    image = export(study.read()["bold"], tmp_path / f"out{ending}")
    np.testing.assert_array_equal(np.asanyarray(image.dataobj)[study.mask > 0], study.bold[study.mask > 0])
    assert not np.asanyarray(image.dataobj)[study.mask == 0].any()
    assert image.affine.tobytes() == original.affine.tobytes()
    assert geometry(image) == geometry(original)
    assert image.header.get_zooms() == original.header.get_zooms()
    assert image.header.get_xyzt_units() == ("mm", "sec")
    assert image.get_data_dtype() == np.float32


@pytest.mark.parametrize(("qform", "sform"), [(1, 0), (0, 2), (4, 4), (1, 4), (0, 0)])
def test_every_combination_of_codes_comes_back_to_the_bit(study, target, qform, sform):
    header = nib.load(study.params()["bold"]).header
    header.set_qform(
        nib.affines.from_matvec(np.diag([1, 1, 2]) @ nib.eulerangles.euler2mat(0.2, 0.1), [1.1, 2.2, 3.3]), qform
    )
    header["sform_code"] = sform
    original = nib.Nifti1Image(study.bold, None, header)
    nib.save(original, study.folder / "coded.nii.gz")
    original = nib.load(study.folder / "coded.nii.gz")
    study.save("mask.nii.gz", study.mask, affine=original.affine)
    image = export(study.read(bold=study.folder / "coded.nii.gz")["bold"], target)
    assert image.affine.tobytes() == original.affine.tobytes()
    assert (int(image.header["qform_code"]), int(image.header["sform_code"])) == (qform, sform)
    if qform:
        assert image.get_qform().tobytes() == original.get_qform().tobytes()


@pytest.mark.parametrize("name", ["nilearn_nitime_small/fmri1.nii.gz", "haxby2001_pymvpa/bold.nii.gz"])
def test_real_images_come_back_to_the_bit(study, shared, read_valid, target, name):
    original = nib.load(shared(name))
    values = np.asanyarray(original.dataobj)
    mask = (values.min(-1) < values.max(-1)).astype(np.uint8)
    path = study.save("real.nii", mask, affine=original.affine)
    image = export(read_valid(bold=shared(name), mask=path, subject="1", space="native")[""], target)
    np.testing.assert_array_equal(np.asanyarray(image.dataobj)[mask > 0], values[mask > 0])
    assert geometry(image) == geometry(original)
    assert image.affine.tobytes() == original.affine.tobytes()
    assert image.header.get_zooms() == original.header.get_zooms()


def test_the_order_of_voxels_does_not_matter(study, tmp_path):
    bold = study.read()["bold"]
    shuffled = bold.isel(voxel=np.random.default_rng(0).permutation(bold.sizes["voxel"]))
    images = [export(dataset, tmp_path / f"{n}.nii") for n, dataset in enumerate((bold, shuffled))]
    np.testing.assert_array_equal(*(np.asanyarray(image.dataobj) for image in images))


def test_dims_beside_voxel_become_volumes_in_their_order(study, target):
    bold = study.read()["bold"]
    values = np.random.default_rng(0).normal(size=(2, 3, bold.sizes["voxel"])).astype(np.float32)
    weights = bold.drop_dims("time").assign(weights=(("token", "channel", "voxel"), values))
    image = export(weights, target)
    np.testing.assert_array_equal(image.get_fdata()[study.mask > 0].T, values.reshape(6, -1))
    assert image.header.get_xyzt_units() == ("mm", "unknown")
    turned = weights.transpose("channel", "voxel", "token")
    again = export(turned, target.with_name("turned.nii"))
    np.testing.assert_array_equal(again.get_fdata()[study.mask > 0].T, values.swapaxes(0, 1).reshape(6, -1))


def test_a_map_of_one_value_per_voxel_is_3d(study, target):
    bold = study.read()["bold"]
    stat_map = (
        bold.drop_dims("time").assign(map=("voxel", np.arange(bold.sizes["voxel"]))).assign_attrs(schema="stat_map.v1")
    )
    brainlens.validate(stat_map, builtin_schemas()["stat_map.v1"])
    image = export(stat_map, target, fill=-1)
    assert image.shape == study.mask.shape
    assert image.get_data_dtype() == np.int32
    np.testing.assert_array_equal(np.asanyarray(image.dataobj)[study.mask > 0], np.arange(56))
    assert (np.asanyarray(image.dataobj)[study.mask == 0] == -1).all()


def test_roi_masks_are_written_as_uint8_when_named(study, target):
    roi = np.zeros(study.mask.shape, np.uint8)
    roi[2:, 1] = 1
    made = study.read(rois={"A": study.save("A.nii", roi), "B": study.save("B.nii", study.mask)})
    image = export(made["response"], target, variable="roi_mask")
    assert image.get_data_dtype() == np.uint8
    np.testing.assert_array_equal(np.asanyarray(image.dataobj), np.stack([roi, study.mask], axis=-1))
    assert export(made["response"], target.with_name("r.nii")).shape[3] == made["response"].sizes["trial"]


def test_what_is_read_back_is_the_same_dataset(study, target):
    bold = study.read()["bold"]
    export(bold, target)
    assert study.read(bold=target)["bold"].identical(bold)


def test_more_volumes_than_nifti1_counts_become_nifti2(study, tmp_path):
    bold = study.read()["bold"].isel(voxel=[0]).drop_dims("time")
    values = np.arange(40000, dtype=np.float32)[:, None]
    image = export(bold.assign(response=(("trial", "voxel"), values)), tmp_path / "many.nii")
    assert isinstance(image, nib.Nifti2Image)
    np.testing.assert_array_equal(image.get_fdata()[0, 1, 0], np.arange(40000))


def test_a_dataset_without_codes_gets_its_affine_as_sform(study, target):
    bold = study.read()["bold"]
    plain = bold.assign_attrs({key: bold.attrs[key] for key in ("affine", "volume_shape", "t_r")})
    plain.attrs = {key: plain.attrs[key] for key in ("affine", "volume_shape", "t_r")}
    image = export(plain, target)
    assert image.affine.tobytes() == study.affine.astype(np.float64).tobytes()
    assert int(image.header["sform_code"]) == 2
    np.testing.assert_allclose(image.header.get_zooms()[:3], nib.affines.voxel_sizes(study.affine), rtol=1e-6)


@given(
    st.sampled_from(
        ["bool", "int8", "uint8", "int16", "uint16", "int32", "uint32", "int64", "uint64", "float16", "float64"]
    ).flatmap(
        lambda dtype: hnp.arrays(dtype, 5, elements={"min_value": 0, "max_value": 100} if dtype != "bool" else {})
    )
)
@settings(deadline=None)
def test_values_are_kept_in_the_dtype_that_nifti_has(values):
    converted = convert_values(values, name="map")
    assert converted.dtype in (np.uint8, np.int16, np.int32, np.float32)
    np.testing.assert_array_equal(converted, values.astype(np.float32) if values.dtype.kind == "f" else values)
    nib.Nifti1Image(converted.reshape(5, 1, 1), np.eye(4))


@pytest.mark.parametrize("value", [np.int64(2**40), np.uint64(2**63), np.float64(1e300), np.int64(-(2**31) - 1)])
def test_values_out_of_range_are_refused(value):
    with pytest.raises(
        brainlens.ParameterError, match="variable 'map': expected values that fit (int32|float32), from"
    ):
        convert_values(np.array([value]), name="map")


def test_nan_and_infinity_are_values_like_others():
    np.testing.assert_array_equal(
        convert_values(np.array([np.nan, np.inf, 1.0]), name="map"), np.float32([np.nan, np.inf, 1])
    )


@given(st.data())
def test_placing_is_undone_by_indexing(data):
    shape = data.draw(st.tuples(*[st.integers(1, 4)] * 3))
    everywhere = np.argwhere(np.ones(shape))
    index = everywhere[data.draw(st.permutations(range(len(everywhere))))[: data.draw(st.integers(1, len(everywhere)))]]
    values = np.random.default_rng(0).normal(size=(2, len(index)))
    volume = place_values(values, index, shape, fill=np.nan)
    np.testing.assert_array_equal(volume[tuple(index.T)].T, values)
    assert np.isnan(volume).sum() == 2 * (len(everywhere) - len(index))


@pytest.mark.parametrize("fill", [-1, 256, 0.5, np.nan])
def test_a_fill_that_the_dtype_cannot_hold_is_refused(fill):
    with pytest.raises(brainlens.ParameterError, match="fill: expected a value that fits uint8, found"):
        place_values(np.ones((1, 1), np.uint8), np.zeros((1, 3), int), (1, 1, 1), fill=fill)


def test_a_dataset_that_does_not_say_where_its_voxels_lie_is_refused(study, target):
    bold = study.read()["bold"]
    del bold.attrs["affine"]
    assert refuse(bold.drop_vars("j"), target) == (
        "nifti.map: expected coordinates i, j, k and attributes affine and volume_shape, found no coordinate 'j', "
        "no attribute 'affine'. A dataset that lost them takes them from the one that it was computed from."
    )


def test_voxels_outside_the_volume_or_at_one_place_are_refused(study, target):
    bold = study.read()["bold"]
    assert "expected i, j, k inside volume_shape [5, 4, 2], found [0, 1, 2] and 18 more outside" in refuse(
        bold.assign_attrs(volume_shape=[5, 4, 2]), target
    )
    assert "expected i, j, k inside volume_shape" in refuse(bold.assign_coords(i=bold["i"] - 1), target)
    assert "found 1 places that several share" in refuse(bold.isel(voxel=[0, 1, 2, 1]), target)


def test_the_variable_must_be_told_where_several_could_be_meant(study, target):
    bold = study.read()["bold"]
    both = bold.assign(tsnr=("voxel", np.ones(bold.sizes["voxel"])))
    assert refuse(both, target) == (
        "variable: expected a name, since several have dim 'voxel', found ''. Variables: 'bold', 'tsnr'."
    )
    assert "expected one with dim 'voxel', found 'tsnrr'. Closest: 'tsnr'." in refuse(both, target, variable="tsnrr")
    assert export(both, target, variable="tsnr").shape == study.mask.shape


def test_data_without_voxels_are_refused(target):
    surface = xr.Dataset({"response": (("trial", "vertex"), np.ones((2, 3)))})
    assert "expected a variable with dim 'voxel', found dims 'trial', 'vertex'." in refuse(surface, target)


def test_text_is_refused(study, target):
    bold = study.read()["bold"].drop_dims("time")
    named = bold.assign(name=("voxel", np.full(bold.sizes["voxel"], "V1")))
    assert "variable 'name': expected numbers or booleans, found dtype <U2." in refuse(named, target)


@pytest.fixture
def maps(study):
    """Three maps with names and what they mean."""
    bold = study.read()["bold"].drop_dims("time")
    values = np.random.default_rng(0).normal(size=(3, bold.sizes["voxel"])).astype(np.float32)
    names = {
        "map_name": ["correlation", "r2", "p-value <"],
        "meaning": ("map_name", ["Pearson", "explained", "by chance"]),
    }
    return bold.assign(map=(("map_name", "voxel"), values)).assign_coords(names).assign_attrs(units="1")


def test_a_map_is_chosen_by_its_label(study, maps, tmp_path):
    inside = study.mask > 0
    one = export(maps, tmp_path / "r2.nii.gz", label="r2")
    assert one.shape == study.mask.shape
    np.testing.assert_array_equal(one.get_fdata(dtype=np.float32)[inside], maps["map"].values[1])
    assert (one.header["descrip"], one.header["intent_name"]) == (b"r2: explained", b"r2")
    two = export(maps, tmp_path / "two.nii", label=("p-value <", "correlation"))
    np.testing.assert_array_equal(two.get_fdata(dtype=np.float32)[inside].T, maps["map"].values[[2, 0]])
    assert (two.header["descrip"], two.header["intent_name"]) == (b"p-value <, correlation", b"map")
    assert [volume["map_name"] for volume in json.loads((tmp_path / "two.json").read_text())["Volumes"]] == [
        "p-value <",
        "correlation",
    ]


def test_labels_that_are_numbers_are_chosen_as_well(study, target):
    response = study.read()["response"]
    image = export(response, target, label=str(response["trial"].values[2]))
    np.testing.assert_array_equal(image.get_fdata(dtype=np.float32)[study.mask > 0], response["response"].values[2])


def test_a_label_that_is_not_there_is_refused_with_the_closest(maps, target):
    assert refuse(maps, target, label=("r2", "corelation")) == (
        "label: expected one along 'map_name', found 'corelation'. Closest: 'correlation'. Maps: "
        "'correlation', 'p-value <', 'r2'."
    )
    only = maps.isel(map_name=0, drop=True)
    assert refuse(only, target, label="r2") == (
        "label: expected a variable with one dim beside 'voxel', found 'map' with dims ('voxel',). Leave it out."
    )


def test_what_each_volume_is_lies_beside_the_image(maps, tmp_path):
    image = export(maps, tmp_path / "maps.nii.gz")
    assert (image.header["descrip"], image.header["intent_name"]) == (b"correlation, r2, p-value <", b"map")
    written = json.loads((tmp_path / "maps.json").read_text("utf-8"))
    assert written["Volumes"][1] == {"map_name": "r2", "meaning": "explained"}
    assert len(written["Volumes"]) == image.shape[3]
    assert (written["Units"], written["Dims"]) == ("1", ["map_name"])
    export(maps, tmp_path / "alone.nii.gz", sidecar=False)
    assert not (tmp_path / "alone.json").exists()


def test_an_export_brings_its_sidecar_and_replaces_one_only_where_it_may(maps, tmp_path):
    registry = brainlens.open(tmp_path / "study.zarr", quiet=True)
    registry.put("maps", maps, schema="stat_map")
    out = tmp_path / "out"
    out.mkdir()
    image = nib.load(registry.export("maps", out / "maps.nii.gz", label="r2"))
    assert sorted(path.name for path in out.iterdir()) == ["maps.json", "maps.nii.gz"]
    assert image.shape == tuple(maps.attrs["volume_shape"])
    provenance = json.loads((out / "maps.json").read_text())["brainlens"]["provenance"]
    assert provenance["component"] == "put"
    (out / "other.json").write_text("mine")
    with pytest.raises(brainlens.RegistryError, match=r"'other.json' belongs to it, and is there already\."):
        registry.export("maps", out / "other.nii.gz")
    assert (out / "other.json").read_text() == "mine"
    assert len(list(out.iterdir())) == 3
    registry.export("maps", out / "other.nii.gz", overwrite=True)
    assert "brainlens" in json.loads((out / "other.json").read_text())
    assert len(list(out.iterdir())) == 4
