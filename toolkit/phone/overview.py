"""`pocketcl phone list`: phones, their state, and what PocketCL stores on them."""

from collections.abc import Iterator
from typing import Any

from toolkit.phone.about import about
from toolkit.phone.adb import Phone, Seen, all_phones, unusable
from toolkit.phone.layout import MiB

USED = """
cd /data/local/tmp/pocketcl 2>/dev/null || exit 0
echo "bytes $(($(du -sk . | { read -r size rest; echo $size; }) * 1024))"
for kind in plans bin blobs sessions; do
  count=0
  for entry in $kind/*; do [ ! -e "$entry" ] || count=$((count + 1)); done
  echo "$kind $count"
done
"""


def overview() -> list[dict[str, Any]]:
    """What `pocketcl phone list` reports of each phone."""
    return [_phone(seen) for seen in all_phones()]


def lines(found: list[dict[str, Any]]) -> Iterator[str]:
    """The report for people."""
    for facts in found:
        if "about" not in facts:
            why, hint = unusable(facts["state"])
            yield f"{facts['serial']}  {facts['model'] or 'a phone'}: {why}; {hint}"
            continue
        known, used = facts["about"], facts["used"]
        yield f"{facts['serial']}  {known['model']}, {known['soc']}, Android {known['android']}"
        yield (
            f"    {used['bytes'] / MiB:,.1f} MiB of PocketCL: {used['plans']} plans,"
            f" {used['bin']} runners; {used['sessions']} running sessions"
        )
    yield from [] if found else ["no phone: pocketcl doctor"]


def _phone(seen: Seen) -> dict[str, Any]:
    facts: dict[str, Any] = {"serial": seen.serial, "model": seen.model, "state": seen.state}
    if seen.state != "device":
        return facts
    phone = Phone(seen.serial, seen.model)
    pairs = (line.split() for line in phone.shell(USED).splitlines())
    empty = {"bytes": 0, "plans": 0, "bin": 0, "blobs": 0, "sessions": 0}
    known = about(phone)
    return {
        **facts,
        "about": {"model": known.model, "soc": known.soc, "android": known.android},
        "used": empty | {name: int(value) for name, value in pairs},
    }
