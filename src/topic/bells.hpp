// Pipes in place of a futex: for nodes whose loop sleeps on descriptors, and cannot wait for a word.
//
// Such a node makes a named pipe beside the files of its bus, and says so in `sleeping` (sleeps_on_pipe). Whoever takes
// that writes to the pipe, which it opens when it does so for the first time. Nothing is handed over: there is no
// moment at which one side has a descriptor and the other does not know of it.
//
// The endpoints of a node may have pipes too, for loops that are not quoit's (src/bus/foreign_bell.hpp).
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

// Makes a named pipe that others find under this name, and opens it. It does not block. None: errno says why.
fd make_pipe(const std::string& file_name, const shm_permissions& permissions);

class bells {
 public:
  // Makes the node's own bell, once: under this name, or, without one, for this process alone. Its descriptor, which is
  // readable when somebody rings, and does not block. -1: it could not be made.
  int own(const std::string& file_name, const shm_permissions& permissions) noexcept;
  // The same on a bus without names: others open it as /proc/<pid>/fd/<the descriptor>, and know it by its inode.
  int own_unnamed(u64& inode) noexcept;
  bool has_own() const noexcept { return static_cast<bool>(own_); }
  int own_descriptor() const noexcept { return own_.get(); }
  void ring_own() const noexcept;

  // Rings a bell that is open already. False: it is not.
  bool ring_known(u32 node, u64 generation, u32 pipe) const noexcept;
  // Rings the bell of this name, of a node's use of its entry, or of one of its endpoints; with an inode, the bell at
  // this path. False: it could not be opened, or is none.
  bool ring(u32 node, u64 generation, u32 pipe, const std::string& name, u64 inode = 0) noexcept;

 private:
  struct other {
    u32 node;
    u64 generation;
    u32 pipe;
    fd descriptor;
  };
  const other* find(u32 node, u64 generation, u32 pipe) const noexcept;
  static constexpr std::size_t others_max = 64;

  fd own_;
  std::vector<other> others_;
  std::size_t next_to_go_ = 0;
};

}  // namespace quoit::inline v1::detail
