"""Read BIDS events and find the volumes that lie inside each event.

A volume counts whole or not at all; fitting a haemodynamic response is left to GLM software.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pandas as pd

import brainlens
from brainlens_nifti import NiftiParams
from brainlens_nifti.tables import number_column, read_frame, text_column

# Times in tables are rounded to the ms or so; a volume that starts with an event must fall inside it.
TIME_TOLERANCE_S = 1e-3


def read_events(params: NiftiParams, tables: Sequence[Path], *, n_images: int) -> list[pd.DataFrame]:
    """Read one table of events per image: `onset` and `duration` in s, `label` (text), and `file`.

    Raises
    ------
    DimensionError
        If there are not as many tables as images.
    ParameterError
        If a column is missing, or an event that is not rest has no usable onset or duration.
    """
    if len(tables) != n_images:
        raise brainlens.DimensionError(
            f"events: expected one table per image, {n_images} in all, found {len(tables)}. "
            "Where one image holds all runs, give labels instead."
        )
    return [_read_events(path, params) for path in tables]


def _read_events(path: Path, params: NiftiParams) -> pd.DataFrame:
    frame = read_frame(path, what="events")
    columns = {
        "onset": number_column(frame, "onset", path=path, what="events"),
        "duration": number_column(frame, "duration", path=path, what="events"),
        "label": text_column(frame, params.label_column or "trial_type", path=path, what="events"),
    }
    events = pd.DataFrame(columns).assign(file=str(path))
    usable = np.isfinite(events["onset"]) & np.isfinite(events["duration"]) & (events["duration"] >= 0)
    bad = np.flatnonzero(~usable & ~events["label"].isin(list(params.rest)))
    if len(bad):
        event = events.iloc[bad[0]]
        raise brainlens.ParameterError(
            f"events {str(path)!r}: expected an onset, and a duration from 0, in s for every event, found onset "
            f"{event['onset']}, duration {event['duration']} for {event['label']!r} in row {bad[0] + 1}. "
            "Add its label to rest if it is no stimulus."
        )
    return join_events(events, gap=params.event_gap) if params.event_gap else events


def join_events(events: pd.DataFrame, *, gap: float) -> pd.DataFrame:
    """Join events of one label that follow each other closely, such as the pictures of one block.

    Parameters
    ----------
    events
        Columns `onset` and `duration` in s, `label`, `file`.
    gap
        Longest time in s between the end of an event and the onset of the next that joins it.

    Returns
    -------
    DataFrame
        The same columns, in the order of onsets; an event lasts from the first onset to the last end of those joined.
    """
    ordered = events.sort_values("onset", kind="stable").reset_index(drop=True)
    ends = ordered["onset"] + ordered["duration"]
    apart = ordered["onset"] - ends.shift() > gap + TIME_TOLERANCE_S
    group = (apart | (ordered["label"] != ordered["label"].shift())).cumsum()
    joined = ordered.assign(end=ends).groupby(group, sort=False)
    first = joined[["onset", "label", "file"]].first()
    return first.assign(duration=joined["end"].max() - first["onset"]).reset_index(drop=True)


def label_by_events(
    onsets: np.ndarray, files: np.ndarray, events: Sequence[pd.DataFrame], *, params: NiftiParams
) -> tuple[np.ndarray, np.ndarray]:
    """Give each volume the label of the event that it lies in, and number the events.

    Parameters
    ----------
    onsets
        Start of each volume of all images within its run, in s.
    files
        Number of the image of each volume.
    events
        One table per image.
    params
        Parameters of the importer: `rest` and `delay`.

    Returns
    -------
    tuple
        Label of each volume, text, the first rest label between events; and number of its event over all
        images, -1 between events.
    """
    between = params.rest[0] if params.rest else "rest"
    labels = np.full(len(onsets), between, dtype=object)
    blocks = np.full(len(onsets), -1)
    for number, frame in enumerate(events):
        rows = np.flatnonzero(files == number)
        shown = frame[~frame["label"].isin(list(params.rest))]
        owner = find_events(onsets[rows], shown, delay=params.delay)
        inside = owner >= 0
        labels[rows[inside]] = shown["label"].to_numpy()[owner[inside]]
        blocks[rows[inside]] = owner[inside] + blocks.max() + 1
    return labels.astype(str), blocks


def find_events(onsets: np.ndarray, events: pd.DataFrame, *, delay: float = 0.0) -> np.ndarray:
    """Find the event that each volume of one run lies in.

    Parameters
    ----------
    onsets
        Start of each volume, in s from the start of the run.
    events
        Columns `onset` and `duration` in s, `label`, and `file` for messages.
    delay
        Haemodynamic delay in s: a volume at time t is in an event if onset <= t - delay < onset + duration.

    Returns
    -------
    ndarray
        Row of the event for each volume, -1 for none.

    Raises
    ------
    ParameterError
        If events overlap in a volume, or an event holds no volume.
    """
    times = onsets[:, None] - delay + TIME_TOLERANCE_S
    starts, durations = events["onset"].to_numpy(), events["duration"].to_numpy()
    inside = (times >= starts) & (times < starts + durations)
    empty = np.flatnonzero(~inside.any(axis=0))
    if len(empty):
        event = events.iloc[empty[0]]
        raise brainlens.ParameterError(
            f"events {event['file']!r}: expected a volume inside every event, found none in {len(empty)} of "
            f"{len(events)}, "
            f"first {event['label']!r} at {event['onset']} s for {event['duration']} s. The run has "
            f"{len(onsets)} volumes, "
            f"the last at {onsets[-1]} s, and delay is {delay} s. Check that table and image are of the same run; "
            "short events need a GLM, not an average."
        )
    both = np.flatnonzero(inside.sum(axis=1) > 1)
    if len(both):
        together = events[inside[both[0]]]
        raise brainlens.ParameterError(
            f"events {together['file'].iloc[0]!r}: expected at most one event at a time, found "
            f"{brainlens.listed(together['label'])} "
            f"together in the volume at {onsets[both[0]]} s. Overlapping events need a GLM, not an average."
        )
    return np.where(inside.any(axis=1), inside.argmax(axis=1), -1) if len(events) else np.full(len(onsets), -1)
