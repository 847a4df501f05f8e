// Prints the layout as the compiler has it: `struct field offset bytes` a line. docs/format has the same as tables.
#include <cstdio>

#include "quoit/detail/memory_layout.hpp"
#include "quoit/detail/segment_layout.hpp"
#include "quoit/detail/topic_layout.hpp"

using namespace quoit::detail;

#define FIELD(type, field) std::printf("%s %s %zu %zu\n", #type, #field, offsetof(type, field), sizeof(type::field))
#define SIZE(type, bytes) std::printf("%s - 0 %zu\n", #type, static_cast<std::size_t>(bytes))

int main() {
  FIELD(segment_prefix, magic);
  FIELD(segment_prefix, layout_major);
  FIELD(segment_prefix, layout_minor);
  FIELD(segment_prefix, header_bytes);
  FIELD(segment_prefix, required_features);
  FIELD(segment_prefix, optional_features);
  FIELD(segment_prefix, entry_bytes);
  FIELD(segment_prefix, entry_count);
  FIELD(segment_prefix, segment_bytes);
  FIELD(segment_prefix, boot_id);
  SIZE(segment_prefix, sizeof(segment_prefix));

  FIELD(lane_header, ring_bytes);
  FIELD(lane_header, data_offset);
  FIELD(lane_header, strides);
  FIELD(lane_header, alignment);
  FIELD(lane_header, payload_alignment);
  FIELD(lane_header, frame_bytes_max);
  FIELD(lane_header, payload_bytes_max);
  FIELD(lane_header, frame_flags);
  FIELD(lane_header, policy);
  FIELD(lane_header, lossy_allowed);
  FIELD(lane_header, reliable_allowed);
  FIELD(lane_header, publisher_id);
  FIELD(lane_header, created_ns);
  FIELD(lane_header, reserved);
  FIELD(lane_header, committed);
  FIELD(lane_header, published);
  FIELD(lane_header, voids);
  FIELD(lane_header, payload_bytes);
  FIELD(lane_header, refused);
  FIELD(lane_header, wakes);
  FIELD(lane_header, checkpoints);
  SIZE(lane_header, lane_header_bytes);
  FIELD(lane_checkpoint, sequence);
  FIELD(lane_checkpoint, voids);
  FIELD(lane_checkpoint, position);
  SIZE(lane_checkpoint, sizeof(lane_checkpoint));

  FIELD(lane_slots, state);
  FIELD(lane_slots, waiting);
  FIELD(lane_slots, reliable_active);
  FIELD(lane_slots, lossy_active);
  SIZE(lane_slots, slots_header_bytes);
  FIELD(lane_slot, place);
  FIELD(lane_slot, received);
  FIELD(lane_slot, lost);
  FIELD(lane_slot, position);
  SIZE(lane_slot, sizeof(lane_slot));

  FIELD(topic_header, subscription_bytes);
  FIELD(topic_header, subscriptions);
  FIELD(topic_header, type_bytes);
  FIELD(topic_header, type_alignment);
  FIELD(topic_header, next_lane_generation);
  FIELD(topic_header, name);
  FIELD(topic_header, type_name);
  FIELD(topic_header, type_fields);
  FIELD(topic_header, roster);
  FIELD(topic_header, armed);
  FIELD(topic_header, directory_device);
  FIELD(topic_header, directory_inode);
  FIELD(topic_header, directory);
  SIZE(topic_header, topic_header_bytes);
  FIELD(publisher_entry, state);
  FIELD(publisher_entry, lane_generation);
  FIELD(publisher_entry, node_generation);
  FIELD(publisher_entry, node);
  FIELD(publisher_entry, policy);
  FIELD(publisher_entry, id);
  FIELD(publisher_entry, epoch);
  FIELD(publisher_entry, on_disk);
  FIELD(publisher_entry, lane_name);
  SIZE(publisher_entry, sizeof(publisher_entry));
  FIELD(subscription_entry, state);
  FIELD(subscription_entry, node_generation);
  FIELD(subscription_entry, node);
  FIELD(subscription_entry, ready_bit);
  FIELD(subscription_entry, mode);
  FIELD(subscription_entry, samples_max);
  FIELD(subscription_entry, id);
  FIELD(subscription_entry, pipe);
  SIZE(subscription_entry, sizeof(subscription_entry));

  FIELD(memory_header, flags);
  FIELD(memory_header, entries_used);
  SIZE(memory_header, memory_header_bytes);
  FIELD(directory_entry, word);
  FIELD(directory_entry, offset);
  FIELD(directory_entry, bytes);
  FIELD(directory_entry, inode);
  FIELD(directory_entry, device);
  FIELD(directory_entry, pid);
  FIELD(directory_entry, descriptor);
  FIELD(directory_entry, name);
  SIZE(directory_entry, sizeof(directory_entry));

  FIELD(bus_header, name);
  SIZE(bus_header, bus_header_bytes);
  FIELD(node_entry, state);
  FIELD(node_entry, generation);
  FIELD(node_entry, id);
  FIELD(node_entry, started_ns);
  FIELD(node_entry, pid);
  FIELD(node_entry, uid);
  FIELD(node_entry, name);
  FIELD(node_entry, sleeps);
  FIELD(node_entry, late);
  FIELD(node_entry, vain);
  FIELD(node_entry, rung);
  FIELD(node_entry, bell_inode);
  FIELD(node_entry, bell_descriptor);
  FIELD(node_entry, bell);
  FIELD(node_entry, ready);
  SIZE(node_entry, sizeof(node_entry));
  FIELD(doorbell, word);
  FIELD(doorbell, sleeping);

  FIELD(segment_header, number);
  FIELD(segment_header, data_offset);
  FIELD(segment_header, data_bytes);
  FIELD(segment_header, alignment);
  FIELD(segment_header, payload_alignment);
  FIELD(segment_header, payload_bytes_max);
  FIELD(segment_header, index_shift);
  FIELD(segment_header, salt);
  FIELD(segment_header, type_bytes);
  FIELD(segment_header, lane_id);
  FIELD(segment_header, created_ns);
  FIELD(segment_header, device);
  FIELD(segment_header, inode);
  FIELD(segment_header, topic_name);
  FIELD(segment_header, type_name);
  FIELD(segment_header, type_fields);
  FIELD(segment_header, check);
  FIELD(segment_header, start);
  SIZE(segment_header, segment_header_bytes);
  FIELD(segment_start, position);
  FIELD(segment_start, sequence);
  FIELD(segment_start, voids);
  FIELD(segment_start, stamp);
  FIELD(segment_start, check);
  FIELD(segment_start, after_failure);
  SIZE(segment_start, sizeof(segment_start));
  FIELD(segment_index_entry, sequence);
  FIELD(segment_index_entry, voids);
  FIELD(segment_index_entry, stamp);
  FIELD(segment_index_entry, place);
  SIZE(segment_index_entry, sizeof(segment_index_entry));

  FIELD(log_lane_header, lane_id);
  FIELD(log_lane_header, check);
  FIELD(log_lane_header, holder_pid);
  FIELD(log_lane_header, durable_position);
  FIELD(log_lane_header, durable_check);
  FIELD(log_lane_header, failures);
  SIZE(log_lane_header, log_lane_bytes);
  return 0;
}
