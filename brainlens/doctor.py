"""Say what is installed, what is broken, and whether decoders and encoders work here; to be pasted into a bug report.

Versions come from metadata, so that a broken library cannot break the report on it; torch is imported only by the
decoders and encoders that are tried.
"""

from __future__ import annotations

import ast
import contextlib
import importlib.metadata
import importlib.util
import logging
import os
import platform
import re
import shutil
import subprocess
import sys
import tempfile
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from brainlens.errors import BrainlensError, DimensionError, ParameterError, closest
from brainlens.index import PRIVATE
from brainlens.plugins import DISABLE, Plugin, PluginHost
from brainlens.scratch import FOLDER, left_over, user_folder

LIBRARIES = (
    "click", "diffusers", "google-crc32c", "h5py", "jsonschema", "matplotlib", "nibabel", "nilearn", "numpy", "obstore",
    "open_clip_torch", "pandas", "pluggy", "pydantic", "safetensors", "scikit-learn", "scipy", "torch", "torchaudio",
    "torchvision", "tqdm", "transformers", "xarray", "zarr",
)  # fmt: skip

_BUILDS = ("torch", "torchvision", "torchaudio")


def diagnose(
    host: PluginHost, *, passes: bool = True, registry: str = "", say: Callable[[str], None] | None = None
) -> dict[str, Any]:
    """Describe this installation as a JSON value.

    Parameters
    ----------
    host
        The plugins to look at; all of them are loaded.
    passes
        Whether decoders and encoders are fitted to a small simulated study in a temporary folder, which imports what
        they need.
    registry
        Path of a registry whose scratch folders are listed, if it is there.
    say
        Told of each decoder and encoder before it is tried, which takes seconds.

    Returns
    -------
    dict
        `brainlens`, `python`, `platform`: text. `libraries`: installed versions by name. `torch`: builds such as
        `cu128` or `cpu` by library. `torch_wanted`: the version of torch that its companions demand. `cpus`: number.
        `memory_gb`: number. `gpus`: list of `name` and `memory_gb`. `plugins`: list of `name`, `distribution`,
        `version`, `state`, `error`, `details`, `components`. `passes`: `ok`, `not tried: ` and why, or what went wrong,
        by decoder or encoder.
        `scratch`: list of `folder` and `size_mb`.
        `problems`: list of text, empty when all is well.
    """
    plugins = host.plugins(load=True)
    report: dict[str, Any] = {
        "brainlens": importlib.metadata.version("brainlens"),
        "python": sys.version.split()[0],
        "platform": platform.platform(),
        "libraries": dict(_versions(LIBRARIES)),
        "torch": dict(_torch_builds()),
        "torch_wanted": dict(_torch_wanted()),
        "cpus": len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count(),
        "memory_gb": round(os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 1e9, 1),
        "gpus": list(_gpus()),
        "plugins": [_described(plugin) for plugin in plugins],
        "passes": {},
        "scratch": list(_scratch(registry)),
    }
    for plugin in plugins if passes else ():
        report["passes"] |= _try_fitting(host, plugin, say or _ignore)
    report["problems"] = list(_problems(report))
    return report


def lines(report: dict[str, Any]) -> list[str]:
    """Return a report as lines of text."""
    libraries = ", ".join(f"{name} {version}" for name, version in report["libraries"].items())
    builds = ", ".join(f"{name} {build}" for name, build in report["torch"].items()) or "not installed"
    gpus = ", ".join(f"{gpu['name']} ({gpu['memory_gb']} GB)" for gpu in report["gpus"]) or "none"
    text = [
        f"brainlens {report['brainlens']}, Python {report['python']}, {report['platform']}",
        f"{report['cpus']} CPUs, {report['memory_gb']} GB memory, GPUs: {gpus}",
        f"torch builds: {builds}",
        f"libraries: {libraries}",
    ]
    for plugin in report["plugins"]:
        text.append(f"plugin {plugin['name']} ({plugin['distribution']} {plugin['version']}): {plugin['state']}")
        text += [f"    {line}" for line in plugin["details"].splitlines()]
        tried = {name: report["passes"][name] for name in plugin["components"] if name in report["passes"]}
        text += [f"    {name}: {outcome}" for name, outcome in tried.items()]
    text += [
        f"scratch folder {item['folder']} ({item['size_mb']} MB): of a computation that is under way or was interrupted"
        for item in report["scratch"]
    ]
    problems = [f"problem: {problem}" for problem in report["problems"]]
    return text + (problems or ["no problems found"])


def _versions(names: tuple[str, ...]) -> Iterator[tuple[str, str]]:
    for name in names:
        try:
            yield name, importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            continue


def _torch_builds() -> Iterator[tuple[str, str]]:
    """Read what torch and its companions were built for, from the file that holds it; nothing is imported."""
    for name in _BUILDS:
        spec = importlib.util.find_spec(name)
        file = Path(spec.origin).parent / "version.py" if spec and spec.origin else None
        build = read_build(file) if file and file.is_file() else ""
        if build:
            yield name, build


def read_build(file: Path) -> str:
    """Return what a `version.py` of torch or a companion says it was built for; empty where it says nothing.

    Examples
    --------
    >>> file = tmp_path / "version.py"
    >>> _ = file.write_text("__version__ = '2.9.0+cu128'")
    >>> read_build(file)
    'cu128'
    """
    facts = dict(_constants(file))
    label = str(facts.get("__version__", "")).partition("+")[2]
    if re.match(r"(cu\d+|cpu|rocm|xpu)", label):
        return label
    # A label that is no build, such as a git hash, says nothing; torch alone also states its CUDA version.
    cuda = facts.get("cuda", "")
    return "cpu" if cuda is None else f"cu{str(cuda).replace('.', '')}" if cuda else ""


def _torch_wanted() -> Iterator[tuple[str, str]]:
    """Yield the exact version of torch that each companion demands."""
    for name, _ in _versions(_BUILDS[1:]):
        for requirement in importlib.metadata.requires(name) or ():
            pinned = re.match(r"torch\s*\(?==\s*([\w.]+)", requirement)
            if pinned:
                yield name, pinned[1]


def _constants(file: Path) -> Iterator[tuple[str, object]]:
    for node in ast.parse(file.read_text("utf-8")).body:
        targets = (
            node.targets if isinstance(node, ast.Assign) else [node.target] if isinstance(node, ast.AnnAssign) else []
        )
        value = getattr(node, "value", None)
        for target in targets:
            if isinstance(target, ast.Name) and isinstance(value, ast.Constant):
                yield target.id, value.value


def _gpus() -> Iterator[dict[str, Any]]:
    tool = shutil.which("nvidia-smi")
    if tool is None:
        return
    command = [tool, "--query-gpu=name,memory.total", "--format=csv,noheader,nounits"]
    try:
        listed = subprocess.run(command, capture_output=True, text=True, check=True, timeout=30).stdout
    except (OSError, subprocess.SubprocessError):
        return
    for line in listed.splitlines():
        name, _, mebibytes = line.rpartition(",")
        if mebibytes.strip().isdigit():
            yield {"name": name.strip(), "memory_gb": round(int(mebibytes) * 2**20 / 1e9, 1)}


def _scratch(registry: str) -> Iterator[dict[str, Any]]:
    local = registry.removeprefix("file://")
    roots = [user_folder()] if "://" in local or not local else [Path(local) / PRIVATE / FOLDER, user_folder()]
    for root in roots:
        for folder, size in left_over(root):
            yield {"folder": str(folder), "size_mb": round(size / 1e6, 1)}


def _described(plugin: Plugin) -> dict[str, Any]:
    facts = ("name", "distribution", "version", "state", "error", "details")
    components = [component.name for component in plugin.components]
    return {**{name: getattr(plugin, name) for name in facts}, "components": components}


def _ignore(_: str) -> None:
    """Say nothing."""


@contextlib.contextmanager
def _silent() -> Iterator[None]:
    """Let nobody log or warn: what is said of a study that the user does not know tells them nothing."""
    before = logging.root.manager.disable
    logging.disable(logging.CRITICAL)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        logging.disable(before)


def _try_fitting(host: PluginHost, plugin: Plugin, say: Callable[[str], None]) -> dict[str, str]:
    """Fit and predict with each decoder and encoder of a plugin, on the device that it would take by itself.

    They are tried with their defaults. One that refuses the small study in plain words has been imported and works as
    it should; it has not been fitted, which is what the report then says.
    """
    from brainlens.exercise import Attempt, NotApplicable, only
    from brainlens.exercise_fitting import fit_attempt, needs_other_kinds, predict_attempt
    from brainlens.synthetic import synthetic_study

    outcomes = {}
    for component in plugin.components:
        if component.role not in ("decoder", "encoder"):
            continue
        say(f"trying {component.name}")
        with tempfile.TemporaryDirectory() as folder, _silent():
            attempt = Attempt(
                host=only(host, plugin),
                component=component,
                folder=Path(folder),
                study=synthetic_study(n_stimuli=20, n_voxels=12, n_channels=4),
                device="auto",
            )
            try:
                needs_other_kinds(attempt)
                registry = attempt.registry(response=attempt.study["response"], target=attempt.study["target"])
                fit_attempt(attempt, registry, "model")
                predict_attempt(attempt, registry, "model")
                outcomes[component.name] = "ok"
            except NotApplicable as reason:
                outcomes[component.name] = f"not tried: {reason}"
            except (ParameterError, DimensionError) as reason:
                outcomes[component.name] = f"not tried: it refuses the small simulated study. {reason}"
            except BrainlensError as error:
                outcomes[component.name] = str(error)
            except Exception as error:  # noqa: BLE001 - a report that fails helps nobody
                outcomes[component.name] = f"{type(error).__name__}: {error}"
    return outcomes


def _problems(report: dict[str, Any]) -> Iterator[str]:
    for plugin in report["plugins"]:
        if plugin["state"] in ("broken", "conflict"):
            yield plugin["error"]
    names = [plugin["name"] for plugin in report["plugins"]]
    for name in filter(None, (item.strip() for item in os.environ.get(DISABLE, "").split(","))):
        if name not in names:
            yield f"{DISABLE} names {name!r}, which is not installed. {closest(name, names, what='installed')}"
    yield from torch_problems(report)
    for name, outcome in report["passes"].items():
        if outcome != "ok" and not outcome.startswith("not tried"):
            yield f"component {name!r} does not work here: {outcome}"


def torch_problems(report: dict[str, Any]) -> Iterator[str]:
    """Say which of torch, its companions and the GPU do not go together, in a report."""
    builds = report["torch"]
    versions = report["libraries"]
    for name in _BUILDS[1:]:
        if "torch" in builds and name in builds and builds[name] != builds["torch"]:
            yield (
                f"torch is built for {builds['torch']}, {name} for {builds[name]}: importing {name} fails. "
                f"Install both anew from one source: pip install --force-reinstall torch {name}."
            )
    if report["gpus"] and builds.get("torch") == "cpu":
        gpu = report["gpus"][0]["name"]
        yield f"there is a GPU ({gpu}), but torch is built for the CPU only. Install a CUDA build."
    for name, wanted in report["torch_wanted"].items():
        found = versions.get("torch", "none")
        if found.partition("+")[0] != wanted:
            yield f"{name} {versions[name]} needs torch {wanted}, found {found}. Install a matching pair."
