// quoit topic list, quoit node list, quoit clean.
#include <fmt/core.h>

#include <CLI/CLI.hpp>
#include <cstdlib>
#include <memory>
#include <nlohmann/json.hpp>
#include <quoit/bus.hpp>
#include <quoit/clean.hpp>
#include <quoit/inspect.hpp>
#include <string>
#include <vector>

#include "commands.hpp"

namespace cli {

namespace {

struct topic_choices {
  std::string bus;
  bool all = false;
  bool force = false;
  bool json = false;
};

// What no listing shows and nothing cleans. A place that is not there is no failure.
void say_obstacles(int& status) {
  for (const quoit::error& obstacle : quoit::list_obstacles()) {
    fmt::print(stderr, "quoit: {}\n", obstacle.message());
    if (obstacle.code() != quoit::errc::not_found) status = exit_failed;
  }
}

std::vector<std::string> chosen_buses(const topic_choices& c, std::vector<std::string> (*all)()) {
  if (!c.bus.empty()) return {c.bus};
  if (c.all) return all();
  const char* const from_environment = std::getenv("QUOIT_BUS");
  return {from_environment != nullptr && *from_environment != '\0' ? from_environment : "default"};
}

const char* name_of(quoit::policy p) {
  return p == quoit::policy::block       ? "block"
         : p == quoit::policy::overwrite ? "overwrite"
         : p == quoit::policy::fail      ? "fail"
                                         : "?";
}
const char* name_of(quoit::mode m) {
  return m == quoit::mode::automatic  ? "automatic"
         : m == quoit::mode::reliable ? "reliable"
         : m == quoit::mode::lossy    ? "lossy"
                                      : "?";
}

nlohmann::ordered_json to_json(const std::string& bus, const quoit::topic_info& t) {
  nlohmann::ordered_json publishers = nlohmann::ordered_json::array();
  for (const auto& p : t.publishers) {
    publishers.push_back({{"number", p.number},
                          {"node", p.node},
                          {"state", p.state},
                          {"policy", name_of(p.policy)},
                          {"capacity_bytes", p.capacity_bytes},
                          {"message_bytes_max", p.message_bytes_max},
                          {"messages", p.messages},
                          {"bytes", p.message_bytes},
                          {"refused", p.refused},
                          {"wakes", p.wakes},
                          {"pid", p.pid},
                          {"why", p.why},
                          {"name", p.name}});
  }
  nlohmann::ordered_json subscriptions = nlohmann::ordered_json::array();
  for (const auto& s : t.subscriptions) {
    subscriptions.push_back({{"number", s.number},
                             {"node", s.node},
                             {"mode", name_of(s.mode)},
                             {"samples_max", s.samples_max},
                             {"received", s.received},
                             {"lost", s.lost},
                             {"pid", s.pid},
                             {"why", s.why}});
  }
  return {{"bus", bus},
          {"topic", t.name},
          {"transport", t.transport == quoit::transport::kernel ? "kernel" : "shared_memory"},
          {"type", t.type_name},
          {"fields", t.type_fields},
          {"type_bytes", t.type_bytes},
          {"type_alignment", t.type_alignment},
          {"publishers", publishers},
          {"subscriptions", subscriptions},
          {"directory", t.directory},
          {"problem", t.problem}};
}

std::string size_of(const quoit::topic_info& t) {
  return t.type_bytes == 0 ? "variable" : fmt::format("{}", t.type_bytes);
}

bool read_bus(const topic_choices& c, const std::string& name, quoit::bus_info& info, int& status) {
  auto seen = quoit::inspect(name);
  if (seen) {
    info = std::move(*seen);
    if (!info.problem.empty()) {
      fmt::print(stderr, "quoit: bus {}: {}\n", name, info.problem);
      status = exit_failed;
    }
    return true;
  }
  const bool missing = seen.error().code() == quoit::errc::not_found;
  // One that went since all were listed is none of them.
  if (missing && c.bus.empty() && c.all) return false;
  if (missing) {
    fmt::print(stderr, "quoit: there is no bus {}: nobody has opened it (--all lists every bus)\n", name);
  } else {
    fmt::print(stderr, "quoit: bus {}: {}\n", name, seen.error().message());
  }
  status = seen.error().code() == quoit::errc::invalid_name ? exit_usage : exit_failed;
  return false;
}

void list_topics(const topic_choices& c, int& status) {
  say_obstacles(status);
  bool head = false;
  for (const std::string& name : chosen_buses(c, quoit::list_buses)) {
    quoit::bus_info bus;
    if (!read_bus(c, name, bus, status)) continue;
    for (const auto& t : bus.topics) {
      if (c.json) {
        fmt::print("{}\n", to_json(name, t).dump(-1, ' ', false, nlohmann::ordered_json::error_handler_t::replace));
        continue;
      }
      if (!head) {
        fmt::print("{:<12} {:<28} {:<20} {:>8} {:>4} {:>4} {:>12} {:>10} {}\n", "bus", "topic", "type", "bytes", "pubs",
                   "subs", "messages", "lost", "kept in");
        head = true;
      }
      std::uint64_t messages = 0, lost = 0;
      for (const auto& p : t.publishers) messages += p.messages;
      for (const auto& s : t.subscriptions) lost += s.lost;
      fmt::print("{:<12} {:<28} {:<20} {:>8} {:>4} {:>4} {:>12} {:>10} {}\n", name, t.name,
                 t.problem.empty() ? t.type_name : t.problem, size_of(t), t.publishers.size(), t.subscriptions.size(),
                 messages, lost, t.directory.empty() ? "-" : t.directory);
    }
  }
}

const char* words_of(quoit::rung rung) {
  switch (rung) {
    case quoit::rung::futex: return "futex";
    case quoit::rung::pipe: return "pipe";
    default: return "-";
  }
}

void list_nodes(const topic_choices& c, int& status) {
  say_obstacles(status);
  bool head = false;
  for (const std::string& name : chosen_buses(c, quoit::list_buses)) {
    quoit::bus_info bus;
    if (!read_bus(c, name, bus, status)) continue;
    for (const auto& n : bus.nodes) {
      if (c.json) {
        const nlohmann::ordered_json one = {{"bus", name},
                                            {"node", n.number},
                                            {"name", n.name},
                                            {"pid", n.pid},
                                            {"uid", n.uid},
                                            {"alive", n.alive},
                                            {"sleeps", n.sleeps},
                                            {"late_wakes", n.late_wakes},
                                            {"vain_wakes", n.vain_wakes},
                                            {"rung", words_of(n.rung)}};
        fmt::print("{}\n", one.dump(-1, ' ', false, nlohmann::ordered_json::error_handler_t::replace));
        continue;
      }
      if (!head) {
        fmt::print("{:<12} {:>5} {:<20} {:>8} {:>6} {:<6} {:<6} {:>10} {:>10} {:>10}\n", "bus", "node", "name", "pid",
                   "uid", "state", "rung", "sleeps", "late wakes", "vain wakes");
        head = true;
      }
      fmt::print("{:<12} {:>5} {:<20} {:>8} {:>6} {:<6} {:<6} {:>10} {:>10} {:>10}\n", name, n.number,
                 n.name.empty() ? "-" : n.name, n.pid, n.uid, n.alive ? "alive" : "dead", words_of(n.rung), n.sleeps,
                 n.late_wakes, n.vain_wakes);
    }
  }
}

void clean(const topic_choices& c, int& status) {
  say_obstacles(status);
  for (const std::string& name : chosen_buses(c, quoit::list_remains)) {
    if (const auto cleaned = quoit::clean(name, c.force); !cleaned) {
      fmt::print(stderr, "quoit: bus {}: {}\n", name, cleaned.error().message());
      status = cleaned.error().code() == quoit::errc::invalid_name ? exit_usage : exit_failed;
    }
  }
}

std::shared_ptr<topic_choices> add_topic_options(CLI::App& command, bool json) {
  const auto c = std::make_shared<topic_choices>();
  command.add_option("--bus", c->bus, "The bus (the environment variable QUOIT_BUS, or else \"default\")");
  command.add_flag("--all", c->all, "Every bus of this machine");
  if (json) command.add_flag("--json", c->json, "An object a line");
  return c;
}

}  // namespace

void add_topic(CLI::App& app, int& status) {
  CLI::App* const group = app.add_subcommand("topic", "Topics of a bus, or on disk");
  require_subcommand(*group);
  CLI::App* const list = group->add_subcommand(
      "list", "The topics, their types, who publishes and who subscribes. Exit status 1 if there is no such bus");
  const auto c = add_topic_options(*list, true);
  list->callback([c, &status] { list_topics(*c, status); });
  add_kept(*group, status);
  add_echo(*group, status);
}

void add_node(CLI::App& app, int& status) {
  CLI::App* const group = app.add_subcommand("node", "Nodes of a bus: the processes that opened it");
  require_subcommand(*group);
  CLI::App* const list =
      group->add_subcommand("list", "The nodes, and whether they live. Exit status 1 if there is no such bus");
  const auto c = add_topic_options(*list, true);
  list->callback([c, &status] { list_nodes(*c, status); });
}

void add_clean(CLI::App& app, int& status) {
  CLI::App* const command = app.add_subcommand(
      "clean",
      "Remove what dead processes left of a bus, and all of it if nobody on it is alive. Exit status 1 if "
      "somebody is alive on a damaged bus, or may be");
  const auto c = add_topic_options(*command, false);
  command->add_flag(
      "--force", c->force,
      "Also where it cannot be known whether somebody is alive, because the file of the bus is gone, and a bus "
      "of another version");
  command->callback([c, &status] { clean(*c, status); });
}

}  // namespace cli
