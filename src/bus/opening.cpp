// Opening in a loop that goes on meanwhile. Allocating a large lane is done on another thread; locks are asked for
// again and again, as their holders have them for microseconds, unless they were stopped. Everything that touches the
// node happens on its own thread.
#include <system_error>

#include "bus/publisher_parts.hpp"
#include "bus/subscriber_parts.hpp"
#include "quoit/offload.hpp"
#include "quoit/sleep.hpp"
#include "topic/names.hpp"

namespace quoit::inline v1::detail {

namespace {

constexpr std::chrono::milliseconds between_attempts{1};
constexpr std::chrono::nanoseconds at_once{0};

task<result<void>> make_in_advance(lane_preparation& prepared, segment_store& store, const std::string& prefix,
                                   std::string_view topic, const lane_geometry& geometry) {
  auto making = [&store, &prefix, topic, &geometry] { return make_lane(store, prefix, topic, geometry); };
  try {
    auto made = co_await offload(std::move(making));
    if (!made) co_return tl::unexpected(std::move(made.error()));
    prepared.keep(std::move(*made));
  } catch (const std::system_error&) {
    // No thread is to be had: then it is made with the lock held, in the loop.
  }
  co_return result<void>();
}

}  // namespace

task<result<publisher_core::owned>> publisher_core::open_async(std::shared_ptr<node> owner, std::string_view topic,
                                                               message_type type, publisher_options options) {
  lane_preparation prepared(owner->store());
  const auto geometry = geometry_for(type, options, options.limits.subscriptions_max);
  if (geometry && !owner->forked() && lane_preparation::pays_for(*geometry)) {
    const std::string prefix = bus_temporary_prefix(owner->bus());
    const auto made = co_await make_in_advance(prepared, owner->store(), prefix, topic, *geometry);
    if (!made) co_return tl::unexpected(made.error());
  }
  const deadline end(owner->settings().lock_timeout);
  for (;;) {
    auto opened = open_with(owner, topic, type, options, prepared, at_once);
    if (opened) co_return owned(*opened);
    if (opened.error() != errc::busy || end.over()) co_return tl::unexpected(std::move(opened.error()));
    const auto slept = co_await sleep_for(between_attempts);
    if (!slept) co_return tl::unexpected(slept.error());
  }
}

task<result<subscriber_core::owned>> subscriber_core::open_async(std::shared_ptr<node> owner, std::string_view topic,
                                                                 message_type type, subscriber_options options) {
  const deadline end(owner->settings().lock_timeout);
  for (;;) {
    auto opened = open_with(owner, topic, type, options, at_once);
    if (opened) co_return owned(*opened);
    if (opened.error() != errc::busy || end.over()) co_return tl::unexpected(std::move(opened.error()));
    const auto slept = co_await sleep_for(between_attempts);
    if (!slept) co_return tl::unexpected(slept.error());
  }
}

}  // namespace quoit::inline v1::detail
