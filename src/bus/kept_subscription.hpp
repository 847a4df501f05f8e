// What a subscriber of a topic on disk has in the place of links: a reader of the directory.
#pragma once

#include <chrono>
#include <memory>
#include <optional>

#include "bus/places.hpp"
#include "quoit/detail/subscriber_core.hpp"
#include "storage/kept_reader.hpp"
#include "storage/subscription_file.hpp"
#include "topic/topic.hpp"

namespace quoit::inline v1::detail {

struct kept_subscription {
  // Who is told of nothing, as an observer or without a bus, looks for new lanes and for dead publishers this often,
  // when there is no message; and who is, for lanes that could not be opened.
  static constexpr std::chrono::milliseconds between_looks{20};

  // Everything that touches the directory: it may take long, and needs no bus, so it may be done on another thread.
  // `makes`: the directory is made where it is missing.
  // Errors: not_found, invalid_name, invalid_argument, type_mismatch, busy (somebody holds the named subscription),
  // no_permission, no_space, limit_reached, corrupt, newer_version, system.
  static result<std::unique_ptr<kept_subscription>> open(const std::string& directory, const std::string& topic,
                                                         std::optional<kept_type> type,
                                                         const subscriber_options& options, bool makes);

  // Takes a disk. Errors: as kept_reader::open().
  result<void> measure_ends() { return ends.measure(reader->root(), reader->topic()); }

  // True once in between_looks.
  bool time_to_look() noexcept {
    const auto now = std::chrono::steady_clock::now();
    if (now < next_look) return false;
    next_look = now + between_looks;
    return true;
  }

  // The same where the options, or the topic, say that it is in a directory; else nothing. Errors: also those of
  // directory_of() and check_options().
  static result<std::unique_ptr<kept_subscription>> find(const node& owner, std::string_view topic,
                                                         const message_type& type, const subscriber_options& options);
  // Of a topic that was moved there while the subscriber was on it. `read_before`: it has read from that place already.
  // Errors: as above; policy_conflict (another directory is there by now).
  static result<std::unique_ptr<kept_subscription>> open_moved(const storage_record& record, const std::string& topic,
                                                               const kept_type& type, const subscriber_options& options,
                                                               bool read_before);

  topic_place place;
  std::unique_ptr<kept_reader> reader;
  measured_ends ends;                             // for others, if the topic is moved there by this subscriber
  std::unique_ptr<subscription_file> remembered;  // of a named subscription
  bool is_told = false;                           // it is in the table of a topic, whose roster changes
  std::chrono::steady_clock::time_point next_look{};
  made_names made;  // on the disk; removed again, while the subscription is still held, if the opening fails
};

// The directory in which a topic is kept: as the options say, or else as the topic does that is open on the bus. Empty:
// it is in memory, as far as is known. Errors: invalid_name, invalid_argument (a directory on the kernel path).
result<std::string> directory_of(const node& owner, std::string_view topic, std::string_view asked);

// Whether this subscriber makes the directory where it is missing: one that named it does.
inline bool makes_directory(const subscriber_options& options) noexcept {
  return !options.directory.empty() && options.mode != mode::observer;
}

kept_type kept_type_of(const message_type& type);

// Errors: invalid_argument.
result<void> check_options(const subscriber_options& options, bool kept);

}  // namespace quoit::inline v1::detail
