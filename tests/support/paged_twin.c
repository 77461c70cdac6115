/* SPDX-License-Identifier: Apache-2.0 */
/* paged_twin.c - see paged_twin.h. */
#include "support/paged_twin.h"

#include <math.h>
#include <string.h>

#include "support/native_twin.h"

const char *const paged_wrong_names[PAGED_WRONGS] = {
    "right",    "l from bf16 p", "p f32", "q scale f32", "columns not permuted",
    "linear l", "skip ignored",
};

/* One tile's keys as the kernel holds them: column c is key `row[c]` of the cache (or of the active
 * tokens), and belongs to request `request[c]`, -1 = to none. */
struct columns {
    int n;
    int row[PAGED_KEYS];
    int request[PAGED_KEYS];
    int position[PAGED_KEYS]; /* active phase: token */
};

static int blocks_of(const struct paged_twin *twin, int request)
{
    return (twin->context_lens[request] + twin->block_size - 1) / twin->block_size;
}

/* The blocks of all requests one after the other; returns how many. */
static int all_blocks(const struct paged_twin *twin, int blocks[PAGED_BLOCKS])
{
    int n = 0;
    for (int r = 0; r < twin->requests; r++) {
        for (int b = 0; b < blocks_of(twin, r); b++) {
            blocks[n++] = twin->block_table[r * twin->width + b];
        }
    }
    return n;
}

static int request_of_token(const struct paged_twin *twin, int token)
{
    int end = 0;
    for (int r = 0; r < twin->requests; r++) {
        end += twin->query_lens[r];
        if (token < end) {
            return r;
        }
    }
    return -1;
}

/* The request whose context covers this place among the blocks of all requests. */
static int request_of_place(const struct paged_twin *twin, int place)
{
    int start = 0;
    for (int r = 0; r < twin->requests; r++) {
        if (place >= start && place < start + twin->context_lens[r]) {
            return r;
        }
        start += blocks_of(twin, r) * twin->block_size;
    }
    return -1;
}

/* Is the tile scheduled? The requests from the first that ends beyond its begin to the last that
 * begins before its end, of rows and of keys, must have one in common. */
static bool scheduled(const struct paged_twin *twin, int q_tile, int kv_tile)
{
    const int q0 = q_tile * twin->q_tile;
    const int k0 = kv_tile * twin->kv_tile;
    int first_q = 0, end_q = 0, first_kv = 0, end_kv = 0, token = 0, place = 0;
    for (int r = 0; r < twin->requests; r++) {
        end_q += token < q0 + twin->q_tile;
        end_kv += place < k0 + twin->kv_tile;
        first_q += token + twin->query_lens[r] <= q0;
        first_kv += place + twin->context_lens[r] <= k0;
        token += twin->query_lens[r];
        place += blocks_of(twin, r) * twin->block_size;
    }
    return (first_q > first_kv ? first_q : first_kv) < (end_q < end_kv ? end_q : end_kv);
}

/* Linear position of kernel column c. A load fills 128 partitions with a piece of a block each; the
 * columns go by load, by offset in the piece, by partition. */
static int linear_position(const struct paged_twin *twin, int c)
{
    const int blocks = twin->kv_tile / twin->block_size;
    const int pieces = blocks < 128 ? 128 : blocks;
    const int piece = twin->kv_tile / pieces;
    const int load = c / (128 * piece);
    const int offset = c % (128 * piece) / 128;
    return (load * 128 + c % 128) * piece + offset;
}

static float bf16(float x)
{
    return native_twin_round((double)x, true);
}

static float product(const struct paged_twin *twin, const float *q, const float *k)
{
    double sum = 0.0;
    for (int i = 0; i < twin->d; i++) {
        sum += (double)q[i] * (double)k[i];
    }
    return (float)sum;
}

/* One row over the columns: their scores s are there. */
static void step(const struct paged_twin *twin, enum paged_wrong wrong, int at, const float *v,
                 const struct columns *columns, const float *s)
{
    static float p[PAGED_KEYS];
    float *const o = twin->o + at * twin->d;
    float m = twin->m[at];
    double sums = 0.0;
    for (int c = 0; c < columns->n; c++) {
        m = s[c] > m ? s[c] : m;
    }
    for (int c0 = 0; c0 < columns->n; c0 += 512) {
        double sum = 0.0;
        for (int c = c0; c < columns->n && c < c0 + 512; c++) {
            p[c] = native_twin_exp(s[c] - m);
            sum += (double)(wrong == PAGED_L_FROM_BF16_P ? bf16(p[c]) : p[c]);
            p[c] = wrong == PAGED_P_F32 ? p[c] : bf16(p[c]);
        }
        sums += (double)(float)sum;
    }
    const float alpha = native_twin_exp(twin->m[at] - m);
    if (wrong == PAGED_LINEAR_L) {
        twin->l[at] = twin->l[at] * alpha + (float)sums;
    } else {
        const float sum = native_twin_exp(twin->l[at] - m) + (float)sums;
        twin->l[at] = m + (float)log((double)sum);
    }
    twin->m[at] = m;
    for (int i = 0; i < twin->d; i++) {
        double sum = 0.0;
        for (int c = 0; c < columns->n; c++) {
            sum += (double)p[c] * (double)v[columns->row[c] * twin->d + i];
        }
        const float scaled = o[i] * alpha;
        o[i] = scaled + (float)sum;
    }
}

static void scaled_query(const struct paged_twin *twin, enum paged_wrong wrong, int at,
                         float q[PAGED_DIM])
{
    for (int i = 0; i < twin->d; i++) {
        q[i] = twin->q[at * twin->d + i] * twin->scale;
        q[i] = wrong == PAGED_Q_SCALE_F32 ? q[i] : bf16(q[i]);
    }
}

static void prior_rows(const struct paged_twin *twin, enum paged_wrong wrong, int tile,
                       const struct columns *columns)
{
    static float s[PAGED_KEYS];
    for (int token = tile * twin->q_tile; token < (tile + 1) * twin->q_tile; token++) {
        for (int h = 0; h < twin->hq && token < twin->tokens; h++) {
            const int group = h / (twin->hq / twin->hkv);
            const int at = token * twin->hq + h;
            const int request = request_of_token(twin, token);
            float q[PAGED_DIM];
            struct columns of_head = *columns;
            scaled_query(twin, wrong, at, q);
            for (int c = 0; c < columns->n; c++) {
                const int block = columns->row[c] / twin->block_size;
                of_head.row[c] = (block * twin->hkv + group) * twin->block_size +
                                 columns->row[c] % twin->block_size;
                s[c] = -9984.0f;
                if (request >= 0 && columns->request[c] == request) {
                    s[c] = product(twin, q, twin->k_cache + of_head.row[c] * twin->d);
                }
            }
            step(twin, wrong, at, twin->v_cache, &of_head, s);
        }
    }
}

/* The keys of a tile: which blocks lie in the buffers, and whose they are. */
static void load(const struct paged_twin *twin, enum paged_wrong wrong, const int *loaded,
                 int kv_tile, struct columns *columns)
{
    columns->n = twin->kv_tile;
    for (int c = 0; c < columns->n; c++) {
        const int linear = linear_position(twin, c);
        const int place = wrong == PAGED_COLUMNS_NOT_PERMUTED ? c : linear;
        columns->row[c] =
            loaded[linear / twin->block_size] * twin->block_size + linear % twin->block_size;
        columns->request[c] =
            kv_tile < 0 ? -1 : request_of_place(twin, kv_tile * twin->kv_tile + place);
    }
}

static void prior_phase(const struct paged_twin *twin, enum paged_wrong wrong)
{
    static struct columns columns;
    int blocks[PAGED_BLOCKS], loaded[PAGED_KEYS];
    const int per_tile = twin->kv_tile / twin->block_size;
    const int total = all_blocks(twin, blocks);
    const int kv_tiles = (total * twin->block_size + twin->kv_tile - 1) / twin->kv_tile;
    const int q_tiles = (twin->tokens + twin->q_tile - 1) / twin->q_tile;
    int tiles = 0, before = -1;
    for (int i = 0; i < q_tiles * kv_tiles; i++) {
        const int q_tile = twin->row_order ? i / kv_tiles : i % q_tiles;
        const int kv_tile = twin->row_order ? i % kv_tiles : i / q_tiles;
        if (!scheduled(twin, q_tile, kv_tile)) {
            continue;
        }
        for (int b = 0; b < per_tile && kv_tile != before; b++) {
            const int place = kv_tile * per_tile + b;
            if (wrong != PAGED_SKIP_IGNORED || before < 0) {
                loaded[b] = blocks[place < total ? place : 0];
            }
        }
        before = kv_tile;
        load(twin, wrong, loaded, kv_tile, &columns);
        prior_rows(twin, wrong, q_tile, &columns);
        tiles++;
    }
    for (; tiles < twin->padded; tiles++) { /* the first rows meet the last keys, all masked */
        load(twin, wrong, loaded, -1, &columns);
        prior_rows(twin, wrong, 0, &columns);
    }
}

static void active_phase(const struct paged_twin *twin, enum paged_wrong wrong)
{
    static struct columns columns;
    static float s[PAGED_KEYS];
    const int sub = twin->tokens < 512 ? twin->tokens : 512;
    columns.n = twin->tokens;
    for (int at = 0; at < twin->tokens * twin->hq; at++) {
        const int token = at / twin->hq;
        const int request = request_of_token(twin, token);
        const int group = at % twin->hq / (twin->hq / twin->hkv);
        float q[PAGED_DIM];
        scaled_query(twin, wrong, at, q);
        for (int c = 0; c < columns.n; c++) {
            columns.row[c] = c * twin->hkv + group;
            s[c] = -9984.0f;
            if (request >= 0 && request_of_token(twin, c) == request && c <= token &&
                token / 128 * 128 >= c / sub * sub) {
                s[c] = product(twin, q, twin->k + columns.row[c] * twin->d);
            }
        }
        step(twin, wrong, at, twin->v, &columns, s);
    }
}

void paged_twin_run(struct paged_twin *twin, enum paged_wrong wrong)
{
    const int rows = twin->tokens * twin->hq;
    for (int at = 0; at < rows; at++) {
        twin->m[at] = -9984.0f;
        twin->l[at] = wrong == PAGED_LINEAR_L ? 0.0f : -19968.0f;
    }
    memset(twin->o, 0, (size_t)(rows * twin->d) * sizeof *twin->o);
    prior_phase(twin, wrong);
    active_phase(twin, wrong);
    for (int at = 0; at < rows; at++) {
        const float factor = wrong == PAGED_LINEAR_L ? 1.0f / twin->l[at]
                                                     : native_twin_exp(twin->m[at] - twin->l[at]);
        for (int i = 0; i < twin->d; i++) {
            twin->out[at * twin->d + i] = bf16(twin->o[at * twin->d + i] * factor);
        }
    }
}

/* The keys of a row that the definition lets it see: n rows of k and v. */
struct seen_keys {
    int n;
    const float *k[PAGED_KEYS], *v[PAGED_KEYS];
};

static void find_keys(const struct paged_twin *twin, int token, int head, struct seen_keys *seen)
{
    const int request = request_of_token(twin, token);
    const int group = head / (twin->hq / twin->hkv);
    seen->n = 0;
    for (int i = 0; i < twin->context_lens[request]; i++) {
        const int block = twin->block_table[request * twin->width + i / twin->block_size];
        const int at = ((block * twin->hkv + group) * twin->block_size + i % twin->block_size);
        seen->k[seen->n] = twin->k_cache + at * twin->d;
        seen->v[seen->n++] = twin->v_cache + at * twin->d;
    }
    for (int t = 0; t <= token; t++) {
        if (request_of_token(twin, t) == request) {
            seen->k[seen->n] = twin->k + (t * twin->hkv + group) * twin->d;
            seen->v[seen->n++] = twin->v + (t * twin->hkv + group) * twin->d;
        }
    }
}

/* Let u = 2^-8 and w = 2^-24. q times scale is rounded to f32 and bf16, the product is summed in at
 * most f32: with A = scale sum |q_i k_i| a score is off by ds = (u + 2 w + D w) A. In each of the
 * steps (tiles of the schedule and the active one) l gets the errors of an exp, a sum and a log (at
 * most 4 w), and of an addition, w |l|; o those of an exp, a product and an addition, 4 w; sums of
 * n keys in f32 are off by n w. P is rounded to bf16 (u) when it meets V, l is made of what it was
 * before. So with E = steps (8 + |l|) w + 2 n w the output before its last rounding is off by
 * ((1 + u) exp(2 ds + E) - 1) times the largest |v|, and that rounding adds u of it. */
static double row_bound(const struct paged_twin *twin, const struct seen_keys *seen,
                        const float *query, double l)
{
    const double u = 0x1p-8;
    const double w = 0x1p-24;
    double a_max = 0.0;
    double v_max = 0.0;
    for (int j = 0; j < seen->n; j++) {
        double a = 0.0;
        for (int i = 0; i < twin->d; i++) {
            a += fabs((double)query[i] * (double)twin->scale * (double)seen->k[j][i]);
            v_max = fmax(v_max, fabs((double)seen->v[j][i]));
        }
        a_max = fmax(a_max, a);
    }
    const double ds = (u + 2.0 * w + twin->d * w) * a_max;
    const double steps =
        2.0 + twin->padded + (double)(twin->blocks * twin->block_size) / twin->kv_tile;
    const double e = steps * (8.0 + fabs(l)) * w + 2.0 * seen->n * w;
    const double g = (1.0 + u) * exp(2.0 * ds + e);
    return v_max * (g - 1.0 + u * g);
}

bool paged_exact_row(const struct paged_twin *twin, int token, int head, double *out, double *bound)
{
    static struct seen_keys seen;
    static double s[PAGED_KEYS];
    const float *const query = twin->q + (token * twin->hq + head) * twin->d;
    double m = -INFINITY;
    double l = 0.0;
    if (request_of_token(twin, token) < 0) {
        return false;
    }
    find_keys(twin, token, head, &seen);
    for (int j = 0; j < seen.n; j++) {
        s[j] = 0.0;
        for (int i = 0; i < twin->d; i++) {
            s[j] += (double)query[i] * (double)twin->scale * (double)seen.k[j][i];
        }
        m = fmax(m, s[j]);
    }
    memset(out, 0, (size_t)twin->d * sizeof *out);
    for (int j = 0; j < seen.n; j++) {
        const double e = exp(s[j] - m);
        l += e;
        for (int i = 0; i < twin->d; i++) {
            out[i] += e * (double)seen.v[j][i];
        }
    }
    for (int i = 0; i < twin->d; i++) {
        out[i] /= l;
    }
    *bound = row_bound(twin, &seen, query, m + log(l));
    return true;
}
