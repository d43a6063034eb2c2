"""How a phone is: heat, clocks, battery, memory; whatever it doesn't tell is None.

One command asks for all of it, so that a look costs one round trip. Nothing needs root; vendors
leave parts out, SELinux forbids others.
"""

import re
import time
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, field, replace
from typing import Any

from toolkit.errors import PocketError

Shell = Callable[[str], str]
MARK = "=== "
# Of PowerManager.THERMAL_STATUS_*: what Android says of the whole phone.
THERMAL = ("none", "light", "moderate", "severe", "critical", "emergency", "shutdown")
LOOK_S = 5.0  # between two looks at a phone that cools
SKIN_TYPES = ("skin", "quiet", "shell_front")  # in the names of sensors

# A line of the HAL, in HIDL's words (".name = SKIN, .hotThrottlingThresholds = [NaN, 39.0]") or
# AIDL's ("name: SKIN, hotThrottlingThresholds: [NaN, 39.0]").
LIMITS = re.compile(
    r"\bname\s*[=:]\s*([^,}\n]+),[^\n]*?\bhotThrottlingThresholds\s*[=:]\s*\[([^\]]*)\]"
)

# Sections by name; a file that can't be read prints nothing.
ASK = r"""
echo '=== uptime'; cat /proc/uptime
echo '=== battery'; dumpsys battery
echo '=== thermal'; dumpsys thermalservice
echo '=== zones'
for z in /sys/class/thermal/thermal_zone*; do
  t=$(cat $z/temp) && echo "$(cat $z/type) $t"
done
echo '=== gpu'
for f in /sys/class/kgsl/kgsl-3d0/gpuclk /sys/class/kgsl/kgsl-3d0/max_gpuclk \
    /sys/class/kgsl/kgsl-3d0/devfreq/cur_freq /sys/class/kgsl/kgsl-3d0/devfreq/max_freq \
    /sys/class/kgsl/kgsl-3d0/gpu_busy_percentage /sys/class/kgsl/kgsl-3d0/thermal_pwrlevel \
    /sys/class/devfreq/*.mali/cur_freq /sys/class/devfreq/*.mali/max_freq \
    /sys/class/misc/mali0/device/devfreq/*/cur_freq \
    /sys/class/misc/mali0/device/devfreq/*/max_freq \
    /sys/kernel/gpu/gpu_clock /sys/kernel/gpu/gpu_max_clock /sys/kernel/ged/hal/current_freqency; do
  [ -r "$f" ] && echo "$f $(cat $f)"
done
echo '=== cpu'
for p in /sys/devices/system/cpu/cpufreq/policy*; do
  echo "${p##*policy} $(cat $p/scaling_cur_freq) $(cat $p/scaling_max_freq) \
$(cat $p/cpuinfo_max_freq) $(cat $p/related_cpus)"
done
echo '=== memory'; grep -E '^(MemTotal|MemAvailable|SwapFree):' /proc/meminfo
echo '=== power'; dumpsys power | grep -E 'mWakefulness=|mLowPowerModeEnabled|^ *Display Power: '
echo '=== end'
"""


@dataclass(frozen=True)
class Battery:
    """As `dumpsys battery` says; celsius of its cell."""

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
    limit_mhz: float | None  # what is allowed now
    max_mhz: float | None  # what the hardware can do


@dataclass(frozen=True)
class PhoneState:
    """One look. Temperatures in °C, clocks in MHz, `at_s` of this computer's steady clock."""

    at_s: float
    battery: Battery = field(default_factory=Battery)
    thermal_status: int | None = None  # index of THERMAL
    temperatures: Mapping[str, float] = field(default_factory=dict)  # of Android's sensors
    thresholds: Mapping[str, tuple[float | None, ...]] = field(default_factory=dict)  # by status
    zones: Mapping[str, float] = field(default_factory=dict)  # of the kernel, by type
    gpu_mhz: float | None = None
    gpu_limit_mhz: float | None = None
    gpu_busy: float | None = None  # per cent
    clusters: tuple[Cluster, ...] = ()
    memory_total_bytes: int | None = None
    memory_available_bytes: int | None = None
    screen_on: bool | None = None
    power_save: bool | None = None
    missing: tuple[str, ...] = ()  # parts that it did not tell

    @property
    def thermal_word(self) -> str | None:
        """The thermal status in Android's words."""
        if self.thermal_status is None:
            return None
        known = self.thermal_status < len(THERMAL)
        return THERMAL[self.thermal_status] if known else f"status {self.thermal_status}"

    @property
    def skin_celsius(self) -> float | None:
        """What the hand feels: the skin sensor, else the battery's."""
        for values in (self.temperatures, self.zones):
            for name, value in values.items():
                if any(word in name.lower() for word in SKIN_TYPES):
                    return value
        return self.battery.celsius

    def as_json(self) -> dict[str, Any]:
        """For figures: plain values."""
        return {
            **asdict(self),
            "thermal_word": self.thermal_word,
            "skin_celsius": self.skin_celsius,
        }


def read_state(shell: Shell) -> PhoneState:
    """Ask a phone how it is; `shell` runs a command there and returns its stdout."""
    return parse_state(shell(f"({ASK}) 2>/dev/null"), time.monotonic())


def parse_state(text: str, at_s: float) -> PhoneState:
    """The state in the answer to `ASK`."""
    parts = sections(text)
    status, temperatures, thresholds = parse_thermal(parts.get("thermal", ""))
    gpu = parse_gpu(parts.get("gpu", ""))
    memory = _pairs(parts.get("memory", ""), ":")
    power = parts.get("power", "")
    found = PhoneState(
        at_s=at_s,
        battery=parse_battery(parts.get("battery", "")),
        thermal_status=status,
        temperatures=temperatures,
        thresholds=thresholds,
        zones=parse_zones(parts.get("zones", "")),
        gpu_mhz=gpu[0],
        gpu_limit_mhz=gpu[1],
        gpu_busy=gpu[2],
        clusters=parse_clusters(parts.get("cpu", "")),
        memory_total_bytes=_kilobytes(memory.get("MemTotal")),
        memory_available_bytes=_kilobytes(memory.get("MemAvailable")),
        screen_on=parse_screen(power),
        power_save=_flag(power, "mLowPowerModeEnabled"),
    )
    return replace(found, missing=_missing(found))


def sections(text: str) -> dict[str, str]:
    """The answer cut at its marks; what is cut off is simply not there."""
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
    facts = _pairs(text, ":")
    sources = ("AC", "USB", "Wireless", "Dock")
    told = [name for name in sources if f"{name} powered" in facts]
    powered = [name for name in told if facts[f"{name} powered"] == "true"]
    tenths = _number(facts.get("temperature"))
    level, scale = _number(facts.get("level")), _number(facts.get("scale"))
    millivolts, charge = _number(facts.get("voltage")), _number(facts.get("Charge counter"))
    return Battery(
        level=None if level is None else round(100 * level / (scale or 100)),
        celsius=None if tenths is None else tenths / 10,
        powered=", ".join(powered) if told else None,
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


def wait_until_cool(
    shell: Shell,
    celsius: float,
    limit_s: float = 600,
    progress: Callable[[str], None] = lambda _: None,
    sleep: Callable[[float], None] = time.sleep,
) -> tuple[bool, str]:
    """Wait until skin (or battery) is at most so warm: whether it is, and the story in words."""
    start = waited = 0.0
    first = last = read_state(shell)
    if first.skin_celsius is None:
        raise PocketError(
            "the phone can't be waited for",
            "it tells neither the temperature of its skin nor of its battery",
            "without --cool-to",
        )
    start = first.skin_celsius
    while (last.skin_celsius or 0.0) > celsius and waited < limit_s:
        progress(f"cooling: {last.skin_celsius:.1f} °C, to {celsius:g} °C, {waited:.0f} s")
        sleep(LOOK_S)
        waited += LOOK_S
        last = read_state(shell)
        if last.skin_celsius is None:
            return False, f"after {waited:.0f} s it no longer told its temperature"
    now = last.skin_celsius or 0.0
    if now <= celsius:
        return True, f"{now:.1f} °C after {waited:.0f} s (from {start:.1f} °C)"
    return False, f"still {now:.1f} °C after {waited:.0f} s (from {start:.1f} °C)"


def _missing(state: PhoneState) -> tuple[str, ...]:
    parts = {
        "battery": state.battery.level,
        "temperature": state.skin_celsius,
        "thermal status": state.thermal_status,
        "GPU clock": state.gpu_mhz,
        "CPU clocks": state.clusters or None,
        "memory": state.memory_available_bytes,
        "screen": state.screen_on,
    }
    return tuple(name for name, value in parts.items() if value is None)


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


def _pairs(text: str, mark: str) -> dict[str, str]:
    pairs = (line.partition(mark) for line in text.splitlines())
    return {name.strip(): value.strip() for name, _, value in pairs if name.strip()}


def _number(text: str | None) -> float | None:
    if text is None or not re.fullmatch(r"-?\d+(\.\d+)?(E[-+]?\d+)?", text.strip()):
        return None
    return float(text)


def _megahertz(number: float) -> float:
    """Hz, kHz or MHz: GPUs run at 100 to 3000 MHz."""
    while number > 10_000:
        number /= 1000
    return number


def _kilobytes(text: str | None) -> int | None:
    words = (text or "").split()
    return 1024 * int(words[0]) if words and words[0].isdigit() else None


def _flag(text: str, name: str) -> bool | None:
    hit = re.search(rf"{name}\s*[=:]\s*(true|false)", text)
    return hit[1] == "true" if hit else None
