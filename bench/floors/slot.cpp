#include "slot.hpp"

int main(int argc, char** argv) {
  const std::size_t bytes = argc > 1 ? std::strtoull(argv[1], nullptr, 10) : 64;
  if (bytes > floors::slot_bytes_max) return std::fprintf(stderr, "slot: at most %zu bytes\n", floors::slot_bytes_max), 2;
  return floors::main_of<floors::slot_memory>(
      "slot", bytes < 4096 ? 1'000'000 : 10'000,
      [=](floors::slot_memory& m, std::uint64_t n, floors::histogram& h) { floors::slot_ask(m, n, bytes, h); },
      [=](floors::slot_memory& m, std::uint64_t n) { floors::slot_answer(m, n, bytes); });
}
