#include "line.hpp"

int main() {
  return floors::main_of<floors::line_memory>(
      "line", 1'000'000,
      [](floors::line_memory& m, std::uint64_t n, floors::histogram& h) { floors::line_ask(m, n, h); },
      [](floors::line_memory& m, std::uint64_t n) { floors::line_answer(m, n); });
}
