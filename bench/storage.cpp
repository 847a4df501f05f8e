// How fast a lane on disk is, each figure beside what the machine does without one:
// storage [-g GIGABYTES] [-r ROWS] DIRECTORY [MILLIONS] [BYTES] [SEGMENT MIB].
//
// ROWS are of append, latency, flush, replay, places; all without it. Of the disk it takes the topic of `places`
// (10 GB, twice for a moment), and about 1 GB for each ten million messages of 64 bytes. A lane is on no bus here.
#include <getopt.h>

#include <filesystem>

#include "kept/kept.hpp"

int main(int argc, char** argv) {
  kept::setting s;
  std::string rows = "append,latency,flush,replay,places";
  for (int c; (c = ::getopt(argc, argv, "g:r:")) != -1;) {
    if (c == 'g') s.gigabytes = std::strtoull(optarg, nullptr, 10);
    if (c == 'r') rows = optarg;
    if (c == '?') argc = 0;
  }
  const int given = argc - optind;
  if (given < 1 || given > 4) {
    return std::fprintf(stderr,
                        "usage: storage [-g GIGABYTES] [-r append,latency,flush,replay,places] DIRECTORY [MILLIONS] "
                        "[BYTES: 64 or 4096] [SEGMENT MIB]\n"),
           2;
  }
  s.directory = std::string(argv[optind]) + "/quoit-bench-" + std::to_string(::getpid());
  if (given > 1) s.messages = std::strtoull(argv[optind + 1], nullptr, 10) * 1'000'000;
  if (given > 2) s.bytes = std::strtoull(argv[optind + 2], nullptr, 10) == 4096 ? 4096 : 64;
  if (given > 3) s.segment_bytes = std::strtoull(argv[optind + 3], nullptr, 10) << 20;
  std::filesystem::create_directory(s.directory);
  const struct {
    const char* name;
    void (*run)(const kept::setting&);
  } all[] = {{"append", kept::append_rows},
             {"latency", kept::latency_rows},
             {"flush", kept::flush_rows},
             {"replay", kept::replay_rows},
             {"places", kept::place_rows}};
  for (const auto& r : all) {
    if (rows.find(r.name) != std::string::npos) r.run(s);
  }
  std::filesystem::remove_all(s.directory);
  return 0;
}
