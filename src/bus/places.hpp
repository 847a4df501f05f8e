// Directories in which a topic is, or is asked to be.
#pragma once

#include <optional>
#include <string>
#include <string_view>

#include "topic/topic.hpp"

namespace quoit::inline v1::detail {

// The place that DIR and a topic's name mean, which may not be there yet. Errors: as find_topic_directory(), but for
// not_found.
result<topic_place> place_asked_for(std::string_view directory, const std::string& topic);

// Where the lanes of a directory ended before a topic was moved there (S3).
//
// Measured without the topic's lock, as reading a directory may take long. So it counts as long as no publisher has
// come or gone since the moment for which it was asked.
class measured_ends {
 public:
  // With the topic's lock held. False: there are subscriptions that need the ends, and they are not known: measure()
  // comes first.
  bool are_known(const topic& control) {
    if (control.count_active_subscriptions() == 0) {
      text_.reset();
      return true;
    }
    wanted_ = control.moment();
    return text_ && measured_ == wanted_;
  }
  // Where a subscriber with start::latest would begin. Errors: as kept_reader::open().
  result<void> measure(const std::string& directory, const std::string& topic);
  const std::optional<std::string>& text() const noexcept { return text_; }

 private:
  topic_moment wanted_;
  topic_moment measured_;
  std::optional<std::string> text_;  // of a cursor
};

}  // namespace quoit::inline v1::detail
