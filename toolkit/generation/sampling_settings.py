"""Sampling options: those given by the user, then the model's own settings, then defaults."""

import dataclasses
import json
import secrets
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from toolkit.errors import PocketError
from toolkit.executors.sampling import MOST_CANDIDATES, Sampling

OF_MODELS = ("temperature", "top_k", "top_p", "min_p", "repetition_penalty")


def model_settings(plan: Path) -> dict[str, Any]:
    """The sampling settings recommended for the model, from the settings files of its plan.

    The "search" entry of genai_config.json overrides generation_config.json.
    """
    found: dict[str, Any] = {}
    for name, key in (("generation_config.json", None), ("genai_config.json", "search")):
        try:
            body = json.loads((plan / name).read_text(encoding="utf-8"))
            body = body if key is None else body.get(key, {})
            found |= {k: v for k, v in body.items() if k in OF_MODELS and v is not None}
        except FileNotFoundError:
            continue
        except (OSError, ValueError, AttributeError) as error:
            raise PocketError(f"{plan / name} cannot be read", error, "repair it") from None
    return found


def choose_sampling(
    settings: Mapping[str, Any], given: Mapping[str, Any], sample: bool = False
) -> Sampling:
    """The options of a run: greedy, or the model's own with `sample`; those given override both.

    Random sampling without a seed gets a random one.
    """
    own = {"temperature": 1.0, **settings} if sample else {}
    if isinstance(own.get("top_k"), int):
        own["top_k"] = min(own["top_k"], MOST_CANDIDATES)
    given = {name: value for name, value in given.items() if value is not None}
    chosen = Sampling(**{**own, **given})
    if chosen.greedy or "seed" in given:
        return chosen
    return dataclasses.replace(chosen, seed=secrets.randbits(32))


def without_effect(chosen: Sampling, given: Mapping[str, Any]) -> list[str]:
    """Options that were given and have no effect on greedy sampling."""
    random = ("top_k", "top_p", "min_p", "seed")
    return [n for n in random if given.get(n) is not None] if chosen.greedy else []
