// The words that a plan may use. toolkit/plan/schema.py has the same lists; a test holds them
// together.
#pragma once
#include <cstdint>
#include <map>
#include <set>
#include <string>
#include <vector>

namespace pocket {

inline const std::map<std::string, int64_t> ELEMENT_BYTES = {{"f32", 4}, {"f16", 2}, {"i32", 4},
                                                             {"i64", 8}, {"u32", 4}, {"u8", 1}};

inline const std::set<std::string> FEATURES = {"fp16", "subgroups", "shuffles", "images",
                                            "int_dot"};

inline const std::set<std::string> UPDATES = {"append", "once", "replace"};  // of a state

inline const std::set<std::string> STATE_LAYOUTS = {"dense"};

inline const std::set<std::string> POLICIES = {"static", "lru", "lfu", "window", "importance"};

inline const std::set<std::string> ENGINES = {"device", "threads", "both"};

inline const std::set<int64_t> GROUPS = {16, 32, 64, 128, 256};  // numbers that share a scale

// The symbol of grids inside of a gather: how many records its ticket has.
inline const std::string RECORDS = "records";

inline const std::set<std::string> RESERVED = {"min", "max", RECORDS};  // no names of symbols

// What the host does between dispatches, and the kinds of its arguments.
inline const std::map<std::string, std::vector<std::string>> HOST_OPS = {{"fetch", {"buffer"}}};

// Of a program's build. A plan comes from elsewhere: these change what numbers a kernel computes and
// nothing else, while some compilers have options that read or write files.
inline const std::set<std::string> BUILD_OPTIONS = {
    "-cl-std=CL1.2",
    "-cl-std=CL2.0",
    "-cl-std=CL3.0",
    "-cl-mad-enable",
    "-cl-no-signed-zeros",
    "-cl-denorms-are-zero",
    "-cl-single-precision-constant",
    "-cl-unsafe-math-optimizations",
    "-cl-finite-math-only",
    "-cl-fast-relaxed-math",
    "-cl-uniform-work-group-size"};

}  // namespace pocket
