"""Parse the output of `dumpsys` and the files of /sys; None for what can't be parsed."""

import re
from dataclasses import dataclass

MARK = "=== "
# A line of the HAL, as HIDL writes it (".name = SKIN, .hotThrottlingThresholds = [NaN, 39.0]") or
# AIDL ("name: SKIN, hotThrottlingThresholds: [NaN, 39.0]").
LIMITS = re.compile(
    r"\bname\s*[=:]\s*([^,}\n]+),[^\n]*?\bhotThrottlingThresholds\s*[=:]\s*\[([^\]]*)\]"
)


@dataclass(frozen=True)
class Battery:
    """The values of `dumpsys battery`; celsius is that of the cell."""

    level: int | None = None  # per cent
    celsius: float | None = None
    powered: str | None = None  # "USB", "AC", "wireless", "dock", "" when it runs on battery
    millivolts: int | None = None
    charge_uah: int | None = None


@dataclass(frozen=True)
class Cluster:
    """CPU cores of one clock."""

    cores: tuple[int, ...]
    mhz: float | None
    limit_mhz: float | None  # allowed at the moment
    max_mhz: float | None  # of the hardware


def sections(text: str) -> dict[str, str]:
    """The sections of the output by name; those after a broken connection are missing."""
    found: dict[str, list[str]] = {}
    name = ""
    for line in text.replace("\r", "").splitlines():
        if line.startswith(MARK):
            name = line.removeprefix(MARK).strip()
            found[name] = []
        elif name:
            found[name].append(line)
    return {name: "\n".join(lines) for name, lines in found.items()}


def parse_battery(text: str) -> Battery:
    """`dumpsys battery`: "  level: 83", temperatures in tenths of a degree."""
    facts = pairs(text, ":")
    sources = ("AC", "USB", "Wireless", "Dock")
    reported = [name for name in sources if f"{name} powered" in facts]
    powered = [name for name in reported if facts[f"{name} powered"] == "true"]
    tenths = _number(facts.get("temperature"))
    level, scale = _number(facts.get("level")), _number(facts.get("scale"))
    millivolts, charge = _number(facts.get("voltage")), _number(facts.get("Charge counter"))
    return Battery(
        level=None if level is None else round(100 * level / (scale or 100)),
        celsius=None if tenths is None else tenths / 10,
        powered=", ".join(powered) if reported else None,
        millivolts=None if not millivolts else int(millivolts),
        charge_uah=None if not charge else int(charge),
    )


def parse_thermal(
    text: str,
) -> tuple[int | None, dict[str, float], dict[str, tuple[float | None, ...]]]:
    """`dumpsys thermalservice`: status, temperatures from the HAL (else cached), thresholds."""
    status = re.search(r"^\s*Thermal Status: (\d+)", text, re.MULTILINE)
    live = text.partition("Current temperatures from HAL")[2]
    live = live.partition("Current cooling devices")[0].partition("Temperature static")[0]
    found = _temperatures(live) or _temperatures(text)
    limits = {
        name.strip(): tuple(map(_limit, values.split(","))) for name, values in LIMITS.findall(text)
    }
    return (int(status[1]) if status else None), found, limits


def parse_zones(text: str) -> dict[str, float]:
    """Lines of "TYPE VALUE", in thousandths of a degree (some kernels: degrees)."""
    found: dict[str, float] = {}
    for line in text.splitlines():
        name, _, value = line.rpartition(" ")
        number = _number(value)
        if not name or number is None:
            continue
        celsius = number / 1000 if abs(number) >= 1000 else number
        if -40 < celsius < 150:  # unconnected sensors read -274 or 0xFFFF
            found[name.strip()] = celsius
    return found


def parse_gpu(text: str) -> tuple[float | None, float | None, float | None]:
    """Lines of "FILE VALUE": MHz now, MHz at most, per cent busy."""
    clock = limit = busy = None
    for line in text.splitlines():
        path, _, value = line.partition(" ")
        number = _number(value.split("%")[0].strip().split(" ")[-1] if value.strip() else "")
        if number is None:
            continue
        name = path.rpartition("/")[2]
        if name == "gpu_busy_percentage":
            busy = busy if busy is not None else number
        elif name in ("max_gpuclk", "max_freq", "gpu_max_clock"):
            limit = limit if limit is not None else _megahertz(number)
        elif name in ("gpuclk", "cur_freq", "gpu_clock", "current_freqency") and number > 0:
            clock = clock if clock is not None else _megahertz(number)
    return clock, limit, busy


def parse_clusters(text: str) -> tuple[Cluster, ...]:
    """Lines of "FIRST CURRENT LIMIT MAX CORE…", in kHz."""
    found = []
    for line in text.splitlines():
        words = line.split()
        if len(words) < 2 or not all(word.isdigit() for word in words):
            continue
        clocks = [int(word) / 1000 for word in words[1:4]] + [None] * 3
        cores = tuple(int(word) for word in words[4:]) or (int(words[0]),)
        found.append(Cluster(cores, clocks[0], clocks[1], clocks[2]))
    return tuple(found)


def parse_screen(text: str) -> bool | None:
    """`dumpsys power`: Awake is on; Asleep and Dozing are off."""
    if state := re.search(r"Display Power: state=(\w+)", text):
        return state[1] == "ON"
    wake = re.search(r"mWakefulness=(\w+)", text)
    return wake[1] in ("Awake", "Dreaming") if wake else None


def _temperatures(text: str) -> dict[str, float]:
    found: dict[str, float] = {}
    for entry in re.findall(r"Temperature\{([^}]*)\}", text):
        facts = dict(re.findall(r"(\w+)=([^,}]+)", entry))
        value = _number(facts.get("mValue"))
        if value is not None and facts.get("mName") and -40 < value < 150:
            found[facts["mName"].strip()] = value
    return found


def _limit(text: str) -> float | None:
    return _number(text.strip())  # NaN: no threshold at this status


def pairs(text: str, mark: str) -> dict[str, str]:
    """Lines of "NAME<mark> VALUE"."""
    parts = (line.partition(mark) for line in text.splitlines())
    return {name.strip(): value.strip() for name, _, value in parts if name.strip()}


def _number(text: str | None) -> float | None:
    if text is None or not re.fullmatch(r"-?\d+(\.\d+)?(E[-+]?\d+)?", text.strip()):
        return None
    return float(text)


def _megahertz(number: float) -> float:
    """MHz of a number in Hz, kHz or MHz: GPUs run at 100 to 3000 MHz."""
    while number > 10_000:
        number /= 1000
    return number


def kilobytes(text: str | None) -> int | None:
    """Bytes of "123 kB"."""
    words = (text or "").split()
    return 1024 * int(words[0]) if words and words[0].isdigit() else None


def flag(text: str, name: str) -> bool | None:
    """The value of NAME=true or NAME=false in the text; None if neither is there."""
    hit = re.search(rf"{name}\s*[=:]\s*(true|false)", text)
    return hit[1] == "true" if hit else None
