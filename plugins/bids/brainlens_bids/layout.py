"""Find the files of named runs: every path is put together from entities and looked for, nothing is searched.

A folder is listed only when a file is missing, and only that one, to say what is there instead.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import brainlens
from brainlens_bids import RunsParams
from brainlens_bids.entities import applicable, build, check_key, entity_of

CONFOUNDS = ("timeseries", "regressors")
IMAGES = (".nii.gz", ".nii")
# What distinguishes images of one acquisition, but not its events or confounds.
_OF_IMAGES = ("echo", "part", "space", "res", "den", "hemi", "desc")


@dataclass(frozen=True)
class Run:
    """One run: labels as brainlens stores them, the entities of its BOLD, and the file of it.

    On surfaces that is the left hemisphere's, and `right` the other.
    """

    session: str
    run: str
    entities: Mapping[str, str]
    bold: Path
    right: Path | None = None

    @property
    def acquisition(self) -> dict[str, str]:
        """The entities that events and confounds share with the images."""
        return {key: label for key, label in self.entities.items() if key not in _OF_IMAGES}


def find_runs(params: RunsParams, context: brainlens.Context) -> list[Run]:
    """Find the BOLD of every run that is asked for, sessions in the order given, and runs within each.

    Raises
    ------
    ParameterError
        Naming every file that is missing, and what is in its folder.
    RegistryError
        If the dataset itself is not there.
    """
    root = open_dataset(params.derivatives or params.raw, context)
    extra = dict(params.entities)
    for key in extra:
        check_key(key, where="entities")
        if key in ("sub", "ses", "task", "run", "space", "desc"):
            raise brainlens.ParameterError(
                f"entities: expected further entities, found {key!r}, which has a parameter of its own. Use that."
            )
    derived = {"space": params.space, "desc": params.desc} if params.derivatives else {}
    sides = [{"hemi": "L", "desc": ""}, {"hemi": "R", "desc": ""}] if params.format == "gifti" else [{}]
    endings = IMAGES if params.format == "nifti" else (".func.gii",)
    runs, missing = [], []
    for session, label in _labels(params):
        entities = {"sub": params.subject, "ses": session, "task": params.task, "run": label, **extra, **derived}
        folder = func_folder(root, entities)
        files = []
        for side in sides:
            paths = [folder / build({**entities, **side}, "bold", ending) for ending in endings]
            found = [path for path in paths if _is_there(path)]
            if len(found) > 1:
                raise brainlens.ParameterError(
                    f"bold: expected one file of the run, found {brainlens.listed(map(str, found))}. Remove one."
                )
            files += found
            missing += [] if found else paths[:1]
        if len(files) == len(sides):
            kept = {key: value for key, value in {**entities, **sides[0]}.items() if value}
            runs.append(Run(_session_name(session), _run_name(session, label, params), kept, *files))
    if missing:
        raise brainlens.ParameterError(_missing_text("bold", missing, root))
    for path in (path for run in runs for path in (run.bold, run.right) if path):
        check_content(path, what="bold")
    return runs


def open_dataset(path: str, context: brainlens.Context) -> Path:
    """Return the folder of a dataset.

    Raises
    ------
    RegistryError
        If there is nothing.
    ParameterError
        If it is no folder.
    """
    # Noted file by file: the digest of a whole dataset would read all of it.
    root = brainlens.Context().source(path)
    if not root.is_dir():
        raise brainlens.ParameterError(f"dataset {path!r}: expected a folder, found a file. Name the folder around it.")
    return root


def func_folder(root: Path, entities: Mapping[str, str]) -> Path:
    """Return the folder of the functional images of a subject, or of a session."""
    session = [f"ses-{entities['ses']}"] if entities.get("ses") else []
    return root.joinpath(f"sub-{entities['sub']}", *session, "func")


def find_beside(run: Run, suffix: str, extensions: Sequence[str], *, what: str, **entities: str) -> Path:
    """Find a file in the folder of a run's BOLD, such as its mask.

    Parameters
    ----------
    run
        As `find_runs` returns it.
    suffix, extensions
        Of the file; the first that is there is taken.
    what
        What it is, for the message.
    **entities
        In place of those of the BOLD; '' takes one away.

    Raises
    ------
    ParameterError
        If there is none.
    """
    paths = [run.bold.parent / build({**run.entities, **entities}, suffix, extension) for extension in extensions]
    return _first(paths, what=what, root=_root_of(run))


def find_confounds(run: Run) -> Path:
    """Find the table of confounds of a run: `desc-confounds_timeseries.tsv`, before fMRIPrep 20.2 `_regressors.tsv`.

    Raises
    ------
    ParameterError
        If there is none.
    """
    names = [build({**run.acquisition, "desc": "confounds"}, suffix, ".tsv") for suffix in CONFOUNDS]
    return _first([run.bold.parent / name for name in names], what="confounds", root=_root_of(run))


def find_events(run: Run, raw: Path) -> Path:
    """Find the events of a run in the raw dataset, those for several runs or subjects included.

    Raises
    ------
    ParameterError
        If there are none, or several in one folder apply.
    """
    found = next(_inherited(run.acquisition, raw, "events", ".tsv"), None)
    if found is None:
        wanted = func_folder(raw, run.entities) / build(run.acquisition, "events", ".tsv")
        text = _missing_text("events", [wanted], raw)
        raise brainlens.ParameterError(f"{text} Tasks without events need events='none'.")
    check_content(found, what="events")
    return found


def read_sidecars(run: Run, root: Path) -> tuple[dict[str, Any], list[Path]]:
    """Read what the sidecars of a run's BOLD say, those that are nearer to it before those above.

    Parameters
    ----------
    run
        As `find_runs` returns it.
    root
        Dataset in which they are looked for, derivatives or raw.

    Returns
    -------
    tuple
        Fields; the files that they come from.

    Raises
    ------
    ParameterError
        If a file is no JSON object, or several in one folder apply.
    """
    entities = run.entities if root == _root_of(run) else run.acquisition
    fields: dict[str, Any] = {}
    paths = list(_inherited(entities, root, "bold", ".json"))
    for path in paths:
        try:
            found = json.loads(path.read_text("utf-8-sig"))
        except (ValueError, OSError) as error:
            raise brainlens.ParameterError(
                f"sidecar {str(path)!r}: expected JSON, found {error}. Copy or download it again."
            ) from error
        if not isinstance(found, dict):
            raise brainlens.ParameterError(
                f"sidecar {str(path)!r}: expected fields of a JSON object, found {type(found).__name__}. Download it "
                "again."
            )
        fields = {**found, **fields}
    return fields, paths


def check_content(path: Path, *, what: str) -> None:
    """Refuse a file without content, and a link to content that was not downloaded.

    Raises
    ------
    ParameterError
        Saying how it is downloaded.
    """
    if path.is_symlink() and not path.exists():
        raise brainlens.ParameterError(
            f"{what} {str(path)!r}: expected a file, found a link to content that is not here, as DataLad leaves it. "
            f"Get it with: datalad get {path.name!r}"
        )
    if path.stat().st_size == 0:
        raise brainlens.ParameterError(
            f"{what} {str(path)!r}: expected content, found an empty file. The download did not finish: download it "
            "again; what was read of other runs is kept."
        )


def check_subject(path: Path, subject: str, *, what: str) -> None:
    """Refuse a file that says in its name, or a folder's, that it belongs to somebody else.

    Raises
    ------
    ParameterError
        Naming both.
    """
    for part in reversed(path.parts):
        found = entity_of(part, "sub")
        if found == subject:
            return
        if found:
            raise brainlens.ParameterError(
                f"{what} {str(path)!r}: expected a file of subject {subject!r}, found 'sub-{found}' in its path. Give "
                "the file of this subject, or import the other one."
            )


def check_sources(run: Run, fields: Mapping[str, Any], paths: Sequence[Path]) -> None:
    """Refuse BOLD whose sidecar says that it was made from another subject's or session's files.

    Raises
    ------
    ParameterError
        Naming the sidecar and the field.
    """
    for field in ("Sources", "RawSources"):
        sources = fields.get(field, [])
        for source in [sources] if isinstance(sources, str) else sources:
            name = str(source).rsplit("/", 1)[-1]
            for key in ("sub", "ses"):
                found = entity_of(name, key)
                if found and run.entities.get(key) and found != run.entities[key]:
                    raise brainlens.ParameterError(
                        f"bold {str(run.bold)!r}: expected data of {key}-{run.entities[key]}, found "
                        f"{str(source)!r} in field {field!r} of {str(paths[0])!r}. The file belongs elsewhere: copy "
                        "that of this run again."
                    )


def _labels(params: RunsParams) -> Iterator[tuple[str, str]]:
    for session in params.sessions or ("",):
        labels = params.runs[session] if isinstance(params.runs, dict) else params.runs
        yield from ((session, label) for label in labels or ("",))


def _session_name(session: str) -> str:
    return f"ses-{session}" if session else ""


def _run_name(session: str, label: str, params: RunsParams) -> str:
    """Name a run uniquely over all sessions, since labels of runs begin anew in each."""
    pairs = [_session_name(session), f"run-{label}" if label else ""]
    return "_".join(filter(None, pairs)) or f"task-{params.task}"


def _inherited(entities: Mapping[str, str], root: Path, suffix: str, extension: str) -> Iterator[Path]:
    """Yield the files that apply, the nearest folder first."""
    folder = func_folder(root, entities)
    while True:
        found = [folder / name for name in applicable(entities, suffix, extension) if _is_there(folder / name)]
        if len(found) > 1:
            raise brainlens.ParameterError(
                f"{suffix} {str(found[0])!r}: expected one file in its folder that applies, found also "
                f"{found[1].name!r}. The standard allows one in each folder: merge them."
            )
        yield from found
        if folder == root:
            return
        folder = folder.parent


def _is_there(path: Path) -> bool:
    return path.is_file() or path.is_symlink()


def _first(paths: Sequence[Path], *, what: str, root: Path) -> Path:
    found = next(filter(_is_there, paths), None)
    if found is None:
        raise brainlens.ParameterError(_missing_text(what, paths[:1], root))
    check_content(found, what=what)
    return found


def _root_of(run: Run) -> Path:
    return run.bold.parents[2 if "ses" in run.entities else 1].parent


def _missing_text(what: str, missing: Sequence[Path], root: Path) -> str:
    """Say which files are missing, and what is in the first folder on the way that exists."""
    folder = missing[0].parent
    while not folder.is_dir() and folder != root:
        folder = folder.parent
    if folder == missing[0].parent:
        names = [name for name in sorted(_names(folder)) if name.endswith(missing[0].suffixes[-1])]
        suffix = f"_{missing[0].name.split('.')[0].rsplit('_', 1)[-1]}."
        names = [name for name in names if suffix in name] or names
    else:
        names = sorted(name for name in _names(folder) if not name.startswith("."))
    wanted = missing[0].name if folder == missing[0].parent else missing[0].relative_to(folder).parts[0]
    hint = brainlens.closest(wanted, names, what="found")
    return (
        f"{what}: expected {brainlens.listed(map(str, missing), most=3)}, found no {wanted!r} in {str(folder)!r}. "
        f"{hint} Download what is missing, or ask for labels, space and entities that are there."
    )


def _names(folder: Path) -> list[str]:
    return [item.name for item in folder.iterdir()]
