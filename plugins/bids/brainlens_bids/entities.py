"""Names of BIDS files: their entities, parsed and put together in the standard's order.

Nothing here looks at a disk.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from itertools import combinations

import brainlens

# The order in the schema of the standard, rules/entities.yaml of version 1.10.
ORDER = (
    "sub", "tpl", "ses", "cohort", "sample", "task", "tracksys", "acq", "nuc", "voi", "ce", "trc", "stain", "rec",
    "dir", "run", "mod", "echo", "flip", "inv", "mt", "part", "proc", "hemi", "space", "split", "recording", "chunk",
    "atlas", "seg", "scale", "res", "den", "label", "prov", "desc",
)  # fmt: skip
_PAIR = re.compile(r"([a-z]+)-([0-9a-zA-Z+]+)")


@dataclass(frozen=True)
class Name:
    """Entities, key to label, the suffix, such as `bold`, and the extension, with its dots."""

    entities: Mapping[str, str]
    suffix: str
    extension: str

    def __str__(self) -> str:
        return build(self.entities, self.suffix, self.extension)


def parse(file_name: str) -> Name:
    """Parse the name of a file.

    Parameters
    ----------
    file_name
        Without folders.

    Raises
    ------
    ParameterError
        If it is no name of BIDS, an entity is unknown or comes twice, or they are not in the standard's order.

    Examples
    --------
    >>> name = parse("sub-01_ses-pre_task-rest_run-02_space-T1w_desc-preproc_bold.nii.gz")
    >>> name.entities["ses"], name.suffix, name.extension
    ('pre', 'bold', '.nii.gz')
    """
    stem, dot, extension = file_name.partition(".")
    *pairs, suffix = stem.split("_")
    found = [_PAIR.fullmatch(pair) for pair in pairs]
    where = f"file name {file_name!r}"
    if not re.fullmatch(r"[0-9a-zA-Z]+", suffix) or not pairs or not all(found):
        raise brainlens.ParameterError(
            f"{where}: expected a name of BIDS, <key>-<label>_..._<suffix>.<extension>, such as "
            "sub-01_task-rest_bold.nii.gz, found another. Rename the file."
        )
    keys = [match.group(1) for match in found if match]
    for key in keys:
        check_key(key, where=where)
        if keys.count(key) > 1:
            raise brainlens.ParameterError(f"{where}: expected each entity once, found {key!r} twice. Rename the file.")
    ordered = sorted(keys, key=ORDER.index)
    if keys != ordered:
        raise brainlens.ParameterError(
            f"{where}: expected entities in the standard's order, {', '.join(ordered)}, found {', '.join(keys)}. "
            "Rename the file."
        )
    return Name({match.group(1): match.group(2) for match in found if match}, suffix, dot + extension)


def build(entities: Mapping[str, str], suffix: str, extension: str) -> str:
    """Put a name together, entities in the standard's order; those with an empty label are left out.

    Raises
    ------
    ParameterError
        If an entity is unknown.

    Examples
    --------
    >>> build({"run": "1", "task": "rest", "sub": "01", "acq": ""}, "bold", ".nii.gz")
    'sub-01_task-rest_run-1_bold.nii.gz'
    """
    for key in entities:
        check_key(key, where="entities")
    pairs = [f"{key}-{entities[key]}" for key in ORDER if entities.get(key)]
    return "_".join([*pairs, suffix]) + extension


def check_key(key: str, *, where: str) -> None:
    """Refuse an entity that the standard does not know.

    Raises
    ------
    ParameterError
        Naming the closest.
    """
    if key not in ORDER:
        raise brainlens.ParameterError(
            f"{where}: expected entities of BIDS by their keys, found {key!r}. "
            f"{brainlens.closest(key, ORDER, what='keys')}"
        )


def applicable(entities: Mapping[str, str], suffix: str, extension: str) -> Iterator[str]:
    """Yield the names of all files that may hold metadata of a file, those with most entities first.

    The standard's inheritance principle: a file applies to another one where its entities are among the other's.

    Examples
    --------
    >>> list(applicable({"sub": "1", "task": "x"}, "bold", ".json"))
    ['sub-1_task-x_bold.json', 'sub-1_bold.json', 'task-x_bold.json', 'bold.json']
    """
    keys = [key for key in ORDER if entities.get(key)]
    for count in range(len(keys), -1, -1):
        for chosen in combinations(keys, count):
            yield build({key: entities[key] for key in chosen}, suffix, extension)


def entity_of(file_name: str, key: str) -> str:
    """Return the label of one entity in any file name; '' where there is none.

    Examples
    --------
    >>> entity_of("sub-02_anything at all.nii", "sub"), entity_of("betas.nii", "sub")
    ('02', '')
    """
    found = re.search(rf"(?:^|_){key}-([0-9a-zA-Z+]+)", file_name)
    return found.group(1) if found else ""
