"""Writing a plan folder: its large files piece by piece (shards.py), all of it or nothing."""

from toolkit.plan.write.folder import check_out, check_target, write_plan
from toolkit.plan.write.shards import (
    SHARD_BYTES,
    Order,
    TableSource,
    WeightSource,
    laid_out,
    shard_count,
    tables_laid_out,
)

__all__ = [
    "SHARD_BYTES",
    "Order",
    "TableSource",
    "WeightSource",
    "check_out",
    "check_target",
    "laid_out",
    "shard_count",
    "tables_laid_out",
    "write_plan",
]
