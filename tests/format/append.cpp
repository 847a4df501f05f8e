// Writes the lane that format_test.py reads: append DIRECTORY.
#include <unistd.h>

#include <cstdio>
#include <cstring>

#include "base/clock.hpp"
#include "storage/log_writer.hpp"

using namespace quoit::detail;

namespace {

u64 set_back_ns = 0;
u64 clock_that_is_set() noexcept { return realtime_ns() - set_back_ns; }

// 600 messages of 0 to 199 letters; each seventh loan is dropped, and each eleventh is cut to a half. Before the 302nd
// the clock is set back by an hour, in the lane `set`.
int fill(log_writer& writer, bool sets_clock) {
  for (u32 n = 0; n < 600; ++n) {
    if (sets_clock && n == 301) {
      while (writer.keeper().spares() == 0) ::usleep(100);
      set_back_ns = 3'600'000'000'000;
    }
    lane_claim claim;
    append_status status = append_status::not_ready;
    while ((status = writer.appender().claim(n * 3 % 200, claim)) == append_status::not_ready) ::usleep(100);
    if (status != append_status::ok) return 2;
    std::memset(claim.payload, static_cast<int>('a' + n % 26), claim.payload_bytes);
    if (n % 7 == 6) {
      writer.appender().abandon(claim);
    } else {
      writer.appender().commit(claim, n % 11 == 10 ? claim.payload_bytes / 2 : claim.payload_bytes);
    }
  }
  return 0;
}

}  // namespace

int main(int, char** argv) {
  log_writer_options options;
  options.directory = argv[1];
  options.topic = "format/test";
  options.kind.segment_bytes = segment_bytes_min;
  options.kind.payload_bytes_max = 4096;
  options.kind.type_name = "text";
  options.calls.clocks = {clock_that_is_set, boottime_ns};
  for (const char* const name : {"plain", "aligned", "set"}) {
    options.name = name;
    options.kind.payload_alignment = name[0] == 'a' ? 64 : 8;
    auto writer = log_writer::open(options);
    if (!writer) {
      std::fprintf(stderr, "%s\n", writer.error().message().c_str());
      return 1;
    }
    if (const int status = fill(**writer, name[0] == 's'); status != 0) return status;
  }
  return 0;
}
