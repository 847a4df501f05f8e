#pragma once

#include <vector>

#include "endpoint.hpp"
#include "row.hpp"

namespace bench {

std::vector<row_type> coroutine_rows();
std::vector<row_type> executor_rows();

// One way to ask the kernel; unspecified: as the environment says, or the best there is.
struct rung_choice {
  quoit::io_engine engine = quoit::io_engine::unspecified;
  quoit::rung rung = quoit::rung::unspecified;
};

inline quoit::executor executor_that(quoit::wait how, rung_choice on = {}) {
  return must("making the executor", quoit::executor::create({.wait = how, .engine = on.engine, .rung = on.rung}));
}

// The last thing of a row in which one side does everything: the other one is asleep until then.
inline void tell(int socket) {
  const char word = 1;
  if (::write(socket, &word, 1) != 1) throw std::runtime_error("the other side cannot be told");
}
inline void wait_until_told(int socket) {
  char word = 0;
  ssize_t got = 0;
  do {
    got = ::read(socket, &word, 1);
  } while (got < 0 && errno == EINTR);
  if (got != 1) throw std::runtime_error("the other side says nothing");
}

}  // namespace bench
