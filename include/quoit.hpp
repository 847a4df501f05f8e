// Everything at once.
#pragma once

#include "quoit/bus.hpp"
#include "quoit/error.hpp"
#include "quoit/fields.hpp"
#include "quoit/inspect.hpp"
#include "quoit/loan.hpp"
#include "quoit/message.hpp"
#include "quoit/options.hpp"
#include "quoit/publisher.hpp"
#include "quoit/result.hpp"
#include "quoit/sample.hpp"
#include "quoit/subscriber.hpp"
#include "quoit/version.hpp"
