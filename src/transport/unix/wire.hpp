// What goes over a connection, and what lies in the files of a meeting place. docs/format/kernel.md is this in prose.
//
// Everything here is input to whoever reads it: magic and version first, every number before it is used.
#pragma once

#include "quoit/detail/topic_layout.hpp"

namespace quoit::inline v1::detail {

inline constexpr u32 wire_version = 1;
inline constexpr u64 hello_magic = 0x316c656874716f71;    // "qoqthel1"
inline constexpr u64 welcome_magic = 0x316c657774716f71;  // "qoqtwel1"
inline constexpr u64 member_magic = 0x316d656d74716f71;   // "qoqtmem1"
inline constexpr u64 place_magic = 0x3163616c74716f71;    // "qoqtlac1"

// In front of each message.
struct packet_head {
  u64 sequence;
  u64 stamp;  // 0: none
  u64 lost;   // messages that this subscription lost so far
};
static_assert(sizeof(packet_head) == 24);

// The first packet of a subscriber that connects to a publisher.
struct hello {
  u64 magic;
  u32 version;
  u32 mode;
  u64 id[2];
  u64 start_messages;
  u32 start_kind;
  u32 samples_max;
  u32 pid;
  u32 unused;
  char node_name[48];
};
static_assert(sizeof(hello) == 104);

// The first packet of a publisher, to whoever connects, and to whom it connects.
struct welcome {
  u64 magic;
  u32 version;
  u32 refusal;  // an errc; 0: what follows are messages
  u64 id[2];
  u32 payload_bytes_max;
  u32 payload_alignment;
  u32 frame_alignment;
  u32 stamped;
  u32 reliable;
  u32 unused;
};
static_assert(sizeof(welcome) == 56);

enum class member_role : u32 { publisher = 1, subscriber = 2, observer = 3 };

// In a participant's file, mapped by it, for whoever lists the topic. Each has what it counts, the others are 0.
struct member_counters {
  u64 messages;  // published
  u64 message_bytes;
  u64 refused;
  u64 sends;
  u64 received;
  u64 lost;
};
static_assert(sizeof(member_counters) == 48);

// A participant's file. It lives as long as it holds the lock on byte 0.
struct member_record {
  u64 magic;
  u32 version;
  member_role role;
  u32 policy;  // of a publisher
  u32 mode;    // of a subscriber
  u32 samples_max;
  u32 lossy_allowed;
  u32 pid;
  u32 uid;
  u64 capacity_bytes;
  u64 payload_bytes_max;
  u64 id[2];
  char node_name[48];
  char why[160];  // why it is on the kernel path
  member_counters counted;
};
static_assert(sizeof(member_record) == 328);

// The file of a topic; its byte 0 is the lock under which participants come and go.
struct place_record {
  u64 magic;
  u32 version;
  u32 type_bytes;
  u32 type_alignment;
  u32 publishers_max;
  u32 subscriptions_max;
  u32 unused;
  char name[topic_name_bytes_max + 8];
  char type_name[type_name_bytes_max + 1];
  char type_fields[type_fields_bytes_max + 1];
};
static_assert(sizeof(place_record) == 32 + 168 + 192 + 1792);

}  // namespace quoit::inline v1::detail
