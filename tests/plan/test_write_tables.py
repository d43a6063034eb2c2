"""Tables of records in flash files: where they lie, what is between records, what is refused."""

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from toy_plan import write_toy

from toolkit.errors import PocketError
from toolkit.plan.schema import PAGE, Part, Table
from toolkit.plan.write import TableSource, shards, tables_laid_out


def source(name: str, count: int, stride: int, blocks: int = 3) -> TableSource:
    """Records of 64 bytes of halves, in a few blocks."""
    part = Part("down", 0, 64, "f16", 32)
    table = Table(name, "down", count, 64, stride, 0, 0, (part,))

    def produce() -> Iterator[np.ndarray]:
        yield from np.array_split(records(name, count), blocks)

    return TableSource(table, produce)


def records(name: str, count: int) -> np.ndarray:
    rng = np.random.default_rng(len(name))
    return rng.integers(0, 2**32, (count, 16), dtype=np.uint32)


def test_tables_share_files_up_to_a_size(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(shards, "SHARD_BYTES", 4 * PAGE)
    given = [source("a", 65, 64), source("b", 63, 64), source("c", 9, PAGE), source("d", 1, 64)]
    found = [(table.file, table.offset) for table in tables_laid_out(given, 2)]
    assert found == [(2, 0), (2, 2 * PAGE), (3, 0), (4, 0)]  # one that is larger is alone


def test_records_lie_apart(tmp_path: Path) -> None:
    given = [source("packed", 7, 64), source("in pages", 5, PAGE)]
    tables = tables_laid_out(given, 0)
    (entry,) = shards.write_tables(tmp_path, tables, given, None)
    raw = np.fromfile(tmp_path / entry.path, np.uint8)
    assert entry.path == "flash.0.bin" and entry.bytes == len(raw) == 6 * PAGE
    for table in tables:
        apart = raw[table.offset :][: table.count * table.stride].reshape(table.count, -1)
        assert not apart[:, 64:].any()
        found = np.ascontiguousarray(apart[:, :64]).view("<u4")
        np.testing.assert_array_equal(found, records(table.name, table.count))


def test_records_that_are_missing_are_a_fault(tmp_path: Path) -> None:
    short = TableSource(source("a", 9, 64).table, source("a", 8, 64).produce)
    with pytest.raises(PocketError, match="came as 8 records"):
        shards.write_tables(tmp_path, tables_laid_out([short], 0), [short], None)


def test_plans_without_tables_have_no_such_file(tmp_path: Path) -> None:
    write_toy(tmp_path / "toy.plan")
    assert not list((tmp_path / "toy.plan").glob("flash.*"))
