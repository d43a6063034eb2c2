// This program itself: where it is, and starting it again.
#pragma once
#include <string>

namespace pocket {

std::string own_program();

// Starts this process anew with the folders of a phone's vendor libraries in LD_LIBRARY_PATH, which
// the linker reads at the start only. Returns where that would change nothing.
void restart_among_vendor_libraries(char **words);

}  // namespace pocket
