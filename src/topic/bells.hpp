// Pipes in place of a futex: for nodes whose loop sleeps on descriptors, and cannot wait for a word.
//
// Such a node makes a named pipe beside the files of its bus, and says so in `sleeping` (sleeps_on_pipe). Whoever takes
// that writes to the pipe, which it opens when it does so for the first time. Nothing is handed over: there is no
// moment at which one side has a descriptor and the other does not know of it.
//
// Both sides open the pipe for reading and writing: so one whose other side is gone is neither an end nor a SIGPIPE.
//
// Thread safety: one thread, but for ring_own(), which any thread of the process may call.
#pragma once

#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "base/fd.hpp"
#include "mem/shm_file.hpp"
#include "quoit/detail/lane_layout.hpp"

namespace quoit::inline v1::detail {

class bells {
 public:
  // The descriptor of the node's own bell, which is readable when somebody rings, and does not block. Made at the first
  // call: under this name, or, without one, for this process alone. -1: it could not be made.
  int own(const std::string& file_name, const shm_permissions& permissions) noexcept;
  bool has_own() const noexcept { return static_cast<bool>(own_); }
  void ring_own() const noexcept;

  // Rings the bell under this name, of a node's use of its entry. False: it could not be opened, or is none.
  bool ring(u32 node, u64 generation, const std::string& file_name) noexcept;

 private:
  struct other {
    u32 node;
    u64 generation;
    fd descriptor;
  };
  const other* find(u32 node, u64 generation) const noexcept;
  static constexpr std::size_t others_max = 64;

  fd own_;
  std::vector<other> others_;
  std::size_t next_to_go_ = 0;
};

}  // namespace quoit::inline v1::detail
