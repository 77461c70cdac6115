/* SPDX-License-Identifier: Apache-2.0 */
/* run.c - see run.h. A round is: the case, its limit, each opponent; then again. So what is
 * compared was timed within seconds of each other, whatever else the machine does. */
#define _POSIX_C_SOURCE 200809L
#include "run.h"

#include <string.h>
#include <unistd.h>

#define ROUND_SECONDS 3e-3 /* short calls are repeated this long within a round */
#define ROUND_CALLS   200
#define FEWEST        3
#define WARM_SECONDS  20e-3 /* shorter calls on warm caches begin a round with an untimed one */

static void progress(const struct bench_runner *runner, const char *name, int32_t round)
{
    static const char bar[] = "##############################";
    int width = (int)sizeof bar - 1;
    int filled = runner->of > 0 ? width * runner->at / runner->of : 0;

    if (isatty(STDERR_FILENO)) {
        if (name == NULL) {
            fputs("\r\033[K", stderr);
        } else {
            fprintf(stderr, "\r\033[K[%.*s%*s] %d/%d %s, round %d of %d", filled, bar,
                    width - filled, "", (int)runner->at + 1, (int)runner->of, name, (int)round + 1,
                    (int)runner->options->repetitions);
        }
        fflush(stderr);
    }
}

static struct bench_child *find_child(struct bench_runner *runner, enum bench_peer peer,
                                      int32_t threads)
{
    struct bench_child *child = runner->child;

    for (int32_t i = 0; i < runner->children; i++, child++) {
        if (child->peer == peer && child->threads == threads) {
            return child;
        }
    }
    if (runner->children == BENCH_CHILDREN) {
        return NULL;
    }
    runner->children++;
    memset(child, 0, sizeof *child);
    child->peer = peer;
    child->threads = threads;
    return child;
}

/* One call of an opponent. */
static bool ask(struct bench_opponent *opponent, double *seconds)
{
    char line[BENCH_SPEC_TEXT];
    struct bench_answer answer = {0};

    if (opponent->work != NULL) {
        return opponent->work->run(opponent->work, seconds, opponent->why);
    }
    bench_spec_print(&opponent->spec, line);
    if (!bench_child_ask(opponent->child, line, &answer, opponent->why)) {
        return false;
    }
    *seconds = answer.seconds;
    opponent->caches = answer.caches;
    opponent->error = answer.error;
    return true;
}

static void join(struct bench_runner *runner, struct bench_opponent *opponent)
{
    double seconds;

    if (opponent->peer < 0) {
        opponent->work = bench_work_create(&opponent->spec, &runner->host, opponent->why);
        opponent->caches = opponent->work != NULL ? opponent->work->caches : 0;
        opponent->out = opponent->work == NULL || !ask(opponent, &seconds);
        return;
    }
    opponent->child = find_child(runner, (enum bench_peer)opponent->peer, opponent->spec.threads);
    opponent->out = opponent->child == NULL;
    if (!opponent->out && !bench_child_start(opponent->child, runner->options)) {
        snprintf(opponent->why, sizeof opponent->why, "%s", opponent->child->about);
        opponent->out = true;
    }
}

/* Does a round begin with an untimed call, since the others' data has pushed the caches out? */
static bool warm(const struct bench_spec *spec, const struct bench_times *times)
{
    return !spec->cold && times->count > 0 && times->seconds[times->count - 1] < WARM_SECONDS;
}

/* The calls of one round. */
static bool repeat(const struct bench_spec *spec, struct bench_work *work,
                   struct bench_times *times, char why[BENCH_WHY_TEXT])
{
    double sum = 0, seconds = 0;

    if (warm(spec, times) && !work->run(work, &seconds, why)) {
        return false;
    }
    for (int i = 0; i < ROUND_CALLS && sum < ROUND_SECONDS; i++, sum += seconds) {
        if (!work->run(work, &seconds, why) || !bench_times_add(times, seconds)) {
            return false;
        }
    }
    return true;
}

static void oppose(struct bench_opponent *opponent)
{
    double sum = 0, seconds = 0;

    if (!opponent->out && warm(&opponent->spec, &opponent->times)) {
        opponent->out = !ask(opponent, &seconds);
    }
    for (int i = 0; i < ROUND_CALLS && sum < ROUND_SECONDS && !opponent->out; i++) {
        opponent->out = !ask(opponent, &seconds) || !bench_times_add(&opponent->times, seconds);
        sum += seconds;
    }
}

/* One untimed round: a call of each. What fails here fails in the first timed round, too. */
static void warm_up(struct bench_case *one, struct bench_work *own, struct bench_work *limit)
{
    double seconds;

    own->run(own, &seconds, one->why);
    if (limit != NULL) {
        limit->run(limit, &seconds, one->why);
    }
    for (int32_t i = 0; i < one->opponents; i++) {
        if (!one->opponent[i].out) {
            ask(&one->opponent[i], &seconds);
        }
    }
}

static void rounds(struct bench_runner *runner, struct bench_case *one, struct bench_work *own,
                   struct bench_work *limit)
{
    struct bench_times times = {0}, limit_times = {0};
    double start;

    for (int32_t r = 0; r < runner->options->warmup; r++) {
        progress(runner, one->name, r - runner->options->warmup);
        warm_up(one, own, limit);
    }
    start = bench_now();
    for (int32_t r = 0; r < runner->options->repetitions; r++) {
        if (r >= FEWEST && bench_now() - start > runner->options->seconds) {
            break;
        }
        progress(runner, one->name, r);
        if (!repeat(&one->spec, own, &times, one->why)) {
            one->done = false;
            break;
        }
        if (limit != NULL && !repeat(&one->limit, limit, &limit_times, one->why)) {
            break;
        }
        for (int32_t i = 0; i < one->opponents; i++) {
            oppose(&one->opponent[i]);
        }
    }
    one->stats = bench_times_stats(&times);
    one->limit_stats = bench_times_stats(&limit_times);
    for (int32_t i = 0; i < one->opponents; i++) {
        one->opponent[i].stats = bench_times_stats(&one->opponent[i].times);
        bench_times_free(&one->opponent[i].times);
    }
    bench_times_free(&times);
    bench_times_free(&limit_times);
    progress(runner, NULL, 0);
}

/* Let the opponents free what they hold. */
static void part(struct bench_case *one)
{
    char why[BENCH_WHY_TEXT];
    struct bench_answer answer;

    for (int32_t i = 0; i < one->opponents; i++) {
        bench_work_destroy(one->opponent[i].work);
        one->opponent[i].work = NULL;
        if (one->opponent[i].child != NULL && one->opponent[i].child->ready) {
            bench_child_ask(one->opponent[i].child, "drop", &answer, why);
        }
    }
}

void bench_run(struct bench_runner *runner, struct bench_case *one)
{
    struct bench_work *own, *limit = NULL;
    progress(runner, one->name, 0);
    own = bench_work_create(&one->spec, &runner->host, one->why);
    one->done = own != NULL && bench_work_visit(own, one->why);
    if (one->done) {
        one->kernels = own->kernels;
        one->workspace = own->workspace;
        one->caches = own->caches;
        one->flop = own->flop > 0 ? own->flop : bench_spec_flop(&one->spec);
        one->bytes = own->bytes > 0 ? own->bytes : bench_spec_bytes(&one->spec);
        if (one->spec.kind == BENCH_PROBE) {
            one->flop = own->flop;
            one->bytes = own->bytes;
        }
        if (one->bound != BOUND_NONE && one->limit.kind == BENCH_PROBE) {
            limit = bench_work_create(&one->limit, &runner->host, one->why);
            one->limit_flop = limit == NULL ? 0 : limit->flop;
            one->limit_bytes = limit == NULL ? 0 : limit->bytes;
        }
        for (int32_t i = 0; i < one->opponents; i++) {
            join(runner, &one->opponent[i]);
        }
        rounds(runner, one, own, limit);
        part(one);
    }
    bench_work_destroy(limit);
    bench_work_destroy(own);
}

void bench_runner_end(struct bench_runner *runner)
{
    for (int32_t i = 0; i < runner->children; i++) {
        bench_child_stop(&runner->child[i]);
    }
    bench_host_destroy(&runner->host);
}
