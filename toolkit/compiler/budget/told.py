"""What a compile tells people of its budget."""

from collections.abc import Iterator, Mapping
from typing import Any

from toolkit.compiler.budget.needs import spelled
from toolkit.tables import rate, size

SELECTED = {
    "all": "every token reads all that memory has no room for",
    "lowrank": "a token reads the neurons that are predicted, of those that memory has no room for",
    "dip": "a token reads the columns of what is greatest, as far as memory has no room for them",
    "dip-ca": "a token reads columns of what is greatest, if much greater than what memory has",
    "gate": "a token reads the neurons whose gate is not 0, of those that memory has no room for",
}


def budget_lines(figures: Mapping[str, Any]) -> Iterator[str]:
    """Lines for a plan with a budget; nothing else."""
    if "budget_bytes" not in figures:
        return
    budget = size(figures["budget_bytes"])
    if "slot_bytes" not in figures:
        yield f"  all of it fits into {budget} of memory: nothing is read from flash (--memory)"
        return
    resident, slots = size(figures["resident_bytes"]), size(figures["slot_bytes"])
    if figures["slot_share"] is not None:
        what = "records" if figures["expert_bytes"] else "neurons"
        slots += f" = {100 * figures['slot_share']:.0f} % of the {what}"
    asked = "--memory" if figures.get("rate") is None else f"--rate {figures['rate']:g}"
    yield f"  memory {budget}: resident {resident}, slots {slots} ({asked})"
    yield f"    {spelled(figures['resident'])}"
    experts, rows = figures["expert_bytes"], figures["row_bytes"]
    if networks := figures["flash_bytes"] - rows - experts:
        yield f"  FFNs on flash {size(networks)}: {SELECTED[figures['selector']]}"
    if experts:
        which = "those that its router chooses, as far as memory has no room for them"
        yield f"  experts on flash {size(experts)}: a token reads {which}"
    elif not networks:
        yield "  FFNs stay in memory"
    if rows:
        yield f"  embedding on flash {size(rows)}: a token reads its row"
    if "predicted_read_s" in figures:
        yield f"  {_time(figures)}"
    if short := figures.get("short_prompt"):
        yield f"  prompts of at most {short} tokens are fed one by one: predicted to be faster"
    if figures["selector"].startswith("dip"):
        share, loss = f"{figures['density']:.0%} of the networks is computed", figures["loss"]
        unknown = "what that costs has not been measured (pocketcl calibrate, or eval)"
        yield f"  {share}: {unknown if loss is None else f'perplexity {loss:+.2%} at most'}"
        if figures.get("refit"):
            yield "  last matrices of FFNs are refitted to what is computed"
    elif figures.get("max_loss") is not None:
        yield f"  {_predicted(figures)}"
    if figures["requantized"]:
        yield f"  codes made anew of {len(figures['requantized'])} weights (--json: requantized)"
    for missed in figures["resident_ffns"]:  # embeddings among them
        yield f"  in memory as it is: {missed}"


def _time(figures: Mapping[str, Any]) -> str:
    """Of a token, as far as the device is known."""
    read = size(figures["predicted_read_bytes"])
    reads = f"{read} read of flash a token, {1e3 * figures['predicted_read_s']:.3g} ms"
    how = f"{reads} as on {figures['flash']}, policy {figures['policy']}"
    if figures["predicted_tokens_per_s"] is None:
        return f"predicted: {how}; how fast this device computes isn't known (bench --kernels)"
    return f"predicted {rate(figures['predicted_tokens_per_s'])} tokens/s: {how}"


def _predicted(figures: Mapping[str, Any]) -> str:
    """What predictors compute, and what that costs."""
    if figures["loss"] is None:
        return f"no predictor costs at most {figures['max_loss']:.2%} of perplexity: none is used"
    computed, cost = figures["density"], figures["loss"]
    return f"predictors: {computed:.0%} of the neurons are computed, perplexity {cost:+.2%}"
