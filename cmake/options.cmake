# SPDX-License-Identifier: Apache-2.0
# Shared by the library, the tool, the tests and the examples. Nothing here touches a global.

# Warnings, C11 without extensions, and the floating-point contract (docs/numerics.md).
function(gqa_compile_options target)
    set_target_properties(${target} PROPERTIES
        C_STANDARD 11 C_STANDARD_REQUIRED ON C_EXTENSIONS OFF
        CXX_STANDARD 17 CXX_STANDARD_REQUIRED ON CXX_EXTENSIONS OFF)
    target_compile_options(${target} PRIVATE
        -Wall -Wextra -Wpedantic -Wshadow -Wconversion -ffp-contract=off)
endfunction()

function(gqa_in_bin target)
    set_target_properties(${target} PROPERTIES RUNTIME_OUTPUT_DIRECTORY ${PROJECT_BINARY_DIR}/bin)
endfunction()

# A shared library exports gqa_* and nothing else, not even gqa__*.
function(gqa_export_only_public target)
    get_target_property(type ${target} TYPE)
    if(type STREQUAL "SHARED_LIBRARY" AND UNIX AND NOT APPLE)
        target_link_options(${target} PRIVATE
            LINKER:--version-script=${PROJECT_SOURCE_DIR}/cmake/exports.map)
        set_target_properties(${target} PROPERTIES
            LINK_DEPENDS ${PROJECT_SOURCE_DIR}/cmake/exports.map)
    endif()
endfunction()

# For tests and measurements: the files of the kernel set amx get the tile unit of a header in
# tests/emulation, and any CPU with AVX-512 bf16 counts as one with AMX.
function(gqa_inject_tiles target header)
    target_compile_definitions(${target} PRIVATE GQA__EMULATED_AMX=1)
    target_compile_options(${target} PRIVATE
        -include ${PROJECT_SOURCE_DIR}/tests/emulation/${header})
endfunction()
