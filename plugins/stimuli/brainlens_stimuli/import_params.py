"""Parameters of the importers; how pictures come to one size is said the same way everywhere."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

import brainlens


class PictureParams(brainlens.Params):
    """How pictures come to one size, and where they are from."""

    size: int = Field(0, ge=0, le=8192, description="Height and width in pixels; 0: as they are, all the same.")
    fit: Literal["exact", "crop", "pad", "stretch"] = Field(
        "exact",
        description="How a picture that is not square becomes so: refused; the shorter side resized and the longer cut "
        "at both ends, as most models do; filled up with pad_value; or stretched.",
    )
    resample: Literal["bicubic", "bilinear", "lanczos", "nearest"] = Field(
        "bicubic",
        description="How pixels are interpolated, with smoothing where pictures become smaller (not nearest).",
    )
    pad_value: int = Field(0, ge=0, le=255, description="Grey level around padded pictures.")
    citation: str = Field("", description="What to cite for these data; kept in attrs.")
    licence: str = Field("", description="Terms under which the data may be used; kept in attrs.")


class FolderParams(PictureParams):
    """Parameters of the importer `stimuli.folder`."""

    folder: str = Field(description="Path of the folder.")
    pattern: str = Field(
        "*", min_length=1, description="Which files in it, such as *.png, or **/*.jpg where subfolders are categories."
    )


class TableParams(PictureParams):
    """Parameters of the importer `stimuli.table`."""

    table: str = Field(
        description="Path of a .csv, .tsv or .json: a row or record for each stimulus, or an object from paths to "
        "captions."
    )
    root: str = Field("", description="Folder that paths in the table start from; '' for the table's own.")
    file: str = Field("file", description="Column with the paths of pictures; '' for a table of captions alone.")
    stimulus: str = Field("", description="Column with the identifiers; '' for the paths without suffix.")
    captions: list[str] = Field(default_factory=list, description="Columns with captions, in this order.")
    n_captions: int = Field(
        0,
        ge=0,
        description="With an object from paths to captions: how many of each, the first; 0: all, as many of each.",
    )
    language: str = Field("", description="BCP 47 tag of the language of the captions, such as en.")
    keep: list[str] = Field(default_factory=list, description="Columns that become coordinates along stimulus.")


class Hdf5Params(PictureParams):
    """Parameters of the importer `stimuli.hdf5`."""

    file: str = Field(description="Path of the HDF5 file.")
    key: str = Field(min_length=1, description="Name of the stack in it, such as imgBrick or group/images.")
    axes: Literal["stimulus_y_x_rgb", "stimulus_rgb_y_x"] = Field(
        "stimulus_y_x_rgb", description="Which axis is which, as h5py shows them."
    )
    values: Literal["bytes", "unit"] = Field(
        "bytes", description="bytes: uint8; unit: floating-point numbers from 0 to 1, times 255 and rounded."
    )
    stimulus_key: str = Field("", description="Name of the identifiers in it; '' numbers stimuli from 0.")


class VideoParams(PictureParams):
    """Parameters of the importer `stimuli.video`."""

    folder: str = Field(description="Path of the folder of video files.")
    pattern: str = Field("*", min_length=1, description="Which files in it, such as *.mp4.")
    frame_rate: float = Field(
        0, ge=0, le=1000, description="Frames per second that are taken; 0: all frames, which needs one constant rate."
    )
    start_s: float = Field(0, ge=0, description="Where in each video the first frame is taken, in s.")
    n_frames: int = Field(0, ge=0, description="Frames of each video; 0: as many as there are, the same of each.")
    kind: Literal["video", "frames"] = Field(
        "video",
        description="video: stimulus_video.v1; frames: each frame a stimulus of its own, stimulus_image.v1, for "
        "embedders of images.",
    )
