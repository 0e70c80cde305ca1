from __future__ import annotations

from pathlib import Path

import numpy as np
import open_clip
import pytest
from brainlens_stimuli.import_params import PictureParams
from brainlens_stimuli.pictures import (
    SUFFIXES,
    about_size,
    check_header,
    decode,
    find_files,
    fit_picture,
    read_lazily,
    stem,
    target_size,
)
from hypothesis import given, strategies
from open_clip.transform import PreprocessCfg, image_transform_v2
from PIL import Image

import brainlens


def picture(height: int, width: int, seed: int = 0) -> Image.Image:
    return Image.fromarray(np.random.default_rng(seed).integers(0, 256, (height, width, 3), dtype=np.uint8))


@given(height=strategies.integers(20, 60), width=strategies.integers(20, 60))
def test_a_cut_is_what_open_clip_would_make_of_the_picture(height: int, width: int) -> None:
    image = picture(height, width)
    transform = image_transform_v2(PreprocessCfg(size=24), is_train=False)
    cut = fit_picture(image, PictureParams(size=24, fit="crop", resample="bicubic"))
    np.testing.assert_array_equal(transform(image).numpy(), transform(Image.fromarray(cut)).numpy())


def test_open_clips_preprocessing_leaves_its_own_size_alone() -> None:
    model = open_clip.get_model_config("ViT-L-14")["vision_cfg"]["image_size"]
    transform = image_transform_v2(PreprocessCfg(size=model, mean=(0, 0, 0), std=(1, 1, 1)), is_train=False)
    image = picture(model, model)
    np.testing.assert_allclose(transform(image).permute(1, 2, 0).numpy() * 255, np.asarray(image), atol=1e-4)


def test_padding_and_stretching_are_what_pillow_makes() -> None:
    image = picture(30, 20)
    stretched = fit_picture(image, PictureParams(size=16, fit="stretch", resample="bilinear"))
    np.testing.assert_array_equal(stretched, np.asarray(image.resize((16, 16), Image.Resampling.BILINEAR)))
    padded = fit_picture(image, PictureParams(size=30, fit="pad", pad_value=7))
    np.testing.assert_array_equal(padded[:, 5:25], np.asarray(image))
    assert (padded[:, :5] == 7).all()
    assert (padded[:, 25:] == 7).all()


def test_pictures_of_the_right_size_are_left_alone() -> None:
    image = picture(16, 16)
    for fit in ("exact", "crop", "pad", "stretch"):
        np.testing.assert_array_equal(fit_picture(image, PictureParams(size=16, fit=fit)), np.asarray(image))
    np.testing.assert_array_equal(fit_picture(picture(9, 5), PictureParams()), np.asarray(picture(9, 5)))


def test_sizes_are_asked_for_where_they_are_not_clear() -> None:
    with pytest.raises(brainlens.DimensionError, match=r"expected pictures of one size, found 2 .*'2 x 3', '3 x 2'"):
        target_size([(3, 2), (2, 3)], ["a", "b"], PictureParams(), where="folder")
    with pytest.raises(
        brainlens.DimensionError, match="expected square pictures .* found 1 of 2 that are not: 'a'. Choose"
    ):
        target_size([(3, 2), (2, 2)], ["a", "b"], PictureParams(size=2), where="folder")
    assert target_size([(3, 2), (3, 2)], ["a", "b"], PictureParams(), where="folder") == (3, 2)


def test_what_was_resized_is_counted_and_said() -> None:
    params = PictureParams(size=4, fit="pad", pad_value=9, licence="CC0")
    assert about_size(params, [(4, 4), (5, 4)], (4, 4)) == {
        "fit": "pad", "resample": "bicubic", "n_resized": 1, "pad_value": 9, "licence": "CC0",
    }  # fmt: skip
    assert about_size(PictureParams(), [(4, 4)], (4, 4)) == {"n_resized": 0}


def test_files_are_sorted_and_strange_ones_refused(tmp_path: Path) -> None:
    for name in ("b.png", "a.jpg", ".hidden", "notes.txt"):
        (tmp_path / name).write_bytes(b"")
    with pytest.raises(brainlens.ParameterError, match="expected only pictures .* to match '\\*', found 'notes.txt'"):
        find_files(tmp_path, "*", SUFFIXES, what="pictures")
    assert [stem(path, tmp_path) for path in find_files(tmp_path, "*.*g", SUFFIXES, what="pictures")] == ["a", "b"]
    (tmp_path / "a.png").write_bytes(b"")
    with pytest.raises(brainlens.ParameterError, match="found 'a.jpg' and 'a.png', which would both be 'a'"):
        find_files(tmp_path, "*.*g", SUFFIXES, what="pictures")
    with pytest.raises(brainlens.ParameterError, match="found no file"):
        find_files(tmp_path, "*.gif", SUFFIXES, what="pictures")
    with pytest.raises(brainlens.ParameterError, match="expected files in the folder, found '../"):
        find_files(tmp_path, "../*.png", SUFFIXES, what="pictures")


def test_broken_deep_transparent_and_moving_pictures_are_refused(tmp_path: Path) -> None:
    picture(8, 8).save(tmp_path / "cut.png")
    (tmp_path / "cut.png").write_bytes((tmp_path / "cut.png").read_bytes()[:150])
    with pytest.raises(brainlens.ParameterError, match="found one that cannot be decoded .* Copy it again"):
        decode(tmp_path / "cut.png")
    (tmp_path / "text.png").write_text("no picture")
    with pytest.raises(brainlens.ParameterError, match="UnidentifiedImageError"):
        check_header(tmp_path / "text.png")
    Image.fromarray(np.zeros((4, 4), np.uint16)).save(tmp_path / "deep.png")
    with pytest.raises(brainlens.ParameterError, match="expected 8-bit grey or RGB, found Pillow's mode 'I;16'"):
        check_header(tmp_path / "deep.png")
    picture(4, 4).save(tmp_path / "moving.gif", save_all=True, append_images=[picture(4, 4, 1)])
    with pytest.raises(brainlens.ParameterError, match="expected one picture, found 2 frames"):
        check_header(tmp_path / "moving.gif")
    Image.fromarray(np.full((4, 4, 4), 99, np.uint8)).save(tmp_path / "clear.png")
    with pytest.raises(brainlens.ParameterError, match="expected opaque pixels, found 16 of 16 transparent"):
        decode(tmp_path / "clear.png")


def test_pictures_that_lie_are_stood_up_and_grey_ones_get_three_channels(tmp_path: Path) -> None:
    exif = Image.Exif()
    exif[0x0112] = 6
    picture(4, 6).save(tmp_path / "lying.png", exif=exif)
    assert check_header(tmp_path / "lying.png") == (6, 4)
    np.testing.assert_array_equal(np.asarray(decode(tmp_path / "lying.png")), np.rot90(np.asarray(picture(4, 6)), -1))
    picture(4, 4).convert("L").save(tmp_path / "grey.png")
    grey = np.asarray(decode(tmp_path / "grey.png"))
    assert (grey == grey[..., :1]).all()


def test_pictures_are_decoded_when_they_are_read(tmp_path: Path, context: brainlens.Context) -> None:
    files = []
    for number in range(4):
        files.append(tmp_path / f"{number}.png")
        picture(5, 7, number).save(files[-1])
    pictures, attrs = read_lazily(files, PictureParams(), context, where="here")
    assert attrs == {"n_resized": 0}
    files[3].unlink()
    np.testing.assert_array_equal(pictures[1:3].values, [np.asarray(picture(5, 7, number)) for number in (1, 2)])
    with pytest.raises(brainlens.ParameterError, match="cannot be decoded"):
        pictures[3].values  # noqa: B018
