#!/usr/bin/env bash
# usage: embed.sh SOURCE_DIR CC
# An outside project takes libgqa in, by add_subdirectory as a static and by FetchContent as a shared
# library, says nothing about it, and runs the README's example. Its own flags, targets and build
# type stay its own; it gets no BLAS, and an optimised library though it has no build type. Its
# library, which needs libgqa, is installed by its own install(EXPORT), and found and used by others.
. "$(dirname "$0")/lib.sh"
source_dir=$1
export CC=$2
unset CFLAGS CXXFLAGS LDFLAGS
if [ -x "$(command -v ninja)" ]; then export CMAKE_GENERATOR=Ninja; fi

mkdir "$scratch/host" "$scratch/user"
cp "$source_dir/examples/forward.c" "$scratch/host/main.c"
cp "$source_dir/examples/forward.c" "$scratch/user/main.c"
cat >"$scratch/host/CMakeLists.txt" <<'END'
cmake_minimum_required(VERSION 3.20)
project(host C)
set(CMAKE_EXPORT_COMPILE_COMMANDS ON)
if(BUILD_SHARED_LIBS)
    include(FetchContent)
    FetchContent_Declare(gqa SOURCE_DIR ${GQA_DIR} BINARY_DIR ${CMAKE_BINARY_DIR}/gqa)
    FetchContent_MakeAvailable(gqa)
else()
    add_subdirectory(${GQA_DIR} gqa)
endif()
add_library(engine engine.c)
target_link_libraries(engine PUBLIC gqa::gqa)
install(TARGETS engine EXPORT engine-targets)
install(EXPORT engine-targets NAMESPACE engine:: DESTINATION lib/cmake/engine)
file(WRITE ${CMAKE_BINARY_DIR}/engine-config.cmake "include(CMakeFindDependencyMacro)
find_dependency(gqa CONFIG)
include(\${CMAKE_CURRENT_LIST_DIR}/engine-targets.cmake)
")
install(FILES ${CMAKE_BINARY_DIR}/engine-config.cmake DESTINATION lib/cmake/engine)
add_executable(host main.c)
target_link_libraries(host PRIVATE gqa::gqa)
END
cat >"$scratch/host/engine.c" <<'END'
#include <gqa/gqa.h>
int engine_version(void);
int engine_version(void)
{
    return (int)gqa_version();
}
END
cat >"$scratch/user/CMakeLists.txt" <<'END'
cmake_minimum_required(VERSION 3.20)
project(user C)
find_package(engine CONFIG REQUIRED)
add_executable(user main.c)
target_link_libraries(user PRIVATE engine::engine)
END

# The engine installed, and a project that uses it.
use_installed() { # BUILD PREFIX
    cmake --install "$1" --prefix "$2" >"$1.log" 2>&1 &&
        cmake -S "$scratch/user" -B "$1-user" -DCMAKE_PREFIX_PATH="$2" \
            -DCMAKE_BUILD_RPATH="$2/lib" >>"$1.log" 2>&1 &&
        cmake --build "$1-user" >>"$1.log" 2>&1 || { cat "$1.log"; return 1; }
    "$1-user/user" || { echo "a user of the installed engine fails"; return 1; }
}

check() { # SHARED
    local build=$scratch/build-$1 bad=0
    cmake -S "$scratch/host" -B "$build" -DGQA_DIR="$source_dir" -DBUILD_SHARED_LIBS="$1" \
        -DCMAKE_INSTALL_LIBDIR=lib >"$build.log" 2>&1 &&
        cmake --build "$build" -j "$(nproc)" >>"$build.log" 2>&1 || { cat "$build.log"; return 1; }
    "$build/host" || { echo "the host fails"; bad=1; }
    if grep -q 'main\.c' "$build/compile_commands.json" &&
        grep 'main\.c' "$build/compile_commands.json" | grep -qE -e '-Wconversion|-Wshadow'; then
        echo "the library's warning flags reach the host's files"
        bad=1
    fi
    if grep '"command".*/src/layer/' "$build/compile_commands.json" | grep -qv -e ' -O2'; then
        echo "a host without a build type gets a library that is not optimised"
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
    use_installed "$build" "$scratch/prefix-$1" || bad=1
    return $bad
}

cp "$scratch/host/main.c" "$scratch/host/keep.c"
echo 'int main(void) { return gqa__fail(0); }' >"$scratch/host/main.c"
see_it_fail "a host that uses what is not public" ON
cp "$scratch/host/keep.c" "$scratch/host/main.c"
check OFF || exit 1
verdict ON
