"""`pocketcl phone pair`: adb over Wi-Fi, without a cable (Android 11 and newer)."""

import re
import time
from collections.abc import Iterator

from toolkit.errors import PocketError
from toolkit.phone.adb import all_phones
from toolkit.phone.adb_program import run_adb

STEPS = """\
Android 11 and newer, phone and computer in the same network:
1. On the phone: Settings > About phone > tap 'Build number' seven times (only once).
2. Settings > System > Developer options > Wireless debugging: switch it on, and tap its name.
3. Tap 'Pair device with pairing code': it shows a code and an address. Here:
       pocketcl phone pair HOST:PORT CODE
4. 'Wireless debugging' itself shows another port. If adb doesn't connect by itself:
       adb connect HOST:PORT
With a cable, for older phones: adb tcpip 5555, then adb connect HOST:5555."""
MENU = "tap 'Pair device with pairing code' again: address and code change each time"
CONNECT = "run adb connect HOST:PORT, with the address at the top of 'Wireless debugging'"


def pair(address: str, code: str) -> Iterator[str]:
    """Pair, then connect; yields a line for each step that is done."""
    if not re.fullmatch(r"\S+:\d+", address) or not re.fullmatch(r"\d{6}", code):
        because = "an address is HOST:PORT, a code has six digits"
        raise PocketError(f"{address} {code} can't be paired with", because, MENU)
    done = run_adb("pair", address, code, timeout=60)
    said = (done.out + done.err).strip()
    if "unknown command" in said or "usage:" in said:
        hint = "install a newer one with pip install 'pocketcl[android]', or use a cable"
        raise PocketError("this adb can't pair", "`adb pair` needs version 30 or newer", hint)
    if done.code or "Successfully paired" not in said:
        raise PocketError(f"pairing with {address} failed", said or "adb gives no reason", MENU)
    yield f"paired with {address}"
    connected = _connected(address.rpartition(":")[0])
    if connected is None:
        raise PocketError("paired, but not connected yet", "adb has not found its port", CONNECT)
    yield f"connected: {connected}"


def _connected(host: str) -> str | None:
    """The serial of the phone, once adb's server has found it by mDNS; None after 10 s."""
    for _ in range(10):
        for seen in all_phones():
            wireless = seen.serial.startswith(f"{host}:") or "_adb-tls-connect" in seen.serial
            if wireless and seen.state == "device":
                return seen.serial
        time.sleep(1)
    return None
