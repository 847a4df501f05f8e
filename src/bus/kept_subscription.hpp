// What a subscriber of a topic on disk has in the place of links: a reader of the directory.
#pragma once

#include <chrono>
#include <memory>
#include <optional>

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

  // True once in between_looks.
  bool time_to_look() noexcept {
    const auto now = std::chrono::steady_clock::now();
    if (now < next_look) return false;
    next_look = now + between_looks;
    return true;
  }

  topic_place place;
  std::unique_ptr<kept_reader> reader;
  std::unique_ptr<subscription_file> remembered;  // of a named subscription
  bool is_told = false;                           // it is in the table of a topic, whose roster changes
  std::chrono::steady_clock::time_point next_look{};
};

// The directory in which a topic is kept: as the options say, or else as the topic does that is open on the bus. Empty:
// it is in memory alone, as far as is known. Errors: invalid_name, invalid_argument (a directory on the kernel path).
result<std::string> directory_of(const node& owner, std::string_view topic, std::string_view asked);

kept_type kept_type_of(const message_type& type);

// Errors: invalid_argument.
result<void> check_options(const subscriber_options& options, bool kept);

}  // namespace quoit::inline v1::detail
