// Publishes the stanzas of dpkg's status file, each a message of its own length.
#include <fstream>
#include <quoit.hpp>
#include <thread>

#include "../common/arguments.hpp"
#include "stanzas.hpp"

using namespace std::chrono_literals;

int main(int argc, char** argv) {
  const arguments args(argc, argv, "[--bus NAME] [--subscribers N] [FILE]");
  stop_on_ctrl_c();
  const std::string path = args.rest.empty() ? "/var/lib/dpkg/status" : args.rest[0];
  std::ifstream file(path);
  if (!file) return std::fprintf(stderr, "cannot read %s; name a file with paragraphs\n", path.c_str()), 1;

  auto bus = quoit::bus::open(args.bus(), {.node_name = "stanzas"});
  if (!bus) return failed("opening the bus", bus.error());
  // A stanza of more than 64 KiB would be refused; the ring holds them all before a subscriber has read one.
  auto publisher = bus->publisher<quoit::text>("packages", {.capacity_bytes = 4 << 20, .message_bytes_max = 64 << 10});
  if (!publisher) return failed("opening the topic", publisher.error());
  while (publisher->subscribers() < args.number("--subscribers", 1) && !stop_wanted) std::this_thread::sleep_for(10ms);

  unsigned long stanzas = 0;
  for (std::string stanza; !stop_wanted && next_stanza(file, stanza);) {
    // Copied once, into a space of its size; waits while a subscriber is behind.
    if (auto ok = publisher->publish_for(stanza, 10s); !ok)
      return failed("publishing", ok.error(), publisher->blocked_by());
    ++stanzas;
  }
  if (stop_wanted) return failed("interrupted");
  // An empty message ends the stream: that is between these two programs, quoit does not care.
  if (auto ok = publisher->publish_for("", 10s); !ok) return failed("publishing", ok.error(), publisher->blocked_by());
  std::printf("published %lu stanzas\n", stanzas);
}
