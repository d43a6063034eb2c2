// Small files of the runner's own.
#pragma once
#include <string>

namespace pocket {

void make_folders(const std::string &path);
std::string text_of(const std::string &path);  // empty where it can't be read
void write_whole(const std::string &path, const std::string &content);  // all of it or nothing

// Removes what a write_whole left in the folder whose process is dead.
void remove_halves(const std::string &folder);

bool alive(int process);

}  // namespace pocket
