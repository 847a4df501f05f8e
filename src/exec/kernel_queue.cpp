#include "exec/kernel_queue.hpp"

#include <cerrno>
#include <cstdlib>
#include <string_view>

namespace quoit::inline v1::detail {

namespace {

result<io_engine> asked_for(const executor_options& options) {
  if (options.engine > io_engine::epoll) {
    return tl::unexpected(error(errc::invalid_argument, "engine is none of its values"));
  }
  if (options.engine != io_engine::unspecified) return options.engine;
  const char* const text = std::getenv("QUOIT_ENGINE");
  if (text == nullptr || *text == '\0') return io_engine::automatic;
  const std::string_view word = text;
  if (word == "automatic") return io_engine::automatic;
  if (word == "io_uring") return io_engine::io_uring;
  if (word == "epoll") return io_engine::epoll;
  return tl::unexpected(error(errc::invalid_argument, "the environment variable QUOIT_ENGINE is \"" +
                                                          std::string(word.substr(0, 80)) +
                                                          "\": it must be automatic, io_uring or epoll"));
}

result<rung> rung_asked_for(const executor_options& options) {
  if (options.rung > rung::pipe) return tl::unexpected(error(errc::invalid_argument, "rung is none of its values"));
  if (options.rung != rung::unspecified) return options.rung;
  const char* const text = std::getenv("QUOIT_RUNG");
  if (text == nullptr || *text == '\0') return rung::automatic;
  const std::string_view word = text;
  if (word == "automatic") return rung::automatic;
  if (word == "futex") return rung::futex;
  if (word == "pipe") return rung::pipe;
  return tl::unexpected(error(errc::invalid_argument, "the environment variable QUOIT_RUNG is \"" +
                                                          std::string(word.substr(0, 80)) +
                                                          "\": it must be automatic, futex or pipe"));
}

// Whether epoll might do where io_uring is refused like this. Descriptors it needs too.
bool epoll_may_do(const error& why) noexcept { return why != errc::limit_reached; }

}  // namespace

result<void> kernel_queue::open(kernel_queue& out, const executor_options& options) {
  const auto rung = rung_asked_for(options);
  if (!rung) return tl::unexpected(rung.error());
  if (auto ok = open_engine(out, options); !ok) return ok;
  const bool can = !out.epoll_ && out.ring_.waits_on_futexes();
  out.on_words_ = can && *rung != rung::pipe;
  if (*rung != rung::futex || can) return {};
  const char* const why = out.epoll_
                              ? "epoll waits for descriptors only"
                              : "IORING_OP_FUTEX_WAIT is not in this kernel's io_uring (Linux 6.7 and later have it)";
  return tl::unexpected(error(errc::system, std::string(why) + ": rung::pipe works here"));
}

result<void> kernel_queue::open_engine(kernel_queue& out, const executor_options& options) {
  const auto engine = asked_for(options);
  if (!engine) return tl::unexpected(engine.error());
  std::string why;
  if (*engine != io_engine::epoll) {
    auto ok = uring::open(out.ring_, options.entries);
    if (ok) return {};
    if (!epoll_may_do(ok.error())) return ok;
    if (*engine == io_engine::io_uring) {
      return tl::unexpected(error(ok.error().code(), ok.error().message() + "; an executor on epoll works here", 0,
                                  ok.error().system_errno()));
    }
    why = ok.error().message();
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
