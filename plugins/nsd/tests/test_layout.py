"""Which files there must be, and what is said when some are not; the files are empty, since none is opened."""

from pathlib import Path

import pytest
from brainlens_nsd import BetasParams
from brainlens_nsd.layout import Copy, choose_sessions, open_copy, parse_sessions, session_files

import brainlens


def params(**changes):
    return BetasParams(**{"root": "nsd", "subject": "subj04"} | changes)


@pytest.fixture
def copy(tmp_path):
    return Copy(tmp_path)


def touch(copy, numbers, **changes):
    for number in numbers:
        for path in session_files(copy, params(**changes), number):
            path.parent.mkdir(parents=True, exist_ok=True)
            path.touch()


def error(copy, **changes):
    with pytest.raises(brainlens.BrainlensError) as caught:
        choose_sessions(copy, params(**changes))
    return str(caught.value)


@pytest.mark.parametrize(
    ("space", "kind", "names"),
    [
        ("func1pt8mm", "hdf5", ["betas_session07.hdf5"]),
        ("func1mm", "nifti", ["betas_session07.nii.gz"]),
        ("fsaverage", "hdf5", ["lh.betas_session07.mgh", "rh.betas_session07.mgh"]),
        ("nativesurface", "nifti", ["lh.betas_session07.hdf5", "rh.betas_session07.hdf5"]),
    ],
)
def test_files_are_called_as_they_were_published(space, kind, names):
    files = session_files(Copy(Path("nsd")), params(space=space, format=kind, betas="betas_fithrf"), 7)
    folder = Path("nsd/nsddata_betas/ppdata/subj04") / space / "betas_fithrf"
    assert files == tuple(folder / name for name in names)


@pytest.mark.parametrize("n_sessions", [30, 27])
def test_all_sessions_are_those_released_in_either_year(copy, n_sessions):
    touch(copy, range(1, n_sessions + 1))
    assert choose_sessions(copy, params()) == list(range(1, n_sessions + 1))


def test_a_half_downloaded_folder_is_refused_with_the_files_that_lack(copy):
    touch(copy, range(1, 21))
    message = error(copy)
    assert "expected a file for each of 27 sessions of subj04" in message
    assert "'betas_session21.hdf5'" in message
    assert "sessions='1-20'" in message
    assert choose_sessions(copy, params(sessions="1-20")) == list(range(1, 21))


def test_one_missing_session_is_named_alone(copy):
    touch(copy, [number for number in range(1, 31) if number != 12])
    assert "found none of 'betas_session12.hdf5'. Finish" in error(copy)


def test_a_download_under_way_is_pointed_out(copy):
    touch(copy, range(1, 27))
    (copy.betas(params()) / "betas_session27.hdf5.6Ab3").touch()
    assert "'betas_session27.hdf5.6Ab3' looks like an unfinished download" in error(copy)


def test_files_of_the_other_format_are_pointed_out(copy):
    touch(copy, (1, 2), format="nifti")
    assert "format='nifti'" in error(copy, sessions="1,2")
    assert choose_sessions(copy, params(sessions="1,2", format="nifti")) == [1, 2]


def test_a_missing_hemisphere_is_named(copy):
    touch(copy, (1, 2), space="fsaverage")
    session_files(copy, params(space="fsaverage"), 2)[1].unlink()
    assert "found none of 'rh.betas_session02.mgh'" in error(copy, space="fsaverage", sessions="1-2")


def test_a_missing_folder_is_named_with_what_is_beside_it(copy):
    touch(copy, (1,), betas="betas_fithrf")
    message = error(copy)
    assert "betas_fithrf_GLMdenoise_RR': expected this folder, found 'betas_fithrf' in 'func1pt8mm'" in message


@pytest.mark.parametrize("text", ["0", "31", "1-31", "3-1", "2,2", "1-3,3", "x", "1-", "-3", ",", "1.5"])
def test_sessions_that_are_none_are_refused(text):
    with pytest.raises(brainlens.ParameterError, match="^sessions: expected "):
        parse_sessions(text, 30, subject="subj04")


def test_a_folder_that_is_no_copy_is_refused(tmp_path):
    (tmp_path / "ppdata").mkdir()
    with pytest.raises(brainlens.ParameterError, match="expected a folder with 'nsddata' in it.*found 'ppdata'"):
        open_copy(str(tmp_path), brainlens.Context())
    with pytest.raises(brainlens.RegistryError):
        open_copy(str(tmp_path / "absent"), brainlens.Context())
