# SPDX-License-Identifier: Apache-2.0
# shellcheck shell=bash
# Makes and enters the environments of ./run, which sources this file with ROOT set.
#
#   .venv        runtime, tests and simulation on ROS 2 from the package index (or beside a sourced ROS 2); no PyTorch
#   .venv-train  training and export, made when first asked for
#
# Each step leaves a stamp with the hash of what went into it, as its last act. A step whose stamp is missing was
# interrupted and starts from nothing; a step whose hash differs is brought up to date; all others cost nothing.

say() { printf 'run: %s\n' "$*" >&2; }
die() { printf 'run: %s\n' "$@" >&2; exit 1; }
hash_of() { { cat "$@" 2>/dev/null || true; } | sha256sum | cut -c1-16; } # of the files that are there
stamp_is() { [ -f "$1" ] && [ "$(<"$1")" = "$2" ]; }

# Which ROS 2: a sourced installation, else the wheels. Sets FLAVOUR, DISTRO and VENV.
choose_ros() {
  command -v "${PYTHON:=python3}" >/dev/null || die "there is no $PYTHON" "sudo apt-get install python3 python3-venv"
  FLAVOUR=wheels DISTRO=${VL_ANOMALY_ROS_DISTRO:-kilted} VENV="$ROOT/.venv"
  if [ -n "${AMENT_PREFIX_PATH:-}" ] && [ -n "${ROS_DISTRO:-}" ] &&
    "$PYTHON" -c 'import importlib.util as u, sys; sys.exit(u.find_spec("rclpy") is None)'; then
    FLAVOUR=sourced DISTRO=$ROS_DISTRO VENV="$ROOT/.venv-ros-$ROS_DISTRO"
  elif [ "$DISTRO" != kilted ]; then
    VENV="$ROOT/.venv-$DISTRO"
    [ -f "$ROOT/tools/ros-$DISTRO.txt" ] || die "VL_ANOMALY_ROS_DISTRO: expected kilted or jazzy, got $DISTRO"
  fi
}

check_machine() {
  "$PYTHON" -c 'import sys; sys.exit(sys.version_info < (3, 10))' ||
    die "$PYTHON is $("$PYTHON" -V); Python 3.10 or newer is needed: name one by PYTHON=python3.11 ./run ..."
  "$PYTHON" -c 'import ensurepip, venv' 2>/dev/null ||
    die "$PYTHON lacks venv or pip; this mends it:" "  sudo apt-get install python3-venv"
  [ -n "${CXX:-}" ] || command -v c++ >/dev/null || command -v g++ >/dev/null || command -v clang++ >/dev/null ||
    die "there is no C++ compiler, which the ROS 2 messages are built with; this mends it:" "  sudo apt-get install g++"
}

# Unpack Debian packages into a folder, without root and without touching the system's package state.
fetch_debs() { # DEST [--closure] PACKAGE...: with --closure also what they need and the system lacks
  local dest=$1 apt="$1/apt" packages options
  shift
  command -v apt-get >/dev/null && command -v dpkg-deb >/dev/null || return 1
  mkdir -p "$apt/lists/partial" "$apt/cache/archives/partial"
  options=(-qq -o "Dir::State::Lists=$apt/lists" -o "Dir::Cache=$apt/cache" -o Debug::NoLocking=1 -o APT::Sandbox::User=)
  apt-get "${options[@]}" update || return 1
  packages=("$@")
  if [ "$1" = --closure ]; then
    shift
    mapfile -t packages < <(apt-get "${options[@]}" --simulate --no-install-recommends install "$@" | sed -n 's/^Inst \([^ ]*\).*/\1/p')
  fi
  (cd "$apt" && apt-get "${options[@]}" download "${packages[@]}") || return 1
  local deb
  for deb in "$apt"/*.deb; do dpkg-deb -x "$deb" "$dest" || return 1; done
  rm -rf "$apt"
}

# Sets PY_INCLUDE to a folder with Python.h, fetched where the system has none.
find_python_headers() {
  PY_INCLUDE=$("$VENV/bin/python" -c 'import sysconfig; print(sysconfig.get_path("include"))')
  [ -f "$PY_INCLUDE/Python.h" ] && return
  local name; name=$(basename "$PY_INCLUDE")
  if [ ! -f "$VENV/headers/usr/include/$name/Python.h" ]; then
    say "fetching the headers of $name"
    rm -rf "$VENV/headers" && mkdir -p "$VENV/headers"
    fetch_debs "$VENV/headers" "lib$name-dev" >>"$VENV/pip.log" 2>&1 || die "Python.h is missing; this mends it:" "  sudo apt-get install $name-dev"
  fi
  PY_INCLUDE="$VENV/headers/usr/include/$name"
  export CPATH="$VENV/headers/usr/include:$PY_INCLUDE${CPATH:+:$CPATH}"
}

# Make VENV, or bring it up to date, where it is absent, was interrupted, or where FILEs, place or Python have changed.
make_environment() { # KIND FILE...: KIND is wheels, sourced or training
  local kind=$1 stamp="$VENV/stamp-packages" options=()
  shift
  ! stamp_is "$stamp" "$(hash_of "$@" <(place "$kind"))" || return 0
  check_machine
  if [ ! -f "$stamp" ] || ! stamp_is "$VENV/place" "$(place "$kind")"; then
    say "making $VENV"
    [ "$kind" != sourced ] || options=(--system-site-packages)
    "$PYTHON" -m venv --clear "${options[@]}" "$VENV" ||
      die "$PYTHON -m venv failed; this may mend it:" "  sudo apt-get install python3-venv"
    place "$kind" >"$VENV/place"
  fi
  rm -f "$stamp"
  "install_$kind"
  hash_of "$@" <(place "$kind") >"$stamp"
}

# An environment names its own folder and its Python in many files: elsewhere it is of no use.
place() { echo "$ROOT|$1|$(readlink -f "$VENV/bin/python" || true)"; }

install_wheels() {
  say "installing ROS 2 $DISTRO and what the package needs (see $VENV/pip.log)"
  requirements dev simulation
  pip_install -r "$ROOT/tools/ros-$DISTRO.txt" -r "$VENV/requirements.txt"
  find_python_headers
  "$VENV/bin/python" "$ROOT/tools/mend_wheels.py" "$VENV" "$PY_INCLUDE" >>"$VENV/pip.log"
}

install_sourced() {
  say "installing what the package needs beside the sourced ROS 2 $DISTRO (see $VENV/pip.log)"
  requirements dev simulation
  command -v colcon >/dev/null || echo colcon-common-extensions >>"$VENV/requirements.txt"
  # The installation's compiled messages must go on working: stay on its side of NumPy 2.
  "$PYTHON" -c 'import numpy as n; print("numpy<2" if n.__version__ < "2" else "numpy>=2")' >"$VENV/constraints.txt"
  pip_install -r "$VENV/requirements.txt" -c "$VENV/constraints.txt"
}

install_training() {
  say "installing PyTorch and what training needs: several GB, some minutes (see $VENV/pip.log)"
  requirements dev simulation training tensorrt-rtx
  pip_install -r "$VENV/requirements.txt"
}

requirements() { "$VENV/bin/python" "$ROOT/tools/requirements.py" "$@" >"$VENV/requirements.txt"; }

pip_install() { # pip-argument...
  "$VENV/bin/python" -m pip install --quiet --disable-pip-version-check --no-input "$@" >"$VENV/pip.log" 2>&1 ||
    { tail -n 20 "$VENV/pip.log" >&2 && die "pip could not install the packages; all it said is in $VENV/pip.log"; }
}

# Messages of the package, and of ros_overlay/ what this machine's ROS 2 lacks.
build_messages() {
  local hash stamp="$VENV/stamp-build" ros="$VENV/ros"
  hash=$(cd "$ROOT" && hash_of "$VENV/stamp-packages" CMakeLists.txt package.xml msg/*.msg srv/*.srv \
    $(find ros_overlay -type f -not -name '*.pyc' | LC_ALL=C sort))
  stamp_is "$stamp" "$hash" && return
  check_machine
  [ "$FLAVOUR" = sourced ] || find_python_headers
  [ -f "$stamp" ] || rm -rf "$ros"
  rm -f "$stamp" && mkdir -p "$ros"
  say "building messages and overlay packages (see $ros/build.log)"
  colcon_build >"$ros/build.log" 2>&1 || { rm -rf "$ros/build" "$ros/install"; colcon_build >"$ros/build.log" 2>&1; } ||
    { tail -n 30 "$ros/build.log" >&2; die "the build failed; all it said is in $ros/build.log"; }
  echo "$hash" >"$stamp"
}

colcon_build() (
  # A copy, because CMake refuses include folders (.venv's) below the source folder.
  rm -rf "$VENV/ros/src" && mkdir -p "$VENV/ros/src"
  cp -a "$ROOT"/{CMakeLists.txt,package.xml,msg,srv} "$VENV/ros/src"
  sources=("$VENV/ros/src")
  for package in "$ROOT"/ros_overlay/*/; do
    ros_has "$(basename "$package")" || sources+=("$package")
  done
  python="$VENV/bin/python" python_options=()
  if [ "$FLAVOUR" = sourced ]; then
    python=$(command -v "$PYTHON")
  else
    export AMENT_PREFIX_PATH="$VENV" CMAKE_PREFIX_PATH="$VENV" CMAKE_GENERATOR=Ninja
    python_options=("-DPython3_INCLUDE_DIR=$PY_INCLUDE")
    touch "$VENV/local_setup.sh" # colcon asks for it in every prefix
    enter_libraries
  fi
  PATH="$VENV/bin:$PATH" && cd "$VENV/ros"
  colcon --log-base log build --merge-install --build-base build --install-base install --base-paths "${sources[@]}" \
    --event-handlers console_direct+ --cmake-args -DBUILD_TESTING=OFF -DVL_ANOMALY_INTERFACES_ONLY=ON \
    -DCMAKE_BUILD_TYPE=Release "-DPython3_EXECUTABLE=$python" "${python_options[@]}"
)

ros_has() { # PACKAGE: whether the machine's own ROS 2 has it
  local prefix
  [ "$FLAVOUR" = wheels ] && local AMENT_PREFIX_PATH="$VENV"
  while IFS= read -r -d : prefix; do
    [ -e "$prefix/share/ament_index/resource_index/packages/$1" ] && return 0
  done <<<"$AMENT_PREFIX_PATH:"
  return 1
}

enter_libraries() {
  local libraries="$VENV/ros/install/lib:$VENV/lib" bundled
  for bundled in "$VENV"/lib/python3*/site-packages/ros_*.libs; do libraries+=":$bundled"; done
  export LD_LIBRARY_PATH="$libraries${LD_LIBRARY_PATH:+:$LD_LIBRARY_PATH}"
  # The wheels restart every Python once to set the above; it is set.
  export _ROS_WHEELS_BOOTSTRAP_COMPLETE=1
}

enter() {
  local folder
  if [ "$FLAVOUR" = wheels ]; then
    export ROS_VERSION=2 ROS_PYTHON_VERSION=3 ROS_DISTRO="$DISTRO" AMENT_PREFIX_PATH="$VENV/ros/install:$VENV"
    export RMW_IMPLEMENTATION="${RMW_IMPLEMENTATION:-rmw_fastrtps_cpp}"
    enter_libraries
  else
    export AMENT_PREFIX_PATH="$VENV/ros/install:$AMENT_PREFIX_PATH"
    export LD_LIBRARY_PATH="$VENV/ros/install/lib${LD_LIBRARY_PATH:+:$LD_LIBRARY_PATH}"
  fi
  for folder in "$VENV"/ros/install/lib/python3*/site-packages "$VENV"/ros/install/local/lib/python3*/dist-packages; do
    [ -d "$folder" ] && PYTHONPATH="$folder${PYTHONPATH:+:$PYTHONPATH}"
  done
  export PYTHONPATH="$ROOT:$PYTHONPATH" PATH="$VENV/bin:$PATH" VIRTUAL_ENV="$VENV" VL_ANOMALY_VENV="$VENV"
  enter_tuning
}

# Full-HD images over DDS without loss (config/fastdds.xml), and large buffers that are reused instead of mapped anew.
enter_tuning() {
  if [ -z "${FASTDDS_DEFAULT_PROFILES_FILE:-}${FASTRTPS_DEFAULT_PROFILES_FILE:-}" ]; then
    case $DISTRO in
      humble | jazzy) export FASTRTPS_DEFAULT_PROFILES_FILE="$ROOT/config/fastdds.xml" ;;
      *) export FASTDDS_DEFAULT_PROFILES_FILE="$ROOT/config/fastdds.xml" ;;
    esac
  fi
  export MALLOC_MMAP_THRESHOLD_="${MALLOC_MMAP_THRESHOLD_:-33554432}" # glibc takes no more
  export MALLOC_TRIM_THRESHOLD_="${MALLOC_TRIM_THRESHOLD_:-536870912}"
  export OPENBLAS_NUM_THREADS="${OPENBLAS_NUM_THREADS:-1}" # the matrices of a frame are too small to share
}

# Demo and tests talk to this machine alone.
stay_local() {
  if [ "$DISTRO" = humble ]; then export ROS_LOCALHOST_ONLY=1; else export ROS_AUTOMATIC_DISCOVERY_RANGE=LOCALHOST; fi
}

# MuJoCo renders off-screen through Mesa; a machine without the system's library gets a copy of its own.
enter_osmesa() {
  export MUJOCO_GL="${MUJOCO_GL:-osmesa}"
  if [ "$MUJOCO_GL" != osmesa ] || has_osmesa; then return; fi
  local dest="$ROOT/.venv-osmesa"
  if [ ! -f "$dest/stamp" ]; then
    say "fetching Mesa's off-screen renderer (see $dest/log)"
    rm -rf "$dest" && mkdir -p "$dest"
    if fetch_debs "$dest" --closure libosmesa6 >"$dest/log" 2>&1; then touch "$dest/stamp"; fi
  fi
  local folder
  for folder in "$dest"/usr/lib/*-linux-gnu "$dest"/lib/*-linux-gnu; do
    [ -d "$folder" ] && export LD_LIBRARY_PATH="$folder${LD_LIBRARY_PATH:+:$LD_LIBRARY_PATH}"
  done
  has_osmesa || say "libOSMesa.so.8 is missing, so the simulation cannot render; this mends it:" \
    "  sudo apt-get install libosmesa6"
}

has_osmesa() { "$PYTHON" -S -c 'import ctypes; ctypes.CDLL("libOSMesa.so.8")' 2>/dev/null; }

# Two starts at once take turns at an environment; held until unlock or the end.
lock() {
  exec {LOCK}>"$VENV-lock"
  flock --nonblock "$LOCK" || { say "waiting for another ./run that makes the environment" && flock "$LOCK"; }
}
unlock() { exec {LOCK}>&-; }

setup_runtime() {
  if [ -n "${VL_ANOMALY_VENV:-}" ]; then # started from within: the environment is entered already
    PYTHON=python3 DISTRO=${ROS_DISTRO:-kilted}
    return
  fi
  choose_ros
  lock
  make_environment "$FLAVOUR" "$ROOT/pyproject.toml" "$ROOT/tools/requirements.py" "$ROOT/tools/ros-$DISTRO.txt"
  build_messages
  unlock
  enter
  compile_kernels
}

# By themselves, so that no command begins with a pause. Numba looks itself whether what it keeps is old.
compile_kernels() {
  local hash stamp="$VENV/stamp-kernels"
  hash=$(cd "$ROOT" && hash_of "$VENV/stamp-packages" $(grep -rl --include='*.py' '^from vl_anomaly_ros.compiled' vl_anomaly_ros | LC_ALL=C sort))
  stamp_is "$stamp" "$hash" && return
  say "compiling kernels: half a minute, once"
  (cd "$ROOT" && "$VENV/bin/python" -c 'import vl_anomaly_ros.pipeline') || die "the kernels cannot be compiled"
  echo "$hash" >"$stamp"
}

# Training and export: PyTorch and its kin, without ROS.
setup_training() {
  : "${PYTHON:=python3}"
  VENV="$ROOT/.venv-train"
  lock
  make_environment training "$ROOT/pyproject.toml" "$ROOT/tools/requirements.py"
  unlock
  unset _ROS_WHEELS_BOOTSTRAP_COMPLETE
  export PYTHONPATH="$ROOT" PATH="$VENV/bin:$PATH" VIRTUAL_ENV="$VENV"
}
