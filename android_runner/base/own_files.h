// Files and folders that only their owner can change: what is run comes from such.
#pragma once
#include <string>

namespace pocket {

// Makes a folder, and those above it, where they are missing: for their owner only, whatever the
// umask.
void make_own_folder(const std::string &path);

// Why others can change what lies in the folder, or put another in its place; empty where only its
// owner can, or where it can't be looked at.
std::string weakness(const std::string &folder);

// The content of a file of one's own; empty where there is none. `why`: others can change it.
std::string text_of_own(const std::string &path, std::string &why);

}  // namespace pocket
