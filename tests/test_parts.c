/* SPDX-License-Identifier: Apache-2.0 */
/* test_parts.c - parts of a key range: gqa_cut_keys, the ranges that gqa_attend reports, and
 * gqa_merge_states, gqa_finish_states and priors under random and hostile ranges.
 *
 * Truth: memcmp with one walk where the contract promises bits, else a merge in double whose bound
 * stands beside it. Whether a list of ranges is good is decided here a second time.
 */
#include <float.h>
#include <limits.h>
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "gqa/gqa.h"
#include "support/forced_isa.h"
#include "support/program.h"
#include "support/random.h"
#include "support/small_layer.h"

enum { T = 2, HQ = 4, HKV = 2, D = 40, ROWS = T * HQ, BLOCK = 256, KEYS = 3500, MOST = 90 };

struct states {
    float m[ROWS], l[ROWS], o[ROWS * D];
    gqa_states view;
};

static float q[ROWS * D], k[KEYS * HKV * D], v[KEYS * HKV * D], output[ROWS * D];
static struct states part[MOST], whole, merged;
static gqa_layer *layer;
static uint64_t seed = 1;

static uint32_t below(uint32_t n)
{
    return random_u32(&seed) % n;
}

static void view_states(struct states *s, int32_t begin, int32_t end)
{
    s->view.m = gqa_tensor_3d(s->m, GQA_F32, 1, T, HQ);
    s->view.l = gqa_tensor_3d(s->l, GQA_F32, 1, T, HQ);
    s->view.o = gqa_tensor_4d(s->o, GQA_F32, 1, T, HQ, D);
    s->view.key_begin = begin;
    s->view.key_end = end;
}

static int open_all(void **state)
{
    gqa_config config;
    (void)state;
    random_floats(&seed, q, ROWS * D, 2.0f);
    random_floats(&seed, k, KEYS * HKV * D, 2.0f);
    random_floats(&seed, v, KEYS * HKV * D, 2.0f);
    config = attention_config(HQ, HKV, D, 0);
    assert_int_equal(gqa_create(&layer, &config, NULL, NULL, NULL), GQA_OK);
    return 0;
}

static int close_all(void **state)
{
    (void)state;
    gqa_destroy(&layer);
    return 0;
}

/* States of keys [begin, end) (0: all) of the first `keys`; to may have been anything. */
static gqa_status attend(int keys, int32_t begin, int32_t end, const gqa_states *prior,
                         struct states *to, gqa_error *err)
{
    gqa_attend_inputs in;
    gqa_attend_output out;
    gqa_status status;
    gqa_attend_inputs_init(&in);
    gqa_attend_output_init(&out);
    in.query = gqa_tensor_3d(q, GQA_F32, T, HQ, D);
    in.key = gqa_tensor_3d(k, GQA_F32, keys, HKV, D);
    in.value = gqa_tensor_3d(v, GQA_F32, keys, HKV, D);
    in.range_begin = begin;
    in.range_end = end;
    in.prior = prior;
    view_states(to, -1, -2);
    out.states = to->view;
    status = gqa_attend(layer, NULL, &in, &out, NULL, 0, err);
    to->view = out.states;
    return status;
}

static void attend_well(int keys, int32_t begin, int32_t end, const gqa_states *prior,
                        struct states *to)
{
    gqa_error err = {GQA_OK, NULL, ""};
    if (attend(keys, begin, end, prior, to, &err) != GQA_OK) {
        fail_msg("%d keys, [%d, %d): %s", keys, begin, end, err.message);
    }
    if (to->view.key_begin < 0 || to->view.key_begin % BLOCK != 0 ||
        to->view.key_end < to->view.key_begin) {
        fail_msg("%d keys, [%d, %d) reported as [%d, %d)", keys, begin, end, to->view.key_begin,
                 to->view.key_end);
    }
}

static bool same_bits(const struct states *a, const struct states *b)
{
    return memcmp(a->m, b->m, sizeof a->m) == 0 && memcmp(a->l, b->l, sizeof a->l) == 0 &&
           memcmp(a->o, b->o, sizeof a->o) == 0;
}

/* --- cuts --------------------------------------------------------------------------------------
 */

/* Is [from, to) what [begin, end) shares with some node? */
static bool shared_with_node(int64_t begin, int64_t end, int64_t from, int64_t to)
{
    for (int64_t size = BLOCK; size <= (int64_t)1 << 32; size *= 2) {
        int64_t node = from / size * size;
        int64_t lo = node > begin ? node : begin;
        int64_t hi = node + size < end ? node + size : end;
        if (lo == from && hi == to) {
            return true;
        }
    }
    return false;
}

/* Fewest parts of at most `most` keys that the rule allows within one node. */
static int64_t fewest(int64_t begin, int64_t end, int64_t node, int64_t size, int64_t most)
{
    int64_t lo = node > begin ? node : begin;
    int64_t hi = node + size < end ? node + size : end;
    if (lo >= hi) {
        return 0;
    }
    if (hi - lo <= most || size == BLOCK) {
        return 1;
    }
    return fewest(begin, end, node, size / 2, most) +
           fewest(begin, end, node + size / 2, size / 2, most);
}

static int32_t check_cut(int32_t begin, int32_t end, int32_t wanted, int32_t *bounds)
{
    int32_t parts = -1;
    int32_t longest = 0;
    assert_int_equal(gqa_cut_keys(begin, end, wanted, bounds, &parts, NULL), GQA_OK);
    assert_true(parts <= wanted && bounds[0] == begin && bounds[parts] == end);
    for (int32_t i = 0; i < parts; i++) {
        assert_true(bounds[i] < bounds[i + 1]);
        assert_true(shared_with_node(begin, end, bounds[i], bounds[i + 1]));
        longest = bounds[i + 1] - bounds[i] > longest ? bounds[i + 1] - bounds[i] : longest;
    }
    assert_true(begin == end ? parts == 0 : parts >= 1);
    if (longest > BLOCK && fewest(begin, end, 0, (int64_t)1 << 32, longest - 1) <= wanted) {
        fail_msg("[%d, %d) in %d: a longest part below %d is possible", begin, end, wanted,
                 longest);
    }
    return parts;
}

static void cuts_are_even(void **state)
{
    static int32_t bounds[5000];
    (void)state;
    for (int i = 0; i < 20000; i++) {
        int32_t begin = (int32_t)below(40) * BLOCK;
        check_cut(begin, begin + (int32_t)below(9000), 1 + (int32_t)below(45), bounds);
    }
    for (int i = 0; i < 300; i++) { /* far ends */
        int32_t begin = (INT32_MAX / BLOCK - (int32_t)below(5000)) * BLOCK;
        check_cut(begin, INT32_MAX - (int32_t)below(200), 1 + (int32_t)below(4000), bounds);
        check_cut((int32_t)below(5000) * BLOCK, INT32_MAX, 1 + (int32_t)below(4000), bounds);
    }
}

static void spoilt_cuts(void **state)
{
    static const struct {
        int32_t begin, end, wanted;
        const char *field;
    } bad[] = {{-BLOCK, 5, 1, "begin"},    {1, 900, 1, "begin"},
               {INT32_MIN, 5, 1, "begin"}, {BLOCK, 255, 1, "end"},
               {0, -1, 1, "end"},          {0, INT32_MIN, 1, "end"},
               {0, 900, 0, "wanted"},      {0, 900, INT32_MIN, "wanted"}};
    int32_t bounds[3] = {7, 7, 7};
    int32_t parts = 7;
    gqa_error err;
    (void)state;
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        assert_int_equal(
            gqa_cut_keys(bad[i].begin, bad[i].end, bad[i].wanted, bounds, &parts, &err),
            GQA_ERR_ARG);
        assert_string_equal(err.field, bad[i].field);
    }
    assert_int_equal(gqa_cut_keys(0, 900, 2, NULL, &parts, &err), GQA_ERR_ARG);
    assert_string_equal(err.field, "bounds");
    assert_int_equal(gqa_cut_keys(0, 900, 2, bounds, NULL, &err), GQA_ERR_ARG);
    assert_string_equal(err.field, "parts");
    assert_true(parts == 7 && bounds[0] == 7 && bounds[1] == 7 && bounds[2] == 7);
}

/* The statement itself: every proposed cut, to the bit; and a random one by the same rule. */
static void cuts_keep_the_bits(void **state)
{
    int32_t bounds[MOST];
    const gqa_states *list[MOST];
    (void)state;
    for (int i = 0; i < 400; i++) {
        int keys = 1 + (int)below(KEYS);
        int32_t begin = (int32_t)below((uint32_t)keys) / BLOCK * BLOCK;
        int32_t parts = check_cut(begin, keys, 1 + (int32_t)below(20), bounds);
        attend_well(keys, begin, 0, NULL, &whole);
        for (int32_t p = 0; p < parts; p++) {
            attend_well(keys, bounds[p], bounds[p + 1], NULL, &part[p]);
            list[p] = &part[p].view;
        }
        view_states(&merged, 0, 0);
        assert_int_equal(gqa_merge_states(list, parts, &merged.view, NULL), GQA_OK);
        if (!same_bits(&merged, &whole) || merged.view.key_begin != begin ||
            merged.view.key_end != keys) {
            fail_msg("[%d, %d) in %d parts", begin, keys, parts);
        }
    }
}

/* 700 keys cut at 256: other bits, and no further off than rounding. The states of the three blocks
 * are the same bits; two merges differ in order. u = 2^-24. One merge weighs a state by exp2(d),
 * |d| <= span: 2u (1 ulp) and |d| ln2 u from the rounding of d; then a product and an fma, u each:
 * e = (4 + span ln2) u, of l and of o against the sum of |o|, which is at most l max|v|. Two merges
 * on either side: l and o are 4e apart. Where m differs nothing more comes: it is an exact maximum.
 * So o / l is 8e max|v| apart, formed in double here; 1.01 for the second order. */
static void forbidden_cut(void **state)
{
    enum { CUT_KEYS = 700 };
    const gqa_states *list[2] = {&part[0].view, &part[1].view};
    struct states block[3];
    double span = 0.0;
    (void)state;
    attend_well(CUT_KEYS, 0, 0, NULL, &whole);
    attend_well(CUT_KEYS, 0, BLOCK, NULL, &part[0]);
    attend_well(CUT_KEYS, BLOCK, 0, NULL, &part[1]);
    for (int b = 0; b < 3; b++) {
        attend_well(CUT_KEYS, b * BLOCK, b < 2 ? (b + 1) * BLOCK : 0, NULL, &block[b]);
    }
    view_states(&merged, 0, 0);
    assert_int_equal(gqa_merge_states(list, 2, &merged.view, NULL), GQA_OK);
    assert_false(same_bits(&merged, &whole));
    for (int r = 0; r < ROWS; r++) {
        for (int b = 0; b < 9; b++) {
            span = fmax(span, fabs((double)block[b / 3].m[r] - (double)block[b % 3].m[r]));
        }
    }
    for (int r = 0; r < ROWS; r++) {
        double bound = 1.01 * 8.0 * (4.0 + span * 0.6931471805599453) * 0x1p-24 * 2.0;
        assert_true(merged.m[r] == whole.m[r]);
        for (int d = 0; d < D; d++) {
            double got = (double)merged.o[r * D + d] / (double)merged.l[r];
            double want = (double)whole.o[r * D + d] / (double)whole.l[r];
            assert_true(fabs(got - want) <= bound);
        }
    }
}

/* --- reported ranges ---------------------------------------------------------------------------
 */

static void empty_tails(void **state)
{
    const gqa_states *list[40];
    (void)state;
    attend_well(100, 512, 0, NULL, &part[1]);
    assert_true(part[1].view.key_begin == 512 && part[1].view.key_end == 512);
    attend_well(100, 0, 0, NULL, &whole);
    attend_well(100, 512, 0, &whole.view, &part[0]);
    assert_true(same_bits(&part[0], &whole));
    assert_true(part[0].view.key_begin == 0 && part[0].view.key_end == 100);
    attend_well(100, 0, 0, &part[1].view, &part[0]); /* an empty prior, from above */
    assert_true(same_bits(&part[0], &whole) && part[0].view.key_end == 100);
    for (int at = 0; at < 36; at++) { /* the one part anywhere among 35 empty ones */
        for (int i = 0; i < 36; i++) {
            list[i] = i == at ? &whole.view : &part[1].view;
        }
        view_states(&merged, 0, 0);
        assert_int_equal(gqa_merge_states(list, 36, &merged.view, NULL), GQA_OK);
        assert_true(same_bits(&merged, &whole));
        assert_true(merged.view.key_begin == 0 && merged.view.key_end == 100);
        list[at] = &part[1].view;
    }
    memset(&merged, 0x55, sizeof merged);
    view_states(&merged, 0, 0);
    assert_int_equal(gqa_merge_states(list, 36, &merged.view, NULL), GQA_OK);
    assert_true(same_bits(&merged, &part[1]));
    assert_true(merged.view.key_begin == 512 && merged.view.key_end == 512);
    assert_true(merged.l[0] == 0.0f && merged.m[0] == -INFINITY && merged.o[0] == 0.0f);
}

static int32_t hostile(void)
{
    static const int32_t odd[] = {
        INT32_MIN, INT32_MIN + 1, -BLOCK * 35,     -BLOCK,          -1, 1, 255,
        257,       INT32_MAX,     INT32_MAX - 255, INT32_MAX - 511, 0};
    return below(3) != 0 ? (int32_t)below(20) * BLOCK : odd[below(sizeof odd / sizeof *odd)];
}

/* Any two numbers as a range: refused, or a report that a prior and a merge take. */
static void reported_ranges(void **state)
{
    (void)state;
    for (int i = 0; i < 4000; i++) {
        int keys = (int)below(4) == 0 ? 0 : (int)below(900);
        int32_t begin = hostile(), end = hostile();
        const gqa_states *list[2] = {&part[0].view, &part[1].view};
        bool good = begin >= 0 && begin % BLOCK == 0 && (end == 0 || end > begin) &&
                    (end % BLOCK == 0 || end >= keys);
        gqa_error err = {GQA_OK, NULL, ""};
        gqa_status status = attend(keys, begin, end, NULL, &part[0], &err);
        assert_int_equal(status, good ? GQA_OK : GQA_ERR_ARG);
        if (!good) {
            continue;
        }
        attend_well(keys, begin, end, NULL, &part[0]);
        if (part[0].view.key_end <= INT32_MAX - BLOCK) {
            int32_t next = (part[0].view.key_end + BLOCK - 1) / BLOCK * BLOCK;
            attend_well(keys, next, 0, &part[0].view, &whole);
            attend_well(keys, next, 0, NULL, &part[1]);
            view_states(&merged, 0, 0);
            assert_int_equal(gqa_merge_states(list, 2, &merged.view, &err), GQA_OK);
            assert_true(same_bits(&merged, &whole));
            assert_true(merged.view.key_begin == whole.view.key_begin);
            assert_true(merged.view.key_end == whole.view.key_end);
        }
    }
}

/* --- merges ------------------------------------------------------------------------------------
 */

/* States out of numbers; a row in eight sees none of the part's keys. */
static void random_state(struct states *s, int32_t begin, int32_t end)
{
    view_states(s, begin, end);
    for (int r = 0; r < ROWS; r++) {
        bool none = begin == end || below(8) == 0;
        s->m[r] = none ? -INFINITY : 8.0f * random_float(&seed);
        s->l[r] = none ? 0.0f : 3.0f + 2.0f * random_float(&seed);
        for (int d = 0; d < D; d++) {
            s->o[r * D + d] = none ? 0.0f : 2.0f * random_float(&seed);
        }
    }
}

/* The merge in double. Each state goes through at most n merges, each off by e as in forbidden_cut
 * (span of m below 16): l by n e l, o by n e sum |o|. */
static void check_merge(int n)
{
    double e = 1.01 * n * (4.0 + 16.0 * 0.6931471805599453) * 0x1p-24;
    for (int r = 0; r < ROWS; r++) {
        double m = -INFINITY, l = 0.0;
        for (int i = 0; i < n; i++) {
            m = fmax(m, (double)part[i].m[r]);
        }
        assert_true((double)merged.m[r] == m);
        for (int i = 0; i < n; i++) {
            l += part[i].l[r] > 0.0f ? part[i].l[r] * exp2(part[i].m[r] - m) : 0.0;
        }
        assert_true(fabs(merged.l[r] - l) <= e * l);
        for (int d = 0; d < D; d++) {
            double o = 0.0, size = 0.0;
            for (int i = 0; i < n; i++) {
                double w = part[i].l[r] > 0.0f ? exp2(part[i].m[r] - m) : 0.0;
                o += w * part[i].o[r * D + d];
                size += w * fabs(part[i].o[r * D + d]);
            }
            assert_true(fabs(merged.o[r * D + d] - o) <= e * size);
        }
    }
}

/* Is the list good, said a second time. */
static bool good_list(int n)
{
    int64_t end = 0;
    for (int i = 0; i < n; i++) {
        int64_t a = part[i].view.key_begin, b = part[i].view.key_end;
        if (a < 0 || a % BLOCK != 0 || b < a || (a < b && a < end)) {
            return false;
        }
        end = a < b ? b : end;
    }
    return true;
}

/* n parts: mostly rising with gaps, of any number of blocks; now and then anything. */
static void random_parts(int n, bool wild)
{
    int64_t at = below(3) == 0 ? (int64_t)below(1u << 23) * BLOCK : 0;
    for (int i = 0; i < n; i++) {
        int64_t a = at + (below(3) == 0 ? (int64_t)below(9) * BLOCK : 0);
        int64_t b = a + (below(4) != 0 ? 1 + (int64_t)below(BLOCK * 9) : 0);
        if (below(40) == 0) {
            b += (int64_t)BLOCK << below(20);
        }
        if (b > INT32_MAX - BLOCK) {
            a = b = (int64_t)below(1u << 23) * BLOCK;
        }
        at = b > a ? (b + BLOCK - 1) / BLOCK * BLOCK : at;
        if (wild && below(6) == 0) {
            a = hostile();
        }
        if (wild && below(6) == 0) {
            b = hostile();
        }
        random_state(&part[i], (int32_t)a, (int32_t)b);
    }
}

static void random_merges(void **state)
{
    const gqa_tensor out = gqa_tensor_4d(output, GQA_F32, 1, T, HQ, D);
    const gqa_states *list[MOST];
    int good = 0;
    (void)state;
    for (int i = 0; i < 3000; i++) {
        int n = 1 + (int)below(MOST);
        gqa_error err = {GQA_OK, NULL, ""};
        random_parts(n, i % 2 == 0);
        for (int p = 0; p < n; p++) {
            bool sound = part[p].view.key_begin >= 0 && part[p].view.key_begin % BLOCK == 0 &&
                         part[p].view.key_end >= part[p].view.key_begin;
            list[p] = &part[p].view;
            assert_int_equal(gqa_finish_states(layer, list[p], GQA_PHASE_CTE, 0, &out, NULL, &err),
                             sound ? GQA_OK : GQA_ERR_ARG);
        }
        view_states(&merged, 0, 0);
        assert_int_equal(gqa_merge_states(list, n, &merged.view, &err),
                         good_list(n) ? GQA_OK : GQA_ERR_ARG);
        if (good_list(n)) {
            check_merge(n);
            good++;
        } else {
            assert_string_equal(err.field, "states");
        }
    }
    assert_true(good > 1500);
}

/* The two ways in which the stack was overrun, and content that an empty range would lose. */
static void overruns(void **state)
{
    const gqa_states *list[MOST];
    gqa_error err = {GQA_OK, NULL, ""};
    (void)state;
    for (int i = 0; i < 35; i++) {
        random_state(&part[i], BLOCK * (i - 35), BLOCK * (i - 34));
        list[i] = &part[i].view;
    }
    view_states(&merged, 0, 0);
    assert_int_equal(gqa_merge_states(list, 35, &merged.view, &err), GQA_ERR_ARG);
    assert_string_equal(err.field, "states");
    random_state(&part[0], 0, BLOCK);
    for (int i = 1; i < 36; i++) {
        random_state(&part[i], BLOCK, BLOCK);
        list[i] = &part[i].view;
    }
    assert_int_equal(gqa_merge_states(list, 36, &merged.view, &err), GQA_OK);
    assert_true(same_bits(&merged, &part[0]));
    part[7].l[ROWS - 1] = 1.0f;
    assert_int_equal(gqa_merge_states(list, 36, &merged.view, &err), GQA_ERR_ARG);
    assert_non_null(strstr(err.message, "[7]"));
    part[0].view.key_begin = -BLOCK;
    assert_int_equal(attend(100, BLOCK, 0, &part[0].view, &whole, &err), GQA_ERR_ARG);
    assert_string_equal(err.field, "inputs.prior");
}

int main(int argc, char **argv)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(cuts_are_even),      cmocka_unit_test(spoilt_cuts),
        cmocka_unit_test(cuts_keep_the_bits), cmocka_unit_test(forbidden_cut),
        cmocka_unit_test(empty_tails),        cmocka_unit_test(reported_ranges),
        cmocka_unit_test(random_merges),      cmocka_unit_test(overruns),
    };
    if (forced_isa_refuses(GQA_NUMERICS_F32)) { /* cmocka cannot skip in a setup */
        return TEST_SKIPPED;
    }
    return RUN_TESTS_WITHIN(argc, argv, tests, open_all, close_all);
}
