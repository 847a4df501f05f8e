#include "base/dying.hpp"

#include <doctest/doctest.h>
#include <sys/wait.h>
#include <unistd.h>

#include <csignal>

#include "support/child.hpp"

using quoit::detail::has_no_descriptors;

TEST_CASE("a process that has died and was not waited for has no descriptors, and one that lives has some") {
  quoit::test::child lives([] {
    for (;;) ::pause();
    return 0;
  });
  CHECK_FALSE(has_no_descriptors(::getpid()));
  CHECK_FALSE(has_no_descriptors(lives.pid()));
  lives.kill(SIGKILL);
  siginfo_t info{};
  REQUIRE(::waitid(P_PID, static_cast<id_t>(lives.pid()), &info, WEXITED | WNOWAIT) == 0);
  CHECK(has_no_descriptors(lives.pid()));
  const pid_t gone = lives.pid();
  lives.wait();
  // Nothing is known of one that is not there.
  CHECK_FALSE(has_no_descriptors(gone));
}
