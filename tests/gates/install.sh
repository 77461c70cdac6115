#!/usr/bin/env bash
# usage: install.sh SOURCE_DIR BUILD_DIR CC CXX
# What `cmake --install` brings is complete and may be moved: installed below a DESTDIR and carried
# to another prefix, it is found and used through CMake, pkg-config and a plain Makefile, as a static
# and as a shared library, by C and by C++; the command and the manual pages are there. CXX may be
# empty.
# SPDX-License-Identifier: Apache-2.0
. "$(dirname "$0")/lib.sh"
source_dir=$1 build=$2 cc=$3 cxx=$4
unset CFLAGS CXXFLAGS LDFLAGS CPPFLAGS DESTDIR GQA_ISA PKG_CONFIG_PATH PKG_CONFIG_LIBDIR
if [ -x "$(command -v ninja)" ]; then export CMAKE_GENERATOR=Ninja; fi
command -v pkg-config >/dev/null || skip "there is no pkg-config"
if grep -q '^CMAKE_C_FLAGS:.*-fsanitize' "$build/CMakeCache.txt"; then
    skip "a library with a sanitizer wants programs with one"
fi
grep -q '^GQA_BUILD_BOTH:BOOL=ON' "$build/CMakeCache.txt" || skip "one library alone was built"
cache() { sed -n "s/^$1:[A-Z]*=//p" "$build/CMakeCache.txt"; }

# Installed to a DESTDIR, and from there to a prefix of another name.
install_to() { # PREFIX
    rm -rf "$scratch/stage" "$1"
    DESTDIR=$scratch/stage cmake --install "$build" >"$scratch/install.log" 2>&1 ||
        { cat "$scratch/install.log"; return 1; }
    mv "$scratch/stage$(cache CMAKE_INSTALL_PREFIX)" "$1"
}

mkdir "$scratch/host"
cp "$source_dir"/examples/{forward,host,plain}.c* "$scratch/host/"
cat >"$scratch/host/CMakeLists.txt" <<'END'
cmake_minimum_required(VERSION 3.20)
project(host C)
if(HOST_CXX)
    enable_language(CXX)
endif()
find_package(gqa 99 CONFIG QUIET)
if(gqa_FOUND)
    message(FATAL_ERROR "a version that is not there was found")
endif()
find_package(gqa 0.1 CONFIG REQUIRED COMPONENTS static shared)
find_package(gqa 0.1 CONFIG REQUIRED)
find_package(Threads REQUIRED)
foreach(library gqa gqa_static gqa_shared)
    add_executable(forward_${library} forward.c)
    target_link_libraries(forward_${library} PRIVATE gqa::${library})
endforeach()
add_executable(host_program host.c)
target_link_libraries(host_program PRIVATE gqa::gqa_static Threads::Threads)
if(HOST_CXX)
    add_executable(plain plain.cpp)
    set_target_properties(plain PROPERTIES CXX_STANDARD 17)
    target_link_libraries(plain PRIVATE gqa::gqa_static)
endif()
END

run_all() { # WHAT PROGRAM...
    local what=$1 program
    shift
    for program in "$@"; do
        "$program" >"$scratch/out" 2>&1 ||
            { echo "$what: ${program##*/} fails"; cat "$scratch/out"; return 1; }
    done
}

by_cmake() { # PREFIX
    local at=$scratch/by-cmake
    rm -rf "$at"
    if ! {
        CC=$cc CXX=$cxx cmake -S "$scratch/host" -B "$at" -DCMAKE_PREFIX_PATH="$1" \
            -DHOST_CXX="$([ -n "$cxx" ] && echo ON)" && cmake --build "$at" -j "$(nproc)"
    } >"$at.log" 2>&1; then
        cat "$at.log"
        return 1
    fi
    run_all CMake "$at"/forward_* "$at/host_program" || return 1
    [ -z "$cxx" ] || run_all CMake "$at/plain"
}

by_pkg_config() { # PREFIX
    local at=$scratch/by-pc flags
    rm -rf "$at"
    mkdir "$at"
    export PKG_CONFIG_PATH=$1/$libdir/pkgconfig
    flags=$(pkg-config --cflags --libs gqa) || return 1
    case $flags in *"-I$1/"*"-L$1/"*) ;; *) echo "gqa.pc was not moved: $flags"; return 1 ;; esac
    # shellcheck disable=SC2086
    "$cc" "$source_dir/examples/forward.c" $flags "-Wl,-rpath,$1/$libdir" -o "$at/shared" || return 1
    flags=$(pkg-config --static --cflags --libs gqa | sed 's/-lgqa/-l:libgqa.a/') || return 1
    # shellcheck disable=SC2086
    "$cc" "$source_dir/examples/forward.c" $flags -o "$at/static" || return 1
    unset PKG_CONFIG_PATH
    run_all pkg-config "$at/shared" "$at/static"
}

by_make() { # PREFIX
    local at=$scratch/by-make blas=""
    PKG_CONFIG_PATH=$1/$libdir/pkgconfig pkg-config --static --libs gqa | grep -q openblas &&
        blas=$(pkg-config --libs openblas)
    rm -rf "$at"
    mkdir "$at"
    set -- "PREFIX=$1" "LIBDIR=$1/$libdir" "CC=$cc" "CXX=$cxx" "CFLAGS=-O0" "CXXFLAGS=-O0"
    [ -n "$cxx" ] || set -- "$@" "PROGRAMS=\$(OUT)/forward \$(OUT)/host"
    if ! {
        make -C "$source_dir/examples" "$@" OUT="$at/shared" &&
            make -C "$source_dir/examples" "$@" OUT="$at/static" STATIC=1 BLAS="$blas"
    } >"$at.log" 2>&1; then
        cat "$at.log"
        return 1
    fi
    run_all make "$at"/shared/* "$at"/static/*
}

commands() { # PREFIX
    local command word bad=0
    for command in gqa gqa-bench; do
        [ -e "$build/bin/$command" ] || continue
        "$1/bin/$command" --help >"$scratch/help" || { echo "$command --help fails"; bad=1; }
        grep -q '^\.TH' "$1/share/man/man1/$command.1" || { echo "no $command(1)"; bad=1; }
        for word in $("$1/bin/$command" --help | grep -oE '^  --[a-z-]+'); do
            grep -q -e "${word//-/\\\\-}" "$1/share/man/man1/$command.1" ||
                { echo "$command(1) does not name $word"; bad=1; }
        done
        grep -aqF -e "$source_dir" -e "$build" "$1/bin/$command" &&
            { echo "$command names a folder of the machine that built it"; bad=1; }
    done
    return $bad
}

# The words that bash offers for a command line.
complete_words() { # PREFIX COMMAND WORD...
    bash -c '. "$1/share/bash-completion/completions/$2" || exit 1
        shift; COMP_WORDS=("$@"); COMP_CWORD=$(($# - 1)); "_$1"; echo "${COMPREPLY[*]}"' - "$@"
}

completion() { # PREFIX
    [ -e "$build/bin/gqa" ] || return 0
    [ "$(complete_words "$1" gqa ti)" = time ] &&
        [ "$(complete_words "$1" gqa run --numerics '')" = "f32 bf16" ] &&
        [ "$(complete_words "$1" gqa time --we)" = --weights ] &&
        [ "$(complete_words "$1" gqa run x)" = "" ] || { echo "wrong completion"; return 1; }
}

check() { # PREFIX
    ls "$1/$libdir"/libgqa.so.[0-9] >/dev/null || { echo "no soname of one number"; return 1; }
    commands "$1" && completion "$1" && by_pkg_config "$1" && by_cmake "$1" && by_make "$1"
}

libdir=$(cache CMAKE_INSTALL_LIBDIR)
case $libdir in "" | /*) skip "libraries are installed to \"$libdir\"" ;; esac
prefix=$scratch/moved
install_to "$prefix" || exit 1
sed -i.keep 's/-lm//' "$prefix/$libdir/pkgconfig/gqa.pc"
see_it_fail "a gqa.pc without -lm" "$prefix"
mv "$prefix/$libdir/pkgconfig/gqa.pc.keep" "$prefix/$libdir/pkgconfig/gqa.pc"
mv "$prefix/include/gqa/pool.h" "$scratch/pool.h"
see_it_fail "a header that was not installed" "$prefix"
mv "$scratch/pool.h" "$prefix/include/gqa/pool.h"
verdict "$prefix"
