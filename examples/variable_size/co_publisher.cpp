// publisher.cpp as a coroutine.
#include <cstring>
#include <fstream>
#include <quoit.hpp>

#include "../common/coroutines.hpp"
#include "stanzas.hpp"

namespace {

// Copies the words into a space of their size; suspends while a subscriber is behind.
quoit::task<quoit::result<void>> publish(quoit::publisher<quoit::text>& publisher, std::string_view words) {
  auto loan = co_await publisher.loan_bytes(words.size());
  if (!loan) co_return tl::unexpected(loan.error());
  if (!words.empty()) std::memcpy(loan->data().data(), words.data(), words.size());
  std::move(*loan).publish();
  co_return quoit::result<void>();
}

quoit::task<int> publish_all(quoit::publisher<quoit::text>& publisher, std::uint32_t subscribers, std::istream& file) {
  const auto matched = co_await publisher.matched(subscribers);
  if (!matched) co_return failed("waiting", matched.error());
  unsigned long stanzas = 0;
  for (std::string stanza; next_stanza(file, stanza); ++stanzas) {
    const auto published = co_await publish(publisher, stanza);
    if (!published) co_return failed("publishing", published.error(), publisher.blocked_by());
    // Where there is space, nothing is waited for: so that others have their turn too, and Ctrl-C is noticed.
    if (stanzas % 64 == 63) co_await quoit::this_task::yield();
  }
  // An empty message ends the stream: that is between these two programs, quoit does not care.
  const auto ended = co_await publish(publisher, "");
  if (!ended) co_return failed("publishing", ended.error(), publisher.blocked_by());
  std::printf("published %lu stanzas\n", stanzas);
  co_return 0;
}

}  // namespace

int main(int argc, char** argv) {
  const arguments args(argc, argv, "[--bus NAME] [--subscribers N] [FILE]");
  const std::string path = args.rest.empty() ? "/var/lib/dpkg/status" : args.rest[0];
  std::ifstream file(path);
  if (!file) return std::fprintf(stderr, "cannot read %s; name a file with paragraphs\n", path.c_str()), 1;
  auto executor = quoit::executor::create();
  if (!executor) return failed("making the executor", executor.error());
  if (auto ok = stop_on_ctrl_c(*executor); !ok) return failed("waiting for signals", ok.error());

  auto bus = quoit::bus::open(*executor, args.bus(), {.node_name = "stanzas"});
  if (!bus) return failed("opening the bus", bus.error());
  // A stanza of more than 64 KiB would be refused; the ring holds them all before a subscriber has read one.
  auto publisher = bus->publisher<quoit::text>("packages", {.capacity_bytes = 4 << 20, .message_bytes_max = 64 << 10});
  if (!publisher) return failed("opening the topic", publisher.error());
  return executor->run(publish_all(*publisher, static_cast<std::uint32_t>(args.number("--subscribers", 1)), file));
}
