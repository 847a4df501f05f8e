// What a loop looks at besides its ring, and how it has itself woken for that.
#include <poll.h>

#include <cstdint>
#include <utility>

#include "exec/direct_io.hpp"
#include "exec/loop_parts.hpp"
#include "quoit/detail/exec/loop.hpp"

namespace quoit::inline v1::detail {

namespace {

// What the bells' reads write, and nobody reads. It is here for good: the kernel may end a read after its loop is gone.
std::uint64_t bell_count;

io_request read_of_bell(int descriptor) noexcept {
  io_request request{.code = io_code::bell};
  request.fd = descriptor;
  request.address = &bell_count;
  request.length = sizeof bell_count;
  return request;
}

io_request poll_of_bell(int descriptor) noexcept {
  io_request request{.code = io_code::poll};
  request.fd = descriptor;
  request.flags = POLLIN;
  return request;
}

}  // namespace

void loop::add(loop_source& source) {
  source.in_loop.wait = new word_wait;
  source.in_loop.wait->call = [](operation& op) noexcept {
    auto& self = static_cast<word_wait&>(op);
    if (self.orphaned) {
      self.next_spent = std::exchange(*self.spent, &self);
    } else if (self.to_read >= 0 && self.result > 0) {
      // Before the source says that it sleeps again: what is read here was for a sleep that is over.
      empty_bell(self.to_read);
    }
  };
  source.in_loop.next = sources_;
  source.in_loop.prepared = false;
  sources_ = &source;
}

void loop::remove(loop_source& source) noexcept {
  for (loop_source** at = &sources_; *at != nullptr; at = &(*at)->in_loop.next) {
    if (*at != &source) continue;
    *at = source.in_loop.next;
    break;
  }
  word_wait* const wait = std::exchange(source.in_loop.wait, nullptr);
  if (wait == nullptr) return;
  const int descriptor = std::exchange(source.in_loop.descriptor, -1);
  if (forked()) {
    if (wait->now == operation::state::in_flight) unlink(*wait);
    delete wait;
    return;
  }
  if (wait->now != operation::state::in_flight) {
    delete wait;
  } else {
    // Its word may be unmapped right after this: the kernel knows it by its page and minds that as little as a wake.
    wait->orphaned = true;
    wait->spent = &parts_->spent;
    if (here()) cancel(*wait);
  }
  if (descriptor >= 0) parts_->ring.forget(descriptor);
}

bool loop::look_at_sources() noexcept {
  bool any = false;
  for (loop_source* source = sources_; source != nullptr; source = source->in_loop.next) any = source->look() || any;
  return any;
}

// False: something is ready, and no source is prepared.
bool loop::prepare_sources() noexcept {
  bool quiet = true;
  for (loop_source* source = sources_; source != nullptr && quiet; source = source->in_loop.next) {
    loop_bed bed{.on_word = parts_->ring.waits_on_futexes()};
    source->in_loop.prepared = quiet = source->prepare_sleep(bed);
    source->in_loop.blind = !bed.on_word && bed.descriptor < 0;
    if (!quiet || source->in_loop.blind) continue;
    // One that is still in flight waits for the same value: had the word changed, it would be complete.
    if (source->in_loop.wait->now == operation::state::in_flight) continue;
    if (!bed.on_word) {
      source->in_loop.descriptor = bed.descriptor;
      const bool polls = parts_->ring.polls_bells();
      source->in_loop.wait->to_read = polls ? bed.descriptor : -1;
      start(*source->in_loop.wait, polls ? poll_of_bell(bed.descriptor) : read_of_bell(bed.descriptor));
      continue;
    }
    io_request request{.code = io_code::futex_wait};
    request.address = bed.word;
    request.offset = bed.seen;
    start(*source->in_loop.wait, request);
  }
  if (!quiet) wake_sources();
  return quiet;
}

void loop::wake_sources() noexcept {
  for (loop_source* source = sources_; source != nullptr; source = source->in_loop.next) {
    if (std::exchange(source->in_loop.prepared, false)) source->woken();
  }
}

void loop::listen_to_inbox() noexcept {
  operation& bell = parts_->bell;
  if (bell.now == operation::state::in_flight) return;
  bell.call = [](operation&) noexcept {};
  start(bell, read_of_bell(parts_->in.descriptor()));
}

}  // namespace quoit::inline v1::detail
