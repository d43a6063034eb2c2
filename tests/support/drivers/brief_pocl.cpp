// Stands where the ICD loader looks for PoCL: programs reach PoCL with the declarations that their
// texts name, in place of its header of 15,000. Compiling a small kernel takes a fifth of the time.
//
// POCKETCL_BRIEF names the declarations: a line for each, after a tab the words that call for it.
// Built with -DPOCL="…", the driver behind.
#include <dlfcn.h>
#include <stdlib.h>

#include <cstdint>
#include <fstream>
#include <iterator>
#include <mutex>
#include <set>
#include <sstream>
#include <string>
#include <vector>

namespace {

using Create = void *(*)(void *, unsigned, const char **, const size_t *, int *);
using Build = int (*)(void *, unsigned, void *const *, const char *, void (*)(void *, void *),
                      void *);
using Platforms = int (*)(unsigned, void **, unsigned *);
using Words = std::set<std::string>;

struct Declaration {
  std::string text;
  std::vector<std::string> words;  // none: every program needs it
};

// This file's functions stand before those of what PoCL brings: see lazy_library.cpp.
void *loaded() {
  Dl_info self;
  dladdr(reinterpret_cast<void *>(loaded), &self);
  dlopen(self.dli_fname, RTLD_NOW | RTLD_GLOBAL | RTLD_NOLOAD);
  return dlopen(POCL, RTLD_NOW | RTLD_GLOBAL);
}

void *pocl() {
  static void *driver = loaded();
  return driver;
}

void *extension(const char *name) {
  using Extension = void *(*)(const char *);
  static const auto of = reinterpret_cast<Extension>(dlsym(pocl(), "clGetExtensionFunctionAddress"));
  return of(name);
}

const std::vector<Declaration> &declarations() {
  static const std::vector<Declaration> all = [] {
    std::vector<Declaration> read;
    std::ifstream file(getenv("POCKETCL_BRIEF"));
    for (std::string line; std::getline(file, line);) {
      const size_t tab = line.find('\t');
      std::istringstream words(line.substr(tab + 1));
      read.push_back({line.substr(0, tab), {std::istream_iterator<std::string>(words), {}}});
    }
    return read;
  }();
  return all;
}

bool of_word(char c) { return isalnum(static_cast<unsigned char>(c)) || c == '_'; }

Words words_of(const std::string &text) {
  Words words;
  for (size_t at = 0; at < text.size();) {
    size_t end = at;
    while (end < text.size() && of_word(text[end])) ++end;
    if (end > at) words.insert(text.substr(at, end - at));
    at = end + (end == at);
  }
  return words;
}

bool named(const Declaration &declaration, const Words &words) {
  for (const std::string &word : declaration.words)
    if (words.count(word)) return true;
  return declaration.words.empty();
}

std::string with_declarations(const std::string &text) {
  const Words words = words_of(text);
  std::string whole = "#undef _OPENCL_H_\n";  // the header's guard, which the build defines
  for (const Declaration &declaration : declarations())
    if (named(declaration, words)) whole += declaration.text + "\n";
  return whole + "#line 1\n" + text;
}

// Where Khronos's cl_icd.h has clCreateProgramWithSource and clBuildProgram, and what stood there.
constexpr int CREATE = 26, BUILD = 30;
Create pocl_create;
Build pocl_build;

std::mutex lock;
std::set<void *> brief;  // programs with declarations of their own

void *create(void *context, unsigned count, const char **texts, const size_t *sizes, int *error) {
  std::string text;
  for (unsigned i = 0; texts && i < count; ++i)
    text += sizes && sizes[i] ? std::string(texts[i], sizes[i]) : std::string(texts[i]);
  const bool shorten = texts && text.find("#include") == std::string::npos;  // may name anything
  const std::string whole = shorten ? with_declarations(text) : text;
  const char *one = whole.c_str();
  void *program = shorten ? pocl_create(context, 1, &one, nullptr, error)
                          : pocl_create(context, count, texts, sizes, error);
  const std::lock_guard<std::mutex> hold(lock);
  if (shorten && program) brief.insert(program);
  else brief.erase(program);
  return program;
}

int build(void *program, unsigned count, void *const *devices, const char *options,
          void (*notify)(void *, void *), void *data) {
  std::string all = options ? options : "";
  {
    const std::lock_guard<std::mutex> hold(lock);
    if (brief.count(program)) all += " -D_OPENCL_H_";
  }
  return pocl_build(program, count, devices, all.c_str(), notify, data);
}

// A platform begins with the table of functions that all of PoCL's objects share.
void take_over(void *platform) {
  void **table = *static_cast<void ***>(platform);
  if (table[CREATE] == reinterpret_cast<void *>(create)) return;
  pocl_create = reinterpret_cast<Create>(table[CREATE]);
  pocl_build = reinterpret_cast<Build>(table[BUILD]);
  table[CREATE] = reinterpret_cast<void *>(create);
  table[BUILD] = reinterpret_cast<void *>(build);
}

int platforms(unsigned count, void **found, unsigned *number) {
  static const auto into = reinterpret_cast<Platforms>(extension("clIcdGetPlatformIDsKHR"));
  unsigned there = 0;
  const int code = into(count, found, &there);
  for (unsigned i = 0; found && code == 0 && i < there && i < count; ++i) take_over(found[i]);
  if (number) *number = there;
  return code;
}

}  // namespace

extern "C" __attribute__((visibility("default"))) void *clGetExtensionFunctionAddress(
    const char *name) {
  if (std::string(name) == "clIcdGetPlatformIDsKHR") return reinterpret_cast<void *>(platforms);
  return extension(name);
}
