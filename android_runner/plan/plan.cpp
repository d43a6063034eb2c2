// Reads plan.json: symbols, buffers and states in memory_reader.cpp, the phases in
// phase_reader.cpp, weights in flash in tables.cpp, all else here; file_checks.cpp looks at the files on disk.
#include "plan/plan.h"

#include <algorithm>

#include "base/failure.h"
#include "base/text.h"
#include "sizes/bounds.h"
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
  if (node.has("short_prompt")) model.short_prompt = node.at("short_prompt").integer(1, MANY);
  for (const Node &id : node.at("eos").items()) model.eos.push_back(id.integer(-MANY, MANY));
  return model;
}

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
  Weight weight{node.at("name").text(), node.at("dtype").text(), {}, file,
                node.at("offset").bytes(), node.at("bytes").bytes()};
  const int64_t needed = dense_bytes(node.at("shape"), {}, {}, read_dtype(node.at("dtype")));
  for (const Node &size : node.at("shape").items())
    weight.shape.push_back(size.integer(INT64_MIN, INT64_MAX));
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

// Numbers with dots between; empty where it isn't given.
std::string read_version(const Node &node, const char *key) {
  const std::string version = node.has(key) ? node.at(key).text() : "";
  std::string again;
  for (const std::string &number : pieces(version, ".")) {
    if (number.size() > 6 || number.find_first_not_of("0123456789") != std::string::npos) break;
    again += (again.empty() ? "" : ".") + number;
  }
  if (again != version) node.at(key).fail(quote(version) + " is no version");
  return version;
}

DriverFault read_driver(const Node &node) {
  DriverFault driver{node.at("compiler").name(), read_version(node, "from"),
                     read_version(node, "before"), node.at("fault").text(), {}};
  if (!node.has("without")) return driver;
  for (const Node &name : node.at("without").items())
    driver.without.push_back(BUILD_OPTIONS.count(name.text()) ? name.text() : name.name());
  return driver;
}

void read_tables(const Node &root, Plan &plan, Box &box) {
  for (const Node &node : root.at("symbols").items()) {
    plan.symbols.push_back(read_symbol(node, plan.symbols));
    box.push_back(plan.symbols.back().range);
  }
  for (const Node &node : root.at("files").items()) {
    File file = read_entry(node);
    check_name_is_new(node, plan.files, &File::path, file.path);
    plan.files.push_back(std::move(file));
  }
  for (const Node &node : root.at("buffers").items()) {
    Buffer buffer = read_buffer(node, plan.symbols, box);
    check_name_is_new(node, plan.buffers, &Buffer::name, buffer.name);
    plan.buffers.push_back(std::move(buffer));
  }
  plan.states = read_states(root.at("states"), plan.buffers);
  for (const Node &node : root.at("weights").items()) {
    Weight weight = read_weight(node, plan.files);
    check_name_is_new(node, plan.weights, &Weight::name, weight.name);
    plan.weights.push_back(std::move(weight));
  }
  for (const Node &node : root.at("programs").items())
    plan.programs.push_back(read_program(node, plan.files));
  if (root.has("drivers"))
    for (const Node &node : root.at("drivers").items()) plan.drivers.push_back(read_driver(node));
}

}  // namespace

Plan read_plan(const Node &root, const std::string &folder) {
  const int64_t format = root.at("format").integer(INT64_MIN, INT64_MAX);
  if (format != PLAN_FORMAT)
    throw Failure("plan.json: format " + std::to_string(format) + " is unknown",
                  "this runner reads format " + std::to_string(PLAN_FORMAT),
                  "compile the model again: pocketcl compile SRC -o PLAN");
  Plan plan;
  plan.folder = folder;
  plan.model = read_model(root.at("model"));
  plan.device_class = root.at("profile").at("class").text();
  plan.align = root.at("profile").at("align").integer(1, WEIGHT_ALIGN);
  Box box;
  root.at("generator").text();
  check_profile(root.at("profile"));
  read_tables(root, plan, box);
  read_flash_tables(root, plan);
  for (const Node &node : root.at("phases").items()) {
    plan.phases.push_back(read_phase(node, plan, box));
    for (size_t i = 0; i + 1 < plan.phases.size(); ++i)
      if (plan.phases[i].name == plan.phases.back().name)
        node.at("name").fail("the phase stands there twice");
  }
  read_points(root, plan);
  if (root.has("tests")) read_tests(root.at("tests"), plan);
  check_language_model(root, plan);
  return plan;
}

std::vector<int64_t> smallest_symbols(const Plan &plan, const Phase &phase) {
  std::vector<int64_t> symbols;
  for (size_t i = 0; i < plan.symbols.size(); ++i)
    symbols.push_back(plan.symbols[i].counted ? phase.box[i].high : phase.box[i].low);
  return symbols;
}

std::vector<int32_t> symbol_words(const Plan &plan, const std::vector<int64_t> &values,
                                  const Vectors &vectors) {
  std::vector<int32_t> words(plan.slots());
  for (size_t i = 0; i < plan.symbols.size(); ++i)
    std::fill(words.begin() + plan.symbols[i].slot, words.begin() + plan.symbols[i].end(),
              static_cast<int32_t>(values[i]));
  for (const auto &[symbol, elements] : vectors) {
    const size_t room = plan.symbols[symbol].end() - plan.symbols[symbol].slot;
    std::copy_n(elements.begin(), std::min(elements.size(), room),
                words.begin() + plan.symbols[symbol].slot);
  }
  return words;
}

size_t extent(const Expr &size, const std::vector<int64_t> &symbols) {
  return static_cast<size_t>(std::max<int64_t>(evaluate(size, symbols).value_or(0), 0));
}

}  // namespace pocket
