"""The importer `public.nsd_labels`: HED labels of NSD's 1000 shared images, as texts and as a target of 0 and 1."""

from __future__ import annotations

import re
from collections.abc import Mapping

import numpy as np
import xarray as xr

import brainlens
from brainlens_public import LabelsParams, terms
from brainlens_public.tables import check_columns, read_table, whole_numbers

COLUMNS = ("nsd_id", "cocoId", "HED_short", "HED_long")
# The second table spells it with a space.
NAMES = ("File_Name", "File Name")
VIEWS = {"Foreground-view": "foreground", "Background-view": "background"}
NUMBERING = "number in NSD's list of 73,000 images from 1, as in plugin nsd; the file's nsd_id is one less"
# HED is a vocabulary of English words with a grammar of its own.
LANGUAGE = "en-x-hed"
_FILE = re.compile(r"nsd(\d{5})")


def read(*, params: LabelsParams, context: brainlens.Context) -> Mapping[str, xr.Dataset]:
    """Read a table of labels.

    Parameters
    ----------
    params
        Which file; see `LabelsParams`.
    context
        Notes it.

    Returns
    -------
    Mapping
        "text": stimulus_text.v1, `text` (stimulus, caption), short and long form. "tags": embedding.v1, (stimulus,
        channel), float32, 1 where an image has a tag; channels such as 'foreground: Human', sorted. `stimulus`, number
        in NSD's list from 1, ascending; `coco_id`.

    Raises
    ------
    RegistryError
        If the file is missing.
    ParameterError
        If it is damaged, has other columns, or a label is not as HED spells it.

    References
    ----------
    Attia, Holmes & Hermes (2023), nsd_hed_labels. Hierarchical event descriptors: hedtags.org.
    """
    path = context.source(params.file)
    terms.announce(terms.HED, context)
    what = "labels"
    table = read_table(path, what=what, separator="\t")
    check_columns(table, path, what=what, needed=COLUMNS, known=NAMES)
    number = whole_numbers(table, "nsd_id", path, what=what)
    if len(np.unique(number)) < len(number):
        raise brainlens.ParameterError(
            f"{what} {str(path)!r}, column 'nsd_id': expected every image once. Get it again."
        )
    for name in NAMES:
        for row, cell in enumerate(table.get(name, ())):
            match = _FILE.search(cell)
            if match and int(match[1]) != number[row] + 1:
                raise brainlens.ParameterError(
                    f"{what} {str(path)!r}, row {row + 1}: expected nsd_id one less than in {cell!r}, found "
                    f"{number[row]}. Get the published file again."
                )
    order = np.argsort(number)
    coords = {
        "stimulus": number[order] + 1,
        "coco_id": ("stimulus", whole_numbers(table, "cocoId", path, what=what)[order]),
    }
    tags = [_split(text, f"{what} {str(path)!r}, row {row + 1}") for row, text in enumerate(table["HED_short"])]
    channel = sorted(set().union(*tags))
    place = {name: column for column, name in enumerate(channel)}
    values = np.zeros((len(tags), len(channel)), np.float32)
    for row, found in enumerate(tags):
        values[row, [place[name] for name in found]] = 1
    for row, text in enumerate(table["HED_long"]):
        if not text.strip().endswith(")") or text.count("(") != text.count(")"):
            raise brainlens.ParameterError(
                f"{what} {str(path)!r}, row {row + 1}, column 'HED_long': expected parentheses that are closed, found "
                f"{text[-40:]!r}. Get the published file again."
            )
    texts = table[["HED_short", "HED_long"]].to_numpy(dtype=str)[order]
    made = {
        "text": xr.Dataset(
            {"text": (("stimulus", "caption"), texts)},
            {**coords, "caption": ["short", "long"]},
            {"schema": "stimulus_text.v1", "language": LANGUAGE, "numbering": NUMBERING},
        ),
        "tags": xr.Dataset(
            {"embedding": (("stimulus", "channel"), values[order])},
            {**coords, "channel": np.array(channel)},
            {"schema": "embedding.v1", "model": "HED tags", "numbering": NUMBERING},
        ),
    }
    return {name: terms.stamp(dataset, terms.HED) for name, dataset in made.items()}


def _split(text: str, where: str) -> set[str]:
    """Return the tags of an image, each with the view that it is in."""
    found: set[str] = set()
    depth, group = 0, ""
    for mark in f"{text},":
        depth += (mark == "(") - (mark == ")")
        if mark == "," and depth == 0:
            found |= _split_view(group, where)
            group = ""
        else:
            group += mark
    if depth or not found:
        raise brainlens.ParameterError(
            f"{where}, column 'HED_short': expected tags in parentheses that are closed, found {text!r}. Get it again."
        )
    return found


def _split_view(group: str, where: str) -> set[str]:
    tags = [tag.strip() for tag in re.split(r"[(),]", group) if tag.strip()]
    if not tags or tags[0] not in VIEWS:
        raise brainlens.ParameterError(
            f"{where}, column 'HED_short': expected {brainlens.listed(VIEWS)} at the beginning of a group, found "
            f"{tags[0] if tags else group!r}. Get the published file again."
        )
    return {f"{VIEWS[tags[0]]}: {tag}" for tag in tags[1:]}
