#pragma once

#include <cstdio>

#include "reading.hpp"

// What a display received and what it lost: together that is everything since it came.
struct tally {
  // False if a reading is missing, or there are two publishers.
  bool add(const reading& r) {
    // Who comes late begins with what is published then.
    if (begun && r.number != expected) return false;
    begun = true;
    expected = r.number + 1;
    ++received;
    last = r.last != 0;
    return true;
  }
  // As errc::lagged says it: exactly so many.
  void lose(std::uint64_t readings) {
    lost += readings;
    expected += readings;
  }
  void print() const {
    std::printf("received %llu, lost %llu, together %llu\n", static_cast<unsigned long long>(received),
                static_cast<unsigned long long>(lost), static_cast<unsigned long long>(received + lost));
  }

  std::uint64_t received = 0, lost = 0, expected = 0;
  bool begun = false, last = false;
};
