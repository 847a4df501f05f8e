// Memory for a bus without a name: processes that have inherited it, or were handed its descriptor, share topics there,
// and nobody else sees them.
//
//   auto memory = quoit::inherited_memory::create().value();  // before fork()
//   auto bus = quoit::bus::open(memory).value();              // in the parent and in the child, each its own
#pragma once

#include <cstdint>
#include <memory>
#include <string_view>

#include "quoit/detail/export.hpp"
#include "quoit/result.hpp"

namespace quoit::inline v1 {

class bus;
class inherited_memory;
struct bus_info;
namespace detail {
class arena;
class node;
}  // namespace detail

struct inherited_memory_options {
  // Of all buses, topics and lanes together; memory is taken when they are made, and given back when they are gone.
  // A multiple of the page size is made of it. 1 MiB to 1 TiB.
  std::uint64_t bytes = std::uint64_t{256} << 20;
  // Subscribers in other processes get what they read in a form that they cannot write to, shorten or punch holes into,
  // whatever they do. Each publisher keeps a descriptor open then, and its subscribers must be able to open it: they
  // have inherited it, or run as the same user and see its process in /proc. What a publisher published goes with its
  // process, or its bus: subscribers that have begun to read it read it to its end, the others do not get it, and no
  // publisher goes on with it. A forked child does not inherit the mapping that writes: touching a loan that its parent
  // had open kills it (SIGSEGV), where otherwise it sees the parent's bytes. Samples can be read, and both be dropped.
  bool sealed = false;
};

// A memfd. Copies are the same memory; it is there as long as anybody has a copy, its descriptor or a bus in it.
// Thread safety: any thread.
class QUOIT_EXPORT inherited_memory {
 public:
  // Errors: invalid_argument (bytes), no_space, limit_reached (descriptors, RLIMIT_FSIZE), system (needs
  // /proc, and memfd_create).
  static result<inherited_memory> create(const inherited_memory_options& options = {});

  // Memory of which this process got the descriptor: through exec(), or in a message (SCM_RIGHTS). Takes the descriptor
  // over if it succeeds; it is closed at the next exec() unless keep_through_exec() says otherwise. If the number is 0,
  // 1 or 2, the memory moves to a higher one: see descriptor().
  //
  // Errors: invalid_argument (no memory that create() made: another file, or one that could be cut short), corrupt,
  // newer_version, limit_reached (descriptors), system.
  static result<inherited_memory> from_descriptor(int descriptor);

  // To be handed on; it stays this object's. A forked child has it under the same number.
  int descriptor() const noexcept;
  // Whether the descriptor stays open in a program that this process, or a child of it, becomes by exec(). Not at
  // first. No mapping and no bus survives exec(): the program begins with from_descriptor(). Errors: system.
  result<void> keep_through_exec(bool keep = true) const;

  std::uint64_t bytes() const noexcept;
  // What nothing has taken. What was removed counts once nobody has it mapped.
  std::uint64_t free_bytes() const;
  bool sealed() const noexcept;

 private:
  friend class bus;
  friend result<bus_info> inspect(const inherited_memory& memory);
  explicit inherited_memory(std::shared_ptr<detail::arena> arena) noexcept;

  std::shared_ptr<detail::arena> arena_;
};

}  // namespace quoit::inline v1
