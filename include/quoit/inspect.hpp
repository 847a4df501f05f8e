// Looking at a bus from outside: nothing is opened as a participant, nothing is locked, nobody is disturbed.
// What is seen was true at some moment while it was read; counters may be of different moments.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "quoit/inherited_memory.hpp"
#include "quoit/options.hpp"
#include "quoit/result.hpp"

namespace quoit::inline v1 {

struct node_info {
  std::uint32_t number = 0;
  std::string name;       // as it calls itself
  std::uint32_t pid = 0;  // in its own pid namespace
  std::uint32_t uid = 0;
  bool alive = false;  // holds its lock; a stopped process is alive
  std::uint64_t sleeps = 0;
  std::uint64_t late_wakes = 0;  // sleeps that the recheck ended, with a message there
  std::uint64_t vain_wakes = 0;  // sleeps that a waker ended, with no message there
  // How it is woken: futex or pipe; unspecified if it has not slept yet.
  quoit::rung rung = quoit::rung::unspecified;
};

struct publisher_info {
  std::uint32_t number = 0;
  std::uint32_t node = 0;  // number of its node
  std::string state;       // "active", "closed" (left, not read to its end), "dead"
  quoit::policy policy = quoit::policy::block;
  std::uint64_t capacity_bytes = 0;
  std::uint64_t message_bytes_max = 0;
  std::uint64_t messages = 0;       // published
  std::uint64_t message_bytes = 0;  // published
  std::uint64_t refused = 0;        // loans that found no room
  std::uint64_t wakes = 0;          // system calls made to wake a subscriber; on the kernel path, to send
  std::uint64_t lane = 0;           // of its files: quoit.<bus>.<topic>@<lane>
  // Of a topic on disk: its publisher_name, whatever another process wrote there. It has no files in shared memory, and
  // the numbers above, from capacity_bytes to wakes, are not known from here: 0.
  std::string name;
  // On the kernel path: its process, and why it is there; it has no node that others see.
  std::uint32_t pid = 0;
  std::string why;
};

struct subscription_info {
  std::uint32_t number = 0;
  std::uint32_t node = 0;
  quoit::mode mode = quoit::mode::automatic;  // as it asked
  std::uint32_t samples_max = 0;
  // Summed over the lanes that it reads; each is brought up to date once a stride.
  std::uint64_t received = 0;
  std::uint64_t lost = 0;
  std::uint32_t pid = 0;  // on the kernel path, as above
  std::string why;
};

struct topic_info {
  std::string name;
  // A topic that is there both ways is listed twice: neither sees the other.
  quoit::transport transport = quoit::transport::shared_memory;
  std::string type_name;
  std::string type_fields;       // "bid:f64@0 ask:f64@8"; empty if the type was not described
  std::uint32_t type_bytes = 0;  // 0: variable
  std::uint32_t type_alignment = 0;
  std::vector<publisher_info> publishers;
  std::vector<subscription_info> subscriptions;
  std::string directory;  // where it is kept, if it is on disk
  std::string problem;    // why it could not be read, if it could not
};

struct bus_info {
  std::string name;
  std::vector<node_info> nodes;
  std::vector<topic_info> topics;
  std::string problem;  // why what is in shared memory could not be looked at, if it could not; the rest is here
};

// What of this machine cannot be looked into, in words: nothing, as a rule. not_found: there is no /dev/shm, so nothing
// is in it. no_permission and others: what is in it is in no listing, and is not cleaned.
QUOIT_EXPORT std::vector<error> list_obstacles();

// Names of the buses of this machine, in shared memory and on the kernel path.
QUOIT_EXPORT std::vector<std::string> list_buses();

// Errors: invalid_name, not_found, no_permission, corrupt, newer_version, system.
QUOIT_EXPORT result<bus_info> inspect(std::string_view bus);

// The bus in this memory, which no list has. Errors: as above; not_found: nobody has opened it.
QUOIT_EXPORT result<bus_info> inspect(const inherited_memory& memory);

}  // namespace quoit::inline v1
