/* SPDX-License-Identifier: Apache-2.0 */
/* test_plan.c - attention's work items: together they are the whole run, each once, and none keeps
 * a thread busy for much longer than its share, however long and short sequences are mixed. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "attention/plan.h"
#include "support/program.h"
#include "support/random.h"

enum { MOST = 40, BLOCKS = 600, HKV = 3, GROUP = 2, ROWS = 16 };

struct scene {
    struct gqa__segment segments[MOST];
    int32_t block_begin[MOST], block_end[MOST];
    int64_t first_tile[MOST + 1], first_part[MOST + 1];
    struct gqa__kernels kernels;
    struct gqa__params params;
    struct gqa__plan plan;
    int32_t threads;
};

static void open_scene(struct scene *s, int32_t n, int32_t threads)
{
    memset(s, 0, sizeof *s);
    s->kernels.tile_rows = ROWS;
    s->params.kernels = &s->kernels;
    s->params.shape.hkv = HKV;
    s->params.shape.group = GROUP;
    s->threads = threads;
    s->plan.segments = s->segments;
    s->plan.n = n;
    s->plan.first_tile = s->first_tile;
    s->plan.first_part = s->first_part;
    s->plan.block_begin = s->block_begin;
    s->plan.block_end = s->block_end;
}

static int64_t room_of(struct scene *s)
{
    return gqa__plan_max_parts(&s->params, 64, s->plan.n, BLOCKS * 256, s->threads);
}

static void make(struct scene *s)
{
    gqa__plan_make(&s->plan, &s->params, s->threads, room_of(s));
}

/* Fold blocks of all items together. */
static int64_t all_blocks(const struct scene *s)
{
    int64_t all = 0;
    for (int32_t i = 0; i < s->plan.n; i++) {
        all += (s->first_tile[i + 1] - s->first_tile[i]) * (s->block_end[i] - s->block_begin[i]);
    }
    return all;
}

/* Every block of every tile lies in one item; parts are nodes, in order, as many as said. Returns
 * the blocks of the longest item. */
static int32_t check_items(const struct scene *s)
{
    const struct gqa__plan *const plan = &s->plan;
    const int32_t node = 1 << plan->part_level;
    int32_t longest = 0;
    int64_t item = 0;
    for (int64_t tile = 0; tile < plan->tiles; tile++) {
        const struct gqa__tile_id id = gqa__plan_tile(plan, tile);
        const int32_t begin = s->block_begin[id.segment], end = s->block_end[id.segment];
        int32_t at = begin;
        assert_true(tile >= s->first_tile[id.segment] && tile < s->first_tile[id.segment + 1]);
        if (!gqa__plan_is_cut(plan, id.segment)) {
            longest = end - begin > longest ? end - begin : longest;
            continue;
        }
        for (int32_t i = 0, count = 1; i < count; i++, item++) {
            const struct gqa__plan_part part = gqa__plan_part(plan, item);
            count = part.count;
            assert_int_equal(part.tile, tile);
            assert_int_equal(part.index, i);
            assert_int_equal(part.node, at >> plan->part_level);
            assert_int_equal(part.block_begin, part.node * node);
            assert_true(part.block_begin <= at && part.block_end > at);
            assert_true(part.block_end - part.block_begin <= node);
            longest = part.block_end - at > longest ? part.block_end - at : longest;
            at = part.block_end;
        }
        assert_int_equal(at, end);
    }
    assert_int_equal(item, plan->parts);
    assert_int_equal(plan->cut, plan->parts > 0 ? GQA_CUT_KEYS : GQA_CUT_ROWS);
    return longest;
}

/* Mixes of prompts, long and short decodes. A part is a power of two of at least half a share,
 * twice that where there is no room for so many states: at most two shares. */
static void random_mixes(void **state)
{
    (void)state;
    for (uint64_t seed = 1; seed <= 3000; seed++) {
        uint64_t random = seed;
        struct scene s;
        open_scene(&s, random_between(&random, 1, MOST), random_between(&random, 2, 24));
        for (int32_t i = 0; i < s.plan.n; i++) {
            const int32_t few = random_between(&random, 0, 3);
            s.segments[i].n = random_u32(&random) % 4 == 0 ? random_between(&random, 1, 40) : 1;
            s.block_begin[i] = random_between(&random, 0, 300);
            s.block_end[i] =
                s.block_begin[i] +
                (random_u32(&random) % 8 == 0 ? random_between(&random, 0, BLOCKS - 300) : few);
        }
        make(&s);
        const int64_t all = all_blocks(&s);
        const int32_t longest = check_items(&s);
        assert_true(s.plan.parts <= room_of(&s));
        if (longest > 1 && (int64_t)longest * s.threads > 2 * all) {
            fail_msg("seed %d: an item of %d blocks, %d threads, %d blocks in all", (int)seed,
                     (int)longest, (int)s.threads, (int)all);
        }
    }
}

/* A decode of 512 blocks beside 15 of one block: whole, one of three tiles would keep a thread busy
 * for 512 blocks of 1581. */
static void one_long_among_short(void **state)
{
    struct scene s;
    (void)state;
    for (int32_t threads = 1; threads <= 16; threads++) {
        open_scene(&s, 16, threads);
        for (int32_t i = 0; i < 16; i++) {
            s.segments[i].n = 1;
            s.block_end[i] = i == 9 ? 512 : 1;
        }
        make(&s);
        assert_int_equal(all_blocks(&s), 3 * (512 + 15));
        const int32_t longest = check_items(&s);
        if (threads < 4) { /* three tiles of one length: cutting them brings nothing */
            assert_int_equal(s.plan.cut, GQA_CUT_ROWS);
        } else {
            assert_int_equal(s.plan.cut, GQA_CUT_KEYS);
            assert_true(longest * threads <= 2 * 3 * 527);
            assert_false(gqa__plan_is_cut(&s.plan, 8));
            assert_true(gqa__plan_is_cut(&s.plan, 9));
        }
    }
}

/* Nothing is cut where all are alike and enough for the threads, and without room. */
static void whole_tiles(void **state)
{
    struct scene s;
    (void)state;
    for (int32_t n = 1; n <= 8; n++) {
        open_scene(&s, n, 3 * n);
        for (int32_t i = 0; i < n; i++) {
            s.segments[i].n = 1;
            s.block_end[i] = 64;
        }
        make(&s);
        assert_int_equal(s.plan.cut, GQA_CUT_ROWS);
        check_items(&s);
        s.threads++;
        make(&s);
        assert_int_equal(s.plan.cut, GQA_CUT_KEYS);
        gqa__plan_make(&s.plan, &s.params, s.threads, 0);
        assert_int_equal(s.plan.cut, GQA_CUT_ROWS);
        check_items(&s);
    }
}

/* The tests' hook wants one fold block for each part, and gets what there is room for. */
static void room_for_states(void **state)
{
    struct scene s;
    (void)state;
    for (int32_t n = 1; n <= 8; n++) {
        open_scene(&s, n, 2);
        s.params.knobs.force_key_cut = true;
        for (int32_t i = 0; i < n; i++) {
            s.segments[i].n = 9;
            s.block_end[i] = 1 + 40 * i;
        }
        make(&s);
        check_items(&s);
        assert_true(s.plan.parts <= room_of(&s));
        assert_int_equal(s.plan.cut, n > 1 ? GQA_CUT_KEYS : GQA_CUT_ROWS);
    }
}

int main(int argc, char **argv)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(random_mixes),
        cmocka_unit_test(one_long_among_short),
        cmocka_unit_test(whole_tiles),
        cmocka_unit_test(room_for_states),
    };
    return RUN_TESTS(argc, argv, tests);
}
