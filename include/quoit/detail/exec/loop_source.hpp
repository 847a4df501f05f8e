// What a loop looks at besides its ring: the seam between the executor and a bus.
#pragma once

#include <chrono>
#include <cstdint>

namespace quoit::inline v1::detail {

struct word_wait;

// A node of a bus, as the loop sees it. Everything runs on the loop's thread.
class loop_source {
 public:
  // Looks at whatever is hot and makes what waits for it ready. Called once a turn. True if something became ready.
  virtual bool look() noexcept = 0;
  // True while something is looked at in each turn: a reason to spin before sleeping.
  virtual bool hot() const noexcept = 0;
  // The loop is about to sleep: arm everything, say that the node sleeps, fence, look once more. False: something
  // became ready. True: a waker will change the word, which is `seen` now, and wake its futex.
  virtual bool prepare_sleep(const std::uint32_t*& word, std::uint32_t& seen) noexcept = 0;
  // After prepare_sleep() was true: the loop is awake, for this source's sake or another's.
  virtual void woken() noexcept = 0;
  // The longest sleep: after it the source looks for wakes that were lost.
  virtual std::chrono::nanoseconds sleep_max() const noexcept = 0;
  // The loop is gone. Nothing of it may be used any more.
  virtual void loop_gone() noexcept = 0;

  // The loop's own.
  struct {
    loop_source* next = nullptr;
    word_wait* wait = nullptr;
    bool prepared = false;
  } in_loop;

 protected:
  ~loop_source() = default;
};

}  // namespace quoit::inline v1::detail
