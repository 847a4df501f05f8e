// Reads stanzas in place and adds up what they say.
#include <charconv>
#include <quoit.hpp>

#include "../common/arguments.hpp"

using namespace std::chrono_literals;

namespace {

// The value of a field, in place: the view points into shared memory.
std::string_view field(std::string_view stanza, std::string_view name) {
  std::size_t at = stanza.find(name);
  while (at != 0 && at != std::string_view::npos && stanza[at - 1] != '\n') at = stanza.find(name, at + 1);
  if (at == std::string_view::npos) return {};
  at += name.size();
  return stanza.substr(at, stanza.find('\n', at) - at);
}

}  // namespace

int main(int argc, char** argv) {
  const arguments args(argc, argv, "[--bus NAME]");
  stop_on_ctrl_c();
  auto bus = quoit::bus::open(args.bus(), {.node_name = "packages"});
  if (!bus) return failed("opening the bus", bus.error());
  auto subscriber = bus->subscriber<quoit::text>("packages");
  if (!subscriber) return failed("opening the topic", subscriber.error());

  unsigned long stanzas = 0, bytes = 0, installed_kib = 0;
  std::size_t longest = 0;
  std::string longest_name;
  while (!stop_wanted) {
    auto sample = subscriber->wait(200ms);
    if (!sample) {
      if (sample.error() != quoit::errc::timed_out) return failed("receiving", sample.error());
      // Once it has begun, silence and no publisher mean that it died in the middle.
      if (stanzas > 0 && subscriber->publishers() == 0) return failed("the publisher is gone");
      continue;
    }
    const std::string_view stanza = **sample;
    if (stanza.empty()) break;
    ++stanzas;
    bytes += stanza.size();
    const std::string_view size = field(stanza, "Installed-Size: ");
    unsigned long kib = 0;
    std::from_chars(size.data(), size.data() + size.size(), kib);
    installed_kib += kib;
    if (stanza.size() > longest) {
      longest = stanza.size();
      longest_name = field(stanza, "Package: ");
    }
  }
  std::printf("%lu stanzas, %lu bytes; the longest, of %s, has %zu bytes\n", stanzas, bytes, longest_name.c_str(),
              longest);
  std::printf("installed size, added up: %lu MiB\n", installed_kib / 1024);
}
