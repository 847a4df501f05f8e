#include "slot.hpp"

#include "main_of.hpp"

int main(int argc, char** argv) {
  return floors::main_of<floors::slot_memory>(
      {.name = "slot", .polls = true, .takes_payload = true, .bytes_max = floors::slot_bytes_max}, argc, argv,
      [](std::size_t bytes) -> std::uint64_t { return bytes <= 4096 ? 50'000 : 200; },
      [](auto& memory, std::uint64_t turns, std::size_t bytes, auto& h) {
        floors::with_size(bytes, [&](auto size) { floors::slot_ask(memory, turns, size, h); });
      },
      [](auto& memory, std::uint64_t turns, std::size_t bytes) {
        floors::with_size(bytes, [&](auto size) { floors::slot_answer(memory, turns, size); });
      });
}
