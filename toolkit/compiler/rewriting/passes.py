"""Runs the passes over a model by the options of a compile."""

import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import Any

import onnx_ir as ir

import onnx_passes
from onnx_passes import Missed, Outcome
from opencl_kernels.formats import Array
from toolkit.compiler.calibrated import masks_of, refits_of
from toolkit.compiler.damage import blaming
from toolkit.compiler.lowering.table import computes
from toolkit.compiler.options import Options, options_of
from toolkit.compiler.rewriting.refusals import refuse_leftovers
from toolkit.compiler.source import Source
from toolkit.plan.schema import Plan

Progress = Callable[[str], None]


def rewritten_for(source: Source, plan: Plan, cached: tuple[Array, ...] = ()) -> ir.Model:
    """The final graph that a plan was lowered from, made again from its source.

    cached  as Facts has it
    """
    return rewrite_with(source, options_of(plan), cached)


def rewrite_with(source: Source, options: Options, cached: tuple[Array, ...] = ()) -> ir.Model:
    """A model after all passes."""
    model = source.model
    with blaming(source.onnx_path):
        for _ in rewritten(model, options, lambda _: None, cached):
            pass
    return model


def rewritten(
    model: ir.Model, options: Options, tell: Progress, cached: tuple[Array, ...] = ()
) -> Iterator[dict[str, Any]]:
    """Run the passes; then refuse nodes without a kernel and open dimensions."""
    misses: list[Missed] = []
    for name, outcome, seconds in run_passes(model, options, tell, cached):
        misses += outcome.misses
        yield {"name": name, "rewrites": outcome.rewrites, "seconds": round(seconds, 4)}
    refuse_leftovers(model, misses)


def facts_of(options: Options) -> onnx_passes.Facts:
    """What passes need to know: the options, and what has kernels."""
    masks = masks_of(options.calibration, options.recall, options.calibrated)
    known = options.calibration if options.refit else None
    refits = refits_of(known, options.density, options.calibrated)
    return replace(options.facts, computes=computes, masks=masks, refits=refits)


def run_passes(
    model: ir.Model, options: Options, tell: Progress, cached: tuple[Array, ...] = ()
) -> Iterator[tuple[str, Outcome, float]]:
    """Run the passes, yielding (name, outcome, seconds) after each."""
    replace(facts_of(options), cached=cached).note(model)
    clock = time.perf_counter()
    for name, outcome in onnx_passes.rewrite(model):
        tell(f"pass {name}: {outcome.rewrites}")
        yield name, outcome, time.perf_counter() - clock
        clock = time.perf_counter()
