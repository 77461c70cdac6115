# SPDX-License-Identifier: Apache-2.0
# The gates: house rules as tests. Each plants a violation first and must see itself fail.
add_library(gqa_gate SHARED $<TARGET_OBJECTS:gqa_objects>)
set_target_properties(gqa_gate PROPERTIES
    LINKER_LANGUAGE C LIBRARY_OUTPUT_DIRECTORY ${PROJECT_BINARY_DIR}/gates)
target_link_libraries(gqa_gate PRIVATE gqa_needs)
gqa_export_only_public(gqa_gate)

function(gqa_gate name)
    string(REGEX REPLACE "_.*" "" script ${name})
    add_test(NAME gate_${name}
        COMMAND bash ${PROJECT_SOURCE_DIR}/tests/gates/${script}.sh ${ARGN}
        COMMAND_EXPAND_LISTS)
    set_tests_properties(gate_${name} PROPERTIES SKIP_RETURN_CODE 77 TIMEOUT 600)
endfunction()

gqa_gate(floors ${PROJECT_SOURCE_DIR})
gqa_gate(symbols ${PROJECT_SOURCE_DIR} $<TARGET_FILE:gqa_gate> ${CMAKE_C_COMPILER})
gqa_gate(data ${CMAKE_C_COMPILER} $<TARGET_OBJECTS:gqa_objects>)
gqa_gate(calls ${CMAKE_C_COMPILER} $<TARGET_OBJECTS:gqa_objects>)
gqa_gate(format ${PROJECT_SOURCE_DIR})
gqa_gate(words ${PROJECT_SOURCE_DIR})
gqa_gate(names ${PROJECT_SOURCE_DIR})
gqa_gate(headers ${PROJECT_SOURCE_DIR})
gqa_gate(alone ${PROJECT_SOURCE_DIR})
gqa_gate(warnings ${PROJECT_SOURCE_DIR} ${CMAKE_BINARY_DIR})
gqa_gate(embed ${PROJECT_SOURCE_DIR} ${CMAKE_C_COMPILER})
gqa_gate(install ${PROJECT_SOURCE_DIR} ${PROJECT_BINARY_DIR} ${CMAKE_C_COMPILER}
    "${CMAKE_CXX_COMPILER}")
gqa_gate(plain ${PROJECT_SOURCE_DIR} ${CMAKE_C_COMPILER})
gqa_gate(amalgam ${PROJECT_SOURCE_DIR} ${CMAKE_C_COMPILER})
gqa_gate(abi ${PROJECT_SOURCE_DIR} ${CMAKE_C_COMPILER})
gqa_gate(spdx ${PROJECT_SOURCE_DIR})
gqa_gate(rounding_kernels ${PROJECT_SOURCE_DIR} ${CMAKE_C_COMPILER} kernels)
gqa_gate(rounding_native ${PROJECT_SOURCE_DIR} ${CMAKE_C_COMPILER} native)
set_tests_properties(gate_rounding_kernels gate_rounding_native PROPERTIES TIMEOUT 1800)
gqa_gate(readme ${PROJECT_SOURCE_DIR})
gqa_gate(tests ${PROJECT_SOURCE_DIR})
gqa_gate(howto ${PROJECT_SOURCE_DIR} $<TARGET_FILE:gqa_gate> ${CMAKE_C_COMPILER})

add_executable(gqa_bits ${PROJECT_SOURCE_DIR}/tests/bits.c)
gqa_compile_options(gqa_bits)
gqa_in_bin(gqa_bits)
target_link_libraries(gqa_bits PRIVATE $<IF:$<BOOL:${GQA_TESTS_SHARED}>,gqa_internal,gqa::gqa>)
set(_bits $<TARGET_PROPERTY:gqa_bits,CROSSCOMPILING_EMULATOR> $<TARGET_FILE:gqa_bits>)
gqa_gate(bits all ${PROJECT_SOURCE_DIR}/tests/bits.expected ${_bits})
foreach(_isa scalar avx2 avx512 amx neon)
    gqa_gate(bits_${_isa} some ${PROJECT_SOURCE_DIR}/tests/bits.expected
        ${_bits} ${_isa})
endforeach()
# The kernel set amx with its tiles in software.
if(TARGET gqa_emulated)
    add_executable(gqa_bits_emulated ${PROJECT_SOURCE_DIR}/tests/bits.c)
    gqa_compile_options(gqa_bits_emulated)
    gqa_in_bin(gqa_bits_emulated)
    target_link_libraries(gqa_bits_emulated PRIVATE gqa_emulated)
    gqa_gate(bits_amx_emulated some ${PROJECT_SOURCE_DIR}/tests/bits.expected
        $<TARGET_FILE:gqa_bits_emulated> amx)
endif()
