// Counts the system calls of a run of the measuring processes, by tracing them (ptrace). Every call of every thread of
// both processes stops it twice, so that nothing is timed meanwhile, and who is slowed down sleeps at other moments
// than otherwise: of what waits, the number of sleeps may differ from that of the run that was timed.
#pragma once

#include <sys/types.h>

#include <cstdint>
#include <map>
#include <string>
#include <vector>

namespace bench::trace {

// In a traced process: from now on, until end(), all its calls count for `slot`. Elsewhere these do nothing.
void begin(std::uint32_t slot);
void end();

struct tally {
  std::map<std::uint64_t, std::uint64_t> calls;  // by number
  // What the kernel copied: what calls like write(2) and read(2) say that they took and gave.
  std::uint64_t bytes_in = 0;
  std::uint64_t bytes_out = 0;

  std::uint64_t calls_total() const;
};

// "futex", or "call 999" where it is none of those that occur here.
std::string name_of_call(std::uint64_t number);
// How many bytes a call that answered `result` copied into the kernel or out of it; its third argument is `length`.
enum class direction : std::uint8_t { none, in, out };
direction direction_of(std::uint64_t number);
std::uint64_t copied_by(std::uint64_t number, std::uint64_t length, std::int64_t result);

// Whether a tracer has come. In memory that both processes share.
enum class attached : std::uint32_t { not_yet, yes, refused };

class tracer {
 public:
  tracer(std::size_t slots, attached& told) : tallies_(slots), told_(told) {}

  // As wait_for(), for supervise(): traces the process and whatever comes of it until the last one ends.
  int wait(pid_t process);
  const tally& of(std::size_t slot) const { return tallies_.at(slot); }
  // Why nothing was counted; empty if it was.
  const std::string& problem() const { return problem_; }

 private:
  struct thread {
    pid_t process = 0;
    // The call that it is in, if that counts.
    bool inside = false;
    std::uint64_t number = 0;
    std::uint64_t length = 0;
    std::uint32_t slot = 0;
  };
  struct counting {
    bool now = false;
    std::uint32_t slot = 0;
  };

  bool attach(pid_t process);
  void stopped(pid_t id, int status);
  void at_call(pid_t id);

  std::vector<tally> tallies_;
  attached& told_;
  std::string problem_;
  std::map<pid_t, thread> threads_;
  std::map<pid_t, counting> processes_;
};

// In the process that is to be traced: waits until a tracer has come, or none can.
void wait_for_tracer(attached& told);

}  // namespace bench::trace
