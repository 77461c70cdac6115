/* number.c - f16 to f32 and back; bf16 is inline in number.h. */
#include "base/number.h"

float gqa__f16_to_f32(uint16_t h)
{
    const uint32_t sign = (uint32_t)(h & 0x8000u) << 16;
    const uint32_t magnitude = h & 0x7fffu;

    if (magnitude > 0x7c00u) {
        return gqa__f32_from_bits(GQA__NAN_BITS);
    }
    if (magnitude == 0x7c00u) {
        return gqa__f32_from_bits(sign | 0x7f800000u);
    }
    if (magnitude < 0x0400u) { /* zero or denormal: magnitude * 2^-24, exact */
        return gqa__f32_from_bits(sign | gqa__f32_bits((float)magnitude * 0x1p-24f));
    }
    return gqa__f32_from_bits(sign | ((magnitude << 13) + (112u << 23)));
}

uint16_t gqa__f32_to_f16(float x)
{
    const uint32_t u = gqa__f32_bits(x);
    const uint16_t sign = (uint16_t)((u >> 16) & 0x8000u);
    const uint32_t magnitude = u & 0x7fffffffu;
    uint32_t rounded;

    if (magnitude > 0x7f800000u) {
        return 0x7e00u;
    }
    if (magnitude >= 0x477ff000u) { /* 65520 and above round to infinity */
        return (uint16_t)(sign | 0x7c00u);
    }
    if (magnitude < 0x38800000u) {
        /* Below 2^-14: adding 0.5 puts the unit 2^-24 at the sum's last place, and the addition
         * rounds to nearest even. */
        rounded = gqa__f32_bits(gqa__f32_from_bits(magnitude) + 0.5f) - gqa__f32_bits(0.5f);
    } else {
        rounded = (magnitude - (112u << 23) + 0xfffu + ((magnitude >> 13) & 1u)) >> 13;
    }
    return (uint16_t)(sign | rounded);
}
