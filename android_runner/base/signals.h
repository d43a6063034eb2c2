// Names of the signals that end processes.
#pragma once
#include <string>

namespace pocket {

bool is_crash(int signal);  // sent for what the process itself did
std::string signal_name(int signal);

}  // namespace pocket
