# SPDX-License-Identifier: Apache-2.0
# Which kernel sets this compiler can build, asked of the compiler itself: GQA_COMPILER_KERNELS gets
# their names. test_select compares kernels_built with it, so that no kernel set is ever silently
# absent, and looks for the integer kernels of GQA_COMPILER_HAS_vnni. Nothing here reads the sources of
# the library; the flags are those of the build.
include(CheckCSourceCompiles)

function(gqa_probe_kernels name flags source)
    list(JOIN flags " " CMAKE_REQUIRED_FLAGS)
    check_c_source_compiles("${source}" GQA_COMPILER_HAS_${name})
    if(GQA_COMPILER_HAS_${name})
        set(GQA_COMPILER_KERNELS "${GQA_COMPILER_KERNELS} ${name}" PARENT_SCOPE)
    endif()
endfunction()

set(GQA_COMPILER_KERNELS "scalar")
if(GQA_SCALAR_ONLY)
    # nothing else
elseif(CMAKE_SYSTEM_PROCESSOR MATCHES "^(x86_64|AMD64)$")
    gqa_probe_kernels(avx2 "${_avx2}" "
        #include <immintrin.h>
        int main(void)
        {
            const __m256 x = _mm256_cvtph_ps(_mm_set1_epi16(1));
            return _mm256_movemask_ps(_mm256_fmadd_ps(x, x, x)) +
                   _mm256_movemask_epi8(_mm256_abs_epi32(_mm256_setzero_si256()));
        }")
    gqa_probe_kernels(avx512 "${_avx512}" "
        #include <immintrin.h>
        int main(void)
        {
            const __m512i x = _mm512_abs_epi16(_mm512_set1_epi32(1));
            const __m512 y = _mm512_and_ps(_mm512_castsi512_ps(x), _mm512_castsi512_ps(x));
            return (int)_mm512_cmplt_ps_mask(y, y) +
                   (int)_mm256_cmpneq_epi32_mask(_mm256_setzero_si256(), _mm256_setzero_si256());
        }")
    set(_kernels "${GQA_COMPILER_KERNELS}")
    gqa_probe_kernels(vnni "${_avx512};-mavx512vnni" "
        #include <immintrin.h>
        int main(void)
        {
            const __m512i x = _mm512_set1_epi32(1);
            return _mm512_reduce_add_epi32(_mm512_dpwssd_epi32(x, x, x));
        }")
    set(GQA_COMPILER_KERNELS "${_kernels}") # no kernel set: kernels for integers
    if(CMAKE_SYSTEM_NAME STREQUAL "Linux")
        gqa_probe_kernels(amx "${_amx}" "
            #include <immintrin.h>
            int main(void)
            {
                const __m512 x = _mm512_setzero_ps();
                float memory[256] = {0};
                memory[0] = _mm512_cvtss_f32((__m512)_mm512_cvtne2ps_pbh(x, x));
                _tile_zero(1);
                _tile_loadd(0, memory, 64);
                _tile_loadd(2, memory, 64);
                _tile_dpbf16ps(1, 0, 2);
                _tile_dpbssd(1, 0, 2);
                _tile_stored(1, memory, 64);
                _tile_release();
                return (int)memory[0];
            }")
    endif()
elseif(CMAKE_SYSTEM_PROCESSOR MATCHES "^(aarch64|arm64|ARM64)$")
    gqa_probe_kernels(neon "" "
        #include <arm_neon.h>
        int main(void)
        {
            const float32x4_t x = vdupq_n_f32(1);
            return (int)vaddvq_f32(vfmaq_f32(x, x, x));
        }")
endif()
