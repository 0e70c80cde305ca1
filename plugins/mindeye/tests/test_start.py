import json

import numpy as np
import pytest
import torch
import xarray as xr
from brainlens_mindeye.start import (
    Known,
    first_weight,
    known_subjects,
    match_sites,
    refuse_other_target,
    site_of,
    sites_of,
    take_over,
)
from hypothesis import given, strategies as st

import brainlens


def sites(labels, *, dim: str = "voxel", i=None, **attrs) -> xr.Dataset:
    """Return a response of two trials with sites of these labels."""
    coords = {dim: labels} | ({} if i is None else {"i": (dim, np.asarray(i))})
    return xr.Dataset({"response": (("trial", dim), np.zeros((2, len(labels))))}, coords, attrs)


def two_subjects() -> xr.Dataset:
    """Return what the core keeps of a model of two subjects whose voxels have labels in common."""
    coords = {
        "voxel": np.arange(5),
        "subject": ("voxel", np.array(["a", "a", "b", "b", "b"], dtype=object)),
        "source_voxel": ("voxel", [7, 8, 7, 9, 8]),
        "i": ("voxel", [0, 1, 2, 3, 4]),
    }
    origins = {"a": {"space": "T1w"}, "b": {"space": "func"}}
    return xr.Dataset(coords=coords, attrs={"model": "clip", "origins": json.dumps(origins)})


@given(st.lists(st.integers() | st.text(max_size=3), min_size=1, max_size=20, unique_by=str), st.randoms())
def test_sites_are_found_whatever_their_order(labels, random):
    labels = [str(label) for label in labels]
    shuffled = random.sample(labels, len(labels))
    columns = match_sites(sites(np.array(labels, dtype=object)), sites(np.array(shuffled, dtype=object)), "s")
    assert [labels[column] for column in columns] == shuffled


def test_each_of_several_subjects_has_its_own_labels_and_place():
    own = sites_of(two_subjects(), "b")
    assert own["voxel"].values.tolist() == [7, 9, 8]
    assert own["i"].values.tolist() == [2, 3, 4]
    assert own.attrs["space"] == "func"


def test_subjects_that_a_model_knows_are_told_from_others():
    responses = [sites([1, 2, 3], subject="c"), sites([9, 7, 8], i=[3, 2, 4], subject="b")]
    known = known_subjects(two_subjects(), ["a", "b"], responses)
    assert list(known) == [1]
    assert known[1].entry == 1
    assert known[1].columns.tolist() == [1, 0, 2]


@pytest.mark.parametrize(
    ("response", "message"),
    [
        (sites([7, 8], subject="b"), r"found 2: 1 of its own missing \(9\)\. Select those \(roi=\.\.\.\), or give"),
        (sites([7, 8, 9, 5], subject="b"), r"found 4: 1 that it does not know \(5\)\."),
        (
            sites([1, 2, 3], subject="b"),
            r"found 3: 3 that it does not know \(1, 2, 3\) and 3 of its own missing \(7, 9, 8\)",
        ),
        (sites(["7", "8", "9"], subject="b"), r"found 3: 3 that it does not know \('7', '8', '9'\)"),
        (sites([7, 8, 9], subject="b", space="T1w"), r"found voxels of space 'T1w' instead of 'func'\. Select"),
        (sites([7, 8, 9], i=[2, 4, 5], subject="b"), r"found 1 with another 'i': 9\. The two number their voxels diff"),
        (sites([7, 8, 9], dim="vertex", subject="b"), r"found trial, vertex\."),
    ],
)
def test_other_sites_of_a_known_subject_are_refused(response, message):
    with pytest.raises(brainlens.DimensionError, match=f"start: expected the 3 voxels of 'b' .* fitted to, {message}"):
        known_subjects(two_subjects(), ["a", "b"], [response])


def test_a_mask_or_volume_that_differs_is_another_place():
    for key, word in (("mask_sha256", "mask"), ("volume_shape", "volume shape")):
        known, found = sites([1], **{key: [2, 3]}), sites([1], **{key: [3, 2]})
        assert match_sites(known, sites([1], **{key: (2, 3)}), "s").tolist() == [0]
        assert match_sites(known, sites([1]), "s").tolist() == [0]
        with pytest.raises(brainlens.DimensionError, match=rf"voxels of {word} \[3, 2\] instead of \[2, 3\]"):
            match_sites(known, found, "s")


def test_a_dataset_without_sites_is_no_description_of_a_model():
    assert site_of(sites([1], dim="vertex")) == "vertex"
    with pytest.raises(brainlens.DimensionError, match="expected labels of voxels or vertices .* found dims none"):
        site_of(xr.Dataset())


def test_targets_of_another_model_or_with_other_labels_are_refused():
    def target(channel, **attrs) -> xr.Dataset:
        return xr.Dataset({"embedding": (("trial", "channel"), np.zeros((2, 3)))}, {"channel": channel}, attrs)

    model = target([0, 1, 2], model="clip").drop_vars("embedding")
    refuse_other_target(model, target([0, 1, 2], model="clip"))
    refuse_other_target(model, target([0, 1, 2], model="clip").drop_vars("channel"))
    with pytest.raises(brainlens.DimensionError, match="start: expected a target of 'clip', .* found 'dino'. Give the"):
        refuse_other_target(model, target([0, 1, 2], model="dino"))
    with pytest.raises(brainlens.DimensionError, match="channel labels .* found others: 0, 2, 1 instead of 0, 1, 2"):
        refuse_other_target(model, target([0, 2, 1], model="clip"))


def network(n_voxels: tuple[int, ...], seed: int, *, head: int = 0) -> torch.nn.Module:
    torch.manual_seed(seed)
    layers = (torch.nn.Linear(count, 4) for count in n_voxels)
    entries = torch.nn.ModuleList(
        torch.nn.Sequential(each, torch.nn.LayerNorm(4), torch.nn.Linear(4, 4)) for each in layers
    )
    parts = {"entries": entries, "out": torch.nn.Linear(4, 3)}
    return torch.nn.ModuleDict(parts | ({"head": torch.nn.Linear(4, head)} if head else {}))


def test_what_is_shared_goes_on_and_entries_follow_their_subjects():
    own, given = network((5, 3, 7), 0), network((3, 2), 1)
    columns = np.array([2, 0, 1])
    found = take_over(own.state_dict(), given.state_dict(), {1: Known(0, columns)})
    own_weights, given_weights = own.state_dict(), given.state_dict()
    assert set(found) == set(own_weights)
    for name, value in found.items():
        if name.startswith("entries.1."):
            expected = given_weights[name.replace("entries.1.", "entries.0.")]
            expected = expected[:, columns] if name == "entries.1.0.weight" else expected
        else:
            expected = (own_weights if name.startswith("entries.") else given_weights)[name]
        assert torch.equal(value, expected), name
    # The same entry, for voxels that come in another order.
    voxels = torch.randn(2, 3)
    before = given["entries"][0](voxels)
    own.load_state_dict(found)
    assert torch.allclose(own["entries"][1](voxels[:, columns]), before, atol=1e-6)


def test_what_is_left_behind_is_fresh_and_what_there_is_no_place_for_is_dropped():
    own, given = network((5,), 0, head=2).state_dict(), network((5,), 1, head=6).state_dict()
    found = take_over(own, given, {}, but=("head.",))
    assert torch.equal(found["head.weight"], own["head.weight"])
    assert torch.equal(found["out.weight"], given["out.weight"])
    assert set(take_over(network((5,), 0).state_dict(), given, {})) == set(network((5,), 0).state_dict())


def test_the_first_matrix_of_an_entry_is_the_one_that_voxels_meet():
    assert first_weight(network((5,), 0)["entries"][0].state_dict()) == "0.weight"
    assert first_weight(torch.nn.Linear(5, 4).state_dict()) == "weight"
