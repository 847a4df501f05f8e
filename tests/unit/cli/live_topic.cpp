// What backup_test.py runs: a publisher and a named subscription of a topic on disk, and a reader that checks the
// topic.
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <quoit.hpp>

#include "support/messages.hpp"

using quoit::test::checked;
using namespace std::chrono_literals;

namespace {

constexpr const char* topic_name = "market/quotes";

int failed(const char* doing, const quoit::error& why) {
  std::fprintf(stderr, "%s: %s\n", doing, why.message().c_str());
  return 1;
}

// Until standard input ends or `count` is reached. Says how many were published each time that some were flushed.
int write(const char* directory, std::uint64_t count) {
  auto bus = quoit::bus::open();
  if (!bus) return failed("bus", bus.error());
  auto sub = bus->subscriber<checked>(
      topic_name, {.start = quoit::start::earliest, .directory = directory, .subscription_name = "audit"});
  if (!sub) return failed("subscriber", sub.error());
  auto pub = bus->publisher<checked>(
      topic_name,
      {.directory = directory, .publisher_name = "a", .segment_bytes = 64 << 10, .retention_bytes = 16 << 20});
  if (!pub) return failed("publisher", pub.error());
  // Numbers go on behind those that are there.
  std::uint64_t begin = 0;
  auto before = quoit::replay<checked>::open(directory, topic_name, {.start = quoit::start::last(1)});
  if (before) {
    auto last = before->poll();
    if (last && *last) begin = (**last).number + 1;
  }
  std::uint64_t taken = 0;
  for (std::uint64_t n = 0; n < count; ++n) {
    auto published = pub->publish_for(checked::make(0, begin + n), 60s);
    if (!published) return failed("publishing", published.error());
    for (auto sample = sub->poll(); sample && *sample && taken < 90; sample = sub->poll()) ++taken;
    if (n % 100 != 99) continue;
    taken = 0;
    if (auto committed = sub->commit(); !committed) return failed("committing", committed.error());
    if (auto flushed = pub->flush_for(60s); !flushed) return failed("flushing", flushed.error());
    std::printf("%llu\n", static_cast<unsigned long long>(begin + n + 1));
    std::fflush(stdout);
  }
  return 0;
}

// All that is there: the first and the last number, and that none between is missing.
int read(const char* directory) {
  auto all = quoit::replay<checked>::open(directory, topic_name, {.start = quoit::start::earliest});
  if (!all) return failed("replay", all.error());
  std::uint64_t first = ~std::uint64_t{0};
  std::uint64_t next = 0;
  for (;;) {
    auto sample = all->poll();
    if (!sample) return failed("reading", sample.error());
    if (!*sample) break;
    const checked& m = **sample;
    if (first == ~std::uint64_t{0}) first = next = m.number;
    if (!m.intact() || m.number != next++) {
      std::fprintf(stderr, "message %llu where %llu is due\n", static_cast<unsigned long long>(m.number),
                   static_cast<unsigned long long>(next - 1));
      return 1;
    }
  }
  // And the named subscription goes on in it, to the same end.
  auto bus = quoit::bus::open();
  if (!bus) return failed("bus", bus.error());
  auto sub = bus->subscriber<checked>(topic_name, {.directory = directory, .subscription_name = "audit"});
  if (!sub) return failed("subscriber", sub.error());
  std::uint64_t resumed = next;
  std::uint64_t due = ~std::uint64_t{0};
  for (;;) {
    auto sample = sub->poll();
    if (!sample) return failed("subscription", sample.error());
    if (!*sample) break;
    const checked& m = **sample;
    if (due == ~std::uint64_t{0}) resumed = due = m.number;
    if (m.number != due++) return failed("subscription", quoit::error(quoit::errc::corrupt, "a message is missing"));
  }
  if (due != ~std::uint64_t{0} && due != next)
    return failed("subscription", quoit::error(quoit::errc::corrupt, "ends"));
  std::printf("%llu %llu %llu\n", static_cast<unsigned long long>(first), static_cast<unsigned long long>(next),
              static_cast<unsigned long long>(resumed));
  return 0;
}

}  // namespace

int main(int argc, char** argv) {
  if (argc == 4 && std::strcmp(argv[1], "write") == 0) return write(argv[2], std::strtoull(argv[3], nullptr, 10));
  if (argc == 3 && std::strcmp(argv[1], "read") == 0) return read(argv[2]);
  return 2;
}
