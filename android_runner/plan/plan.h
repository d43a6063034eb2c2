// The plan as the runner sees it: plan.json, loaded and checked before anything is allocated.
#pragma once
#include <cstdint>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "sizes/expr.h"
#include "plan/tables.h"
#include "plan/unit.h"

namespace pocket {

constexpr int PLAN_FORMAT = 2;

struct Symbol {
  std::string name;
  bool counted;  // written by a kernel: launches are sized for `range.high`
  Range range;
  int64_t slot = 0;                    // of the symbols buffer
  std::optional<int64_t> length = {};  // of a vector, which takes so many slots; a scalar has none
  int64_t end() const { return slot + length.value_or(1); }
};
using Symbols = std::vector<Symbol>;

struct Buffer {
  std::string name, kind, dtype;  // kind: input, output or state
  std::vector<Expr> shape;
  int64_t bytes;
};

// What a buffer keeps from one run to the next; toolkit/plan/schema.py says what each word means.
struct State {
  size_t buffer;
  std::string group, part;          // a layer, and what of it
  std::string update;               // append, replace or once
  std::optional<size_t> axis = {};  // of the buffer's shape: the one of tokens, if it has one
  int64_t capacity = 0;             // tokens along it
  std::string layout = "dense";
  int64_t versions = 1;  // that take turns
};

// Tells a file from another that takes its name.
struct FileIdentity {
  uint64_t device = 0, number = 0;
  int64_t seconds = 0, nanoseconds = 0, bytes = -1;
  bool operator==(const FileIdentity &other) const;
};

struct File {
  std::string path;
  int64_t bytes;
  std::string sha256;
  bool edited = false;  // since the compile
  bool text() const;    // people may edit it; then it runs after a note
};

struct Weight {
  std::string name, dtype;
  std::vector<int64_t> shape;
  size_t file;
  int64_t offset, bytes;
};

struct Program {
  size_t file;
  std::string kernel, header;  // header: the #define lines that stand before the file
  std::string options;         // of the build, with spaces between
};

// What a driver is known to get wrong; toolkit/plan/schema.py says what each word means.
struct DriverFault {
  std::string compiler, from, before, fault;
  std::vector<std::string> without;
};

struct Scratch {
  std::string name;
  int64_t bytes, offset;
  std::string dtype;
  std::vector<Expr> shape;
};

struct Argument {
  // Ticket, Slots: of dispatches inside a gather; which records lie in which slots, and these. Rule:
  // of the one that fills a ticket; see ResidentGathers.
  enum Kind { Symbols, Scratch, Weight, Buffer, Ticket, Slots, Rule } kind;
  size_t index;
};
inline bool same(const Argument &a, const Argument &b) {
  return a.kind == b.kind && a.index == b.index;
}

struct Variant {
  size_t program;
  std::vector<Expr> global;
  std::vector<size_t> local;
  std::vector<std::string> requires_;  // features of a device
  int64_t local_bytes;                 // of local memory, that a work-group takes
  std::optional<size_t> cut = {};      // the axis along which pieces of a launch follow each other
  std::vector<size_t> images = {};     // args that the kernel reads as images, too: see place_of
};

struct Step;

// Select records of a table, make them resident, and run dispatches over them.
struct GatherStep {
  size_t table;
  Select select;              // as the plan has it; a point may have another number
  // Scratch with a number for each index, or a buffer of ids; none: all are selected.
  std::optional<Argument> from;
  size_t tile;                 // records of a launch; 0: as many as the point says
  size_t number;               // among the plan's gathers, in the order of phases and steps
  std::vector<Step> dispatches;  // their grids may depend on one symbol after the plan's: how many
                                 // records the ticket has
  std::vector<Step> choose = {};  // none or one: fills a ticket on the device, of a table in memory
  bool whole = false;  // its kernels know the ticket of a whole table, which it always takes then
  // Of missing records so many bytes are read first, and the rest of those that are selected by what
  // these dispatches make of them; none: they are read at once.
  int64_t first_bytes = 0;
  Select first_select = {};
  std::optional<Argument> first_from = {};
  std::vector<Step> first = {};
  std::optional<Unit> unit = {};  // what its one dispatch computes; none: nobody else can
};

// Begin to read what the second gather behind it may need: its reads come behind those of the gather
// right behind it, and only a gather that needs one waits for it. No answer depends on it.
struct PrefetchStep {
  size_t table;
  Select select;                 // but the threshold is that of the gather it reads for
  Argument from;                 // scratch with a number for each index
  size_t gather;                 // that it reads for, among the plan's
  size_t number;                 // among the plan's prefetches
  std::vector<Step> dispatches;  // of its numbers; left out where nothing is read ahead
};

struct Step {
  enum Kind { Dispatch, Fetch, Wait, Gather, Prefetch } kind;
  size_t queue;
  std::string name;
  std::vector<Argument> args;     // of a gather: all that it touches
  std::vector<Variant> variants;  // in order of preference
  std::vector<size_t> writes = {};  // the args that a dispatch changes
  int64_t microseconds = 0;       // predicted, at the phase's largest sizes; 0: nobody has
  std::shared_ptr<const GatherStep> gather = {};
  std::shared_ptr<const PrefetchStep> prefetch = {};
};

struct Phase {
  std::string name, graph;  // graph: what it computes, for people
  Box box;
  bool recordable;  // of what lies between its gathers nothing but launch sizes ever changes
  int64_t arena_bytes;
  std::vector<Scratch> scratch;
  std::vector<Step> steps;
  std::optional<size_t> cooperative;  // the program that runs any of its dispatches in one launch

  std::vector<const Step *> dispatches() const;  // those inside of gathers among them
};

// What a step launches: itself, or of a gather what fills its ticket and then those inside of it.
std::vector<const Step *> dispatches_of(const Step &step);

constexpr int64_t TEXEL = 16;  // bytes, four words of an image

// Elements of an argument: runs of `count`, `stride` apart.
struct Runs {
  size_t arg;
  int64_t first, count, rows, stride;
};

// How a dispatch is tested, by any of its variants; toolkit/plan/schema.py says what each word
// means.
struct Fill {
  Runs runs;
  int64_t low, span;
  std::vector<int64_t> words;
  std::string dtype;  // of slots; empty: the memory's own
};
struct Expected {
  Runs runs;
  double size;
  std::vector<int64_t> sums;
};
struct TestedInside {  // of a gather
  size_t dispatch;
  int64_t records, slots;
};
struct KernelTest {
  size_t phase, step;
  std::vector<int64_t> symbols;
  std::vector<Fill> fills;
  std::vector<Expected> expected;
  std::optional<size_t> after = {};
  std::optional<TestedInside> inside = {};
};

struct Model {
  std::string kind;
  int64_t batch, vocab_size, max_context, prefill_chunk;
  std::string sha256;  // of the model's files; empty where the plan doesn't say
  std::vector<int64_t> eos;
  int64_t short_prompt = 0;  // pieces of a text of at most so many tokens are fed one by one
};

struct Plan {
  std::string folder;
  std::string digest;  // hash of plan.json as it is, edited or not
  std::string file;    // plan.json's name
  FileIdentity identity;
  bool edited = false;  // plan.json, since the compile
  Model model;
  std::string device_class;
  int64_t align;
  Symbols symbols;
  std::vector<Buffer> buffers;
  std::vector<State> states;
  std::vector<File> files;
  std::vector<Weight> weights;
  std::vector<Program> programs;
  std::vector<Phase> phases;
  std::vector<DriverFault> drivers;
  std::vector<KernelTest> tests;
  std::vector<Table> tables;
  std::optional<PlannedFlash> flash;
  std::vector<Point> points;  // by ascending memory; as long as there are tables there is one

  const Phase *phase(const std::string &name) const;  // nullptr when absent
  size_t buffer(const std::string &name) const;       // throws Failure when absent
  bool has_buffer(const std::string &name) const;
  size_t symbol(const std::string &name) const;  // throws Failure when absent
  std::optional<size_t> find_symbol(const std::string &name) const;
  size_t slots() const;                          // integers in the symbols buffer
  std::string path(size_t file) const { return folder + "/" + files[file].path; }
  std::string program_name(size_t program) const;  // "kernels/gemv.cl (gemv)"
};

const Step &tested_by(const Plan &plan, const KernelTest &test);

// Where an argument lies in the memory around it: the arena, a weights file, a buffer. An image is of
// all of that, and the kernel is told the texel where the argument begins.
struct Place {
  int64_t offset, bytes;
};
Place place_of(const Plan &plan, const Phase &phase, const Argument &argument);
int64_t bytes_around(const Plan &plan, const Argument &argument);  // in the largest phase

// `path` is the plan's folder, or a plan.json in it under any name. Throws Failure.
Plan load_plan(const std::string &path);

// Throws Failure where another plan has taken the place of the one that was loaded, so that what
// was read since may be of both.
void check_same(const Plan &plan);

// Throws Failure where the bytes of one of the plan's files are not those of the compile. Reads all
// of it.
void check_content(const Plan &plan, size_t file);

// Of a phase's first run: a value for every symbol. Counted ones are sized for their greatest.
std::vector<int64_t> smallest_symbols(const Plan &plan, const Phase &phase);

// The elements of symbols that are vectors, by the symbol's index.
using Vectors = std::map<size_t, std::vector<int64_t>>;

// What the symbols buffer holds where each symbol has this value, a vector in all its elements
// unless it is among `vectors`.
std::vector<int32_t> symbol_words(const Plan &plan, const std::vector<int64_t> &values,
                                  const Vectors &vectors = {});
size_t extent(const Expr &size, const std::vector<int64_t> &symbols);  // of a launch

int64_t dtype_size(const std::string &dtype);

}  // namespace pocket
