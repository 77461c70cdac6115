/* SPDX-License-Identifier: Apache-2.0 */
/* bytes.h - numbers as bytes, the lowest first, at any address and on any machine. */
#ifndef GQA__BYTES_H
#define GQA__BYTES_H

#include <stdint.h>

static inline void gqa__put_u16(unsigned char *bytes, uint16_t x)
{
    bytes[0] = (unsigned char)(x & 0xffu);
    bytes[1] = (unsigned char)(x >> 8);
}

static inline void gqa__put_u32(unsigned char *bytes, uint32_t x)
{
    gqa__put_u16(bytes, (uint16_t)(x & 0xffffu));
    gqa__put_u16(bytes + 2, (uint16_t)(x >> 16));
}

static inline void gqa__put_u64(unsigned char *bytes, uint64_t x)
{
    gqa__put_u32(bytes, (uint32_t)(x & 0xffffffffu));
    gqa__put_u32(bytes + 4, (uint32_t)(x >> 32));
}

static inline uint16_t gqa__get_u16(const unsigned char *bytes)
{
    return (uint16_t)(bytes[0] | (unsigned)bytes[1] << 8);
}

static inline uint32_t gqa__get_u32(const unsigned char *bytes)
{
    return gqa__get_u16(bytes) | (uint32_t)gqa__get_u16(bytes + 2) << 16;
}

static inline uint64_t gqa__get_u64(const unsigned char *bytes)
{
    return gqa__get_u32(bytes) | (uint64_t)gqa__get_u32(bytes + 4) << 32;
}

#endif
