// What another point does to the slots of tables.
#pragma once
#include <vector>

#include "gather/gather_memory.h"
#include "offload/io_pool.h"
#include "offload/machine.h"

namespace pocket {

// Throws Failure where the device has no buffer as large as the slots of a table.
void check_slots(const Plan &plan, const Point &point, const Device &device);

// Survivors go to their new slots: while the memory is still as it was.
void move_records(const Table &table, const Resize &resize, const SharedMemory &slots,
                  const Device &device);

// Reads what is pinned now. Where the host can't write slots, run by run through memory of its size,
// and what lies side by side in slots in one piece. `ahead`: as the pool counts it.
void read_pinned(const Table &table, const Change &change, const SharedMemory &slots,
                 const Device &device, IoPool &pool, bool ahead = false);

}  // namespace pocket
