"""One plan on every phone that is connected, all at once: `pocketcl bench --serial all`."""

from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

from toolkit.bench.plan_bench import bench
from toolkit.errors import PocketError
from toolkit.phone.adb import NO_PHONE, Phone, usable_phones


def bench_all(
    plan: Path, progress: Callable[..., None], serial: str = "all", **options: Any
) -> list[dict[str, Any]]:
    """Figures of each phone as `bench` gives them, or {"phone", "error"} where it failed.

    Each phone has its own thread; phones share nothing but this computer and its USB.
    """
    phones = usable_phones()
    if not phones:
        raise PocketError("no phone is connected", "adb lists none that can be used", NO_PHONE)

    def one(phone: Phone) -> dict[str, Any]:
        def tell(text: str, *counts: int) -> None:
            progress(f"{phone.model}: {text}", *counts)

        try:
            return bench(plan, progress=tell, serial=phone.serial, **options)
        except PocketError as error:
            facts = {"what": error.what, "because": error.because, "hint": error.hint}
            return {"phone": {"serial": phone.serial, "model": phone.model}, "error": facts}

    with ThreadPoolExecutor(len(phones)) as pool:
        return list(pool.map(one, phones))


def lines(found: list[dict[str, Any]]) -> Iterator[str]:
    """A table: one row for each phone."""
    from toolkit.tables import table

    rows = [("phone", "prefill", "decode", "first token", "load", "device")]
    for figures in found:
        name = f"{figures['phone']['model']} ({figures['phone']['serial']})"
        if "error" in figures:
            rows.append((name, "failed", "", "", "", figures["error"]["what"]))
            continue
        rates = [figures[f"{phase}_tokens_per_s"] for phase in ("prefill", "decode")]
        row = [f"{rate:,.1f} tokens/s" for rate in rates]
        times = [f"{1e3 * figures['first_token_s']:.1f} ms", f"{figures['load_s']:.2f} s"]
        rows.append((name, *row, *times, figures["device"]))
    yield from table(rows)
