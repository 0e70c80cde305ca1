"""Where everything lies in a copy of the dataset, and which sessions there are; nothing is opened here."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType

import brainlens
from brainlens_nsd import BetasParams

N_TRIALS = 750
N_RUNS = 12
HEMISPHERES = MappingProxyType({"lh": "left", "rh": "right"})
VOLUMES = ("func1pt8mm", "func1mm")
# Of subj01 to subj08. Copies from before autumn 2023 lack the last three, which were kept back for a challenge.
N_SESSIONS = (40, 40, 32, 30, 40, 32, 40, 30)
N_KEPT_BACK = 3
GRIDS = MappingProxyType(
    {
        "subj01": (81, 104, 83),
        "subj02": (82, 106, 84),
        "subj03": (81, 106, 82),
        "subj04": (85, 99, 80),
        "subj05": (79, 97, 78),
        "subj06": (85, 113, 83),
        "subj07": (78, 95, 81),
        "subj08": (80, 103, 78),
    }
)
_NOT_THERE = "Finish the download, or name the sessions that you have, such as sessions='1-20'."


@dataclass(frozen=True)
class Copy:
    """A copy of the dataset, whose parts lie as they were published."""

    root: Path

    @property
    def experiment(self) -> Path:
        """Folder of the design and of the descriptions of the stimuli."""
        return self.root / "nsddata" / "experiments" / "nsd"

    @property
    def stimuli(self) -> Path:
        """File of all images."""
        return self.root / "nsddata_stimuli" / "stimuli" / "nsd" / "nsd_stimuli.hdf5"

    def betas(self, params: BetasParams) -> Path:
        """Folder of the betas."""
        return self.root / "nsddata_betas" / "ppdata" / params.subject / params.space / params.betas

    def behaviour(self, subject: str) -> Path:
        """Table of the answers of a subject."""
        return self.root / "nsddata" / "ppdata" / subject / "behav" / "responses.tsv"

    def volumes(self, params: BetasParams) -> Path:
        """Folder of the brain mask; that of ROIs lies in it."""
        return self.root / "nsddata" / "ppdata" / params.subject / params.space

    def labels(self, who: str) -> Path:
        """Folder of ROIs on the surface, and of the names of their labels; of a subject or fsaverage."""
        return self.root / "nsddata" / "freesurfer" / who / "label"


def open_copy(root: str, context: brainlens.Context) -> Copy:
    """Check that a folder is a copy of the dataset.

    Raises
    ------
    RegistryError
        If it is not there.
    ParameterError
        If it holds no folder `nsddata`.
    """
    # A folder that is noted as a source would be digested whole.
    path = brainlens.Context().source(root)
    if not (path / "nsddata").is_dir():
        inside = sorted(item.name for item in path.iterdir()) if path.is_dir() else []
        raise brainlens.ParameterError(
            f"root {root!r}: expected a folder with 'nsddata' in it, as in the bucket natural-scenes-dataset, found "
            f"{brainlens.listed(inside) or 'nothing'}. Name the folder above nsddata."
        )
    return Copy(path)


def session_files(copy: Copy, params: BetasParams, session: int) -> tuple[Path, ...]:
    """Name the files of a session: one of a volume, left and right of a surface."""
    folder, name = copy.betas(params), f"betas_session{session:02d}"
    if params.space in VOLUMES:
        return (folder / f"{name}.{'hdf5' if params.format == 'hdf5' else 'nii.gz'}",)
    ending = "mgh" if params.space == "fsaverage" else "hdf5"
    return tuple(folder / f"{side}.{name}.{ending}" for side in HEMISPHERES)


def choose_sessions(copy: Copy, params: BetasParams) -> list[int]:
    """Return the numbers of the sessions to be imported, from 1, after checking that all their files are there.

    Raises
    ------
    ParameterError
        If the parameter cannot be read or names a session that the subject never had.
    RegistryError
        If files are missing; the message names them, and what to do.
    """
    folder = copy.betas(params)
    if not folder.is_dir():
        near = folder.parent if folder.parent.is_dir() else folder.parent.parent
        found = sorted(item.name for item in near.iterdir()) if near.is_dir() else []
        raise brainlens.RegistryError(
            f"betas {str(folder)!r}: expected this folder, found {brainlens.listed(found) or 'nothing'} in "
            f"{near.name!r}. Download it, or choose what is there with space= and betas=."
        )
    n_sessions = N_SESSIONS[int(params.subject[-1]) - 1]
    if params.sessions != "all":
        chosen = parse_sessions(params.sessions, n_sessions, subject=params.subject)
        _refuse_missing(copy, params, chosen)
        return chosen
    there = [number for number in range(1, n_sessions + 1) if _is_there(copy, params, number)]
    for released in (n_sessions, n_sessions - N_KEPT_BACK):
        if there == list(range(1, released + 1)):
            return there
    wanted = n_sessions if set(there) & set(range(n_sessions - N_KEPT_BACK + 1, n_sessions + 1)) else released
    _refuse_missing(copy, params, range(1, wanted + 1))
    raise AssertionError("sessions that are all there were handled above")


def parse_sessions(text: str, n_sessions: int, *, subject: str) -> list[int]:
    """Read numbers and ranges of sessions.

    Raises
    ------
    ParameterError
        If the text is something else, or a session is named twice or does not exist.

    Examples
    --------
    >>> parse_sessions("1-3,7", 40, subject="subj01")
    [1, 2, 3, 7]
    """
    numbers: list[int] = []
    for part in text.replace(" ", "").split(","):
        first, dash, last = part.partition("-")
        if not first.isdecimal() or (dash and not last.isdecimal()):
            raise brainlens.ParameterError(
                f"sessions: expected 'all', or numbers and ranges such as '1-37' or '1,2,5', found {text!r}."
            )
        numbers += range(int(first), int(last if dash else first) + 1)
    strange = [number for number in numbers if not 1 <= number <= n_sessions]
    if strange or not numbers or len(set(numbers)) < len(numbers):
        found = f"{strange[0]}" if strange else repr(text)
        raise brainlens.ParameterError(
            f"sessions: expected each number once, from 1 to {n_sessions}, the last session of {subject}, found "
            f"{found}."
        )
    return sorted(numbers)


def _is_there(copy: Copy, params: BetasParams, session: int) -> bool:
    return all(path.exists() for path in session_files(copy, params, session))


def _refuse_missing(copy: Copy, params: BetasParams, sessions: Sequence[int]) -> None:
    missing = [path for number in sessions for path in session_files(copy, params, number) if not path.exists()]
    if not missing:
        return
    folder, names = missing[0].parent, set(os.listdir(missing[0].parent))
    partial = [name for name in sorted(names) if any(name.startswith(f"{path.name}.") for path in missing)]
    hint = f"{brainlens.listed(partial)} looks like an unfinished download. " if partial else ""
    if params.space in VOLUMES and not partial:
        other = "nifti" if params.format == "hdf5" else "hdf5"
        files = [session_files(copy, params.model_copy(update={"format": other}), number)[0] for number in sessions]
        hint = f"They are there as {other}: format={other!r}. " if all(path.exists() for path in files) else ""
    raise brainlens.RegistryError(
        f"betas {str(folder)!r}: expected a file for each of {len(sessions)} sessions of {params.subject}, found none "
        f"of {brainlens.listed([path.name for path in missing])}. {hint}{_NOT_THERE}"
    )
