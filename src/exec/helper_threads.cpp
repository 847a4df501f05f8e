#include "exec/helper_threads.hpp"

#include <fcntl.h>
#include <pthread.h>
#include <signal.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>
#include <memory>
#include <new>
#include <system_error>
#include <thread>

#include "base/call_counts.hpp"
#include "base/call_failed.hpp"

namespace quoit::inline v1::detail {

namespace {

// What opened a descriptor that nobody takes.
void drop(helper_job* job) noexcept {
  if (job->io.request.code == io_code::open && job->answer >= 0) ::close(job->answer);
  delete job;
}

// Whether the request reads or writes memory of whoever asked.
bool borrows_memory(const io_request& r) noexcept { return r.code == io_code::read || r.code == io_code::write; }

}  // namespace

result<helper_threads*> helper_threads::make() {
  std::unique_ptr<helper_threads> made(new helper_threads);
  made->bell_ = make_eventfd(EFD_NONBLOCK);
  if (made->bell_) return made.release();
  return tl::unexpected(call_failed("eventfd", errno));
}

void helper_threads::unref() noexcept {
  // sync(helpers.users): what the others did with it is over for who deletes it
  if (users_.fetch_sub(1, std::memory_order_acq_rel) == 1) delete this;
}

void helper_threads::let_go() noexcept {
  {
    const std::lock_guard hold(mutex_);
    closing_ = true;
    while (queue_ != nullptr) drop(std::exchange(queue_, queue_->next));
    while (over_ != nullptr) drop(std::exchange(over_, over_->next));
  }
  work_there_.notify_all();
  unref();  // sync(helpers.users): the last of us, or of the threads, deletes it
}

std::int32_t helper_threads::start(const partial_io& io, void* asked_by, helper_job*& out) noexcept {
  std::unique_ptr<helper_job> job;
  try {
    job = std::make_unique<helper_job>();
    job->io = io;
    io_request& r = job->io.request;
    if (r.code == io_code::open) {
      job->path = static_cast<const char*>(r.address);
      r.address = job->path.c_str();
    }
  } catch (const std::bad_alloc&) {
    return -ENOMEM;
  }
  io_request& r = job->io.request;
  if (r.code == io_code::connect) {
    if (r.length > sizeof job->address) return -EINVAL;
    std::memcpy(&job->address, r.address, r.length);
    r.address = &job->address;
  }
  if (r.code != io_code::open) {
    job->descriptor = duplicate(r.fd);
    count_call(calls_made.enters, 2);  // it is closed too
    if (!job->descriptor) return -errno;
    r.fd = job->descriptor.get();
  }
  job->asked_by = asked_by;
  {
    const std::lock_guard hold(mutex_);
    if (idle_ <= queued_ && threads_ - stuck_ < threads_max) {
      const std::int32_t status = add_thread();
      if (status < 0 && threads_ == 0) return status;
    }
    *queue_end_ = job.get();
    queue_end_ = &job->next;
    ++queued_;
  }
  out = job.release();
  work_there_.notify_one();
  return 0;
}

std::int32_t helper_threads::add_thread() noexcept {
  // Signals are for the program's own threads.
  sigset_t all, before;
  ::sigfillset(&all);
  ::pthread_sigmask(SIG_SETMASK, &all, &before);
  std::int32_t status = 0;
  try {
    users_.fetch_add(1, std::memory_order_relaxed);  // relaxed: we hold one
    std::thread([this] { work(); }).detach();
    ++threads_;
  } catch (const std::system_error& e) {
    users_.fetch_sub(1, std::memory_order_relaxed);  // relaxed: ours is left
    status = -e.code().value();
  } catch (const std::bad_alloc&) {
    users_.fetch_sub(1, std::memory_order_relaxed);  // relaxed: as above
    status = -ENOMEM;
  }
  ::pthread_sigmask(SIG_SETMASK, &before, nullptr);
  return status;
}

bool helper_threads::give_up(helper_job& job) noexcept {
  std::unique_lock hold(mutex_);
  if (job.now == helper_job::state::over) return false;
  if (job.now == helper_job::state::queued) {
    helper_job** at = &queue_;
    while (*at != &job) at = &(*at)->next;
    *at = job.next;
    if (queue_end_ == &job.next) queue_end_ = at;
    --queued_;
    hold.unlock();
    delete &job;
    return true;
  }
  if (borrows_memory(job.io.request)) return false;
  job.asked_by = nullptr;
  ++stuck_;
  return true;
}

helper_job* helper_threads::take() noexcept {
  const std::lock_guard hold(mutex_);
  helper_job* const job = over_;
  if (job != nullptr) over_ = job->next;
  // relaxed: for who looks without the lock, and looks again
  ready_.store(over_ != nullptr, std::memory_order_relaxed);
  return job;
}

void helper_threads::quiet() noexcept {
  std::uint64_t count = 0;
  [[maybe_unused]] const auto got = ::read(bell_.get(), &count, sizeof count);
}

void helper_threads::work() noexcept {
  std::unique_lock hold(mutex_);
  for (;;) {
    if (queue_ == nullptr) {
      if (closing_) break;
      ++idle_;
      work_there_.wait(hold);
      --idle_;
      continue;
    }
    helper_job* const job = queue_;
    queue_ = job->next;
    if (queue_ == nullptr) queue_end_ = &queue_;
    --queued_;
    job->now = helper_job::state::running;
    hold.unlock();
    const std::int32_t answer = do_blocking(job->io);
    hold.lock();
    job->answer = answer;
    job->now = helper_job::state::over;
    if (job->asked_by == nullptr) --stuck_;
    if (job->asked_by == nullptr || closing_) {
      drop(job);
      continue;
    }
    job->next = over_;
    over_ = job;
    ready_.store(true, std::memory_order_relaxed);  // relaxed: take() looks under the lock
    const std::uint64_t one = 1;
    count_call(calls_made.enters);
    [[maybe_unused]] const auto written = ::write(bell_.get(), &one, sizeof one);
  }
  --threads_;
  hold.unlock();
  unref();
}

}  // namespace quoit::inline v1::detail
