"""The importer `stimuli.video`: frames of video files at stated times, decoded when they are read, by PyAV."""

from __future__ import annotations

import importlib
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np
import xarray as xr
from PIL import Image

import brainlens
from brainlens_stimuli.import_params import VideoParams
from brainlens_stimuli.pictures import about_size, find_files, fit_picture, lazy_pictures, stem, target_size

SUFFIXES = (".avi", ".m4v", ".mkv", ".mov", ".mpg", ".webm", ".mp4")
# How far intervals between frames may be from each other at one rate, in s: containers round times to ms.
_TOLERANCE_S = 0.0021


@dataclass(frozen=True, kw_only=True)
class Clip:
    """One video file.

    Parameters
    ----------
    path
        Where it lies.
    size
        Height and width.
    stamps
        When its frames are shown, in units of `time_base`, ascending.
    time_base
        In s.
    """

    path: Path
    size: tuple[int, int]
    stamps: np.ndarray
    time_base: Fraction

    @property
    def times(self) -> np.ndarray:
        """When frames are shown, in s from the first."""
        seconds: np.ndarray = (self.stamps - self.stamps[0]) * float(self.time_base)
        return seconds


def read(*, params: VideoParams, context: brainlens.Context) -> Mapping[str, xr.Dataset]:
    """Read frames of every video in a folder.

    Parameters
    ----------
    params
        Which files, which frames, and how these come to one size; see `VideoParams`.
    context
        Notes the folder; shows progress.

    Returns
    -------
    Mapping
        Under `""` stimulus_video.v1: `video`, dims (stimulus, frame, y, x, rgb), uint8, sRGB, and
        `attrs["frame_rate"]`. Or, as frames, stimulus_image.v1: `image` (stimulus, y, x, rgb), with `video` and
        `time_s` (stimulus).

    Raises
    ------
    ParameterError
        If nothing matches, a file is no video, is damaged, turned, or shorter than what is asked for.
    DimensionError
        If sizes, rates or numbers of frames differ and none is asked for.
    RegistryError
        If the folder does not exist.
    PluginError
        If PyAV is not installed.
    """
    folder = context.source(params.folder)
    files = find_files(folder, params.pattern, SUFFIXES, what="videos")
    clips = [_open_clip(path) for path in context.progress(files, label="checking")]
    rate = params.frame_rate or _common_rate(clips)
    wanted = [_choose_frames(clip, rate, params) for clip in clips]
    n_frames = {len(each) for each in wanted}
    if len(n_frames) > 1:
        raise brainlens.DimensionError(
            f"folder {str(folder)!r}: expected as many frames of every video, found {min(n_frames)} to "
            f"{max(n_frames)}. Take the same of each with n_frames=, at most {min(n_frames)}."
        )
    where = f"folder {str(folder)!r}"
    size = target_size([clip.size for clip in clips], [clip.path.name for clip in clips], params, where=where)
    attrs = {**about_size(params, [clip.size for clip in clips], size), "frame_rate": float(rate)}
    names = [stem(path, folder) for path in files]
    count = n_frames.pop()

    def frames(low: int, high: int) -> np.ndarray:
        """Return some of the frames of all videos, counted through."""
        made = np.empty((high - low, *size, 3), np.uint8)
        for number in range(low // count, -(-high // count)):
            first, last = max(low, number * count), min(high, (number + 1) * count)
            chosen = wanted[number][first - number * count : last - number * count]
            for place, picture in _decode(clips[number], chosen):
                made[first - low + place] = fit_picture(picture, params)
        return made

    if params.kind == "frames":
        numbers = np.arange(count)
        coords: dict[str, Any] = {
            "stimulus": np.array([f"{name}/{number:05d}" for name in names for number in numbers]),
            "video": ("stimulus", np.repeat(names, count)),
            "time_s": ("stimulus", np.tile(params.start_s + numbers / float(rate), len(names))),
        }
        pictures = lazy_pictures(len(names) * count, size, frames)
        return {"": xr.Dataset({"image": pictures}, coords, {"schema": "stimulus_image.v1", **attrs})}
    video = brainlens.made_rows(
        ("stimulus", "frame", "y", "x", "rgb"),
        (len(names), count, *size, 3),
        np.uint8,
        lambda low, high: frames(low * count, high * count).reshape(high - low, count, *size, 3),
    )
    coords = {"stimulus": np.array(names), "frame": np.arange(count)}
    return {"": xr.Dataset({"video": video}, coords, {"schema": "stimulus_video.v1", **attrs})}


def _open_clip(path: Path) -> Clip:
    """Read when the frames of a video are shown, without decoding any but the first."""
    with _opened(path) as container:
        stream = container.streams.video[0]
        stamps = np.sort([packet.pts for packet in container.demux(stream) if packet.pts is not None])
        container.seek(int(stamps[0]), stream=stream)
        first = next(container.decode(stream))
        rotation = getattr(first, "rotation", 0)
        found = Clip(path=path, size=(first.height, first.width), stamps=stamps, time_base=stream.time_base)
    if rotation:
        raise brainlens.ParameterError(
            f"video {str(path)!r}: expected upright frames, found them turned by {rotation} degrees. Encode it upright."
        )
    return found


def _common_rate(clips: Sequence[Clip]) -> float:
    """Return the rate of frames, if it is constant and the same in all videos."""
    rates = []
    for clip in clips:
        steps = np.diff(clip.times)
        if steps.size == 0 or np.ptp(steps) > _TOLERANCE_S:
            raise brainlens.DimensionError(
                f"video {str(clip.path)!r}: expected frames at one constant rate, found "
                f"{f'intervals of {steps.min():.4f} to {steps.max():.4f} s' if steps.size else 'one frame'}. Say which "
                "are taken with frame_rate= and n_frames=."
            )
        rates.append(1 / steps.mean())
    if max(rates) - min(rates) > 0.01 * min(rates):
        raise brainlens.DimensionError(
            f"videos: expected one frame rate, found {min(rates):.3f} to {max(rates):.3f} per s. Choose one with "
            "frame_rate=."
        )
    return float(np.round(np.mean(rates), 3))


def _choose_frames(clip: Clip, rate: float, params: VideoParams) -> np.ndarray:
    """Return the stamps of the frames on show at start_s, start_s + 1 / rate, and so on."""
    times = clip.times
    step = np.diff(times).mean() if len(times) > 1 else 1 / rate
    if params.frame_rate == 0:
        # Every frame once, whatever the rounding of times.
        chosen = clip.stamps[times >= params.start_s - step / 2]
        possible = len(chosen)
        chosen = chosen[: params.n_frames or None]
    else:
        length = times[-1] + step - params.start_s
        possible = max(0, int(np.ceil(length * rate - 1e-6)))
        asked = params.start_s + np.arange(params.n_frames or possible) / rate
        chosen = clip.stamps[np.searchsorted(times, asked + 1e-6, side="right") - 1]
    if possible < max(1, params.n_frames):
        raise brainlens.ParameterError(
            f"video {str(clip.path)!r}: expected {params.n_frames or 'some'} frames from {params.start_s} s on at "
            f"{rate} per s, found {possible}. Take fewer, or leave the video out."
        )
    return chosen


def _decode(clip: Clip, stamps: np.ndarray) -> Iterator[tuple[int, Image.Image]]:
    """Yield chosen frames with their places; a frame may be chosen several times."""
    places: dict[int, list[int]] = {}
    for place, stamp in enumerate(stamps.tolist()):
        places.setdefault(stamp, []).append(place)
    with _opened(clip.path) as container:
        stream = container.streams.video[0]
        # To the last key frame before the first one that is wanted; all others follow from there.
        container.seek(int(stamps[0]), stream=stream)
        for frame in container.decode(stream):
            for place in places.pop(frame.pts, ()):
                yield place, Image.fromarray(frame.to_ndarray(format="rgb24"))
            if not places:
                return
    raise brainlens.ParameterError(
        f"video {str(clip.path)!r}: expected {len(stamps)} frames, found {len(places)} that cannot be decoded. Copy it "
        "again, or leave it out with pattern=."
    )


@contextmanager
def _opened(path: Path) -> Iterator[Any]:
    try:
        av = importlib.import_module("av")
    except ImportError as error:
        raise brainlens.PluginError(
            "stimuli.video: expected PyAV, found none. Install it: pip install 'brainlens-stimuli[video]'."
        ) from error
    try:
        with av.open(str(path)) as container:
            yield container
    except (av.FFmpegError, IndexError, StopIteration, ValueError) as error:
        raise brainlens.ParameterError(
            f"video {str(path)!r}: expected a video that FFmpeg decodes, found {type(error).__name__}: {error}. "
            "Copy it again, or leave it out with pattern=."
        ) from error
