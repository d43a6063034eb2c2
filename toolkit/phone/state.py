"""The state of a phone: heat, clocks, battery, memory; None for what it doesn't report.

One command reads all of it, in one round trip. Nothing needs root; vendors leave parts out, and
SELinux forbids others.
"""

import time
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, field, replace
from typing import Any

from toolkit.errors import PocketError
from toolkit.phone.state_parse import (
    Battery,
    Cluster,
    flag,
    kilobytes,
    pairs,
    parse_battery,
    parse_clusters,
    parse_gpu,
    parse_screen,
    parse_thermal,
    parse_zones,
    sections,
)

Shell = Callable[[str], str]
# PowerManager.THERMAL_STATUS_*: Android's status of the whole phone.
THERMAL = ("none", "light", "moderate", "severe", "critical", "emergency", "shutdown")
LOOK_S = 5.0  # between two readings of a phone that cools down
SKIN_TYPES = ("skin", "quiet", "shell_front")  # parts of sensor names

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
class PhoneState:
    """One reading. Temperatures in °C, clocks in MHz, `at_s` is time.monotonic() here."""

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
    missing: tuple[str, ...] = ()  # parts that it did not report

    @property
    def thermal_word(self) -> str | None:
        """Android's name of the thermal status."""
        if self.thermal_status is None:
            return None
        known = self.thermal_status < len(THERMAL)
        return THERMAL[self.thermal_status] if known else f"status {self.thermal_status}"

    @property
    def skin_celsius(self) -> float | None:
        """The temperature of the surface: of a skin sensor, else of the battery."""
        for values in (self.temperatures, self.zones):
            for name, value in values.items():
                if any(word in name.lower() for word in SKIN_TYPES):
                    return value
        return self.battery.celsius

    def as_json(self) -> dict[str, Any]:
        """The state as plain values, for figures."""
        return {
            **asdict(self),
            "thermal_word": self.thermal_word,
            "skin_celsius": self.skin_celsius,
        }


def read_state(shell: Shell) -> PhoneState:
    """Read the state of a phone; `shell` runs a command there and returns its stdout."""
    return parse_state(shell(f"({ASK}) 2>/dev/null"), time.monotonic())


def parse_state(text: str, at_s: float) -> PhoneState:
    """The state in the output of `ASK`."""
    parts = sections(text)
    status, temperatures, thresholds = parse_thermal(parts.get("thermal", ""))
    gpu = parse_gpu(parts.get("gpu", ""))
    memory = pairs(parts.get("memory", ""), ":")
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
        memory_total_bytes=kilobytes(memory.get("MemTotal")),
        memory_available_bytes=kilobytes(memory.get("MemAvailable")),
        screen_on=parse_screen(power),
        power_save=flag(power, "mLowPowerModeEnabled"),
    )
    return replace(found, missing=_missing(found))


def wait_until_cool(
    shell: Shell,
    celsius: float,
    limit_s: float = 600,
    progress: Callable[[str], None] = lambda _: None,
    sleep: Callable[[float], None] = time.sleep,
) -> tuple[bool, str]:
    """Wait until the skin (or battery) is cool enough; whether it is, and a line about it."""
    start = waited = 0.0
    first = last = read_state(shell)
    if first.skin_celsius is None:
        raise PocketError(
            "it is not known when the phone is cool enough",
            "it reports neither the temperature of its skin nor of its battery",
            "leave out --cool-to",
        )
    start = first.skin_celsius
    while (last.skin_celsius or 0.0) > celsius and waited < limit_s:
        progress(f"cooling: {last.skin_celsius:.1f} °C, to {celsius:g} °C, {waited:.0f} s")
        sleep(LOOK_S)
        waited += LOOK_S
        last = read_state(shell)
        if last.skin_celsius is None:
            return False, f"after {waited:.0f} s it no longer reported its temperature"
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
