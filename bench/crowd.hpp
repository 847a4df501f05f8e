// Subscriptions to which nobody publishes, each with a coroutine that waits for its next message.
#pragma once

#include <quoit.hpp>
#include <string>
#include <vector>

#include "endpoint.hpp"

namespace bench {

// Goes after the executor that it waits in, and before the bus.
class crowd {
 public:
  static constexpr int subscriptions = 10'000;

  // Both sides subscribe to the same topics, so that a topic's file is there once; from both ends, so that they do not
  // wait for each other's locks. There is room for a publisher, and none: a lane would be memory that nobody touches.
  void await(quoit::bus& bus, quoit::executor& where, bool asks) {
    subscribers_.reserve(subscriptions);
    for (int n = 0; n < subscriptions; ++n) {
      const int i = asks ? n : subscriptions - 1 - n;
      subscribers_.push_back(must("subscribing", bus.subscriber<fixed<8>>("idle" + std::to_string(i), options())));
    }
    for (quoit::subscriber<fixed<8>>& s : subscribers_) where.spawn(next(s));
  }

 private:
  static quoit::subscriber_options options() {
    quoit::subscriber_options o;
    o.limits.publishers_max = 1;
    o.limits.subscriptions_max = 2;
    return o;
  }
  static quoit::task<> next(quoit::subscriber<fixed<8>>& of) {
    const auto sample = co_await of.next();
    if (sample) throw std::runtime_error("a message where nobody publishes");
  }

  std::vector<quoit::subscriber<fixed<8>>> subscribers_;
};

}  // namespace bench
