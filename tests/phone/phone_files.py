"""What a phone tells of itself: getprop, dumpsys and /sys/class, as files that tests rewrite."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

DATA = "/data/local/tmp"
PROPERTIES = {
    "ro.build.fingerprint": "pocketcl/loopback/loopback:14/LOOP/1:userdebug/test-keys",
    "ro.build.version.release": "14",
    "ro.build.version.sdk": "34",
    "ro.hardware": "loopback",
    "ro.product.cpu.abi": "x86_64",
    "ro.product.device": "loopback",
    "ro.product.manufacturer": "PocketCL",
    "ro.product.model": "Loopback",
    "ro.soc.manufacturer": "PocketCL",
    "ro.soc.model": "LOOPBACK",
}
ARM64 = {"ro.product.cpu.abi": "arm64-v8a", "ro.product.model": "Loopback arm64"}
SERVICES = {
    "battery": """Current Battery Service state:
  AC powered: false
  USB powered: true
  Wireless powered: false
  status: 2
  health: 2
  present: true
  level: 83
  scale: 100
  voltage: 4182
  temperature: 291
  technology: Li-ion
""",
    "thermalservice": """IsStatusOverride: false
ThermalEventListeners:
HAL Ready: true
Thermal Status: 0
Cached temperatures:
\tTemperature{mValue=33.4, mType=3, mName=skin, mStatus=0}
Current temperatures from HAL:
\tTemperature{mValue=41.2, mType=0, mName=CPU0, mStatus=0}
\tTemperature{mValue=40.1, mType=1, mName=GPU, mStatus=0}
\tTemperature{mValue=33.4, mType=3, mName=skin, mStatus=0}
""",
    "power": "  mWakefulness=Awake\n  mStayOn=false\n",
}
ZONES = {"cpu-0-0": 41200, "gpuss-0": 40100, "skin-therm": 33400}  # type: thousandths of a °C

GETPROP = r"""#!/system/bin/sh
# getprop [NAME [DEFAULT]]
found=${2-}
while IFS='=' read -r name value; do
  if [ $# = 0 ]; then printf '[%s]: [%s]\n' "$name" "$value"; fi
  if [ "$name" = "$1" ]; then found=$value; fi
done </product/etc/build.prop
[ $# = 0 ] || printf '%s\n' "$found"
"""
DUMPSYS = """#!/system/bin/sh
if [ ! -e "/product/dumpsys/$1" ]; then
  echo "Can't find service: $1" >&2
  exit 20
fi
exec cat "/product/dumpsys/$1"
"""
# What the toolkit asks a phone to do beside: noted, not done.
NOTED = """#!/system/bin/sh
echo "${0##*/} $*" >>/product/asked
"""


class PhoneFiles:
    """The files of one device, below `folder`, its root on this machine."""

    def __init__(self, folder: Path, properties: Mapping[str, str]) -> None:
        self.folder, self.properties = folder, PROPERTIES | dict(properties)

    def write(self) -> None:
        """Write all of them, as they are on a cool phone that has rested."""
        (self.folder / DATA.lstrip("/")).mkdir(parents=True)
        self.set_properties({})
        for name, text in SERVICES.items():
            self.set_service(name, text)
        for number, (kind, temperature) in enumerate(ZONES.items()):
            self.write_text(f"/sys/class/thermal/thermal_zone{number}/type", f"{kind}\n")
            self.write_text(f"/sys/class/thermal/thermal_zone{number}/temp", f"{temperature}\n")
        programs = {"getprop": GETPROP, "dumpsys": DUMPSYS, "svc": NOTED, "input": NOTED}
        for name, text in programs.items():
            self.write_text(f"/product/bin/{name}", text).chmod(0o755)

    def set_properties(self, changes: Mapping[str, str | None]) -> None:
        """Change what getprop tells; None takes a property away."""
        self.properties = {
            name: value for name, value in (self.properties | dict(changes)).items() if value
        }
        lines = (f"{name}={value}\n" for name, value in sorted(self.properties.items()))
        self.write_text("/product/etc/build.prop", "".join(lines))

    def set_service(self, name: str, text: str) -> None:
        """Change what `dumpsys NAME` tells."""
        self.write_text(f"/product/dumpsys/{name}", text)

    def write_text(self, path: str, text: str) -> Path:
        """Write a file of the device that isn't in a mounted folder; return where it is here."""
        target = self.folder / path.lstrip("/")
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_text(text)
        return target
