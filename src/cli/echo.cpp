// quoit topic echo: the messages of a topic on disk.
#include <fmt/core.h>

#include <CLI/CLI.hpp>
#include <memory>
#include <nlohmann/json.hpp>
#include <quoit/kept.hpp>
#include <quoit/replay.hpp>
#include <string>
#include <thread>
#include <vector>

#include "commands.hpp"
#include "message_words.hpp"
#include "start_words.hpp"
#include "words.hpp"

namespace cli {

namespace {

// Nobody is woken by what is published: who follows looks as often as a person can see.
constexpr std::chrono::milliseconds look_again{20};

struct echo_choices {
  std::string directory;
  std::string topic;
  std::string from = "earliest";
  std::string publisher;
  std::uint64_t count = 0;  // 0: all
  bool follow = false;
  bool hex = false;
  bool json = false;
};

using sample = quoit::sample<quoit::bytes>;

// What a topic says of its type, as far as it is known by now: nothing is before the first message.
struct message_kind {
  bool known = false;
  bool text = false;
  std::size_t bytes = 0;
  std::vector<message_field> fields;

  void learn(const quoit::replay<quoit::bytes>& reader) {
    if (known) return;
    const auto type = reader.type();
    if (!type) return;
    known = true;
    text = type->name == "text";
    bytes = type->bytes;
    fields = parse_fields(type->fields, type->bytes);
  }
  bool described(const sample& s) const { return !fields.empty() && s.data().size() >= bytes; }
};

std::string_view text_in(const sample& s) { return {reinterpret_cast<const char*>(s.data().data()), s.data().size()}; }

void print(const echo_choices& c, const message_kind& kind, const sample& s) {
  const auto data = s.data();
  if (c.json) {
    nlohmann::ordered_json one = {{"publisher", s.publisher_name()},
                                  {"sequence", s.sequence()},
                                  {"time", exact_words_of(s.time())},
                                  {"time_ns", s.time().time_since_epoch().count()},
                                  {"bytes", data.size()}};
    if (!c.hex && kind.text) one["text"] = text_in(s);
    if (!c.hex && kind.described(s)) one["fields"] = json_of(kind.fields, data);
    if (c.hex || (!kind.text && !kind.described(s))) one["hex"] = hex(data);
    fmt::print("{}\n", one.dump(-1, ' ', false, nlohmann::ordered_json::error_handler_t::replace));
    return;
  }
  const std::string head = fmt::format("{} {} {}", s.publisher_name(), s.sequence(), exact_words_of(s.time()));
  if (!c.hex && kind.text) {
    fmt::print("{} {}\n", head, printable(text_in(s)));
  } else if (!c.hex && kind.described(s)) {
    fmt::print("{} {}\n", head, words_of(kind.fields, data));
  } else {
    fmt::print("{} {} bytes\n{}", head, data.size(), hex_dump(data));
  }
}

// The topic that was named, or the only one that is there.
std::string topic_of(const echo_choices& c) {
  if (!c.topic.empty()) return c.topic;
  const auto topics = quoit::list_kept(c.directory);
  if (!topics) throw std::runtime_error(topics.error().message());
  if (topics->size() == 1) return topics->front().name;
  std::string names;
  for (const auto& t : *topics) names += " " + t.name;
  if (names.empty()) throw std::runtime_error(fmt::format("no topics in {}", c.directory));
  throw CLI::ValidationError(fmt::format("which topic of {}? There are{}", c.directory, names));
}

void check_publisher(const echo_choices& c, const std::string& topic) {
  if (c.publisher.empty() || c.follow) return;
  const auto topics = quoit::list_kept(c.directory);
  if (!topics) return;
  for (const auto& t : *topics) {
    if (t.name != topic) continue;
    for (const auto& l : t.lanes) {
      if (l.publisher == c.publisher) return;
    }
    throw std::runtime_error(
        fmt::format("there is no publisher {} of topic {} in {}", c.publisher, topic, c.directory));
  }
}

void echo(const echo_choices& c, int& status) {
  quoit::cursor where;
  quoit::start from;
  try {
    from = start_of(c.from, std::chrono::time_point_cast<std::chrono::nanoseconds>(std::chrono::system_clock::now()),
                    where);
  } catch (const std::invalid_argument& e) {
    throw CLI::ValidationError(e.what());
  }
  const std::string topic = topic_of(c);
  check_publisher(c, topic);
  auto reader = quoit::replay<quoit::bytes>::open_any(c.directory, topic, {.start = from});
  if (!reader) {
    fmt::print(stderr, "quoit: {}\n", reader.error().message());
    status = reader.error().code() == quoit::errc::invalid_name ? exit_usage : exit_failed;
    return;
  }
  message_kind kind;
  for (std::uint64_t printed = 0; c.count == 0 || printed < c.count;) {
    const auto s = reader->poll();
    if (!s) {
      fmt::print(stderr, "quoit: {}: {}\n", topic,
                 s.error() == quoit::errc::lagged
                     ? fmt::format("{} messages were removed before they were read", s.error().value())
                     : s.error().message());
      if (s.error() != quoit::errc::lagged) status = exit_failed;
      continue;
    }
    if (!*s) {
      std::fflush(stdout);
      if (!c.follow) break;
      std::this_thread::sleep_for(look_again);
      continue;
    }
    if (!c.publisher.empty() && s->publisher_name() != c.publisher) continue;
    kind.learn(*reader);
    print(c, kind, *s);
    ++printed;
  }
}

}  // namespace

void add_echo(CLI::App& topic, int& status) {
  CLI::App* const command = topic.add_subcommand(
      "echo",
      "The messages of a topic on disk, of all its publishers in the order of their times: publisher, sequence, time, "
      "and the text, the fields or the bytes. Needs no process that publishes, and no permission to write");
  const auto c = std::make_shared<echo_choices>();
  command->add_option("directory", c->directory, "Where the topic is kept, as its publishers name it")->required();
  command->add_option("topic", c->topic, "The topic (the only one that is there)");
  command->add_option("--from", c->from, fmt::format("Where to begin (earliest): {}", starts_allowed));
  command->add_option("--count", c->count, "Stop after so many")->check(CLI::PositiveNumber);
  command->add_option("--publisher", c->publisher, "Only what this one published");
  command->add_flag("--follow,-f", c->follow, "At the end, wait for what is published next");
  command->add_flag("--hex", c->hex, "Bytes, also where the type is known");
  command->add_flag("--json", c->json, "An object a line");
  command->callback([c, &status] { echo(*c, status); });
}

}  // namespace cli
