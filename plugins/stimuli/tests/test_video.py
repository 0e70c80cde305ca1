from __future__ import annotations

import sys
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import pytest
import xarray as xr
from brainlens_stimuli.import_params import VideoParams
from brainlens_stimuli.video import read

import brainlens

N_FRAMES, RATE = 30, 10


def write(path: Path, levels: list[int], *, times: list[int] | None = None, codec: str = "libx264") -> None:
    """Write a video of grey frames that are told by their level; key frames are rare, and frames lie out of order."""
    with av.open(str(path), "w") as container:
        stream = container.add_stream(codec, rate=RATE, options={"qp": "0", "bf": "2"})
        stream.width, stream.height, stream.pix_fmt, stream.gop_size = 48, 32, "yuv420p", 12
        stream.codec_context.time_base = Fraction(1, RATE)
        for number, level in enumerate(levels):
            frame = av.VideoFrame.from_ndarray(np.full((32, 48, 3), level, np.uint8), format="rgb24")
            frame.pts = times[number] if times else number
            frame.time_base = Fraction(1, RATE)
            container.mux(stream.encode(frame))
        container.mux(stream.encode())


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    for name, first in (("b", 10), ("a", 100)):
        write(tmp_path / f"{name}.mp4", [first + 4 * number for number in range(N_FRAMES)])
    return tmp_path


def run(folder: Path, **params: object) -> xr.Dataset:
    return read(params=VideoParams(folder=str(folder), **params), context=brainlens.Context())[""]


def levels(frames: xr.DataArray) -> np.ndarray:
    return frames.mean(("y", "x", "rgb")).values


def test_all_frames_are_read_lazily_and_in_order(folder: Path) -> None:
    found = run(folder)
    brainlens.validate(found, "stimulus_video.v1")
    assert found["video"].shape == (2, N_FRAMES, 32, 48, 3)
    assert not isinstance(found["video"].variable._data, np.ndarray)
    assert found["stimulus"].values.tolist() == ["a", "b"]
    assert found.attrs["frame_rate"] == RATE
    expected = np.array([[100], [10]]) + 4 * np.arange(N_FRAMES)
    np.testing.assert_allclose(levels(found["video"]), expected, atol=1.5)
    np.testing.assert_allclose(levels(found["video"][1:]), expected[1:], atol=1.5)


@pytest.mark.parametrize("rate", [2.5, 4, 10, 25])
def test_frames_are_those_on_show_at_the_times_asked_for(folder: Path, rate: float) -> None:
    found = run(folder, frame_rate=rate, start_s=0.5, n_frames=5)
    times = 0.5 + np.arange(5) / rate
    np.testing.assert_allclose(levels(found["video"])[0], 100 + 4 * np.floor(times * RATE + 1e-6), atol=1.5)
    assert found.attrs["frame_rate"] == rate


def test_without_a_number_as_many_frames_are_taken_as_there_are(folder: Path) -> None:
    assert run(folder, frame_rate=4)["video"].sizes["frame"] == 12
    assert run(folder, start_s=1)["video"].sizes["frame"] == 20


def test_frames_may_be_stimuli_of_their_own(folder: Path) -> None:
    found = run(folder, kind="frames", frame_rate=2, size=16, fit="crop")
    brainlens.validate(found, "stimulus_image.v1")
    assert found["image"].shape == (12, 16, 16, 3)
    assert found["stimulus"].values[[0, 7]].tolist() == ["a/00000", "b/00001"]
    assert found["video"].values[[5, 6]].tolist() == ["a", "b"]
    np.testing.assert_allclose(found["time_s"].values[:3], [0, 0.5, 1])
    whole = levels(found["image"])
    np.testing.assert_allclose(whole[:6], 100 + 20 * np.arange(6), atol=1.5)
    # Pieces that begin within a video, and reach into the next one.
    np.testing.assert_array_equal(levels(found["image"][4:8]), whole[4:8])
    assert found.attrs["n_resized"] == 2


def test_videos_that_are_not_alike_are_refused_unless_it_is_said_what_is_taken(folder: Path) -> None:
    write(folder / "c.mp4", [50] * 12)
    with pytest.raises(brainlens.DimensionError, match="as many frames of every video, found 12 to 30.*at most 12"):
        run(folder)
    assert run(folder, n_frames=12)["video"].sizes["frame"] == 12
    with pytest.raises(
        brainlens.ParameterError, match="c.mp4': expected 20 frames from 0.0 s on at 10.0 per s, found 12"
    ):
        run(folder, n_frames=20)
    with pytest.raises(brainlens.ParameterError, match="expected some frames from 9.0 s on at 4.0 per s, found 0"):
        run(folder, start_s=9, frame_rate=4)


def test_a_rate_that_changes_is_refused_unless_one_is_asked_for(folder: Path) -> None:
    write(folder / "c.mp4", [10 * number for number in range(6)], times=[0, 1, 2, 8, 9, 20])
    with pytest.raises(brainlens.DimensionError, match="expected frames at one constant rate, found intervals of 0.1"):
        run(folder, pattern="c.mp4")
    found = run(folder, pattern="c.mp4", frame_rate=5, n_frames=7)
    # At 0, 0.2, 0.4, … s, where the frames begin at 0, 0.1, 0.2, 0.8, 0.9 and 2 s.
    np.testing.assert_allclose(levels(found["video"])[0], [0, 20, 20, 20, 30, 40, 40], atol=1.5)


def test_a_file_that_is_no_video_is_refused(folder: Path) -> None:
    (folder / "c.mp4").write_bytes(b"no video" * 100)
    with pytest.raises(
        brainlens.ParameterError, match="c.mp4': expected a video that FFmpeg decodes, found InvalidData"
    ):
        run(folder)


def test_the_library_is_asked_for_where_it_is_missing(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "av", None)
    with pytest.raises(
        brainlens.PluginError, match=r"expected PyAV, found none. Install it: pip install 'brainlens-stim"
    ):
        run(folder)
