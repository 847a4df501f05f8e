// What the subcommands of `quoit bench` share.
#pragma once

#include <cstdio>
#include <string>

#include "floors/cpus.hpp"

namespace cli {

// Exit status 2.
[[noreturn]] void usage_error(const std::string& words);

// "A,B" as --cpus has it; empty: the default. Anything else is a usage error.
floors::cpu_pair cpus_of(const std::string& text);

// A file that was named, - for standard output, or none if nothing was named. Throws std::runtime_error where it cannot
// be written.
class output_file {
 public:
  explicit output_file(const std::string& path);
  ~output_file();
  output_file(const output_file&) = delete;
  output_file& operator=(const output_file&) = delete;

  explicit operator bool() const { return file_ != nullptr; }
  bool is_stdout() const { return file_ == stdout; }
  void write(const std::string& text);

 private:
  [[noreturn]] void fail() const;

  std::string path_;
  std::FILE* file_ = nullptr;
};

}  // namespace cli
