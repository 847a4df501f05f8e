// Descriptors of endpoints and executors in loops that are not quoit's.
#pragma once

#include <poll.h>

#include <chrono>
#include <string>
#include <vector>

#include "support/bus_guard.hpp"
#include "support/sleeper.hpp"

namespace quoit::test {

// Nobody looks around by himself: a wake that is lost hangs.
inline quoit::bus_options patient(quoit::transport used = quoit::transport::shared_memory) {
  quoit::bus_options o = never_rechecks;
  o.transport = used;
  // A publisher on the kernel path stays as long for what was not taken, and looks again after a recheck only.
  if (used == quoit::transport::kernel) o.lock_timeout = std::chrono::milliseconds(100);
  return o;
}

inline bool readable(int fd, int timeout_ms = 0) {
  pollfd one{fd, POLLIN, 0};
  return ::poll(&one, 1, timeout_ms) == 1 && (one.revents & POLLIN) != 0;
}

// The files of a bus that are pipes.
inline std::vector<std::string> pipes_of(const bus_guard& bus) {
  std::vector<std::string> pipes = bus.files();
  std::erase_if(pipes, [](const std::string& file) { return file.find("@bell-") == std::string::npos; });
  return pipes;
}

}  // namespace quoit::test
