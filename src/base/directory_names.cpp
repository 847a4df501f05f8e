#include "base/directory_names.hpp"

#include <cerrno>

#include "base/fd.hpp"

namespace quoit::inline v1::detail {

result<std::vector<std::string>> names_in_directory(const std::string& path) {
  const auto failed = [&](int why) {
    const errc code = why == ENOENT || why == ENOTDIR  ? errc::not_found
                      : why == EACCES || why == EPERM  ? errc::no_permission
                      : why == EMFILE || why == ENFILE ? errc::limit_reached
                                                       : errc::system;
    return tl::unexpected(error(code, "reading the directory " + path, 0, why));
  };
  const directory_stream directory = open_directory(path);
  if (!directory) return failed(errno);
  std::vector<std::string> names;
  for (;;) {
    errno = 0;
    const dirent* const entry = ::readdir(directory.get());
    if (entry == nullptr && errno != 0) return failed(errno);
    if (entry == nullptr) return names;
    if (entry->d_name[0] != '.') names.emplace_back(entry->d_name);
  }
}

}  // namespace quoit::inline v1::detail
