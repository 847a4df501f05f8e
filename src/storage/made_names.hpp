#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "quoit/detail/fork_epoch.hpp"
#include "storage/directory_handle.hpp"

namespace quoit::inline v1::detail {

// Names that an opening made on a disk. If it fails, they are removed again with this, the youngest first; a directory
// that another process uses by then is not empty, and stays.
class made_names {
 public:
  made_names() = default;
  made_names(made_names&&) = default;
  made_names& operator=(made_names&&) = delete;
  ~made_names();

  // `name` in `where`. A file is added once its lock is held: until then it may be another process's.
  void add_directory(const directory_handle& where, std::string name);
  void add_file(const directory_handle& where, std::string name);
  // They stay.
  void keep() noexcept { made_.clear(); }
  bool empty() const noexcept { return made_.empty(); }

 private:
  struct made {
    directory_handle where;
    std::string name;
    int flags;  // of unlinkat()
  };
  std::vector<made> made_;
  std::uint32_t epoch_ = fork_epoch;
};

}  // namespace quoit::inline v1::detail
