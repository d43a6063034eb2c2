"""Devices by every name that people know: of a profile, a SoC, a GPU, a phone."""

from collections.abc import Mapping

from toolkit.devices.match import Profile, gpu_key, socs
from toolkit.devices.profiles import user_file
from toolkit.errors import PocketError
from toolkit.nearest import nearest, plain

EVERYWHERE = "list all with pocketcl devices; leave out --device for the device here"


def named(word: str, known: Mapping[str, Profile]) -> str | None:
    """The profile of this name or SoC, whatever its case and punctuation, else of this GPU."""
    wanted, gpu = plain(word), gpu_key(word)
    for name, facts in known.items():
        if wanted in map(plain, (name, *socs(facts))):
            return name
    having = [n for n, facts in known.items() if gpu and gpu_key(facts.get("gpu", "")) == gpu]
    if len(having) > 1:
        because = f"several profiles have it: {', '.join(having)}"
        raise PocketError(f"'{word}' is not one device", because, f"pass --device {having[0]}")
    return having[0] if having else None


def unknown_device(word: str, known: Mapping[str, Profile]) -> PocketError:
    """The error for a name that no profile has, with the names most like it."""
    labels = {label: name for name, facts in known.items() for label in _labels(name, facts)}
    close: dict[str, str] = {}  # profile -> its label that is most like the word
    for label in nearest(word, labels):
        close.setdefault(labels[label], label)
    listed = [name if name == label else f"{name} ({label})" for name, label in close.items()]
    because = f"it is no name of {len(known)} profiles, nor of their SoCs, GPUs and phones"
    own = f"write a profile of your own into {user_file()}"
    hint = f"use {' or '.join(listed)}; {EVERYWHERE}" if close else f"{EVERYWHERE}; {own}"
    return PocketError(f"no device is called '{word}'", because, hint)


def _labels(name: str, facts: Profile) -> list[str]:
    gpu = facts.get("gpu")
    return [name, *socs(facts), *([str(gpu)] if gpu else []), *map(str, facts.get("phones", ()))]
