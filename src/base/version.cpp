#include <quoit/detail/config.hpp>

namespace quoit::inline v1 {

int library_version() noexcept { return QUOIT_VERSION; }

}  // namespace quoit::inline v1
