#include "storage/made_names.hpp"

#include <fcntl.h>
#include <unistd.h>

namespace quoit::inline v1::detail {

// In a forked child they are its parent's.
made_names::~made_names() {
  if (epoch_ != fork_epoch) return;
  for (auto one = made_.rbegin(); one != made_.rend(); ++one) {
    ::unlinkat(one->where.get(), one->name.c_str(), one->flags);
  }
}

void made_names::add_directory(const directory_handle& where, std::string name) {
  made_.push_back({where, std::move(name), AT_REMOVEDIR});
}

void made_names::add_file(const directory_handle& where, std::string name) {
  made_.push_back({where, std::move(name), 0});
}

}  // namespace quoit::inline v1::detail
