/* SPDX-License-Identifier: Apache-2.0 */
/* saved.h - a sequence as bytes, whatever page size and kernel set its cache has.
 *
 * All numbers have their lowest byte first. Each part begins at a multiple of 8; what lies between
 * two parts is zero. One sequence has one such form: what is saved, loaded and saved again is the
 * same.
 *
 *    0  8 bytes  "gqaseq\r\n"
 *    8  u32      version, 1
 *   12  u32      size of this header, 64, or 72 if the first token is not that of index 0
 *   16  u64      size of all
 *   24  u32      tokens
 *   28  u32      columns of the sequence
 *   32  u32      KV heads
 *   36  u32      head_dim of K
 *   40  u32      head_dim of V
 *   44  u32      storage type of K, a gqa_dtype; 256 more where its rows are rotated
 *   48  u32      storage type of V, the same
 *   52  u32      index of the first token: so many have left before (cache/ring.h)
 *   56  u64      checksum
 *  (64  i32      position of index 0
 *   68  i32      greatest position of the tokens that have left: only where there are some)
 *       i32      positions [tokens]
 *       i32      columns [tokens]
 *                K [tokens][KV heads][head_dim], elements of the storage type (int4: whole
 *                groups; base/storage.h)
 *                V [tokens][KV heads][v_head_dim]
 *       f32      scales of K [tokens][KV heads][scales of a row], of V; types without scales: none
 *
 * The checksum goes over all u64 from the first to the last, itself taken as 0: from h = 0,
 * h = (h ^ word) * 0x9e3779b97f4a7c15, then h = h ^ (h >> 32). Each step maps different h to
 * different h, so a change of one word never goes unseen.
 */
#ifndef GQA__SAVED_H
#define GQA__SAVED_H

#include "cache/ring.h"
#include "cache/row.h"

#define GQA__SAVED_MAGIC   UINT64_C(0x0a0d716573617167) /* "gqaseq\r\n" */
#define GQA__SAVED_VERSION 1
#define GQA__SAVED_HEADER  64
#define GQA__SAVED_LONGER  72 /* header of a sequence that has lost its beginning */

/* Beside a storage type: its rows are rotated. Readers that do not know it refuse the type. */
#define GQA__SAVED_ROTATED 256u

/* Where the numbers of the header are. */
enum {
    GQA__AT_VERSION = 8,
    GQA__AT_HEADER = 12,
    GQA__AT_SIZE = 16,
    GQA__AT_TOKENS = 24,
    GQA__AT_COLUMNS = 28,
    GQA__AT_HKV = 32,
    GQA__AT_DK = 36,
    GQA__AT_DV = 40,
    GQA__AT_DTYPE_K = 44,
    GQA__AT_DTYPE_V = 48,
    GQA__AT_FIRST = 52,
    GQA__AT_CHECKSUM = 56,
    GQA__AT_ORIGIN = 64,
    GQA__AT_RELEASED = 68
};

/* The parts behind the header, and the bytes of one: end is that of its last element. */
enum gqa__saved_part {
    GQA__SAVED_POSITIONS,
    GQA__SAVED_COLUMNS,
    GQA__SAVED_K,
    GQA__SAVED_V,
    GQA__SAVED_K_SCALES,
    GQA__SAVED_V_SCALES
};
#define GQA__SAVED_PARTS 6

struct gqa__saved_range {
    size_t at, end;
};

/* What the header says of a saved sequence, and where its parts lie. */
struct gqa__saved {
    int32_t tokens, columns;    /* tokens: those held */
    struct gqa__ring_past past; /* before them */
    int32_t last;               /* position of the last one */
    int32_t hkv, dk, dv;
    struct gqa__row_form k, v;
    struct gqa__saved_range part[GQA__SAVED_PARTS];
    size_t size;
};

/* Set where the parts lie, and size. False if they exceed the address space. */
bool gqa__saved_place(struct gqa__saved *saved);

/* Where the gap behind a part ends: the next part begins, or all is over. */
static inline size_t gqa__saved_gap_end(const struct gqa__saved *saved, int part)
{
    return part + 1 < GQA__SAVED_PARTS ? saved->part[part + 1].at : saved->size;
}

/* The bytes of one token and head of K, V or their scales, whose rows have `row` bytes. */
static inline size_t gqa__saved_row(const struct gqa__saved *saved, enum gqa__saved_part part,
                                    int32_t token, int32_t head, size_t row)
{
    return saved->part[part].at + ((size_t)token * (size_t)saved->hkv + (size_t)head) * row;
}

static inline size_t gqa__saved_header(const struct gqa__saved *saved)
{
    return saved->past.first > 0 ? GQA__SAVED_LONGER : GQA__SAVED_HEADER;
}

/* A sequence of a cache, not placed. */
struct gqa__saved gqa__saved_form(const struct gqa_cache *cache, int32_t sequence);

/* Of size bytes, a multiple of 8 that is no less than the header. */
uint64_t gqa__saved_checksum(const unsigned char *bytes, size_t size);

/* Write a sequence that has been placed: saved->size bytes. */
void gqa__saved_write(const struct gqa_cache *cache, int32_t sequence,
                      const struct gqa__saved *saved, unsigned char *bytes);

/* Check all that is said in `size` bytes and fill *saved. Field "bytes". */
gqa_status gqa__saved_read(struct gqa__saved *saved, const unsigned char *bytes, size_t size,
                           gqa_error *err);

/* May the cache hold what the saved sequence, or one of another cache, consists of, and is all
 * there that a next token can see there? convert: its storage types and rotations may differ.
 * field: what is named. */
gqa_status gqa__saved_fits(const struct gqa_cache *cache, const struct gqa__saved *saved,
                           bool convert, const char *field, gqa_error *err);

/* A sequence that holds nothing becomes the saved one, whose bytes have been checked; there is room
 * for it. */
void gqa__saved_restore(struct gqa_cache *cache, int32_t sequence, const struct gqa__saved *saved,
                        const unsigned char *bytes);

#endif
