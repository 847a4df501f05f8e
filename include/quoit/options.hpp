// What can be chosen, and the defaults. All are aggregates of trivially copyable members: write
// `{.policy = quoit::policy::overwrite}` and leave the rest out.
#pragma once

#include <chrono>
#include <cstdint>
#include <string_view>

#include "quoit/detail/language.hpp"
#include "quoit/duration.hpp"

namespace quoit::inline v1 {

// What a publisher does when subscribers hold the space that it needs. It belongs to the lane.
enum class policy : std::uint8_t {
  block = 1,      // waits for reliable subscribers; nothing is ever lost to them
  overwrite = 2,  // never waits for anybody; a subscriber that is too slow is told how much it lost
  fail = 3,       // as block, but where block would wait, loans answer errc::would_block at once
};

// What a subscription asks for.
enum class mode : std::uint8_t {
  automatic = 0,  // reliable on lanes that allow it, lossy on overwriting ones
  reliable = 1,   // the publisher waits for this subscription; refused by overwriting lanes
  lossy = 2,      // no publisher ever waits for it
  // Looks on and changes nothing: it makes no topic and keeps none alive, is not counted, and nobody waits for it or
  // wakes it. Its samples are copies. It may miss what is overwritten, or is removed with the last subscription,
  // before it looks; waiting, it looks once in a millisecond. On the kernel path it is sent what its socket takes.
  observer = 3,
};

// How a thread that finds nothing waits.
enum class wait : std::uint8_t {
  adaptive = 0,  // spins for about as long as a wake costs, as long as that pays, then sleeps
  spin = 1,      // never sleeps: lowest latency, one core
  block = 2,     // sleeps at once
};

// By which way messages go. Chosen when a bus is opened, for all that opens there.
enum class transport : std::uint8_t {
  // As the environment variable QUOIT_TRANSPORT says (shared_memory, kernel or automatic), or else shared_memory.
  unspecified = 0,
  shared_memory = 1,
  kernel = 2,  // copied through sockets: slower, and for the processes of one user only, but without /dev/shm
  // The way on which somebody is on the bus already; if nobody is, shared memory, or the kernel where /dev/shm cannot
  // be
  // used: it is missing, full, or forbidden. Those who chose differently do not see each other.
  automatic = 3,
};

// What an executor asks the kernel through.
enum class io_engine : std::uint8_t {
  // As the environment variable QUOIT_ENGINE says (automatic, io_uring or epoll), or else automatic.
  unspecified = 0,
  automatic = 1,  // io_uring, or epoll where the kernel or a sandbox refuses that
  io_uring = 2,
  epoll = 3,
};

// How other processes wake an executor that sleeps. Either kind wakes the other: those of a bus may differ.
enum class rung : std::uint8_t {
  // As the environment variable QUOIT_RUNG says (automatic, futex or pipe), or else automatic.
  unspecified = 0,
  automatic = 1,  // futex where the engine can wait for one, else pipe
  futex = 2,      // a word in shared memory, waited for in io_uring: Linux 6.7 and later
  pipe = 3,       // a named pipe beside the files of the bus
};

// From when on what is published to a topic on disk survives the machine. It survives the process at once.
enum class durability : std::uint8_t {
  os = 0,        // whenever the kernel writes it back; what a power failure tears is cut off
  interval = 1,  // flush_interval after it was published, at the latest
  each = 2,      // once a flush() has answered, which may be after each message
};

class cursor;

// Where a subscription begins on the lanes that are there already. A lane that appears later is always read
// from its first message.
struct start {
  enum class from : std::uint8_t { latest, earliest, last, sequence, time, cursor };
  from kind = from::latest;
  std::uint64_t value = 0;  // messages, a sequence, or CLOCK_REALTIME in ns
  const quoit::cursor* where = nullptr;

  static const start latest;    // what is published from now on
  static const start earliest;  // everything that is still there
  // The last n messages of each publisher, or as many as are still there.
  static constexpr start last(std::uint64_t n) noexcept { return {from::last, n}; }

  // ---- of topics on disk ----
  // The message with this sequence of each publisher, or the first one after it that is there.
  static constexpr start sequence(std::uint64_t n) noexcept { return {from::sequence, n}; }
  // The first message of each publisher that was published then or later. Before 1970 nothing was. Where the clock was
  // set back, what is before counts as published before that (docs/topics-on-disk.md).
  template <class Duration>
  static constexpr start time(std::chrono::sys_time<Duration> when) noexcept {
    const std::int64_t ns = duration(when.time_since_epoch()).count();
    return {from::time, ns > 0 ? static_cast<std::uint64_t>(ns) : 0};
  }
  // Where a subscriber was (subscriber::position()). It has to live until the call returns that this is given to.
  static constexpr start at(const quoit::cursor& place) noexcept { return {from::cursor, 0, &place}; }
};
inline constexpr start start::latest{from::latest};
inline constexpr start start::earliest{from::earliest};

struct bus_options {
  // Of the shared-memory files that this process makes; the umask does not change it. Everybody on a bus
  // needs to read and write its files: to share a bus between users, give them a group. At most 0777.
  std::uint32_t permissions = 0660;
  std::int64_t group = -1;  // numeric group of the files; -1 leaves the process's own
  // For people who list the bus, or ask who is in the way; at most 47 bytes. Empty: the program's name.
  std::string_view node_name{};
  std::uint32_t nodes_max = 1024;  // of a bus; counts for whoever makes it. 1 to 65536.

  quoit::transport transport = quoit::transport::unspecified;
  quoit::wait wait = quoit::wait::adaptive;
  // None of these three is negative; more than a year is a year.
  duration spin_max = std::chrono::microseconds(20);  // for wait::adaptive
  // A sleeper looks around this often by itself, so that a wake that died with its waker costs latency and
  // never hangs. Less than 1 ms is 1 ms.
  duration recheck = std::chrono::milliseconds(250);
  // How long a call that opens, closes or cleans up waits for locks, all together: a holder may have been stopped.
  duration lock_timeout = std::chrono::seconds(5);
};

struct executor_options {
  // adaptive: as long as waits are shorter than spin_max, spins for them; else sleeps at once.
  quoit::wait wait = quoit::wait::adaptive;
  duration spin_max = std::chrono::microseconds(100);
  // Of the submission queue; the completion queue has twice as many. More operations may be in flight than that.
  // 8 to 32768; rounded up to a power of two.
  std::uint32_t entries = 256;
  io_engine engine = io_engine::unspecified;
  quoit::rung rung = quoit::rung::unspecified;
};

// The limits of a topic; they count for whoever makes it.
struct topic_limits {
  std::uint32_t publishers_max = 64;      // 1 to 1024
  std::uint32_t subscriptions_max = 256;  // 1 to 1024
};

struct publisher_options {
  quoit::policy policy = quoit::policy::block;
  // Of this publisher's ring; rounded up to a power of two. 0: 128 KiB, or what the type needs if that is
  // more. At most 2 GiB.
  std::uint64_t capacity_bytes = 0;
  // Variable-size topics: the largest message. 0: the largest that the capacity takes. Types of fixed size: 0.
  std::uint64_t message_bytes_max = 0;
  // At least so many of the latest messages stay for subscribers that come later, however many loans are open. Loans
  // that were dropped count as messages, and what lossy subscribers hold comes off it. Of variable size, as many
  // of message_bytes_max, which must be given. With capacity_bytes 0 the ring is made large enough; a capacity that
  // is too small is refused, with the one that is needed. 0: as many as happen to be there.
  std::uint64_t history = 0;
  std::uint32_t alignment = 8;    // of messages; a power of two up to 4096. A type's own alignment is kept anyway.
  std::uint32_t strides = 16;     // parts in which the ring is taken and freed: 8, 16, 32 or 64
  std::uint32_t loans_max = 8;    // loans open at once; what is published behind an open loan counts as one until then
  bool stamped = false;           // each message carries the time of its publishing; costs a clock read
  bool lossy_subscribers = true;  // false: messages may be up to half the ring, and lossy subscribers are refused
  topic_limits limits{};

  // ---- a topic on disk: every message is kept, and publishing waits for nobody ----
  // Messages are kept in files under this directory, which is made if it is missing; all publishers of the topic that
  // are there at the same time name the same one. Subscribers that name none, and were there before, read them from
  // there. Empty: the topic is in memory alone. Of the options above, capacity_bytes, history, strides, stamped
  // and lossy_subscribers mean nothing then, as each message is stamped, and policy only whether loans wait for the
  // next file (all but fail). A flush() means the disk, whatever the durability.
  std::string_view directory{};
  // Of this publisher in the directory: 1 to 64 of [A-Za-z0-9_.-], not beginning with a dot. One that comes back goes
  // on behind what it published before; while one lives, another of its name is refused (busy).
  std::string_view publisher_name = "0";
  quoit::durability durability = quoit::durability::os;
  duration flush_interval = std::chrono::milliseconds(10);  // of durability::interval
  // Of a file; messages are at most about half as large. A new lane begins with a file of 4 MiB, or one that has room
  // for sixteen messages of the largest size, and each file is four times as large as the one before until they have
  // this size.
  std::uint64_t segment_bytes = std::uint64_t{64} << 20;
  // What is kept, in whole files, which are removed from the oldest on: so many bytes, and what was published within
  // this time. A file that a subscriber is in stays, and those behind it. 0: everything.
  std::uint64_t retention_bytes = 0;
  duration retention_age = std::chrono::nanoseconds(0);
  // The hard limit: beyond it a file is removed also from under a subscriber, which goes on at the oldest that is there
  // and is told `lagged`, with the count. The disk has the file's space back once no subscriber is in it, or holds a
  // sample of it. At least retention_bytes; 0: none.
  std::uint64_t retention_bytes_max = 0;
};

struct subscriber_options {
  quoit::mode mode = quoit::mode::automatic;
  quoit::start start{};
  std::uint32_t samples_max = 4;  // samples held at once
  topic_limits limits{};

  // ---- a topic on disk ----
  // Where it is kept, as its publishers name it; a publisher that wants it elsewhere is refused then. Empty: wherever
  // its publishers keep it, in memory or in a directory, also one that comes later. `start` counts then for what was
  // in the directory before that publisher came (sequence, time and a cursor: nothing of it).
  std::string_view directory{};
  // A named subscription: it is remembered in the directory how far it came (subscriber::commit()), and whoever opens
  // it again goes on there; `start` counts for the first time. 1 to 64 of [A-Za-z0-9_.-], not beginning with a dot. One
  // holder at a time; another is refused (busy).
  std::string_view subscription_name{};
};

}  // namespace quoit::inline v1
