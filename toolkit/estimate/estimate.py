"""`pocketcl estimate`: rates and memory of a model on a device, predicted before anyone runs it."""

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from toolkit.arguments import path_of, whole
from toolkit.compiler.budget.clock import LAUNCHES, Clock
from toolkit.compiler.cost.rates import Figure, Rates, rates_of
from toolkit.compiler.cost.work import share_names
from toolkit.compiler.lowering.kernel_case import kernel_case_of
from toolkit.devices.match import Profile
from toolkit.devices.profiles import profiles
from toolkit.errors import PocketError
from toolkit.estimate.flash.points import flash_points
from toolkit.estimate.memory import Room, longest_context, memory_at, room_of
from toolkit.estimate.subject import InFlash, Subject, Tell, subject_of
from toolkit.offload.flash_model import flash as known_flash
from toolkit.plan.amount import bytes_of, is_share
from toolkit.plan.phase_choice import token_phase
from toolkit.plan.schema import Plan
from toolkit.version import __version__

CONTEXTS = (512, 2048, 4096)  # then twice as long each, as far as the model goes
PROMPT, NEW = 512, 64  # tokens, as `pocketcl bench` takes them


def estimate(
    source: str | Path,
    device: str | None = None,
    *,
    serial: str | None = None,
    prompt_tokens: int | None = None,
    memory: str | int | Sequence[str] | None = None,
    flash: str | None = None,
    calibration: str | Path | None = None,
    max_loss: str | float | None = None,
    progress: Tell | None = None,
    **chosen: Any,
) -> dict[str, Any]:
    """Predict how fast a model or a plan runs and what memory it takes; keys as in `--json`.

    device         a profile, a SoC or a GPU; for a plan of the same class as its own
    prompt_tokens  length of the prompt of the figures at the top; default 512
    memory         bytes that the device gives; default: what its profile knows. Where weights may
                   be in flash: budgets, each with a point of its own
    flash, calibration, max_loss  weights may be in flash: this one; neurons are needed so
    chosen         of a model: options of `compiler.options.choose`
    """
    path = path_of(source, "a model or a plan", "the path of an .onnx file, a folder or a plan")
    memories = _memories(memory)
    if flash is not None:
        known_flash(flash)
    wanted = any(each is not None for each in (flash, calibration, max_loss))
    asked = InFlash(flash, calibration, max_loss, wanted or len(memories) > 1 or _share(memories))
    found = subject_of(path, device, serial, progress or (lambda *_: None), asked, **chosen)
    return figures_of(path, found, prompt_tokens, memories)


def figures_of(
    path: Path, found: Subject, prompt_tokens: int | None, memories: Sequence[str] = ()
) -> dict[str, Any]:
    """The figures of a subject."""
    plan, facts, budgets = found.plan, found.facts, found.budgets
    rates = rates_of(str(facts["name"]), facts, profiles())
    given = bytes_of(memories[0], 0) if memories and budgets is None else None
    clock, room = _clock(found, rates), room_of(facts, given)
    prompt = _prompt(prompt_tokens, found.context)
    past = min(prompt + NEW // 2, found.context - 1)
    told: dict[str, Any] = {}
    if budgets is not None:
        dense = None if found.is_plan else _dense(clock, prompt, past)
        told = flash_points(budgets, facts, rates, memories, prompt, past, dense)
    return {
        "predicted": True,
        "about": _about(path, plan, facts),
        "device": str(facts["name"]),
        "class": facts["class"],
        **_speed(clock, prompt, past),
        **_size(plan, room, found.context),
        **told,
        "contexts": list(_rows(clock, room)),
        "rates": {
            "read_gb_s": _rate(rates.read, 1e-9),
            "cached_gb_s": _rate(rates.cached, 1e-9) if rates.cached else None,
            "arithmetic_gflop_s": _rate(rates.arithmetic, 1e-9),
            "launch_us": _rate(rates.launch, 1e6),
            "step_us": _rate(rates.step, 1e6),
        },
    }


def _memories(memory: str | int | Sequence[str] | None) -> list[str]:
    """As they are typed."""
    if memory is None:
        return []
    return [str(memory)] if isinstance(memory, str | int) else [str(each) for each in memory]


def _share(memories: Sequence[str]) -> bool:
    return any(map(is_share, memories))


def _clock(found: Subject, rates: Rates) -> Clock:
    """Of a plan with tables at its last point."""
    if found.budgets is None or not found.plan.tables:
        return Clock(found.plan, found.facts, rates)
    times = found.budgets.times(found.facts, rates)
    return Clock(found.plan, found.facts, rates, times, found.plan.points[-1])


def _dense(clock: Clock, prompt: int, past: int) -> dict[str, float]:
    return {
        "predicted_tokens_per_s": 1 / sum(clock.decode(past).values()),
        "first_token_s": sum(clock.prefill(prompt).values()),
    }


def _speed(clock: Clock, prompt: int, past: int) -> dict[str, Any]:
    """Of a prompt, and of the middle one of the tokens that follow it."""
    prefill = clock.prefill(prompt)
    decode = clock.decode(past)
    first = sum(prefill.values())
    return {
        "prefill_tokens_per_s": prompt / first,
        "decode_tokens_per_s": 1 / sum(decode.values()),
        "first_token_s": first,
        "prompt_tokens": prompt,
        "families": list(_families(clock.plan, clock.rates, prefill, decode)),
    }


def _size(plan: Plan, room: Room, context: int) -> dict[str, Any]:
    """Of the plan that a compile would make, and whether the device holds it."""
    own = memory_at(plan, context)
    return {
        "context": context,
        "memory": own.as_json(),
        "fits": room.holds(own),
        "room": {"memory": room.memory, "buffer": room.buffer, "source": room.source},
        "longest_context": longest_context(plan, room, int(plan.model["max_context"])),
    }


def _about(path: Path, plan: Plan, facts: Profile) -> dict[str, Any]:
    options = plan.model.get("options", {})
    return {
        "source": path.absolute().name,
        "weights": options.get("weights"),
        "kv": options.get("kv"),
        "gpu": facts.get("gpu") or facts.get("about"),
        "dispatches_per_token": len(decode.dispatches()) if (decode := token_phase(plan)) else 0,
        "prefill_chunk": plan.model["prefill_chunk"],
        "pocketcl": f"PocketCL {__version__}",
    }


def _prompt(wanted: int | None, context: int) -> int:
    """A prompt that leaves room for new tokens, unless one is asked for."""
    if wanted is None:
        return min(PROMPT, max(1, context - NEW))
    whole("prompt_tokens", wanted)
    if wanted > context:
        because = f"its context has {context}"
        hint = f"choose --prompt-tokens {context} or less"
        raise PocketError(f"a prompt of {wanted} tokens does not fit", because, hint)
    return wanted


def contexts_of(limit: int) -> list[int]:
    """Lengths of contexts that a report tells of, up to the greatest one."""
    lengths = list(CONTEXTS)
    while 2 * lengths[-1] <= limit:
        lengths.append(2 * lengths[-1])
    return [*(length for length in lengths if length < limit), limit]


def _rows(clock: Clock, room: Room) -> Iterator[dict[str, Any]]:
    """A prompt that fills its context, and the token before which the context is full."""
    for context in contexts_of(int(clock.plan.model["max_context"])):
        first = sum(clock.prefill(context).values())
        memory = memory_at(clock.plan, context)
        yield {
            "context": context,
            "prefill_tokens_per_s": context / first,
            "decode_tokens_per_s": 1 / sum(clock.decode(context - 1).values()),
            "first_token_s": first,
            "memory": memory.as_json(),
            "fits": room.holds(memory),
        }


def _families(
    plan: Plan, rates: Rates, prefill: Mapping[str, float], decode: Mapping[str, float]
) -> Iterator[dict[str, Any]]:
    """What the time goes into, the most of a decode step first."""
    shares = _shares(plan, rates)
    order = sorted({*prefill, *decode}, key=lambda name: -decode.get(name, 0))
    for name in order:
        yield {
            "family": name,
            "prefill_s": prefill.get(name, 0.0),
            "decode_s": decode.get(name, 0.0),
            "shares": shares.get(name, []) if name != LAUNCHES else [],
        }


def _shares(plan: Plan, rates: Rates) -> dict[str, list[dict[str, Any]]]:
    """The shares that a family's kernels are taken to reach, each once."""
    found: dict[str, list[dict[str, Any]]] = {}
    for made in filter(None, map(kernel_case_of, plan.programs)):
        names = share_names(made.family, made.case)
        share = vars(rates.share(*names)) | {"of": names[-2] if len(names) > 1 else names[0]}
        if share not in (listed := found.setdefault(made.family.name, [])):
            listed.append(share)
    return found


def _rate(figure: Figure, scale: float) -> dict[str, Any]:
    return {"value": scale * figure.value, "source": figure.source}
