/* SPDX-License-Identifier: Apache-2.0 */
/* chunk.h - where the chunk of a position begins. */
#ifndef GQA__CHUNK_H
#define GQA__CHUNK_H

#include <stdint.h>

/* Start of the chunk that holds p, counted from origin; floor also below the origin. */
static inline int64_t gqa__chunk_start(int64_t p, int64_t origin, int64_t chunk)
{
    const int64_t d = p - origin;
    const int64_t q = d / chunk - (d % chunk < 0);
    return origin + q * chunk;
}

#endif
