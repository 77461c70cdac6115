#!/usr/bin/env bash
# usage: calls.sh CC OBJECT...
# What the library calls outside itself: a short list of functions, nothing that prints, ends the
# process or reads the environment; getenv only in the object of gqa_isa_from_environment, which the
# host calls or does not, syscall only in the detection of the CPU and in the futex, threads only where a gqa_pool starts and ends them, mutexes
# only where there is no futex.
. "$(dirname "$0")/lib.sh"
cc=$1
shift
command -v nm >/dev/null || skip "there is no nm"

allowed='mem(cpy|set|move|cmp|chr)|str(cmp|ncmp|len|chr)|bcmp'  # strings
allowed="$allowed|v?snprintf"                                    # error messages
allowed="$allowed|malloc|aligned_alloc|posix_memalign|free"      # the default allocator
allowed="$allowed|(fma|sqrt|floor|rint)f?"                       # exact, so alike everywhere
allowed="$allowed|cblas_sgemm|openblas_get_(config|corename)"    # GQA_WITH_OPENBLAS
allowed="$allowed|gqa_[a-z0-9_]+|gqa__[a-z0-9_]+"
allowed="$allowed|_GLOBAL_OFFSET_TABLE_|__stack_chk_(fail|guard)"
allowed="$allowed|__(mem|str|v?snprintf)[a-z]*_chk|__mem(cpy|set)_chk|__v?snprintf_chk"
allowed="$allowed|__(asan|ubsan|msan|tsan|sanitizer|gcov|llvm)_.*|___asan.*|_mcount|mcount"
allowed="$allowed|__(mul|div|u?div|float|fix)[a-z]*[0-9]"        # the compiler's own arithmetic
allowed="$allowed|__aarch64_.*"                                  # and its atomics

check() {
    # "FILE.o SYMBOL". An object built without NDEBUG has asserts: the one way in which it may end.
    nm -A -u "$@" | sed -E 's/^([^:]*\/)?([^:]*):.* ([^ ]+)$/\2 \3/' |
        grep -vE "^[^ ]+ ($allowed|__assert_fail|__assert)\$" >"$scratch/calls"
    nm -A --defined-only "$@" | sed -nE 's/^([^:]*\/)?([^:]*):.* gqa_isa_from_environment$/\2/p' \
        >"$scratch/reader"
    while read -r object symbol; do
        case $symbol in
        getenv) grep -qxF "$object" "$scratch/reader" ;;
        syscall) [[ $object == cpu.c.o || $object == futex.c.o ]] ;; # arch_prctl, futex: no wrapper
        pthread_create | pthread_setname_np) [ "$object" = futex.c.o ] ;; # a worker, and its name
        pthread_sigmask | sigfillset) [ "$object" = futex.c.o ] ;; # it handles no signal of the host
        sysconf) [ "$object" = futex.c.o ] ;;                      # how many CPUs are online
        madvise) [ "$object" = memory.c.o ] ;;                     # huge pages for large memory
        getpid) [ "$object" = futex.c.o ] ;;                       # a child of fork has no workers
        __errno_location) [ "$object" = futex.c.o ] ;;             # the caller's errno is kept
        pthread_join) [ "$object" = pool.c.o ] ;;                  # gqa_pool_destroy
        pthread_mutex_* | pthread_cond_*) [ "$object-$(uname)" = futex.c.o-Darwin ] ;; # no futex
        *) false ;;
        esac || echo "$object calls $symbol"
    done <"$scratch/calls" >"$scratch/bad"
    cat "$scratch/bad"
    [ ! -s "$scratch/bad" ]
}

plant() { # NAME CODE
    echo "$2" >"$scratch/bad.c"
    "$cc" -fPIC -w -c -o "$scratch/bad.o" "$scratch/bad.c" || exit 1
    see_it_fail "$1" "$scratch/bad.o"
}
plant "a call of abort" '#include <stdlib.h>
void gqa__x(void) { abort(); }'
plant "a call of printf" '#include <stdio.h>
void gqa__x(int i) { printf("%d", i); }'
plant "a call of getenv in the object of gqa_create" '#include <stdlib.h>
char *gqa_create(void) { return getenv("GQA_ISA"); }'
plant "a system call outside cpu.c" '#include <unistd.h>
long gqa__x(void) { return syscall(1L); }'
plant "a thread outside a pool" '#include <pthread.h>
int gqa__x(pthread_t *t, void *(*f)(void *)) { return pthread_create(t, 0, f, 0); }'
plant "a mutex" '#include <pthread.h>
int gqa__x(pthread_mutex_t *m) { return pthread_mutex_lock(m); }'
plant "a call of expf" '#include <math.h>
float gqa__x(float x) { return expf(x); }'
[ $# -gt 0 ] || { echo "no objects given"; exit 1; }
verdict "$@"
