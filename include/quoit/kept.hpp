// Topics on disk, looked at from outside and without a bus: what is kept in a directory, whether it is whole, and what
// is done where it is not.
//
// Looking needs permission to read and nothing else, and disturbs nobody: a lane that is being written is seen as it
// was at some moment. A lane is what one publisher of a topic keeps: the directory DIRECTORY/<topic>/<publisher_name>.
//
// Thread safety: any thread.
#pragma once

#include <chrono>
#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "quoit/detail/export.hpp"
#include "quoit/result.hpp"

namespace quoit::inline v1 {

// When a message was published: CLOCK_REALTIME. The epoch itself where there is no message.
using publishing_time = std::chrono::sys_time<std::chrono::nanoseconds>;

struct kept_lane_info {
  std::string publisher;  // publisher_options::publisher_name
  std::string path;       // of the lane's directory
  bool held = false;      // a publisher has it
  std::uint32_t pid = 0;  // of that publisher, or of the last one; in its own pid namespace
  std::uint64_t segments = 0;
  std::uint64_t disk_bytes = 0;  // that they take; whole segments are allocated ahead
  std::uint64_t messages = 0;    // with those that a repair gave up in between
  std::uint64_t first_sequence = 0;
  std::uint64_t next_sequence = 0;  // of the next message to be published
  publishing_time first_time{};
  publishing_time last_time{};
  std::string problem;  // what could not be read, if anything could not: verify_kept() says more
};

struct kept_topic_info {
  std::string name;
  std::string type_name;
  std::string type_fields;       // "bid:f64@0 ask:f64@8"; empty if the type was not described
  std::uint32_t type_bytes = 0;  // 0: variable
  std::uint32_t type_alignment = 0;
  std::vector<kept_lane_info> lanes;  // sorted by publisher
  std::string problem;                // lanes carry different types
};

// The topics in a directory, sorted by name. Takes about as long for much as for little.
// Errors: not_found, no_permission, system; invalid_argument (it is the directory of one topic).
QUOIT_EXPORT result<std::vector<kept_topic_info>> list_kept(const std::string& directory);

struct kept_fault {
  std::string words;           // a sentence for people, with the place
  std::string path;            // of the file, or of the lane
  std::uint64_t byte = 0;      // in the file; 0: of the file as a whole
  std::uint64_t sequence = 0;  // of the message that was due there
};

struct kept_verification {
  std::string topic;
  std::string publisher;
  std::string path;
  bool held = false;  // a publisher has it: behind its end may be what it is writing
  std::uint64_t segments = 0;
  std::uint64_t messages = 0;
  std::uint64_t message_bytes = 0;
  std::uint64_t missing = 0;  // messages between the first and the last that are not there any more
  std::uint64_t skipped = 0;  // sequences between them that were passed over, so that none is used twice
  std::uint64_t first_sequence = 0;
  std::uint64_t next_sequence = 0;
  publishing_time first_time{};
  publishing_time last_time{};
  // All messages below this sequence are on the disk, whatever becomes of the machine. 0: that is known of none.
  std::uint64_t durable_sequence = 0;
  std::vector<kept_fault> faults;  // bytes that nobody wrote so, or that are gone
  // What a publisher leaves that is killed: nothing is lost, and the next publisher puts it right.
  std::vector<kept_fault> remains;
  std::string problem;  // why it could not be looked at, if it could not

  bool whole() const noexcept { return faults.empty() && problem.empty(); }
};

// Looks at every byte of what is kept, or of one topic, or of one publisher of it, and changes none: each message has a
// check. Takes as long as reading all of it.
// Errors: not_found (also of a topic or a publisher that is named), no_permission, invalid_argument, system. What is
// wrong with a lane is no error but a fault.
QUOIT_EXPORT result<std::vector<kept_verification>> verify_kept(const std::string& directory,
                                                                std::string_view topic = {},
                                                                std::string_view publisher = {});

struct kept_repair {
  std::string topic;
  std::string publisher;
  std::string path;
  std::uint64_t messages = 0;       // that were verified, and stay
  std::uint64_t bytes_cut = 0;      // that no reader sees any more
  std::uint64_t segments_cut = 0;   // set aside whole, as `.seg.cut`
  std::uint64_t cut_sequence = 0;   // of the first message that was cut, where something was
  std::vector<std::string> cuts;    // where, and why
  std::vector<std::string> mended;  // what was put right without giving anything up
  std::string problem;              // why it is as it was: somebody writes it (busy), or it is of a newer version

  bool changed() const noexcept { return !cuts.empty() || !mended.empty(); }
};

// Makes lanes whole that are not. A segment is given up from its first bad message to its end, a file that is no
// segment of its lane as a whole; what comes behind stays, and readers are told how many messages they miss. Nothing is
// destroyed: what is cut stays on the disk, where no reader looks. A flipped bit of a header, an index and the lane's
// own file are put right. With `rehearse`, nothing is changed and the answer is what it would be.
//
// A lane that a publisher has is left alone. Readers may read on meanwhile.
// Errors: as verify_kept(); what keeps one lane from being repaired is in its `problem`.
QUOIT_EXPORT result<std::vector<kept_repair>> repair_kept(const std::string& directory, std::string_view topic = {},
                                                          std::string_view publisher = {}, bool rehearse = false);

}  // namespace quoit::inline v1
