"""Tar shards of images and texts, made here, through the importer and into a registry."""

from __future__ import annotations

import io
import json
import logging
import subprocess
import sys
import tarfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import xarray as xr
from brainlens_retrieval.search_params import TarParams
from brainlens_retrieval.tar_shards import read
from PIL import Image

import brainlens

PIXELS = np.random.default_rng(0).integers(0, 256, (6, 8, 8, 3), dtype=np.uint8)


def image(pixels: np.ndarray) -> bytes:
    file = io.BytesIO()
    Image.fromarray(pixels).save(file, "PNG")
    return file.getvalue()


def write_tar(path: Path, members: dict[str, bytes]) -> Path:
    with tarfile.open(path, "w") as shard:
        for name, content in members.items():
            item = tarfile.TarInfo(name)
            item.size = len(content)
            shard.addfile(item, io.BytesIO(content))
    return path


def load(path: Path, **changed: Any) -> dict[str, xr.Dataset]:
    context = brainlens.Context()
    datasets = dict(read(params=TarParams(files=path, **changed), context=context))
    for dataset in datasets.values():
        brainlens.validate(dataset, "stimulus_image.v1")
    return datasets


@pytest.fixture
def shard(tmp_path):
    """Return a shard of three images, of which two have texts."""
    members = {f"{row:03d}.png": image(PIXELS[row]) for row in range(3)}
    members |= {"000.txt": b"a cat\n", "002.txt": "Zoë".encode()}
    members |= {"001.json": json.dumps({"url": "there", "size": [1, 2], "none": None}).encode()}
    return write_tar(tmp_path / "00000.tar", members)


def test_images_come_with_their_texts_and_tags(shard):
    dataset = load(shard, json_keys=("url", "size"))[""]
    np.testing.assert_array_equal(dataset["image"], PIXELS[:3])
    assert dataset["stimulus"].values.tolist() == ["000", "001", "002"]
    assert dataset["text"].values.tolist() == ["a cat", "", "Zoë"]
    assert dataset["url"].values.tolist() == ["", "there", ""]
    assert dataset["size"].values.tolist() == ["", "[1, 2]", ""]


def test_every_shard_of_a_folder_is_a_dataset_and_is_stored(shard, tmp_path):
    write_tar(tmp_path / "00001.tar", {"9.png": image(PIXELS[5]), "9.cls": b"3"})
    shards = load(tmp_path, size=4)
    assert list(shards) == ["00000", "00001"]
    assert shards["00001"]["tag"].values.tolist() == ["3"]
    registry = brainlens.open(tmp_path / "study")
    registry.put("a", shards["00000"], schema="stimulus_image")
    assert registry["a"]["image"].shape == (3, 4, 4, 3)
    assert registry["a"]["text"].values.tolist() == ["a cat", "", "Zoë"]


def test_pixels_are_decoded_when_they_are_asked_for(shard, monkeypatch):
    from brainlens_retrieval import tar_shards

    decoded = []
    decode = tar_shards.decode_image
    monkeypatch.setattr(tar_shards, "decode_image", lambda *args: decoded.append(args[2]) or decode(*args))
    dataset = load(shard)[""]
    assert decoded == []
    np.testing.assert_array_equal(dataset["image"][1], PIXELS[1])
    assert len(decoded) == 1


def test_a_stimulus_without_an_image_or_with_two_is_refused(tmp_path):
    path = write_tar(tmp_path / "a.tar", {"1.png": image(PIXELS[0]), "2.txt": b"alone"})
    with pytest.raises(
        brainlens.ParameterError, match="expected one image for each stimulus, found 0 for '2', which has 'txt'"
    ):
        load(path)
    path = write_tar(tmp_path / "b.tar", {"1.png": image(PIXELS[0]), "1.jpg": b""})
    with pytest.raises(brainlens.ParameterError, match="found 2 for '1', which has 'png', 'jpg'"):
        load(path)


def test_broken_images_are_named_and_nothing_is_stored(tmp_path):
    whole = image(PIXELS[1])
    path = write_tar(tmp_path / "a.tar", {"1.png": image(PIXELS[0]), "2.png": whole[: len(whole) // 2]})
    registry = brainlens.open(tmp_path / "study")
    with pytest.raises(brainlens.BrainlensError, match=r"image '2.png'.*: expected an image"):
        registry.put("a", load(path)[""], schema="stimulus_image")
    assert list(registry.list()) == []
    write_tar(path, {"1.png": image(PIXELS[0]), "2.png": b"nothing"})
    with pytest.raises(brainlens.ParameterError, match=r"image '2.png': expected an image .*cannot be decoded"):
        load(path)


def test_sizes_that_differ_are_listed(tmp_path):
    path = write_tar(tmp_path / "a.tar", {"1.png": image(PIXELS[0]), "2.png": image(PIXELS[0][:4])})
    with pytest.raises(
        brainlens.DimensionError, match="expected images of one size, found 2 sizes .*: '4 x 8', '8 x 8'"
    ):
        load(path)
    with pytest.raises(brainlens.DimensionError, match="found 1 of 2 that are not: '2.png'. Choose fit="):
        load(path, size=4)
    assert load(path, size=4, fit="crop", colour="grey")[""]["image"].shape == (2, 4, 4)


def test_texts_that_are_none_are_refused(tmp_path):
    one = {"1.png": image(PIXELS[0])}
    with pytest.raises(brainlens.ParameterError, match="text '1.txt': expected UTF-8, found byte 0 that is none"):
        load(write_tar(tmp_path / "a.tar", {**one, "1.txt": b"\xff"}))
    for content, words in ((b"{", "expected JSON, found none"), (b"[1]", "expected a JSON object, found list")):
        with pytest.raises(brainlens.ParameterError, match=words):
            load(write_tar(tmp_path / "a.tar", {**one, "1.json": content}), json_keys=("url",))
    with pytest.raises(brainlens.ParameterError, match="expected .json members with 'url', found none that has"):
        load(write_tar(tmp_path / "a.tar", {**one, "1.json": b"{}"}), json_keys=("url",))
    with pytest.raises(brainlens.ParameterError, match="json_keys: expected names .* found 'text'"):
        load(tmp_path / "a.tar", json_keys=("text",))


def test_what_is_not_read_is_said(tmp_path, caplog):
    path = write_tar(tmp_path / "a.tar", {"1.png": image(PIXELS[0]), "1.npy": b""})
    with caplog.at_level(logging.WARNING, logger="brainlens"):
        load(path)
    assert "a.tar: members ending in 'npy' are not read" in caplog.text


def test_an_empty_shard_is_refused(tmp_path):
    with pytest.raises(brainlens.ParameterError, match="expected images, found no member"):
        load(write_tar(tmp_path / "a.tar", {}))


KILLED = """
import os, sys
import brainlens, brainlens_retrieval as plugin
from brainlens_retrieval import tar_shards
from brainlens_retrieval.search_components import COMPONENTS

plugin.brainlens_components = brainlens.hookimpl(lambda: COMPONENTS)
decode = tar_shards.decode_image
is_last = lambda where: "00001.tar" in where and sys.argv[3] == "killed"
tar_shards.decode_image = lambda *args: os._exit(9) if is_last(args[2]) else decode(*args)
print(*brainlens.open(sys.argv[1]).ingest("retrieval.tar", files=sys.argv[2], name="web"))
"""


def test_a_kill_loses_the_shard_in_hand_and_the_same_call_goes_on(shard, tmp_path):
    write_tar(tmp_path / "00001.tar", {"9.png": image(PIXELS[5])})
    where = [str(tmp_path / "study"), str(tmp_path)]
    killed = subprocess.run([sys.executable, "-c", KILLED, *where, "killed"], check=False, capture_output=True)
    assert killed.returncode == 9, killed.stderr
    registry = brainlens.open(tmp_path / "study")
    assert list(registry.list()) == ["web/00000"]
    registry.verify("web/00000")
    subprocess.run([sys.executable, "-c", KILLED, *where, "whole"], check=True)
    assert list(registry.list()) == ["web/00000", "web/00001"]
