// A lane on disk against a plain list of messages, under random sizes, orders of commits, restarts and starts.
#include <deque>
#include <vector>

#include "storage/log_check.hpp"
#include "support/log_fixture.hpp"
#include "support/property.hpp"

using namespace quoit::test;

namespace {

enum class act : int { claim, commit_oldest, commit_newest, abandon, restart, look, seek_sequence, seek_last, count };

struct kept_message {
  u64 sequence;
  u32 bytes;
};

// What was claimed, in order; a message is visible once everything before it is resolved.
struct expected_frame {
  u64 sequence;
  u32 bytes;
  int state;  // 0 open, 1 message, 2 void
};

struct run {
  explicit run(u32 alignment) : options(small_log(directory)) {
    options.kind.alignment = alignment;
    w = open_log(options);
    r = read_from_begin(options);
  }

  void claim(u32 bytes) {
    lane_claim c;
    const append_status status = claim_waiting(*w, bytes, c);
    if (status == append_status::too_many) return;
    RC_ASSERT(status == append_status::ok);
    RC_ASSERT(c.sequence == next_sequence);
    std::memset(c.payload, 0x5a, bytes);
    open.push_back(c);
    order.push_back({next_sequence++, bytes, 0});
  }
  void resolve(std::size_t index, bool commit, u32 bytes) {
    const lane_claim c = open[index];
    open.erase(open.begin() + static_cast<std::ptrdiff_t>(index));
    const u32 kept = std::min(bytes, c.payload_bytes);
    const bool oldest = order.front().sequence == c.sequence;
    if (commit) {
      write_message(c.payload, kept, c.sequence);
      RC_ASSERT(w->appender().commit(c, kept) == oldest);
    } else {
      RC_ASSERT(w->appender().abandon(c) == oldest);
    }
    settle(c.sequence, commit ? 1 : 2, kept);
  }
  void settle(u64 sequence, int state, u32 bytes) {
    for (expected_frame& f : order) {
      if (f.sequence == sequence) f = {sequence, bytes, state};
    }
    while (!order.empty() && order.front().state != 0) {
      if (order.front().state == 1) visible.push_back({order.front().sequence, order.front().bytes});
      order.pop_front();
    }
  }
  void restart() {
    w.reset();  // what is open becomes void
    open.clear();
    for (const expected_frame& f : std::vector<expected_frame>(order.begin(), order.end())) {
      if (f.state == 0) settle(f.sequence, 2, 0);
    }
    w = open_log(options);
    RC_ASSERT(w->report().cut.empty());
    RC_ASSERT(w->appender().next_sequence() == next_sequence);
  }
  void check_next(std::size_t& at) {
    lane_frame frame;
    while (at < visible.size()) {
      RC_ASSERT(r->take(frame) == take_status::message);
      RC_ASSERT(frame.sequence == visible[at].sequence);
      RC_ASSERT(frame.payload_bytes == visible[at].bytes);
      RC_ASSERT(is_message(frame.payload, frame.payload_bytes, frame.sequence));
      r->release(frame);
      ++at;
    }
    RC_ASSERT(r->take(frame) == take_status::nothing);
  }

  scratch_directory directory;
  log_writer_options options;
  std::unique_ptr<log_writer> w;
  std::unique_ptr<log_reader> r;
  std::vector<lane_claim> open;
  std::deque<expected_frame> order;
  std::vector<kept_message> visible;
  std::size_t read = 0;
  u64 next_sequence = 0;
};

}  // namespace

TEST_CASE("a lane on disk is a list of messages, whatever is done to it in whatever order") {
  check_property("random acts", [] {
    const auto alignment = *rc::gen::element(8u, 64u);
    const auto acts = *rc::gen::container<std::vector<std::pair<u32, u32>>>(
        400, rc::gen::pair(rc::gen::inRange(0u, 1u << 16), rc::gen::inRange(0u, 3000u)));
    run t(alignment);
    for (const auto& [what, bytes] : acts) {
      // Mostly claims and commits, so that segments are filled.
      const auto a = static_cast<act>(what % 40 < 30 ? what % 2 : what % 40 < 32 ? 2 : what % 40 - 30);
      switch (a) {
        case act::claim: t.claim(bytes); break;
        case act::commit_oldest:
          if (!t.open.empty()) t.resolve(0, true, what % 5 == 0 ? bytes / 2 : bytes);
          break;
        case act::commit_newest:
          if (!t.open.empty()) t.resolve(t.open.size() - 1, true, what % 5 == 0 ? bytes / 2 : 4096);
          break;
        case act::abandon:
          if (!t.open.empty()) t.resolve(what / 64 % t.open.size(), false, 0);
          break;
        case act::restart: t.restart(); break;
        case act::look: t.check_next(t.read); break;
        case act::seek_sequence: {
          if (t.visible.empty()) break;
          std::size_t at = bytes % t.visible.size();
          RC_ASSERT(t.r->start_at_sequence(t.visible[at].sequence).has_value());
          t.check_next(at);
          t.read = at;
          break;
        }
        case act::seek_last: {
          const std::size_t back = std::min<std::size_t>(bytes, t.visible.size());
          RC_ASSERT(t.r->start_with_last(bytes).has_value());
          t.read = t.visible.size() - back;
          t.check_next(t.read);
          break;
        }
        case act::count: break;
      }
    }
    t.restart();
    std::size_t begin = 0;
    t.r = read_from_begin(t.options, true);
    t.check_next(begin);
    const auto v = verify_lane(t.w->directory());
    RC_ASSERT(v.has_value());
    RC_ASSERT(v->whole());
    RC_ASSERT(v->messages == t.visible.size());
  });
}
