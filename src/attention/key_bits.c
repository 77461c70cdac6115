/* SPDX-License-Identifier: Apache-2.0 */
/* key_bits.c - see key_bits.h. */
#include "attention/key_bits.h"

/* The first n bits, 0 <= n <= 64. */
static uint64_t first_bits(int32_t n)
{
    return n >= 64 ? UINT64_MAX : ((uint64_t)1 << n) - 1;
}

/* The bits of word w that are keys of [begin, end). */
static uint64_t range_bits(int32_t w, int32_t begin, int32_t end)
{
    const int32_t from = begin - 64 * w, to = end - 64 * w;

    return first_bits(to < 0 ? 0 : to) & ~first_bits(from < 0 ? 0 : from);
}

void gqa__key_bits_set(struct gqa__key_bits *bits, int32_t begin, int32_t end)
{
    for (int32_t w = 0; w < GQA__KEY_WORDS; w++) {
        bits->word[w] = range_bits(w, begin, end);
    }
}

void gqa__key_bits_keep(struct gqa__key_bits *bits, int32_t begin, int32_t end)
{
    for (int32_t w = 0; w < GQA__KEY_WORDS; w++) {
        bits->word[w] &= range_bits(w, begin, end);
    }
}

void gqa__key_bits_drop(struct gqa__key_bits *bits, int32_t key)
{
    bits->word[key / 64] &= ~((uint64_t)1 << (key % 64));
}

static uint64_t eight_bytes(const uint8_t *x)
{
    return (uint64_t)x[0] | (uint64_t)x[1] << 8 | (uint64_t)x[2] << 16 | (uint64_t)x[3] << 24 |
           (uint64_t)x[4] << 32 | (uint64_t)x[5] << 40 | (uint64_t)x[6] << 48 |
           (uint64_t)x[7] << 56;
}

/* Bit i: is byte i not 0? */
static uint64_t eight_flags(uint64_t bytes)
{
    const uint64_t low = 0x7f7f7f7f7f7f7f7fu;
    const uint64_t flags = (((bytes & low) + low) | bytes) >> 7 & 0x0101010101010101u;

    return flags * 0x0102040810204080u >> 56;
}

/* n <= 64 elements of a mask of bytes from x on. Most are all set, or all clear. */
static uint64_t flags_of_bytes(const uint8_t *x, int32_t n)
{
    uint64_t flags = 0;
    int32_t i = 0;

    if (n == 64) {
        uint64_t common = UINT64_MAX, any = 0;
        for (int32_t j = 0; j < 64; j += 8) {
            common &= eight_bytes(x + j);
            any |= eight_bytes(x + j);
        }
        if (any == 0 || eight_flags(common) == 0xff) {
            return any == 0 ? 0 : UINT64_MAX;
        }
    }
    for (; i + 8 <= n; i += 8) {
        flags |= eight_flags(eight_bytes(x + i)) << i;
    }
    for (; i < n; i++) {
        flags |= (uint64_t)(x[i] != 0) << i;
    }
    return flags;
}

/* n <= 64 elements of a mask of bits from element `at` on; no byte beyond them is read. */
static uint64_t flags_of_bits(const uint8_t *x, int64_t at, int32_t n)
{
    const int32_t skip = (int32_t)(at % 8), bytes = (skip + n + 7) / 8;
    uint64_t flags = 0;

    x += at / 8;
    if (bytes >= 8) {
        flags = eight_bytes(x) >> skip;
    }
    for (int32_t i = 0; i < bytes && bytes < 8; i++) {
        flags |= (uint64_t)x[i] << (8 * i) >> skip;
    }
    if (bytes > 8) {
        flags |= (uint64_t)x[8] << (64 - skip);
    }
    return flags & first_bits(n);
}

void gqa__key_bits_mask(struct gqa__key_bits *bits, int32_t begin, int32_t end,
                        const gqa_tensor *mask, int64_t at)
{
    const uint8_t *const data = mask->data;

    for (int32_t k = begin; k < end;) {
        const int32_t w = k / 64, stop = 64 * w + 64 < end ? 64 * w + 64 : end;
        const int64_t first = at + k - begin;
        const uint64_t flags = mask->dtype == GQA_BITS ? flags_of_bits(data, first, stop - k)
                                                       : flags_of_bytes(data + first, stop - k);

        bits->word[w] &= flags << (k - 64 * w) | ~range_bits(w, k, stop);
        k = stop;
    }
}

bool gqa__key_bits_run(const struct gqa__key_bits *bits, int32_t *low, int32_t *high)
{
    bool empty = true, all = true;

    *low = *high = 0;
    for (int32_t w = 0; w < GQA__KEY_WORDS; w++) {
        const uint64_t word = bits->word[w];
        if (word != 0) {
            *low = empty ? 64 * w + __builtin_ctzll(word) : *low;
            *high = 64 * w + 64 - __builtin_clzll(word);
            empty = false;
        }
    }
    for (int32_t w = 0; w < GQA__KEY_WORDS; w++) {
        all = all && bits->word[w] == range_bits(w, *low, *high);
    }
    return all;
}
