"""`pocketcl phone clean`: free the storage that PocketCL uses on a phone."""

from collections.abc import Iterator
from typing import Any

from toolkit.phone.adb import Phone
from toolkit.phone.layout import HOME, MiB
from toolkit.phone.store import only_one

# Lists running sessions, removes everything that they don't use; prints kilobytes before and after.
# $all: the runner too, and the folder itself if nothing is left in it.
CLEAN = """
cd /data/local/tmp || exit 1
[ -d pocketcl ] || { echo "before 0"; echo "after 0"; exit 0; }
echo "before $(du -sk pocketcl | { read -r size rest; echo $size; })"
cd pocketcl || exit 1
used=
for s in sessions/*; do
  pid=${s#sessions/}
  [ -d "$s" ] || continue
  words=$(tr '\\0' ' ' < "/proc/$pid/cmdline" 2>/dev/null)
  case $words in
    *pocketcl*) used="$used $words"; echo "running $pid";;
    *) rm -rf "$s";;
  esac
done
newest=$(ls -td bin/* 2>/dev/null | head -n 1)
[ -n "$all" ] || used="$used $newest/"
for t in plans/* bin/*; do
  case $used in *"$t"*) ;; *) rm -rf "$t";; esac
done
keep=$(for t in plans/* bin/*; do [ -d "$t" ] && find "$t" -type l -exec readlink '{}' ';'; done)
for b in blobs/*; do
  case $keep in *"$b"*) ;; *) rm -f "$b";; esac
done
rm -rf incoming/*
case $used in *plans/*) ;; *) rm -rf cache cold;; esac
cd ..
if [ -n "$all" ] && ! ls pocketcl/sessions/* >/dev/null 2>&1; then rm -rf pocketcl; fi
after=0
[ ! -d pocketcl ] || after=$(du -sk pocketcl | { read -r size rest; echo $size; })
echo "after $after"
"""


def clean(phone: Phone, everything: bool = False) -> dict[str, Any]:
    """Remove plans, compiled programs and old runners, except those that are running.

    everything  the newest runner as well
    """
    flag = "all=1" if everything else "all="
    with only_one(phone):
        output = phone.shell(f"{flag}\n{CLEAN}", timeout=600).splitlines()
    facts = [line.partition(" ")[::2] for line in output]
    sizes = {word: int(value) for word, value in facts if word in ("before", "after")}
    running = [int(value) for word, value in facts if word == "running"]
    return {
        "serial": phone.serial,
        "folder": HOME,
        "freed_bytes": 1024 * (sizes["before"] - sizes["after"]),
        "left_bytes": 1024 * sizes["after"],
        "running": running,  # process ids of sessions
    }


def lines(figures: dict[str, Any]) -> Iterator[str]:
    """The report for people."""
    freed, left = figures["freed_bytes"] / MiB, figures["left_bytes"] / MiB
    yield f"{freed:,.1f} MiB freed on {figures['serial']}, {left:,.1f} MiB left in {HOME}"
    if figures["running"]:
        count = len(figures["running"])
        yield f"{count} running session{'s' if count > 1 else ''} left alone"
