#pragma once

#include <cstdio>
#include <map>

#include "reading.hpp"

// What a collector knows of its sources: that each one's readings came complete and in order.
struct collected {
  // False if a reading is missing, or two publishers have one number.
  bool add(const reading& r) {
    // Each publisher's messages come in its order; between publishers there is none.
    if (r.number != next[r.source]++) return false;
    finished += r.last != 0;
    return true;
  }
  // Sources that have begun and not sent their last reading.
  std::size_t unfinished() const { return next.size() - finished; }
  void print() const {
    for (const auto& [source, count] : next) {
      std::printf("source %u: %llu readings, complete and in order\n", source, static_cast<unsigned long long>(count));
    }
  }

  std::map<std::uint32_t, std::uint64_t> next;  // of each source
  std::size_t finished = 0;
};
