#!/usr/bin/env bash
# usage: embed.sh SOURCE_DIR CC
# An outside project adds libgqa by add_subdirectory, without OpenBLAS, as a static and as a shared
# library, and runs the README's example. Its own flags, targets and build type stay its own.
. "$(dirname "$0")/lib.sh"
source_dir=$1
export CC=$2
unset CFLAGS CXXFLAGS LDFLAGS
if [ -x "$(command -v ninja)" ]; then export CMAKE_GENERATOR=Ninja; fi

mkdir "$scratch/host"
cp "$source_dir/examples/forward.c" "$scratch/host/main.c"
cat >"$scratch/host/CMakeLists.txt" <<'END'
cmake_minimum_required(VERSION 3.20)
project(host C)
set(CMAKE_EXPORT_COMPILE_COMMANDS ON)
set(GQA_WITH_OPENBLAS OFF CACHE BOOL "")
add_subdirectory(${GQA_DIR} gqa)
add_executable(host main.c)
target_link_libraries(host PRIVATE gqa::gqa)
END

check() { # SHARED
    local build=$scratch/build-$1 bad=0
    cmake -S "$scratch/host" -B "$build" -DGQA_DIR="$source_dir" -DBUILD_SHARED_LIBS="$1" \
        -DCMAKE_C_FLAGS=-O1 >"$build.log" 2>&1 &&
        cmake --build "$build" -j "$(nproc)" >>"$build.log" 2>&1 || { cat "$build.log"; return 1; }
    "$build/host" || { echo "the host fails"; bad=1; }
    if grep -q 'main\.c' "$build/compile_commands.json" &&
        grep 'main\.c' "$build/compile_commands.json" | grep -qE -e '-Wconversion|-Wshadow'; then
        echo "the library's warning flags reach the host's files"
        bad=1
    fi
    if grep -q '^CMAKE_BUILD_TYPE:[A-Z]*=..*' "$build/CMakeCache.txt"; then
        echo "the library sets the host's build type"
        bad=1
    fi
    if ls "$build"/gqa/bin/* >/dev/null 2>&1; then
        echo "tests, tool or examples are built in somebody else's project"
        bad=1
    fi
    if [ "$1" = ON ]; then
        ls "$build"/gqa/libgqa.so.[0-9] >/dev/null || { echo "no soname of one number"; bad=1; }
    fi
    if command -v ldd >/dev/null && ldd "$build/host" | grep -qi blas; then
        echo "the host links a BLAS"
        bad=1
    fi
    return $bad
}

cp "$scratch/host/main.c" "$scratch/host/keep.c"
echo 'int main(void) { return gqa__fail(0); }' >"$scratch/host/main.c"
see_it_fail "a host that uses what is not public" ON
cp "$scratch/host/keep.c" "$scratch/host/main.c"
check OFF || exit 1
verdict ON
