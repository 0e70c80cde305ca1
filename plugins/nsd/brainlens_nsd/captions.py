"""The importer `nsd.captions`: what people wrote about the images, and which objects they marked, from COCO's files."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import xarray as xr

import brainlens
from brainlens_nsd import CaptionsParams
from brainlens_nsd.coco import iterate_lists
from brainlens_nsd.design import N_IMAGES
from brainlens_nsd.layout import open_copy
from brainlens_nsd.stimuli import NUMBERING, choose_images, image_attrs

LICENCE = "COCO annotations, Creative Commons Attribution 4.0"


def read(*, params: CaptionsParams, context: brainlens.Context) -> Mapping[str, xr.Dataset]:
    """Read captions, and categories where files of objects are given.

    Parameters
    ----------
    params
        Which images, and the files of annotations; see `CaptionsParams`.
    context
        Notes the files; shows progress.

    Returns
    -------
    Mapping
        Without `instances` under `""`, otherwise as `captions`: stimulus_text.v1 with `text`, dims (stimulus, caption),
        `stimulus` as in `nsd.stimuli`, `coco_id` (stimulus). With `instances` also `categories`: embedding.v1 with
        `embedding`, dims (stimulus, channel), float32: 1 where an object of the category is marked, else 0; channels
        are the names of the 80 categories, in the order of their numbers.

    Raises
    ------
    ParameterError
        If images lack captions, a file is damaged, or annotations of a whole part of COCO are missing.
    RegistryError
        If a file is missing.
    """
    images, _ = choose_images(params, context)
    coco = _read_coco_ids(context.source(open_copy(params.root, context).experiment / "nsd_stim_info_merged.csv"))
    files = [context.source(path) for path in params.captions]
    found = _collect_captions(files, set(coco["cocoId"].to_numpy()[images - 1].tolist()), context)
    kept = _check_captions(images, coco, found, params, context)
    coco_id = coco["cocoId"].to_numpy()[kept - 1]
    texts = np.array([found[number][: params.n_captions] for number in coco_id.tolist()], dtype=object)
    coords = {"stimulus": kept, "coco_id": ("stimulus", coco_id)}
    attrs = {"numbering": NUMBERING, "licence": LICENCE, **image_attrs(params)}
    captions = xr.Dataset(
        {"text": (("stimulus", "caption"), texts.astype(np.dtypes.StringDType()))},
        {**coords, "caption": np.arange(params.n_captions)},
        {"schema": "stimulus_text.v1", "language": "en", **attrs},
    )
    if len(kept) < len(images):
        captions.attrs["n_dropped_stimuli"] = len(images) - len(kept)
    if not params.instances:
        return {"": captions}
    files = [context.source(path) for path in params.instances]
    names, marked = _collect_categories(files, coco_id, context)
    _check_splits(kept, coco, files)
    categories = xr.Dataset(
        {"embedding": (("stimulus", "channel"), marked)},
        {**coords, "channel": names},
        {"schema": "embedding.v1", "model": "coco-categories", **attrs},
    )
    return {"captions": captions, "categories": categories}


def _read_coco_ids(path: Path) -> pd.DataFrame:
    """Return `cocoId` and `cocoSplit` of every image, in the order of the 73k list."""
    wanted = ["cocoId", "cocoSplit", "nsdId"]
    try:
        table = pd.read_csv(path, usecols=lambda name: name in wanted)
    except (ValueError, UnicodeDecodeError) as error:
        raise brainlens.ParameterError(
            f"descriptions {str(path)!r}: expected a table of comma-separated columns, found {error}. Download it "
            "again."
        ) from error
    missing = [name for name in wanted if name not in table]
    if missing:
        raise brainlens.ParameterError(
            f"descriptions {str(path)!r}: expected a column {missing[0]!r}, found none. Download it again."
        )
    if not np.array_equal(table["nsdId"], np.arange(N_IMAGES)):
        raise brainlens.ParameterError(
            f"descriptions {str(path)!r}, column 'nsdId': expected 0 to {N_IMAGES - 1} in order, found {len(table)} "
            "rows that are otherwise. Download it again."
        )
    return table


def _collect_captions(files: Sequence[Path], wanted: set[int], context: brainlens.Context) -> dict[int, list[str]]:
    """Return the captions of each COCO image, in the order of the files."""
    found: dict[int, list[str]] = {}
    for path in files:
        for number, (_, entry) in enumerate(
            context.progress(iterate_lists(path, ("annotations",)), label=f"reading {path.name}")
        ):
            image, caption = (_field(entry, name, path, number) for name in ("image_id", "caption"))
            if image in wanted:
                # Some end with a line break.
                found.setdefault(image, []).append(caption.strip())
    return found


def _check_captions(
    images: np.ndarray,
    coco: pd.DataFrame,
    found: Mapping[int, list[str]],
    params: CaptionsParams,
    context: brainlens.Context,
) -> np.ndarray:
    """Return the images that have enough captions, after refusing others or leaving them out."""
    rows = coco.iloc[images - 1]
    counts = np.array([len(found.get(number, ())) for number in rows["cocoId"].tolist()])
    few = counts < params.n_captions
    if not few.any():
        return images
    splits = rows["cocoSplit"][few].value_counts()
    text = f"{few.sum()} of {len(images)} images, such as {brainlens.listed(images[few])}"
    if params.missing == "error" or few.all():
        parts = " and ".join(f"{count} of {split}" for split, count in splits.items())
        raise brainlens.ParameterError(
            f"captions: expected {params.n_captions} for every image, found fewer for {text}: {parts}, the lowest "
            f"number {counts[few].min()}. Name the files of both parts of COCO, captions_train2017.json and "
            "captions_val2017.json, ask for fewer with n_captions=, or leave these images out with missing='drop'."
        )
    context.log.warning("nsd.captions: left out %s", text)
    return images[~few]


def _collect_categories(
    files: Sequence[Path], coco_id: np.ndarray, context: brainlens.Context
) -> tuple[np.ndarray, np.ndarray]:
    """Return the names of the categories, and which images have which; (stimulus, channel), float32."""
    row = {number: position for position, number in enumerate(coco_id.tolist())}
    categories: dict[int, str] = {}
    pairs: set[tuple[int, int]] = set()
    for path in files:
        lists = iterate_lists(path, ("annotations", "categories"))
        for number, (name, entry) in enumerate(context.progress(lists, label=f"reading {path.name}")):
            if name == "categories":
                categories[_field(entry, "id", path, number)] = _field(entry, "name", path, number)
            elif _field(entry, "image_id", path, number) in row:
                pairs.add((row[entry["image_id"]], _field(entry, "category_id", path, number)))
    order = sorted(categories)
    unnamed = {category for _, category in pairs} - set(order)
    if unnamed:
        raise brainlens.ParameterError(
            f"instances: expected a name for every category, found none of {brainlens.listed(sorted(unnamed))} in "
            f"{brainlens.listed([path.name for path in files])}. Download the files again."
        )
    marked = np.zeros((len(coco_id), len(order)), np.float32)
    column = {category: position for position, category in enumerate(order)}
    for position, category in pairs:
        marked[position, column[category]] = 1
    return np.array([categories[category] for category in order]), marked


def _check_splits(images: np.ndarray, coco: pd.DataFrame, files: Sequence[Path]) -> None:
    """Refuse a part of COCO without a file of its own: its images would seem to show nothing."""
    for split in coco["cocoSplit"].iloc[images - 1].unique():
        if not any(str(split) in path.name for path in files):
            raise brainlens.ParameterError(
                f"instances: expected a file of {split}, to which images belong, found "
                f"{brainlens.listed([path.name for path in files])}. Name instances_{split}.json too."
            )


def _field(entry: Mapping[str, Any], name: str, path: Path, number: int) -> Any:
    if name not in entry:
        raise brainlens.ParameterError(
            f"annotations {str(path)!r}, entry {number}: expected a field {name!r}, found {brainlens.listed(entry)}. "
            "Use the files captions_*2017.json and instances_*2017.json."
        )
    return entry[name]
