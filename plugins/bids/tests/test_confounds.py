"""Confounds by name and by kind, against nilearn and the table itself; and the real tables of AOMIC."""

import gzip
import warnings

import numpy as np
import pandas as pd
import pytest
from brainlens_bids import BoldParams
from brainlens_bids.confounds import read_confounds
from brainlens_bids.layout import find_runs
from nilearn.interfaces.fmriprep import load_confounds

import brainlens

N_VOLUMES = 90


def read(world, n_volumes=N_VOLUMES, **changes):
    params = BoldParams(**world.params(sessions="pre", runs="1", **changes))
    context = brainlens.Context()
    return read_confounds(params, find_runs(params, context)[0], n_volumes, context)


def error_of(world, n_volumes=N_VOLUMES, **changes):
    with pytest.raises(brainlens.BrainlensError) as caught:
        read(world, n_volumes, **changes)
    return str(caught.value)


def test_no_choice_is_no_confound(published):
    found = read(published)
    assert found.columns.shape == (N_VOLUMES, 0)
    assert found.is_used.all()


def test_columns_come_in_the_order_asked_for_and_once(published):
    found = read(published, confounds=["rot_z", "cosine*", "cosine01", "trans_x"])
    assert list(found.columns) == ["rot_z", "cosine00", "cosine01", "cosine02", "trans_x"]
    planted = published.runs["ses-pre_run-1"].confounds
    np.testing.assert_allclose(found.columns, planted[list(found.columns)])


def test_an_unknown_column_is_refused_with_the_closest(published):
    message = error_of(published, confounds=["csf", "whitematter"])
    assert message.startswith(
        f"confounds {str(published.file('confounds'))!r}: expected a column 'whitematter', found none."
    )
    assert "Closest: 'white_matter'" in message


def test_a_gap_in_the_first_row_takes_the_next_value_or_is_refused(published):
    name = "trans_x_derivative1"
    filled = read(published, confounds=name).columns[name]
    written = published.runs["ses-pre_run-1"].confounds[name]
    assert filled[0] == pytest.approx(written[1])
    message = error_of(published, confounds=name, confound_gaps="error")
    assert f"expected finite values in column {name!r}, found 1 gaps, first in row 1." in message


def test_a_gap_elsewhere_is_always_refused(world):
    path = world.file("confounds")
    table = pd.read_csv(path, sep="\t")
    table.loc[7, "csf"] = np.nan
    table.to_csv(path, sep="\t", index=False, na_rep="n/a")
    assert "found 1 gaps, first in row 8" in error_of(world, confounds="csf")
    assert "found gaps in 'csf'" in error_of(world, strategy=["wm_csf"])


def test_a_table_that_is_shorter_than_its_image_is_refused(world):
    path = world.file("confounds")
    path.write_text("\n".join(path.read_text().splitlines()[:-1]))
    message = error_of(world, confounds="csf")
    assert f"confounds {str(path)!r}: expected a row for each volume, 90 in" in message
    assert "found 89. One of them is cut short" in message
    assert "found 89" in error_of(world, strategy=["motion"])


@pytest.mark.parametrize(
    ("strategy", "options"),
    [
        (["motion"], {"motion": "full"}),
        (["motion", "wm_csf"], {"motion": "power2", "wm_csf": "full"}),
        (["motion", "high_pass", "compcor"], {"motion": "basic", "n_compcor": 3}),
        (["high_pass", "compcor"], {"compcor": "anat_combined"}),
    ],
)
def test_kinds_of_confounds_are_those_of_nilearn(published, strategy, options):
    found = read(published, strategy=strategy, **options)
    theirs, used = load_confounds(str(published.file("bold")), strategy=strategy, demean=False, **options)
    assert used is None
    pd.testing.assert_frame_equal(found.columns, theirs.reset_index(drop=True), check_dtype=False)


def test_what_nilearn_does_not_find_is_refused(world):
    path = world.file("confounds")
    pd.read_csv(path, sep="\t").drop(columns="rot_x").to_csv(path, sep="\t", index=False, na_rep="n/a")
    message = error_of(world, strategy="motion")
    assert f"confounds {str(path)!r}: expected what strategy 'motion' needs, found less: " in message
    assert "rot_x" in message
    assert "global_signal" in error_of(world, strategy="global_signal")


@pytest.mark.parametrize("task", ["workingmemory", "restingstate"])
@pytest.mark.parametrize("subject", ["0001", "0002", "0003", "0004"])
def test_real_tables(shared, tmp_path, subject, task):
    """The BOLD cannot be had; a file of its name stands beside the real table."""
    name = f"sub-{subject}_task-{task}_acq-seq"
    source = shared("aomic_piop2") / "confounds" / f"{name}_desc-confounds_regressors.tsv.gz"
    folder = tmp_path / f"sub-{subject}" / "func"
    folder.mkdir(parents=True)
    (folder / f"{name}_desc-confounds_regressors.tsv").write_bytes(gzip.decompress(source.read_bytes()))
    (folder / f"{name}_desc-preproc_bold.nii.gz").write_bytes(b"x")
    table = pd.read_csv(source, sep="\t")
    given = {"derivatives": tmp_path, "subject": subject, "task": task, "entities": {"acq": "seq"}}
    run = find_runs(BoldParams(**given), brainlens.Context())[0]

    def chosen(**choice):
        return read_confounds(BoldParams(**given, **choice), run, len(table), brainlens.Context())

    columns = chosen(confounds=["csf", "csf_derivative1", "trans_?", "cosine*"]).columns
    np.testing.assert_array_equal(columns["csf"], table["csf"])
    assert columns["csf_derivative1"][0] == table["csf_derivative1"][1]
    assert [name for name in columns if name.startswith("trans")] == ["trans_x", "trans_y", "trans_z"]
    assert sum(name.startswith("cosine") for name in columns) == sum("cosine" in name for name in table)
    with warnings.catch_warnings():
        # pandas tells of fragmentation inside nilearn.
        warnings.simplefilter("ignore", pd.errors.PerformanceWarning)
        scrubbed = chosen(strategy=["motion", "wm_csf", "high_pass", "scrub"], scrub=0)
    assert sum(name.startswith(("trans", "rot")) for name in scrubbed.columns) == 24
    moved = table["framewise_displacement"].to_numpy() > 0.5
    shaken = table["std_dvars"].to_numpy() > 1.5
    assert not scrubbed.is_used[moved | shaken].any()
    assert np.isfinite(scrubbed.columns.to_numpy()).all()
