"""The verbs whose commands are the installed components: ingest, fit, cross-predict, compute, and predict."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import click

from brainlens.commandline import Command, Group, open_registry, plugin_host, registry_option
from brainlens.errors import BrainlensError
from brainlens.options import RECOMPUTE, common_options, component_options, given_options, name_option
from brainlens.printing import say
from brainlens.records import Component

_FITTING = {
    "roi": "ROI expression, such as 'V1 + V2'. [default: all sites]",
    "average": "Coordinates over which repetitions are averaged, comma-separated, such as stimulus_id.",
    "standardize": "training (z-score with training statistics), center or none. [default: training]",
    "split": "train, val, test or all. [default: train where there is a split]",
}
_ANY_SPLIT = "train, val, test or all. [default: all]"


class Components(Group):
    """A verb whose commands are the installed components of some roles."""

    def __init__(
        self,
        *args: Any,
        roles: Sequence[str] = (),
        make: Callable[[Component], click.Command] | None = None,
        **kwargs: Any,
    ) -> None:
        super().__init__(*args, **kwargs)
        self.roles = tuple(roles)
        self.make = make

    def list_commands(self, ctx: click.Context) -> list[str]:
        """Return the names of the components of these roles."""
        return [component.name for component in plugin_host().components() if component.role in self.roles]

    def get_command(self, ctx: click.Context, name: str) -> click.Command | None:
        """Make the command of one component, loading its plugin only."""
        try:
            component = plugin_host().component(name, roles=self.roles)
        except BrainlensError as error:
            say(f"Error: {error}")
            ctx.exit(1)
        assert self.make is not None
        return self.make(component)


def _make_ingest(component: Component) -> click.Command:
    def run(ctx: click.Context, /, name: str, **options: Any) -> None:
        for stored in open_registry(ctx).ingest(component.name, name, **given_options(component, options)):
            click.echo(stored)

    arguments: list[click.Parameter] = [click.Argument(["name"])]
    return _component_command(component, run, [*arguments, *common_options(device=False)])


def _make_compute(component: Component) -> click.Command:
    def run(ctx: click.Context, /, **options: Any) -> None:
        click.echo(open_registry(ctx).compute(component.name, **given_options(component, options)))

    return _component_command(component, run, [name_option(), *common_options(device=component.uses_device)])


def _make_fit(component: Component) -> click.Command:
    def run(ctx: click.Context, /, **options: Any) -> None:
        click.echo(open_registry(ctx).fit(component.name, **given_options(component, options)))

    texts = {**_FITTING, "start": "Name of a stored model of the same component from which it starts. [optional]"}
    fitting: list[click.Parameter] = [click.Option([f"--{key}"], help=text) for key, text in texts.items()]
    return _component_command(component, run, [name_option(), *fitting, *common_options(device=True)])


def _make_cross_predict(component: Component) -> click.Command:
    def run(ctx: click.Context, /, **options: Any) -> None:
        click.echo(open_registry(ctx).cross_predict(component.name, **given_options(component, options)))

    fitting: list[click.Parameter] = [
        click.Option(
            ["--leave-out", "leave_out"],
            required=True,
            help="Coordinate that makes the folds: run, session, repetition or stimulus_id.",
        ),
        click.Option(
            ["--n-folds", "n_folds"], type=int, help="Number of folds. [default: one value left out at a time]"
        ),
        *(click.Option([f"--{key}"], help=text) for key, text in {**_FITTING, "split": _ANY_SPLIT}.items()),
    ]
    if component.role == "decoder":
        asking = {
            "average-predicted": "Coordinates over which what is predicted is averaged; single trials are fitted.",
            "also": "Another part of split, such as test, that the decoders of all folds predict: their mean.",
        }
        fitting += [click.Option([f"--{key}"], help=text) for key, text in asking.items()]
    return _component_command(component, run, [name_option(), *fitting, *common_options(device=True)])


VERBS: list[click.Command] = []
for _verb, _roles, _make, _text in (
    ("ingest", ("importer",), _make_ingest, "Bring files in: brainlens ingest IMPORTER NAME --option value."),
    (
        "fit",
        ("decoder", "encoder"),
        _make_fit,
        "Fit a decoder: brainlens fit DECODER --response NAME --target NAME, or an encoder: brainlens fit ENCODER "
        "--features NAME --response NAME.",
    ),
    (
        "cross-predict",
        ("decoder", "encoder"),
        _make_cross_predict,
        "Predict every trial by a decoder or encoder fitted without its fold.",
    ),
    (
        "compute",
        ("analysis", "embedder", "generator"),
        _make_compute,
        "Carry out an analysis: brainlens compute ANALYSIS --input NAME.",
    ),
):
    VERBS.append(
        Components(
            name=_verb, roles=_roles, make=_make, help=_text, context_settings={"help_option_names": ["-h", "--help"]}
        )
    )


@click.command(cls=Command)
@click.argument("model")
@click.option("--response", help="Name of a stored response, for a decoder.")
@click.option(
    "--features", multiple=True, help="Name of stored features, for an encoder; the option several times for several."
)
@click.option("--name", help="Name of the result. [default: made from model and inputs]")
@click.option("--average", default="", help=_FITTING["average"])
@click.option("--split", help="train, val, test or all. [default: test where there is a split]")
@click.option("--seed", type=int, default=0, show_default=True, help="Every random choice derives from it.")
@click.option("--device", default="auto", show_default=True, help="auto, cpu, cuda or cuda:N.")
@click.option("--precision", default="float32", show_default=True, help="float32, bfloat16 or float16.")
@click.option("--recompute", is_flag=True, help=RECOMPUTE)
@registry_option
@click.pass_context
def predict(ctx: click.Context, /, model: str, **options: Any) -> None:
    """Predict with a stored model: embeddings from a response, or responses from features."""
    names = [name.strip() for text in options.pop("features") for name in text.split(",") if name.strip()]
    features = names[0] if len(names) == 1 else names or None
    click.echo(open_registry(ctx).predict(model, features=features, **options))


def _component_command(component: Component, run: Callable[..., None], before: list[click.Parameter]) -> click.Command:
    options = [*before, *component_options(component)]
    command = Command(component.name, callback=click.pass_context(run), params=options, help=component.summary)
    registry_option(command)
    return command


VERBS.append(predict)
