"""What phones tell of heat, clocks, battery and memory.

The answers here are written by hand after the formats of AOSP's dumpsys and of vendors' kernels;
none was recorded from a phone.
"""

import itertools
from collections.abc import Callable

import pytest

from toolkit.errors import PocketError
from toolkit.phone.state import ASK, parse_state, read_state, wait_until_cool
from toolkit.phone.state_parse import (
    parse_battery,
    parse_clusters,
    parse_gpu,
    parse_screen,
    parse_thermal,
    parse_zones,
    sections,
)

BATTERY = """Current Battery Service state:
  AC powered: false
  USB powered: true
  Wireless powered: false
  Max charging current: 500000
  Charge counter: 3456000
  status: 2
  health: 2
  present: true
  level: 83
  scale: 100
  voltage: 4217
  temperature: 314
  technology: Li-ion
"""
PIXEL = """IsStatusOverride: false
ThermalEventListeners:
\tcallbacks: 2
Thermal Status: 1
Cached temperatures:
\tTemperature{mValue=30.1, mType=3, mName=VIRTUAL-SKIN, mStatus=0}
HAL Ready: true
HAL connection:
\tThermalHAL AIDL 2  connected: yes
Current temperatures from HAL:
\tTemperature{mValue=47.0, mType=0, mName=BIG, mStatus=0}
\tTemperature{mValue=39.6, mType=3, mName=VIRTUAL-SKIN, mStatus=1}
\tTemperature{mValue=32.5, mType=2, mName=battery, mStatus=0}
Current cooling devices from HAL:
\tCoolingDevice{mValue=3, mType=2, mName=thermal-cpufreq-2}
Temperature static thresholds from HAL:
\tTemperatureThreshold{type: SKIN, name: VIRTUAL-SKIN, hotThrottlingThresholds: [NaN, 39.0, 43.0, \
45.0, 46.5, 52.0, 55.0], coldThrottlingThresholds: [NaN, NaN, NaN, NaN, NaN, NaN, NaN]}
"""
QUALCOMM = """IsStatusOverride: false
Thermal Status: 0
Cached temperatures:
 Temperature{mValue=35.4, mType=3, mName=skin, mStatus=0}
HAL Ready: true
HAL connection:
 ThermalHAL 2.0 connected: yes
Current temperatures from HAL:
 Temperature{mValue=51.200001, mType=1, mName=GPU0, mStatus=0}
 Temperature{mValue=36.9, mType=3, mName=skin, mStatus=0}
Current cooling devices from HAL:
 CoolingDevice{mValue=0, mType=0, mName=fan}
Temperature static thresholds from HAL:
 {.type = SKIN, .name = skin, .hotThrottlingThresholds = [NaN, 40.0, 43.0, 46.0, 50.0, 95.0], \
.coldThrottlingThresholds = [NaN, NaN], .vrThrottlingThreshold = 58.0}
"""
OLD = """IsStatusOverride: false
Thermal Status: 2
Cached temperatures:
    Temperature{mValue=44.0, mType=3, mName=AP, mStatus=2}
HAL Ready: false
"""


def shell(**parts: str) -> Callable[[str], str]:
    """A phone that answers with these sections."""
    return lambda command: "".join(f"=== {name}\r\n{body}\r\n" for name, body in parts.items())


def test_battery() -> None:
    found = parse_battery(BATTERY)
    assert (found.level, found.celsius, found.powered) == (83, 31.4, "USB")
    assert (found.millivolts, found.charge_uah) == (4217, 3456000)
    assert parse_battery("  USB powered: false\n  level: 41\n  scale: 50\n").level == 82
    assert parse_battery("  USB powered: false\n").powered == ""
    assert parse_battery("Can't find service: battery").powered is None


@pytest.mark.parametrize(
    "text, status, name, celsius, second",
    [
        (PIXEL, 1, "VIRTUAL-SKIN", 39.6, 39.0),
        (QUALCOMM, 0, "skin", 36.9, 40.0),
        (OLD, 2, "AP", 44.0, None),
    ],
)
def test_thermal(text: str, status: int, name: str, celsius: float, second: float | None) -> None:
    found, temperatures, thresholds = parse_thermal(text)
    assert found == status
    assert temperatures[name] == celsius  # of the HAL, where it has one; else as last known
    if second is None:
        assert thresholds == {}
    else:
        assert thresholds[name][:2] == (None, second)


def test_thermal_of_a_phone_without_the_service() -> None:
    assert parse_thermal("Can't find service: thermalservice") == (None, {}, {})


def test_zones_in_any_unit_without_sensors_that_are_not_there() -> None:
    text = "cpu-0-0 45300\nbattery 31000\nsoc 83\npm8550_tz -274000\nxo therm 38125\nbad\nempty \n"
    assert parse_zones(text) == {"cpu-0-0": 45.3, "battery": 31.0, "soc": 83.0, "xo therm": 38.125}


@pytest.mark.parametrize(
    "text, expected",
    [
        (
            "/sys/class/kgsl/kgsl-3d0/gpuclk 680000000\n"
            "/sys/class/kgsl/kgsl-3d0/max_gpuclk 903000000\n"
            "/sys/class/kgsl/kgsl-3d0/gpu_busy_percentage 37 %\n",
            (680.0, 903.0, 37.0),
        ),
        (
            "/sys/class/devfreq/13000000.mali/cur_freq 1300000000\n"
            "/sys/class/devfreq/13000000.mali/max_freq 1300000000\n",
            (1300.0, 1300.0, None),
        ),
        (
            "/sys/kernel/gpu/gpu_clock 545000\n/sys/kernel/gpu/gpu_max_clock 897000",
            (545, 897, None),
        ),
        ("/sys/kernel/ged/hal/current_freqency 0 265000\n", (265.0, None, None)),
        ("/sys/class/kgsl/kgsl-3d0/gpuclk \n", (None, None, None)),
        ("", (None, None, None)),
    ],
)
def test_gpu_clocks(text: str, expected: tuple[float | None, ...]) -> None:
    assert parse_gpu(text) == expected


def test_clusters() -> None:
    low, big, odd = parse_clusters(
        "0 1804800 2265600 2265600 0 1 2\n7 2841600 2841600 3302400 7\n3 748800\nnothing\n4   \n"
    )
    assert (low.cores, low.mhz, low.limit_mhz, low.max_mhz) == ((0, 1, 2), 1804.8, 2265.6, 2265.6)
    assert (big.cores, big.limit_mhz) == ((7,), 2841.6)
    assert (odd.cores, odd.limit_mhz) == ((3,), None)


@pytest.mark.parametrize(
    "text, on",
    [
        ("  mWakefulness=Awake", True),
        ("  mWakefulness=Asleep", False),
        ("  mWakefulness=Dozing", False),
        ("  mWakefulness=Awake\nDisplay Power: state=OFF", False),
        ("", None),
    ],
)
def test_screen(text: str, on: bool | None) -> None:
    assert parse_screen(text) is on


def test_a_whole_answer() -> None:
    state = read_state(
        shell(
            battery=BATTERY,
            thermal=PIXEL,
            zones="battery 32500",
            gpu="/sys/class/devfreq/28000000.mali/cur_freq 940000",
            cpu="0 1803000 1803000 1803000 0 1 2 3",
            memory="MemTotal:       11703912 kB\nMemAvailable:    5120000 kB",
            power="  mWakefulness=Awake\n  mLowPowerModeEnabled=false",
            end="",
        )
    )
    assert state.missing == ()
    assert (state.thermal_word, state.skin_celsius) == ("light", 39.6)
    assert (state.gpu_mhz, state.screen_on, state.power_save) == (940.0, True, False)
    assert state.memory_available_bytes == 5120000 * 1024
    assert state.as_json()["battery"]["level"] == 83


def test_a_phone_that_tells_nothing_and_one_that_is_cut_off() -> None:
    silent = parse_state("", 0.0)
    assert "battery" in silent.missing and silent.skin_celsius is None
    assert silent.thermal_word is None
    cut = parse_state(f"=== battery\n{BATTERY}=== thermal\nIsStatusOverr", 0.0)
    assert cut.battery.level == 83 and cut.skin_celsius == 31.4  # the battery's, for want of a skin
    assert "thermal status" in cut.missing


def test_every_section_is_asked_for() -> None:
    asked = sections(ASK.replace("echo '=== ", "=== ").replace("'", ""))
    names = {name.split(";")[0] for name in asked}
    assert {"battery", "thermal", "zones", "gpu", "cpu", "memory", "power", "end"} <= names


def cooling(*degrees: float) -> Callable[[str], str]:
    values = itertools.chain(degrees, itertools.repeat(degrees[-1]))
    return lambda command: f"=== battery\n  level: 50\n  temperature: {round(10 * next(values))}\n"


def test_waiting_until_it_is_cool() -> None:
    told, slept = list[str](), list[float]()
    done = wait_until_cool(cooling(40, 38, 35), 35, 60, told.append, slept.append)
    assert done == (True, "35.0 °C after 10 s (from 40.0 °C)")
    assert len(slept) == 2 and "38.0 °C" in told[1]
    assert wait_until_cool(cooling(30), 35, 60, told.append, slept.append)[0]
    assert len(slept) == 2  # it was cool already


def test_waiting_ends() -> None:
    cool, story = wait_until_cool(cooling(41), 35, 20, lambda _: None, lambda _: None)
    assert not cool and story == "still 41.0 °C after 20 s (from 41.0 °C)"


def test_waiting_for_a_phone_without_a_thermometer() -> None:
    with pytest.raises(PocketError, match="not known when the phone is cool enough") as error:
        wait_until_cool(shell(battery="  level: 3"), 35)
    assert "--cool-to" in error.value.hint
