// The two files of a lane: made by its publisher, mapped by whoever reads it or cleans up after it.
#pragma once

#include <string>
#include <string_view>

#include "mem/segment_store.hpp"
#include "quoit/detail/lane_layout.hpp"
#include "ring/geometry.hpp"

namespace quoit::inline v1::detail {

struct lane_file {
  mapping data;
  mapping slots;
  lane_geometry geometry{};

  lane_memory memory() const noexcept {
    auto* const head = reinterpret_cast<lane_header*>(data.data());
    return {head, reinterpret_cast<lane_slots*>(slots.data()), data.data() + geometry.data_offset()};
  }
};

// Made whole under temporary names; place_lane() puts them in place.
struct new_lane {
  segment data;
  segment slots;
  lane_geometry geometry{};
};

// `topic` is for words. Errors: no_space, no_permission, limit_reached (descriptors, RLIMIT_FSIZE), system.
result<new_lane> make_lane(segment_store& store, const std::string& temporary_prefix, std::string_view topic,
                           const lane_geometry& geometry);
// Removes what is not going to be placed.
void discard_lane(segment_store& store, const new_lane& lane) noexcept;
result<lane_file> place_lane(segment_store& store, new_lane lane, const std::string& topic_file, u64 generation,
                             const shm_permissions& permissions);

// A lane in memory of this process alone. Errors: no_space.
result<lane_file> make_private_lane(const lane_geometry& geometry);

// A lane that is there. Subscribers map the data for reading only.
// Errors: not_found, no_permission, limit_reached (descriptors), corrupt, newer_version, system.
result<lane_file> open_lane(segment_store& store, const std::string& topic_file, u64 generation, access data_access,
                            access slots_access = access::read_write);

// Its slots only, for cleaning up.
struct lane_slots_file {
  mapping memory;
  u32 subscriptions = 0;
  lane_slots& slots() const noexcept { return memory.object<lane_slots>(); }
};
result<lane_slots_file> open_lane_slots(segment_store& store, const std::string& topic_file, u64 generation,
                                        access how = access::read_write);

// `corrupt`, of a lane's file: `what`, and what to do.
error corrupt_lane(const segment_store& store, const std::string& file, std::string_view what);

// True if a lane that could not be opened, for this reason, is no lane any more; false if somebody else could open
// it, or the same one later.
bool is_gone(const error& why) noexcept;

void remove_lane(segment_store& store, const std::string& topic_file, u64 generation);

}  // namespace quoit::inline v1::detail
