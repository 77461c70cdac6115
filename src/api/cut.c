/* cut.c - gqa_cut_keys: parts of a key range whose merge has the bits of the whole.
 *
 * A part may be what the range shares with one node of the fold tree. The finest level whose nodes
 * are few enough is taken; what is then still wanted comes from halving nodes of that level, the
 * whole ones first, then the longer one of the two at the ends.
 */
#include "base/error.h"
#include "base/fold.h"
#include "base/memory.h"
#include "gqa/attend.h"

/* Nodes first .. last of one level, cut to keys [begin, end). */
struct cut {
    int64_t begin, end;
    int64_t first, last;
    int64_t size; /* keys of a whole node */
};

static struct cut cut_at(int64_t begin, int64_t end, int32_t level)
{
    const int64_t size = (int64_t)GQA__FOLD_BLOCK << level;
    const struct cut cut = {begin, end, begin / size, (end - 1) / size, size};

    return cut;
}

/* Keys of node i. */
static int64_t keys_of(const struct cut *cut, int64_t i)
{
    return gqa__min(cut->end, (i + 1) * cut->size) - gqa__max(cut->begin, i * cut->size);
}

/* Has node i keys in both of its halves? */
static bool halves(const struct cut *cut, int64_t i)
{
    const int64_t middle = i * cut->size + cut->size / 2;

    return cut->size > GQA__FOLD_BLOCK && middle > cut->begin && middle < cut->end;
}

/* The node at an end that is halved once all whole ones are; -1 = none. */
static int64_t longer_end(const struct cut *cut)
{
    const bool left = keys_of(cut, cut->first) < cut->size && halves(cut, cut->first);
    const bool right = keys_of(cut, cut->last) < cut->size && halves(cut, cut->last);

    if (left && right) {
        return keys_of(cut, cut->last) > keys_of(cut, cut->first) ? cut->last : cut->first;
    }
    return left ? cut->first : right ? cut->last : -1;
}

/* Fill the bounds with `spare` nodes halved; returns the number of parts. */
static int32_t fill(const struct cut *cut, int64_t spare, int32_t *bounds)
{
    int64_t whole = 0;
    int64_t end_node = -1;
    int32_t n = 0;

    for (int64_t i = cut->first; i <= cut->last; i++) {
        whole += keys_of(cut, i) == cut->size && halves(cut, i);
    }
    if (spare > whole) {
        end_node = longer_end(cut);
    }
    for (int64_t i = cut->first; i <= cut->last; i++) {
        const bool split = keys_of(cut, i) == cut->size && halves(cut, i) && spare > 0;
        spare -= split;
        bounds[n++] = (int32_t)gqa__max(cut->begin, i * cut->size);
        if (split || i == end_node) {
            bounds[n++] = (int32_t)(i * cut->size + cut->size / 2);
        }
    }
    bounds[n] = (int32_t)cut->end;
    return n;
}

gqa_status gqa_cut_keys(int32_t begin, int32_t end, int32_t wanted, int32_t *bounds, int32_t *parts,
                        gqa_error *err)
{
    struct cut cut;
    int32_t level = 0;

    if (begin < 0 || begin % GQA__FOLD_BLOCK != 0) {
        return gqa__fail(err, GQA_ERR_ARG, "begin",
                         "is %d; it must be a multiple of %d, at least 0", begin, GQA__FOLD_BLOCK);
    }
    if (end < begin) {
        return gqa__fail(err, GQA_ERR_ARG, "end", "is %d; it must be at least begin %d", end,
                         begin);
    }
    if (wanted < 1) {
        return gqa__fail(err, GQA_ERR_ARG, "wanted", "is %d; it must be at least 1", wanted);
    }
    if (bounds == NULL || parts == NULL) {
        return gqa__fail(err, GQA_ERR_ARG, bounds == NULL ? "bounds" : "parts", "is NULL");
    }
    bounds[0] = begin;
    *parts = 0;
    if (begin == end) {
        return GQA_OK;
    }
    cut = cut_at(begin, end, level);
    while (cut.last - cut.first + 1 > wanted) {
        cut = cut_at(begin, end, ++level);
    }
    *parts = fill(&cut, wanted - (cut.last - cut.first + 1), bounds);
    return GQA_OK;
}
