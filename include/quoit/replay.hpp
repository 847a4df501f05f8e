// A topic on disk, read without a bus.
#pragma once

#include <concepts>
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>

#include "quoit/cursor.hpp"
#include "quoit/message_type.hpp"
#include "quoit/subscriber.hpp"

namespace quoit::inline v1 {

struct replay_options {
  quoit::start start = quoit::start::earliest;
  std::uint32_t samples_max = 4;  // samples held at once
};

// What the files of a topic on disk say that it carries.
struct kept_type_info {
  std::string name;
  std::uint32_t bytes = 0;  // of a message; 0: variable
  std::uint32_t alignment = 1;
  std::string fields;  // as QUOIT_FIELDS describes them; may be empty
};

// All messages of a topic that is kept in a directory, of all its publishers in the order of their times, as a
// subscriber receives them: but nothing is entered or written anywhere, no process needs to run, and directories and
// file systems that are read-only will do. Where publishers live, what they publish comes as well.
//
//   auto ticks = quoit::replay<tick>::open("/var/lib/market", "ticks", {.start = quoit::start::last(1000)}).value();
//   while (auto sample = ticks.poll().value()) use(*sample, sample.time(), sample.publisher_name());
//
// Nobody wakes who reads so: at the end, poll() again when it suits. Retention removes no file in which this stands or
// holds a sample, nor any behind it, unless its publisher has a hard limit (publisher_options retention_bytes_max).
//
// Move-only; may be moved while samples are held. Thread safety: one thread at a time. After a fork, a child's copy
// answers errc::forked.
template <class T>
class replay {
  static_assert(detail::usable_message<T>());

 public:
  // `directory`: as publishers name it (publisher_options::directory). start::at() is read in here.
  //
  // Errors: not_found (nobody has published that topic there), invalid_name, invalid_argument, type_mismatch,
  // no_permission, limit_reached (descriptors, mappings), newer_version, corrupt, system.
  static result<replay> open(std::string_view directory, std::string_view topic, const replay_options& options = {}) {
    const std::string fields = detail::fields_of<T>();
    const detail::message_type type = detail::described_as<T>(fields);
    return open_as(directory, topic, &type, options);
  }
  // The bytes of the messages, of whatever type they are. Errors: as above, but for type_mismatch.
  static result<replay> open_any(std::string_view directory, std::string_view topic, const replay_options& options = {})
    requires std::same_as<T, bytes>
  {
    return open_as(directory, topic, nullptr, options);
  }

  // The next message, or an empty sample at the end: then look again later, if somebody may publish. Makes a system
  // call where a file ends, and now and then at the end.
  //
  // Errors: lagged (value(): messages that retention removed before they were read; the next poll goes on behind them),
  // too_many_samples, forked; corrupt, newer_version, type_mismatch, no_permission or limit_reached, once for each
  // publisher of whom that is found, with the file: its lane is left there, or tried again later, and the others go on.
  result<sample<T>> poll() noexcept { return reader_.poll(); }
  // What lies together of one publisher's messages, given back all at once. May be empty. As poll().
  result<batch<T>> poll_batch() noexcept { return reader_.poll_batch(); }

  // Goes to another place. Errors: busy (samples are held), invalid_argument, forked, and as open().
  result<void> seek(const start& from) { return reader_.seek(from); }
  // Behind everything that was polled. Errors: forked.
  result<cursor> position() const { return reader_.position(); }

  // Nothing as long as there is no file that says it.
  std::optional<kept_type_info> type() const {
    kept_type_info info;
    if (!reader_.core_->kept_as(info.name, info.bytes, info.alignment, info.fields)) return std::nullopt;
    return info;
  }
  // Publishers that have the topic open now, on whatever bus.
  std::uint32_t publishers() const noexcept { return reader_.publishers(); }
  // Messages that were removed before they were polled, so far.
  std::uint64_t lost() const noexcept { return reader_.lost(); }

 private:
  explicit replay(subscriber<T> reader) noexcept : reader_(std::move(reader)) {}
  static result<replay> open_as(std::string_view directory, std::string_view topic, const detail::message_type* type,
                                const replay_options& options) {
    subscriber_options how;
    how.mode = mode::observer;
    how.start = options.start;
    how.samples_max = options.samples_max;
    auto core = detail::subscriber_core::open_replay(std::string(directory), topic, type, how);
    if (!core) return tl::make_unexpected(std::move(core.error()));
    return replay(subscriber<T>(detail::subscriber_core::owned(*core)));
  }

  subscriber<T> reader_;
};

}  // namespace quoit::inline v1
