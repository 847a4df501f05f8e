# shellcheck shell=bash disable=SC2034
# What tools/demo, tools/test and .ci/run share: packages, build directories, short messages. Sourced, not run.

quoit_root=$(cd -- "$(dirname -- "${BASH_SOURCE[0]}")/.." && pwd)
quoit_jobs=${QUOIT_JOBS:-$(nproc)}
# Tests wait for each other's processes more than they compute.
quoit_test_jobs=$((quoit_jobs + 1))

say() { printf '%s\n' "== $*"; }

die() {
  printf '%s\n' "error: $*" >&2
  exit 1
}

# Alternatives are separated by |, the preferred one first: releases of Debian and Ubuntu differ in what they carry. One
# that is there already will do, but for alternatives that begin with !: they are for checks that are known to work with
# the first, which is installed wherever the release has it.
debian_packages_build=(
  'g++-12|g++' meson ninja-build pkg-config cmake python3
  'libboost1.81-dev|libboost-dev' libexpected-dev liburing-dev
  libcli11-dev libfmt-dev nlohmann-json3-dev
)
debian_packages_test=(doctest-dev librapidcheck-dev relacy-dev)
debian_packages_check=(
  '!clang-19|clang' '!libclang-rt-19-dev|libclang-rt-dev' '!llvm-19|llvm' '!clang-format-19|clang-format' shellcheck
  chromium # draws the page of `quoit bench compare`, which tools/test skips without it
)

# For tools/test-old-kernel, on x86-64.
debian_packages_emulator=(qemu-system-x86)

fedora_line='dnf install gcc-c++ meson ninja-build cmake pkgconf-pkg-config python3 git boost-devel liburing-devel cli11-devel fmt-devel json-devel doctest-devel'
arch_line='pacman -S --needed gcc meson ninja cmake pkgconf python git boost liburing tl-expected cli11 fmt nlohmann-json doctest'

on_debian() { command -v apt-get >/dev/null && command -v dpkg-query >/dev/null; }

package_installed() {
  [[ $(dpkg-query -W -f='${Status}' "$1" 2>/dev/null) == 'install ok installed' ]]
}

# Prints the alternatives of which no member is installed; of those with a !, those whose first member is not.
packages_missing() {
  local alternatives name found names
  for alternatives in "$@"; do
    found=
    names=${alternatives#!}
    if [[ $alternatives == !* ]]; then names=${names%%|*}; fi
    for name in ${names//|/ }; do
      if package_installed "$name"; then found=1; fi
    done
    if [[ -z $found ]]; then printf '%s\n' "${alternatives#!}"; fi
  done
}

as_root() {
  if ((EUID == 0)); then
    "$@"
  elif command -v sudo >/dev/null; then
    sudo "$@"
  else
    die "not root and no sudo; as root, run: $*"
  fi
}

# install_packages PACKAGE...: what is missing, and nothing when nothing is.
install_packages() {
  if ! on_debian; then
    say 'not a Debian system: nothing is installed here; what is needed comes with one of'
    printf '     Fedora: %s\n     Arch:   %s\n' "$fedora_line" "$arch_line"
    say 'going on with what is there; Meson fetches the libraries that have a file in subprojects/'
    return 0
  fi
  local missing=() chosen=() alternatives name
  mapfile -t missing < <(packages_missing "$@")
  if ((${#missing[@]} == 0)); then return 0; fi

  say "installing what is missing: ${missing[*]%%|*}"
  as_root apt-get update -qq </dev/null
  for alternatives in "${missing[@]}"; do
    for name in ${alternatives//|/ }; do
      if apt-cache show "$name" >/dev/null 2>&1; then
        chosen+=("$name")
        continue 2
      fi
    done
    say "this release has no package ${alternatives//|/ or }: going on without"
  done
  if ((${#chosen[@]} > 0)); then
    as_root env DEBIAN_FRONTEND=noninteractive apt-get install -qq -y --no-install-recommends "${chosen[@]}" </dev/null >/dev/null
  fi
}

# The compiler of a normal build: $CXX, or g++-12 where there is one (the oldest that is supported), or the default.
default_compiler() {
  if [[ -n ${CXX:-} ]]; then
    printf '%s\n' "$CXX"
  elif command -v g++-12 >/dev/null; then
    printf 'g++-12\n'
  else
    printf 'c++\n'
  fi
}

# What our own commands build with: a warning is an error here, and a user's compiler, newer than ours, may have new ones;
# a unity build of the library takes a third of the time.
quoit_build_options=(-Dwerror=true -Dunity=on -Dunity_size=12)

# configure DIRECTORY COMPILER [MESON OPTION...]: sets a build directory up, when it is not.
configure() {
  local directory=$1 compiler=$2
  shift 2
  if [[ -f $directory/build.ninja ]]; then return 0; fi
  say "configuring $directory with $compiler${*:+, $*}"
  mkdir -p "$directory"
  CXX=$compiler meson setup "$directory" "$quoit_root" "${quoit_build_options[@]}" "$@" </dev/null >"$directory/setup.log" 2>&1 || {
    cat "$directory/setup.log" >&2
    die 'meson setup failed, see above'
  }
}

# compile DIRECTORY [TARGET...]: builds the targets, or everything.
compile() {
  local directory=$1
  shift
  # Meson may have to run again first, and says much.
  if ! ninja -C "$directory" build.ninja </dev/null >"$directory/setup.log" 2>&1; then
    cat "$directory/setup.log" >&2
    die 'meson failed, see above'
  fi
  say "building $directory${*:+: $*}"
  ninja -C "$directory" -j "$quoit_jobs" --quiet "$@" </dev/null
}
