#include "bench_options.hpp"

#include <fmt/core.h>

#include <CLI/CLI.hpp>
#include <cerrno>
#include <cstring>
#include <stdexcept>

namespace cli {

void usage_error(const std::string& words) { throw CLI::ValidationError(words); }

floors::cpu_pair cpus_of(const std::string& text) {
  const std::vector<int> allowed = floors::allowed_cpus();
  floors::cpu_pair cpus = floors::default_cpus(allowed);
  if (text.empty() || floors::parse_cpus(text.c_str(), allowed, cpus)) return cpus;
  std::string known;
  for (const int cpu : allowed) known += fmt::format(" {}", cpu);
  usage_error(fmt::format("--cpus {}: give two CPUs, as in 0,1; this process may run on{}", text, known));
}

output_file::output_file(const std::string& path) : path_(path) {
  if (path == "-") {
    file_ = stdout;
  } else if (!path.empty()) {
    // descriptor: main() has seen to it that 0, 1 and 2 are taken
    file_ = std::fopen(path.c_str(), "we");
    if (file_ == nullptr) fail();
  }
}

output_file::~output_file() {
  if (file_ != nullptr && file_ != stdout) std::fclose(file_);
}

void output_file::write(const std::string& text) {
  if (file_ == nullptr) return;
  if (std::fwrite(text.data(), 1, text.size(), file_) != text.size() || std::fflush(file_) != 0) fail();
}

void output_file::fail() const {
  throw std::runtime_error(fmt::format("cannot write {}: {}", path_, std::strerror(errno)));
}

}  // namespace cli
