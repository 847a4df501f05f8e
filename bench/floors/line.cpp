#include "line.hpp"

#include "main_of.hpp"

int main(int argc, char** argv) {
  return floors::main_of<floors::line_memory>(
      {.name = "line", .polls = true, .takes_payload = false, .bytes_max = 0}, argc, argv,
      [](std::size_t) -> std::uint64_t { return 50'000; },
      [](auto& memory, std::uint64_t turns, std::size_t, auto& h) { floors::line_ask(memory, turns, h); },
      [](auto& memory, std::uint64_t turns, std::size_t) { floors::line_answer(memory, turns); });
}
