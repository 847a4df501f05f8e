// Precompiled for the tests: what nearly all of them include. Every file includes what it uses nevertheless.
#include <filesystem>
#include <fstream>
#include <random>

#include <doctest/doctest.h>

#include "library.hpp"
#include "quoit.hpp"
