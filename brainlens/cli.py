"""The command line: the registry's verbs, with options made from the components' own parameters.

Imports are inside the commands on purpose: `--help` and `list` must answer before numpy could be imported.
Results go to standard output, messages to standard error; exit codes are 0 (done), 1 (failed), 2 (wrong usage).
"""

from __future__ import annotations

import json
import sys
import types
import typing
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from brainlens import __version__
from brainlens.errors import BrainlensError, ParameterError, RegistryError

if TYPE_CHECKING:
    from brainlens.plugins import PluginHost
    from brainlens.records import Component
    from brainlens.registry import Registry

DEFAULT_REGISTRY = "study.zarr"
_FITTING = {
    "roi": "ROI expression, such as 'V1 + V2'. [default: all sites]",
    "average": "Coordinates over which repetitions are averaged, comma-separated, such as stimulus_id.",
    "standardize": "training (z-score with training statistics), center or none. [default: training]",
    "split": "train, val, test or all. [default: train where there is a split]",
}


class _Command(click.Command):
    """A command that turns brainlens's errors into one message and exit code 1."""

    def invoke(self, ctx: click.Context) -> Any:
        try:
            return super().invoke(ctx)
        except ParameterError as error:
            _say(f"Error: {error}")
            ctx.exit(2)
        except BrainlensError as error:
            _say(f"Error: {error}")
            ctx.exit(1)


class _Group(click.Group):
    command_class = _Command

    def resolve_command(self, ctx: click.Context, args: list[str]) -> tuple[str | None, click.Command | None, list[str]]:
        try:
            return super().resolve_command(ctx, args)
        except click.UsageError as error:
            from brainlens.errors import closest

            raise click.UsageError(f"no command {args[0]!r}. {closest(args[0], self.list_commands(ctx), what='commands')}", ctx) from error


class _Components(_Group):
    """A verb whose commands are the installed components of some roles."""

    def __init__(self, *args: Any, roles: Sequence[str] = (), make: Callable[[Component], click.Command] | None = None, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.roles = tuple(roles)
        self.make = make

    def list_commands(self, ctx: click.Context) -> list[str]:
        return [component.name for component in _host().components() if component.role in self.roles]

    def get_command(self, ctx: click.Context, name: str) -> click.Command | None:
        try:
            component = _host().component(name, roles=self.roles)
        except BrainlensError as error:
            _say(f"Error: {error}")
            ctx.exit(1)
        assert self.make is not None
        return self.make(component)


def _registry_option(command: Callable[..., Any]) -> Callable[..., Any]:
    def keep(ctx: click.Context, _: click.Parameter, value: str | None) -> None:
        if value is not None:
            ctx.find_root().meta["registry"] = value

    option = click.option("-r", "--registry", metavar="PATH", expose_value=False, callback=keep, help=f"Folder or URL. [env: BRAINLENS_REGISTRY; default: {DEFAULT_REGISTRY}]")
    return option(command)


def _json_option(command: Callable[..., Any]) -> Callable[..., Any]:
    return click.option("--json", "as_json", is_flag=True, help="Print JSON.")(command)


@click.group(cls=_Group, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(__version__, prog_name="brainlens")
@click.option("-q", "--quiet", is_flag=True, help="No progress bars.")
@_registry_option
@click.pass_context
def main(ctx: click.Context, quiet: bool) -> None:
    """Labelled brain data in, labelled results out.

    A registry is a folder (or URL) that holds every dataset and model of a study. Start with `brainlens ingest
    --help`, or look at what is stored with `brainlens list`.
    """
    ctx.meta["quiet"] = quiet


@main.command("list")
@click.argument("prefix", default="")
@_json_option
@_registry_option
@click.pass_context
def list_(ctx: click.Context, prefix: str, as_json: bool) -> None:
    """List datasets and models by name."""
    rows = [row for row in _light_rows(_registry_path(ctx)) if row[0].startswith(prefix)]
    if as_json:
        _print_json([dict(zip(("name", "kind", "subject", "size_bytes", "created"), row, strict=True)) for row in rows])
    else:
        _print_table(("name", "kind", "subject", "size", "created"), [(*row[:3], _size(row[3]), row[4]) for row in rows])


@main.command()
@click.option("--kind", help="Such as response, embedding or model.")
@click.option("--subject", help="As in the datasets' attributes.")
@click.option("--plugin", help="Plugin that made it.")
@click.option("--component", help="Component that made it.")
@_json_option
@_registry_option
@click.pass_context
def query(ctx: click.Context, kind: str | None, subject: str | None, plugin: str | None, component: str | None, as_json: bool) -> None:
    """List what fits all conditions."""
    entries = _open(ctx, mode="r").query(kind=kind, subject=subject, plugin=plugin, component=component)
    if as_json:
        _print_json([{**vars(entry), "dims": dict(entry.dims)} for entry in entries])
    else:
        _print_table(("name", "kind", "subject", "component", "created"), [(item.name, item.kind, item.subject, item.component, item.created) for item in entries])


@main.command()
@click.argument("name")
@click.option("--lineage", is_flag=True, help="Print the tree of inputs back to the raw files.")
@_json_option
@_registry_option
@click.pass_context
def show(ctx: click.Context, name: str, lineage: bool, as_json: bool) -> None:
    """Show a dataset: labels, attributes, and how it was made."""
    registry = _open(ctx, mode="r")
    if lineage:
        tree = registry.lineage(name)
        _print_json(tree) if as_json else click.echo("\n".join(_tree_lines(tree)))
    elif as_json:
        _print_json(registry.show(name))
    else:
        made = registry.show(name)["provenance"]
        click.echo(repr(registry[name].drop_attrs(deep=False)))
        click.echo("Made:")
        for key in ("component", "component_version", "plugin_distribution", "plugin_version", "params", "options", "inputs", "seed", "device", "created", "wall_s"):
            if made.get(key) not in (None, {}, ""):
                click.echo(f"    {key}: {made[key] if isinstance(made[key], str) else json.dumps(made[key])}")


@main.command()
@click.argument("name", required=False)
@_registry_option
@click.pass_context
def verify(ctx: click.Context, name: str | None) -> None:
    """Read every byte of one dataset, or of all, and compare with the manifests."""
    names = _open(ctx, mode="r").verify(name)
    click.echo(f"{len(names)} dataset{'s' * (len(names) != 1)} verified, no byte differs.")


@main.command()
@click.argument("name")
@click.argument("source", type=click.Path(path_type=Path))
@click.option("--schema", help="Such as response or response.v1. [default: the dataset's own]")
@_registry_option
@click.pass_context
def put(ctx: click.Context, name: str, source: Path, schema: str | None) -> None:
    """Store the dataset of a Zarr folder or NetCDF file under a new name."""
    import xarray as xr

    if not source.exists():
        raise RegistryError(f"file {str(source)!r}: expected a Zarr folder or NetCDF file, found nothing there.")
    try:
        dataset = xr.open_zarr(source, chunks=None) if source.is_dir() else xr.open_dataset(source)
    except (OSError, ValueError, KeyError) as error:
        raise RegistryError(f"file {str(source)!r}: expected a Zarr folder or NetCDF file, found something else ({error}).") from error
    click.echo(_open(ctx).put(name, dataset, schema=schema))


@main.command()
@click.argument("name")
@click.option("--yes", is_flag=True, help="Do not ask.")
@_registry_option
@click.pass_context
def remove(ctx: click.Context, name: str, yes: bool) -> None:
    """Remove a dataset or model for good."""
    registry = _open(ctx, mode="r")
    if not yes:
        click.confirm(f"Remove {name!r} from {registry.path!r} for good?", abort=True)
    registry.remove(name)
    click.echo(f"removed {name}")


@main.command(context_settings={"ignore_unknown_options": True, "allow_extra_args": True})
@click.argument("name")
@click.argument("target", type=click.Path(path_type=Path))
@click.option("--exporter", help="Component that writes it. [default: by the target's ending]")
@_registry_option
@click.pass_context
def export(ctx: click.Context, name: str, target: Path, exporter: str | None) -> None:
    """Write a dataset to a file or folder; its ending decides the format, .zarr needs no plugin.

    Parameters of the exporter follow as --name value.
    """
    click.echo(_open(ctx, mode="r").export(name, target, exporter=exporter, **_extra_options(ctx.args)))


@main.command()
@click.argument("name")
@_json_option
@_registry_option
@click.pass_context
def rois(ctx: click.Context, name: str, as_json: bool) -> None:
    """List the ROIs of a dataset and how many sites each has."""
    found = _open(ctx, mode="r").rois(name)
    if as_json:
        _print_json(found)
    else:
        _print_table(("roi", "sites"), [(roi, str(count)) for roi, count in found.items()])


@main.command()
@click.argument("name", required=False)
@_json_option
def schemas(name: str | None, as_json: bool) -> None:
    """List the schemas, or print one."""
    from brainlens.schema import builtin_schemas, find_schema

    known = {**builtin_schemas(), **_host().schemas()}
    if name is not None:
        _print_json(dict(find_schema(name, known).document))
    elif as_json:
        _print_json({key: schema.document.get("title", "") for key, schema in known.items()})
    else:
        _print_table(("schema", "what it is"), [(key, schema.document.get("description", "")) for key, schema in known.items()])


@main.command()
@_registry_option
@click.pass_context
def reindex(ctx: click.Context) -> None:
    """Build the index anew from the manifests."""
    from brainlens.index import Index

    click.echo(f"{Index(Path(_registry_path(ctx))).rebuild()} datasets indexed.")


@main.command()
@click.option("--quick", is_flag=True, help="Do not try the decoders.")
@_json_option
def doctor(quick: bool, as_json: bool) -> None:
    """Check versions, devices and plugins; paste the output into a bug report."""
    from brainlens.doctor import diagnose, lines

    report = diagnose(_host(), passes=not quick)
    if as_json:
        _print_json(report)
    else:
        click.echo("\n".join(lines(report)))
    if report["problems"]:
        sys.exit(1)


@main.group(cls=_Group)
def plugins() -> None:
    """List, describe, check and begin plugins."""


@plugins.command("list")
@click.option("--strict", is_flag=True, help="Exit with 1 if a plugin is broken.")
@_json_option
def plugins_list(strict: bool, as_json: bool) -> None:
    """List plugins, what they provide, and why one is broken."""
    found = _host().plugins(load=True)
    if as_json:
        _print_json(
            [
                {
                    "name": plugin.name,
                    "distribution": plugin.distribution,
                    "version": plugin.version,
                    "state": plugin.state,
                    "error": plugin.error,
                    "components": [{"name": item.name, "role": item.role, "summary": item.summary} for item in plugin.components],
                }
                for plugin in found
            ]
        )
    else:
        rows = []
        for plugin in found:
            names = [(item.name, item.role, item.summary) for item in plugin.components] or [("", "", plugin.error)]
            rows += [((plugin.name if index == 0 else ""), (plugin.state if index == 0 else ""), *name) for index, name in enumerate(names)]
        _print_table(("plugin", "state", "component", "role", "summary"), rows)
    if strict and any(plugin.state in ("broken", "conflict") for plugin in found):
        sys.exit(1)


@plugins.command("info")
@click.argument("name")
@_json_option
def plugins_info(name: str, as_json: bool) -> None:
    """Describe a plugin or component: parameters, inputs, outputs, citations."""
    host = _host()
    components = host.plugin(name).components if "." not in name else (host.component(name),)
    described = [_describe(component) for component in components]
    if as_json:
        _print_json(described)
    else:
        click.echo("\n\n".join("\n".join(_describe_lines(item)) for item in described))


@plugins.command("new")
@click.argument("name")
@click.argument("folder", type=click.Path(path_type=Path), default=".")
def plugins_new(name: str, folder: Path) -> None:
    """Write a new plugin from the template into FOLDER."""
    from brainlens.scaffold import new_plugin

    made = new_plugin(name, folder)
    click.echo(f"{made}\nInstall it with: pip install -e {made}\nThen see: brainlens plugins info {name}")


@plugins.command("validate")
@click.argument("name")
def plugins_validate(name: str) -> None:
    """Check a plugin against the contract; exit with 1 if anything fails."""
    import tempfile

    from brainlens.testing import check_plugin

    with tempfile.TemporaryDirectory() as folder:
        problems = check_plugin(name, Path(folder))
    for problem in problems:
        click.echo(problem)
    click.echo(f"plugin {name!r}: {len(problems)} problem{'s' * (len(problems) != 1)}")
    if problems:
        sys.exit(1)


def _make_ingest(component: Component) -> click.Command:
    def run(ctx: click.Context, name: str, seed: int, recompute: bool, **options: Any) -> None:
        for stored in _open(ctx).ingest(component.name, name, seed=seed, recompute=recompute, **_given(component, options)):
            click.echo(stored)

    arguments: list[click.Parameter] = [click.Argument(["name"])]
    return _component_command(component, run, [*arguments, *_common_options(device=False)])


def _make_compute(component: Component) -> click.Command:
    def run(ctx: click.Context, **options: Any) -> None:
        click.echo(_open(ctx).compute(component.name, **_given(component, options)))

    return _component_command(component, run, [_name_option(), *_common_options(device=component.uses_device)])


def _make_fit(component: Component) -> click.Command:
    def run(ctx: click.Context, **options: Any) -> None:
        click.echo(_open(ctx).fit(component.name, **_given(component, options)))

    fitting: list[click.Parameter] = [click.Option([f"--{key}"], help=text) for key, text in _FITTING.items()]
    return _component_command(component, run, [_name_option(), *fitting, *_common_options(device=True)])


def _make_cross_predict(component: Component) -> click.Command:
    def run(ctx: click.Context, **options: Any) -> None:
        click.echo(_open(ctx).cross_predict(component.name, **_given(component, options)))

    fitting: list[click.Parameter] = [
        click.Option(["--leave-out", "leave_out"], required=True, help="Coordinate that makes the folds: run, session, repetition or stimulus_id."),
        click.Option(["--n-folds", "n_folds"], type=int, help="Number of folds. [default: one value left out at a time]"),
        *(click.Option([f"--{key}"], help=text) for key, text in _FITTING.items()),
    ]
    return _component_command(component, run, [_name_option(), *fitting, *_common_options(device=True)])


for _verb, _roles, _make, _text in (
    ("ingest", ("importer",), _make_ingest, "Bring files in: brainlens ingest IMPORTER NAME --option value."),
    ("fit", ("decoder",), _make_fit, "Fit a decoder: brainlens fit DECODER --response NAME --target NAME."),
    ("cross-predict", ("decoder",), _make_cross_predict, "Predict every trial by a decoder fitted without its fold."),
    ("compute", ("analysis", "embedder", "generator"), _make_compute, "Carry out an analysis: brainlens compute ANALYSIS --input NAME."),
):
    main.add_command(_Components(name=_verb, roles=_roles, make=_make, help=_text, context_settings={"help_option_names": ["-h", "--help"]}))


@main.command()
@click.argument("model")
@click.option("--response", required=True, help="Name of a stored response.")
@click.option("--name", help="Name of the result. [default: made from model and inputs]")
@click.option("--average", default="", help=_FITTING["average"])
@click.option("--split", help="train, val, test or all. [default: test where there is a split]")
@click.option("--seed", type=int, default=0, show_default=True, help="Every random choice derives from it.")
@click.option("--device", default="auto", show_default=True, help="auto, cpu, cuda or cuda:N.")
@click.option("--precision", default="float32", show_default=True, help="float32, bfloat16 or float16.")
@click.option("--recompute", is_flag=True, help="Compute even if this very result is stored.")
@_registry_option
@click.pass_context
def predict(ctx: click.Context, model: str, **options: Any) -> None:
    """Predict with a stored model."""
    click.echo(_open(ctx).predict(model, **options))


def _component_command(component: Component, run: Callable[..., None], before: list[click.Parameter]) -> click.Command:
    """Make the command of one component: its inputs and parameters as options."""
    options: list[click.Parameter] = list(before)
    for key, wanted in component.inputs.items():
        text = f"Name of a stored {wanted.kind}{', several separated by commas' if wanted.many else ''}."
        options.append(click.Option([f"--{key.replace('_', '-')}", key], help=text if not wanted.optional else f"{text} [optional]"))
    for key, info in component.params.model_fields.items():
        default = "" if info.is_required() else f" [default: {_shown(info.get_default(call_default_factory=True))}]"
        options.append(click.Option([f"--{key.replace('_', '-')}", key], help=f"{info.description or ''}{default}", metavar=_type_word(info.annotation)))
    command = _Command(component.name, callback=click.pass_context(run), params=options, help=component.summary)
    _registry_option(command)
    return command


def _name_option() -> click.Parameter:
    return click.Option(["--name"], help="Name of the result. [default: made from component and recipe]")


def _common_options(*, device: bool) -> list[click.Parameter]:
    options: list[click.Parameter] = [
        click.Option(["--seed"], type=int, default=0, show_default=True, help="Every random choice derives from it."),
        click.Option(["--recompute"], is_flag=True, help="Compute even if this very result is stored."),
    ]
    if device:
        options.append(click.Option(["--device"], default="auto", show_default=True, help="auto, cpu, cuda or cuda:N."))
        options.append(click.Option(["--precision"], default="float32", show_default=True, help="float32, bfloat16 or float16."))
    return options


def _given(component: Component, options: dict[str, Any]) -> dict[str, Any]:
    """Drop what was not given, and split the values of options that take several."""
    given = {key: value for key, value in options.items() if value is not None}
    for key, value in given.items():
        several = key in component.inputs and component.inputs[key].many
        annotation = component.params.model_fields[key].annotation if key in component.params.model_fields else None
        if isinstance(value, str) and (several or _takes_several(annotation)):
            given[key] = _parse_several(key, value, annotation)
    return given


def _parse_several(key: str, value: str, annotation: Any) -> Any:
    if value.startswith(("[", "{")):
        try:
            return json.loads(value)
        except json.JSONDecodeError as error:
            raise ParameterError(f"{key}: expected values separated by commas, or JSON, found {value!r} ({error}).") from error
    if _takes_text(annotation) and "," not in value:
        return value
    return [part.strip() for part in value.split(",") if part.strip()]


def _takes_several(annotation: Any) -> bool:
    origin = typing.get_origin(annotation)
    if origin in (typing.Union, types.UnionType):
        return any(_takes_several(part) for part in typing.get_args(annotation))
    return (origin or annotation) in (tuple, list, set, frozenset, dict)


def _takes_text(annotation: Any) -> bool:
    parts = typing.get_args(annotation) if typing.get_origin(annotation) in (typing.Union, types.UnionType) else (annotation,)
    return any(part in (str, Path) for part in parts)


def _extra_options(args: list[str]) -> dict[str, str]:
    """Read `--name value` or `--name=value` pairs whose names only the component knows."""
    options = {}
    words = iter(args)
    for word in words:
        if not word.startswith("--"):
            raise ParameterError(f"expected an option such as --name value, found {word!r}.")
        key, equals, value = word[2:].partition("=")
        options[key.replace("-", "_")] = value if equals else next(words, "")
    return options


def _type_word(annotation: Any) -> str:
    if typing.get_origin(annotation) is typing.Literal:
        return "[" + "|".join(map(str, typing.get_args(annotation))) + "]"
    return "VALUES" if _takes_several(annotation) else getattr(annotation, "__name__", "value").upper()


def _shown(value: Any) -> str:
    if isinstance(value, tuple | list):
        return ",".join(_shown(item) for item in value) or "none"
    return f"{value:g}" if isinstance(value, float) else str(value) or "none"


def _describe(component: Component) -> dict[str, Any]:
    return {
        "name": component.name,
        "role": component.role,
        "summary": component.summary,
        "version": component.version,
        "inputs": {key: vars(value) for key, value in component.inputs.items()},
        "output": list(component.output),
        "params": component.params.model_json_schema().get("properties", {}),
        "required": component.params.model_json_schema().get("required", []),
        "citations": list(component.citations),
    }


def _describe_lines(item: dict[str, Any]) -> list[str]:
    lines = [f"{item['name']} ({item['role']}, version {item['version']})", f"  {item['summary']}"]
    for key, value in item["inputs"].items():
        lines.append(f"  input {key}: {value['kind']}{' (optional)' if value['optional'] else ''}{' (several)' if value['many'] else ''}")
    lines += [f"  output: {' or '.join(item['output'])}"] if item["output"] else []
    for key, value in item["params"].items():
        default = "required" if key in item["required"] else f"default {json.dumps(value.get('default'))}"
        lines.append(f"  {key}: {value.get('description', '')} ({default})")
    return lines + [f"  cite: {citation}" for citation in item["citations"]]


def _host() -> PluginHost:
    from brainlens.plugins import PluginHost

    context = click.get_current_context()
    host: PluginHost = context.find_root().meta.setdefault("host", None) or PluginHost()
    context.find_root().meta["host"] = host
    return host


def _registry_path(ctx: click.Context) -> str:
    import os

    return str(ctx.find_root().meta.get("registry") or os.environ.get("BRAINLENS_REGISTRY") or DEFAULT_REGISTRY)


def _open(ctx: click.Context, *, mode: typing.Literal["a", "r"] = "a") -> Registry:
    from brainlens.registry import open as open_registry

    return open_registry(_registry_path(ctx), mode=mode, host=_host(), quiet=ctx.find_root().meta.get("quiet", False))


def _light_rows(path: str) -> list[tuple[Any, ...]]:
    """Return the rows of a listing without importing anything numeric."""
    if "://" in path and not path.startswith("file://"):
        from brainlens.registry import open as open_registry

        return [(item.name, item.kind, item.subject, item.size_bytes, item.created) for item in open_registry(path, mode="r").query()]
    from brainlens.index import PRIVATE, Index

    root = Path(path.removeprefix("file://"))
    if not (root / PRIVATE).is_dir():
        found = "a folder of other things" if root.is_dir() else "nothing" if not root.exists() else "a file"
        raise RegistryError(f"registry {path!r}: expected a registry, found {found}. Give its path with --registry or BRAINLENS_REGISTRY.")
    index = Index(root)
    rows = index.rows()
    for problem in index.broken.values():
        _say(f"Warning: {problem}")
    return rows


def _tree_lines(tree: dict[str, Any], depth: int = 0) -> list[str]:
    state = " (no longer stored)" if tree.get("missing") else " (replaced since)" if tree.get("replaced") else ""
    lines = [f"{'    ' * depth}{tree['name']}{state}  {tree.get('component', '')}  {str(tree.get('digest'))[:19]}"]
    for source in tree.get("sources", []):
        lines.append(f"{'    ' * (depth + 1)}{source['path']}  {source['sha256'][:19]}")
    for item in tree["inputs"]:
        lines += _tree_lines(item, depth + 1)
    return lines


def _size(size_bytes: int) -> str:
    value = float(size_bytes)
    for unit in ("B", "kB", "MB", "GB"):
        if value < 1000:
            return f"{value:.0f} {unit}" if unit == "B" else f"{value:.1f} {unit}"
        value /= 1000
    return f"{value:.1f} TB"


def _print_table(header: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
    if not rows:
        return
    widths = [max(len(row[column]) for row in (header, *rows)) for column in range(len(header))]
    lines = ["  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip() for row in (header, *rows)]
    click.echo("\n".join(lines))


def _print_json(value: object) -> None:
    click.echo(json.dumps(value, indent=2, ensure_ascii=False, default=str))


def _say(text: str) -> None:
    click.echo(text, err=True)
