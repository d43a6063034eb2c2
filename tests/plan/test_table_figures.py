"""What tables cost, against counting pages one by one."""

import dataclasses

import numpy as np
import pytest

from toolkit.plan.figures import figures, report
from toolkit.plan.schema import PAGE, Plan, Point, Table
from toolkit.plan.table_figures import table_figures


def with_tables(plan: Plan, *tables: Table) -> Plan:
    slots, pinned = (tuple(t.count // part for t in tables) for part in (2, 4))
    points = (
        Point(10**9, slots, pinned, pinned, "lfu", (), 8192, 524288, 1, 64),
        Point(2 * 10**9, tuple(t.count for t in tables), pinned, pinned, "lfu", (), 0, 8192, 1, 64),
    )
    return dataclasses.replace(plan, tables=tables, points=points)


def table(name: str, size: int, stride: int, count: int, kind: str = "neuron") -> Table:
    return Table(name, kind, count, size, stride, 0, 0, ())


@pytest.mark.parametrize("size", [64, 1216, 2432, 3648, 4096, 6720, 7296, 12288, 17024])
def test_the_sums_are_those_of_pages_counted(plan: Plan, size: int) -> None:
    (row,) = table_figures(with_tables(plan, table("t", size, size, 5)))["tables"]
    pages = -(-size // PAGE) * PAGE
    assert row["padded_bytes"] == pages + pages  # stored, read
    starts = np.arange(0, PAGE, 64)  # where in its first page a packed record may begin
    read = -(-(starts + size) // PAGE) * PAGE
    assert row["packed_bytes"] == size + read.mean()


def test_points_say_what_their_slots_hold(plan: Plan) -> None:
    tables = table("a", 3648, 4096, 64), table("b", 1216, 1216, 100)
    found = table_figures(with_tables(plan, *tables))
    assert found["flash_bytes"] == 64 * 4096 + 100 * 1216
    half, whole = found["points"]
    assert half["slot_bytes"] == 32 * 3648 + 50 * 1216
    assert half["pinned_bytes"] == 16 * 3648 + 25 * 1216
    assert (half["share"], whole["share"]) == (0.5, 1.0)


def test_inspect_prints_them_where_there_are_some(plan: Plan) -> None:
    layers = [table(f"layers.{i}.ffn", 7296, 8192, 11008) for i in range(32)]
    sparse = with_tables(plan, *layers, table("embedding", 2432, 4096, 32000, "row"))
    text = report(sparse)
    assert "flash         3,016,753,152 bytes  33 tables" in text
    assert "32 x 11008 neuron of 7,296 bytes, 8,192 apart  layers.0.ffn … layers.31.ffn" in text
    assert "16,384 in whole pages, 18,624 packed" in text
    assert "50.0% of all records, lfu, at 1,000,000,000 bytes in all" in text
    assert "tokens/s" not in text
    fast, slow = (dataclasses.replace(sparse.points[0], predicted_s=s) for s in (0.00065, 12.0))
    text = report(dataclasses.replace(sparse, points=(fast, slow)))
    assert "predicted 1,538.5 tokens/s" in text and "predicted 0.083 tokens/s" in text
    assert figures(sparse)["tables"][32]["padded_bytes"] == 2 * 4096
    assert set(figures(sparse)) - set(figures(plan)) == {"flash_bytes", "tables", "points"}
    assert "flash" not in report(plan) and table_figures(plan) == {}
