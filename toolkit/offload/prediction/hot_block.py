"""The hot block: records that a device computes while the host still chooses among the others.

PowerInfer-2 calls them hot neurons (section 4.1): nearly each token needs them, so computing them
in any case costs little, and nobody waits for the predictor's choice before they begin.
"""

from __future__ import annotations

from toolkit.offload.prediction.demand import Demand
from toolkit.offload.prediction.token_time import Costs

HOT = 0.9  # a record that is selected in more tokens


def hot_block(demand: Demand, pinned: int, costs: Costs) -> tuple[int, float]:
    """How many of the first records, of so many that never leave; and seconds that it gains.

    None where computing those that a token doesn't need, and another launch, takes longer than the
    host, for which the device would wait.
    """
    if not demand.spare or pinned == demand.table.count:
        return 0, 0.0
    count = min(pinned, int((demand.frequency > HOT).sum()))
    each = costs.byte * demand.table.bytes
    hidden = min(each * count, costs.wait + costs.select * demand.looked_at)
    in_vain = float((1 - demand.frequency[:count]).sum())
    gain = hidden - each * in_vain - costs.launch
    return (count, gain) if count and gain >= 0 else (0, 0.0)
