// A value of plan.json that knows its path of keys, so that every complaint can name it; and what
// the parts of the loader share of it. The rest of the runner sees only plan.h.
#pragma once
#include <set>
#include <string>
#include <vector>

#include "base/json.h"
#include "plan/plan.h"

namespace pocket {

class Node {
 public:
  Node(const Json &value, std::string path) : value_(&value), path_(std::move(path)) {}

  [[noreturn]] void fail(const std::string &because) const;
  bool has(const char *key) const;        // and it is not null
  Node at(const char *key) const;         // fails when absent
  Node at(size_t index) const;            // fails when out of range
  std::vector<Node> items() const;        // of a list
  std::vector<std::string> keys() const;  // of an object
  size_t size() const;                    // of a list

  int64_t integer(int64_t low, int64_t high) const;
  int64_t bytes() const { return integer(0, int64_t{1} << 42); }
  size_t index(size_t count, const char *of) const;  // an index into a table of `count`
  double real() const;  // a number of any kind
  bool boolean() const;
  const std::string &text() const;
  const std::string &one_of(const std::set<std::string> &choices) const;
  std::string name() const;        // a C identifier
  std::string symbol() const;      // of an expression
  std::string macro_name() const;  // one, perhaps with a list of parameters
  Expr expression(const Symbols &symbols) const;
  std::vector<Expr> expressions(const Symbols &symbols) const;

 private:
  const Json *value_;
  std::string path_;
};

Plan read_plan(const Node &root, const std::string &folder);
Phase read_phase(const Node &node, const Plan &plan, const Box &box);
void read_flash_tables(const Node &root, Plan &plan);  // after files and weights
void read_points(const Node &root, Plan &plan);        // after phases, too
void read_tests(const Node &node, Plan &plan);
Symbol read_symbol(const Node &node, const Symbols &earlier);
Buffer read_buffer(const Node &node, const Symbols &symbols, const Box &box);
std::vector<State> read_states(const Node &node, const std::vector<Buffer> &buffers);
// Bytes of a dense tensor that is as large as it can be in the box.
int64_t dense_bytes(const Node &shape, const Symbols &symbols, const Box &box,
                    const std::string &dtype);
const std::string &read_dtype(const Node &node);
std::vector<size_t> read_images(const Node &node, const Plan &plan, const Phase &phase,
                                const Step &step);  // of a variant
void check_overlap(const Node &node, const Phase &phase);  // of scratch that is in use at once
void check_language_model(const Node &root, const Plan &plan);

}  // namespace pocket
