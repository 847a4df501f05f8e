// Quotes of a topic go to TCP clients as lines, and lines of the clients to a topic as orders.
#include <arpa/inet.h>
#include <netinet/in.h>
#include <sys/socket.h>
#include <unistd.h>

#include <array>
#include <cerrno>
#include <cstring>
#include <quoit.hpp>

#include "../common/coroutines.hpp"
#include "../publish_subscribe/quote.hpp"

namespace {

using orders_publisher = quoit::publisher<quoit::text>;

quoit::task<quoit::result<void>> send_all(int client, std::span<const std::byte> data) {
  while (!data.empty()) {
    const auto sent = co_await quoit::send(client, data);
    if (!sent) co_return tl::unexpected(sent.error());
    data = data.subspan(*sent);
  }
  co_return quoit::result<void>();
}

// One direction: the topic's quotes to a client.
quoit::task<> to_client(int client, quoit::subscriber<quote>& quotes) {
  std::array<char, 128> line;
  for (;;) {
    auto sample = co_await quotes.next();
    if (!sample) {
      if (sample.error() != quoit::errc::cancelled) failed("receiving", sample.error());
      break;
    }
    const int length = std::snprintf(line.data(), line.size(), "%llu %.11s %.2f %.2f\n",
                                     static_cast<unsigned long long>(sample->sequence()), (*sample)->symbol,
                                     (*sample)->bid, (*sample)->ask);
    sample->release();  // not held while a client is waited for
    const auto sent = co_await send_all(client, std::as_bytes(std::span(line).first(static_cast<std::size_t>(length))));
    if (!sent) break;
  }
  // The other direction hears of it.
  ::shutdown(client, SHUT_RDWR);
}

quoit::task<quoit::result<void>> publish(orders_publisher& orders, std::string_view order) {
  auto loan = co_await orders.loan_bytes(order.size());
  if (!loan) co_return tl::unexpected(loan.error());
  if (!order.empty()) std::memcpy(loan->data().data(), order.data(), order.size());
  std::move(*loan).publish();
  co_return quoit::result<void>();
}

// The other direction: a client's lines to the topic, until the client has no more.
quoit::task<> from_client(int client, orders_publisher& orders) {
  std::array<char, 1024> buffer;
  for (std::size_t used = 0; used < buffer.size();) {
    const auto got = co_await quoit::recv(client, std::as_writable_bytes(std::span(buffer).subspan(used)));
    if (!got || *got == 0) co_return;
    std::string_view words(buffer.data(), used + *got);
    for (std::size_t end = words.find('\n'); end != std::string_view::npos; end = words.find('\n')) {
      const auto published = co_await publish(orders, words.substr(0, end));
      if (!published) co_return;
      words.remove_prefix(end + 1);
    }
    used = words.size();
    std::memmove(buffer.data(), words.data(), used);
  }
  failed("a client sent a line that is too long");
}

// One client: its socket and the topic are awaited at once, each by a task of its own.
quoit::task<> serve(int client, quoit::bus& bus, orders_publisher& orders) {
  auto quotes = bus.subscriber<quote>("market/quotes");
  if (quotes) {
    quoit::scope directions;
    directions.spawn(to_client(client, *quotes));
    co_await from_client(client, orders);
    directions.request_stop();
    co_await directions.join();
  } else {
    failed("opening the topic", quotes.error());
  }
  static_cast<void>(co_await quoit::close(client));
}

quoit::task<int> accept_all(int listening, quoit::bus& bus, orders_publisher& orders, std::uint32_t subscribers) {
  const auto matched = co_await orders.matched(subscribers);
  if (!matched) co_return failed("waiting", matched.error());
  sockaddr_in address{};
  socklen_t length = sizeof address;
  ::getsockname(listening, reinterpret_cast<sockaddr*>(&address), &length);
  std::printf("listening on 127.0.0.1:%u\n", unsigned{ntohs(address.sin_port)});
  std::fflush(stdout);

  int status = 0;
  quoit::scope clients;
  for (;;) {
    const auto client = co_await quoit::accept(listening);
    if (client) {
      clients.spawn(serve(*client, bus, orders));
      continue;
    }
    if (client.error() == quoit::errc::cancelled) break;  // Ctrl-C
    if (client.error().system_errno() == ECONNABORTED) continue;
    status = failed("accepting", client.error());
    break;
  }
  clients.request_stop();
  co_await clients.join();
  std::printf("stopped; published %llu orders\n", static_cast<unsigned long long>(orders.sequence()));
  co_return status;
}

}  // namespace

int main(int argc, char** argv) {
  const arguments args(argc, argv, "[--bus NAME] [--port N] [--subscribers N]");
  const int listening = ::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
  const int yes = 1;
  sockaddr_in address{};
  address.sin_family = AF_INET;
  address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
  address.sin_port = htons(static_cast<std::uint16_t>(args.number("--port", 0)));
  if (listening < 0 || ::setsockopt(listening, SOL_SOCKET, SO_REUSEADDR, &yes, sizeof yes) != 0 ||
      ::bind(listening, reinterpret_cast<const sockaddr*>(&address), sizeof address) != 0 ||
      ::listen(listening, 64) != 0) {
    return std::perror("listening"), 1;
  }
  auto executor = quoit::executor::create();
  if (!executor) return failed("making the executor", executor.error());
  if (auto ok = stop_on_ctrl_c(*executor); !ok) return failed("waiting for signals", ok.error());

  auto bus = quoit::bus::open(*executor, args.bus(), {.node_name = "gateway"});
  if (!bus) return failed("opening the bus", bus.error());
  auto orders = bus->publisher<quoit::text>("market/orders");
  if (!orders) return failed("opening the topic", orders.error());
  return executor->run(
      accept_all(listening, *bus, *orders, static_cast<std::uint32_t>(args.number("--subscribers", 0))));
}
