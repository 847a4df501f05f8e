// Runs measuring processes, and sees to it that nothing is left of them, however they end.
#pragma once

#include <sys/types.h>

#include <functional>
#include <string>

namespace bench {

// The bus of this process's measurements. Buses of all of them begin with the same word.
std::string bus_of_this_process();

// Waits until the process ends; its wait status. It sees the ends of other children too, and may be interrupted.
using waiting = std::function<int(pid_t)>;
int wait_for(pid_t process);

// Forks, runs `body` in the child and waits for it with `wait`, and for whatever it leaves behind. True if `body`
// returned 0. If not, this process's bus is removed; SIGINT and SIGTERM end the child first and then this process.
// Requires: no bus is open in this process. Throws std::runtime_error if there is no process to be had.
bool supervise(const std::function<int()>& body, const waiting& wait = wait_for);

// True once a signal has asked this process to end: the child is killed already.
bool interrupted();

// Removes what earlier runs left that were killed.
void clean_up_after_earlier_runs();

}  // namespace bench
