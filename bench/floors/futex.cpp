#include "futex.hpp"

int main() {
  return floors::main_of<floors::futex_memory>(
      "futex", 20'000,
      [](floors::futex_memory& m, std::uint64_t n, floors::histogram& h) { floors::futex_ask(m, n, h); },
      [](floors::futex_memory& m, std::uint64_t n) { floors::futex_answer(m, n); });
}
