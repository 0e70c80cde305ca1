"""The order of trials: which image a subject saw in each trial of each session, from `nsd_expdesign.mat`.

Images are known by their number in the 73k list as the design writes it, from 1; the row in `nsd_stimuli.hdf5` and
`nsdId` in `nsd_stim_info_merged.csv` are one less.
"""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd
import scipy.io

import brainlens
from brainlens_nsd import SUBJECTS
from brainlens_nsd.layout import N_RUNS, N_SESSIONS, N_TRIALS, Copy

N_SUBJECT_IMAGES, N_SHARED, N_IMAGES = 10_000, 1000, 73_000
_SHAPES = {"masterordering": (1, 30_000), "subjectim": (len(SUBJECTS), N_SUBJECT_IMAGES), "sharedix": (1, N_SHARED)}
_TOP = {"masterordering": N_SUBJECT_IMAGES, "subjectim": N_IMAGES, "sharedix": N_IMAGES}


@dataclass(frozen=True)
class Design:
    """What `nsd_expdesign.mat` says; all integers, from 1.

    `order` (30000,): the image of each trial, in the subject's list of 10,000. `images` (10000,): that list, in 73k
    numbers. `shared` (1000,): 73k numbers of the shared images. `pattern` (session, run, position) or None: where
    in a run images were shown.
    """

    path: Path
    order: np.ndarray
    images: np.ndarray
    shared: np.ndarray
    pattern: np.ndarray | None


def read_design(copy: Copy, subject: str, context: brainlens.Context) -> Design:
    """Read the design of one subject.

    Parameters
    ----------
    copy
        Copy of the dataset.
    subject
        'subj01' to 'subj08'; '' for shared images only.
    context
        Notes the file.

    Raises
    ------
    ParameterError
        If the file is damaged, or what it says contradicts itself.
    """
    path = context.source(copy.experiment / "nsd_expdesign.mat")
    try:
        found = scipy.io.loadmat(path)
    # scipy has no error of its own for a file that is cut or altered.
    except Exception as error:
        raise brainlens.ParameterError(
            f"design {str(path)!r}: expected a MATLAB file, found one that cannot be read ({error}). Download it again."
        ) from error
    values = {name: _field(found, name, path) for name in _SHAPES}
    row = SUBJECTS.index(subject) if subject else 0
    images, shared = values["subjectim"][row], values["sharedix"].ravel()
    if not np.array_equal(np.sort(images[:N_SHARED]), np.sort(shared)) or len(np.unique(images)) < N_SUBJECT_IMAGES:
        raise brainlens.ParameterError(
            f"design {str(path)!r}, field 'subjectim', row {row + 1}: expected {N_SUBJECT_IMAGES} different images, "
            f"the first {N_SHARED} those of 'sharedix', found others. Download the file again."
        )
    pattern = found.get("stimpattern")
    if pattern is not None and (pattern.ndim != 3 or pattern.shape[1] != N_RUNS):
        raise brainlens.ParameterError(
            f"design {str(path)!r}, field 'stimpattern': expected (session, {N_RUNS} runs, position), found shape "
            f"{pattern.shape}. Download the file again."
        )
    return Design(path, values["masterordering"].ravel(), images, shared, pattern)


def list_trials(design: Design, sessions: Sequence[int]) -> pd.DataFrame:
    """Say what was shown in each trial.

    Parameters
    ----------
    design
        As from `read_design`.
    sessions
        Numbers of the sessions, from 1, in ascending order.

    Returns
    -------
    DataFrame
        One row for each of 750 trials a session: `trial`, position in all trials of the subject from 0; `stimulus_id`,
        73k number from 1; `session`, from 1; `run`, from 1 over all sessions, where the design tells it; `repetition`,
        earlier showings in all sessions before, imported or not; `is_shared`.
    """
    trial = np.concatenate([np.arange((number - 1) * N_TRIALS, number * N_TRIALS) for number in sessions])
    repetition = pd.Series(design.order).groupby(design.order).cumcount().to_numpy()
    table = pd.DataFrame(
        {
            "trial": trial,
            "stimulus_id": design.images[design.order[trial] - 1],
            "session": np.repeat(np.asarray(sessions), N_TRIALS),
            "repetition": repetition[trial],
            "is_shared": design.order[trial] <= N_SHARED,
        }
    )
    if design.pattern is not None:
        table["run"] = np.concatenate([_runs_of(design, number) for number in sessions])
    return table


def check_behaviour(copy: Copy, subject: str, trials: pd.DataFrame, context: brainlens.Context) -> pd.DataFrame:
    """Compare the trials with the subject's table of answers, where that is there, and take the runs from it.

    Raises
    ------
    ParameterError
        If it is of another subject, has another number of trials in a session, or names another image.
    """
    path = copy.behaviour(subject)
    if not path.exists():
        return trials
    table = _read_behaviour(context.source(path))
    number = SUBJECTS.index(subject) + 1
    if not (table["SUBJECT"] == number).all():
        others = table["SUBJECT"][table["SUBJECT"] != number].unique()
        raise brainlens.ParameterError(
            f"behaviour {str(path)!r}, column 'SUBJECT': expected {number} in every row, found "
            f"{brainlens.listed(others)}. Download the file of {subject}."
        )
    table = table[table["SESSION"].isin(trials["session"].unique())]
    for session, rows in trials.groupby("session"):
        here = table[table["SESSION"] == session]
        if len(here) != len(rows):
            raise brainlens.ParameterError(
                f"behaviour {str(path)!r}, column 'SESSION': expected {len(rows)} trials of session {session}, found "
                f"{len(here)}. Download the file again."
            )
        wrong = np.flatnonzero(here["73KID"].to_numpy() != rows["stimulus_id"].to_numpy())
        if len(wrong):
            first = int(wrong[0])
            raise brainlens.ParameterError(
                f"behaviour {str(path)!r}, column '73KID': expected the images of nsd_expdesign.mat, found "
                f"{len(wrong)} others in session {session}, first in trial {first + 1}: "
                f"{int(here['73KID'].iloc[first])} instead of {int(rows['stimulus_id'].iloc[first])}. One of both "
                "files is of another release or subject: download both again."
            )
    run = (N_RUNS * (table["SESSION"] - 1) + table["RUN"]).to_numpy()
    if "run" in trials and not np.array_equal(run, trials["run"]):
        raise brainlens.ParameterError(
            f"behaviour {str(path)!r}, column 'RUN': expected the runs of 'stimpattern' in nsd_expdesign.mat, found "
            "others. Download both files again."
        )
    return trials.assign(run=run)


def subject_images(design: Design, sessions: Sequence[int]) -> np.ndarray:
    """Return the 73k numbers of a subject's images, sorted; only those shown in some sessions, if any are named."""
    if not sessions:
        return np.sort(design.images)
    return np.unique(list_trials(design, sessions)["stimulus_id"].to_numpy())


def last_session(subject: str) -> int:
    """Return the number of the last session of a subject."""
    return N_SESSIONS[SUBJECTS.index(subject)]


def _field(found: dict[str, np.ndarray], name: str, path: Path) -> np.ndarray:
    """Return one variable of whole numbers from 1, of the shape that it must have."""
    if name not in found:
        known = [key for key in found if not key.startswith("__")]
        raise brainlens.ParameterError(
            f"design {str(path)!r}: expected a field {name!r}, found none. {brainlens.closest(name, known)}"
        )
    values = found[name]
    if values.shape != _SHAPES[name] or values.dtype.kind not in "iuf":
        raise brainlens.ParameterError(
            f"design {str(path)!r}, field {name!r}: expected numbers of shape {_SHAPES[name]}, found {values.dtype} of "
            f"shape {values.shape}. Download the file again."
        )
    whole = values.astype(np.int64)
    if (whole != values).any() or whole.min() < 1 or whole.max() > _TOP[name]:
        raise brainlens.ParameterError(
            f"design {str(path)!r}, field {name!r}: expected whole numbers from 1 to {_TOP[name]}, found "
            f"{values.min()} to {values.max()}. Download the file again."
        )
    return whole


def _runs_of(design: Design, session: int) -> np.ndarray:
    """Return the run of each trial of a session, from 1 over all sessions."""
    assert design.pattern is not None
    counts = (design.pattern[session - 1 : session] != 0).sum(axis=(0, 2))
    if counts.sum() != N_TRIALS:
        raise brainlens.ParameterError(
            f"design {str(design.path)!r}, field 'stimpattern': expected {N_TRIALS} trials in session {session}, found "
            f"{counts.sum()}. Download the file again."
        )
    return np.asarray(N_RUNS * (session - 1) + np.repeat(np.arange(1, N_RUNS + 1), counts))


def _read_behaviour(path: Path) -> pd.DataFrame:
    wanted = ["SUBJECT", "SESSION", "RUN", "73KID"]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", pd.errors.ParserWarning)
        try:
            table = pd.read_csv(path, sep="\t", usecols=lambda name: name in wanted)
        except (ValueError, UnicodeDecodeError) as error:
            raise brainlens.ParameterError(
                f"behaviour {str(path)!r}: expected a table of tab-separated columns, found {error}. Download it again."
            ) from error
    missing = [name for name in wanted if name not in table]
    if missing or table[wanted].isna().any(axis=None):
        found = f"no column {missing[0]!r}" if missing else "empty cells"
        raise brainlens.ParameterError(
            f"behaviour {str(path)!r}: expected columns {', '.join(wanted)} without gaps, found {found}. "
            "Download it again."
        )
    return table[wanted]
