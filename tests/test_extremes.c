/* test_extremes.c - the ends of f32: parameters that are denormal, on every kernel row bit by bit
 * against row8, and by hand.
 *
 * One test per row and kind; its name is the command that repeats it: test_extremes "NAME".
 */
#include <float.h>
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "base/fold.h"
#include "base/number.h"
#include "support/attend_kernels.h"
#include "support/fence.h"
#include "support/row8.h"
#include "support/rows.h"

static char current[256]; /* parameters of the running case */

static void check(int good)
{
    if (!good) {
        print_error("%s", current);
        fail();
    }
}

/* Row under test and row8, by entries and by whole blocks, give the same bits. got: of the blocks.
 */
static void run_case(const struct row_under_test *test, const struct problem *p, const char *what,
                     struct answer *got)
{
    struct answer want = answer_new(p);
    const struct variant entries = {false, false, false}, fused = {true, false, true};

    snprintf(current, sizeof current, "%s %s rows=%d keys=%d features=%d\n", test->name, what,
             p->rows, p->keys, p->features);
    check(attend(gqa_test_row8(test->row->numerics), p, entries, &want));
    check(attend(test->row, p, entries, got));
    check(same_answers(p, got, &want, true));
    check(attend(test->row, p, fused, got));
    check(same_answers(p, got, &want, false));
    answer_free(&want);
}

static void fill_all(float *x, int64_t n, float value)
{
    for (int64_t i = 0; i < n; i++) {
        x[i] = value;
    }
}

/* --- denormal parameters --------------------------------------------------------------------- */

/* Whatever a row flushes in its products, parameters are what they are: in each case one is
 * denormal, and all of them in the last. */
static void test_tiny(void **state)
{
    const struct row_under_test *test = *state;
    static const int32_t features[] = {FEATURE_SOFTCAP, FEATURE_SLOPE,    FEATURE_BIAS,
                                       FEATURE_SINK,    FEATURE_RANGE,    FEATURE_SOFTCAP,
                                       FEATURE_SLOPE,   FEATURES_ALL - 1, FEATURES_ALL - 1};
    static const int32_t keys[] = {300, 64, 40};

    for (int32_t i = 0; i < 9 * 3; i++) {
        struct problem p = {.rows = 21, .group = 1, .keys = keys[i % 3], .dk = 16, .dv = 8};
        struct answer got;

        p.features = features[i / 3];
        p.softcap = 7e-39f;
        p.scale = i / 3 == 4 ? 0x1p-130f : PROBLEM_SCALE;
        p.seed = 40u + (uint64_t)i;
        problem_fill(&p);
        fill_all(p.slope, p.rows, i / 3 == 6 ? 0x1p-149f : 0x1p-132f);
        fill_all(p.sink, p.rows, -0x1p-135f);
        for (int64_t j = 0; j < (int64_t)p.keys * p.rows; j++) {
            p.bias[j] *= 0x1p-126f;
        }
        got = answer_new(&p);
        run_case(test, &p, "tiny", &got);
        answer_free(&got);
        problem_free(&p);
    }
}

/* By hand: a softcap of 5e-39 leaves no score, so that 64 keys weigh the same. */
static void test_softcap(void **state)
{
    const struct row_under_test *test = *state;
    struct problem p = {.rows = 21, .group = 1, .keys = 64, .dk = 16, .dv = 8, .seed = 3};
    struct answer got;

    p.features = FEATURE_SOFTCAP;
    p.softcap = 5e-39f * (float)GQA__LOG2E;
    problem_fill(&p);
    got = answer_new(&p);
    run_case(test, &p, "softcap", &got);
    for (int32_t r = 0; r < p.rows; r++) {
        check(got.l[r] == 64.0f && fabsf(got.m[r]) <= p.softcap);
    }
    answer_free(&got);
    problem_free(&p);
}

int main(int argc, char **argv)
{
    static const struct {
        const char *name;
        CMUnitTestFunction run;
    } kinds[] = {{"tiny", test_tiny}, {"softcap", test_softcap}};
    enum { KINDS = sizeof kinds / sizeof kinds[0] };
    static struct row_under_test rows[MAX_ROWS];
    static char names[MAX_ROWS * KINDS][64];
    static struct CMUnitTest tests[MAX_ROWS * KINDS];
    const int32_t count = rows_under_test(rows);

    for (int32_t i = 0; i < count * KINDS; i++) {
        snprintf(names[i], sizeof names[i], "%s %s", rows[i / KINDS].name, kinds[i % KINDS].name);
        tests[i].name = names[i];
        tests[i].test_func = kinds[i % KINDS].run;
        tests[i].initial_state = &rows[i / KINDS];
    }
    fence_report(current);
    if (argc > 1) {
        cmocka_set_test_filter(argv[1]);
    }
    return _cmocka_run_group_tests("extremes", tests, (size_t)(count * KINDS), NULL, NULL);
}
