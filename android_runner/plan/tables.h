// Weights in flash as the plan tells them: tables of equally large records, operating points of
// memory, and the step that gathers records and computes with them. toolkit/plan/schema.py says what
// each word means.
#pragma once
#include <cstdint>
#include <optional>
#include <string>
#include <utility>
#include <vector>

namespace pocket {

constexpr int64_t FLASH_PAGE = 4096;  // reads begin and end at multiples of it

// What kernels read of a launch, in ints: of a ticket what is before its pairs; a rule.
constexpr int64_t TICKET_HEAD = 4, RULE_INTS = 4;

// Numbers of a record that belong to one weight.
struct TablePart {
  std::string name;
  int64_t offset, bytes;  // within the record
  std::string dtype;      // e0m4, q8, f16 or f32
  int64_t length, group;  // numbers, and how many of them share a scale
  bool zero;              // whether groups have a zero point
  int64_t end() const { return offset + bytes; }
};

struct Table {
  std::string name, kind;
  int64_t count, bytes, stride;  // records; bytes of one; from one to the next
  size_t file;
  int64_t offset;               // of record 0 in its file
  std::optional<size_t> order;  // a weight: record r holds index order[r]; none: its own number
  std::vector<TablePart> parts;
  std::optional<size_t> importance = {};  // a weight, by record; none: all are alike
};

// What is kept in memory, and how flash is read: one choice of many that the planner wrote down.
struct Point {
  int64_t memory;  // bytes of all that the plan allocates
  double flash;    // speed of the flash it is for, against the profile's
  std::vector<int64_t> slots, pinned, dense;  // records of each table
  std::string policy;
  std::vector<double> select;  // of each gather, in the order of phases and steps
  int64_t gap, max_read;       // bytes
  int64_t threads, cluster;    // that read; records that are waited for together
  double predicted_s;          // of a token
  std::vector<int64_t> window = {};  // of each table: steps that its cache begins with; none: 1
  std::vector<int64_t> ahead = {};   // of each prefetch: records at most; none: it reads none
  int64_t tiles = 2;  // that staging has room for: one is computed, others are read
  std::string engine = "device";     // that computes records, as --engine says it
  bool operator==(const Point &other) const;
};

// The flash that points were planned for: what a read takes, as of offload/flash_model.h.
struct PlannedFlash {
  std::string name;
  double alpha_s = 0, bytes_per_s = 0, latency_s = 0;  // or else:
  std::vector<std::pair<int64_t, double>> random, sequential;  // bytes of a read, and a second
};

// Which records a token needs.
struct Select {
  enum By { All, Above, Top, Nonzero, Ids } by = All;
  double threshold = 0;    // Above: the scores beyond it, as f32
  bool magnitude = false;  // Above: or their sizes
  int64_t k = 0;           // Top: the greatest by size; Ids: how many there are, at most
  double gamma = 1;        // Top: factor of scores whose records are not in memory
};

inline bool counts_records(const Select &rule) {
  return rule.by == Select::Top || rule.by == Select::Ids;
}

// The rule with a point's number for its gather: its k, or its threshold.
inline Select at_point(Select rule, double number) {
  if (counts_records(rule)) rule.k = static_cast<int64_t>(number);
  else rule.threshold = number;
  return rule;
}

}  // namespace pocket
