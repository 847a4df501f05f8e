#include "futex_ring.hpp"

#include "main_of.hpp"

int main(int argc, char** argv) {
  return floors::main_of<floors::futex_memory>(
      {.name = "futex_ring", .polls = false, .takes_payload = false, .bytes_max = 0}, argc, argv,
      [](std::size_t) -> std::uint64_t { return 1'000; },
      [](auto& memory, std::uint64_t turns, std::size_t, auto& h) { floors::futex_ring_ask(memory, turns, h); },
      [](auto& memory, std::uint64_t turns, std::size_t) { floors::futex_ring_answer(memory, turns); });
}
