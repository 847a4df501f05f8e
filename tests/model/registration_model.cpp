// Coming, going and dying (D2 to D4, D6): a model of the steps of src/topic/node.cpp, and not that code, whose steps
// are system calls. Every interleaving of a few processes, each of which may be killed between any two steps, is
// searched; and once more with somebody who removes the name of the bus's file at any time.
#include <cstdint>
#include <cstdio>
#include <cstring>
#include <string>
#include <unordered_set>
#include <vector>

namespace {

using u8 = std::uint8_t;

constexpr int processes = 2;
constexpr int slots = 3;
constexpr int inodes_max = 5;
constexpr int generations_max = 7;

std::string rule_off;
bool on(const char* name) { return rule_off != name; }

enum step : u8 {
  look_up,
  make,
  take_instance,
  place,
  lock_file,
  ask_links,
  enter_instance,
  ask_links_again,
  take_byte,
  write_record,
  next_dead,
  take_dead_byte,
  read_record,
  clean,
  free_record,
  release_dead_byte,
  stay,
  begin_leaving,
  leave_first,
  leave_second,
  probe_others,
  ask_instances,
  remove_topics,
  leave_instance,
  remove_name,
  unlock,
  over,
};

struct inode {
  u8 linked, lock, byte[slots], record[slots];  // who holds: process + 1; the record: its generation
};
struct process {
  u8 at, file, slot, dead_slot, read, held, generation, lives, locked;
  u8 instance;  // the file whose byte of the directory is held
};
struct state {
  u8 name, inodes, generations, deaths;
  u8 removals, removed;          // of the name, by somebody else: still to come, and whether there was one
  u8 left[generations_max + 1];  // what a generation has in topics
  inode file[inodes_max + 1];
  process p[processes];
};

bool in(const process& p) { return p.at >= next_dead && p.at <= begin_leaving; }

// What a step has broken; nullptr: nothing.
const char* broken(const state& s) {
  for (int i = 0; i < processes; ++i) {
    const process& p = s.p[i];
    if (!in(p)) continue;
    if (s.name != p.file && s.removed == 0) return "a process is in a file that has no name";
    if (p.instance != p.file) return "a living process is on an instance that the directory does not know";
    if (s.file[p.file].record[p.slot] != p.generation) return "a living process has no record";
    if (s.file[p.file].byte[p.slot] != i + 1) return "a living process holds no byte";
    if (s.left[p.generation] == 0) return "somebody cleaned up after a living process";
  }
  // What a name led to that somebody removed is found by the next last one out.
  for (int g = 1; s.removed == 0 && g <= s.generations; ++g) {
    bool known = s.left[g] == 0;
    for (const process& p : s.p) known = known || p.generation == g;
    for (int k = 0; k < slots; ++k) known = known || (s.name != 0 && s.file[s.name].record[k] == g);
    // Who is just about to free it has read it.
    for (const process& p : s.p) known = known || p.read == g;
    if (!known) return "what a dead process left is found by nobody";
  }
  return nullptr;
}

// One step of process i. False: it cannot go on now.
bool go(state& s, int i) {
  process& p = s.p[i];
  const u8 me = static_cast<u8>(i + 1);
  inode& f = s.file[p.file];
  switch (p.at) {
    case look_up:
      p.file = s.name;
      p.at = s.name == 0 ? make : lock_file;
      return true;
    case make:
      if (s.inodes == inodes_max) return false;
      p.file = ++s.inodes;
      s.file[p.file] = {};
      s.file[p.file].lock = me;
      p.at = take_instance;
      return true;
    case take_instance:
      if (on("D6_instance_before_name")) p.instance = p.file;
      p.at = place;
      return true;
    case place:
      if (s.name != 0 && on("D2_no_replace")) {
        f.lock = 0;
        p.instance = 0;
        p.at = look_up;
        return true;
      }
      s.file[s.name].linked = 0;
      s.name = p.file;
      f.linked = 1;
      p.at = take_byte;
      return true;
    case lock_file:
      if (f.lock != 0) return false;
      f.lock = me;
      p.at = ask_links;
      return true;
    case ask_links:
      p.at = enter_instance;
      if (f.linked == 0 && on("D2_links_after_lock")) {
        f.lock = 0;
        p.at = look_up;
      }
      return true;
    case enter_instance:
      if (on("D6_instance_before_entry")) p.instance = p.file;
      p.at = ask_links_again;
      return true;
    case ask_links_again:
      p.at = take_byte;
      if (f.linked == 0 && on("D2_links_after_lock") && on("D6_links_after_instance")) {
        f.lock = 0;
        p.instance = 0;
        p.at = look_up;
      }
      return true;
    case take_byte:
      for (u8 k = 0; k < slots; ++k) {
        if (f.record[k] != 0 || f.byte[k] != 0) continue;
        p.slot = k;
        if (on("D4_byte_before_record")) {
          f.byte[k] = me;
        } else {
          if (s.generations == generations_max) return false;
          p.generation = f.record[k] = ++s.generations;
          s.left[p.generation] = 1;
        }
        p.at = write_record;
        return true;
      }
      f.lock = 0;  // full
      p.at = over;
      return true;
    case write_record:
      if (on("D4_byte_before_record")) {
        if (s.generations == generations_max) return false;
        p.generation = f.record[p.slot] = ++s.generations;
        s.left[p.generation] = 1;
      } else {
        if (f.byte[p.slot] != 0) return false;
        f.byte[p.slot] = me;
      }
      f.lock = 0;
      p.dead_slot = 0;
      p.at = next_dead;
      return true;
    case next_dead:
      if (p.dead_slot == slots) {
        p.at = stay;
      } else if (p.dead_slot == p.slot || f.record[p.dead_slot] == 0 || f.byte[p.dead_slot] != 0) {
        ++p.dead_slot;
      } else {
        p.read = f.record[p.dead_slot];
        p.at = take_dead_byte;
      }
      return true;
    case take_dead_byte:
      p.at = read_record;
      if (!on("D4_take_the_byte")) return true;
      if (f.byte[p.dead_slot] != 0) {
        p.read = 0;
        ++p.dead_slot;
        p.at = next_dead;
        return true;
      }
      f.byte[p.dead_slot] = me;
      p.held = 1;
      return true;
    case read_record:
      if (on("D4_record_after_byte")) p.read = f.record[p.dead_slot];
      p.at = clean;
      return true;
    case clean:
      s.left[p.read] = 0;
      p.at = free_record;
      return true;
    case free_record:
      f.record[p.dead_slot] = 0;
      p.read = 0;
      p.at = release_dead_byte;
      return true;
    case release_dead_byte:
      if (p.held != 0) f.byte[p.dead_slot] = 0;
      p.held = 0;
      ++p.dead_slot;
      p.at = next_dead;
      return true;
    case stay: p.at = begin_leaving; return true;
    case begin_leaving:
      // A lock that somebody holds for too long is gone without; then nothing is removed.
      p.locked = f.lock == 0 || !on("D3_leave_under_lock");
      if (p.locked != 0 && on("D3_leave_under_lock")) f.lock = me;
      s.left[p.generation] = 0;  // its endpoints close
      p.generation = 0;
      p.at = leave_first;
      return true;
    case leave_first:
    case leave_second:
      if ((p.at == leave_first) == on("D4_record_before_byte")) {
        f.record[p.slot] = 0;
      } else {
        f.byte[p.slot] = 0;
      }
      p.at = p.at == leave_second && p.locked == 0 ? static_cast<u8>(unlock) : static_cast<u8>(p.at + 1);
      return true;
    case probe_others: {
      bool others = f.linked == 0 && on("D6_removes_with_its_name_only");
      for (const u8 b : f.byte) others = others || b != 0;
      p.at = others ? unlock : ask_instances;
      return true;
    }
    case ask_instances: {
      bool others = false;
      for (const process& other : s.p) others = others || (other.instance != 0 && other.instance != p.file);
      p.at = others && on("D6_no_topics_of_others") ? leave_instance : remove_topics;
      return true;
    }
    case remove_topics:
      // All that anybody left, and what whoever lives on another instance has.
      for (int g = 1; g <= generations_max; ++g) s.left[g] = 0;
      p.at = leave_instance;
      return true;
    case leave_instance:
      p.instance = 0;
      p.at = remove_name;
      return true;
    case remove_name:
      // Whatever the name means by now.
      s.file[s.name].linked = 0;
      s.name = 0;
      p.at = unlock;
      return true;
    case unlock:
      p.instance = 0;
      if (f.lock == me) f.lock = 0;
      p.at = over;
      if (p.lives > 0) {
        --p.lives;
        p.at = look_up;
      }
      return true;
    default: return false;
  }
}

// The kernel drops its locks.
bool die(state& s, int i) {
  process& p = s.p[i];
  if (s.deaths == 0 || p.at == over || p.at == look_up) return false;
  --s.deaths;
  for (inode& f : s.file) {
    if (f.lock == i + 1) f.lock = 0;
    for (u8& b : f.byte) {
      if (b == i + 1) b = 0;
    }
  }
  p = {over, 0, 0, 0, 0, 0, 0, p.lives, 0, 0};
  if (p.lives > 0) p = {look_up, 0, 0, 0, 0, 0, 0, static_cast<u8>(p.lives - 1), 0, 0};
  return true;
}

// Somebody removes the name. Not while the last one out does, which has asked before whether the file has its name.
bool remove(state& s) {
  if (s.removals == 0 || s.name == 0) return false;
  for (const process& p : s.p) {
    if (p.at >= ask_instances && p.at <= remove_name) return false;
  }
  --s.removals;
  s.removed = 1;
  s.file[s.name].linked = 0;
  s.name = 0;
  return true;
}

struct outcome {
  const char* fault;
  std::size_t states;
};

outcome search(u8 deaths, u8 removals) {
  static_assert(sizeof(state) == 6 + generations_max + 1 + (2 + 2 * slots) * (inodes_max + 1) + 10 * processes);
  state first{};
  first.deaths = deaths;
  first.removals = removals;
  first.p[0].lives = 2;  // comes back twice
  std::unordered_set<std::string> seen;
  std::vector<state> open{first};
  const auto add = [&](const state& s) {
    std::string key(sizeof s, '\0');
    std::memcpy(key.data(), &s, sizeof s);
    if (seen.insert(std::move(key)).second) open.push_back(s);
  };
  while (!open.empty()) {
    const state s = open.back();
    open.pop_back();
    for (int what = 0; what <= 2 * processes; ++what) {
      state next = s;
      const bool changed = what == 2 * processes ? remove(next)
                           : what % 2 == 0       ? go(next, what / 2)
                                                 : die(next, what / 2);
      if (!changed) continue;
      next.file[0] = {};  // stands for no file
      next.left[0] = 0;
      if (const char* const fault = broken(next)) return {fault, seen.size()};
      add(next);
    }
  }
  return {nullptr, seen.size()};
}

}  // namespace

int main() {
  int good = 0;
  int bad = 0;
  const auto report = [&](bool as_wanted, const char* what, const outcome& o) {
    (as_wanted ? good : bad)++;
    std::printf("%-4s %-40s %8zu states: %s\n", as_wanted ? "ok" : "BAD", what, o.states,
                o.fault != nullptr ? o.fault : "nothing is broken");
    std::fflush(stdout);
  };
  constexpr u8 deaths = 2;
  const outcome all = search(deaths, 0);
  report(all.fault == nullptr, "every rule on", all);
  const outcome removed = search(1, 1);
  report(removed.fault == nullptr, "every rule on, and the name is removed", removed);
  for (const char* const rule : {"D2_no_replace", "D2_links_after_lock", "D3_leave_under_lock", "D4_byte_before_record",
                                 "D4_record_before_byte", "D4_take_the_byte", "D4_record_after_byte"}) {
    rule_off = rule;
    const outcome o = search(deaths, 0);
    report(o.fault != nullptr, rule, o);
  }
  for (const char* const rule : {"D6_instance_before_name", "D6_instance_before_entry", "D6_links_after_instance",
                                 "D6_removes_with_its_name_only", "D6_no_topics_of_others"}) {
    rule_off = rule;
    const outcome o = search(1, 1);
    report(o.fault != nullptr, rule, o);
  }
  std::printf("%d passed, %d failed, 0 skipped\n", good, bad);
  return bad == 0 ? 0 : 1;
}
