/* SPDX-License-Identifier: Apache-2.0 */
/* test_silence.c - gqa_forward with a workspace of the caller's allocates nothing, takes no mutex,
 * and makes no system call but the pool's futex; without a pool, none at all.
 *
 * Allocations and mutexes are counted by functions of this program that stand in front of the C
 * library's. System calls are forbidden by a filter in a child process: the first one that is not
 * allowed raises SIGSYS, whose handler tells its number.
 */
#define _GNU_SOURCE
#include <stdio.h>

#include "support/program.h"

#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
#define SANITIZED 1
#elif defined(__has_feature)
#if __has_feature(address_sanitizer) || __has_feature(thread_sanitizer) ||                         \
    __has_feature(memory_sanitizer)
#define SANITIZED 1
#endif
#endif

#if !defined(__linux__) || !defined(__GLIBC__) || defined(SANITIZED)

int main(void)
{
    return skip_program("needs Linux, glibc and no sanitizer");
}

#else

#include <dlfcn.h>
#include <errno.h>
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <pthread.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

#include "parallel/tasks.h"
#include "support/host.h"
#include "support/hosted_layer.h"

/* ---- in front of the C library ---- */

static atomic_int armed, allocations, mutexes;

static void note(atomic_int *count)
{
    if (atomic_load_explicit(&armed, memory_order_relaxed) != 0) {
        atomic_fetch_add(count, 1);
    }
}

extern void *__libc_malloc(size_t size);
extern void *__libc_calloc(size_t n, size_t size);
extern void *__libc_realloc(void *memory, size_t size);
extern void *__libc_memalign(size_t align, size_t size);
extern void __libc_free(void *memory);

void *malloc(size_t size)
{
    note(&allocations);
    return __libc_malloc(size);
}

void *calloc(size_t n, size_t size)
{
    note(&allocations);
    return __libc_calloc(n, size);
}

void *realloc(void *memory, size_t size)
{
    note(&allocations);
    return __libc_realloc(memory, size);
}

void *aligned_alloc(size_t align, size_t size)
{
    note(&allocations);
    return __libc_memalign(align, size);
}

int posix_memalign(void **out, size_t align, size_t size)
{
    note(&allocations);
    *out = __libc_memalign(align, size);
    return *out == NULL ? ENOMEM : 0;
}

void free(void *memory)
{
    note(&allocations);
    __libc_free(memory);
}

int pthread_mutex_lock(pthread_mutex_t *mutex)
{
    static int (*_Atomic real)(pthread_mutex_t *);
    int (*lock)(pthread_mutex_t *) = atomic_load(&real);

    note(&mutexes);
    if (lock == NULL) {
        void *symbol = dlsym(RTLD_NEXT, "pthread_mutex_lock");
        memcpy(&lock, &symbol, sizeof lock);
        atomic_store(&real, lock);
    }
    return lock(mutex);
}

int pthread_mutex_trylock(pthread_mutex_t *mutex)
{
    static int (*_Atomic real)(pthread_mutex_t *);
    int (*lock)(pthread_mutex_t *) = atomic_load(&real);

    note(&mutexes);
    if (lock == NULL) {
        void *symbol = dlsym(RTLD_NEXT, "pthread_mutex_trylock");
        memcpy(&lock, &symbol, sizeof lock);
        atomic_store(&real, lock);
    }
    return lock(mutex);
}

/* ---- the kernel sets under test ---- */

struct kernel_set {
    gqa_isa isa;
    gqa_numerics numerics;
};

static const struct kernel_set sets[] = {
    {GQA_ISA_SCALAR, GQA_NUMERICS_F32},  {GQA_ISA_SCALAR, GQA_NUMERICS_BF16},
    {GQA_ISA_AVX2, GQA_NUMERICS_F32},    {GQA_ISA_AVX512, GQA_NUMERICS_F32},
    {GQA_ISA_AVX512, GQA_NUMERICS_BF16}, {GQA_ISA_AMX, GQA_NUMERICS_BF16},
    {GQA_ISA_NEON, GQA_NUMERICS_F32}};
enum { SETS = sizeof sets / sizeof sets[0] };

static bool open_set(struct hosted_layer *hosted, const gqa_runtime *runtime,
                     const struct kernel_set *set, enum hosted_kind kind)
{
    if (!gqa_isa_available(set->isa) ||
        !hosted_open(hosted, runtime, set->isa, set->numerics, kind)) {
        print_message("skipped: %s, numerics %d\n", gqa_isa_name(set->isa), (int)set->numerics);
        return false;
    }
    return true;
}

static gqa_pool *make_pool(int32_t threads)
{
    gqa_pool *pool = NULL;

    assert_int_equal(gqa_pool_create(&pool, threads, NULL, NULL), GQA_OK);
    return pool;
}

/* ---- memory and mutexes ---- */

/* A round on the kernel set; the allocator that the layer was given refuses everything meanwhile.
 */
static void quiet_round(gqa_pool *pool, const struct kernel_set *set, enum hosted_kind kind)
{
    struct host host;
    gqa_runtime runtime;
    struct hosted_layer hosted;
    int64_t asked;
    bool ok;

    host_init(&host);
    runtime = host_runtime(&host);
    runtime.pool = pool;
    if (!open_set(&hosted, &runtime, set, kind)) {
        return;
    }
    asked = host.calls;
    host.fail_from = asked;
    atomic_store(&allocations, 0);
    atomic_store(&mutexes, 0);
    atomic_store(&armed, 1);
    ok = hosted_round(&hosted);
    atomic_store(&armed, 0);
    if (!ok || host.calls != asked || atomic_load(&allocations) != 0 ||
        atomic_load(&mutexes) != 0) {
        fail_msg("%s, numerics %d, kind %d, %d threads: status %d (%s); of the host's allocator %d "
                 "calls, of the C library's %d, of mutexes %d",
                 gqa_isa_name(set->isa), (int)set->numerics, (int)kind, (int)gqa_pool_threads(pool),
                 (int)hosted.err.status, ok ? "" : hosted.err.message, (int)(host.calls - asked),
                 atomic_load(&allocations), atomic_load(&mutexes));
    }
    host.fail_from = -1;
    hosted_close(&hosted);
    assert_int_equal(host.live, 0);
}

static void no_allocation_and_no_mutex(void **state)
{
    gqa_pool *pool = make_pool(3);
    (void)state;

    for (int r = 0; r < SETS; r++) {
        for (int kind = HOSTED_PLAIN; kind <= HOSTED_IN_PLACE; kind++) {
            quiet_round(NULL, &sets[r], (enum hosted_kind)kind);
            quiet_round(pool, &sets[r], (enum hosted_kind)kind);
        }
    }
    gqa_pool_destroy(&pool);
}

/* The counters count: on this program's own calls. */
static void counters_count(void **state)
{
    pthread_mutex_t mutex = PTHREAD_MUTEX_INITIALIZER;
    void *volatile memory;
    void *other = NULL;
    (void)state;

    atomic_store(&allocations, 0);
    atomic_store(&mutexes, 0);
    atomic_store(&armed, 1);
    memory = malloc(10);
    free(memory);
    memory = aligned_alloc(64, 64);
    free(memory);
    memory = realloc(calloc(1, 10), 20);
    free(memory);
    (void)!posix_memalign(&other, 64, 64);
    free(other);
    pthread_mutex_lock(&mutex);
    pthread_mutex_unlock(&mutex);
    atomic_store(&armed, 0);
    assert_int_equal(atomic_load(&allocations), 9);
    assert_int_equal(atomic_load(&mutexes), 1);
}

/* ---- system calls ---- */

enum { EXIT_NO_FILTER = 77, EXIT_FAILED = 2, EXIT_CALLED = 3 };

static int *called; /* shared with the children: the forbidden call that was made */

static void tell(int signal, siginfo_t *info, void *context)
{
    (void)signal;
    (void)context;
    *called = info->si_syscall;
    _exit(EXIT_CALLED);
}

/* From here on this process may exit, and wait and wake if futex is allowed. */
static bool forbid_calls(bool futex)
{
    struct sock_filter code[] = {
        BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, nr)),
        BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, SYS_exit_group, 2, 0),
        BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, futex ? SYS_futex : SYS_exit_group, 1, 0),
        BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_TRAP),
        BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW),
    };
    struct sock_fprog program = {sizeof code / sizeof code[0], code};
    struct sigaction action;

    memset(&action, 0, sizeof action);
    action.sa_sigaction = tell;
    action.sa_flags = SA_SIGINFO;
    return sigaction(SIGSYS, &action, NULL) == 0 && prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) == 0 &&
           syscall(SYS_seccomp, SECCOMP_SET_MODE_FILTER, SECCOMP_FILTER_FLAG_TSYNC, &program) == 0;
}

/* Long enough, in steps, for workers to go to sleep; without a system call. */
static void idle(int round)
{
    for (volatile int i = 0; i < round * 100000; i++) {
    }
}

enum { ROUNDS = 12 };

/* A second thread of the host, so that calls find the pool busy. */
struct second {
    struct hosted_layer hosted;
    atomic_int state; /* 4: ready; 1: go; 2: done; 3: failed */
};

static void *be_second(void *arg)
{
    struct second *second = arg;
    bool ok = true;

    atomic_store(&second->state, 4);
    while (atomic_load(&second->state) != 1) {
    }
    for (int i = 0; i < ROUNDS && ok; i++) {
        ok = hosted_round(&second->hosted);
    }
    atomic_store(&second->state, ok ? 2 : 3);
    for (;;) { /* its end would be a system call */
    }
    return NULL;
}

/* A thread makes system calls when it starts: meet every thread of the pool before the filter. */
struct roll {
    atomic_int here;
    int threads;
};

static void answer(void *arg, int64_t item, int32_t slot)
{
    struct roll *roll = arg;

    (void)item;
    (void)slot;
    atomic_fetch_add(&roll->here, 1);
    for (int i = 0; i < 1000 && atomic_load(&roll->here) < roll->threads; i++) {
        usleep(100);
    }
    if (atomic_load(&roll->here) < roll->threads) {
        atomic_store(&roll->here, -roll->threads); /* not all came in time */
    }
}

static void call_roll(const gqa_runtime *runtime)
{
    struct roll roll = {0, gqa__thread_count(runtime)};
    struct gqa__tasks tasks = {answer, &roll, roll.threads};

    /* A thread that waits takes no second item: all have answered only if all were there. */
    do {
        atomic_store(&roll.here, 0);
        gqa__run_tasks(runtime, &tasks);
    } while (atomic_load(&roll.here) < roll.threads);
}

struct calls_case {
    struct kernel_set set;
    int32_t threads; /* of the pool; 0 = no pool */
    bool two;        /* host threads */
    bool forbidden;  /* make one forbidden call */
    enum hosted_kind kind;
};

/* Each on every kernel set, against a packed layer's results. */
static const struct calls_case ways[] = {
    {.threads = 0, .kind = HOSTED_RICH},
    {.threads = 3, .kind = HOSTED_RICH},
    {.threads = 3, .kind = HOSTED_RICH, .two = true},
    {.threads = 2, .kind = HOSTED_RICH},
    {.threads = 0, .kind = HOSTED_IN_PLACE},
    {.threads = 3, .kind = HOSTED_IN_PLACE},
};
enum { WAYS = sizeof ways / sizeof ways[0] };

/* The child: everything is prepared, then calls are forbidden, then the rounds run. */
static int silent_child(const struct calls_case *c, const float *expected)
{
    static struct second second;
    gqa_pool *pool = NULL;
    gqa_runtime runtime;
    struct hosted_layer hosted;
    pthread_t thread;
    bool ok = true;

    alarm(100);
    gqa_runtime_init(&runtime);
    if (c->threads > 0 && gqa_pool_create(&pool, c->threads, NULL, NULL) != GQA_OK) {
        return EXIT_FAILED;
    }
    runtime.pool = pool;
    if (!hosted_open(&hosted, &runtime, c->set.isa, c->set.numerics, c->kind) ||
        !hosted_round(&hosted)) {
        return EXIT_FAILED;
    }
    if (c->two &&
        (!hosted_open(&second.hosted, &runtime, c->set.isa, c->set.numerics, HOSTED_PLAIN) ||
         pthread_create(&thread, NULL, be_second, &second) != 0)) {
        return EXIT_FAILED;
    }
    while (c->two && atomic_load(&second.state) != 4) {
    }
    call_roll(&runtime);
    if (!forbid_calls(c->threads > 0)) {
        return EXIT_NO_FILTER;
    }
    atomic_store(&second.state, 1);
    if (c->forbidden) {
        getppid();
    }
    for (int i = 0; i < ROUNDS && ok; i++) {
        idle(i);
        ok = hosted_round(&hosted) &&
             memcmp(hosted.result, expected, hosted.floats * sizeof *expected) == 0;
    }
    while (c->two && atomic_load(&second.state) == 1) {
    }
    return ok && atomic_load(&second.state) != 3 ? 0 : EXIT_FAILED;
}

/* The child's exit status; 1000 + signal if one killed it. */
static int run_child(const struct calls_case *c, const float *expected)
{
    int status = 0;
    pid_t child;

    *called = -1;
    fflush(NULL);
    child = fork();
    if (child == 0) {
        _exit(silent_child(c, expected));
    }
    assert_int_equal(waitpid(child, &status, 0), child);
    return WIFEXITED(status) ? WEXITSTATUS(status) : 1000 + WTERMSIG(status);
}

static void no_system_call_but_futex(void **state)
{
    struct calls_case c = {{GQA_ISA_SCALAR, GQA_NUMERICS_F32}, 0, false, true, HOSTED_RICH};
    struct hosted_layer alone;
    (void)state;

    called = mmap(NULL, sizeof *called, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    assert_true(called != MAP_FAILED);
    for (int r = 0; r < SETS; r++) {
        if (!open_set(&alone, NULL, &sets[r], HOSTED_RICH)) {
            continue;
        }
        assert_true(hosted_round(&alone));
        for (int way = 0; way < WAYS; way++) {
            c = ways[way];
            c.set = sets[r];
            int status = run_child(&c, alone.result);
            if (status == EXIT_NO_FILTER) {
                print_message("skipped: the system has no filter of calls\n");
                hosted_close(&alone);
                skip();
            }
            if (status != 0) {
                fail_msg("%s, numerics %d, kind %d, pool of %d, %d host threads: status %d, system "
                         "call %d",
                         gqa_isa_name(sets[r].isa), (int)sets[r].numerics, (int)c.kind,
                         (int)c.threads, 1 + c.two, status, *called);
            }
        }
        c = (struct calls_case){sets[r], 3, false, true, HOSTED_RICH}; /* the filter sees a call */
        assert_int_equal(run_child(&c, alone.result), EXIT_CALLED);
        assert_int_equal(*called, SYS_getppid);
        hosted_close(&alone);
    }
    munmap(called, sizeof *called);
}

int main(int argc, char **argv)
{
    /* OpenBLAS starts threads when it is loaded, and they make calls of their own. */
    if (getenv("OPENBLAS_NUM_THREADS") == NULL) {
        setenv("OPENBLAS_NUM_THREADS", "1", 1);
        execv("/proc/self/exe", argv);
    }
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(counters_count),
        cmocka_unit_test(no_allocation_and_no_mutex),
        cmocka_unit_test(no_system_call_but_futex),
    };
    return RUN_TESTS(argc, argv, tests);
}

#endif
