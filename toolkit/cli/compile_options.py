"""Options that say what a model is compiled to."""

from collections.abc import Callable
from typing import Any

import click

from toolkit.cli.options import COUNT, Command, UserPath, all_of

F32_OR_F16 = click.Choice(["f32", "f16"])


class Rule(click.ParamType[str]):
    """PATTERN=f16 or PATTERN=f32."""

    name = "rule"

    def convert(self, value: Any, param: Any, ctx: Any) -> Any:
        """The same text, if it is a rule."""
        pattern, _, dtype = str(value).rpartition("=")
        if not pattern or dtype not in ("f16", "f32"):
            self.fail(f"{value!r} is not PATTERN=f16 or PATTERN=f32", param, ctx)
        return value


WEIGHTS = click.option(
    "--weights",
    type=click.Choice(["source", "f32", "f16", "e0m4"]),
    default="source",
    show_default=True,
    help="How weights are stored.",
)
GROUP = click.option(
    "--group",
    type=click.Choice([16, 32, 64, 128, 256]),
    help="e0m4: weights that share a scale.  [default: 32]",
)
SYMMETRIC = click.option("--symmetric", is_flag=True, help="e0m4: no zero points, fewer bytes.")
KEEP = click.option(
    "--keep",
    type=Rule(),
    multiple=True,
    metavar="PATTERN=f16|f32",
    help="e0m4: weights that stay float, by name; also lm_head, embed.",
)

LORA = click.option(
    "--lora",
    type=UserPath(exists=True, file_okay=False),
    metavar="DIR",
    help="An adapter (PEFT) that is added to the model's weights.",
)


def compile_options(of: str = "") -> Callable[[Command], Command]:
    """What a model is compiled to; `of` says of which input, where others are no models."""
    options = (
        WEIGHTS,
        GROUP,
        SYMMETRIC,
        KEEP,
        click.option(
            "--max-context",
            type=COUNT,
            help=f"{of}Tokens.  [default: the model's, at most 4096]",
        ),
        click.option(
            "--prefill-chunk", type=COUNT, help=f"{of}Tokens that one prefill step takes at most."
        ),
        click.option(
            "--activations", type=F32_OR_F16, help=f"{of}Between steps.  [default: by device]"
        ),
        click.option("--kv", type=F32_OR_F16, help=f"{of}The KV cache.  [default: by device]"),
        click.option(
            "--calibration",
            type=UserPath(exists=True, file_okay=False),
            metavar="DIR",
            help="--memory: of `pocketcl calibrate`; what is predicted to be zero isn't read.",
        ),
        click.option(
            "--max-loss", metavar="1%", help=f"{of}--calibration: perplexity that it may cost."
        ),
    )
    return all_of(options)
