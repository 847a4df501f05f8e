// A file as memory: its bytes lie at an address, and are read and written there.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <string>
#include <string_view>

#include "quoit/detail/export.hpp"
#include "quoit/result.hpp"

namespace quoit::inline v1 {

// A regular file, mapped whole and shared: what is written through the mapping is in the file at once, for whoever maps
// it or calls read(2), and the other way round; sync() puts it on the disk. No call is needed for it: a page that is
// touched for the first time costs a fault, and no copy is made.
//
// The limit of all mappings: size() is what the file had when it was opened. If somebody makes the file shorter, a
// plain access behind its new end kills the process with SIGBUS, and no library can prevent that. Use data() and
// writable() on files that nobody truncates; else copy_out() and copy_in(), which answer errc::truncated. A file that
// grows is seen up to size(): open it again for the rest.
//
// Thread safety: all but moving, assigning and destroying may be called from any number of threads. The bytes are plain
// memory: who writes what others read must order that, with a lock or an atomic. In a forked child the object goes on
// working, on the same file.
class QUOIT_EXPORT mapped_file {
 public:
  enum class access : std::uint8_t { read, read_write };
  enum class advice : std::uint8_t { normal, sequential, random, will_need };

  // Opens and maps. Never blocks on what it finds there, and opens nothing but regular files.
  // Errors: invalid_argument (it cannot be mapped: a terminal, a socket, a pipe, a directory, another device, an empty
  // file, or a file of a file system that maps none; the words say which, why, and what to do), not_found,
  // no_permission, limit_reached (descriptors), busy (somebody has a lease on it), system.
  static result<mapped_file> open(std::string_view path, access how);
  // The same of an open descriptor, which is duplicated and stays the caller's; where it stands does not matter.
  // no_permission also if it was not opened for reading, or not for reading and writing.
  static result<mapped_file> open(int descriptor, access how);

  mapped_file(mapped_file&& other) noexcept;
  mapped_file& operator=(mapped_file&& other) noexcept;
  // Unmaps and closes. What was written stays written; it is not waited for the disk.
  ~mapped_file();

  // All of the file, as memory; begins at a page. Valid as long as this object, also if that is moved.
  std::span<const std::byte> data() const noexcept { return {base_, size_}; }
  // The same, to write. Empty if it was opened with access::read.
  std::span<std::byte> writable() noexcept { return {base_, how_ == access::read_write ? size_ : 0}; }

  // Bytes that are mapped: what the file had when it was opened. At least 1, unless moved from.
  std::size_t size() const noexcept { return size_; }
  // Bytes that the file has now; one system call. It may be another number before the caller looks at it.
  // Errors: system.
  result<std::uint64_t> size_now() const noexcept;

  // Copies `into.size()` bytes of the file from `offset`, with two system calls; never a SIGBUS. A success is a promise
  // that the file had all of them during the call.
  // Errors: truncated (the file ends before; value(): the first so many bytes of `into` are the file's, what lies
  // behind them there is unspecified), invalid_argument (not within size(); value(): size()), system.
  result<void> copy_out(std::uint64_t offset, std::span<std::byte> into) const noexcept;
  // Copies `from` into the file at `offset`, with three system calls; never a SIGBUS, and never makes a file longer.
  // `from` must not lie in a mapping of a file that may be truncated. Errors: truncated (the file ends before; value():
  // so many bytes arrived), invalid_argument (not within size(); value(): size()), no_permission (opened with
  // access::read), limit_reached (descriptors, where process_vm_writev is forbidden), system (EFAULT: a hole of the
  // file could not be filled, as a rule because the disk is full; value(): bytes that arrived).
  result<void> copy_in(std::uint64_t offset, std::span<const std::byte> from) noexcept;

  // Blocks until everything that was written to the file is on its disk. After an error what is on the disk is unknown,
  // and asking again may say success all the same: the kernel reports a failed write once.
  // Errors: no_space (the disk is full, or a quota), system.
  result<void> sync() noexcept;

  // Says how data() will be used: sequential reads far ahead, random not at all, will_need begins to read now. Changes
  // speed and nothing else; the kernel may ignore it. Errors: system.
  result<void> advise(advice how) noexcept;

 private:
  mapped_file(std::byte* base, std::size_t size, int descriptor, access how) noexcept
      : base_(base), size_(size), descriptor_(descriptor), how_(how) {}
  // Takes the descriptor, which `what` names in errors.
  static result<mapped_file> map(int owned, const std::string& what, access how);
  void close() noexcept;

  std::byte* base_;
  std::size_t size_;
  int descriptor_;
  access how_;
};

}  // namespace quoit::inline v1
