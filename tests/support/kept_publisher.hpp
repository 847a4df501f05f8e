// A publisher of a topic on disk, of numbers that know whether they are whole.
#pragma once

#include <cstring>
#include <memory>
#include <string>

#include "quoit/detail/armed_words.hpp"
#include "support/log_fixture.hpp"
#include "topic/topic.hpp"
#include "wake/doorbell.hpp"

namespace quoit::test {

class kept_publisher {
 public:
  kept_publisher(const std::string& bus, const std::string& directory, const std::string& topic_name,
                 const std::string& name)
      : owner_(node::open(bus, {}).value()) {
    log_writer_options o;
    o.directory = directory;
    o.topic = topic_name;
    o.name = name;
    o.kind.segment_bytes = segment_bytes_min;
    o.kind.payload_bytes_max = 4096;
    o.kind.type_name = "bytes";
    auto writer = log_writer::open(o);
    if (!writer) throw std::runtime_error(writer.error().message());
    writer_ = std::move(*writer);
    const topic_directory place = find_topic_directory(directory, topic_name).value();
    auto opened = topic::open(owner_, topic_name, {"bytes", 0, 1, ""}, {}, std::chrono::seconds(5),
                              {place.root, place.device, place.inode, false});
    if (!opened) throw std::runtime_error(opened.error().message());
    control_ = std::move(opened->control);
    control_.clean_dead(*owner_);
    while (control_.state(control_.publisher(index_)) != participant_state::free) ++index_;
    publisher_entry& entry = control_.publisher(index_);
    entry.lane_generation = control_.header().next_lane_generation++;
    entry.node = owner_->id().index;
    entry.node_generation = owner_->id().generation;
    entry.on_disk = 1;
    name.copy(entry.lane_name, sizeof entry.lane_name);
    store_release(entry.state, static_cast<u64>(participant_state::active));  // sync(topic.entry)
    control_.roster_changed(*owner_, index_);
  }
  ~kept_publisher() {
    writer_.reset();
    if (auto lock = control_.lock()) {
      control_.close_lane(*owner_, index_, participant_state::closed);
      control_.remove_if_unused();
    }
  }
  kept_publisher(const kept_publisher&) = delete;
  kept_publisher& operator=(const kept_publisher&) = delete;

  u64 published() const { return writer_->appender().next_sequence(); }
  // The next one: its number is its sequence.
  void publish() {
    lane_claim claim;
    const u64 n = published();
    if (claim_waiting(*writer_, size_of(n), claim) != append_status::ok) throw std::runtime_error("claim failed");
    write_message(claim.payload, size_of(n), n);
    writer_->appender().commit(claim, size_of(n));
    const u32 words = (control_.subscriptions() + 63) / 64;
    u64* const armed = control_.header().armed;
    if (!anybody_armed(armed, words)) return;
    for (u32 word = 0; word < words; ++word) {
      fire_word(armed[word], ~u64{0}, [&](u32 bit) {
        const subscription_entry& entry = control_.subscription(word * 64 + bit);
        const node_id whom = topic::owner_of(entry);
        const bool rung = owner_->mark_and_ring(whom, load_relaxed(entry.ready_bit));
        return owner_->ring_endpoint(whom, load_relaxed(entry.pipe)) || rung;
      });
    }
  }
  void publish(u64 messages) {
    while (messages-- > 0) publish();
  }
  // What is published from now on is hidden behind it.
  lane_claim leave_a_loan_open() {
    lane_claim claim;
    if (claim_waiting(*writer_, 100, claim) != append_status::ok) throw std::runtime_error("claim failed");
    return claim;
  }

 private:
  std::shared_ptr<node> owner_;
  std::unique_ptr<log_writer> writer_;
  topic control_;
  u32 index_ = 0;
};

}  // namespace quoit::test
