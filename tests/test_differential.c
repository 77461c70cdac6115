/* SPDX-License-Identifier: Apache-2.0 */
/* test_differential.c - random layers on both backends against the double oracle.
 *
 * At least 500 configurations from fixed seeds, then as many more as it takes until every pair of
 * option values that is allowed has occurred. A pair is allowed if gqa_config_check accepts it in a
 * small config, or if some draw with it passes the rules of random_options.c and the checker.
 * Bounds: support/oracle.h. Each call is made once more in another form (taps or none, formats,
 * strides, outputs on inputs), which must give the same bits: support/differential_form.c.
 *
 * test_differential SEED [OPTION VALUE OPTION VALUE] repeats one case. GQA_TEST_LONG=1: ten times
 * the seeds.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include <cmocka.h>

#include "support/differential.h"
#include "support/program.h"

enum { SEEDS = 500, VALUES = RANDOM_VALUES };

/* Times that value v of option a and value w of option b occurred together. */
typedef unsigned short pair_counts[OPTION_COUNT][VALUES][OPTION_COUNT][VALUES];

struct tally {
    pair_counts pairs;
    bool refused[OPTION_COUNT][VALUES][OPTION_COUNT][VALUES];
    int cases, completions;
    differential_stats stats;
};

static void count_case(struct tally *tally, const random_case *c)
{
    tally->cases++;
    for (int a = 0; a < OPTION_COUNT; a++) {
        for (int b = 0; b < OPTION_COUNT; b++) {
            unsigned short *n = &tally->pairs[a][c->choice[a]][b][c->choice[b]];
            *n = (unsigned short)(*n + (*n < 60000 ? 1 : 0));
        }
    }
}

static void run_case(struct tally *tally, random_case *c)
{
    differential_truth truth;
    random_build(c);
    count_case(tally, c);
    differential_truth_init(&truth, c);
    differential_run(c, &truth, GQA_BACKEND_CPU, &tally->stats);
    differential_attend(c, GQA_BACKEND_CPU, &tally->stats);
    if (c->config.numerics == GQA_NUMERICS_F32) {
        differential_run(c, &truth, GQA_BACKEND_REFERENCE, &tally->stats);
        differential_attend(c, GQA_BACKEND_REFERENCE, &tally->stats);
    }
    differential_truth_free(&truth, c);
}

static void print_values(const struct tally *tally)
{
    printf("option values drawn in %d cases:\n", tally->cases);
    for (int a = 0; a < OPTION_COUNT; a++) {
        printf("  %-22s", random_options[a].name);
        for (int v = 0; v < random_options[a].count; v++) {
            printf(" %s:%d", random_options[a].values[v], (int)tally->pairs[a][v][a][v]);
        }
        printf("\n");
    }
}

/* drawn/allowed value pairs of every two options; returns the allowed ones that never occurred. */
static int print_pairs(const struct tally *tally)
{
    int missing = 0;
    int drawn_all = 0;
    int refused_all = 0;
    printf("pairs of values, drawn/allowed, with each later option:\n");
    for (int a = 0; a < OPTION_COUNT; a++) {
        printf("  %s:", random_options[a].name);
        for (int b = a + 1; b < OPTION_COUNT; b++) {
            int drawn = 0;
            int allowed = 0;
            for (int v = 0; v < random_options[a].count; v++) {
                for (int w = 0; w < random_options[b].count; w++) {
                    drawn += tally->pairs[a][v][b][w] > 0 ? 1 : 0;
                    allowed += tally->refused[a][v][b][w] ? 0 : 1;
                }
            }
            printf(" %s %d/%d", random_options[b].name, drawn, allowed);
            drawn_all += drawn;
            missing += allowed - drawn;
            refused_all += random_options[a].count * random_options[b].count - allowed;
        }
        printf("\n");
    }
    printf("%d pairs drawn, %d refused by the checker or the call, %d allowed but never drawn\n",
           drawn_all, refused_all, missing);
    return missing;
}

/* A case with this pair, if there can be one. */
static void complete_pair(struct tally *tally, random_option a, int v, random_option b, int w)
{
    random_case c;
    uint64_t seed = 1000000 + (uint64_t)tally->completions;
    if (tally->stats.failures >= 100 || tally->pairs[a][v][b][w] > 0 ||
        tally->refused[a][v][b][w]) {
        return;
    }
    if (random_draw(&c, seed, a, v, b, w)) {
        tally->completions++;
        int before = tally->stats.failures;
        run_case(tally, &c);
        if (tally->stats.failures > before) {
            fprintf(stderr, "repeat: test_differential %llu %d %d %d %d\n",
                    (unsigned long long)seed, (int)a, v, (int)b, w);
        }
    } else if (random_pair_checks(a, v, b, w)) {
        fprintf(stderr, "%s=%s with %s=%s is allowed, but no case has it\n", random_options[a].name,
                random_options[a].values[v], random_options[b].name, random_options[b].values[w]);
    } else {
        tally->refused[a][v][b][w] = tally->refused[b][w][a][v] = true;
    }
    random_free(&c);
}

static void complete_pairs(struct tally *tally)
{
    for (int a = 0; a < OPTION_COUNT; a++) {
        for (int b = a + 1; b < OPTION_COUNT; b++) {
            for (int v = 0; v < random_options[a].count; v++) {
                for (int w = 0; w < random_options[b].count; w++) {
                    complete_pair(tally, (random_option)a, v, (random_option)b, w);
                }
            }
        }
    }
}

static void print_stats(const struct tally *tally)
{
    const differential_stats *s = &tally->stats;
    printf("%d cases (%d to complete pairs), %lld numbers, %lld without a bound, %d failures\n",
           tally->cases, tally->completions, (long long)s->numbers, (long long)s->unbounded,
           s->failures);
    printf("%d calls in another form, %d outputs of them on inputs\n", s->forms, s->shared);
    printf("error / bound: worst %.3g; mean per stage", s->worst);
    for (int i = 0; i < GQA_STAGE_COUNT; i++) {
        printf(" %.2g", s->count[i] > 0 ? s->sum[i] / (double)s->count[i] : 0.0);
    }
    printf("\n");
}

static void test_random_configurations(void **state)
{
    const char *wish = getenv("GQA_TEST_LONG");
    int seeds = wish != NULL && wish[0] == '1' ? 10 * SEEDS : SEEDS;
    struct tally *tally = calloc(1, sizeof *tally);
    (void)state;
    assert_non_null(tally);
    for (int seed = 1; seed <= seeds && tally->stats.failures < 100; seed++) {
        random_case c;
        int before = tally->stats.failures;
        assert_true(random_draw(&c, (uint64_t)seed, OPT_HIDDEN, -1, OPT_HIDDEN, -1));
        run_case(tally, &c);
        random_free(&c);
        if (tally->stats.failures > before) {
            fprintf(stderr, "repeat: test_differential %d\n", seed);
        }
    }
    complete_pairs(tally);
    print_values(tally);
    int missing = print_pairs(tally);
    print_stats(tally);
    assert_int_equal(tally->stats.failures, 0);
    assert_int_equal(missing, 0);
    assert_true(tally->stats.unbounded * 1000 <= tally->stats.numbers);
    free(tally);
}

static int repeat(int argc, char **argv)
{
    struct tally *tally = calloc(1, sizeof *tally);
    int pair[4] = {0, -1, 0, -1};
    random_case c;
    for (int i = 0; i < 4 && argc == 6; i++) {
        pair[i] = atoi(argv[i + 2]);
    }
    if (tally == NULL || !random_draw(&c, strtoull(argv[1], NULL, 10), (random_option)pair[0],
                                      pair[1], (random_option)pair[2], pair[3])) {
        return 2;
    }
    random_print(stdout, &c);
    run_case(tally, &c);
    print_stats(tally);
    int failures = tally->stats.failures;
    random_free(&c);
    free(tally);
    return failures > 0;
}

int main(int argc, char **argv)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_random_configurations)};
    if (argc > 1 && argv[1][0] != '-') { /* a seed */
        return repeat(argc, argv);
    }
    return RUN_TESTS(argc, argv, tests);
}
