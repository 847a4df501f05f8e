// quoit topic info, verify, repair: topics on disk. No bus is opened.
#include <fmt/core.h>
#include <unistd.h>

#include <CLI/CLI.hpp>
#include <iostream>
#include <memory>
#include <nlohmann/json.hpp>
#include <quoit/kept.hpp>
#include <string>
#include <vector>

#include "commands.hpp"
#include "words.hpp"

namespace cli {

namespace {

constexpr std::size_t faults_shown = 20;

struct kept_choices {
  std::string directory;
  std::string topic;
  std::string publisher;
  bool json = false;
  bool dry_run = false;
  bool yes = false;
};

void print_json(const nlohmann::ordered_json& one) {
  fmt::print("{}\n", one.dump(-1, ' ', false, nlohmann::ordered_json::error_handler_t::replace));
}

std::string sequences_of(std::uint64_t first, std::uint64_t next) {
  return first == next ? "-" : fmt::format("{}..{}", first, next - 1);
}

void fail(const quoit::error& why, int& status) {
  fmt::print(stderr, "quoit: {}\n", why.message());
  status = why.code() == quoit::errc::invalid_name ? exit_usage : exit_failed;
}

void problem(const std::string& topic, const std::string& publisher, const std::string& words, int& status) {
  fmt::print(stderr, "quoit: {} {}: {}\n", topic, publisher, words);
  status = exit_failed;
}

// ---- info ----------------------------------------------------------------------------------------------

nlohmann::ordered_json to_json(const quoit::kept_topic_info& t) {
  nlohmann::ordered_json lanes = nlohmann::ordered_json::array();
  for (const auto& l : t.lanes) {
    lanes.push_back({{"publisher", l.publisher},
                     {"path", l.path},
                     {"held", l.held},
                     {"pid", l.pid},
                     {"segments", l.segments},
                     {"disk_bytes", l.disk_bytes},
                     {"messages", l.messages},
                     {"first_sequence", l.first_sequence},
                     {"next_sequence", l.next_sequence},
                     {"first_time_ns", l.first_time.time_since_epoch().count()},
                     {"last_time_ns", l.last_time.time_since_epoch().count()},
                     {"problem", l.problem}});
  }
  return {{"topic", t.name},
          {"type", t.type_name},
          {"fields", t.type_fields},
          {"type_bytes", t.type_bytes},
          {"type_alignment", t.type_alignment},
          {"publishers", lanes},
          {"problem", t.problem}};
}

void info(const kept_choices& c, int& status) {
  const auto topics = quoit::list_kept(c.directory);
  if (!topics) return fail(topics.error(), status);
  bool head = false;
  bool any = false;
  for (const auto& t : *topics) {
    if (!c.topic.empty() && t.name != c.topic) continue;
    any = true;
    if (!t.problem.empty()) problem(t.name, "", t.problem, status);
    if (c.json) print_json(to_json(t));
    for (const auto& l : t.lanes) {
      if (!l.problem.empty()) problem(t.name, l.publisher, l.problem, status);
      if (c.json) continue;
      if (!head) {
        fmt::print("{:<24} {:<12} {:<16} {:>12} {:>20} {:<24} {:<24} {:>10} {}\n", "topic", "publisher", "type",
                   "messages", "sequences", "from", "to", "on disk", "held by");
        head = true;
      }
      fmt::print("{:<24} {:<12} {:<16} {:>12} {:>20} {:<24} {:<24} {:>10} {}\n", t.name, l.publisher, t.type_name,
                 l.messages, sequences_of(l.first_sequence, l.next_sequence), words_of(l.first_time),
                 words_of(l.last_time), words_of_bytes(l.disk_bytes), l.held ? fmt::format("pid {}", l.pid) : "-");
    }
  }
  if (any) return;
  if (c.topic.empty()) {
    if (!c.json) fmt::print("no topics in {}\n", c.directory);
    return;
  }
  fmt::print(stderr, "quoit: there is no topic {} in {}\n", c.topic, c.directory);
  status = exit_failed;
}

// ---- verify --------------------------------------------------------------------------------------------

nlohmann::ordered_json to_json(const std::vector<quoit::kept_fault>& faults) {
  nlohmann::ordered_json all = nlohmann::ordered_json::array();
  for (const auto& f : faults) {
    all.push_back({{"words", f.words}, {"path", f.path}, {"byte", f.byte}, {"sequence", f.sequence}});
  }
  return all;
}

nlohmann::ordered_json to_json(const quoit::kept_verification& v) {
  return {{"topic", v.topic},
          {"publisher", v.publisher},
          {"path", v.path},
          {"whole", v.whole()},
          {"held", v.held},
          {"segments", v.segments},
          {"messages", v.messages},
          {"message_bytes", v.message_bytes},
          {"missing", v.missing},
          {"skipped_sequences", v.skipped},
          {"first_sequence", v.first_sequence},
          {"next_sequence", v.next_sequence},
          {"first_time_ns", v.first_time.time_since_epoch().count()},
          {"last_time_ns", v.last_time.time_since_epoch().count()},
          {"durable_sequence", v.durable_sequence},
          {"faults", to_json(v.faults)},
          {"remains", to_json(v.remains)},
          {"problem", v.problem}};
}

std::string verdict_on(const quoit::kept_verification& v) {
  if (!v.problem.empty()) return "not looked at";
  std::string words = v.whole()              ? "whole"
                      : v.faults.size() == 1 ? "1 fault"
                                             : fmt::format("{} faults", v.faults.size());
  if (v.missing != 0) words += fmt::format(", {} given up or gone", v.missing);
  if (v.held) words += ", being written";
  return words;
}

void print_faults(const std::vector<quoit::kept_fault>& faults, const char* what) {
  for (std::size_t i = 0; i < faults.size(); ++i) {
    if (i == faults_shown) {
      fmt::print("  and {} more (--json has them all)\n", faults.size() - i);
      return;
    }
    fmt::print("  {}: {}\n", what, faults[i].words);
  }
}

void verify(const kept_choices& c, int& status) {
  const auto lanes = quoit::verify_kept(c.directory, c.topic, c.publisher);
  if (!lanes) return fail(lanes.error(), status);
  if (lanes->empty()) {
    // Whoever wants to know that all is well does not want to hear it of nothing.
    fmt::print(stderr, "quoit: no topics in {}\n", c.directory);
    status = exit_failed;
    return;
  }
  if (!c.json) {
    fmt::print("{:<24} {:<12} {:>8} {:>12} {:>12} {:>20} {:>12} {}\n", "topic", "publisher", "segments", "messages",
               "payload", "sequences", "durable to", "state");
  }
  for (const auto& v : *lanes) {
    if (!v.problem.empty()) problem(v.topic, v.publisher, v.problem, status);
    if (!v.whole()) status = exit_failed;
    if (c.json) {
      print_json(to_json(v));
      continue;
    }
    fmt::print("{:<24} {:<12} {:>8} {:>12} {:>12} {:>20} {:>12} {}\n", v.topic, v.publisher, v.segments, v.messages,
               words_of_bytes(v.message_bytes), sequences_of(v.first_sequence, v.next_sequence),
               v.durable_sequence == 0 ? "-" : fmt::format("{}", v.durable_sequence - 1), verdict_on(v));
    print_faults(v.faults, "fault");
    print_faults(v.remains, "left by a publisher that was killed");
  }
  if (status == exit_failed && !c.json) {
    std::fflush(stdout);
    fmt::print(stderr, "quoit: not everything is whole; `quoit topic repair --dry-run` says what a repair would do\n");
  }
}

// ---- repair --------------------------------------------------------------------------------------------

nlohmann::ordered_json to_json(const quoit::kept_repair& r, bool done) {
  return {{"topic", r.topic},
          {"publisher", r.publisher},
          {"path", r.path},
          {"repaired", done && r.changed()},
          {"messages", r.messages},
          {"bytes_cut", r.bytes_cut},
          {"segments_cut", r.segments_cut},
          {"cut_sequence", r.cut_sequence},
          {"cuts", r.cuts},
          {"mended", r.mended},
          {"problem", r.problem}};
}

// Says what was done to each lane, or would be; returns how many that are.
std::size_t print_repairs(const kept_choices& c, const std::vector<quoit::kept_repair>& lanes, bool done, int& status) {
  std::size_t changed = 0;
  for (const auto& r : lanes) {
    if (!r.problem.empty()) problem(r.topic, r.publisher, r.problem, status);
    if (r.problem.empty() && r.changed()) ++changed;
    if (c.json) {
      print_json(to_json(r, done));
      continue;
    }
    if (!r.problem.empty()) continue;
    fmt::print("{} {}: ", r.topic, r.publisher);
    if (!r.changed()) {
      fmt::print("whole, nothing to do\n");
      continue;
    }
    fmt::print("{} messages {}", r.messages, done ? "stay" : "would stay");
    if (!r.cuts.empty()) {
      fmt::print(", {} bytes {} cut ({} whole segments set aside), from sequence {} on", r.bytes_cut,
                 done ? "were" : "would be", r.segments_cut, r.cut_sequence);
    }
    fmt::print("\n");
    for (const std::string& words : r.mended) fmt::print("  {}: {}\n", done ? "put right" : "to put right", words);
    for (const std::string& words : r.cuts) fmt::print("  {}: {}\n", done ? "cut" : "to cut", words);
  }
  std::fflush(stdout);
  return changed;
}

bool confirmed(const kept_choices& c) {
  if (c.yes) return true;
  if (::isatty(STDIN_FILENO) == 0) {
    fmt::print(stderr, "quoit: nothing was changed: say --yes to do this, or answer on a terminal\n");
    return false;
  }
  fmt::print(stderr, "What is cut stays on the disk, where no reader looks. Repair? [y/N] ");
  std::string answer;
  std::getline(std::cin, answer);
  if (answer == "y" || answer == "yes") return true;
  fmt::print(stderr, "quoit: nothing was changed\n");
  return false;
}

void repair(const kept_choices& c, int& status) {
  const auto plan = quoit::repair_kept(c.directory, c.topic, c.publisher, true);
  if (!plan) return fail(plan.error(), status);
  if (!c.json && plan->empty()) fmt::print("no topics in {}\n", c.directory);
  // With --yes, one answer for each lane: what was done.
  const bool plan_is_answer = c.dry_run || !c.yes;
  if (plan_is_answer && print_repairs(c, *plan, false, status) == 0) return;
  if (c.dry_run) return;
  if (!confirmed(c)) {
    status = exit_failed;
    return;
  }
  const auto done = quoit::repair_kept(c.directory, c.topic, c.publisher, false);
  if (!done) return fail(done.error(), status);
  print_repairs(c, *done, true, status);
}

std::shared_ptr<kept_choices> add_kept_options(CLI::App& command, bool by_publisher) {
  const auto c = std::make_shared<kept_choices>();
  command.add_option("directory", c->directory, "Where the topics are kept, as their publishers name it")->required();
  command.add_option("topic", c->topic, "Only this topic");
  if (by_publisher) command.add_option("--publisher,--lane", c->publisher, "Only what this publisher keeps");
  command.add_flag("--json", c->json, "An object a line");
  return c;
}

}  // namespace

void add_kept(CLI::App& topic, int& status) {
  CLI::App* const info_command = topic.add_subcommand(
      "info",
      "The topics on disk in a directory: their types, and what each publisher keeps. Exit status 1 if something "
      "could not be read");
  const auto i = add_kept_options(*info_command, false);
  info_command->callback([i, &status] { info(*i, status); });

  CLI::App* const verify_command = topic.add_subcommand(
      "verify",
      "Read every byte of topics on disk, hold it against its checks, and change nothing. Also while they are "
      "written. Exit status 1 if something is not whole");
  const auto v = add_kept_options(*verify_command, true);
  verify_command->callback([v, &status] { verify(*v, status); });

  CLI::App* const repair_command = topic.add_subcommand(
      "repair",
      "Make topics on disk whole: of a segment, what is behind the first bad message is given up, and what cannot be "
      "read is set aside. Says what it would do, and asks. Exit status 1 if something stays as it is");
  const auto r = add_kept_options(*repair_command, true);
  repair_command->add_flag("--dry-run", r->dry_run, "Say what would be done, and do nothing");
  repair_command->add_flag("--yes,-y", r->yes, "Do not ask");
  repair_command->callback([r, &status] { repair(*r, status); });
}

}  // namespace cli
