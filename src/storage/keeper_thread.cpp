#include <sched.h>
#include <signal.h>

#include "storage/segment_keeper.hpp"

namespace quoit::inline v1::detail {

namespace {

// A thread that is made meanwhile gets no signals: those are for the program's own threads. The mask is restored also
// where there is no thread to be had.
class signals_held_back {
 public:
  signals_held_back() noexcept {
    sigset_t all;
    ::sigfillset(&all);
    ::pthread_sigmask(SIG_SETMASK, &all, &before_);
  }
  signals_held_back(const signals_held_back&) = delete;
  signals_held_back& operator=(const signals_held_back&) = delete;
  ~signals_held_back() { ::pthread_sigmask(SIG_SETMASK, &before_, nullptr); }

 private:
  sigset_t before_;
};

}  // namespace

keeper_thread::keeper_thread(segment_keeper& keeper) : keeper_(keeper) {
  const signals_held_back hold;
  thread_ = std::thread([this] {
    // A roll wakes this thread: it shall not take the processor from the one that publishes, if another is free, or
    // before its time is over.
    const sched_param none{};
    if (::sched_getscheduler(0) == SCHED_OTHER) ::sched_setscheduler(0, SCHED_BATCH, &none);
    while (!keeper_.stopped()) {
      if (!keeper_.work()) keeper_.wait_for_work();
    }
  });
}

keeper_thread::~keeper_thread() {
  keeper_.stop();
  thread_.join();
}

}  // namespace quoit::inline v1::detail
