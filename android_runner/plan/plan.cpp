// Reads plan.json: the tables here, the phases in phase_reader.cpp, the files on disk in
// file_checks.cpp.
#include "plan/plan.h"

#include <algorithm>

#include "base/failure.h"
#include "plan/bounds.h"
#include "plan/json_node.h"
#include "plan/words.h"

namespace pocket {
namespace {

constexpr int64_t WEIGHT_ALIGN = 16384, MANY = INT32_MAX;

Model read_model(const Node &node) {
  Model model{node.at("kind").one_of({"language-model"}),
              node.at("batch").integer(1, 65536),
              node.at("vocab_size").integer(1, MANY),
              node.at("max_context").integer(1, MANY),
              node.at("prefill_chunk").integer(1, MANY),
              "",
              {}};
  for (const Node &id : node.at("eos").items()) model.eos.push_back(id.integer(-MANY, MANY));
  return model;
}

Symbol read_symbol(const Node &node, const Names &earlier) {
  const std::string name = node.at("name").symbol();
  for (const std::string &other : earlier)
    if (other == name) node.at("name").fail("the symbol " + quote(name) + " stands there twice");
  const bool counted = node.at("kind").one_of({"input", "count"}) == "count";
  const int64_t low = node.at("min").integer(0, MANY);
  return {name, counted, {low, node.at("max").integer(low, MANY)}};
}

}  // namespace

int64_t dense_bytes(const Node &node, const Names &symbols, const Box &box,
                    const std::string &dtype) {
  Expr code = {{Token::Number, dtype_size(dtype)}};
  for (const Node &dim : node.items()) {
    const auto range = bounds(dim.expression(symbols), box);
    if (!range || range->low < 0)
      dim.fail("the extent may be negative or undefined within the symbols' bounds");
    code.push_back({Token::Number, range->high});
    code.push_back({Token::Mul, 0});
  }
  const auto bytes = evaluate(code, {});
  if (!bytes) node.fail("the size overflows");
  return *bytes;
}

const std::string &read_dtype(const Node &node) {
  std::set<std::string> known;
  for (const auto &entry : ELEMENT_BYTES) known.insert(entry.first);
  return node.one_of(known);
}

namespace {

// Of a table by whose names things are looked up.
template <class Named>
void check_name_is_new(const Node &node, const std::vector<Named> &earlier,
                       std::string Named::*name, const std::string &found) {
  for (const Named &other : earlier)
    if (other.*name == found) node.fail(quote(found) + " stands there twice");
}

void check_profile(const Node &node) {
  if (node.has("local_memory")) node.at("local_memory").integer(1, MANY);
}

Buffer read_buffer(const Node &node, const Names &symbols, const Box &box) {
  Buffer buffer{node.at("name").text(),       node.at("kind").one_of({"input", "output", "state"}),
                read_dtype(node.at("dtype")), node.at("shape").expressions(symbols),
                node.at("bytes").bytes(),     ""};
  const int64_t needed = dense_bytes(node.at("shape"), symbols, box, buffer.dtype);
  if (buffer.bytes < needed || buffer.bytes == 0)
    node.at("bytes").fail(std::to_string(buffer.bytes) +
                          " bytes can't hold the shape, which takes " + std::to_string(needed));
  if (buffer.kind != "state") {
    if (node.has("update")) node.at("update").fail("only a state is updated");
    return buffer;
  }
  buffer.update = node.at("update").one_of({"append", "replace", "once"});
  for (size_t i = 0; i < buffer.shape.size(); ++i)
    for (const Token &token : buffer.shape[i])
      if (token.op == Token::Symbol)
        node.at("shape").at(i).fail("a state has one capacity, whatever the symbols are");
  return buffer;
}

File read_entry(const Node &node) {
  File file{node.at("path").text(), node.at("bytes").bytes(), node.at("sha256").text(), false};
  const std::string inside = "/" + file.path + "/";
  if (file.path.empty() || file.path[0] == '/' || inside.find("/../") != std::string::npos ||
      file.path.find('\\') != std::string::npos)
    node.at("path").fail("the path leads out of the plan's folder");
  if (file.sha256.size() != 64 ||
      file.sha256.find_first_not_of("0123456789abcdef") != std::string::npos)
    node.at("sha256").fail("expected 64 hexadecimal digits");
  return file;
}

Weight read_weight(const Node &node, const std::vector<File> &files) {
  const size_t file = node.at("file").index(files.size(), "files");
  node.at("layout").text();
  Weight weight{node.at("name").text(), file, node.at("offset").bytes(), node.at("bytes").bytes()};
  const int64_t needed = dense_bytes(node.at("shape"), {}, {}, read_dtype(node.at("dtype")));
  if (files[file].text())  // people edit these, so that they may be shorter than the plan says
    node.at("file").fail(quote(files[file].path) + " is a text");
  if (weight.offset % WEIGHT_ALIGN)
    node.at("offset").fail("not a multiple of " + std::to_string(WEIGHT_ALIGN));
  if (weight.bytes < needed || weight.bytes == 0)
    node.at("bytes").fail("the shape takes " + std::to_string(needed) + " bytes");
  if (weight.offset + weight.bytes > files[file].bytes)
    node.at("offset").fail("the weight ends after the end of " + files[file].path + " (" +
                           std::to_string(files[file].bytes) + " bytes)");
  return weight;
}

std::string read_options(const Node &node) {
  std::set<std::string> given;
  std::string options;
  for (const Node &option : node.items()) {
    const std::string &word = option.one_of(BUILD_OPTIONS);
    if (!given.insert(word).second) option.fail(quote(word) + " stands there twice");
    options += (options.empty() ? "" : " ") + word;
  }
  return options;
}

Program read_program(const Node &node, const std::vector<File> &files) {
  Program program{0, node.at("kernel").name(), "", ""};
  const std::string &source = node.at("source").text();
  while (program.file < files.size() && files[program.file].path != source) ++program.file;
  if (program.file == files.size())
    node.at("source").fail(quote(source) + " is not among the plan's files");
  for (const Node &define : node.at("defines").items()) {
    if (define.size() != 2) define.fail("expected a name and a value");
    const std::string key = define.at(size_t{0}).macro_name();
    program.header += "#define " + key + " " + define.at(1).text() + "\n";
  }
  if (node.has("options")) program.options = read_options(node.at("options"));
  return program;
}

void read_tables(const Node &root, Plan &plan, Names &symbols, Box &box) {
  for (const Node &node : root.at("symbols").items()) {
    plan.symbols.push_back(read_symbol(node, symbols));
    symbols.push_back(plan.symbols.back().name);
    box.push_back(plan.symbols.back().range);
  }
  for (const Node &node : root.at("files").items()) {
    File file = read_entry(node);
    check_name_is_new(node, plan.files, &File::path, file.path);
    plan.files.push_back(std::move(file));
  }
  for (const Node &node : root.at("buffers").items()) {
    Buffer buffer = read_buffer(node, symbols, box);
    check_name_is_new(node, plan.buffers, &Buffer::name, buffer.name);
    plan.buffers.push_back(std::move(buffer));
  }
  for (const Node &node : root.at("weights").items()) {
    Weight weight = read_weight(node, plan.files);
    check_name_is_new(node, plan.weights, &Weight::name, weight.name);
    plan.weights.push_back(std::move(weight));
  }
  for (const Node &node : root.at("programs").items())
    plan.programs.push_back(read_program(node, plan.files));
}

}  // namespace

int64_t dtype_size(const std::string &dtype) { return ELEMENT_BYTES.at(dtype); }

Plan read_plan(const Node &root, const std::string &folder) {
  const int64_t format = root.at("format").integer(INT64_MIN, INT64_MAX);
  if (format != PLAN_FORMAT)
    throw Failure("plan.json: format " + std::to_string(format) + " is unknown",
                  "this runner reads format " + std::to_string(PLAN_FORMAT),
                  "compile the model again with the version of pocketcl that runs it");
  Plan plan{folder,
            "",
            "",
            {},
            false,
            read_model(root.at("model")),
            root.at("profile").at("class").text(),
            root.at("profile").at("align").integer(1, WEIGHT_ALIGN),
            {},
            {},
            {},
            {},
            {},
            {}};
  Names symbols;
  Box box;
  root.at("generator").text();
  check_profile(root.at("profile"));
  read_tables(root, plan, symbols, box);
  for (const Node &node : root.at("phases").items()) {
    plan.phases.push_back(read_phase(node, plan, symbols, box));
    for (size_t i = 0; i + 1 < plan.phases.size(); ++i)
      if (plan.phases[i].name == plan.phases.back().name)
        node.at("name").fail("the phase stands there twice");
  }
  check_language_model(root, plan);
  return plan;
}

std::vector<int64_t> smallest_symbols(const Plan &plan, const Phase &phase) {
  std::vector<int64_t> symbols;
  for (size_t i = 0; i < plan.symbols.size(); ++i)
    symbols.push_back(plan.symbols[i].counted ? phase.box[i].high : phase.box[i].low);
  return symbols;
}

size_t extent(const Expr &size, const std::vector<int64_t> &symbols) {
  return static_cast<size_t>(std::max<int64_t>(evaluate(size, symbols).value_or(0), 0));
}

}  // namespace pocket
