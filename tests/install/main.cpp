// What a user's program does with an installed quoit. It is built by install_test.py, outside of this tree's build.
#include <quoit/detail/config.hpp>

#include <cstdio>

int main() {
  std::printf("quoit %d, headers %d\n", quoit::library_version(), QUOIT_VERSION);
  return quoit::library_version() == QUOIT_VERSION ? 0 : 1;
}
