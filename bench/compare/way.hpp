// What `quoit bench compare` compares: jobs, and the ways in which their messages go.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>

namespace bench {

enum class job : std::uint8_t { round_trip, one_way, file_transfer };

constexpr const char* name_of(job j) {
  switch (j) {
    case job::round_trip: return "round_trip";
    case job::one_way: return "one_way";
    case job::file_transfer: return "file_transfer";
  }
  return "?";
}

// The same bytes are produced and consumed in each way: what differs is where, and how they get across.
enum class carrier : std::uint8_t {
  loan,        // quoit in shared memory; produced in the loan, consumed in the sample
  copy,        // the same; produced in a private buffer and copied into the loan, copied out of the sample and consumed
  kernel,      // quoit's kernel path; loans and samples as in shared memory, sockets in between
  pipe,        // produced in a private buffer, write(2) to a pipe, read(2) into a private buffer
  socketpair,  // the same through a pair of UNIX sockets, SOCK_STREAM, by send(2) and recv(2)
};

constexpr const char* name_of(carrier c) {
  switch (c) {
    case carrier::loan: return "shm.loan";
    case carrier::copy: return "shm.copy";
    case carrier::kernel: return "kernel";
    case carrier::pipe: return "pipe";
    case carrier::socketpair: return "socketpair";
  }
  return "?";
}

// Both sides of a way wait alike. Sockets and pipes sleep; only shared memory can be polled without system calls.
struct way {
  carrier by;
  bool polls;
};

inline constexpr std::array<way, 7> ways{{
    {carrier::loan, false},
    {carrier::copy, false},
    {carrier::kernel, false},
    {carrier::pipe, false},
    {carrier::socketpair, false},
    {carrier::loan, true},
    {carrier::copy, true},
}};

constexpr const char* waits_of(const way& w) { return w.polls ? "polling" : "asleep"; }

// The parts of a file that the job file_transfer sends, as examples/file_transfer does: with a head of 24 bytes they
// are messages of 256 KiB.
inline constexpr std::size_t file_part_bytes = 256 * 1024;
inline constexpr std::size_t file_parts = 128;

}  // namespace bench
