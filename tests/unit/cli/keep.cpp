// Keeps messages for kept_test.py: keep DIRECTORY TOPIC PUBLISHER TEXT|BYTES COUNT. Message n is "message n", or the
// bytes of n as 16 bits. Says "ready", and has the lane until its standard input ends.
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <string>

#include <unistd.h>

#include "storage/log_writer.hpp"

using namespace quoit::detail;

int main(int argc, char** argv) {
  if (argc != 6) return 2;
  log_writer_options options;
  options.directory = argv[1];
  options.topic = argv[2];
  options.name = argv[3];
  options.durability = log_durability::each;
  options.kind.segment_bytes = segment_bytes_min;
  const std::string kind = argv[4];
  options.kind.type_name = kind == "fields" ? "numbered" : kind;
  if (kind == "fields") {
    options.kind.type_bytes = 8;
    options.kind.type_fields = "n:u32@0 name:char[4]@4";
  }
  const unsigned long count = std::strtoul(argv[5], nullptr, 10);
  auto writer = log_writer::open(options);
  if (!writer) {
    std::fprintf(stderr, "%s\n", writer.error().message().c_str());
    return 1;
  }
  for (unsigned long n = 0; n < count; ++n) {
    std::string words = "message " + std::to_string(n);
    if (kind != "text") words = {char(n & 0xff), char(n >> 8 & 0xff)};
    if (kind == "fields") words += std::string("\0\0AB\n\0", 6);
    lane_claim claim;
    append_status status = append_status::not_ready;
    while ((status = (*writer)->appender().claim(static_cast<u32>(words.size()), claim)) == append_status::not_ready) {
      ::usleep(100);
    }
    if (status != append_status::ok) return 1;
    std::memcpy(claim.payload, words.data(), words.size());
    (*writer)->appender().commit(claim, static_cast<u32>(words.size()));
  }
  if (!(*writer)->flush(std::chrono::seconds(60))) return 1;
  std::puts("ready");
  std::fflush(stdout);
  while (std::getchar() != EOF) {
  }
}
