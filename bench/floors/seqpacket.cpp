#include "seqpacket.hpp"

#include "main_of.hpp"

int main(int argc, char** argv) {
  return floors::main_of<floors::seqpacket_memory>(
      {.name = "seqpacket", .polls = false, .takes_payload = true, .bytes_max = floors::seqpacket_bytes_max}, argc,
      argv, [](std::size_t) -> std::uint64_t { return 1'000; },
      [](auto& memory, std::uint64_t turns, std::size_t bytes, auto& h) {
        floors::seqpacket_ask(memory, turns, bytes, h);
      },
      [](auto& memory, std::uint64_t turns, std::size_t bytes) { floors::seqpacket_answer(memory, turns, bytes); });
}
