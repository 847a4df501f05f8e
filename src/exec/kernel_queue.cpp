#include "exec/kernel_queue.hpp"

#include "base/choice_of.hpp"

namespace quoit::inline v1::detail {

namespace {

constexpr choice_word<io_engine> engine_words[] = {
    {"automatic", io_engine::automatic}, {"io_uring", io_engine::io_uring}, {"epoll", io_engine::epoll}};
constexpr choice_word<rung> rung_words[] = {
    {"automatic", rung::automatic}, {"futex", rung::futex}, {"pipe", rung::pipe}};

// Whether epoll might do where io_uring is refused like this. Descriptors it needs too.
bool epoll_may_do(const error& why) noexcept { return why != errc::limit_reached; }

// Without the name of its code, which comes before it once more.
std::string words_of(const error& why) { return why.words().empty() ? why.message() : std::string(why.words()); }

}  // namespace

result<void> kernel_queue::open(kernel_queue& out, const executor_options& options) {
  const auto rung = choice_of(options.rung, "rung", "QUOIT_RUNG", rung::automatic, rung_words);
  if (!rung) return tl::unexpected(rung.error());
  if (auto ok = open_engine(out, options); !ok) return ok;
  const bool can = !out.epoll_ && out.ring_.waits_on_futexes();
  out.on_words_ = can && *rung != rung::pipe;
  if (*rung != rung::futex || can) return {};
  const std::string why = out.epoll_
                              ? out.words_ + " waits for descriptors only"
                              : "IORING_OP_FUTEX_WAIT is not in this kernel's io_uring (Linux 6.7 and later have it)";
  return tl::unexpected(error(errc::system, why + ": rung::pipe works here"));
}

result<void> kernel_queue::open_engine(kernel_queue& out, const executor_options& options) {
  const auto engine = choice_of(options.engine, "engine", "QUOIT_ENGINE", io_engine::automatic, engine_words);
  if (!engine) return tl::unexpected(engine.error());
  std::string why;
  if (*engine != io_engine::epoll) {
    auto ok = uring::open(out.ring_, options.entries);
    if (ok) return {};
    if (!epoll_may_do(ok.error())) return ok;
    if (*engine == io_engine::io_uring) {
      return tl::unexpected(error(ok.error().code(), words_of(ok.error()) + "; an executor on epoll works here", 0,
                                  ok.error().system_errno()));
    }
    why = words_of(ok.error());
  } else {
    why = "asked for";
  }
  auto made = std::make_unique<epoll_queue>();
  if (auto ok = epoll_queue::open(*made); !ok) return ok;
  out.epoll_ = std::move(made);
  out.words_ = "epoll (" + why + ")";
  return {};
}

}  // namespace quoit::inline v1::detail
