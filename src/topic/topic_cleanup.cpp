#include "topic/topic_cleanup.hpp"

#include "topic/names.hpp"
#include "topic/topic.hpp"

namespace quoit::inline v1::detail {

bool clean_topics_after(node& self, node_id dead, std::chrono::nanoseconds lock_timeout) {
  bool complete = true;
  // The cleaner needs a handle that nobody else owns: it only looks, and takes the topic's own lock.
  const std::shared_ptr<node> borrowed(&self, [](node*) {});
  const auto files = self.store().list(topic_file_prefix(self.bus()));
  if (!files) return false;
  for (const std::string& file : *files) {
    if (topic_of_file(self.bus(), file).empty()) continue;
    auto look = topic::look(self.store(), file);
    if (!look) continue;
    bool concerned = false;
    for (u32 i = 0; i < look->publishers() && !concerned; ++i) {
      concerned =
          look->state(look->publisher(i)) == participant_state::active && topic::owner_of(look->publisher(i)) == dead;
    }
    for (u32 i = 0; i < look->subscriptions() && !concerned; ++i) {
      concerned = look->state(look->subscription(i)) != participant_state::free &&
                  topic::owner_of(look->subscription(i)) == dead;
    }
    // A topic whose maker died before it entered itself has no participant at all.
    if (!concerned && look->count_active_publishers() + look->count_active_subscriptions() > 0) continue;
    auto opened = topic::open_file(borrowed, file, lock_timeout);
    if (!opened) {
      complete = complete && opened.error().code() == errc::not_found;
      continue;
    }
    opened->control.clean_dead(self);
    opened->control.remove_if_unused();
  }
  return complete;
}

}  // namespace quoit::inline v1::detail
