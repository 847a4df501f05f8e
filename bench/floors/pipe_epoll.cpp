#include "pipe.hpp"

#include "main_of.hpp"

int main(int argc, char** argv) {
  return floors::main_of<floors::pipe_memory>(
      {.name = "pipe_epoll", .polls = false, .takes_payload = false, .bytes_max = 0}, argc, argv,
      [](std::size_t) -> std::uint64_t { return 1'000; },
      [](auto& memory, std::uint64_t turns, std::size_t, auto& h) {
        floors::pipe_ask<floors::pipe_in_epoll>(memory, turns, h);
      },
      [](auto& memory, std::uint64_t turns, std::size_t) {
        floors::pipe_answer<floors::pipe_in_epoll>(memory, turns);
      });
}
