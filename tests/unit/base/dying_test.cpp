#include "base/dying.hpp"

#include <doctest/doctest.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include <csignal>
#include <fstream>
#include <string>
#include <thread>

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

TEST_CASE("a process whose first thread has ended has the descriptors of the others") {
  int ready[2];
  REQUIRE(::pipe(ready) == 0);
  quoit::test::child lives([&] {
    std::thread([&] {
      // By now only this thread is left, if the first one was faster.
      char state = 0;
      while (state != 'Z') {
        std::ifstream stat("/proc/self/stat");
        std::string line;
        std::getline(stat, line);
        state = line[line.rfind(')') + 2];
      }
      if (::write(ready[1], "x", 1) != 1) return;
      for (;;) ::pause();
    }).detach();
    ::syscall(SYS_exit, 0);  // of this thread alone
    return 0;
  });
  char c;
  REQUIRE(::read(ready[0], &c, 1) == 1);
  CHECK_FALSE(has_no_descriptors(lives.pid()));
  for (const int end : ready) ::close(end);
}
