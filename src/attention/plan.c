/* SPDX-License-Identifier: Apache-2.0 */
/* plan.c - see plan.h. */
#include "attention/plan.h"

#include "base/fold.h"
#include "base/memory.h"

/* States of parts that there is room for, for each thread: with one batch entry, and with several,
 * whose shared keys are cut into more. */
enum { PARTS_ALONE = 4, PARTS_SHARED = 12 };

static int64_t tiles_of(int64_t tokens, const struct gqa__shape *shape, int32_t tile_rows)
{
    return shape->hkv * ((tokens * shape->group + tile_rows - 1) / tile_rows);
}

static int64_t blocks_of(int64_t keys)
{
    return (keys + GQA__FOLD_BLOCK - 1) / GQA__FOLD_BLOCK;
}

int64_t gqa__plan_max_tiles(const struct gqa__params *params, int32_t tokens, int32_t segments)
{
    return tiles_of(tokens, &params->shape, params->kernels->tile_rows) +
           (int64_t)segments * params->shape.hkv;
}

int64_t gqa__plan_max_parts(const struct gqa__params *params, int32_t tokens, int32_t segments,
                            int32_t keys, int32_t threads)
{
    if (params->knobs.force_key_cut) {
        return gqa__plan_max_tiles(params, tokens, segments) * gqa__min(blocks_of(keys), 4);
    }
    return threads > 1 ? (segments > 1 ? PARTS_SHARED : PARTS_ALONE) * (int64_t)threads : 0;
}

/* --- parts of a range of fold blocks -----------------------------------------------------------
 */

/* Fold blocks, and whether others come before or after them in the fold of the rows. A part is a
 * whole node of the tree, but that the first one may lack what is before the range, if nothing is,
 * and the last one what is behind it. */
struct block_range {
    int32_t begin, end;
    bool starts, ends;
};

/* The level of the part that begins at block `at`: the largest up to `most`. */
static int32_t level_at(const struct block_range *range, int32_t at, int32_t most)
{
    int32_t level = most;

    for (; level > 0; level--) {
        const int64_t size = (int64_t)1 << level;
        const bool begins = at % size == 0 || (range->starts && at == range->begin);
        if (begins && (range->ends || (at / size + 1) * size <= range->end)) {
            break;
        }
    }
    return level;
}

/* Where the part that begins at block `at` ends. */
static int32_t part_end(const struct block_range *range, int32_t at, int32_t level)
{
    const int64_t size = (int64_t)1 << level;

    return (int32_t)gqa__min((at / size + 1) * size, range->end);
}

/* Parts of the range, of at most this level. */
static int32_t count_parts(const struct block_range *range, int32_t most)
{
    int32_t n = 0;

    if (range->starts && range->ends && range->begin < range->end) { /* all are of this level */
        return ((range->end - 1) >> most) - (range->begin >> most) + 1;
    }
    for (int32_t at = range->begin; at < range->end; n++) {
        at = part_end(range, at, level_at(range, at, most));
    }
    return n;
}

/* Part i of it. */
static void set_part(const struct block_range *range, int32_t most, int32_t i,
                     struct gqa__plan_part *part)
{
    int32_t at = range->begin;

    for (; i > 0; i--) {
        at = part_end(range, at, level_at(range, at, most));
    }
    part->level = level_at(range, at, most);
    part->node = at >> part->level;
    part->block_begin = at;
    part->block_end = part_end(range, at, part->level);
}

/* --- the parts of a tile -----------------------------------------------------------------------
 */

static int64_t bundle_tiles(const struct gqa__plan *plan, int32_t bundle)
{
    return plan->first_tile[bundle + 1] - plan->first_tile[bundle];
}

static int32_t member_of(const struct gqa__plan *plan, int32_t bundle, int32_t i)
{
    return plan->bundles.member[plan->bundles.first_member[bundle] + i];
}

/* The blocks that a bundle shares, or that a segment alone has. */
static struct block_range first_range(const struct gqa__plan *plan, int32_t bundle)
{
    const int32_t s = member_of(plan, bundle, 0);
    const bool shared = gqa__plan_is_shared(plan, bundle);
    const struct block_range range = {
        plan->block_begin[s], shared ? plan->bundles.shared_end[bundle] : plan->block_end[s], true,
        !shared};

    return range;
}

/* What member i of a bundle that shares goes on with. */
static struct block_range own_range(const struct gqa__plan *plan, int32_t bundle, int32_t i)
{
    const struct block_range range = {plan->bundles.shared_end[bundle],
                                      plan->block_end[member_of(plan, bundle, i)], false, true};

    return range;
}

/* ... is cut where it is long. */
static int32_t own_parts(const struct gqa__plan *plan, int32_t bundle, int32_t i, int32_t level)
{
    const struct block_range range = own_range(plan, bundle, i);

    return range.end - range.begin > (int64_t)1 << level ? count_parts(&range, level) : 0;
}

int64_t gqa__plan_tile_blocks(const struct gqa__plan *plan, int32_t bundle)
{
    const struct block_range range = first_range(plan, bundle);
    const int32_t members = gqa__bundle_members(&plan->bundles, bundle);
    int64_t blocks = range.end - range.begin;

    for (int32_t i = 0; i < members && members > 1; i++) {
        const struct block_range own = own_range(plan, bundle, i);
        blocks += own.end - own.begin;
    }
    return blocks;
}

/* Parts of a tile of the bundle; 0 if it is not cut. */
static int64_t parts_of_tile(const struct gqa__plan *plan, int32_t bundle, int32_t level)
{
    const struct block_range range = first_range(plan, bundle);
    const int32_t members = gqa__bundle_members(&plan->bundles, bundle);
    int64_t parts;

    if (gqa__plan_tile_blocks(plan, bundle) <= (int64_t)1 << level) {
        return 0;
    }
    parts = count_parts(&range, level);
    for (int32_t i = 0; i < members && members > 1; i++) {
        parts += own_parts(plan, bundle, i, level);
    }
    return parts;
}

static int64_t parts_of_level(const struct gqa__plan *plan, int32_t level)
{
    int64_t parts = 0;

    for (int32_t b = 0; b < plan->bundles.n; b++) {
        parts += bundle_tiles(plan, b) * parts_of_tile(plan, b, level);
    }
    return parts;
}

/* --- the plan ----------------------------------------------------------------------------------
 */

/* Fold blocks that a part should have: half a thread's share of the run. 0 = nothing is cut: no
 * tile is longer than a share. */
static int64_t part_wanted(const struct gqa__plan *plan, const struct gqa__params *params,
                           int32_t threads)
{
    int64_t all = 0;
    int64_t longest = 0;

    for (int32_t b = 0; b < plan->bundles.n; b++) {
        const int64_t blocks = gqa__plan_tile_blocks(plan, b);
        all += bundle_tiles(plan, b) * blocks;
        longest = gqa__max(longest, blocks);
    }
    if (params->knobs.force_key_cut) {
        return 1;
    }
    return longest * threads > all ? gqa__max(1, all / (2 * (int64_t)threads)) : 0;
}

/* The finest level that is wanted and there is room for. */
static void cut_keys(struct gqa__plan *plan, int64_t wanted, int64_t max_parts)
{
    int32_t level = 0;

    while (wanted > 0 && level < 30 &&
           ((int64_t)1 << level < wanted || parts_of_level(plan, level) > max_parts)) {
        level++;
    }
    plan->part_level = level;
    plan->parts = plan->joins = 0;
    for (int32_t b = 0; b < plan->bundles.n; b++) {
        const int64_t parts = wanted > 0 ? parts_of_tile(plan, b, level) : 0;
        plan->first_part[b] = plan->parts;
        plan->first_join[b] = plan->joins;
        plan->parts += bundle_tiles(plan, b) * parts;
        plan->joins +=
            parts > 0 ? bundle_tiles(plan, b) * gqa__bundle_members(&plan->bundles, b) : 0;
    }
    plan->first_part[plan->bundles.n] = plan->parts;
    plan->first_join[plan->bundles.n] = plan->joins;
    plan->cut = plan->parts > 0 ? GQA_CUT_KEYS : GQA_CUT_ROWS;
}

void gqa__plan_make(struct gqa__plan *plan, const struct gqa__params *params, int32_t threads,
                    int64_t max_parts)
{
    plan->group = params->shape.group;
    plan->hkv = params->shape.hkv;
    plan->tile_rows = params->kernels->tile_rows;
    plan->tiles = 0;
    for (int32_t b = 0; b < plan->bundles.n; b++) {
        const int32_t tokens = plan->segments[member_of(plan, b, 0)].n;
        plan->first_tile[b] = plan->tiles;
        plan->tiles += gqa__plan_is_shared(plan, b)
                           ? plan->hkv
                           : tiles_of(tokens, &params->shape, plan->tile_rows);
    }
    plan->first_tile[plan->bundles.n] = plan->tiles;
    cut_keys(plan, max_parts > 0 ? part_wanted(plan, params, threads) : 0, max_parts);
}

/* --- items -------------------------------------------------------------------------------------
 */

/* The last bundle whose items begin at or before the item. */
static int32_t bundle_of(const struct gqa__plan *plan, const int64_t *first, int64_t item)
{
    int32_t lo = 0;
    int32_t hi = plan->bundles.n - 1;

    while (lo < hi) {
        const int32_t mid = lo + (hi - lo + 1) / 2;
        if (first[mid] <= item) {
            lo = mid;
        } else {
            hi = mid - 1;
        }
    }
    return lo;
}

struct gqa__tile_id gqa__plan_member(const struct gqa__plan *plan, int32_t bundle, int32_t i,
                                     int32_t head)
{
    const int32_t s = member_of(plan, bundle, i);
    const struct gqa__tile_id id = {bundle, s, head, 0, plan->segments[s].n * plan->group};

    return id;
}

struct gqa__tile_id gqa__plan_tile(const struct gqa__plan *plan, int64_t tile)
{
    const int32_t b = bundle_of(plan, plan->first_tile, tile);
    const int32_t members = gqa__bundle_members(&plan->bundles, b);
    const int32_t local = (int32_t)(tile - plan->first_tile[b]);
    struct gqa__tile_id id = gqa__plan_member(plan, b, 0, local);

    if (members == 1 && id.count > plan->tile_rows) {
        const int32_t per_head = (id.count + plan->tile_rows - 1) / plan->tile_rows;
        const int32_t from_end = local % per_head; /* the last rows of every head first */
        id.head = local / per_head;
        id.first = (per_head - 1 - from_end) * plan->tile_rows;
        id.count = (int32_t)gqa__min(plan->tile_rows, id.count - id.first);
    }
    for (int32_t i = 1; i < members; i++) {
        id.count += plan->segments[member_of(plan, b, i)].n * plan->group;
    }
    return id;
}

struct gqa__plan_part gqa__plan_part(const struct gqa__plan *plan, int64_t part)
{
    const int32_t b = bundle_of(plan, plan->first_part, part);
    const int32_t level = plan->part_level;
    const int64_t per_tile = parts_of_tile(plan, b, level);
    const int64_t local = part - plan->first_part[b];
    const struct block_range range = first_range(plan, b);
    const int32_t first = count_parts(&range, level);
    int32_t index = (int32_t)(local % per_tile);
    struct gqa__plan_part own = {.id =
                                     gqa__plan_tile(plan, plan->first_tile[b] + local / per_tile)};

    if (index < first) {
        own.shared = gqa__plan_is_shared(plan, b);
        set_part(&range, level, index, &own);
        return own;
    }
    index -= first;
    for (int32_t i = 0;; i++) {
        const struct block_range rest = own_range(plan, b, i);
        const int32_t count = own_parts(plan, b, i, level);
        if (index < count) {
            own.id = gqa__plan_member(plan, b, i, own.id.head);
            set_part(&rest, level, index, &own);
            return own;
        }
        index -= count;
    }
}

struct gqa__plan_join gqa__plan_join(const struct gqa__plan *plan, int64_t join)
{
    const int32_t b = bundle_of(plan, plan->first_join, join);
    const int32_t level = plan->part_level;
    const int32_t members = gqa__bundle_members(&plan->bundles, b);
    const int64_t local = join - plan->first_join[b];
    const int64_t tile = local / members;
    const struct block_range range = first_range(plan, b);
    const int64_t first = plan->first_part[b] + tile * parts_of_tile(plan, b, level);
    struct gqa__plan_join own = {.id = gqa__plan_tile(plan, plan->first_tile[b] + tile)};

    if (members == 1) {
        own.own = first;
        own.own_parts = count_parts(&range, level);
        return own;
    }
    own.shared = first;
    own.shared_parts = count_parts(&range, level);
    own.of = own.id.count;
    own.own = first + own.shared_parts;
    for (int32_t i = 0; i < local % members; i++) {
        own.own += own_parts(plan, b, i, level);
        own.lane += plan->segments[member_of(plan, b, i)].n * plan->group;
    }
    own.own_parts = own_parts(plan, b, (int32_t)(local % members), level);
    own.id = gqa__plan_member(plan, b, (int32_t)(local % members), own.id.head);
    return own;
}
