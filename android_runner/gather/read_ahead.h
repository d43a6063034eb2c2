// What prefetches read: records beside any cache, until the gather that they are for takes what it
// needs of them. Of two tables at once, as a gather stands between a prefetch and its own.
#pragma once
#include <vector>

#include "offload/cluster_reads.h"

namespace pocket {

class ReadAhead {
 public:
  explicit ReadAhead(IoPool &pool) : pool_(pool) {}
  ReadAhead(const ReadAhead &) = delete;
  ReadAhead &operator=(const ReadAhead &) = delete;
  ~ReadAhead() { settle(); }  // threads of the pool write to what it has

  // Of the most that a point reads ahead.
  static int64_t bytes(const Plan &plan, const Point &point);

  // Begins to read them, the surest first, when there is nothing else to read. Those of the table
  // before the last one are gone.
  void begin(size_t number, const Table &table, const Ahead &found);
  // The table's gather needs these, and no others: they are read before what it reads itself.
  void expect(size_t table, const std::vector<int32_t> &records);
  // Its bytes, once they have come; none where they aren't there: it, or what was read with it and
  // nobody may need, can't be read.
  const char *wait(size_t table, int32_t record);
  void settle();  // nothing is under way or there any more, whatever became of it

 private:
  struct Piece {
    size_t end;  // of its records
    bool over;   // nothing of it is under way
    bool failed = false;
  };
  struct Set {
    size_t table;
    int64_t each;  // bytes of a record
    std::vector<int32_t> records;  // as of Ahead
    std::vector<char> content;
    uint64_t first;             // batch of the pool; those of other pieces follow
    std::vector<Piece> pieces;
  };
  Set *of(size_t table);
  void sort_out(Set &set, const std::vector<int32_t> &records);
  void settle(Set &set);

  IoPool &pool_;
  Set sets_[2] = {};
  size_t turn_ = 0;
};

}  // namespace pocket
