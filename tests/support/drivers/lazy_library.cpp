// PoCL's library of functions is read as far as kernels call it. PoCL parses the whole of it, 10 MB,
// before the first kernel of a process: half a second, where a small kernel takes a hundredth.
//
// Two functions of LLVM 15 stand here before its own: the dynamic linker finds them first, since
// brief_pocl.cpp makes this library's names everyone's before it loads PoCL. An object that C++
// returns comes by the address of its place, as the first argument (x86-64).
#include <dlfcn.h>
#include <stdio.h>
#include <stdlib.h>

#include <map>
#include <mutex>
#include <set>
#include <string>
#include <vector>

#define PARSE                                                                                     \
  "_ZN4llvm11parseIRFileENS_9StringRefERNS_12SMDiagnosticERNS_11LLVMContextENS_12function_ref"     \
  "IFNS_8OptionalINSt7__cxx1112basic_stringIcSt11char_traitsIcESaIcEEEEES0_EEE"
#define OPEN "_ZN4llvm19getLazyIRFileModuleENS_9StringRefERNS_12SMDiagnosticERNS_11LLVMContextEb"
#define GET "_ZNK4llvm6Module11getFunctionENS_9StringRefE"
#define MATERIALIZE "_ZN4llvm11GlobalValue11materializeEv"

namespace {

const char LIBRARY[] = "share/pocl/kernel-";

using Value = void *;  // of LLVM: a function, block or instruction

// A function of LLVM's own, which the dynamic linker would not find behind those of this file.
template <typename Function>
Function llvm(const char *name) {
  static void *const library = dlopen("libLLVM-15.so.1", RTLD_NOW | RTLD_NOLOAD);
  void *found = library ? dlsym(library, name) : nullptr;
  if (!found) {
    fprintf(stderr, "LLVM 15 has no %s\n", name);
    abort();
  }
  return reinterpret_cast<Function>(found);
}

// Modules that were opened here, and of each the functions that were read with all that they call.
std::map<const void *, std::set<Value>> modules;
std::mutex lock;

// The module reads the body of a function from its file.
void materialize(Value function) {
  using Materialize = void *(*)(void **, Value);  // an llvm::Error comes by address
  static const auto of = llvm<Materialize>(MATERIALIZE);
  void *error = nullptr;
  of(&error, function);
  if (error) {
    fprintf(stderr, "a function of PoCL's library cannot be read\n");
    abort();
  }
}

// The functions that a function calls by name.
std::vector<Value> called(Value function) {
  static const auto first_block = llvm<Value (*)(Value)>("LLVMGetFirstBasicBlock");
  static const auto next_block = llvm<Value (*)(Value)>("LLVMGetNextBasicBlock");
  static const auto first = llvm<Value (*)(Value)>("LLVMGetFirstInstruction");
  static const auto next = llvm<Value (*)(Value)>("LLVMGetNextInstruction");
  static const auto call = llvm<Value (*)(Value)>("LLVMIsACallInst");
  static const auto callee = llvm<Value (*)(Value)>("LLVMGetCalledValue");
  static const auto of_function = llvm<Value (*)(Value)>("LLVMIsAFunction");
  std::vector<Value> found;
  for (Value block = first_block(function); block; block = next_block(block))
    for (Value each = first(block); each; each = next(each))
      if (call(each) && of_function(callee(each))) found.push_back(callee(each));
  return found;
}

// PoCL follows calls without asking the module, so that all that is called is read at once.
void read(Value function, std::set<Value> &whole) {
  std::vector<Value> left{function};
  while (!left.empty()) {
    const Value each = left.back();
    left.pop_back();
    if (!whole.insert(each).second) continue;
    materialize(each);
    for (Value other : called(each)) left.push_back(other);
  }
}

}  // namespace

// std::unique_ptr<Module> parseIRFile(StringRef, SMDiagnostic &, LLVMContext &, function_ref<…>)
struct Reference { void *callback; long data; };
extern "C" void *parse_file(void *module, const char *name, size_t length, void *error,
                            void *context, Reference layout)
    __asm__(PARSE);
void *parse_file(void *module, const char *name, size_t length, void *error, void *context,
                 Reference layout) {
  using Parse = void *(*)(void *, const char *, size_t, void *, void *, Reference);
  using Open = void *(*)(void *, const char *, size_t, void *, void *, bool);
  static const auto parse = llvm<Parse>(PARSE);
  static const auto open = llvm<Open>(OPEN);
  if (std::string(name, length).find(LIBRARY) == std::string::npos)
    return parse(module, name, length, error, context, layout);
  open(module, name, length, error, context, false);
  const std::lock_guard<std::mutex> hold(lock);
  modules[*static_cast<void **>(module)].clear();  // another one may have lain there
  return module;
}

// Function *Module::getFunction(StringRef) const
extern "C" Value get_function(const void *module, const char *name, size_t length)
    __asm__(GET);
Value get_function(const void *module, const char *name, size_t length) {
  using Get = Value (*)(const void *, const char *, size_t);
  static const auto get = llvm<Get>(GET);
  const Value found = get(module, name, length);
  const std::lock_guard<std::mutex> hold(lock);
  const auto known = modules.find(module);
  if (found && known != modules.end()) read(found, known->second);
  return found;
}
