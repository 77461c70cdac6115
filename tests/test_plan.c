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
    int64_t first_tile[MOST + 1], first_part[MOST + 1], first_join[MOST + 1];
    int32_t member[MOST], first_member[MOST + 1], shared_end[MOST]; /* bundles */
    int32_t n;                                                      /* segments */
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
    s->n = n;
    s->plan.segments = s->segments;
    s->plan.bundles.n = n; /* each segment alone */
    s->plan.bundles.member = s->member;
    s->plan.bundles.first_member = s->first_member;
    s->plan.bundles.shared_end = s->shared_end;
    for (int32_t i = 0; i <= n; i++) {
        s->first_member[i] = i;
        s->member[i % MOST] = i % MOST;
    }
    s->plan.first_tile = s->first_tile;
    s->plan.first_part = s->first_part;
    s->plan.first_join = s->first_join;
    s->plan.block_begin = s->block_begin;
    s->plan.block_end = s->block_end;
}

static int64_t room_of(struct scene *s)
{
    return gqa__plan_max_parts(&s->params, 64, s->n, BLOCKS * 256, s->threads);
}

static void make(struct scene *s)
{
    gqa__plan_make(&s->plan, &s->params, s->threads, room_of(s));
}

/* Fold blocks of all items together. */
static int64_t all_blocks(const struct scene *s)
{
    int64_t all = 0;
    for (int32_t b = 0; b < s->plan.bundles.n; b++) {
        const int32_t begin = s->block_begin[s->member[s->first_member[b]]];
        const int32_t members = s->first_member[b + 1] - s->first_member[b];
        const int32_t shared = members > 1 ? s->shared_end[b] - begin : 0;
        int64_t each = shared;
        for (int32_t i = s->first_member[b]; i < s->first_member[b + 1]; i++) {
            each += s->block_end[s->member[i]] - begin - shared;
        }
        all += (s->first_tile[b + 1] - s->first_tile[b]) * each;
    }
    return all;
}

/* What has been found of the items of one tile. */
struct cover {
    const struct scene *s;
    int32_t longest;
    bool part[4096]; /* that belong to some join */
};

/* Parts [first, first + count) are the rows id, and cover the blocks [begin, end): each a node of
 * the fold tree, the first one cut short where `starts`, the last one where `ends`. */
static void check_parts(struct cover *cover, int64_t first, int32_t count,
                        const struct gqa__tile_id *id, int32_t begin, int32_t end, bool starts,
                        bool ends)
{
    int32_t at = begin;
    for (int64_t i = first; i < first + count; i++) {
        const struct gqa__plan_part part = gqa__plan_part(&cover->s->plan, i);
        const int32_t size = 1 << part.level;
        assert_memory_equal(&part.id, id, sizeof *id);
        assert_true(part.level <= cover->s->plan.part_level);
        assert_int_equal(part.block_begin, at);
        assert_true(part.block_end > at && part.block_end <= end);
        assert_int_equal(part.node, at / size);
        assert_true(at % size == 0 || (starts && at == begin));
        assert_true(part.block_end == (part.node + 1) * size || (ends && part.block_end == end));
        assert_int_equal(part.shared, !ends);
        cover->longest =
            part.block_end - at > cover->longest ? part.block_end - at : cover->longest;
        at = part.block_end;
        assert_true(i < 4096);
        cover->part[i] = true;
    }
    assert_int_equal(at, end);
}

/* Join `item`, of member i of a bundle's tile. */
static void check_join(struct cover *cover, int64_t item, const struct gqa__tile_id *tile,
                       int32_t i)
{
    const struct scene *const s = cover->s;
    const struct gqa__plan_join join = gqa__plan_join(&s->plan, item);
    const int32_t begin = s->block_begin[tile->segment];
    const int32_t members = s->first_member[tile->bundle + 1] - s->first_member[tile->bundle];
    const int32_t shared = s->shared_end[tile->bundle];
    if (members == 1) {
        assert_memory_equal(&join.id, tile, sizeof *tile);
        assert_int_equal(join.shared_parts, 0);
        check_parts(cover, join.own, join.own_parts, tile, begin, s->block_end[tile->segment], true,
                    true);
        return;
    }
    const int32_t segment = s->member[s->first_member[tile->bundle] + i];
    int32_t lane = 0;
    for (int32_t j = 0; j < i; j++) {
        lane += s->segments[s->member[s->first_member[tile->bundle] + j]].n * GROUP;
    }
    assert_int_equal(join.id.segment, segment);
    assert_int_equal(join.id.head, tile->head);
    assert_int_equal(join.id.first, 0);
    assert_int_equal(join.id.count, s->segments[segment].n * GROUP);
    assert_int_equal(join.lane, lane);
    assert_int_equal(join.of, tile->count);
    check_parts(cover, join.shared, join.shared_parts, tile, begin, shared, true, false);
    if (join.own_parts > 0) {
        check_parts(cover, join.own, join.own_parts, &join.id, shared, s->block_end[segment], false,
                    true);
    } else {
        const int32_t rest = s->block_end[segment] - shared;
        assert_true(rest <= 1 << s->plan.part_level);
        cover->longest = rest > cover->longest ? rest : cover->longest;
    }
}

/* Every block of every tile lies in one item; parts are nodes, in order, as many as said. Returns
 * the blocks of the longest item. */
static int32_t check_items(const struct scene *s)
{
    const struct gqa__plan *const plan = &s->plan;
    static struct cover cover;
    int64_t join = 0;
    memset(&cover, 0, sizeof cover);
    cover.s = s;
    for (int64_t tile = 0; tile < plan->tiles; tile++) {
        const struct gqa__tile_id id = gqa__plan_tile(plan, tile);
        const int32_t members = s->first_member[id.bundle + 1] - s->first_member[id.bundle];
        const int64_t blocks = gqa__plan_tile_blocks(plan, id.bundle);
        assert_true(tile >= s->first_tile[id.bundle] && tile < s->first_tile[id.bundle + 1]);
        if (!gqa__plan_is_cut(plan, id.bundle)) {
            cover.longest = blocks > cover.longest ? (int32_t)blocks : cover.longest;
            continue;
        }
        for (int32_t i = 0; i < members; i++) {
            check_join(&cover, join++, &id, i);
        }
    }
    for (int64_t part = 0; part < plan->parts; part++) {
        assert_true(cover.part[part]);
    }
    assert_false(cover.part[plan->parts]);
    assert_int_equal(join, plan->joins);
    assert_int_equal(plan->cut, plan->parts > 0 ? GQA_CUT_KEYS : GQA_CUT_ROWS);
    return cover.longest;
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
        for (int32_t i = 0; i < s.n; i++) {
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

/* Bundles of up to eight decodes that share most of their keys, or some, beside others: no item is
 * longer than two shares. */
static void random_bundles(void **state)
{
    (void)state;
    for (uint64_t seed = 1; seed <= 3000; seed++) {
        uint64_t random = seed;
        struct scene s;
        int32_t n = 0, bundles = 0;
        open_scene(&s, random_between(&random, 2, MOST), random_between(&random, 1, 24));
        s.params.knobs.force_key_cut = seed % 4 == 0;
        while (n < s.n) {
            const int32_t members = random_between(&random, 1, s.n - n < 8 ? s.n - n : 8);
            const int32_t begin = random_between(&random, 0, 3) * random_between(&random, 0, 20);
            const int32_t end = begin + random_between(&random, 1, 100);
            s.first_member[bundles] = n;
            s.shared_end[bundles] = members > 1 ? end : begin;
            for (int32_t i = 0; i < members; i++, n++) {
                const int32_t few = random_between(&random, 0, 3);
                s.segments[n].n = 1;
                s.block_begin[n] = begin;
                s.block_end[n] =
                    end + (random_u32(&random) % 8 == 0 ? random_between(&random, 0, 150) : few);
            }
            bundles++;
        }
        s.first_member[bundles] = n;
        s.plan.bundles.n = bundles;
        make(&s);
        const int64_t all = all_blocks(&s);
        const int32_t longest = check_items(&s);
        assert_true(s.plan.parts <= room_of(&s));
        if (s.threads > 1 && longest > 1 && (int64_t)longest * s.threads > 2 * all) {
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
        cmocka_unit_test(random_mixes),         cmocka_unit_test(random_bundles),
        cmocka_unit_test(one_long_among_short), cmocka_unit_test(whole_tiles),
        cmocka_unit_test(room_for_states),
    };
    return RUN_TESTS(argc, argv, tests);
}
