// Opening in a loop that goes on meanwhile. Allocating a large lane is done on another thread; locks are asked for
// again and again, as their holders have them for microseconds, unless they were stopped. Everything that touches the
// node happens on its own thread.
#include <optional>
#include <system_error>

#include "base/deadline.hpp"
#include "bus/attempts.hpp"
#include "bus/elsewhere.hpp"
#include "bus/publisher_parts.hpp"
#include "bus/subscriber_parts.hpp"
#include "quoit/offload.hpp"
#include "quoit/sleep.hpp"
#include "topic/names.hpp"

namespace quoit::inline v1::detail {

namespace {

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

// A directory is read on another thread: going to a place in it may wait for the disk.
task<result<std::unique_ptr<kept_subscription>>> read_in_advance(const std::string& directory, std::string_view topic,
                                                                 const message_type& type,
                                                                 const subscriber_options& options) {
  auto bare = checked_topic_name(topic);
  if (!bare) co_return tl::unexpected(std::move(bare.error()));
  auto reading = [&directory, &bare, &type, &options] {
    return kept_subscription::open(directory, *bare, kept_type_of(type), options, makes_directory(options));
  };
  auto read = co_await do_elsewhere(reading);
  co_return read;
}

task<result<topic_place>> look_elsewhere(std::string_view directory, std::string_view topic) {
  auto bare = checked_topic_name(topic);
  if (!bare) co_return tl::unexpected(std::move(bare.error()));
  auto looking = [directory, &bare] { return place_asked_for(directory, *bare); };
  auto looked = co_await do_elsewhere(looking);
  co_return looked;
}

}  // namespace

task<result<publisher_core::owned>> publisher_core::open_async(std::shared_ptr<node> owner, std::string_view topic,
                                                               message_type type, publisher_options options) {
  if (loop::current()->forked()) co_return tl::unexpected(error(errc::forked));
  if (!options.directory.empty()) {
    auto on_disk = co_await open_on_disk_async(owner, topic, type, options);
    co_return on_disk;
  }
  lane_preparation prepared(owner->store());
  const auto geometry = geometry_for(type, options, options.limits.subscriptions_max);
  if (geometry && !owner->forked() && lane_preparation::pays_for(*geometry)) {
    const std::string prefix = bus_temporary_prefix(owner->bus());
    const auto made = co_await make_in_advance(prepared, owner->store(), prefix, topic, *geometry);
    if (!made) co_return tl::unexpected(made.error());
  }
  const deadline end(owner->settings().lock_timeout);
  for (;;) {
    auto opened = open_with(owner, topic, type, options, prepared, without_waiting);
    if (opened) co_return owned(*opened);
    if (opened.error() != errc::busy || end.over()) co_return tl::unexpected(std::move(opened.error()));
    const auto slept = co_await sleep_for(between_attempts);
    if (!slept) co_return tl::unexpected(slept.error());
  }
}

task<result<subscriber_core::owned>> subscriber_core::open_async(std::shared_ptr<node> owner, std::string_view topic,
                                                                 message_type type, subscriber_options options) {
  if (owner->forked() || loop::current()->forked()) co_return tl::unexpected(error(errc::forked));
  std::unique_ptr<kept_subscription> kept;
  std::optional<topic_place> asked_place;
  if (makes_directory(options) && !owner->on_kernel()) {
    if (auto ok = check_options(options, true); !ok) co_return tl::unexpected(std::move(ok.error()));
    auto place = co_await look_elsewhere(options.directory, topic);
    if (!place) co_return tl::unexpected(std::move(place.error()));
    if (!place->is_there() || !options.subscription_name.empty()) asked_place = std::move(*place);
  }
  bool may_make_directory = false;
  bool is_asked = false;
  const deadline end(owner->settings().lock_timeout);
  for (;;) {
    if (!may_make_directory) {
      auto ok = asked_place ? ask_topic(owner, topic, type, options, without_waiting, *asked_place) : result<void>();
      if (!ok && (ok.error() != errc::busy || end.over())) co_return tl::unexpected(std::move(ok.error()));
      may_make_directory = ok.has_value();
      if (!may_make_directory) {
        const auto slept = co_await sleep_for(between_attempts);
        if (!slept) co_return tl::unexpected(slept.error());
        continue;
      }
    }
    if (!is_asked) {
      auto directory = directory_of(*owner, topic, options.directory);
      if (!directory) co_return tl::unexpected(std::move(directory.error()));
      if (auto ok = check_options(options, !directory->empty()); !ok) co_return tl::unexpected(std::move(ok.error()));
      is_asked = true;
      if (!directory->empty()) {
        auto read = co_await read_in_advance(*directory, topic, type, options);
        if (!read) co_return tl::unexpected(std::move(read.error()));
        kept = std::move(*read);
      }
    }
    auto opened = kept ? open_kept(owner, topic, type, options, without_waiting, kept)
                       : open_elsewhere(owner, topic, type, options, without_waiting);
    if (opened && *opened != nullptr) co_return owned(*opened);
    if (opened && kept) {
      auto measuring = [&kept] { return kept->measure_ends(); };
      auto measured = co_await do_elsewhere(measuring);
      if (!measured) co_return tl::unexpected(std::move(measured.error()));
      continue;
    }
    if (opened) is_asked = false;  // it was moved meanwhile
    const errc why = opened ? errc::busy : opened.error().code();
    if (why != errc::busy || end.over()) {
      if (opened) opened = tl::unexpected(topic_is_moved_on(topic));
      co_return tl::unexpected(std::move(opened.error()));
    }
    const auto slept = co_await sleep_for(between_attempts);
    if (!slept) co_return tl::unexpected(slept.error());
  }
}

}  // namespace quoit::inline v1::detail
