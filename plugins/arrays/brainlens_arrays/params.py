"""The parameters of the three importers; how they are used is in `responses`, `embedding` and `images`."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

import brainlens

KEY = "May be left out where the file leaves no choice; elements of cells and structs are written 'Y/0', 'model/RDM'."
LIKE_KEY = "an array, as in `key`, or a column of a table."

Header = Literal["auto", "row", "none"]
HEADER = (
    "Of a .csv or .tsv: whether its first row names the columns. 'auto' takes a first row without any number as names "
    "and refuses what could be either."
)


class OriginParams(brainlens.Params):
    """Where data come from, for those who read the dataset later."""

    citation: str = Field(default="", description="What to cite for these data; kept in attrs, text.")
    licence: str = Field(default="", description="Terms under which the data may be used; kept in attrs, text.")


class ResponseParams(OriginParams):
    """Parameters of `arrays`: a response matrix, and the labels of its trials and voxels."""

    responses: str = Field(description="Path of the file with the response matrix.")
    key: str = Field(default="", description=f"Name of the response matrix in its file. {KEY}")
    orientation: Literal["trial_by_voxel", "voxel_by_trial"] = Field(
        default="trial_by_voxel", description="Which axis of the matrix is which, as MATLAB or numpy show it."
    )
    header: Header = Field(default="auto", description=HEADER)
    subject: str = Field(min_length=1, description="Person scanned, as the source labels them.")
    units: str = Field(default="arbitrary", min_length=1, description="Unit of the responses.")
    labels: str = Field(
        default="", description="Path of a file with one stimulus id per trial; '' with `labels_key`: as `responses`."
    )
    labels_key: str = Field(default="", description=f"Name of the stimulus ids: {LIKE_KEY}")
    stimulus_values: str = Field(
        default="", description="Path of a file with the stimulus of each trial as numbers; '': as `responses`."
    )
    stimulus_key: str = Field(
        default="", description="Name of the matrix of stimuli, for data without ids: equal stimuli get one id."
    )
    stimulus_orientation: Literal["as_responses", "trial_by_channel", "channel_by_trial"] = Field(
        default="as_responses", description="Which axis of the matrix of stimuli is the trial."
    )
    stimulus_prefix: str = Field(
        default="stimulus", min_length=1, description="Ids made from the matrix of stimuli are this, '-' and a number."
    )
    stimulus_model: str = Field(
        default="pixels", min_length=1, description="What the numbers in the matrix of stimuli are; attrs/model."
    )
    runs: str = Field(
        default="", description="Path of a file with one run per trial; '' with `runs_key`: as `responses`."
    )
    runs_key: str = Field(default="", description=f"Name of the runs: {LIKE_KEY}")
    run_length: int = Field(default=0, ge=0, description="Trials in each run, in order, if all are equal; 0: not so.")
    sessions: str = Field(
        default="", description="Path of a file with one session per trial; '' with `sessions_key`: as `responses`."
    )
    sessions_key: str = Field(default="", description=f"Name of the sessions: {LIKE_KEY}")
    roi_masks: str = Field(
        default="",
        description="Path of a .npz or .mat of named masks over voxels, of a table with one column per ROI, or of a "
        "folder with one mask per file.",
    )
    bad_voxels: Literal["error", "drop"] = Field(
        default="error", description="What to do about voxels that are constant or not finite."
    )


class EmbeddingParams(OriginParams):
    """Parameters of `arrays.embedding`: a matrix with one row per stimulus, and whose space it is."""

    values: str = Field(description="Path of the file with the embeddings, 2-D, or 3-D with tokens.")
    key: str = Field(default="", description=f"Name of the array in its file. {KEY}")
    orientation: Literal["stimulus_by_channel", "channel_by_stimulus"] = Field(
        default="stimulus_by_channel",
        description="Which axis is which; 3-D: (stimulus, token, channel) or (channel, token, stimulus).",
    )
    header: Header = Field(default="auto", description=HEADER)
    stimuli: str = Field(
        default="", description="Path of a file with one stimulus id per row; '' without `stimuli_key`: ids 0 to n - 1."
    )
    stimuli_key: str = Field(default="", description=f"Name of the stimulus ids: {LIKE_KEY}")
    model: str = Field(min_length=1, description="Which model's space the embedding lives in, such as 'clip-vit-l-14'.")


class ImagesParams(OriginParams):
    """Parameters of `arrays.images`: a folder of images, and how they are brought to one size."""

    folder: str = Field(description="Path of the folder.")
    pattern: str = Field(default="*", min_length=1, description="Which files in it, such as '*.png' or '**/*.jpg'.")
    size: int = Field(default=0, ge=0, description="Height and width in pixels; 0: as they are, all the same.")
    fit: Literal["exact", "crop", "pad"] = Field(
        default="exact",
        description="How to make an image square before it is resized: it is so already, cut the longer side at both "
        "ends, or add `pad_value` to the shorter.",
    )
    pad_value: int = Field(default=0, ge=0, le=255, description="Grey level around padded images, 0 to 255.")
    colour: Literal["rgb", "grey"] = Field(default="rgb", description="Three channels, or luma (ITU-R 601) alone.")
