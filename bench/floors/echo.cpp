#include "echo.hpp"

#include "main_of.hpp"

int main(int argc, char** argv) {
  return floors::main_of<floors::echo_memory>(
      {.name = "echo", .polls = false, .takes_payload = true, .bytes_max = floors::echo_bytes_max}, argc, argv,
      [](std::size_t bytes) -> std::uint64_t { return bytes <= 4096 ? 1'000 : 100; },
      [](auto& memory, std::uint64_t turns, std::size_t bytes, auto& h) {
        floors::echo_ask(memory, false, turns, bytes, h);
      },
      [](auto& memory, std::uint64_t turns, std::size_t bytes) { floors::echo_answer(memory, false, turns, bytes); });
}
