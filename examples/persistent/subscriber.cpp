// Prints readings that are kept in a directory, from any place on, and goes on with those that are published.
#include <quoit.hpp>

#include "../common/arguments.hpp"
#include "reading.hpp"

using namespace std::chrono_literals;

namespace {

quoit::start start_of(const arguments& args) {
  const std::string from = args.text("--from", "earliest");
  if (from == "earliest") return quoit::start::earliest;
  if (from == "latest") return quoit::start::latest;
  const std::size_t colon = from.find(':');
  char* end = nullptr;
  const std::uint64_t number = colon == std::string::npos ? 0 : std::strtoull(from.c_str() + colon + 1, &end, 10);
  if (end == nullptr || *end != '\0') args.fail();
  if (from.starts_with("last:")) return quoit::start::last(number);
  if (from.starts_with("sequence:")) return quoit::start::sequence(number);
  args.fail();
}

}  // namespace

int main(int argc, char** argv) {
  const arguments args(argc, argv,
                       "[--bus NAME] [--from earliest|latest|last:N|sequence:N] [--subscription NAME] [--count N] "
                       "DIRECTORY");
  if (args.rest.size() != 1) args.fail();
  const quoit::start from = start_of(args);
  stop_on_ctrl_c();

  auto bus = quoit::bus::open(args.bus(), {.node_name = "persistent subscriber"});
  if (!bus) return failed("opening the bus", bus.error());
  // With a name, how far it came is remembered in the directory, and --from counts for the first time only.
  const std::string subscription = args.text("--subscription");
  auto subscriber = bus->subscriber<reading>(
      "cellar/temperature", {.start = from, .directory = args.rest[0], .subscription_name = subscription});
  if (!subscriber) return failed("opening the topic", subscriber.error());

  const long count = args.number("--count", -1);
  for (long received = 0; received != count && !stop_wanted;) {
    // What is on the disk already is there at once; then it sleeps until something is published.
    auto sample = subscriber->wait(200ms);
    if (!sample) {
      if (sample.error() == quoit::errc::timed_out) continue;
      if (sample.error() == quoit::errc::lagged) {
        std::printf("%llu readings were removed before they were read\n",
                    static_cast<unsigned long long>(sample.error().value()));
        continue;
      }
      return failed("receiving", sample.error());
    }
    const reading& r = **sample;
    const std::string_view publisher = sample->publisher_name();
    std::printf("%.*s %llu  %.2f C\n", static_cast<int>(publisher.size()), publisher.data(),
                static_cast<unsigned long long>(r.number), r.celsius);
    ++received;
    sample->release();
    if (subscription.empty()) continue;
    // Given back, so it is done: whoever opens this subscription again does not get it.
    if (auto ok = subscriber->commit(); !ok) return failed("remembering the place", ok.error());
  }
  const auto position = subscriber->position();
  if (position) std::printf("position: %s\n", position->to_string().c_str());
}
